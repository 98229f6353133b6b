//! A remote by way of libgit2: list its refs, get one of them.
//!
//! For ssh, for files, and for http(s) servers that do not speak protocol v2; `over_http` comes first there. What refs mean
//! is `look`'s business, what is kept of them `fetch`'s.

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
use crate::git::remote::credential_callbacks::Login;
use crate::git::remote::local;
use crate::git::remote::options::RemoteOptions;
use crate::git::store::shallow;
use crate::remote_url::Transport;
use crate::secret::Secret;
use crate::text::one_line;
use crate::worker::Cancel;

/// libgit2's "all there is", for a store that is shallow and shall not be any more.
const UNSHALLOW: i32 = i32::MAX;
/// Names no ref of any remote.
const NO_REF: &str = "refs/pushsync/nowhere:refs/pushsync/nowhere";

/// A remote and the store that it is asked for.
pub(crate) struct Link<'a> {
    pub store: &'a Repository,
    pub options: &'a RemoteOptions,
    pub pass: &'a RequestAuth,
    pub cancel: &'a Cancel,
}

/// What came over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub bytes: u64,
    pub objects: u64,
}

impl Link<'_> {
    /// Every ref that the remote advertises, `HEAD` and peeled tags included.
    pub(crate) fn list(&self) -> Result<Vec<AdvertisedRef>, Error> {
        self.may_go()?;
        let login = Login::prepare(self.options, self.pass, self.store.path())?;
        let headers = self.headers();
        let listed = (|| {
            let mut remote = self.store.remote_anonymous(&self.options.url.for_libgit2())?;
            if !headers.is_empty() {
                // Only a fetch takes headers: one of a ref that is nowhere brings the list and nothing else.
                let mut options = FetchOptions::new();
                options.remote_callbacks(self.callbacks(&login));
                self.prepare(&mut options, &headers);
                remote.fetch(&[NO_REF], Some(&mut options), None)?;
                return Ok(remote.list()?.iter().filter_map(advertised).collect());
            }
            let connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks(&login)), Some(self.proxy()))?;
            let list = connection.list()?;
            Ok(list.iter().filter_map(advertised).collect())
        })();
        let listed: Vec<AdvertisedRef> = match listed {
            // libgit2 parses what each ref names, and fails as a whole.
            Err(error) if self.options.url.transport() == Transport::Local => {
                local::list(self.options.url.bare()).map_err(|_| self.explain(login, &error))?
            }
            listed => listed.map_err(|error| self.explain(login, &error))?,
        };
        tracing::trace!(remote = %self.options.url, refs = listed.len(), "the remote listed its refs to libgit2");
        Ok(listed)
    }

    /// Brings what `source` (a full ref or a hash) names, into the ref `target`.
    ///
    /// A ref that is not there is no error here, as with git: `target` is not written then.
    pub(crate) fn get(&self, source: &str, target: &str) -> Result<Received, Error> {
        self.bring(&[format!("+{source}:{target}")], self.depth()?)
    }

    /// Brings every branch and tag with its whole history, into refs below `target` (which ends in a slash).
    pub(crate) fn get_all(&self, target: &str) -> Result<Received, Error> {
        let depth = if self.options.url.transport() == Transport::Local { 0 } else { UNSHALLOW };
        self.bring(&["heads", "tags"].map(|kind| format!("+refs/{kind}/*:{target}{kind}/*")), depth)
    }

    fn bring(&self, refspecs: &[String], depth: i32) -> Result<Received, Error> {
        self.may_go()?;
        let login = Login::prepare(self.options, self.pass, self.store.path())?;
        let headers = self.headers();
        let local = self.options.url.transport() == Transport::Local;
        let ends = if local { shallow::boundary(self.store)? } else { HashSet::default() };
        let received = Cell::new(Received::default());
        let over_limit = Cell::new(None);
        let got = (|| {
            let mut remote = self.store.remote_anonymous(&self.options.url.for_libgit2())?;
            let mut callbacks = self.callbacks(&login);
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
            // From one folder to another libgit2 says that no history ends anywhere, and empties the `shallow` file.
            shallow::update(self.store, &ends.into_iter().collect::<Vec<_>>(), &[])?;
        }
        if let Some(exceeded) = over_limit.get() {
            return Err(Error::over_limit(exceeded));
        }
        got.map_err(|error: git2::Error| self.explain(login, &error))?;
        Ok(received.get())
    }

    /// libgit2 takes a proxy for https only; over http it would go straight to the server, past the proxy.
    fn may_go(&self) -> Result<(), Error> {
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

    /// What every fetch has in common. Headers go to our own server only: no redirect is followed.
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
        let headers = self.pass.headers(self.options.url.bare());
        let line = |(name, value): &(String, Secret)| Some(format!("{name}: {}", value.expose_str()?));
        headers.iter().filter_map(line).collect()
    }

    /// The proxy that was chosen for the remote; nobody else's choice.
    fn proxy(&self) -> ProxyOptions<'static> {
        let mut options = ProxyOptions::new();
        if let Some(whole) = self.options.route().proxy.map(|proxy| proxy.whole())
            && let Some(url) = whole.expose_str()
        {
            options.url(url);
        }
        options
    }

    fn callbacks<'login>(&'login self, login: &'login Login<'_>) -> RemoteCallbacks<'login> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|address, user, allowed| login.answer(address, user, allowed));
        callbacks.certificate_check(|certificate, host| login.check(certificate, host));
        callbacks.sideband_progress(|_| !self.cancel.is_cancelled());
        callbacks
    }

    fn depth(&self) -> Result<i32, Error> {
        let wanted = self.options.depth;
        Ok(match self.options.url.transport() {
            // libgit2 refuses a depth there, and a copy from disk to disk hardly needs one.
            Transport::Local => 0,
            _ if wanted == 0 && !shallow::boundary(self.store)?.is_empty() => UNSHALLOW,
            _ => i32::try_from(wanted).unwrap_or(UNSHALLOW),
        })
    }

    /// What our callbacks decided is nearer to the cause than what libgit2 made of it.
    fn explain(&self, login: Login<'_>, error: &git2::Error) -> Error {
        let remote = self.options.url.to_string();
        let problem = login.into_problem();
        let told =
            problem.unwrap_or_else(|| Error::from_remote(&remote, self.options.timeout, self.store.path(), error));
        match (told, self.options.route().proxy) {
            // A line of the list of refs that says where the remote's own history ends: libgit2 cannot read it.
            (Error::Protocol { remote, .. }, _)
                if self.options.url.transport() == Transport::Ssh && error.message() == "invalid packet line" =>
            {
                let source = Cause::new("over ssh, libgit2 cannot read the refs of a shallow repository");
                Error::RepositoryFormat { remote, source }
            }
            // "proxy returned unexpected status", say.
            (Error::Protocol { remote, source } | Error::Network { remote, source }, Some(proxy))
                if source.to_string().contains("proxy") =>
            {
                Error::Proxy { remote, proxy: proxy.to_string(), source }
            }
            (told, _) => self.at_home(told, error),
        }
    }

    fn at_home(&self, told: Error, error: &git2::Error) -> Error {
        if self.options.url.transport() == Transport::Local && told.store_is_damaged() {
            // libgit2 reads both repositories in this process and does not say which one is broken. Ours is checked
            // after every fetch; a good store must not be thrown away for a fault of the remote's.
            let (remote, source) = (self.options.url.to_string(), Cause::from(error));
            return Error::Server { remote, source, after: None };
        }
        told
    }
}

/// One ref of the list; none if its name is not fit to be told or matched.
///
/// git2 panics on a name that is not UTF-8, which git allows. Such a ref cannot be ours, whose name is text; so it is
/// passed over, at the price of the panic's line on stderr.
fn advertised(head: &RemoteHead<'_>) -> Option<AdvertisedRef> {
    let (name, target) =
        catch_unwind(AssertUnwindSafe(|| (head.name().to_owned(), head.symref_target().map(str::to_owned)))).ok()?;
    let harmless = |name: &String| one_line(name, usize::MAX) == *name;
    harmless(&name).then(|| AdvertisedRef { name, id: head.oid(), target: target.filter(harmless) })
}
