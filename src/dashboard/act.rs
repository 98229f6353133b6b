//! What changes a replica: when it is possible, what is asked first, what is sent.
//!
//! Part of `update`: pure. Nothing is sent without either being harmless (sync of one replica) or a dialog.

use crossterm::event::{KeyCode, KeyEvent};

use crate::api::{Outcome, State};

use super::fleet;
use super::input;
use super::keys::Action;
use super::message::{Change, Effect, Order};
use super::model::{Dialog, Model, Pod, PodId, Question, View};
use super::text;

/// The lengths of a pause that `h` and `l` step through, in minutes.
const PAUSES: [u32; 8] = [15, 30, 60, 120, 240, 480, 720, 1440];
const DEFAULT_PAUSE: u32 = 60;
/// Characters of a hash that are asked for.
const SHORT: usize = 7;

/// Why an action cannot be done now; `None` if it can.
#[must_use]
pub fn unavailable(model: &Model, action: Action) -> Option<String> {
    if model.setup.read_only {
        return Some("read-only: started with --read-only".to_owned());
    }
    let Some(pod) = input::current_pod(model) else { return Some("no replica is selected".to_owned()) };
    if action == Action::SyncAll {
        return (!model.pods.iter().any(Pod::live)).then(|| "no replica is connected".to_owned());
    }
    if !pod.live() {
        return Some(format!("{} is not connected", pod.name));
    }
    let snapshot = pod.snapshot.as_ref()?;
    let paused = snapshot.paused_until.is_some() || snapshot.state == State::Paused;
    match action {
        Action::Sync | Action::Pin if paused => Some("paused: resume first (P)".to_owned()),
        Action::Pin if target(model, pod).is_none() => Some("there is no earlier commit to go back to".to_owned()),
        Action::Unpin if snapshot.pinned.is_none() => Some("not pinned".to_owned()),
        _ => None,
    }
}

/// A capital key was pressed.
pub fn start(model: &mut Model, action: Action) -> Vec<Effect> {
    if let Some(why) = unavailable(model, action) {
        model.say(why, true);
        return Vec::new();
    }
    let Some(pod) = input::current_pod(model) else { return Vec::new() };
    let id = pod.id.clone();
    let paused = pod.snapshot.as_ref().is_some_and(|snapshot| snapshot.paused_until.is_some());
    let target = target(model, pod);
    let question = match action {
        Action::Sync => return vec![Effect::Order(id, Order::Change(Change::Sync))],
        Action::SyncAll => Question::Sync,
        Action::Pause if paused => Question::Resume,
        Action::Pause => Question::Pause { minutes: DEFAULT_PAUSE },
        Action::Pin => match target {
            Some(commit) => Question::Pin { commit, typed: String::new() },
            None => return Vec::new(),
        },
        Action::Unpin => Question::Unpin,
        _ => return Vec::new(),
    };
    let all = action == Action::SyncAll;
    model.dialog = Some(Dialog { question, pod: id, all, armed: false });
    Vec::new()
}

/// The commit that `B` offers: that of the selected sync, else what was published before.
#[must_use]
pub fn target(model: &Model, pod: &Pod) -> Option<String> {
    if !matches!(model.view, View::Fleet) || input::current_record(model).is_some() {
        let record = input::current_record(model)?.record;
        let commit = match record.outcome {
            Outcome::Published | Outcome::Unchanged => record.new.clone(),
            _ => record.old.clone(),
        };
        return commit.filter(|commit| commit.len() >= SHORT);
    }
    let published = pod.snapshot.as_ref()?.published.as_ref()?;
    pod.records
        .iter()
        .filter(|record| record.outcome == Outcome::Published)
        .find(|record| record.new.as_deref() == Some(published.commit.as_str()))
        .and_then(|record| record.old.clone())
        .filter(|commit| commit.len() >= SHORT)
}

/// A key while a question is open.
pub fn dialog_key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(dialog) = model.dialog.as_mut() else { return Vec::new() };
    if key.code == KeyCode::Esc {
        model.dialog = None;
        return Vec::new();
    }
    if key.code == KeyCode::Char('A') {
        dialog.all = !dialog.all;
        return Vec::new();
    }
    match &mut dialog.question {
        Question::Pin { commit, typed } => match key.code {
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Enter if confirmed(commit, typed) => return carry_out(model),
            KeyCode::Char(character) if character.is_ascii_hexdigit() && typed.len() < commit.len() => {
                typed.push(character.to_ascii_lowercase());
            }
            _ => {}
        },
        Question::Pause { minutes } => match key.code {
            KeyCode::Char('l') => *minutes = step(*minutes, true),
            KeyCode::Char('h') => *minutes = step(*minutes, false),
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => dialog.armed = !dialog.armed,
            KeyCode::Char('y') => return carry_out(model),
            KeyCode::Enter if dialog.armed => return carry_out(model),
            KeyCode::Enter | KeyCode::Char('n' | 'q') => model.dialog = None,
            _ => {}
        },
        Question::Sync | Question::Resume | Question::Unpin => match key.code {
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => dialog.armed = !dialog.armed,
            KeyCode::Char('y') => return carry_out(model),
            KeyCode::Enter if dialog.armed => return carry_out(model),
            KeyCode::Enter | KeyCode::Char('n' | 'q') => model.dialog = None,
            _ => {}
        },
    }
    Vec::new()
}

/// Whether enough of the hash was typed.
#[must_use]
pub fn confirmed(commit: &str, typed: &str) -> bool {
    typed.len() >= SHORT && commit.starts_with(typed)
}

fn step(minutes: u32, longer: bool) -> u32 {
    let next = if longer {
        PAUSES.iter().find(|pause| **pause > minutes)
    } else {
        PAUSES.iter().rev().find(|pause| **pause < minutes)
    };
    next.copied().unwrap_or(minutes)
}

/// The replicas that a dialog is about and that can be told.
#[must_use]
pub fn addressed(model: &Model, dialog: &Dialog) -> Vec<PodId> {
    let one = |pod: &&Pod| dialog.all || pod.id == dialog.pod;
    model.pods.iter().filter(one).filter(|pod| pod.live()).map(|pod| pod.id.clone()).collect()
}

fn carry_out(model: &mut Model) -> Vec<Effect> {
    let Some(dialog) = model.dialog.take() else { return Vec::new() };
    let change = match &dialog.question {
        Question::Sync => Change::Sync,
        Question::Pause { minutes } => Change::Pause { minutes: *minutes },
        Question::Resume => Change::Resume,
        Question::Pin { commit, .. } => Change::Pin { commit: commit.clone() },
        Question::Unpin => Change::Unpin,
    };
    let ids = addressed(model, &dialog);
    let left_out = if dialog.all { model.pods.iter().filter(|pod| !pod.live() && !pod.gone()).count() } else { 0 };
    if left_out > 0 {
        model.note(None, "you", format!("{}: {left_out} not connected and not told", change.words()), true);
    }
    if ids.is_empty() {
        model.say("the replica is no longer connected: nothing was sent", true);
    }
    ids.into_iter().map(|id| Effect::Order(id, Order::Change(change.clone()))).collect()
}

/// `1h`, `30m`: the length of a pause in words.
#[must_use]
pub fn pause_words(minutes: u32) -> String {
    if minutes.is_multiple_of(60) { format!("{}h", minutes / 60) } else { format!("{minutes}m") }
}

/// The newest thing known about a commit on a replica: subject and when it was published there.
#[must_use]
pub fn describe(model: &Model, pod: &Pod, commit: &str) -> Option<(String, String)> {
    let record = pod.records.iter().take(2000).find(|record| {
        record.new.as_deref() == Some(commit) && record.outcome == Outcome::Published && record.commits.is_some()
    })?;
    let subject = record.commits.as_ref()?.subject.clone();
    Some((subject, text::age(fleet::age(model, pod, record.finished_at))))
}
