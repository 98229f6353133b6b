//! Summarizes the results of one fan-out for the record: every peer of a small fleet, the exceptions of a large one.
//!
//! It knows addresses and results, not how they were obtained.

use crate::api::PeerResult;

use super::fate::Fate;

/// The most peers of each kind that are named. A record with a thousand names would be too long for every snapshot.
const NAMED: usize = 50;

/// Results so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    told: Vec<String>,
    failed: Vec<PeerResult>,
    more_told: usize,
    more_failed: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, address: String, fate: Fate) {
        match fate {
            // This replica is no peer of its own: it was neither told, nor did it fail.
            Fate::Own => {}
            Fate::Told if self.told.len() < NAMED => self.told.push(address),
            Fate::Told => self.more_told += 1,
            _ if self.failed.len() < NAMED => {
                self.failed.push(PeerResult { address, result: fate.text() });
            }
            _ => self.more_failed += 1,
        }
    }

    #[must_use]
    pub(crate) fn told(&self) -> usize {
        self.told.len() + self.more_told
    }

    #[must_use]
    pub(crate) fn failed(&self) -> usize {
        self.failed.len() + self.more_failed
    }

    /// Describes the first failures.
    #[must_use]
    pub(crate) fn failures(&self) -> String {
        let words: Vec<String> =
            self.failed.iter().take(5).map(|peer| format!("{} {}", peer.address, peer.result)).collect();
        words.join(", ")
    }

    /// Returns the results for the record: failures first, each group sorted by address.
    #[must_use]
    pub(crate) fn results(&self) -> Vec<PeerResult> {
        let mut failed = self.failed.clone();
        // Answers arrive in any order, and the same results must make the same record.
        failed.sort_by(|one, other| one.address.cmp(&other.address));
        let mut told = self.told.clone();
        told.sort();
        let others =
            |count: usize, result: &str| PeerResult { address: format!("{count} others"), result: result.to_owned() };
        failed.extend((self.more_failed > 0).then(|| others(self.more_failed, "failed")));
        failed.extend(told.into_iter().map(|address| PeerResult { address, result: Fate::Told.word().to_owned() }));
        failed.extend((self.more_told > 0).then(|| others(self.more_told, Fate::Told.word())));
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_summed_up_and_its_failures_come_first() {
        let mut tally = Tally::default();
        for number in 0..1000 {
            tally.add(format!("peer-{number:03}"), Fate::Told);
        }
        tally.add("late".into(), Fate::TimedOut);
        tally.add("ourselves".into(), Fate::Own);
        tally.add("closed".into(), Fate::Unreachable);
        let results = tally.results();
        assert_eq!((tally.told(), tally.failed(), results.len()), (1000, 2, 2 + NAMED + 1));
        let text = |at: usize| format!("{} {}", results[at].address, results[at].result);
        assert_eq!(
            (text(0), text(1), text(2)),
            ("closed unreachable".into(), "late timed_out".into(), "peer-000 told".into())
        );
        assert_eq!(text(results.len() - 1), "950 others told");
        for number in 0..NAMED {
            tally.add(format!("dead-{number}"), Fate::TimedOut);
        }
        assert_eq!(tally.results()[NAMED].address, "2 others");
    }
}
