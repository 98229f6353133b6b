//! The grace periods of replaced trees, which are kept for the readers that still use them.
//!
//! They are measured by the monotonic clock, which clock corrections do not change. Only for trees of an earlier process the
//! file system's times are read, once; a time in the future counts as now. It must not delete anything itself.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::fs::Stat;

use crate::clock::Clock;
use crate::publish::volume::names::{MARKED, UNFINISHED};

/// The state of the entries of `.worktrees` in this process.
#[derive(Debug, Default)]
pub(crate) struct GracePeriods {
    /// The end of each entry's grace period.
    ends: HashMap<Vec<u8>, Instant>,
    /// Temporary folders of builds that are running now.
    building: HashSet<Vec<u8>>,
}

impl GracePeriods {
    pub(crate) fn begin_build(&mut self, name: Vec<u8>) {
        self.building.insert(name);
    }

    pub(crate) fn end_build(&mut self, name: &[u8]) {
        self.building.remove(name);
    }

    /// Notes that the link no longer names the entry.
    pub(crate) fn replaced(&mut self, name: Vec<u8>, grace: Duration) {
        self.ends.insert(name, after(Instant::now(), grace));
    }

    /// Notes that the entry is live again, or gone.
    pub(crate) fn forget(&mut self, name: &[u8]) {
        self.ends.remove(name);
    }

    /// Returns true if the entry was replaced, and its grace period is not over.
    pub(crate) fn is_in_grace(&self, name: &[u8]) -> bool {
        self.ends.get(name).is_some_and(|end| *end > Instant::now())
    }

    /// Returns how long the entry has to be kept; `None` if it may be removed. `Duration::MAX`: until its build has ended.
    pub(crate) fn remaining(&mut self, name: &[u8], stat: &Stat, grace: Duration) -> Option<Duration> {
        if name.starts_with(UNFINISHED.as_bytes()) || name.starts_with(MARKED.as_bytes()) {
            return self.building.contains(name).then_some(Duration::MAX);
        }
        let now = Instant::now();
        let left = || grace.saturating_sub(age(stat));
        let end = *self.ends.entry(name.to_vec()).or_insert_with(|| after(now, left()));
        (end > now).then(|| end - now)
    }
}

/// Returns the end of a grace period. One of years does not fit some clocks; it ends after a day then.
fn after(now: Instant, grace: Duration) -> Instant {
    now.checked_add(grace).unwrap_or_else(|| now + Duration::from_secs(24 * 60 * 60))
}

fn age(stat: &Stat) -> Duration {
    let now = Clock::real().now().as_second();
    // The types of these fields differ between systems.
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "not useless on all of them"
    )]
    let changed = i64::try_from(stat.st_mtime).unwrap_or(i64::MAX);
    // One second less, because the file system's time is truncated to seconds here.
    Duration::from_secs(u64::try_from(now.saturating_sub(changed)).unwrap_or(0).saturating_sub(1))
}
