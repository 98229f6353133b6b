//! The response to the question whether a commit is live.
//!
//! It must not know how the answer is determined.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/commits/HASH`. It describes one moment: `published` is the commit to which the other fields refer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// The version of the format, [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The replica's clock.
    pub now: Timestamp,
    /// The full hash, or the requested prefix if no known commit begins with it.
    pub commit: String,
    /// True if this commit, or one that contains it, is published now.
    pub live: bool,
    /// Whether the published commit is this one or descends from it; null if neither the store nor the history can
    /// tell.
    pub contained: Option<bool>,
    /// What happened to the commit here.
    pub how: CommitHow,
    /// When this replica last published exactly this commit, according to its history.
    #[serde(default)]
    pub last_published_at: Option<Timestamp>,
    /// When another commit replaced it; null while it is published.
    #[serde(default)]
    pub replaced_at: Option<Timestamp>,
    /// The published commit.
    #[serde(default)]
    pub published: Option<String>,
}

/// The state of a commit on one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitHow {
    /// It is the published commit.
    Published,
    /// The published commit descends from it.
    Contained,
    /// It was published and has been replaced by a commit that does not contain it, or is not known to.
    Replaced,
    /// It was published and has been replaced by a push that rewrote history.
    ForcePushedAway,
    /// It is known here (the remote's head, announced, or in the store) but not published.
    NotPublished,
    /// Neither the history nor the store contains it.
    NeverSeen,
    /// The replica cannot tell. Also used for values of newer versions.
    #[default]
    #[serde(other)]
    Unknown,
}
