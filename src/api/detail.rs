//! Pages of the history, and the details of one sync.
//!
//! It must not know where they are stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Record;

/// `GET /api/v1/history`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The version of the format, [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The records, newest first.
    pub records: Vec<Record>,
}

/// `GET /api/v1/syncs/ID`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncDetail {
    /// The version of the format, [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The record, as in lists.
    pub record: Record,
    /// What lists leave out. Its fields stand beside `record`.
    #[serde(flatten)]
    pub detail: Detail,
}

/// The details of a record, which are too long for lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// The newest 50 commits between old and new.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// The first 500 changed files.
    #[serde(default)]
    pub files: Vec<FileChange>,
    /// The number of all changed files.
    #[serde(default)]
    pub files_total: u64,
    /// The log lines of the sync, oldest first.
    #[serde(default)]
    pub log: Vec<LogLine>,
}

/// One commit of a push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The full hash.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// The author's name.
    pub author: String,
    /// The committer's time, if the commit contains one.
    pub committed_at: Option<Timestamp>,
}

/// One changed file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileChange {
    /// The path in the repository. Bytes that are no UTF-8 are replaced.
    pub path: String,
    /// What happened to it.
    pub change: Change,
}

/// What a sync did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new commit has it.
    Added,
    /// It has another content, mode or type.
    Modified,
    /// Only the old commit has it.
    Deleted,
    /// A change of a newer release.
    #[serde(other)]
    Unknown,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// The text, without secrets.
    pub message: String,
}
