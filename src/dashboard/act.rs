//! Changes of replicas: when they are possible, the questions before them, and the requests.
//!
//! Part of `update`: pure. A request is only sent after a dialog, except a sync of one replica, which is harmless.

use crossterm::event::{KeyCode, KeyEvent};

use crate::api::{Outcome, Snapshot, State};

use super::answers;
use super::cursor;
use super::fleet;
use super::keys::{Action, is_plain};
use super::message::{Change, Effect, Order};
use super::model::rows::Source;
use super::model::{Dialog, Model, Pod, PodId, Question, View};
use super::rollback::{self, SHORT};
use super::text;

pub use super::message::pause_words;

/// The lengths of a pause that `h` and `l` step through, in minutes.
const PAUSES: [u32; 8] = [15, 30, 60, 120, 240, 480, 720, 1440];
const DEFAULT_PAUSE: u32 = 60;

/// Returns the reason why an action is not possible now; `None` if it is.
#[must_use]
pub fn unavailable(model: &Model, action: Action) -> Option<String> {
    if model.setup.read_only {
        return Some("read-only: started with --read-only".to_owned());
    }
    let Some(pod) = cursor::current_pod(model) else { return Some("no replica is selected".to_owned()) };
    let meant = meant(model);
    if action == Action::SyncAll || is_about_all(model) {
        if meant.is_empty() && !model.pods.iter().any(Pod::live) {
            return Some("no replica is connected".to_owned());
        }
    } else if !pod.live() {
        return Some(format!("{} is not connected", pod.name));
    }
    // The checks below are about the selected replica, and its pause is no reason to refuse a sync of all.
    if action == Action::SyncAll {
        return None;
    }
    let paused = all_paused(&meant);
    let pinned = meant.iter().any(|pod| pod.snapshot.as_ref().is_some_and(|snapshot| snapshot.pinned.is_some()));
    match action {
        Action::Sync if paused => Some("paused: resume first (P)".to_owned()),
        Action::Pin if targets(model, pod).is_empty() => {
            Some("no earlier commit is known: choose one in the history (2), if there is one".to_owned())
        }
        Action::Unpin if !pinned => Some("not pinned".to_owned()),
        Action::Unpin if paused => Some("paused: resume first (P), it stays pinned".to_owned()),
        _ => None,
    }
}

/// Returns true on the list of commits, whose actions apply to all replicas.
fn is_about_all(model: &Model) -> bool {
    model.view == View::Commits
}

/// Returns the connected replicas to which a change on this screen applies before a dialog extends it.
fn meant(model: &Model) -> Vec<&Pod> {
    if is_about_all(model) {
        return model.pods.iter().filter(|pod| pod.live() && model.in_scope(pod)).collect();
    }
    cursor::current_pod(model).into_iter().filter(|pod| pod.live()).collect()
}

fn all_paused(pods: &[&Pod]) -> bool {
    let paused = |pod: &&Pod| {
        let snapshot = pod.snapshot.as_deref();
        snapshot.is_some_and(|snapshot| snapshot.paused_until.is_some() || snapshot.state == State::Paused)
    };
    !pods.is_empty() && pods.iter().all(paused)
}

/// Handles a capital key.
pub fn start(model: &mut Model, action: Action) -> Vec<Effect> {
    if let Some(why) = unavailable(model, action) {
        model.say(why, true);
        return Vec::new();
    }
    let Some(pod) = cursor::current_pod(model) else { return Vec::new() };
    let id = pod.id.clone();
    let paused = all_paused(&meant(model));
    let choices = targets(model, pod);
    let all = action == Action::SyncAll || is_about_all(model);
    let question = match action {
        Action::Sync if !all => return vec![Effect::Order(id, Order::Change(Change::Sync))],
        Action::Sync | Action::SyncAll => Question::Sync,
        Action::Pause if paused => Question::Resume,
        Action::Pause => Question::Pause { minutes: DEFAULT_PAUSE },
        Action::Pin => match choices.first().cloned() {
            Some(commit) => Question::Pin { commit, typed: String::new(), choices },
            None => return Vec::new(),
        },
        Action::Unpin => Question::Unpin,
        _ => return Vec::new(),
    };
    model.dialog = Some(Dialog { question, pod: id, all, armed: false });
    Vec::new()
}

/// Returns the commits that `B` offers, the default first: that of the selected commit or sync, then those that were live
/// before the live one. The live commit is never offered.
#[must_use]
pub fn targets(model: &Model, pod: &Pod) -> Vec<String> {
    let live = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref()).map(|it| it.commit.as_str());
    let selected = match cursor::current_commit(model) {
        // A commit that was never published is no target of a rollback.
        Some(commit) => {
            model.all_commits.iter().find(|row| row.commit == commit && row.had > 0).map(|row| row.commit.clone())
        }
        None => cursor::current_record(model).and_then(|row| match row.record.outcome {
            Outcome::Published | Outcome::Unchanged => row.record.new.clone(),
            _ => row.record.old.clone(),
        }),
    };
    let mut offered: Vec<String> =
        selected.filter(|commit| commit.len() >= SHORT && Some(commit.as_str()) != live).into_iter().collect();
    for commit in rollback::earlier(model, pod) {
        if !offered.contains(&commit) {
            offered.push(commit);
        }
    }
    offered
}

/// Handles a key while a question is open.
pub fn dialog_key(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let Some(dialog) = model.dialog.as_mut() else { return Vec::new() };
    if !is_plain(key) {
        return Vec::new();
    }
    if key.code == KeyCode::Esc {
        model.dialog = None;
        return Vec::new();
    }
    // Before the digits of a pin: `A` is a hexadecimal digit as well. Hashes are shown in lower case, so a person who
    // types one does not need it.
    if key.code == KeyCode::Char('A') {
        dialog.all = !dialog.all;
        return Vec::new();
    }
    match &mut dialog.question {
        // A pin has no `y`: it keeps back every later push, so only the digits of its commit confirm it.
        Question::Pin { commit, typed, choices } => match key.code {
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Enter if confirmed(commit, typed) => return carry_out(model),
            KeyCode::Down | KeyCode::Char('j') => choose(commit, typed, choices, 1),
            KeyCode::Up | KeyCode::Char('k') => choose(commit, typed, choices, -1),
            KeyCode::Char(character) => type_digit(commit, typed, character),
            _ => {}
        },
        Question::Pause { minutes } => match key.code {
            KeyCode::Char('l') => *minutes = step(*minutes, true),
            KeyCode::Char('h') => *minutes = step(*minutes, false),
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => dialog.armed = !dialog.armed,
            KeyCode::Char('y') => return carry_out(model),
            KeyCode::Enter if dialog.armed => return carry_out(model),
            // Cancel has the focus until Tab moves it: an Enter that was meant for the screen below changes nothing.
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

/// Selects another commit, and clears the typed digits, which named the previous one.
fn choose(commit: &mut String, typed: &mut String, choices: &[String], by: isize) {
    let at = choices.iter().position(|choice| choice == commit).unwrap_or(0);
    let next = at.saturating_add_signed(by).min(choices.len().saturating_sub(1));
    if let Some(choice) = choices.get(next).filter(|choice| *choice != commit) {
        commit.clone_from(choice);
        typed.clear();
    }
}

/// Adds a digit to the typed hash; other characters are ignored.
pub fn type_digit(commit: &str, typed: &mut String, character: char) {
    if character.is_ascii_hexdigit() && typed.len() < commit.len() {
        typed.push(character.to_ascii_lowercase());
    }
}

/// Returns true if enough digits of the hash were typed.
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

/// Returns the replicas to which a dialog applies and to which a request can be sent.
#[must_use]
pub fn addressed(model: &Model, dialog: &Dialog) -> Vec<PodId> {
    let one = |pod: &&Pod| if dialog.all { belongs(model, dialog, pod) } else { pod.id == dialog.pod };
    model.pods.iter().filter(one).filter(|pod| pod.live()).map(|pod| pod.id.clone()).collect()
}

/// How long a pin lasts, as far as replicas say whether they have peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlasts {
    /// A replica that starts on an empty volume takes the pin over from the running ones.
    Pods,
    /// It would, but too few replicas have the pin.
    PodsIfShared,
    /// A replica that starts on an empty volume does not learn of the pin.
    Restarts,
}

impl Outlasts {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Pods => {
                "the pin outlives restarts, and new pods take it over from the running ones (--peers), unless all are \
                 replaced at once"
            }
            Self::PodsIfShared => {
                "fewer than half of the replicas would have the pin, so a new pod does not take it over: choose all (A), \
                 or revert in git"
            }
            Self::Restarts => {
                "the pin is kept on the volume: it outlives restarts, but a pod with a new volume does not have it. To \
                 make it last, revert in git"
            }
        }
    }
}

/// Returns how long a pin to a commit would last.
#[must_use]
pub fn outlasts(model: &Model, dialog: &Dialog, commit: &str) -> Outlasts {
    let asked = addressed(model, dialog);
    let snapshots = || {
        let there = model.pods.iter().filter(|pod| !pod.gone() && belongs(model, dialog, pod));
        there.filter_map(|pod| Some((pod, pod.snapshot.as_deref()?)))
    };
    // Each replica that starts asks the others, so all of them must be able to. Earlier releases do not say.
    if !snapshots().all(|(_, snapshot)| snapshot.peers == Some(true)) {
        return Outlasts::Restarts;
    }
    // The same rule as in `peers/standing.rs`, by which a replica with an empty volume takes a pin over.
    let has_it =
        |(pod, snapshot): &(&Pod, &Snapshot)| asked.contains(&pod.id) || snapshot.pinned.as_deref() == Some(commit);
    let enough = snapshots().filter(has_it).count() * 2 >= snapshots().count();
    if enough { Outlasts::Pods } else { Outlasts::PodsIfShared }
}

/// Returns true for a replica in the dialog's scope; for a pin, only with the commit's repository and ref.
fn belongs(model: &Model, dialog: &Dialog, pod: &Pod) -> bool {
    let like = model.pod(&dialog.pod).and_then(|pod| pod.snapshot.as_deref());
    let same = match (&dialog.question, like, pod.snapshot.as_deref()) {
        (Question::Pin { .. }, Some(like), Some(snapshot)) => Source::of(like).is_of(snapshot),
        _ => true,
    };
    same && model.in_scope(pod)
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
    let silent: Vec<PodId> = model
        .pods
        .iter()
        .filter(|pod| dialog.all && !pod.live() && !pod.gone() && belongs(model, &dialog, pod))
        .map(|pod| pod.id.clone())
        .collect();
    // A change of all replicas that leaves some out must not look complete.
    if !silent.is_empty() {
        model.note(None, "you", format!("{}: {} not connected and not told", change.words(), silent.len()), true);
    }
    if ids.is_empty() {
        model.say("the replica is no longer connected: nothing was sent", true);
    } else {
        answers::expect(model, change.clone(), &ids, &silent);
    }
    ids.into_iter().map(|id| Effect::Order(id, Order::Change(change.clone()))).collect()
}

/// Returns what is known of a commit: its subject, and when it was published. The records of this replica are read first.
#[must_use]
pub fn describe(model: &Model, pod: &Pod, commit: &str) -> Option<(String, String)> {
    let others = model.pods.iter().filter(|other| other.id != pod.id);
    std::iter::once(pod).chain(others).find_map(|pod| {
        let record = pod.records.iter().take(2000).find(|record| {
            record.new.as_deref() == Some(commit) && record.outcome == Outcome::Published && record.commits.is_some()
        })?;
        let subject = record.commits.as_ref()?.subject.clone();
        Some((subject, text::age(fleet::age(model, pod, record.finished_at))))
    })
}
