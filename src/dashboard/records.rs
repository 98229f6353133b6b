//! The loaded part of one replica's history: newest first, without gaps, each sync once.
//!
//! It knows records and their order, not their source.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::api::Record;

/// The most records of one replica that are kept.
pub(crate) const MAX_RECORDS: usize = 20_000;
/// The longest texts of users, and the longest names and ids, that are kept, in bytes. Those of pushsync are far shorter.
const LONG: usize = 4096;
const SHORT: usize = 256;
/// Peers that are kept of one record.
const PEERS: usize = 64;

/// Newest first.
#[derive(Clone, Debug, Default)]
pub struct Records {
    list: VecDeque<Arc<Record>>,
    ids: HashSet<String>,
    /// True once the oldest record of the replica is loaded.
    pub complete: bool,
    /// True while a page is requested.
    pub loading: bool,
}

impl Records {
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.list.iter()
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Record>> {
        // A selected sync is nearly always near the top.
        if self.ids.contains(id) { self.list.iter().find(|record| record.id == id) } else { None }
    }

    #[must_use]
    pub fn oldest(&self) -> Option<&Arc<Record>> {
        self.list.back()
    }

    /// Adds an ended sync. Returns false if it was known.
    pub fn push_newest(&mut self, mut record: Record) -> bool {
        bound(&mut record);
        if !self.ids.insert(record.id.clone()) {
            return false;
        }
        self.list.push_front(Arc::new(record));
        while self.list.len() > MAX_RECORDS {
            if let Some(dropped) = self.list.pop_back() {
                self.ids.remove(&dropped.id);
            }
            self.complete = false;
        }
        true
    }

    /// Replaces a known record by a longer version.
    pub fn replace(&mut self, mut record: Record) {
        bound(&mut record);
        if let Some(known) = self.list.iter_mut().find(|known| known.id == record.id) {
            *known = Arc::new(record);
        }
    }

    /// Merges the newest records of a snapshot. Older ones stay if the two overlap; after a gap they would be misleading,
    /// so they are dropped and loaded again when the user scrolls there. Returns the number of new records.
    pub fn meet(&mut self, recent: Vec<Record>) -> usize {
        if recent.is_empty() {
            // A replica that lost its history (a new volume) has none; the loaded one is from before.
            *self = Self { complete: true, ..Self::default() };
            return 0;
        }
        if !recent.iter().any(|record| self.ids.contains(&record.id)) {
            *self = Self::default();
        }
        // The oldest first, so that the newest is in front at the end.
        recent.into_iter().rev().filter(|record| self.push_newest(record.clone())).count()
    }

    /// Adds a page of older records, newest first.
    pub fn extend(&mut self, page: Vec<Record>) {
        self.loading = false;
        let before = self.list.len();
        for mut record in page {
            bound(&mut record);
            if self.list.len() >= MAX_RECORDS {
                break;
            }
            if self.ids.insert(record.id.clone()) {
                self.list.push_back(Arc::new(record));
            }
        }
        // A server may return fewer records than requested; only a page without new ones is the end.
        self.complete = self.list.len() == before || self.list.len() >= MAX_RECORDS;
    }
}

/// Truncates fields, so that a replica cannot fill our memory.
fn bound(record: &mut Record) {
    let cut = |text: &mut String, most: usize| {
        if text.len() > most {
            let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
    };
    cut(&mut record.id, SHORT);
    let trigger = &mut record.trigger;
    let names = [&mut record.old, &mut record.new, &mut trigger.delivery, &mut trigger.event, &mut trigger.secret];
    names.into_iter().flatten().for_each(|text| cut(text, SHORT));
    if let Some(commits) = &mut record.commits {
        cut(&mut commits.subject, LONG);
        cut(&mut commits.author, SHORT);
    }
    if let Some(error) = &mut record.error {
        cut(&mut error.kind, SHORT);
        cut(&mut error.message, LONG);
        error.hint.iter_mut().for_each(|hint| cut(hint, LONG));
    }
    record.peers.truncate(PEERS);
    for peer in &mut record.peers {
        cut(&mut peer.address, SHORT);
        cut(&mut peer.result, SHORT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sample::record;

    fn ids(records: &Records) -> Vec<u32> {
        records.iter().map(|record| record.id.parse().expect("a number")).collect()
    }

    #[test]
    fn overlapping_snapshots_add_records_and_others_replace_them() {
        let mut records = Records::default();
        assert_eq!(records.meet(vec![record(3), record(2)]), 2);
        records.extend(vec![record(1)]);
        assert_eq!(records.meet(vec![record(5), record(4), record(3)]), 2);
        assert_eq!(ids(&records), [5, 4, 3, 2, 1]);
        assert_eq!(records.meet(vec![record(90), record(89)]), 2);
        assert_eq!(ids(&records), [90, 89]);
        assert!(!records.complete);
        records.meet(Vec::new());
        assert!(records.is_empty() && records.complete);
    }

    #[test]
    fn a_longer_version_replaces_a_known_record() {
        let mut records = Records::default();
        records.meet(vec![record(3), record(2)]);
        records.replace(Record { chased: 7, ..record(2) });
        records.replace(record(9));
        assert_eq!(ids(&records), [3, 2]);
        assert_eq!(records.get("2").map(|record| record.chased), Some(7));
    }

    #[test]
    fn a_record_cannot_be_made_to_fill_the_memory() {
        let mut records = Records::default();
        let mut huge = record(1);
        huge.old = Some("é".repeat(1 << 20));
        huge.commits = Some(crate::api::Commits { count: None, subject: "x".repeat(1 << 20), author: String::new() });
        records.push_newest(huge);
        let kept = records.get("1").expect("it was pushed");
        assert_eq!(kept.old.as_ref().map(String::len), Some(SHORT));
        assert_eq!(kept.commits.as_ref().map(|commits| commits.subject.len()), Some(LONG));
    }

    #[test]
    fn pages_end_when_they_bring_nothing_new() {
        let mut records = Records::default();
        records.meet(vec![record(9)]);
        records.extend(vec![record(8), record(8), record(9)]);
        assert!(!records.complete);
        records.extend(vec![record(8)]);
        assert!(records.complete);
        assert!(!records.push_newest(record(9)));
        assert_eq!(ids(&records), [9, 8]);
        assert_eq!(records.get("8").map(|record| record.id.as_str()), Some("8"));
    }
}
