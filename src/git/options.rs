//! What git has to know to reach a remote. Filled by `config`, read by nobody but this module.

use std::path::PathBuf;
use std::time::Duration;

use git2::Oid;

use crate::remote_url::RemoteUrl;
use crate::secret::Secret;

/// The remote, what to follow there and how to be let in.
#[derive(Clone)]
pub struct RemoteOptions {
    pub url: RemoteUrl,
    pub reference: Reference,
    /// How many commits of history to fetch; 0 = all.
    pub depth: u32,
    /// The longest that one look or fetch may take, dripping servers included.
    pub timeout: Duration,
    pub credentials: Credentials,
}

/// What `--ref` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The branch that the remote's HEAD names.
    Head,
    /// A short name: `refs/heads/NAME` if the remote has it, else `refs/tags/NAME`.
    Name(String),
    /// A name that begins with `refs/`.
    Full(String),
    /// A full hash: it follows nothing.
    Hash(Oid),
}

/// How to be let in. Everything that is a file is read anew for each look, so that rotation needs no restart.
#[derive(Clone, Default)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<Password>,
    /// Private keys for SSH, tried in turn.
    pub ssh_keys: Vec<PathBuf>,
    /// `None`: host keys are not checked.
    pub ssh_known_hosts: Option<PathBuf>,
}

/// Where the password comes from.
#[derive(Clone)]
pub enum Password {
    Value(Secret),
    File(PathBuf),
}
