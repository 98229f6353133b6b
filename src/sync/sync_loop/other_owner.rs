//! Standing by: another process owns the volume, as in a rolling update of one replica on a shared volume.
//!
//! The process is ready while the link names a whole tree, looks every second whether the lock is free, and takes over. It
//! writes nothing until then, and keeps requests for later. It must not know how the volume is locked.

use std::time::Duration;

use git2::Oid;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::Published;
use crate::error::SyncError;
use crate::publish::{Live, Observed};
use crate::sync::command;
use crate::sync::queue::Request;
use crate::sync::run::RunReport;

use super::{Ending, SyncLoop};

const LOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A look at a link takes no time; a disk that takes longer hangs.
const OBSERVE_DEADLINE: Duration = Duration::from_secs(10);

impl SyncLoop {
    /// The volume turned out to be another process's. With `--one-time` that is fine if the wanted commit is live already;
    /// else it is waited for, for as long as one sync may take.
    pub(super) async fn stand_by(&mut self, run: RunReport, error: SyncError) -> Option<Ending> {
        let since = self.standby.get_or_insert_with(|| {
            tracing::info!("{}: standing by until it ends", error.message());
            Instant::now()
        });
        let waited = since.elapsed();
        let observed = self.observe().await;
        self.show_standby(observed.as_ref(), &error);
        if self.options().one_time {
            if let Some(Live::Tree(live)) = observed.map(|observed| observed.live)
                && self.wanted().await == Some(live)
            {
                tracing::info!("{live} is what is wanted, and the other process has published it: nothing to do");
                return Some(Ending::Done);
            }
            if waited >= self.options().timeout {
                return Some(Ending::Locked(error));
            }
        }
        // Kept, so that the first sync as the owner has the trigger of this one.
        self.retry = Some(run.request.clone().again(true));
        self.next_poll = Instant::now() + LOCK_CHECK_INTERVAL;
        None
    }

    /// Waits until the lock is free; answers commands meanwhile. Answers the request that the process began with.
    pub(super) async fn wait_for_owner(&mut self, stop: &CancellationToken) -> Option<Request> {
        let context = self.context.clone();
        let mut next = self.next_poll;
        loop {
            let asked = context.queue.asked();
            self.report_alive();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                Some(order) = self.commands.recv() => command::answer(&context, order),
                () = asked => {}
                () = sleep_until(next) => {
                    next = Instant::now() + LOCK_CHECK_INTERVAL;
                    let observed = self.observe().await;
                    if observed.as_ref().is_none_or(|observed| observed.owned) {
                        self.note_observed(observed.as_ref());
                        continue;
                    }
                    return self.retry.take();
                }
            }
        }
    }

    /// Ends the standby state, because this process owned the volume for a sync.
    pub(super) fn took_over(&mut self) {
        if self.standby.take().is_some() {
            tracing::info!("the other process has ended: this one owns the volume now");
            self.context.status.change(|snapshot| snapshot.standby = None);
        }
    }

    async fn observe(&self) -> Option<Observed> {
        match self.context.disk.observe(Instant::now() + OBSERVE_DEADLINE).await {
            Ok(observed) => Some(observed),
            Err(error) => {
                tracing::warn!(%error, "the volume of the other process cannot be read");
                None
            }
        }
    }

    fn show_standby(&self, observed: Option<&Observed>, error: &SyncError) {
        let owner = error.message();
        self.context.status.change(|snapshot| (snapshot.running, snapshot.standby) = (None, Some(owner)));
        self.note_observed(observed);
    }

    /// Shows what the owner has published; events are sent for changes only.
    fn note_observed(&self, observed: Option<&Observed>) {
        let Some(observed) = observed else { return };
        let status = &self.context.status;
        let live = if let Live::Tree(live) = observed.live { Some(live) } else { None };
        status.set_health(|health| {
            health.ready = live.is_some();
            health.started |= health.ready;
        });
        let Some(commit) = live.map(|live| live.to_string()) else { return };
        // An event for each check would make every dashboard draw once a second.
        let known = status.read(|snapshot| snapshot.published.as_ref().is_some_and(|known| known.commit == commit));
        if known {
            return;
        }
        self.context.metrics.published(&commit);
        // Its subject and author are in the store, which is the owner's.
        let published =
            Published { commit, subject: String::new(), author: String::new(), committed_at: None, published_at: None };
        status.change(|snapshot| snapshot.published = Some(published));
    }

    /// The commit that the remote has under our ref.
    async fn wanted(&self) -> Option<Oid> {
        match self.context.engine.ls_remote().await {
            Ok(look) => Some(look.commit),
            Err(error) => {
                tracing::warn!("the wanted commit is not known: {error}");
                None
            }
        }
    }
}
