//! A remote by way of libgit2: list its refs, get one of them.
//!
//! For ssh, for files, and for http(s) servers that do not speak protocol v2; `over_http` comes first there. What refs mean
//! is `look`'s business, what is kept of them `fetch`'s.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use git2::{
    AutotagOption, Direction, FetchOptions, ProxyOptions, RemoteCallbacks, RemoteHead, RemoteRedirect, Repository,
};

use crate::remote_url::Transport;
use crate::text::one_line;
use crate::worker::Cancel;

use super::credentials::Login;
use super::look::Advertised;
use super::{Cause, Error, RemoteOptions, shallow};

/// libgit2's "all there is", for a store that is shallow and shall not be any more.
const UNSHALLOW: i32 = i32::MAX;

/// A remote and the store that it is asked for.
pub(super) struct Link<'a> {
    pub store: &'a Repository,
    pub options: &'a RemoteOptions,
    pub cancel: &'a Cancel,
}

/// What came over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub bytes: u64,
    pub objects: u64,
}

impl Link<'_> {
    /// Every ref that the remote advertises, `HEAD` and peeled tags included.
    pub(super) fn list(&self) -> Result<Vec<Advertised>, Error> {
        let login = Login::prepare(self.options, self.store.path())?;
        let listed = (|| {
            let mut remote = self.store.remote_anonymous(self.options.url.bare())?;
            let connection = remote.connect_auth(Direction::Fetch, Some(self.callbacks(&login)), Some(proxy()))?;
            let list = connection.list()?;
            Ok(list.iter().filter_map(advertised).collect())
        })();
        listed.map_err(|error| self.explain(login, &error))
    }

    /// Brings what `source` (a full ref or a hash) names, into the ref `target`.
    ///
    /// A ref that is not there is no error here, as with git: `target` is not written then.
    pub(super) fn get(&self, source: &str, target: &str) -> Result<Received, Error> {
        let login = Login::prepare(self.options, self.store.path())?;
        let depth = self.depth()?;
        let received = Cell::new(Received::default());
        let got = (|| {
            let mut remote = self.store.remote_anonymous(self.options.url.bare())?;
            let mut callbacks = self.callbacks(&login);
            callbacks.transfer_progress(|progress| {
                received.set(Received {
                    bytes: progress.received_bytes() as u64,
                    objects: progress.received_objects() as u64,
                });
                !self.cancel.is_cancelled()
            });
            let mut options = FetchOptions::new();
            options
                .remote_callbacks(callbacks)
                .proxy_options(proxy())
                .download_tags(AutotagOption::None)
                .follow_redirects(RemoteRedirect::None)
                .update_fetchhead(false)
                .depth(depth);
            remote.fetch(&[format!("+{source}:{target}")], Some(&mut options), None)
        })();
        got.map_err(|error: git2::Error| self.explain(login, &error))?;
        Ok(received.get())
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
            _ if wanted == 0 && !shallow::roots(self.store)?.is_empty() => UNSHALLOW,
            _ => i32::try_from(wanted).unwrap_or(UNSHALLOW),
        })
    }

    /// What our callbacks decided is nearer to the cause than what libgit2 made of it.
    fn explain(&self, login: Login<'_>, error: &git2::Error) -> Error {
        let remote = self.options.url.to_string();
        let problem = login.into_problem();
        let told =
            problem.unwrap_or_else(|| Error::from_remote(&remote, self.options.timeout, self.store.path(), error));
        if self.options.url.transport() == Transport::Local && told.store_is_damaged() {
            // libgit2 reads both repositories in this process and does not say which one is broken. Ours is checked
            // after every fetch; a good store must not be thrown away for a fault of the remote's.
            return Error::Server { remote, source: Cause::from(error) };
        }
        told
    }
}

/// One ref of the list; none if its name is not fit to be told or matched.
///
/// git2 panics on a name that is not UTF-8, which git allows. Such a ref cannot be ours, whose name is text; so it is
/// passed over, at the price of the panic's line on stderr.
fn advertised(head: &RemoteHead<'_>) -> Option<Advertised> {
    let (name, target) =
        catch_unwind(AssertUnwindSafe(|| (head.name().to_owned(), head.symref_target().map(str::to_owned)))).ok()?;
    let harmless = |name: &String| one_line(name, usize::MAX) == *name;
    harmless(&name).then(|| Advertised { name, id: head.oid(), target: target.filter(harmless) })
}

/// As every program in the cluster is told: `https_proxy`, `http_proxy`, `no_proxy`.
fn proxy() -> ProxyOptions<'static> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}
