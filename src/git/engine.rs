//! The handle to the git thread: look, fetch, and questions about commits.

use std::path::{Path, PathBuf};

use git2::Oid;
use jiff::Timestamp;

use super::{Error, RemoteOptions};

/// What the remote says our ref is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The commit, peeled if the ref is an annotated tag.
    pub commit: Oid,
    /// The full name of the ref that was followed; `None` if a hash is configured.
    pub full_ref: Option<String>,
    /// The branch that the remote's HEAD names, as `refs/heads/…`, if it said so.
    pub default_branch: Option<String>,
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// What a look found.
    Seen(Look),
    /// One commit by its hash (a pin). Needs a server that allows it, if the store does not have it.
    Commit(Oid),
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit that is complete in the store now: the one wanted, or a newer one if the ref moved in between.
    pub commit: Oid,
    /// Bytes and objects received; both 0 if the store had everything.
    pub bytes: u64,
    pub objects: u64,
}

/// The head line of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: Oid,
    /// First line of the message, control characters replaced, at most 300 characters.
    pub subject: String,
    /// Author's name, control characters replaced, at most 100 characters.
    pub author: String,
    pub committed_at: Option<Timestamp>,
}

/// The way from one commit to another, as far as the store's (perhaps shallow) history tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How many commits are in `new` and not in `old`; `None` if the history is too shallow to tell.
    pub count: Option<u32>,
    /// The newest of them, at most 50, newest first; at least `new` itself.
    pub commits: Vec<Commit>,
    /// True if history shows that `old` is not an ancestor of `new`.
    pub rewritten: bool,
}

/// Cheap to clone; all clones share one thread.
#[derive(Clone)]
pub struct Engine {
    store: PathBuf,
    options: RemoteOptions,
}

impl Engine {
    /// Prepares the engine; nothing is touched before the first call. `store` is the bare repository's folder, made when needed.
    #[must_use]
    pub fn new(options: RemoteOptions, store: PathBuf) -> Self {
        Self { store, options }
    }

    #[must_use]
    pub fn options(&self) -> &RemoteOptions {
        &self.options
    }

    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Asks the remote what our ref is. A ref that does not exist is an error.
    pub async fn look(&self) -> Result<Look, Error> {
        Err(Error)
    }

    /// Brings a commit with its whole tree into the store. Does nothing, cheaply, if it is there.
    pub async fn fetch(&self, _want: Want) -> Result<Fetched, Error> {
        Err(Error)
    }

    /// Reads one commit of the store.
    pub async fn commit(&self, _id: Oid) -> Result<Commit, Error> {
        Err(Error)
    }

    /// Describes what changed between two commits of the store. A missing `old` is no error.
    pub async fn span(&self, _old: Option<Oid>, _new: Oid) -> Result<Span, Error> {
        Err(Error)
    }

    /// Finds the one commit of the store whose hash begins with `prefix` (4 to 40 hex digits).
    pub async fn resolve_prefix(&self, _prefix: &str) -> Result<Option<Oid>, Error> {
        Err(Error)
    }

    /// Moves a damaged store out of the way, so that the next fetch starts a new one. What is published is not touched.
    pub async fn discard_store(&self) -> Result<(), Error> {
        Err(Error)
    }
}
