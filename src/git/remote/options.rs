//! The options of a remote. `config` fills them; only the git area reads them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use url::Url;

use crate::allowance::Allowance;
use crate::git::auth::credentials::Credentials;
use crate::git::http::network::{Network, Route};
use crate::git::protocol::filter::Filter;
use crate::remote_url::{BadUrl, RemoteUrl, Transport};
use crate::submodules::Submodules;

/// The remote, the ref to follow, and the credentials.
#[derive(Clone)]
pub struct RemoteOptions {
    /// The address, after `insteadOf`.
    pub url: RemoteUrl,
    /// The ref to follow.
    pub reference: Reference,
    /// The number of commits of history to fetch; 0 = all.
    pub depth: u32,
    /// The longest that resolving the ref, or a fetch, may take, including servers that send a byte at a time.
    pub timeout: Duration,
    /// All configured credentials.
    pub credentials: Credentials,
    /// Which submodules are fetched.
    pub submodules: Submodules,
    /// The files to leave out until they are needed. It has an effect over HTTP only.
    pub filter: Option<Filter>,
    /// `--lfs`; `None`: no LFS objects are fetched.
    pub lfs: Option<Lfs>,
    /// The settings for reaching remotes.
    pub network: Network,
    /// The bytes that may still be written to the volume.
    pub allowance: Arc<Allowance>,
}

impl RemoteOptions {
    /// Returns the options for another remote, such as a submodule's. `address` is the written one, before git's
    /// `insteadOf`.
    ///
    /// # Errors
    /// [`BadUrl`] if it cannot be parsed.
    pub fn at(&self, address: &str) -> Result<Self, BadUrl> {
        Ok(Self { url: RemoteUrl::parse(&self.rewrite(address))?, ..self.clone() })
    }

    /// Applies `insteadOf` to an address from `--repo` or `.gitmodules`.
    #[must_use]
    pub fn rewrite<'a>(&self, address: &'a str) -> Cow<'a, str> {
        self.network.rewrite(address)
    }

    /// Returns the route to the remote. It means nothing unless the remote is reached over HTTP.
    pub(crate) fn route(&self) -> Route {
        Url::parse(self.url.bare()).map_or_else(|_| Route::default(), |url| self.network.route(&url))
    }
}

/// `--lfs`
#[derive(Clone, Debug)]
pub struct Lfs {
    /// `--lfs-url`: the LFS endpoint, if it is not the default one of the remote.
    pub url: Option<RemoteUrl>,
}

impl Lfs {
    /// Checks the address of an LFS endpoint.
    ///
    /// # Errors
    /// The reason why it cannot be used, in words for a person.
    pub fn check(url: &RemoteUrl) -> Result<(), &'static str> {
        if !matches!(url.transport(), Transport::Http | Transport::Https) {
            return Err("it is neither http:// nor https://");
        }
        match Url::parse(url.bare()) {
            Ok(parsed) if parsed.query().is_none() && parsed.fragment().is_none() => Ok(()),
            _ => Err("it has a `?` or a `#`, which nothing can be appended to"),
        }
    }
}

/// The value of `--ref`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The branch that the remote's HEAD names.
    Head,
    /// A short name: the first of its full names that the remote has.
    Name(String),
    /// A name that begins with `refs/`.
    Full(String),
    /// A full hash, which follows no ref.
    Hash(Oid),
}

impl Reference {
    /// Returns the full names that a short name may mean. The order is git's (gitrevisions, "refname"), except that a
    /// branch comes before a tag: a user who has both under one name wants to follow the one that moves.
    pub(crate) fn full_names(name: &str) -> [String; 3] {
        ["refs/heads/", "refs/tags/", "refs/"].map(|above| format!("{above}{name}"))
    }
}
