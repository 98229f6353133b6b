//! Plain data of the lists: a repository and ref, a commit with its triggers, measured times.

use jiff::Timestamp;

use crate::api::{Action, Record, Snapshot, TriggerKind};

/// The repository and ref that a group follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The remote, redacted by the replica.
    pub repo: String,
    pub reference: String,
}

impl Source {
    /// Returns the repository and ref that a replica follows.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self { repo: snapshot.repo.clone(), reference: snapshot.reference.clone() }
    }

    /// True if a replica follows it.
    #[must_use]
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        self.repo == snapshot.repo && self.reference == snapshot.reference
    }
}

/// One commit, as all replicas together saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRow {
    pub commit: String,
    pub source: Source,
    pub subject: Option<String>,
    pub author: Option<String>,
    /// When the first replica learned of it, by our clock.
    pub heard_at: Timestamp,
    /// It is the newest commit that any replica knows.
    pub newest: bool,
    /// A webhook announced it, and no replica has seen it in the remote.
    pub announced: bool,
    /// The replicas that publish it now, of `total`. Only current states count.
    pub live: usize,
    /// The replicas that published it when they last answered, which is too long ago to count.
    pub last_known: usize,
    pub total: usize,
    /// Replicas that published it at any time, as far as their records are loaded.
    pub had: usize,
    /// Replicas whose last attempt at it failed.
    pub failed: usize,
    /// The time until it was live on the first and on the last replica. A pin or a rollback does not count.
    pub first_ms: Option<u64>,
    pub last_ms: Option<u64>,
    pub how: How,
}

/// The triggers of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    pub webhook: bool,
    pub peers: bool,
    pub poll: bool,
    pub startup: bool,
    pub other: Option<TriggerKind>,
    /// True if a poll found it although webhooks are on.
    pub missed: bool,
    /// The reason why its webhook was ignored.
    pub ignored: Option<String>,
    /// The last user action with it, and the user.
    pub action: Option<(Action, Option<String>)>,
    pub rewritten: bool,
}

impl How {
    /// Adds the trigger of an older record.
    pub fn add(&mut self, record: &Record) {
        let trigger = &record.trigger;
        match trigger.kind {
            TriggerKind::Webhook => self.webhook = true,
            TriggerKind::Peer => self.peers = true,
            TriggerKind::Poll => self.poll = true,
            TriggerKind::Startup => self.startup = true,
            kind => self.other = Some(kind),
        }
        self.missed |= record.missed_webhook;
        self.rewritten |= record.rewritten;
        if self.ignored.is_none() {
            self.ignored.clone_from(&record.ignored_webhook);
        }
        // Records come newest first.
        if let (None, Some(action @ (Action::Pin | Action::Rollback | Action::Unpin))) = (&self.action, trigger.action)
        {
            self.action = Some((action, trigger.by.clone()));
        }
    }

    /// `webhook+peers`, `poll`, `startup`.
    #[must_use]
    pub fn words(&self) -> String {
        let parts = [("webhook", self.webhook), ("peers", self.peers), ("poll", self.poll)];
        let mut words: Vec<String> = parts.iter().filter(|(_, is)| *is).map(|(word, _)| (*word).to_owned()).collect();
        // A restart publishes every commit again, which is not its first trigger.
        if words.is_empty() && self.startup {
            words.push("startup".to_owned());
        }
        if words.is_empty() {
            words.extend(self.other.map(|kind| kind.to_string()));
        }
        words.join("+")
    }
}

/// One attempt in a latency strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Milliseconds from push to published.
    Took(u64),
    Failed,
    /// It changed something, but the time was not measured (a poll found it).
    Gap,
}

/// Push to published, over the newest syncs that changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Oldest first.
    pub samples: Vec<Sample>,
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub max: Option<u64>,
    /// The end of the sync of the first sample.
    pub oldest: Option<Timestamp>,
}
