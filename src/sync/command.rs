//! A person's commands: sync now, pause until a time, resume, pin to a commit, unpin.
//!
//! A command changes only the stored decisions; the next sync carries them out.

use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::api::{Accepted, Action, LONGEST_PAUSE_MINUTES, Refusal, SCHEMA, TriggerKind};

use super::context::Context;
use super::decision_store::DECISION_DEADLINE;
use super::decisions::Decisions;
use super::handle::{Command, CommandRequest};
use super::queue::Request;

/// How long a prefix may be looked up: the git thread may be busy with a slow remote.
const LONGEST_LOOKUP: Duration = Duration::from_secs(8);

/// Carries out a command while other work goes on, and answers it.
pub(crate) fn answer(context: &Arc<Context>, order: CommandRequest) {
    let context = context.clone();
    // The loop goes on meanwhile: writing a decision may take as long as the disk does.
    tokio::spawn(async move {
        // The receiver is gone if the request was dropped.
        let _ = order.answer.send(obey(&context, order.command, order.by).await);
    });
}

async fn obey(context: &Context, command: Command, by: Option<String>) -> Result<Accepted, Refusal> {
    if context.disk.volume().is_none() {
        return Err(refusal("starting", "the volume is not open yet".into(), Some("try again in a moment")));
    }
    let Ok(_one_at_a_time) = tokio::time::timeout(DECISION_DEADLINE, context.decisions.one_at_a_time.lock()).await
    else {
        let message = "the volume does not answer: earlier commands still wait for it".to_owned();
        return Err(refusal("busy", message, Some("try again later")));
    };
    let decisions = context.decisions.current();
    match command {
        Command::Sync => {
            not_paused(&decisions)?;
            Ok(accepted(context, Some(request_sync(context, Action::Sync, by))))
        }
        Command::Pause { minutes } => {
            if !(1..=LONGEST_PAUSE_MINUTES).contains(&minutes) {
                return Err(refusal(
                    "bad_minutes",
                    format!("a pause lasts 1 to {LONGEST_PAUSE_MINUTES} minutes"),
                    None,
                ));
            }
            let end = context.clock.now().saturating_add(SignedDuration::from_mins(i64::from(minutes)));
            let paused_until = Some(end.map_err(|_| refusal("bad_minutes", "that is too far away".into(), None))?);
            decide(context, Decisions { paused_until, paused_by: by.clone(), ..decisions }).await?;
            tracing::info!(minutes, by, "paused by hand");
            Ok(accepted(context, None))
        }
        Command::Resume => {
            if decisions.paused_until.is_none() {
                return Err(refusal("not_paused", "it is not paused".into(), None));
            }
            decide(context, Decisions { paused_until: None, paused_by: None, ..decisions }).await?;
            tracing::info!(by, "resumed by hand");
            Ok(accepted(context, Some(request_sync(context, Action::Resume, by))))
        }
        Command::Pin { commit } => {
            // A pin is possible during a pause, because a bad commit is rolled back first and examined later. The pause
            // continues, and the pin outlasts it.
            let pinned = Some(resolve(context, &commit).await?);
            decide(context, Decisions { pinned, pinned_by: by.clone(), ..decisions.clone() }).await?;
            tracing::info!(commit = %commit, by, "pinned by hand");
            let sync = request_sync(context, Action::Pin, by);
            // A paused replica that publishes the commit already runs no sync before the pause ends, so none is promised.
            let waits = decisions.paused_until.is_some() && !context.decisions.pin_is_due();
            Ok(accepted(context, Some(sync).filter(|_| !waits)))
        }
        Command::Unpin => {
            not_paused(&decisions)?;
            if decisions.pinned.is_none() {
                return Err(refusal("not_pinned", "it is not pinned".into(), None));
            }
            decide(context, Decisions { pinned: None, pinned_by: None, ..decisions }).await?;
            tracing::info!(by, "unpinned by hand");
            Ok(accepted(context, Some(request_sync(context, Action::Unpin, by))))
        }
    }
}

/// Writes the end of a pause to the volume. It is already in force.
pub(crate) async fn store_end_of_pause(context: Arc<Context>) {
    let _one_at_a_time = context.decisions.one_at_a_time.lock().await;
    if let Err(error) = context.decisions.store(context.decisions.current(), Instant::now() + DECISION_DEADLINE).await {
        tracing::warn!(%error, "the pause is over, but the volume still says paused");
    }
}

/// Asks for a sync and returns the id that its record will have.
fn request_sync(context: &Context, action: Action, by: Option<String>) -> String {
    let id = context.history.next_id();
    let mut request = Request::new(TriggerKind::Manual, context.clock.now());
    (request.trigger.action, request.trigger.by) = (Some(action), by);
    request.id = Some(id.clone());
    context.queue.push(request).unwrap_or(id)
}

/// A decision that cannot be stored is refused, because a restart would forget it.
async fn decide(context: &Context, decisions: Decisions) -> Result<(), Refusal> {
    context.decisions.store(decisions.clone(), Instant::now() + DECISION_DEADLINE).await.map_err(|error| {
        let message = format!("the decision cannot be written to the volume: {error}");
        refusal("not_saved", message, Some("free space on the volume, or make it writable"))
    })?;
    context.decisions.decide(decisions);
    Ok(())
}

fn not_paused(decisions: &Decisions) -> Result<(), Refusal> {
    match decisions.paused_until {
        None => Ok(()),
        Some(end) => Err(refusal("paused", format!("it is paused until {end:.0}"), Some("resume first"))),
    }
}

/// Resolves a full hash, or a prefix that is unique in the history and the store, to a commit.
async fn resolve(context: &Context, text: &str) -> Result<Oid, Refusal> {
    let text = text.to_ascii_lowercase();
    if !crate::hash::is_prefix(&text, 4) {
        return Err(refusal("bad_commit", "a commit is named by 4 to 40 hex digits".into(), None));
    }
    if text.len() == 40 {
        return text.parse().map_err(|_| refusal("bad_commit", "that is not a commit hash".into(), None));
    }
    let found = context.history.commits_with_prefix(&text);
    match found.as_slice() {
        [one] => return one.parse().map_err(|_| refusal("bad_commit", "the history is damaged".into(), None)),
        [] => {}
        several => {
            let message = format!("{} commits of the history begin with {text}", several.len());
            return Err(refusal("ambiguous", message, Some("give more digits")));
        }
    }
    let Ok(found) = tokio::time::timeout(LONGEST_LOOKUP, context.engine.resolve_prefix(&text)).await else {
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

fn accepted(context: &Context, sync: Option<String>) -> Accepted {
    let snapshot = context.status.snapshot();
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
