//! One replica as far as it is known: how it was found, its connection, what it said last.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::Snapshot;
use crate::dashboard::ask::Asked;
use crate::dashboard::records::Records;

/// Identifies a replica for as long as it lives: the pod's uid, or the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(pub Arc<str>);

impl PodId {
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica as the pod list (or the command line) names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: PodId,
    /// The pod's name, or host and port of the URL.
    pub name: String,
    /// `None` for a URL.
    pub namespace: Option<String>,
    pub presence: Presence,
    /// What a container of the pod waits for, as Kubernetes says it: `poll: CrashLoopBackOff`.
    pub container: Option<String>,
    /// What works instead while the pod cannot be connected to.
    pub advice: Option<String>,
    /// The name of the sidecar's container, as far as it can be told from the others.
    pub sidecar: Option<String>,
}

/// Whether there is anything to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its containers run (or it is a URL, of which we cannot know).
    Running,
    /// It exists but cannot be reached yet, and why.
    NotReady(String),
    /// It is being deleted, or is gone from the list.
    Gone { since: Timestamp },
}

/// The state of the connection to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// More replicas than `--max-links`, or nothing to connect to yet.
    Idle,
    Connecting,
    Live,
    Retry {
        attempt: u32,
        at: Timestamp,
        problem: Problem,
    },
}

/// Why something did not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: String,
    pub hint: Option<String>,
    /// One word for the LINK column instead of a countdown.
    pub word: Option<&'static str>,
}

impl Problem {
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None, word: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn word(mut self, word: &'static str) -> Self {
        self.word = Some(word);
        self
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Pod {
    pub id: PodId,
    /// As found.
    pub found_name: String,
    pub namespace: Option<String>,
    /// Unique on screen.
    pub name: String,
    /// `name` without what all names begin with.
    pub short: String,
    pub presence: Presence,
    /// As in [`Found`].
    pub container: Option<String>,
    pub advice: Option<String>,
    pub sidecar: Option<String>,
    pub link: Link,
    /// Why it was not live when it was tried last; `None` once it is.
    pub problem: Option<Problem>,
    /// The last snapshot, its records moved to `records`.
    pub snapshot: Option<Box<Snapshot>>,
    /// Its clock minus ours.
    pub offset: SignedDuration,
    /// When anything came from it last, by our clock.
    pub heard_at: Option<Timestamp>,
    /// There are more replicas than links, so that this one is visited in turn and what it said last counts for a while.
    pub visited: bool,
    /// When it was connected last, by our clock.
    pub turn_at: Option<Timestamp>,
    /// The question about the commit of `--commit`.
    pub asked: Option<Asked>,
    /// When signatures were refused, and how many, in the last minutes.
    pub refused: Vec<(Timestamp, u64)>,
    pub records: Records,
}

impl Pod {
    #[must_use]
    pub fn new(found: Found) -> Self {
        Self {
            id: found.id,
            name: found.name.clone(),
            short: found.name.clone(),
            found_name: found.name,
            namespace: found.namespace,
            presence: found.presence,
            container: found.container,
            advice: found.advice,
            sidecar: found.sidecar,
            link: Link::Idle,
            problem: None,
            snapshot: None,
            offset: SignedDuration::ZERO,
            heard_at: None,
            visited: false,
            turn_at: None,
            asked: None,
            refused: Vec::new(),
            records: Records::default(),
        }
    }

    #[must_use]
    pub fn live(&self) -> bool {
        self.link == Link::Live
    }

    #[must_use]
    pub fn gone(&self) -> bool {
        matches!(self.presence, Presence::Gone { .. })
    }

    #[must_use]
    pub fn attached(&self) -> bool {
        self.link != Link::Idle
    }

    /// A time of this replica's clock in terms of ours.
    #[must_use]
    pub fn to_ours(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.offset).unwrap_or(time)
    }
}
