//! The number of bytes that the process may still write to the volume: `--volume-limit`, and the container's memory
//! for a volume in memory.
//!
//! A pod whose emptyDir exceeds its `sizeLimit` is evicted, on every node that received the same push. Therefore
//! bytes are counted before they are written, and rejected beyond the limit. This module must not know what is
//! written, or how a volume is measured.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::text;

const MOST_UNCOUNTED: u64 = 4 << 20;

/// A limit and the used part of it. Shared by everything that writes to one volume.
#[derive(Debug)]
pub struct Allowance {
    limit: AtomicU64,
    used: AtomicU64,
    /// The part of the container's memory that a volume in memory may use.
    memory: Option<u64>,
}

/// The bytes do not fit within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the volume would cross its limit of {}", text::size(*limit))]
pub struct Exceeded {
    pub limit: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Allowance {
    /// `memory` is the container's memory limit, which matters only for a volume in memory.
    #[must_use]
    pub fn new(limit: Option<u64>, memory: Option<u64>) -> Self {
        // The rest is for the program itself and for what libgit2 unpacks.
        let memory = memory.map(|memory| memory - memory / 4);
        Self { limit: AtomicU64::new(limit.unwrap_or(u64::MAX)), used: AtomicU64::new(0), memory }
    }

    /// Applies the memory limit, because the volume turned out to be in memory. Returns it if there is one.
    pub fn is_in_memory(&self) -> Option<u64> {
        let memory = self.memory?;
        self.limit.fetch_min(memory, Ordering::Relaxed);
        Some(memory)
    }

    /// Returns the limit, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != u64::MAX).then_some(limit)
    }

    /// Returns how many bytes may still be written; `None` without a limit.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        Some(self.limit()?.saturating_sub(self.used.load(Ordering::Relaxed)))
    }

    /// Counts bytes that are about to be written.
    ///
    /// # Errors
    /// [`Exceeded`], if they would exceed the limit. They are not counted then.
    pub fn take(&self, bytes: u64) -> Result<(), Exceeded> {
        let Some(limit) = self.limit() else { return Ok(()) };
        // Leave space for bytes that are not counted individually: indexes of packs, the history, growing folders.
        let rest = limit.saturating_sub(MOST_UNCOUNTED.min(limit / 64));
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= rest);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| Exceeded { limit })
    }

    /// Takes removed bytes out of the count.
    pub fn give_back(&self, bytes: u64) {
        // A measurement in between may not have counted these bytes.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Sets the used bytes after a measurement of the volume.
    pub fn measured(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_told_in_units() {
        assert_eq!(Exceeded { limit: 3_000_000 }.to_string(), "the volume would cross its limit of 2.9 MiB");
    }

    #[test]
    fn bytes_are_refused_beyond_the_limit_and_not_counted() {
        let allowance = Allowance::new(Some(100), None);
        allowance.measured(60);
        assert_eq!(allowance.take(40), Err(Exceeded { limit: 100 }), "a 64th is kept for what is not counted");
        assert_eq!((allowance.take(39), allowance.left()), (Ok(()), Some(1)));
        assert_eq!(allowance.take(1), Err(Exceeded { limit: 100 }));
        assert_eq!(allowance.take(u64::MAX), Err(Exceeded { limit: 100 }));
        allowance.measured(10);
        assert_eq!(allowance.left(), Some(90));
        allowance.give_back(4);
        assert_eq!(allowance.left(), Some(94));
        allowance.give_back(50);
        assert_eq!(allowance.left(), Some(100));
    }

    #[test]
    fn memory_counts_only_for_a_volume_in_memory() {
        let allowance = Allowance::new(None, Some(400));
        assert_eq!((allowance.limit(), allowance.take(1 << 40)), (None, Ok(())));
        assert_eq!((allowance.is_in_memory(), allowance.limit()), (Some(300), Some(300)));
        let tighter = Allowance::new(Some(200), Some(400));
        tighter.is_in_memory();
        assert_eq!(tighter.limit(), Some(200));
        assert_eq!(Allowance::default().is_in_memory(), None);
    }
}
