//! The state of `--filter` for one remote: whether the server supports it, and the last commit that lacks no file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use git2::Oid;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::git::deadline::Deadline;
use crate::git::error::Error;
use crate::git::remote::options::RemoteOptions;
use crate::git::remote::smart_http::Caller;
use crate::git::remote::v2::Client;
use crate::sparse::Sparse;

use super::plan::PackRequest;

/// The state of the filter for one remote.
#[derive(Debug, Default)]
pub(crate) struct FilterState {
    /// True once the log says that the server supports no filter.
    warned: AtomicBool,
    /// The last commit that was found to lack nothing.
    checked: Mutex<Option<CheckedCommit>>,
    /// Held while filtered files are fetched; inside, when that last failed.
    pub completing: tokio::sync::Mutex<Option<Instant>>,
}

/// A commit that lacks no file.
#[derive(Clone, Debug)]
pub(crate) struct CheckedCommit {
    pub commit: Oid,
    /// The patterns that were wanted of it; `None`: everything.
    pub sparse: Option<Arc<Sparse>>,
    /// Device and inode of the store that was checked.
    pub store: (u64, u64),
}

impl FilterState {
    /// Removes the filter from a request if the server supports none. Asks the server once.
    pub(crate) async fn apply(
        &self,
        client: &Client,
        caller: Caller<'_>,
        mut wanted: PackRequest,
        deadline: &Deadline,
    ) -> Result<PackRequest, Error> {
        if wanted.request.filter.is_some() {
            let supported = deadline.limit(client.supports_filter(caller)).await?;
            self.restrict(supported, caller.options, &mut wanted);
        }
        Ok(wanted)
    }

    /// Like [`FilterState::apply`], without asking. `None` if it is not known yet whether the server supports filters.
    pub(crate) fn apply_if_known(
        &self,
        client: &Client,
        options: &RemoteOptions,
        mut wanted: PackRequest,
    ) -> Option<PackRequest> {
        if wanted.request.filter.is_some() {
            self.restrict(client.known_filter_support()?, options, &mut wanted);
        }
        Some(wanted)
    }

    fn restrict(&self, supported: bool, options: &RemoteOptions, wanted: &mut PackRequest) {
        if supported {
            return;
        }
        // A server that does not list `filter` refuses a request with one as an unexpected line (gitprotocol-v2,
        // "fetch").
        wanted.request.filter = None;
        // A partial clone is fetched with a filter even when `--filter` is gone. Then there is no flag to warn about.
        if options.filter.is_some() && !self.warned.swap(true, Ordering::Relaxed) {
            let remote = options.url.to_string();
            tracing::warn!(
                remote,
                "--filter has no effect: the server does not support filters (uploadpack.allowFilter)"
            );
        }
    }

    /// Locks the last commit that was found to lack nothing.
    pub(crate) fn checked(&self) -> parking_lot::MutexGuard<'_, Option<CheckedCommit>> {
        self.checked.lock()
    }
}
