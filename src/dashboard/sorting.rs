//! The orders of the two lists, which `<` and `>` step through.

use std::cmp::Reverse;

use super::model::rows::CommitRow;

/// The order of the list of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitOrder {
    #[default]
    Newest,
    /// By the time until they were live on the last replica.
    Slowest,
    Author,
    /// Those that are live on some replicas only, then those that failed.
    Partial,
}

/// The order of the list of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodOrder {
    #[default]
    Worst,
    Name,
    /// The latest publish first.
    Age,
    Lag,
    /// By how long the last sync took.
    Took,
}

impl CommitOrder {
    const ALL: [Self; 4] = [Self::Newest, Self::Slowest, Self::Author, Self::Partial];

    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Newest => "newest first",
            Self::Slowest => "slowest first",
            Self::Author => "by author",
            Self::Partial => "not everywhere first",
        }
    }

    #[must_use]
    pub fn step(self, forward: bool) -> Self {
        step(&Self::ALL, self, forward)
    }

    /// Sorts rows that are sorted with the newest first.
    pub fn sort(self, rows: &mut [CommitRow]) {
        match self {
            Self::Newest => {}
            // All sorts are stable, so equal rows stay newest first. `None` is less than any time and is last when
            // reversed.
            Self::Slowest => rows.sort_by_key(|row| Reverse(row.last_ms)),
            Self::Author => rows.sort_by_cached_key(|row| (row.author.is_none(), row.author.clone())),
            Self::Partial => rows.sort_by_key(|row| {
                let partial = (row.newest || row.live > 0) && row.live < row.total;
                (!partial, row.failed == 0)
            }),
        }
    }
}

impl PodOrder {
    const ALL: [Self; 5] = [Self::Worst, Self::Name, Self::Age, Self::Lag, Self::Took];

    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Worst => "worst first",
            Self::Name => "by name",
            Self::Age => "last published first",
            Self::Lag => "most behind first",
            Self::Took => "slowest first",
        }
    }

    #[must_use]
    pub fn step(self, forward: bool) -> Self {
        step(&Self::ALL, self, forward)
    }
}

fn step<T: Copy + PartialEq>(all: &[T], now: T, forward: bool) -> T {
    let at = all.iter().position(|it| *it == now).unwrap_or(0);
    // The length is added first, because an unsigned number cannot be -1.
    let next = if forward { at + 1 } else { at + all.len() - 1 };
    all[next % all.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_go_round_in_both_directions() {
        assert_eq!(PodOrder::Worst.step(false), PodOrder::Took);
        assert_eq!(PodOrder::Took.step(true), PodOrder::Worst);
        assert_eq!(CommitOrder::Newest.step(true).step(false), CommitOrder::Newest);
    }
}
