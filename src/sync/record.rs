//! Makes the record of a finished sync, and its one log line.

use git2::Oid;
use tokio::time::Instant;

use crate::api::{
    Action, Change, Commit, Commits, Detail, ErrorInfo, FileChange, Files, Outcome, PeerResult, Record, SCHEMA,
    Trigger, TriggerKind,
};
use crate::clock::millis;
use crate::error::{Phase, SyncError};
use crate::git::Span;
use crate::publish::{self, ChangeKind, Changes};

use super::context::Context;
use super::queue::PeerResults;
use super::run::{Done, RunReport};

/// The longest time for reading a published commit's details, because the next sync waits for it.
const DESCRIBE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// Merged fan-outs to a large fleet that changes between them could add up.
const MOST_PEERS: usize = 200;

/// Makes the record of a run, with what changed if something was published.
pub(crate) async fn of(context: &Context, run: RunReport, ended: Result<Done, &SyncError>) -> (Record, Detail) {
    let finished_at = context.clock.now();
    let outcome = match ended {
        Ok(done) => done.outcome(),
        Err(error) if error.phase == Phase::Gate => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    let (span, changes) = match (outcome, run.new) {
        (Outcome::Published, Some(new)) => describe(context, run.old, new).await,
        _ => (None, None),
    };
    // A fetch that downloaded nothing was none.
    let fetched = run.fetched.as_ref().filter(|fetched| fetched.objects > 0);
    let (bytes, objects) = (fetched.map(|fetched| fetched.bytes), fetched.map(|fetched| fetched.objects));
    let pinned = run.decisions.pinned.filter(|pinned| run.new == Some(*pinned));
    let trigger = name_action(context, &run, pinned).await;
    let by_action = matches!(trigger.action, Some(Action::Pin | Action::Rollback | Action::Unpin));
    let was_requested = !matches!(trigger.kind, TriggerKind::Poll | TriggerKind::Startup);
    let received = run.request.received_of(run.new);
    let counted_from = run.released_at.filter(|at| *at > received).unwrap_or(received);
    let mut sync_log = run.log;
    let error = ended.err().map(|error| {
        sync_log.error(error.to_string());
        error.to_api()
    });
    let record = Record {
        schema: SCHEMA,
        id: run.id.unwrap_or_else(|| context.history.next_id()),
        started_at: run.started_at,
        finished_at,
        trigger,
        old: run.old.map(|commit| commit.to_string()),
        new: run.new.map(|commit| commit.to_string()),
        outcome,
        commits: span.as_ref().and_then(|span| commits(span, run.old)),
        files: changes.as_ref().map(|changes| Files {
            added: changes.added,
            modified: changes.modified,
            deleted: changes.deleted,
        }),
        bytes,
        objects,
        phases: run.phases,
        received_to_published_ms: run
            .published_at
            .filter(|_| was_requested && !by_action && outcome == Outcome::Published && run.old != run.new)
            // A delivery that came after the publish has none.
            .and_then(|at| at.checked_duration_since(counted_from))
            .map(millis),
        held_ms: counted_from.checked_duration_since(received).filter(|held| !held.is_zero()).map(millis),
        chased: run.chased,
        // The delivery may have come since the listing.
        missed_webhook: run.missed_webhook
            && outcome == Outcome::Published
            && !run.new.is_some_and(|new| context.status.was_announced(new)),
        ignored_webhook: run.ignored_webhook.filter(|_| outcome == Outcome::Published),
        // A person chose another commit, so this is no rewritten history.
        rewritten: !by_action && span.as_ref().is_some_and(|span| span.rewritten),
        fast_forward: span.as_ref().filter(|_| run.old != run.new).and_then(|span| span.fast_forward),
        pinned: pinned.map(|commit| commit.to_string()),
        withheld: run.withheld.map(|commit| commit.to_string()),
        peers: peers(&run.request.peer_results),
        error,
    };
    let changes = changes.unwrap_or_default();
    let detail = Detail {
        commits: span.map(|span| span.commits.into_iter().map(commit).collect()).unwrap_or_default(),
        files_total: changes.added + changes.modified + changes.deleted,
        files: changes.first.into_iter().map(file).collect(),
        log: sync_log.into_lines(),
    };
    log(&record);
    (record, detail)
}

/// The trigger with the action of a person that this sync carries out: a pin to a commit that was live before is a rollback.
async fn name_action(context: &Context, run: &RunReport, pinned: Option<Oid>) -> Trigger {
    let mut trigger = run.request.trigger_of(run.withheld.or(run.new));
    let Some(pinned) = pinned.filter(|pinned| run.old != Some(*pinned)) else { return trigger };
    let text = pinned.to_string();
    let was_live =
        |record: &Record| record.outcome == Outcome::Published && record.new.as_deref() == Some(text.as_str());
    let went_back = context.history.page(None, usize::MAX).iter().any(was_live)
        || match run.old {
            Some(old) => {
                let deadline = Instant::now() + DESCRIBE_DEADLINE;
                context.engine.ancestry(pinned, old, deadline).await.is_ok_and(|it| it.contained == Some(true))
            }
            None => false,
        };
    trigger.action = Some(if went_back { Action::Rollback } else { Action::Pin });
    trigger.by = trigger.by.or_else(|| run.decisions.pinned_by.clone());
    trigger
}

/// The other replicas' answers so far: one result for each, the latest if several webhooks were merged.
pub(crate) fn peers(results: &[PeerResults]) -> Vec<PeerResult> {
    let mut all: Vec<PeerResult> = Vec::new();
    for results in results {
        for result in results.borrow().iter() {
            match all.iter_mut().find(|known| known.address == result.address) {
                Some(known) => known.result.clone_from(&result.result),
                None => all.push(result.clone()),
            }
        }
    }
    all.truncate(MOST_PEERS);
    all
}

async fn describe(context: &Context, old: Option<Oid>, new: Oid) -> (Option<Span>, Option<Changes>) {
    let deadline = Instant::now() + DESCRIBE_DEADLINE;
    let phase = Phase::Record;
    let span = context.with_git(phase, deadline, context.engine.span(old, new)).await;
    let compare = move |volume: &publish::Volume, _: &crate::worker::Cancel| volume.changes(&volume.store(), old, new);
    let changes = context.disk.run(phase, deadline, compare).await;
    for error in [span.as_ref().err(), changes.as_ref().err()].into_iter().flatten() {
        tracing::warn!(%error, "what was published cannot be described in full");
    }
    (span.ok(), changes.ok())
}

fn commits(span: &Span, old: Option<Oid>) -> Option<Commits> {
    let newest = span.commits.first()?;
    // The first publish brings the whole history, which is not counted as new commits.
    let count = span.count.filter(|_| old.is_some());
    Some(Commits { count, subject: newest.subject.clone(), author: newest.author.clone() })
}

fn commit(commit: crate::git::Commit) -> Commit {
    Commit {
        commit: commit.id.to_string(),
        subject: commit.subject,
        author: commit.author,
        committed_at: commit.committed_at,
    }
}

fn file((path, kind): (String, ChangeKind)) -> FileChange {
    let change = match kind {
        ChangeKind::Added => Change::Added,
        ChangeKind::Modified => Change::Modified,
        ChangeKind::Deleted => Change::Deleted,
    };
    FileChange { path, change }
}

/// The step in which a sync failed, as a part of a sentence.
fn during(phase: Phase) -> &'static str {
    match phase {
        Phase::Look => "while listing refs",
        Phase::Fetch => "while fetching",
        Phase::Build => "while building the tree",
        Phase::Gate => "in the pre-publish hook",
        Phase::Publish => "while publishing",
        Phase::Queue | Phase::Record | Phase::Unknown => "before it began",
    }
}

/// Logs one line for each sync at info or error level, readable on its own and with fields for machines.
fn log(record: &Record) {
    let short = |commit: &Option<String>| commit.as_deref().map_or("nothing", |commit| &commit[..7]).to_owned();
    let (old, new) = (short(&record.old), short(&record.new));
    let message = match (&record.outcome, &record.error) {
        (_, Some(ErrorInfo { phase, message, hint, .. })) => {
            let hint = hint.as_deref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            let stays = match &record.old {
                Some(_) => format!("{old} stays published"),
                None => "no version is published yet".to_owned(),
            };
            match record.outcome {
                Outcome::Refused => format!("the pre-publish hook refused {new}; {stays}: {message}{hint}"),
                _ => format!("sync failed {}; {stays}: {message}{hint}", during(*phase)),
            }
        }
        (Outcome::Published, _) if record.trigger.action == Some(Action::Rollback) => {
            format!("rolled back to {new} (before: {old})")
        }
        (Outcome::Published, _) => format!("published {new} (before: {old}), triggered by {}", record.trigger.kind),
        (_, _) if record.withheld.is_some() => {
            format!(
                "pinned at {new}: {} is not published, triggered by {}",
                short(&record.withheld),
                record.trigger.kind
            )
        }
        _ => format!("{new} is published already, triggered by {}", record.trigger.kind),
    };
    macro_rules! log_at {
        ($level:ident) => {
            tracing::$level!(
                sync.id = record.id,
                trigger = %record.trigger.kind,
                delivery.id = record.trigger.delivery,
                merged = record.trigger.merged,
                commit.old = record.old,
                commit.new = record.new,
                outcome = %record.outcome,
                subject = record.commits.as_ref().map(|commits| commits.subject.as_str()),
                author = record.commits.as_ref().map(|commits| commits.author.as_str()),
                files.added = record.files.map(|files| files.added),
                files.modified = record.files.map(|files| files.modified),
                files.deleted = record.files.map(|files| files.deleted),
                bytes = record.bytes,
                queue_ms = record.phases.queue_ms,
                fetch_ms = record.phases.fetch_ms,
                build_ms = record.phases.build_ms,
                gate_ms = record.phases.gate_ms,
                publish_ms = record.phases.publish_ms,
                received_to_published_ms = record.received_to_published_ms,
                chased = record.chased,
                missed_webhook = record.missed_webhook,
                ignored_webhook = record.ignored_webhook,
                by = record.trigger.by,
                error.kind = record.error.as_ref().map(|error| error.kind.as_str()),
                "{message}"
            )
        };
    }
    match record.outcome {
        Outcome::Failed | Outcome::Refused => log_at!(error),
        _ if record.missed_webhook || record.ignored_webhook.is_some() => log_at!(warn),
        _ => log_at!(info),
    }
}
