//! The answer to "is this commit live?".
//!
//! It must not know how the answer is found.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/commits/HASH`. Describes one moment: `published` is the commit that the answer was worked out against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommitStatus {
    pub schema: u32,
    /// The replica's clock.
    pub now: Timestamp,
    /// The full hash; what was asked for if no commit that is known here begins with it.
    pub commit: String,
    /// True if this commit, or one that contains it, is published now.
    pub live: bool,
    /// True if the published commit is this one or descends from it, false if it does not; null if neither the store nor
    /// the history can tell.
    pub contained: Option<bool>,
    pub how: CommitHow,
    /// When this replica last published exactly this commit, as far as its history goes back.
    #[serde(default)]
    pub last_published_at: Option<Timestamp>,
    /// When another commit took its place; null while it is published.
    #[serde(default)]
    pub replaced_at: Option<Timestamp>,
    /// What is published now.
    #[serde(default)]
    pub published: Option<String>,
}

/// Where a commit stands on one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitHow {
    /// It is what is published now.
    Published,
    /// What is published now descends from it.
    Contained,
    /// It was published, and another commit is now that does not contain it, or is not known to.
    Replaced,
    /// It was published, and a push that rewrote history replaced it.
    ForcePushedAway,
    /// It is known here (the remote's head, announced, or in the store) and not published.
    NotPublished,
    /// Neither the history nor the store has it.
    NeverSeen,
    /// The replica cannot tell. Also the word of a newer version.
    #[default]
    #[serde(other)]
    Unknown,
}
