//! A remote through libgit2: lists its refs, and fetches one of them.
//!
//! It serves ssh, local paths, and HTTP servers that do not speak protocol v2. `resolve_ref` knows what refs mean, and
//! `fetch` what is kept of them.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use git2::{
    AutotagOption, Direction, FetchOptions, ProxyOptions, RemoteCallbacks, RemoteHead, RemoteRedirect, Repository,
};

use crate::git::auth::request_auth::RequestAuth;
use crate::git::error::{Cause, Error};
use crate::git::libgit2::limits;
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::remote::credential_callbacks::CredentialCallbacks;
use crate::git::remote::local;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::shallow;
use crate::remote_url::Transport;
use crate::secret::Secret;
use crate::text::one_line;
use crate::worker::Cancel;

/// libgit2's value for "all history", which makes a shallow store complete.
const UNSHALLOW: i32 = i32::MAX;
/// A refspec that matches no ref of any remote.
const NO_REF: &str = "refs/pushsync/nowhere:refs/pushsync/nowhere";

/// A remote, and the store to fetch into.
pub(crate) struct Libgit2Remote<'a> {
    pub store: &'a Repository,
    pub options: &'a RemoteOptions,
    pub auth: &'a RequestAuth,
    pub cancel: &'a Cancel,
}

/// The amount of data that was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub bytes: u64,
    pub objects: u64,
}

impl Libgit2Remote<'_> {
    /// Lists all refs of the remote, including `HEAD` and peeled tags.
    pub(crate) fn list(&self) -> Result<Vec<AdvertisedRef>, Error> {
        self.check_proxy()?;
        let callbacks = CredentialCallbacks::prepare(self.options, self.auth, self.store.path())?;
        let headers = self.headers();
        let listed = (|| {
            let mut remote = self.store.remote_anonymous(&self.options.url.for_libgit2())?;
            if !headers.is_empty() {
                // Only a fetch can send headers. One of a ref that does not exist returns the list and nothing else.
                let mut options = FetchOptions::new();
                options.remote_callbacks(self.callbacks(&callbacks));
                self.prepare(&mut options, &headers);
                remote.fetch(&[NO_REF], Some(&mut options), None)?;
                return Ok(remote.list()?.iter().filter_map(advertised).collect());
            }
            let connection =
                remote.connect_auth(Direction::Fetch, Some(self.callbacks(&callbacks)), Some(self.proxy()))?;
            let list = connection.list()?;
            Ok(list.iter().filter_map(advertised).collect())
        })();
        let listed: Vec<AdvertisedRef> = match listed {
            // libgit2 parses the object that each ref names, and fails as a whole.
            Err(error) if self.options.url.transport() == Transport::Local => {
                local::list(self.options.url.bare()).map_err(|_| self.explain(callbacks, &error))?
            }
            listed => listed.map_err(|error| self.explain(callbacks, &error))?,
        };
        tracing::trace!(remote = %self.options.url, refs = listed.len(), "the remote listed its refs to libgit2");
        Ok(listed)
    }

    /// Fetches `source` (a full ref or a hash) into the ref `target`.
    ///
    /// As with git, a missing ref is no error: then `target` is not written.
    pub(crate) fn get(&self, source: &str, target: &str) -> Result<Received, Error> {
        self.bring(&[format!("+{source}:{target}")], self.depth()?)
    }

    /// Fetches all refs that match the patterns (`refs/heads/*`) into refs below `target`, which ends in a slash, with
    /// `depth` commits of their history. `None`: the whole of it.
    pub(crate) fn get_all(&self, patterns: &[&str], target: &str, depth: Option<i32>) -> Result<Received, Error> {
        let is_local = self.options.url.transport() == Transport::Local;
        let depth = if is_local { 0 } else { depth.unwrap_or(UNSHALLOW) };
        let within = |pattern: &str| format!("{target}{}", pattern.trim_start_matches("refs/"));
        let refspecs: Vec<String> = patterns.iter().map(|pattern| format!("+{pattern}:{}", within(pattern))).collect();
        self.bring(&refspecs, depth)
    }

    fn bring(&self, refspecs: &[String], depth: i32) -> Result<Received, Error> {
        self.check_proxy()?;
        let callbacks = CredentialCallbacks::prepare(self.options, self.auth, self.store.path())?;
        let headers = self.headers();
        let local = self.options.url.transport() == Transport::Local;
        let ends = if local { shallow::boundary(self.store)? } else { HashSet::default() };
        let received = Cell::new(Received::default());
        let over_limit = Cell::new(None);
        let got = (|| {
            let mut remote = self.store.remote_anonymous(&self.options.url.for_libgit2())?;
            let mut callbacks = self.callbacks(&callbacks);
            callbacks.transfer_progress(|progress| {
                let more = (progress.received_bytes() as u64).saturating_sub(received.get().bytes);
                if let Err(exceeded) = self.options.allowance.take(more) {
                    over_limit.set(Some(exceeded));
                    return false;
                }
                received.set(Received {
                    bytes: progress.received_bytes() as u64,
                    objects: progress.received_objects() as u64,
                });
                !self.cancel.is_cancelled()
            });
            let mut options = FetchOptions::new();
            options.remote_callbacks(callbacks).depth(depth);
            self.prepare(&mut options, &headers);
            remote.fetch(refspecs, Some(&mut options), None)
        })();
        if local {
            // Between two local repositories libgit2 empties the `shallow` file.
            shallow::update(self.store, &ends.into_iter().collect::<Vec<_>>(), &[])?;
        }
        if let Some(exceeded) = over_limit.get() {
            return Err(Error::over_limit(exceeded));
        }
        got.map_err(|error: git2::Error| self.explain(callbacks, &error))?;
        Ok(received.get())
    }

    /// Refuses a proxy over http: libgit2 supports one for https only, and would bypass it.
    fn check_proxy(&self) -> Result<(), Error> {
        let transport = self.options.url.transport();
        if matches!(transport, Transport::Http | Transport::Https) {
            limits::trust(self.options.network.ca_file(), self.store.path());
        }
        match self.options.route().proxy {
            Some(proxy) if transport == Transport::Http => {
                let (remote, proxy) = (self.options.url.to_string(), proxy.to_string());
                let source = Cause::new(
                    "the server does not speak git's protocol v2, and older ones are reached through a proxy over https:// only",
                );
                Err(Error::Proxy { remote, proxy, source })
            }
            _ => Ok(()),
        }
    }

    /// Sets the options that all fetches share. Headers go to the remote only, since no redirect is followed.
    fn prepare(&self, options: &mut FetchOptions<'_>, headers: &[String]) {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        options
            .proxy_options(self.proxy())
            .download_tags(AutotagOption::None)
            .follow_redirects(RemoteRedirect::None)
            .update_fetchhead(false)
            .custom_headers(&headers);
    }

    fn headers(&self) -> Vec<String> {
        let headers = self.auth.headers(self.options.url.bare());
        let line = |(name, value): &(String, Secret)| Some(format!("{name}: {}", value.expose_str()?));
        headers.iter().filter_map(line).collect()
    }

    /// Returns the configured proxy, so that libgit2 does not choose one.
    fn proxy(&self) -> ProxyOptions<'static> {
        let mut options = ProxyOptions::new();
        if let Some(whole) = self.options.route().proxy.map(|proxy| proxy.whole())
            && let Some(url) = whole.expose_str()
        {
            options.url(url);
        }
        options
    }

    fn callbacks<'login>(&'login self, answers: &'login CredentialCallbacks<'_>) -> RemoteCallbacks<'login> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|address, user, allowed| answers.answer(address, user, allowed));
        callbacks.certificate_check(|certificate, host| answers.check(certificate, host));
        callbacks.sideband_progress(|_| !self.cancel.is_cancelled());
        callbacks
    }

    fn depth(&self) -> Result<i32, Error> {
        let wanted = self.options.depth;
        Ok(match self.options.url.transport() {
            // libgit2 supports no depth for local paths, and a copy from disk to disk hardly needs one.
            Transport::Local => 0,
            _ if wanted == 0 && !shallow::boundary(self.store)?.is_empty() => UNSHALLOW,
            _ => i32::try_from(wanted).unwrap_or(UNSHALLOW),
        })
    }

    /// Maps libgit2's error. The reason of a callback is more precise.
    fn explain(&self, callbacks: CredentialCallbacks<'_>, error: &git2::Error) -> Error {
        let remote = self.options.url.to_string();
        let problem = callbacks.into_problem();
        let told =
            problem.unwrap_or_else(|| Error::from_remote(&remote, self.options.timeout, self.store.path(), error));
        match (told, self.options.route().proxy) {
            // libgit2 cannot parse the line in the list of refs that marks a shallow commit of the remote.
            (Error::Protocol { remote, .. }, _)
                if self.options.url.transport() == Transport::Ssh && error.message() == "invalid packet line" =>
            {
                let source = Cause::new("over ssh, libgit2 cannot read the refs of a shallow repository");
                Error::RepositoryFormat { remote, source }
            }
            // For example "proxy returned unexpected status".
            (Error::Protocol { remote, source } | Error::Network { remote, source }, Some(proxy))
                if source.to_string().contains("proxy") =>
            {
                Error::Proxy { remote, proxy: proxy.to_string(), source }
            }
            (told, _) => self.explain_local(told, error),
        }
    }

    fn explain_local(&self, told: Error, error: &git2::Error) -> Error {
        if self.options.url.transport() == Transport::Local && told.store_is_damaged() {
            // libgit2 reads both repositories in this process and does not say which one is broken. Ours is checked
            // after each fetch, and must not be discarded for a fault of the remote.
            let (remote, source) = (self.options.url.to_string(), Cause::from(error));
            return Error::Server { remote, source, after: None };
        }
        told
    }
}

/// Converts one listed ref; `None` if its name is not safe to show.
///
/// git2 panics at a name that is not UTF-8, which git allows. Such a ref cannot be the followed one, so it is skipped;
/// the panic's message appears on stderr.
fn advertised(head: &RemoteHead<'_>) -> Option<AdvertisedRef> {
    let (name, target) =
        catch_unwind(AssertUnwindSafe(|| (head.name().to_owned(), head.symref_target().map(str::to_owned)))).ok()?;
    let harmless = |name: &String| one_line(name, usize::MAX) == *name;
    harmless(&name).then(|| AdvertisedRef { name, id: head.oid(), target: target.filter(harmless) })
}
