//! What git has to know to reach a remote. Filled by `config`, read by nobody but this module.

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
    /// Which submodules are fetched, too.
    pub submodules: Submodules,
    /// Files that are not fetched before they are needed. Only over http(s) is less fetched for it.
    pub filter: Option<Filter>,
    /// `--lfs`; `None`: nothing of it is fetched.
    pub lfs: Option<Lfs>,
    pub network: Network,
    /// What may still be written to the volume.
    pub allowance: Arc<Allowance>,
}

impl RemoteOptions {
    /// The same for another remote, a submodule's, say: `address` as it is written, before git's `insteadOf`.
    ///
    /// # Errors
    /// [`BadUrl`] if it is no address.
    pub fn at(&self, address: &str) -> Result<Self, BadUrl> {
        Ok(Self { url: RemoteUrl::parse(&self.rewrite(address))?, ..self.clone() })
    }

    /// The address that is meant by one that is written in `--repo` or `.gitmodules`.
    #[must_use]
    pub fn rewrite<'a>(&self, address: &'a str) -> Cow<'a, str> {
        self.network.rewrite(address)
    }

    /// The way to the remote; of no use if it is not reached over http(s).
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

/// What `--ref` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The branch that the remote's HEAD names.
    Head,
    /// A short name: the first of its full names that the remote has.
    Name(String),
    /// A name that begins with `refs/`.
    Full(String),
    /// A full hash: it follows nothing.
    Hash(Oid),
}

impl Reference {
    /// What a short name may stand for. The order is git's (gitrevisions, "refname") but for the first two: who names both
    /// a branch and a tag so wants to follow what moves.
    pub(crate) fn full_names(name: &str) -> [String; 3] {
        ["refs/heads/", "refs/tags/", "refs/"].map(|above| format!("{above}{name}"))
    }
}
