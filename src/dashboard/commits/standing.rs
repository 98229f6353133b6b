//! The state of one commit on one replica: live, replaced, failed, or why it was not published.
//!
//! Pure functions of the model and of a verdict of the same moment.

use std::sync::Arc;

use crate::api::{Outcome, Record, State};
use crate::dashboard::ask::{self, Contained};
use crate::dashboard::model::rows::CommitRow;
use crate::dashboard::model::{Model, Pod};
use crate::dashboard::text;
use crate::dashboard::verdict::words::sentence;
use crate::dashboard::verdict::{self, Verdict, Why};

/// The records of one replica that are read.
const RECORDS: usize = 1000;
/// The most names in a line about several replicas.
const NAMES: usize = 3;

/// The state of the commit on the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The last attempt failed, with the reason.
    Failed(String),
    /// It is not published yet, or a pin or a pause prevents it.
    Lacking(Why),
    /// The current state is not known.
    Unknown(Why),
    /// It publishes another commit, and no record of this one is loaded.
    Skipped {
        live: String,
    },
    Replaced {
        by: String,
    },
    /// Its published commit contains the commit.
    Contained {
        by: String,
    },
    Live,
}

impl Standing {
    /// Returns a word for a column.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Lacking(Why::Paused { .. }) => "paused",
            Self::Lacking(Why::Pinned { .. }) => "pinned",
            Self::Lacking(Why::Syncing) => "syncing",
            Self::Lacking(Why::Starting | Why::NotReady { .. }) => "starting",
            Self::Lacking(Why::NeverSeen) => "never seen",
            Self::Lacking(Why::Replaced { .. }) => "taken back",
            Self::Lacking(_) => "behind",
            Self::Unknown(_) => "?",
            Self::Skipped { .. } => "not there",
            Self::Replaced { .. } => "replaced",
            Self::Contained { .. } => "contained",
            Self::Live => "live",
        }
    }

    /// Returns the reason as a sentence; empty for a live commit.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Failed(message) => message.clone(),
            Self::Lacking(why) | Self::Unknown(why) => sentence(why),
            Self::Skipped { live } => format!("it publishes {}", text::short(live)),
            Self::Replaced { by } => format!("replaced by {}", text::short(by)),
            Self::Contained { by } => format!("contained in {}, which is live", text::short(by)),
            Self::Live => String::new(),
        }
    }

    /// Returns true if the commit is live there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live | Self::Contained { .. })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Failed(_) => 0,
            Self::Lacking(_) => 1,
            Self::Unknown(_) => 2,
            Self::Skipped { .. } => 3,
            Self::Replaced { .. } => 4,
            Self::Contained { .. } => 5,
            Self::Live => 6,
        }
    }
}

/// One replica of a commit's screen.
#[derive(Clone, Debug)]
pub struct OnReplica<'a> {
    pub pod: &'a Pod,
    pub standing: Standing,
    /// The sync that published it, or last tried to.
    pub record: Option<&'a Arc<Record>>,
}

/// Returns the state of a commit on every replica of the view, the worst first.
#[must_use]
pub fn all<'a>(model: &'a Model, verdict: &Verdict, commit: &str) -> Vec<OnReplica<'a>> {
    // A commit that is only asked about is in no row, and any replica may have it.
    let source = model.all_commits.iter().find(|row| row.commit == commit).map(|row| &row.source);
    let belongs = |pod: &&Pod| {
        let other = pod.snapshot.as_deref().zip(source);
        let same = other.is_none_or(|(snapshot, source)| source.is_of(snapshot));
        same && model.in_scope(pod) && !pod.gone()
    };
    let mut found: Vec<OnReplica<'a>> =
        model.pods.iter().filter(belongs).map(|pod| on(model, verdict, pod, commit)).collect();
    found.sort_by(|left, right| {
        let key = |it: &OnReplica<'a>| (it.standing.rank(), it.pod.name.clone());
        key(left).cmp(&key(right))
    });
    found
}

fn on<'a>(model: &Model, verdict: &Verdict, pod: &'a Pod, commit: &str) -> OnReplica<'a> {
    let mine = || pod.records.iter().take(RECORDS).filter(|record| record.new.as_deref() == Some(commit));
    let published = mine().find(|record| record.outcome == Outcome::Published);
    let failed = mine().find(|record| matches!(record.outcome, Outcome::Failed | Outcome::Refused));
    OnReplica { pod, standing: judge(model, verdict, pod, commit, published, failed), record: published.or(failed) }
}

fn judge(
    model: &Model,
    verdict: &Verdict,
    pod: &Pod,
    commit: &str,
    published: Option<&Arc<Record>>,
    failed: Option<&Arc<Record>>,
) -> Standing {
    let why = verdict.why(&pod.id).cloned();
    let Some(snapshot) = pod.snapshot.as_deref().filter(|_| verdict::is_current(model, pod)) else {
        return Standing::Unknown(why.unwrap_or(Why::NotLookedAt));
    };
    let live = snapshot.published.as_ref().map(|published| published.commit.clone());
    // First, because a published commit is live even if a later sync failed or the replica is paused.
    if live.as_deref() == Some(commit) {
        return Standing::Live;
    }
    let about_it = verdict.groups.iter().any(|group| group.target.as_ref().is_some_and(|it| it.commit == commit));
    if about_it && model.asked().is_some() && ask::contained(pod) == Contained::Yes {
        return Standing::Contained { by: live.unwrap_or_default() };
    }
    // The reasons of the verdict are about its own commit and would be wrong for another one.
    match (about_it, why) {
        (true, Some(Why::Failed { message, pinned: None, .. })) => return Standing::Failed(message),
        (true, Some(Why::Failed { message, pinned: Some(commit), .. })) => {
            return Standing::Failed(format!(
                "pinned at {}, and the last sync failed: {message}",
                text::short(&commit)
            ));
        }
        (true, Some(why)) => return Standing::Lacking(why),
        _ => {}
    }
    let Some(live) = live else { return Standing::Lacking(Why::Starting) };
    // A publish counts more than a failure: the sync before it, or a repetition after it, may have failed.
    if published.is_some() {
        return Standing::Replaced { by: live };
    }
    if let Some(error) = failed.and_then(|record| record.error.as_ref()) {
        return Standing::Failed(format!("{} failed: {}", text::phase(error.phase), error.message));
    }
    let pinned = snapshot.pinned.clone();
    if snapshot.paused_until.is_some() || snapshot.state == State::Paused {
        let left = snapshot.paused_until.map(|until| pod.to_ours(until).duration_since(model.now));
        return Standing::Lacking(Why::Paused { left, by: snapshot.paused_by.clone(), news: false, pinned });
    }
    if let Some(commit) = pinned {
        return Standing::Lacking(Why::Pinned { commit, by: snapshot.pinned_by.clone() });
    }
    Standing::Skipped { live }
}

/// Lists the replicas that lack a commit, one line for each reason.
#[must_use]
pub fn lacking(model: &Model, verdict: &Verdict, row: &CommitRow) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    let mut add = |words: String, name| match reasons.iter_mut().find(|(known, _)| *known == words) {
        Some((_, names)) => names.push(name),
        None => reasons.push((words, vec![name])),
    };
    let on_all = all(model, verdict, &row.commit);
    for it in &on_all {
        // A replica that publishes the newest commit and is paused, for example, would not notice a newer one.
        let doubt = verdict.why(&it.pod.id).filter(|_| it.standing == Standing::Live && row.newest);
        match (&it.standing, doubt) {
            (Standing::Live | Standing::Contained { .. }, None) => {}
            (_, Some(doubt)) => add(format!("not sure of NAMES: {}", sentence(doubt)), &it.pod.short),
            (Standing::Replaced { .. }, None) => add(format!("{} on NAMES", it.standing.words()), &it.pod.short),
            (Standing::Unknown(why), None) => add(format!("not sure of NAMES: {}", sentence(why)), &it.pod.short),
            _ => add(format!("not on NAMES: {}", it.standing.words()), &it.pod.short),
        }
    }
    let line = |(words, names): &(String, Vec<&str>)| {
        let named = if names.len() > NAMES {
            format!("{} of {} replicas", names.len(), on_all.len())
        } else {
            text::clean(&names.join(", ")).into_owned()
        };
        text::clean(&words.replacen("NAMES", &named, 1)).into_owned()
    };
    reasons.iter().map(line).collect()
}
