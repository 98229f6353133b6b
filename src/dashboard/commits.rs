//! The commits of a view, newest first: one row for each, however many replicas published it.
//!
//! Pure functions of the model. [`standing`] determines the state of one commit on one replica.

pub mod standing;

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Action, Outcome, Record, Snapshot};

use super::fleet;
use super::model::rows::{CommitRow, How, Source};
use super::model::{Model, Pod};
use super::text;
use super::verdict;

/// Rows of the list.
const ROWS: usize = 500;
/// The records of one replica that are read.
const RECORDS: usize = 1000;

/// A row under construction.
struct Draft<'a> {
    subject: Option<&'a str>,
    author: Option<&'a str>,
    heard_at: Timestamp,
    /// The index of the replica, and its time. The oldest record of a replica counts.
    took: Vec<(usize, u64)>,
    had: Vec<usize>,
    failed: Vec<usize>,
    how: How,
}

impl Default for Draft<'_> {
    fn default() -> Self {
        Self {
            subject: None,
            author: None,
            heard_at: Timestamp::MAX,
            took: Vec::new(),
            had: Vec::new(),
            failed: Vec::new(),
            how: How::default(),
        }
    }
}

/// Returns the rows of the view, or of the selected repository, newest first and unfiltered.
#[must_use]
pub fn rows(model: &Model) -> Vec<CommitRow> {
    let mut groups: Vec<(&Snapshot, Vec<&Pod>)> = Vec::new();
    for pod in model.pods.iter().filter(|pod| model.in_scope(pod)) {
        let Some(snapshot) = pod.snapshot.as_deref() else { continue };
        // A fork, or another ref, may contain the same commit. Its replicas are counted in a row of their own.
        let same = |like: &Snapshot| like.repo == snapshot.repo && like.reference == snapshot.reference;
        match groups.iter_mut().find(|(like, _)| same(like)) {
            Some((_, pods)) => pods.push(pod),
            None => groups.push((snapshot, vec![pod])),
        }
    }
    // Replicas that never answered can only belong to the one group that there is.
    let silent = if groups.len() == 1 {
        model.pods.iter().filter(|pod| pod.snapshot.is_none() && !pod.gone()).count()
    } else {
        0
    };
    let mut rows: Vec<CommitRow> = groups.iter().flat_map(|(like, pods)| of_group(model, like, pods, silent)).collect();
    // A force push may make an old commit the head again, which is first all the same.
    rows.sort_by_key(|row| (!row.newest, Reverse(row.heard_at)));
    rows.truncate(ROWS);
    rows
}

fn of_group(model: &Model, like: &Snapshot, pods: &[&Pod], silent: usize) -> Vec<CommitRow> {
    let mut drafts: HashMap<&str, Draft<'_>> = HashMap::new();
    for (place, pod) in pods.iter().enumerate() {
        for record in pod.records.iter().take(RECORDS) {
            if let Some(commit) = record.new.as_deref() {
                take(&mut drafts, place, pod, commit, record);
            }
        }
    }
    for pod in pods {
        let Some(snapshot) = pod.snapshot.as_deref() else { continue };
        if let Some(published) = &snapshot.published {
            let draft = drafts.entry(&published.commit).or_default();
            draft.subject.get_or_insert(&published.subject);
            draft.author.get_or_insert(&published.author);
            let at = published.published_at.or(published.committed_at).map_or(model.now, |at| pod.to_ours(at));
            // Used only if no record has the time.
            if draft.heard_at == Timestamp::MAX {
                draft.heard_at = at;
            }
        }
        let head = snapshot.head.as_ref().map(|head| (&head.commit, head.seen_at));
        let announced = snapshot.announced.as_ref().map(|announced| (&announced.commit, announced.seen_at));
        for (commit, seen_at) in head.into_iter().chain(announced) {
            let draft = drafts.entry(commit).or_default();
            draft.heard_at = draft.heard_at.min(pod.to_ours(seen_at));
        }
    }
    let newest = fleet::newest_head(model, like);
    let total = pods.iter().filter(|pod| !pod.gone()).count() + silent;
    let source = Source { repo: like.repo.clone(), reference: like.reference.clone() };
    let finish = |(commit, draft): (&str, Draft<'_>)| {
        let publishes = |pod: &&&Pod| {
            let published = pod.snapshot.as_ref().and_then(|snapshot| snapshot.published.as_ref());
            !pod.gone() && published.is_some_and(|published| published.commit == commit)
        };
        let (current, old): (Vec<&&Pod>, Vec<&&Pod>) =
            pods.iter().filter(publishes).partition(|pod| verdict::is_current(model, pod));
        let (live, last_known) = (current.len(), old.len());
        let newest = newest.as_ref().filter(|head| head.commit == commit);
        let known = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        CommitRow {
            commit: commit.to_owned(),
            source: source.clone(),
            subject: known(draft.subject),
            author: known(draft.author),
            heard_at: if draft.heard_at == Timestamp::MAX { model.now } else { draft.heard_at },
            newest: newest.is_some(),
            announced: newest.is_some_and(|head| head.announced),
            live,
            last_known,
            total,
            had: draft.had.len().max(live + last_known),
            failed: draft.failed.len(),
            first_ms: draft.took.iter().map(|(_, took)| *took).min(),
            last_ms: draft.took.iter().map(|(_, took)| *took).max(),
            how: draft.how,
        }
    };
    drafts.into_iter().map(finish).collect()
}

/// Adds one record to the row of its commit.
fn take<'a>(drafts: &mut HashMap<&'a str, Draft<'a>>, place: usize, pod: &Pod, commit: &'a str, record: &'a Record) {
    if matches!(record.outcome, Outcome::Unchanged | Outcome::Unknown) {
        return;
    }
    let draft = drafts.entry(commit).or_default();
    if let Some(commits) = &record.commits {
        draft.subject.get_or_insert(&commits.subject);
        draft.author.get_or_insert(&commits.author);
    }
    draft.how.add(record);
    draft.heard_at = draft.heard_at.min(heard_at(pod, record));
    if record.outcome == Outcome::Published {
        if draft.had.last() != Some(&place) {
            draft.had.push(place);
        }
        if !by_hand(record) {
            let took = record.received_to_published_ms.unwrap_or_else(|| total(record));
            match draft.took.last_mut() {
                // Records come newest first. A restart or a rollback publishes a commit again, in a time that shows
                // nothing about its push.
                Some((known, older)) if *known == place => *older = took,
                _ => draft.took.push((place, took)),
            }
        }
    } else if draft.had.last() != Some(&place) && draft.failed.last() != Some(&place) {
        draft.failed.push(place);
    }
}

/// Returns when a replica learned of a sync's commit, by our clock.
fn heard_at(pod: &Pod, record: &Record) -> Timestamp {
    let before = record.received_to_published_ms.unwrap_or_else(|| total(record));
    let before = SignedDuration::from_millis(i64::try_from(before).unwrap_or(0));
    pod.to_ours(record.finished_at.saturating_sub(before).unwrap_or(record.finished_at))
}

fn total(record: &Record) -> u64 {
    text::millis_between(record.started_at, record.finished_at)
}

/// Returns true for a pin, rollback or unpin, which is no push.
fn by_hand(record: &Record) -> bool {
    matches!(record.trigger.action, Some(Action::Pin | Action::Rollback | Action::Unpin))
}

/// Returns the index of a commit in rows; 0 if it is not among them.
#[must_use]
pub fn position(rows: &[CommitRow], commit: Option<&String>) -> usize {
    commit.and_then(|commit| rows.iter().position(|row| row.commit == *commit)).unwrap_or(0)
}

/// The row under the cursor.
#[must_use]
pub fn selected(model: &Model) -> Option<&CommitRow> {
    model.commit_rows.get(position(&model.commit_rows, model.commit_cursor.as_ref()))
}
