//! The commits that a replica can go back to, newest first.
//!
//! Pure functions of the loaded histories. A rollback is a sync, too, so the sync before the newest one may be of the
//! commit that was rolled back. What counts is the order in which commits went live for the first time.

use crate::api::{Action, Outcome, Record, Snapshot, TriggerKind};

use super::model::{Model, Pod};

/// Commits that are offered at most.
const MOST: usize = 50;
/// Records of one replica that are looked at.
const RECORDS: usize = 2000;
/// Digits of a hash that name a commit to a person.
pub const SHORT: usize = 7;

/// Commits in the order in which they went live for the first time, oldest first.
struct Line<'a> {
    commits: Vec<&'a str>,
    /// The index of the replica's own live commit. `None`: it is not in the list, or only as the target of a pin, which
    /// shows nothing about the commits before it.
    live: Option<usize>,
}

/// Returns the commits that went live before the live commit of this replica, newest first: never the live commit, and
/// never one that any replica is known to have published after it.
#[must_use]
pub fn earlier(model: &Model, pod: &Pod) -> Vec<String> {
    let Some(snapshot) = pod.snapshot.as_deref() else { return Vec::new() };
    let Some(live) = snapshot.published.as_ref().map(|published| published.commit.as_str()) else { return Vec::new() };
    let same = |other: &&Pod| other.snapshot.as_deref().is_some_and(|other| same_source(other, snapshot));
    // The replica's own history is used first; a new pod has none, and the others know which commits were live before.
    let others = model.pods.iter().filter(|other| other.id != pod.id).filter(same);
    let lines: Vec<Line<'_>> = std::iter::once(pod).chain(others).map(|pod| line(pod, live)).collect();
    let newer: Vec<&str> =
        lines.iter().filter_map(|line| Some(&line.commits[line.live? + 1..])).flatten().copied().collect();
    let mut found: Vec<String> = Vec::new();
    for line in &lines {
        let Some(at) = line.live else { continue };
        for commit in line.commits[..at].iter().rev() {
            let fits = commit.len() >= SHORT && *commit != live && !newer.contains(commit);
            if fits && found.len() < MOST && !found.iter().any(|known| known == commit) {
                found.push((*commit).to_owned());
            }
        }
    }
    found
}

fn same_source(left: &Snapshot, right: &Snapshot) -> bool {
    left.repo == right.repo && left.reference == right.reference
}

fn line<'a>(pod: &'a Pod, live: &str) -> Line<'a> {
    let mut commits: Vec<&str> = Vec::new();
    let mut place = None;
    let records: Vec<&Record> = pod
        .records
        .iter()
        .take(RECORDS)
        .map(AsRef::as_ref)
        .filter(|record| record.outcome == Outcome::Published)
        .collect();
    for record in records.into_iter().rev() {
        let Some(new) = record.new.as_deref() else { continue };
        if let Some(old) = record.old.as_deref()
            && !commits.contains(&old)
        {
            if old == live {
                place = Some(commits.len());
            }
            commits.push(old);
        }
        if !commits.contains(&new) {
            if new == live && !may_go_back(record) {
                place = Some(commits.len());
            }
            commits.push(new);
        }
    }
    Line { commits, live: place }
}

/// Returns true for a sync by a user that is not known to be a fast-forward, and may be a rollback.
fn may_go_back(record: &Record) -> bool {
    let forward = !record.rewritten && record.commits.as_ref().is_some_and(|commits| commits.count.is_some());
    match record.trigger.action {
        Some(Action::Rollback) => true,
        Some(Action::Sync | Action::Resume | Action::Unpin) => false,
        // A sidecar with a shallow store cannot determine it, and one of an earlier version does not report it.
        Some(Action::Pin | Action::Unknown) | None => {
            record.trigger.kind == TriggerKind::Manual && record.old.is_some() && !forward
        }
    }
}
