//! The findings and results of a sync so far. Its record is made of them, also when it fails half way.

use git2::Oid;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{Outcome, Phase, Phases};
use crate::clock::{Clock, millis};
use crate::git::Fetched;
use crate::sync::decisions::Decisions;
use crate::sync::queue::Request;
use crate::sync::sync_log::SyncLog;

/// How a sync ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Published,
    Unchanged,
    /// The pre-publish hook refused this commit recently and no new request names it, so nothing was done.
    StillRejected,
    /// A person's decision or a newer request interrupted the sync. The request goes back into the queue.
    Interrupted,
}

impl Done {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Published => Outcome::Published,
            Self::Unchanged | Self::Interrupted | Self::StillRejected => Outcome::Unchanged,
        }
    }
}

/// The end of a sync in which nothing went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunEnd {
    pub done: Done,
    /// True if there is more to do at once: an announced commit is still to come, or only a repair was made.
    pub repeat: bool,
}

impl From<Done> for RunEnd {
    fn from(done: Done) -> Self {
        Self { done, repeat: false }
    }
}

#[derive(Debug)]
pub(crate) struct RunReport {
    /// The reason for the sync, with the deliveries that joined it meanwhile.
    pub request: Request,
    /// The decisions in force when it began.
    pub decisions: Decisions,
    pub id: Option<String>,
    pub started_at: Timestamp,
    pub started: Instant,
    pub phase: Phase,
    pub phases: Phases,
    /// The commit that the link named before, and the one that it should name.
    pub old: Option<Oid>,
    pub new: Option<Oid>,
    pub fetched: Option<Fetched>,
    pub chased: u32,
    pub missed_webhook: bool,
    /// Why the delivery of a commit that a poll found was ignored.
    pub ignored_webhook: Option<String>,
    /// The remote's commit, if a pin keeps it from being published.
    pub withheld: Option<Oid>,
    /// When a pause or pin ended last. The time that a request waited for this does not count as latency.
    pub released_at: Option<Instant>,
    /// When the link named the commit.
    pub published_at: Option<Instant>,
    pub log: SyncLog,
}

impl RunReport {
    pub(crate) fn new(request: Request, clock: &Clock, released_at: Option<Instant>) -> Self {
        let started = Instant::now();
        // A request that waited for a person was queued, in effect, when that ended.
        let queued = released_at.filter(|at| *at > request.queued).unwrap_or(request.queued);
        Self {
            id: request.id.clone(),
            started_at: clock.now(),
            started,
            phase: Phase::Queue,
            phases: Phases { queue_ms: Some(millis(started.saturating_duration_since(queued))), ..Phases::default() },
            request,
            decisions: Decisions::default(),
            old: None,
            new: None,
            fetched: None,
            chased: 0,
            missed_webhook: false,
            ignored_webhook: None,
            withheld: None,
            released_at,
            published_at: None,
            log: SyncLog::new(clock.clone()),
        }
    }

    pub(super) fn add_fetch_time(&mut self, started: Instant) {
        let so_far = self.phases.fetch_ms.unwrap_or(0);
        self.phases.fetch_ms = Some(so_far + millis(started.elapsed()));
    }

    /// Adds what another step of the fetch brought to the record.
    pub(super) fn add_fetched(&mut self, commit: Oid, objects: u64, bytes: u64) {
        let fetched = self.fetched.get_or_insert(Fetched { commit, bytes: 0, objects: 0 });
        fetched.bytes += bytes;
        fetched.objects += objects;
    }
}
