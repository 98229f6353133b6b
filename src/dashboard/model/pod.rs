//! The known state of one replica: how it was found, its connection, its last message.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::{CommitStatus, Snapshot};
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
    /// The reason why a container of the pod waits, in Kubernetes' words: `poll: CrashLoopBackOff`.
    pub container: Option<String>,
    /// Commands that work while the pod cannot be connected to.
    pub advice: Option<String>,
    /// The name of the sidecar's container, if it could be identified.
    pub sidecar: Option<String>,
}

/// Whether the pod can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its containers run (or it is a URL, of which this is not known).
    Running,
    /// It exists but cannot be reached yet, with the reason.
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

/// A problem, and a hint.
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

/// The question to one replica, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The commit that the question is about.
    pub commit: String,
    /// The commit that the replica published when it was asked.
    pub published: String,
    pub at: Timestamp,
    /// `None` until the answer arrives.
    pub answer: Option<Result<Box<CommitStatus>, Problem>>,
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
    /// `name` without the common prefix.
    pub short: String,
    pub presence: Presence,
    /// As in [`Found`].
    pub container: Option<String>,
    pub advice: Option<String>,
    pub sidecar: Option<String>,
    pub link: Link,
    /// The problem of the last attempt to connect; `None` once it is connected.
    pub problem: Option<Problem>,
    /// The last snapshot, its records moved to `records`.
    pub snapshot: Option<Box<Snapshot>>,
    /// Its clock minus ours.
    pub offset: SignedDuration,
    /// When the last message from it arrived, by our clock.
    pub heard_at: Option<Timestamp>,
    /// True if there are more replicas than links, so that this one is visited in turn and its last state counts for a
    /// while.
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
        // A pod that is being deleted counts as gone: its containers run on until the grace period ends, but it is on
        // its way out of the service.
        matches!(self.presence, Presence::Gone { .. })
    }

    #[must_use]
    pub fn attached(&self) -> bool {
        self.link != Link::Idle
    }

    /// Converts a time of this replica's clock to ours.
    #[must_use]
    pub fn to_ours(&self, time: Timestamp) -> Timestamp {
        // The clocks of a laptop and of a node differ, by hours in bad cases. Without this, ages would be negative or
        // wrong, and the newest commit could be that of the replica whose clock is ahead.
        time.saturating_sub(self.offset).unwrap_or(time)
    }
}
