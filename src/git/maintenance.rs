//! Keeping the store small and its history as deep as asked, while nobody waits for it.
//!
//! The engine's side of `compact` and `depth`: which thread does what, and when it is not even tried. It must not know
//! when a push was published, or that there was none; who does calls it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::Oid;
use tokio::time::timeout_at;

use crate::git::engine::Engine;
use crate::git::error::Error;
use crate::git::fetch::want;
use crate::git::fetch::want::{Fetched, Want};
use crate::git::store::compact::install::Compacted;
use crate::git::store::compact::plan::Effort;
use crate::git::store::compact::{install, plan, write};
use crate::git::store::{completeness, depth, repository};
use crate::remote_url::Transport;
use crate::worker::Worker;

/// Garbage that no size tells of is looked for this often.
const FULL_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After a failure it is not tried again at once: it costs more than it gains.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);
/// The longest that writing one new pack may take.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Between two tries to fetch more of the history: at most so much, doubling from nothing and a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// What the engine remembers of it.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// Writes packs. A push that builds meanwhile goes first.
    pub(crate) packer: Worker,
    one_at_a_time: tokio::sync::Mutex<()>,
    /// True while somebody who must not be left out waits for the other to end.
    waiting: AtomicBool,
    /// True once the history was compared with the configured depth.
    pub fitted: AtomicBool,
    /// The last try to fetch more of the history, if it failed.
    short: Mutex<Option<Short>>,
    /// True while there is garbage that the sizes of the packs do not show.
    due: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    last_full: Instant,
    failed: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Short {
    since: Instant,
    tries: u32,
}

impl Upkeep {
    pub fn new() -> Self {
        Self {
            packer: Worker::quiet("compact"),
            one_at_a_time: tokio::sync::Mutex::default(),
            waiting: AtomicBool::new(false),
            fitted: AtomicBool::new(false),
            short: Mutex::default(),
            due: AtomicBool::new(false),
            times: Mutex::new(Times { last_full: Instant::now(), failed: None }),
        }
    }

    /// The history stays less deep than is asked for. That is no reason to withhold a commit, but one to try again.
    pub fn fell_short(&self, reason: Option<&Error>) {
        let mut short = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = short.map_or(0, |short| short.tries) + 1;
        *short = Some(Short { since: Instant::now(), tries });
        let reason = reason.map(ToString::to_string);
        tracing::warn!(reason, "the history could not be fetched as deep as --depth asks for; it will be tried again");
    }

    fn short(&self) -> Option<Short> {
        *self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_misfit(&self) -> bool {
        match self.short() {
            Some(short) => short.since.elapsed() >= pause(short.tries),
            None => !self.fitted.load(Ordering::Relaxed),
        }
    }

    fn short_tries(&self) -> Option<u32> {
        self.short().map(|short| short.tries)
    }

    fn all_fit(&self, tries: Option<u32>) {
        let mut short = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        if short.map(|short| short.tries) == tries {
            *short = None;
        }
    }

    fn times(&self) -> Times {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_times(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Engine {
    /// Makes the store smaller, if it is worth it. What refs name is kept, and so is `keep`, each with its history at the
    /// configured depth. `None`: there was nothing to do, or another one is under way; who
    /// asks for all of it waits for that one to end.
    ///
    /// Fetches go on meanwhile; what they bring stays.
    pub async fn compact(&self, effort: Effort, keep: Vec<Oid>) -> Result<Option<Compacted>, Error> {
        let upkeep = self.upkeep();
        let _alone = match upkeep.one_at_a_time.try_lock() {
            Ok(alone) => alone,
            // The one under way may have begun before what is to be dropped now. One waiting is enough for all.
            Err(_) if effort == Effort::Full && !upkeep.waiting.swap(true, Ordering::Relaxed) => {
                let alone = upkeep.one_at_a_time.lock().await;
                upkeep.waiting.store(false, Ordering::Relaxed);
                alone
            }
            Err(_) => return Ok(None),
        };
        let times = upkeep.times();
        let paused = times.failed.is_some_and(|failed| failed.elapsed() < PAUSE_AFTER_FAILURE);
        if paused && effort == Effort::Worthwhile {
            return Ok(None);
        }
        let due = upkeep.due.swap(false, Ordering::Relaxed) || times.last_full.elapsed() > FULL_EVERY;
        let compacted = self.compact_now(effort, due, keep).await;
        match &compacted {
            Ok(Some(done)) if done.full => {
                upkeep.set_times(|times| (times.last_full, times.failed) = (Instant::now(), None));
            }
            Ok(_) => upkeep.set_times(|times| times.failed = None),
            Err(_) => {
                upkeep.due.fetch_or(due, Ordering::Relaxed);
                upkeep.set_times(|times| times.failed = Some(Instant::now()));
            }
        }
        compacted
    }

    async fn compact_now(&self, effort: Effort, due: bool, keep: Vec<Oid>) -> Result<Option<Compacted>, Error> {
        let started = Instant::now();
        let plan = self.run_quietly(self.deadline(), move |inner, _| {
            let options = &inner.options;
            plan::plan(&inner.store, effort, due, keep, (options.depth, &options.allowance))
        });
        let Some(plan) = plan.await? else { return Ok(None) };
        let plan = Arc::new(plan);
        let shared = plan.clone();
        let written = self
            .upkeep()
            .packer
            .run(tokio::time::Instant::now() + LONGEST, move |cancel| write::write(&shared, cancel));
        let written = written.await.unwrap_or_else(|lost| Err(Error::Internal { source: lost }))?;
        let Some(written) = written else { return Ok(None) };
        self.run(move |_, _| install::install(&plan, written)).await.map(|mut done| {
            done.took = started.elapsed();
            Some(done)
        })
    }

    /// True if the history may be of another depth than is asked for: an earlier process filled the store, and this one has
    /// not compared it yet, or could not fetch what is lacking.
    #[must_use]
    pub fn may_misfit(&self) -> bool {
        self.upkeep().may_misfit()
    }

    /// How many tries to fetch more of the history failed in a row. To be asked before [`Engine::fit`], for
    /// [`Engine::all_fit`].
    #[must_use]
    pub fn short_tries(&self) -> Option<u32> {
        self.upkeep().short_tries()
    }

    /// All that is to be fitted was: nothing is too short any more, if no try failed since there were so many.
    pub fn all_fit(&self, tries: Option<u32>) {
        self.upkeep().all_fit(tries);
    }

    /// Gives the history of what is published the depth that is asked for, though there is nothing else to fetch. The remote
    /// is asked only if the store has too little of it. What goes wrong is told and tried again, and changes nothing.
    pub async fn fit(&self, live: Want, deadline: tokio::time::Instant) -> Option<Fetched> {
        let fitted = timeout_at(deadline, self.try_to_fit(live)).await.unwrap_or_else(|_| Err(self.late()));
        fitted.unwrap_or_else(|error| {
            self.upkeep().fell_short(Some(&error));
            None
        })
    }

    async fn try_to_fit(&self, live: Want) -> Result<Option<Fetched>, Error> {
        let (commit, _) = want::target(&live);
        let compared = self.run_quietly(self.deadline(), move |inner, _| {
            // If somebody emptied the volume it is not for this to make a new store.
            let Ok(store) = repository::open_existing(&inner.store) else { return Ok(None) };
            let there = completeness::has(&store, commit)?;
            there.then(|| depth::compare(&store, commit, inner.options.depth)).transpose()
        });
        // Of a commit that is not there, whoever fetches it asks for as much as is wanted.
        let Some(fit) = compared.await? else { return Ok(None) };
        let pinned = matches!(live, Want::Commit(_));
        let fetched = match fit {
            depth::DepthFit::TooShallow => Some(self.fetch_at_depth(live, None, false).await?),
            depth::DepthFit::Right | depth::DepthFit::TooDeep => None,
        };
        // A pinned commit's history may lead on where our ref's ends, and would be cut there.
        if !pinned {
            self.fit_history(fetched.is_some()).await;
        }
        Ok(fetched.filter(|fetched| fetched.objects > 0))
    }

    /// Cuts the history of an earlier process back, if it is deeper than is asked for now. `fetched`: something of it came.
    pub(crate) async fn fit_history(&self, fetched: bool) {
        if self.upkeep().fitted.swap(true, Ordering::Relaxed) {
            return;
        }
        if fetched && self.options().url.transport() == Transport::Local && self.options().depth > 0 {
            // All of the history came, and was cut here.
            self.upkeep().due.store(true, Ordering::Relaxed);
        }
        let cut = self.run(|inner, _| depth::truncate_all(&repository::open(&inner.store)?, inner.options.depth)).await;
        match cut {
            Ok(true) => self.upkeep().due.store(true, Ordering::Relaxed),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the history in the store is deeper than --depth and could not be cut");
            }
        }
    }
}

fn pause(tries: u32) -> Duration {
    Duration::from_secs((1 << tries.min(10)) >> 1).saturating_sub(Duration::from_secs(1)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_cannot_be_fetched_is_asked_for_ever_more_rarely() {
        let pauses: Vec<u64> = [1, 2, 3, 4, 9, 10, 40].map(|tries| pause(tries).as_secs()).to_vec();
        assert_eq!(pauses, [0, 1, 3, 7, 255, 300, 300]);
    }

    #[test]
    fn after_a_failure_the_pause_counts_also_if_nothing_was_compared_so_far() {
        let upkeep = Upkeep::new();
        assert!(upkeep.may_misfit(), "an earlier process filled the store");
        for _ in 0..2 {
            upkeep.fell_short(None);
        }
        assert!(!upkeep.may_misfit(), "the second pause has a second");
        // One of two was fitted, and the other failed meanwhile.
        let before = upkeep.short_tries();
        upkeep.fell_short(None);
        upkeep.all_fit(before);
        assert_eq!(upkeep.short_tries(), Some(3), "the next pause is longer, not the first again");
        upkeep.all_fit(Some(3));
        assert!(upkeep.may_misfit() && upkeep.short_tries().is_none());
        upkeep.fitted.store(true, Ordering::Relaxed);
        assert!(!upkeep.may_misfit());
    }
}
