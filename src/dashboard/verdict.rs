//! The verdict of a view at one moment: is a commit live on every replica, and if not, where not and why.
//!
//! [`judge`] is a pure function of the model. The screen's header, `--check`, `--wait`, `--once` and the JSON document all
//! use its result, so they cannot disagree. Replicas that follow different repositories or refs are judged in groups and
//! never added up. It knows no output format; the words are in [`words`].

pub mod words;

use jiff::SignedDuration;

use crate::api::{Snapshot, State, TriggerKind};

use super::ask::{self, Contained};
use super::fleet;
use super::model::rows::Source;
use super::model::{Link, Model, Pod, PodId, Presence};

/// Replicas that are visited in turn count with their last state, if it is not older than this.
pub const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// The answer of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The commit in question is published at this moment on every replica.
    Live,
    /// At least one replica does not have it.
    NotLive,
    /// No replica is known to lack it, but for at least one it is not known.
    Unknown,
    /// There is no replica, or none of them answers.
    Unreachable,
}

impl Kind {
    /// The exit code of `--check`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Unreachable => 2,
            Self::NotLive | Self::Unknown => 3,
        }
    }

    /// The word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NotLive => "not_live",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The verdict of a whole view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The commit in question (`--commit`), possibly abbreviated. `None`: the newest of each group.
    pub asked: Option<String>,
    /// One for each repository and ref, in the order of the replicas.
    pub groups: Vec<Group>,
    /// Replicas whose group is not known because they never answered. With fewer than two groups they are in the group.
    pub unplaced: Vec<Lack>,
    /// Replicas that count, in all groups.
    pub total: usize,
    /// How many of them have answered lately.
    pub reachable: usize,
    /// True until the first answer or the first failed attempt. Before that, an alarm would have no cause.
    pub connecting: bool,
}

/// The replicas that follow one ref of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the replicas report it; `None` if no replica has answered.
    pub source: Option<Source>,
    /// The commit that the verdict is about; `None` if no commit is known.
    pub target: Option<Target>,
    pub total: usize,
    /// Replicas on which the target is live.
    pub live: usize,
    /// Replicas that do not count as live, in their order.
    pub lacking: Vec<Lack>,
    /// Replicas that have the target because they are pinned to it.
    pub pinned: usize,
    /// The newest commit of the group, if the question was about another one.
    pub newest: Option<Target>,
    /// From the push to the last publish, if every replica has measured it.
    pub took_ms: Option<u64>,
}

/// A commit that a verdict is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In full, unless only an abbreviation is known.
    pub commit: String,
    pub subject: Option<String>,
    /// True if a webhook announced it and no replica has seen it in the remote yet.
    pub announced: bool,
}

/// A replica on which the target is not live, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub pod: PodId,
    pub name: String,
    /// True if it publishes the target all the same, but is paused, for example, and would not notice a newer commit.
    pub has_it: bool,
    /// True if it publishes something and no replica knows yet what the newest commit is.
    pub may_have_it: bool,
    pub why: Why,
}

/// Why a replica does not count as live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It publishes an older commit; `commits` is the number of commits in between, if the records show it.
    Behind {
        commits: Option<u32>,
    },
    /// A sync that may bring a newer commit is running.
    Syncing,
    /// A paused replica does not poll. `news`: a newer commit is known all the same. `pinned`: the commit that it is pinned
    /// to instead of the one in question, also when the pause ends.
    Paused {
        left: Option<SignedDuration>,
        by: Option<String>,
        news: bool,
        pinned: Option<String>,
    },
    Pinned {
        commit: String,
        by: Option<String>,
    },
    /// `pinned`: the commit that it is pinned to instead of the one in question, whether or not its syncs succeed.
    Failed {
        times: u32,
        message: String,
        pinned: Option<String>,
    },
    /// It runs and has published nothing yet.
    Starting,
    /// Kubernetes has not started its containers, with Kubernetes' reason.
    NotReady {
        reason: String,
    },
    /// `--commit`: a force push or another decision replaced the commit, and the live one does not contain it.
    Replaced {
        how: String,
    },
    /// `--commit`: the replica has never seen it.
    NeverSeen,
    /// The connection failed.
    Unreachable {
        reason: String,
    },
    /// It was not connected to yet, or not lately.
    NotLookedAt,
    /// It is being asked.
    Waiting,
    /// Its release cannot answer the question, or its answer is unknown to this program.
    CannotSay {
        reason: String,
    },
}

impl Lack {
    fn of(pod: &Pod, why: Why) -> Self {
        Self { pod: pod.id.clone(), name: pod.name.clone(), has_it: false, may_have_it: false, why }
    }

    /// True if the replica is known not to have the commit. Otherwise it is only not known to have the newest.
    #[must_use]
    pub fn definite(&self) -> bool {
        let not_known =
            matches!(self.why, Why::Unreachable { .. } | Why::NotLookedAt | Why::Waiting | Why::CannotSay { .. });
        !self.has_it && !self.may_have_it && !not_known
    }
}

impl Why {
    /// The word in JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::Syncing => "syncing",
            Self::Paused { .. } => "paused",
            Self::Pinned { .. } => "pinned",
            Self::Failed { .. } => "failed",
            Self::Starting => "starting",
            Self::NotReady { .. } => "not_ready",
            Self::Replaced { .. } => "replaced",
            Self::NeverSeen => "never_seen",
            Self::Unreachable { .. } => "unreachable",
            Self::NotLookedAt => "not_looked_at",
            Self::Waiting => "waiting",
            Self::CannotSay { .. } => "cannot_say",
        }
    }
}

impl Verdict {
    /// The verdict after the time to answer: silence counts as a failed attempt.
    #[must_use]
    pub fn after_the_wait(self) -> Self {
        Self { connecting: false, ..self }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        // Before everything else: without a single answer, any other word would be a guess.
        if self.reachable == 0 {
            return Kind::Unreachable;
        }
        let lacking = || self.groups.iter().flat_map(|group| &group.lacking).chain(&self.unplaced);
        // One replica that is known to lack the commit decides, however many others are not known.
        if lacking().any(Lack::definite) {
            Kind::NotLive
        } else if lacking().next().is_some() || self.groups.iter().any(|group| group.target.is_none()) {
            Kind::Unknown
        } else {
            Kind::Live
        }
    }

    /// Why a replica does not count as live; `None` if it does, or does not count at all.
    #[must_use]
    pub fn why(&self, pod: &PodId) -> Option<&Why> {
        let lacking = self.groups.iter().flat_map(|group| &group.lacking).chain(&self.unplaced);
        lacking.into_iter().find(|lack| lack.pod == *pod).map(|lack| &lack.why)
    }
}

impl Group {
    /// The verdict of this group alone. `Kind::Unreachable` is about a whole view and never given here.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.lacking.iter().any(Lack::definite) {
            Kind::NotLive
        } else if self.lacking.is_empty() && self.target.is_some() {
            Kind::Live
        } else {
            Kind::Unknown
        }
    }
}

/// Judges the current state of a view, or of the selected part of it: about the commit in question, else the newest of each
/// group.
#[must_use]
pub fn judge(model: &Model) -> Verdict {
    let asked = model.asked().cloned();
    // A pod that is being deleted does not count: it would fail each check during a rollout.
    let counted: Vec<&Pod> = model.pods.iter().filter(|pod| !pod.gone() && model.in_scope(pod)).collect();
    let mut members: Vec<(Option<Source>, Vec<&Pod>)> = Vec::new();
    let mut strangers: Vec<&Pod> = Vec::new();
    for pod in &counted {
        let Some(snapshot) = pod.snapshot.as_deref() else {
            strangers.push(pod);
            continue;
        };
        let source = Source::of(snapshot);
        match members.iter_mut().find(|(known, _)| known.as_ref() == Some(&source)) {
            Some((_, pods)) => pods.push(pod),
            None => members.push((Some(source), vec![pod])),
        }
    }
    // With one group they can only belong to that.
    match members.as_mut_slice() {
        [] if !strangers.is_empty() => members.push((None, std::mem::take(&mut strangers))),
        [(_, pods)] => pods.append(&mut strangers),
        _ => {}
    }
    let unplaced = strangers.into_iter().map(|pod| Lack::of(pod, absent(pod))).collect();
    let tried = model.pods.iter().any(|pod| pod.snapshot.is_some() || pod.problem.is_some());
    Verdict {
        groups: members.into_iter().map(|(source, pods)| group(model, source, &pods)).collect(),
        unplaced,
        total: counted.len(),
        reachable: counted.iter().filter(|pod| is_current(model, pod)).count(),
        connecting: model.listing_problem.is_none() && !tried && !(model.listed && counted.is_empty()),
        asked,
    }
}

/// Returns true if the state of a replica is current: over a live link, or from a recent visit.
#[must_use]
pub fn is_current(model: &Model, pod: &Pod) -> bool {
    let lately = || pod.heard_at.is_some_and(|heard| model.now.duration_since(heard) <= FRESH);
    pod.snapshot.is_some() && (pod.live() || (pod.visited && pod.problem.is_none() && lately()))
}

/// Which of the replicas are current, in their order.
#[must_use]
pub fn current(model: &Model) -> Vec<bool> {
    model.pods.iter().map(|pod| is_current(model, pod)).collect()
}

fn group(model: &Model, source: Option<Source>, pods: &[&Pod]) -> Group {
    let like = pods.iter().find_map(|pod| pod.snapshot.as_deref());
    let newest = like.and_then(|snapshot| fleet::newest_head(model, snapshot)).map(|head| Target {
        commit: head.commit,
        subject: head.subject,
        announced: head.announced,
    });
    let target = match model.asked() {
        Some(asked) => Some(named(pods, asked)),
        None => newest.clone(),
    };
    let lacking: Vec<Lack> = pods.iter().filter_map(|pod| lack(model, pod, target.as_ref())).collect();
    // Only if it is live everywhere, since the last replica decides how long it took.
    let took_ms = target.as_ref().and_then(|target| slowest(pods, &target.commit)).filter(|_| lacking.is_empty());
    let newest = newest.filter(|newest| target.as_ref().is_some_and(|target| newest.commit != target.commit));
    let live = pods.len() - lacking.iter().filter(|lack| !lack.has_it).count();
    let is_pinned = |pod: &&&Pod| {
        let pinned = pod.snapshot.as_ref().and_then(|snapshot| snapshot.pinned.as_ref());
        pinned.is_some() && !lacking.iter().any(|lack| lack.pod == pod.id)
    };
    let pinned = pods.iter().filter(is_pinned).count();
    Group { source, target, total: pods.len(), live, lacking, pinned, newest, took_ms }
}

/// Returns the commit of `--commit` with its known details.
fn named(pods: &[&Pod], asked: &str) -> Target {
    let published = pods.iter().filter_map(|pod| pod.snapshot.as_ref()?.published.as_ref());
    let records = || pods.iter().flat_map(|pod| pod.records.iter().take(1000));
    let known = published.map(|published| (published.commit.as_str(), Some(published.subject.clone()))).chain(
        records().filter_map(|record| {
            let commits = record.commits.as_ref();
            Some((record.new.as_deref()?, commits.map(|commits| commits.subject.clone())))
        }),
    );
    let mut matching = known.filter(|(commit, _)| commit.starts_with(asked));
    let first = matching.next();
    let subject =
        first.clone().into_iter().chain(matching).find_map(|(_, subject)| subject.filter(|it| !it.is_empty()));
    let commit = first.map_or(asked, |(commit, _)| commit).to_owned();
    Target { commit, subject, announced: false }
}

/// The longest time from push to published that the replicas measured for a commit; `None` if one has not measured it.
fn slowest(pods: &[&Pod], commit: &str) -> Option<u64> {
    let measured = |pod: &&Pod| {
        let mut records = pod.records.iter().take(100).filter(|record| record.new.as_deref() == Some(commit));
        records.find_map(|record| record.received_to_published_ms)
    };
    pods.iter().map(measured).try_fold(0, |slowest, took| Some(slowest.max(took?)))
}

/// The replica and why it does not count as live; `None` if it does.
fn lack(model: &Model, pod: &Pod, target: Option<&Target>) -> Option<Lack> {
    let Some(snapshot) = pod.snapshot.as_deref().filter(|_| is_current(model, pod)) else {
        return Some(Lack::of(pod, absent(pod)));
    };
    match (model.asked(), target) {
        (Some(asked), _) => about_commit(model, pod, snapshot, asked).map(|why| Lack::of(pod, why)),
        (None, Some(target)) => {
            let has_it = snapshot.published.as_ref().is_some_and(|published| published.commit == target.commit);
            about_newest(model, pod, snapshot, has_it).map(|why| Lack { has_it, ..Lack::of(pod, why) })
        }
        (None, None) => {
            let why = before_the_first_look(model, pod, snapshot);
            Some(Lack { may_have_it: snapshot.published.is_some(), ..Lack::of(pod, why) })
        }
    }
}

/// Returns why a replica cannot count while no replica knows the newest commit.
fn before_the_first_look(model: &Model, pod: &Pod, snapshot: &Snapshot) -> Why {
    if let Some(mut why) = trouble(model, pod, snapshot, false) {
        if let Why::Paused { pinned, .. } | Why::Failed { pinned, .. } = &mut why {
            pinned.clone_from(&snapshot.pinned);
        }
        return why;
    }
    match &snapshot.pinned {
        Some(commit) => pinned(snapshot, commit),
        None if snapshot.running.is_some() => Why::Syncing,
        None => Why::CannotSay { reason: "it has not looked at its remote yet".to_owned() },
    }
}

/// Why nothing current is known of a replica.
fn absent(pod: &Pod) -> Why {
    // A pod that is not ready is named by Kubernetes' reason, which explains the failed connection as well.
    match (&pod.presence, &pod.problem, &pod.link) {
        (Presence::NotReady(reason), _, Link::Idle | Link::Retry { .. }) => Why::NotReady { reason: reason.clone() },
        (_, Some(problem), _) => {
            let container = pod.container.as_ref().map(|container| format!(" ({container})")).unwrap_or_default();
            Why::Unreachable { reason: format!("{}{container}", problem.reason) }
        }
        (_, None, Link::Connecting) if !pod.visited => Why::Waiting,
        _ => Why::NotLookedAt,
    }
}

/// Without `--commit`: the newest commit must be published, and the replica must be one that would notice a newer one.
fn about_newest(model: &Model, pod: &Pod, snapshot: &Snapshot, has_it: bool) -> Option<Why> {
    if let Some(why) = trouble(model, pod, snapshot, !has_it) {
        return Some(why);
    }
    if !has_it {
        return Some(match &snapshot.pinned {
            Some(commit) => pinned(snapshot, commit),
            None if snapshot.running.is_some() => Why::Syncing,
            None => Why::Behind { commits: fleet::lag(model, pod).and_then(|lag| lag.commits) },
        });
    }
    // A push has arrived, and its commit is not known yet.
    let push = |trigger| matches!(trigger, TriggerKind::Webhook | TriggerKind::Peer);
    snapshot.running.as_ref().is_some_and(|running| push(running.trigger)).then_some(Why::Syncing)
}

fn pinned(snapshot: &Snapshot, commit: &str) -> Why {
    Why::Pinned { commit: commit.to_owned(), by: snapshot.pinned_by.clone() }
}

/// With `--commit`: it must be live now, or contained in the live commit.
fn about_commit(model: &Model, pod: &Pod, snapshot: &Snapshot, asked: &str) -> Option<Why> {
    let published = snapshot.published.as_ref();
    if published.is_some_and(|published| published.commit.starts_with(asked)) {
        return None;
    }
    // Before the problems of the replica: if its live commit contains the one in question, a pause or a failure does
    // not matter.
    let contained = ask::contained(pod);
    if contained == Contained::Yes {
        return None;
    }
    if let Some(why) = trouble(model, pod, snapshot, true) {
        return Some(why);
    }
    if let Some(commit) = &snapshot.pinned {
        return Some(pinned(snapshot, commit));
    }
    Some(match contained {
        Contained::Yes => return None,
        Contained::Replaced(how) => Why::Replaced { how },
        Contained::NeverSeen => Why::NeverSeen,
        Contained::NotYet => Why::Behind { commits: None },
        Contained::Asking => Why::Waiting,
        Contained::CannotSay(reason) => Why::CannotSay { reason },
    })
}

/// Returns the problem of a replica, regardless of the commit. A pause comes first: while it lasts, nothing else can
/// change. A pin is named beside it, and beside failures, because either would remain after the other has ended.
fn trouble(model: &Model, pod: &Pod, snapshot: &Snapshot, news: bool) -> Option<Why> {
    let pinned = snapshot.pinned.clone().filter(|_| news);
    if snapshot.paused_until.is_some() || snapshot.state == State::Paused {
        let left = snapshot.paused_until.map(|until| pod.to_ours(until).duration_since(model.now));
        return Some(Why::Paused { left, by: snapshot.paused_by.clone(), news, pinned });
    }
    if snapshot.failures_in_row > 0 || snapshot.state == State::Failed {
        let message = snapshot.last_error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        // A state of failure without a count comes from another release; it has failed once at least.
        return Some(Why::Failed { times: snapshot.failures_in_row.max(1), message, pinned });
    }
    if snapshot.state == State::Standby {
        // Another process owns its volume, and the replica of that process reports what is published there.
        let owner = snapshot.standby.clone().unwrap_or_else(|| "another process owns its volume".to_owned());
        return Some(Why::CannotSay { reason: format!("it stands by: {owner}") });
    }
    if snapshot.published.is_none() {
        return Some(Why::Starting);
    }
    if snapshot.state == State::Unknown {
        let reason = "its state is one that this program does not know".to_owned();
        return Some(Why::CannotSay { reason });
    }
    None
}
