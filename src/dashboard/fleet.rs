//! Results over all replicas: the newest head, which replicas have it, how far others lag, how fast pushes arrive.
//!
//! Pure functions of the model. It must not know how results are drawn.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Action, Outcome, Record, Snapshot, State};

use super::model::rows::{Latency, Sample};
use super::model::{Model, Pod, PodId, Presence, SyncRow};
use super::names;
use super::sorting::PodOrder;
use super::text;

/// Links of the chain old -> new that are followed to count how many commits a replica lags.
const CHAIN: usize = 64;

/// The state of a replica as the fleet sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Failed(u32),
    /// Never reached, or gone: old data is not shown as a state.
    Unknown,
    Behind,
    Starting,
    Syncing,
    Paused,
    Pinned,
    /// It waits for a volume that another process owns.
    Standby,
    InSync,
}

impl Shown {
    /// The word without numbers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Unknown => "?",
            Self::Behind => "behind",
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Paused => "paused",
            Self::Pinned => "pinned",
            Self::Standby => "standby",
            Self::InSync => "in sync",
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Failed(_) => 0,
            Self::Behind => 1,
            Self::Unknown => 2,
            Self::Starting => 3,
            Self::Syncing => 4,
            Self::Paused => 5,
            Self::Pinned => 6,
            Self::Standby => 7,
            Self::InSync => 8,
        }
    }
}

/// The newest commit that any replica knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub commit: String,
    /// By our clock.
    pub seen_at: Timestamp,
    /// Known once a replica published it or tried to.
    pub subject: Option<String>,
    pub author: Option<String>,
    /// True if a webhook announced it and no replica has seen it in the remote yet.
    pub announced: bool,
}

/// How far behind a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// `None`: the records do not tell.
    pub commits: Option<u32>,
    /// Since when there is something newer, by our clock.
    pub since: Timestamp,
}

/// Whether two replicas follow the same thing, so that their commits can be compared.
fn same_source(left: &Snapshot, right: &Snapshot) -> bool {
    left.repo == right.repo && left.reference == right.reference
}

/// Says how many records wait for the disks of replicas, if any do.
#[must_use]
pub fn waiting_records(model: &Model) -> Option<String> {
    let waiting = |pod: &Pod| pod.snapshot.as_ref().map_or(0, |snapshot| snapshot.history.waiting);
    let behind: Vec<&Pod> = model.pods.iter().filter(|pod| waiting(pod) > 0).collect();
    let records: u64 = behind.iter().map(|pod| waiting(pod)).sum();
    let wait = if records == 1 { "1 record waits".to_owned() } else { format!("{records} records wait") };
    match behind.as_slice() {
        [] => None,
        [one] => Some(format!("{wait} for the disk of {}", one.name)),
        several => Some(format!("{wait} for the disks of {} replicas", several.len())),
    }
}

/// The newest head among the replicas that follow what `like` follows.
#[must_use]
pub fn newest_head(model: &Model, like: &Snapshot) -> Option<Head> {
    let group = || {
        model.pods.iter().filter_map(|pod| {
            let snapshot = pod.snapshot.as_deref()?;
            same_source(snapshot, like).then_some((pod, snapshot))
        })
    };
    let seen = group().filter_map(|(pod, snapshot)| {
        let head = snapshot.head.as_ref()?;
        Some((head.commit.as_str(), pod.to_ours(head.seen_at)))
    });
    // A commit that a webhook announced is newer than those seen before it, although no replica may have fetched it.
    let announced = group().filter_map(|(pod, snapshot)| {
        let announced = snapshot.announced.as_ref()?;
        Some((announced.commit.as_str(), pod.to_ours(announced.seen_at)))
    });
    let (commit, seen_at) = seen.chain(announced).max_by_key(|(_, seen_at)| *seen_at)?;
    // Every replica sees the same commit in turn; the first time counts.
    let first_seen = group()
        .filter_map(|(pod, snapshot)| {
            let head = snapshot.head.as_ref()?;
            (head.commit == commit).then(|| pod.to_ours(head.seen_at))
        })
        .min()
        .unwrap_or(seen_at);
    let published = group().find_map(|(_, snapshot)| {
        let published = snapshot.published.as_ref()?;
        (published.commit == commit).then(|| (published.subject.clone(), published.author.clone()))
    });
    let told = published.or_else(|| {
        group().find_map(|(pod, _)| {
            // A sync without changes also names the commit, but contains no details of it.
            let mut records = pod.records.iter().take(100).filter(|record| record.new.as_deref() == Some(commit));
            let commits = records.find_map(|record| record.commits.as_ref())?;
            Some((commits.subject.clone(), commits.author.clone()))
        })
    });
    let announced = !group().any(|(_, snapshot)| {
        let published = snapshot.published.as_ref().is_some_and(|published| published.commit == commit);
        published || snapshot.head.as_ref().is_some_and(|head| head.commit == commit)
    });
    let (subject, author) = told.map_or((None, None), |(subject, author)| (Some(subject), Some(author)));
    Some(Head { commit: commit.to_owned(), seen_at: first_seen, subject, author, announced })
}

/// The head of the first replica that knows one: what the header shows.
#[must_use]
pub fn head(model: &Model) -> Option<Head> {
    let like = lead(model)?;
    newest_head(model, like)
}

/// Returns the snapshot that represents the fleet: repository and ref in the header.
#[must_use]
pub fn lead(model: &Model) -> Option<&Snapshot> {
    let snapshots = || model.pods.iter().filter(|pod| model.in_scope(pod)).filter_map(|pod| pod.snapshot.as_deref());
    snapshots().find(|snapshot| snapshot.head.is_some()).or_else(|| snapshots().next())
}

/// Returns true if this replica publishes the newest head that any replica knows.
#[must_use]
pub fn has_newest(model: &Model, pod: &Pod) -> bool {
    let Some(snapshot) = pod.snapshot.as_deref() else { return false };
    publishes(snapshot, newest_commit(model, snapshot))
}

/// True if a replica publishes the newest commit, or none is known.
fn publishes(snapshot: &Snapshot, newest: Option<&str>) -> bool {
    snapshot.published.as_ref().is_some_and(|published| newest.is_none_or(|newest| published.commit == newest))
}

/// Returns the hash of [`newest_head`], without its details.
fn newest_commit<'a>(model: &'a Model, like: &Snapshot) -> Option<&'a str> {
    let known = |pod: &'a Pod| {
        let snapshot = pod.snapshot.as_deref().filter(|it| same_source(it, like))?;
        let head = snapshot.head.as_ref().map(|head| (pod.to_ours(head.seen_at), head.commit.as_str()));
        let announced = snapshot.announced.as_ref().map(|it| (pod.to_ours(it.seen_at), it.commit.as_str()));
        Some(head.into_iter().chain(announced))
    };
    // Heads before announcements of the same moment, as in `newest_head`: the last of equals is taken.
    let all: Vec<_> = model.pods.iter().filter_map(known).flatten().collect();
    all.into_iter().max_by_key(|(seen_at, _)| *seen_at).map(|(_, commit)| commit)
}

/// The state to show.
#[must_use]
pub fn state(model: &Model, pod: &Pod) -> Shown {
    state_with(pod, &mut |snapshot| newest_commit(model, snapshot))
}

/// The state to show, given the newest commit of what a replica follows.
fn state_with<'a>(pod: &'a Pod, newest: &mut dyn FnMut(&'a Snapshot) -> Option<&'a str>) -> Shown {
    if pod.gone() {
        return Shown::Unknown;
    }
    let Some(snapshot) = pod.snapshot.as_deref() else {
        return if matches!(pod.presence, Presence::NotReady(_)) { Shown::Starting } else { Shown::Unknown };
    };
    match snapshot.state {
        State::Starting if snapshot.failures_in_row > 0 => Shown::Failed(snapshot.failures_in_row),
        State::Starting => Shown::Starting,
        State::Syncing => Shown::Syncing,
        State::Failed => Shown::Failed(snapshot.failures_in_row),
        State::Paused => Shown::Paused,
        State::Pinned => Shown::Pinned,
        State::Standby => Shown::Standby,
        State::InSync | State::Behind if publishes(snapshot, newest(snapshot)) => Shown::InSync,
        State::InSync | State::Behind => Shown::Behind,
        State::Unknown => Shown::Unknown,
    }
}

/// Returns a pause or pin that the shown state hides: it stays in force beside any other problem.
#[must_use]
pub fn hidden_hold(pod: &Pod, shown: Shown) -> Option<&'static str> {
    let snapshot = pod.snapshot.as_deref()?;
    if snapshot.paused_until.is_some() && shown != Shown::Paused {
        Some("paused")
    } else if snapshot.pinned.is_some() && shown != Shown::Pinned {
        Some("pinned")
    } else {
        None
    }
}

/// How far a replica is behind the newest head; `None` if it is not, or nothing is known.
#[must_use]
pub fn lag(model: &Model, pod: &Pod) -> Option<Lag> {
    let snapshot = pod.snapshot.as_deref()?;
    let head = newest_head(model, snapshot)?;
    let published = snapshot.published.as_ref()?;
    if published.commit == head.commit {
        return None;
    }
    Some(Lag { commits: commits_between(model, &published.commit, &head.commit), since: head.seen_at })
}

/// Adds up the records of all replicas that lead from one commit to the other.
fn commits_between(model: &Model, from: &str, to: &str) -> Option<u32> {
    let mut at = from;
    let mut count: u32 = 0;
    // Records may lead in a circle, for example after a rollback. The limit ends it.
    for _ in 0..CHAIN {
        if at == to {
            return Some(count);
        }
        let step = model.pods.iter().flat_map(|pod| pod.records.iter().take(100)).find(|record| {
            record.outcome == Outcome::Published && record.old.as_deref() == Some(at) && !record.rewritten
        })?;
        count = count.saturating_add(step.commits.as_ref()?.count?);
        at = step.new.as_deref()?;
    }
    None
}

/// The replicas that the filter lets through, the worst first.
#[must_use]
pub fn worst_first(model: &Model) -> Vec<&Pod> {
    // Computed once for each repository and ref, not for each replica.
    let mut heads: Vec<(&Snapshot, Option<&str>)> = Vec::new();
    let mut newest = |like| {
        if let Some((_, newest)) = heads.iter().find(|(known, _)| same_source(known, like)) {
            *newest
        } else {
            let newest = newest_commit(model, like);
            heads.push((like, newest));
            newest
        }
    };
    let mut pods: Vec<(bool, Shown, &Pod)> = model
        .pods
        .iter()
        .filter(|pod| model.in_scope(pod))
        .map(|pod| (pod.gone(), state_with(pod, &mut newest), pod))
        .filter(|(_, shown, pod)| model.filter.replica(&pod.name, shown.word()))
        .collect();
    pods.sort_by_cached_key(|(gone, shown, pod)| {
        // A replica that was not visited yet has no known problem: it is sorted below those with a known state.
        let unseen = *shown == Shown::Unknown && pod.problem.is_none() && !pod.live();
        (*gone, unseen, shown.rank(), !pod.live(), names::sorting_key(&pod.name))
    });
    pods.into_iter().map(|(_, _, pod)| pod).collect()
}

/// The same replicas in the order that was chosen. Replicas that follow different repositories or refs stand together.
#[must_use]
pub fn in_order(model: &Model) -> Vec<&Pod> {
    let mut pods = worst_first(model);
    let published = |pod: &Pod| {
        let published = pod.snapshot.as_deref()?.published.as_ref()?;
        published.published_at.map(|at| pod.to_ours(at))
    };
    match model.pod_order {
        PodOrder::Worst => {}
        PodOrder::Name => pods.sort_by_cached_key(|pod| names::sorting_key(&pod.name)),
        PodOrder::Age => pods.sort_by_key(|pod| Reverse(published(pod))),
        // The lag walks through the records of all replicas, so it is computed once for each and not at each
        // comparison.
        PodOrder::Lag => pods.sort_by_cached_key(|pod| {
            let lag = lag(model, pod);
            Reverse(lag.map(|lag| (lag.commits.unwrap_or(u32::MAX), Reverse(lag.since))))
        }),
        PodOrder::Took => pods.sort_by_cached_key(|pod| {
            let last = pod.records.iter().next();
            Reverse(last.map(|record| text::millis_between(record.started_at, record.finished_at)))
        }),
    }
    if model.sources.len() > 1 {
        let place = |pod: &Pod| {
            let snapshot = pod.snapshot.as_deref();
            let source = snapshot.and_then(|it| model.sources.iter().position(|source| source.is_of(it)));
            source.unwrap_or(usize::MAX)
        };
        // The sort is stable, so the chosen order remains within each repository and ref.
        pods.sort_by_key(|pod| place(pod));
    }
    pods
}

/// The replica under the cursor of the fleet's upper pane.
#[must_use]
pub fn selected_pod(model: &Model) -> Option<&Pod> {
    let order = in_order(model);
    let chosen = model.fleet_pod.as_ref().and_then(|id| order.iter().find(|pod| pod.id == *id));
    chosen.or_else(|| order.first()).copied()
}

/// Returns the index of a cursor in rows; 0 if the selected item is not shown.
#[must_use]
pub fn position(rows: &[SyncRow], selected: Option<&(PodId, String)>) -> usize {
    selected.and_then(|(pod, id)| rows.iter().position(|row| row.pod == *pod && row.record.id == *id)).unwrap_or(0)
}

/// Push to published over the newest `limit` syncs of `rows` (newest first) that changed something or failed.
#[must_use]
pub fn latency<'a>(rows: impl Iterator<Item = &'a Record>, limit: usize) -> Latency {
    let by_hand =
        |record: &Record| matches!(record.trigger.action, Some(Action::Pin | Action::Rollback | Action::Unpin));
    let measured = rows
        // A pin or rollback is no push.
        .filter(|record| !by_hand(record))
        .filter_map(|record| {
            let sample = match record.outcome {
                Outcome::Published => record.received_to_published_ms.map_or(Sample::Gap, Sample::Took),
                Outcome::Failed | Outcome::Refused => Sample::Failed,
                Outcome::Unchanged | Outcome::Unknown => return None,
            };
            Some((sample, record.finished_at))
        })
        .take(limit);
    let (mut samples, times_of_end): (Vec<Sample>, Vec<Timestamp>) = measured.unzip();
    let oldest = times_of_end.last().copied();
    samples.reverse();
    let mut times: Vec<u64> =
        samples.iter().filter_map(|sample| if let Sample::Took(time) = sample { Some(*time) } else { None }).collect();
    times.sort_unstable();
    // The nearest rank, without interpolation: of a few samples, each result is a time that occurred.
    let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Latency { p50: rank(50), p95: rank(95), max: times.last().copied(), oldest, samples }
}

/// Returns the time until a replica's next poll; not positive while it polls, since a poll without changes is not reported.
/// `None` if it does not poll, or the time is not known.
#[must_use]
pub fn until_next_look(model: &Model, pod: &Pod) -> Option<SignedDuration> {
    let snapshot = pod.snapshot.as_ref().filter(|snapshot| snapshot.paused_until.is_none())?;
    Some(pod.to_ours(snapshot.poll.next_at?).duration_since(model.now))
}

/// An age by the replica's own clock.
#[must_use]
pub fn age(model: &Model, pod: &Pod, at: Timestamp) -> SignedDuration {
    model.now.duration_since(pod.to_ours(at))
}
