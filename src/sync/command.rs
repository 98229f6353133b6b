//! A person's commands: sync now, pause until a time, resume, pin to a commit, unpin.
//!
//! A command changes only the stored decisions; the next sync carries them out.

use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use jiff::SignedDuration;

use crate::api::{Accepted, Action, Refusal, SCHEMA, TriggerKind};

use super::decisions::Decisions;
use super::handle::{Command, CommandRequest};
use super::queue::Request;
use super::tools::{DECISION_DEADLINE, Tools};

/// The longest pause, in minutes: a week. A forgotten pause is the classic outage.
const LONGEST_PAUSE: u32 = 7 * 24 * 60;

/// How long a prefix may be looked up: the git thread may be busy with a slow remote.
const LONGEST_LOOKUP: Duration = Duration::from_secs(8);

/// Carries out a command while other work goes on, and answers it.
pub fn answer(tools: &Arc<Tools>, order: CommandRequest) {
    let tools = tools.clone();
    tokio::spawn(async move {
        // The receiver is gone if the request was dropped.
        let _ = order.answer.send(obey(&tools, order.command, order.by).await);
    });
}

async fn obey(tools: &Tools, command: Command, by: Option<String>) -> Result<Accepted, Refusal> {
    if tools.volume().is_none() {
        return Err(refusal("starting", "the volume is not open yet".into(), Some("try again in a moment")));
    }
    let Ok(_one_at_a_time) = tokio::time::timeout(DECISION_DEADLINE, tools.deciding.lock()).await else {
        let message = "the volume does not answer: earlier commands still wait for it".to_owned();
        return Err(refusal("busy", message, Some("try again later")));
    };
    let decisions = tools.decisions();
    match command {
        Command::Sync => {
            not_paused(&decisions)?;
            Ok(accepted(tools, Some(request_sync(tools, Action::Sync, by))))
        }
        Command::Pause { minutes } => {
            if !(1..=LONGEST_PAUSE).contains(&minutes) {
                return Err(refusal("bad_minutes", format!("a pause lasts 1 to {LONGEST_PAUSE} minutes"), None));
            }
            let end = tools.clock.now().saturating_add(SignedDuration::from_mins(i64::from(minutes)));
            let paused_until = Some(end.map_err(|_| refusal("bad_minutes", "that is too far away".into(), None))?);
            decide(tools, Decisions { paused_until, paused_by: by.clone(), ..decisions }).await?;
            tracing::info!(minutes, by, "paused by hand");
            Ok(accepted(tools, None))
        }
        Command::Resume => {
            if decisions.paused_until.is_none() {
                return Err(refusal("not_paused", "it is not paused".into(), None));
            }
            decide(tools, Decisions { paused_until: None, paused_by: None, ..decisions }).await?;
            tracing::info!(by, "resumed by hand");
            Ok(accepted(tools, Some(request_sync(tools, Action::Resume, by))))
        }
        Command::Pin { commit } => {
            // A pin is possible during a pause, because a bad commit is rolled back first and examined later. The pause
            // continues, and the pin outlasts it.
            let pinned = Some(resolve(tools, &commit).await?);
            decide(tools, Decisions { pinned, pinned_by: by.clone(), ..decisions.clone() }).await?;
            tracing::info!(commit = %commit, by, "pinned by hand");
            let sync = request_sync(tools, Action::Pin, by);
            // A paused replica that publishes the commit already runs no sync before the pause ends, so none is promised.
            let waits = decisions.paused_until.is_some() && !tools.pin_is_due();
            Ok(accepted(tools, Some(sync).filter(|_| !waits)))
        }
        Command::Unpin => {
            not_paused(&decisions)?;
            if decisions.pinned.is_none() {
                return Err(refusal("not_pinned", "it is not pinned".into(), None));
            }
            decide(tools, Decisions { pinned: None, pinned_by: None, ..decisions }).await?;
            tracing::info!(by, "unpinned by hand");
            Ok(accepted(tools, Some(request_sync(tools, Action::Unpin, by))))
        }
    }
}

/// Writes the end of a pause to the volume. It is already in force.
pub async fn store_end_of_pause(tools: Arc<Tools>) {
    let _one_at_a_time = tools.deciding.lock().await;
    if let Err(error) = tools.store_decisions(tools.decisions()).await {
        tracing::warn!(%error, "the pause is over, but the volume still says paused");
    }
}

/// Asks for a sync and returns the id that its record will have.
fn request_sync(tools: &Tools, action: Action, by: Option<String>) -> String {
    let id = tools.history.next_id();
    let mut request = Request::new(TriggerKind::Manual, tools.clock.now());
    (request.trigger.action, request.trigger.by) = (Some(action), by);
    request.id = Some(id.clone());
    tools.queue.push(request).unwrap_or(id)
}

/// A decision that cannot be stored is refused, because a restart would forget it.
async fn decide(tools: &Tools, decisions: Decisions) -> Result<(), Refusal> {
    tools.store_decisions(decisions.clone()).await.map_err(|error| {
        let message = format!("the decision cannot be written to the volume: {error}");
        refusal("not_saved", message, Some("free space on the volume, or make it writable"))
    })?;
    tools.decide(decisions);
    Ok(())
}

fn not_paused(decisions: &Decisions) -> Result<(), Refusal> {
    match decisions.paused_until {
        None => Ok(()),
        Some(end) => Err(refusal("paused", format!("it is paused until {end:.0}"), Some("resume first"))),
    }
}

/// Resolves a full hash, or a prefix that is unique in the history and the store, to a commit.
async fn resolve(tools: &Tools, text: &str) -> Result<Oid, Refusal> {
    let text = text.to_ascii_lowercase();
    if !crate::hash::is_prefix(&text, 4) {
        return Err(refusal("bad_commit", "a commit is named by 4 to 40 hex digits".into(), None));
    }
    if text.len() == 40 {
        return text.parse().map_err(|_| refusal("bad_commit", "that is not a commit hash".into(), None));
    }
    let found = tools.history.commits_with_prefix(&text);
    match found.as_slice() {
        [one] => return one.parse().map_err(|_| refusal("bad_commit", "the history is damaged".into(), None)),
        [] => {}
        several => {
            let message = format!("{} commits of the history begin with {text}", several.len());
            return Err(refusal("ambiguous", message, Some("give more digits")));
        }
    }
    let Ok(found) = tokio::time::timeout(LONGEST_LOOKUP, tools.engine.resolve_prefix(&text)).await else {
        let message = "the object store is busy with a fetch".to_owned();
        return Err(refusal("busy", message, Some("give the full hash, or try again")));
    };
    match found {
        Ok(Some(commit)) => Ok(commit),
        Ok(None) => {
            let message = format!("no commit that begins with {text} is known here");
            Err(refusal("unknown_commit", message, Some("give the full hash: it will be fetched")))
        }
        Err(error) => Err(refusal("unknown_commit", format!("the store cannot be asked: {error}"), error.hint())),
    }
}

fn accepted(tools: &Tools, sync: Option<String>) -> Accepted {
    let snapshot = tools.status.snapshot();
    Accepted {
        schema: SCHEMA,
        sync,
        state: snapshot.state,
        paused_until: snapshot.paused_until,
        pinned: snapshot.pinned,
    }
}

fn refusal(code: &str, message: String, hint: Option<&str>) -> Refusal {
    Refusal { code: code.to_owned(), message, hint: hint.map(str::to_owned) }
}
