//! Maintenance of the store: compaction, and adjusting the depth of the history while no sync waits for it.
//!
//! It decides which thread does what, and when an attempt is skipped. It must not know when a push was published: the caller
//! decides when maintenance is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use git2::Oid;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::git::deadline::Deadline;
use crate::git::error::{Cause, Error};
use crate::git::fetch::commit::fetch_commit;
use crate::git::fetch::state::FetchState;
use crate::git::fetch::want::{Fetched, Want, target};
use crate::git::remote::connection::Remote;
use crate::git::store::compact::install::{Compacted, install};
use crate::git::store::compact::plan::{Effort, plan};
use crate::git::store::compact::write::write;
use crate::git::store::depth::{self, DepthFit};
use crate::git::store::handle::Store;
use crate::git::store::{completeness, repository};
use crate::remote_url::Transport;
use crate::worker::{Raised, Worker};

/// How often a compaction removes garbage that the sizes of the packs do not show.
const FULL_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a failed compaction, which costs more than it gains.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);
/// The most steps of one compaction.
const MOST_STEPS: usize = 8;
/// The longest that writing one new pack may take.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The state of maintenance.
#[derive(Debug)]
pub(crate) struct Maintenance {
    /// Writes packs, at the lowest priority.
    packer: Worker,
    /// Writes packs while a push waits for the room.
    urgent_packer: Worker,
    /// True while a push waits for the running compaction to end. That one is given up then: it would take long.
    urgent: watch::Sender<bool>,
    running: tokio::sync::Mutex<()>,
    /// True while a full compaction waits for the running one to end.
    waiting: AtomicBool,
    /// True while there is garbage that the sizes of the packs do not show.
    has_hidden_garbage: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    last_full: Instant,
    failed: Option<Instant>,
}

impl Maintenance {
    pub(crate) fn new() -> Self {
        Self {
            packer: Worker::quiet("compact"),
            urgent_packer: Worker::new("make room"),
            urgent: watch::Sender::new(false),
            running: tokio::sync::Mutex::default(),
            waiting: AtomicBool::new(false),
            has_hidden_garbage: AtomicBool::new(false),
            times: Mutex::new(Times { last_full: Instant::now(), failed: None }),
        }
    }

    /// Ends the thread until the next compaction.
    pub(crate) fn rest(&self) {
        self.packer.rest();
        self.urgent_packer.rest();
    }

    /// Compacts the store if it is worth the cost. All refs and the commits in `keep` are kept, with their history at the
    /// configured depth. `None`: there was nothing to do, or a compaction is running; a full compaction waits for that one
    /// to end.
    ///
    /// Fetches continue meanwhile, and the commits that they bring are kept.
    pub(crate) async fn compact(
        &self,
        store: &Store,
        remote: &Remote,
        effort: Effort,
        keep: Vec<Oid>,
    ) -> Result<Option<Compacted>, Error> {
        let _running = match self.running.try_lock() {
            Ok(running) => running,
            Err(_) if effort == Effort::Urgent => {
                let _urgency = Raised::raise(&self.urgent);
                self.running.lock().await
            }
            // The running compaction may have begun before the refs were dropped whose objects have to go. One that waits is
            // enough for all callers.
            Err(_) if effort == Effort::Full && !self.waiting.swap(true, Ordering::Relaxed) => {
                let running = self.running.lock().await;
                self.waiting.store(false, Ordering::Relaxed);
                running
            }
            Err(_) => return Ok(None),
        };
        let times = self.times();
        let paused = times.failed.is_some_and(|failed| failed.elapsed() < PAUSE_AFTER_FAILURE);
        if paused && effort == Effort::Worthwhile {
            return Ok(None);
        }
        let has_garbage =
            self.has_hidden_garbage.swap(false, Ordering::Relaxed) || times.last_full.elapsed() > FULL_EVERY;
        let compacted = self.compact_now(store, remote, effort, has_garbage, keep).await;
        match &compacted {
            Ok(Some(done)) if done.full => {
                self.set_times(|times| (times.last_full, times.failed) = (Instant::now(), None));
            }
            Ok(_) => self.set_times(|times| times.failed = None),
            Err(_) => {
                self.has_hidden_garbage.fetch_or(has_garbage, Ordering::Relaxed);
                self.set_times(|times| times.failed = Some(Instant::now()));
            }
        }
        compacted
    }

    async fn compact_now(
        &self,
        store: &Store,
        remote: &Remote,
        effort: Effort,
        has_garbage: bool,
        keep: Vec<Oid>,
    ) -> Result<Option<Compacted>, Error> {
        let mut done: Option<Compacted> = None;
        // On a tight volume each step frees room for the next one.
        for _ in 0..MOST_STEPS {
            let step = self.compact_step(store, remote, effort, has_garbage, keep.clone()).await;
            let step = match (step, &done) {
                // Earlier steps stay done.
                (Err(error), Some(_)) => {
                    tracing::debug!(%error, "the compaction ends before its last step");
                    break;
                }
                (step, _) => step?,
            };
            let Some(step) = step else { break };
            let goes_on = step.goes_on;
            done = Some(done.map_or(step, |before| before.followed_by(step)));
            if !goes_on {
                break;
            }
        }
        Ok(done)
    }

    async fn compact_step(
        &self,
        store: &Store,
        remote: &Remote,
        effort: Effort,
        has_garbage: bool,
        keep: Vec<Oid>,
    ) -> Result<Option<Compacted>, Error> {
        let started = Instant::now();
        let (depth, allowance) = (remote.options().depth, Arc::clone(&remote.options().allowance));
        let deadline = remote.deadline();
        let planned = store.read(&deadline, move |path, _| plan(path, effort, has_garbage, keep, depth, allowance));
        let Some(plan) = planned.await? else { return Ok(None) };
        let plan = Arc::new(plan);
        let shared = plan.clone();
        let packer = if effort == Effort::Urgent { &self.urgent_packer } else { &self.packer };
        let writing = packer.run(tokio::time::Instant::now() + LONGEST, move |cancel| write(&shared, cancel));
        let mut urgent = self.urgent.subscribe();
        let written = tokio::select! {
            written = writing => written,
            _ = urgent.wait_for(|urgent| *urgent) => {
                return Err(Error::Compaction { source: Cause::new("a push needs the room at once") });
            }
        };
        let written = written.unwrap_or_else(|lost| Err(Error::Internal { source: lost }))?;
        let Some(written) = written else { return Ok(None) };
        store.run(&remote.deadline(), move |_, _| install(&plan, written)).await.map(|mut done| {
            done.took = started.elapsed();
            Some(done)
        })
    }

    fn times(&self) -> Times {
        *self.times.lock()
    }

    fn set_times(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock());
    }

    /// Adjusts the history of a published commit to the configured depth when there is nothing else to fetch. A request is
    /// sent only if the store has too little history. Errors are logged and the attempt is repeated later; nothing changes
    /// then.
    pub(crate) async fn adjust_depth(
        &self,
        store: &Store,
        remote: &Remote,
        state: &Arc<FetchState>,
        published: Want,
        deadline: &Deadline,
    ) -> Option<Fetched> {
        let adjusted = deadline.limit(self.try_to_adjust_depth(store, remote, state, published)).await;
        adjusted.unwrap_or_else(|error| {
            state.depth.record_failure(Some(&error));
            None
        })
    }

    async fn try_to_adjust_depth(
        &self,
        store: &Store,
        remote: &Remote,
        state: &Arc<FetchState>,
        published: Want,
    ) -> Result<Option<Fetched>, Error> {
        let (commit, _) = target(&published);
        let (deadline, wanted_depth) = (remote.deadline(), remote.options().depth);
        let compared = store.read(&deadline, move |path, _| {
            // A volume that was emptied meanwhile gets its new store from the next fetch, not from here.
            let Ok(store) = repository::open_existing(path) else { return Ok(None) };
            let present = completeness::has(&store, commit)?;
            present.then(|| depth::compare(&store, commit, wanted_depth)).transpose()
        });
        // If the store lacks the commit, the fetch that brings it asks for the right depth.
        let Some(fit) = compared.await? else { return Ok(None) };
        let pinned = matches!(published, Want::Commit(_));
        let fetched = match fit {
            DepthFit::TooShallow => Some(fetch_commit(store, remote, state, published, None, false).await?),
            DepthFit::Right | DepthFit::TooDeep => None,
        };
        // The history of a pinned commit may continue where that of the followed ref ends, and would be cut there.
        if !pinned {
            self.truncate_history(store, remote, state, fetched.is_some()).await;
        }
        Ok(fetched.filter(|fetched| fetched.objects > 0))
    }

    /// Truncates the history of an earlier process if it is deeper than the configured depth. `fetched` is true if commits
    /// arrived just now.
    pub(crate) async fn truncate_history(&self, store: &Store, remote: &Remote, state: &FetchState, fetched: bool) {
        if state.depth.set_adjusted() {
            return;
        }
        let options = remote.options();
        if fetched && options.url.transport() == Transport::Local && options.depth > 0 {
            // From a local path the whole history is copied, and truncated here.
            self.has_hidden_garbage.store(true, Ordering::Relaxed);
        }
        let depth = options.depth;
        let truncated =
            store.run(&remote.deadline(), move |path, _| depth::truncate_all(&repository::open(path)?, depth)).await;
        match truncated {
            Ok(true) => self.has_hidden_garbage.store(true, Ordering::Relaxed),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the history in the store is deeper than --depth and could not be cut");
            }
        }
    }
}
