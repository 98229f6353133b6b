//! The parts that a sync, the background work and the commands share. Each part guards itself; none knows this list.

use std::sync::Arc;

use git2::Oid;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::api::Published;
use crate::clock::Clock;
use crate::error::{Phase, SyncError};
use crate::git::{self, Engine};
use crate::history::History;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::publish::VolumeOptions;

use super::decision_store::DecisionStore;
use super::disk::Disk;
use super::error;
use super::hook_changes::HookChanges;
use super::lfs_objects::LfsObjects;
use super::notify::Notifier;
use super::options::Options;
use super::protected::ProtectedCommits;
use super::queue::Queue;
use super::recorder::Recorder;
use super::status::StatusStore;
use super::tree_state::PublishedTree;

pub(crate) struct Context {
    pub engine: Engine,
    pub disk: Arc<Disk>,
    pub status: Arc<StatusStore>,
    pub queue: Arc<Queue>,
    pub history: Arc<History>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub options: Options,
    pub decisions: DecisionStore,
    pub tree: PublishedTree,
    pub protected: ProtectedCommits,
    pub recorder: Recorder,
    pub hooks: Arc<Hooks>,
    pub hook_changes: HookChanges,
    pub notifier: Notifier,
    pub lfs_objects: LfsObjects,
}

impl Context {
    #[expect(clippy::too_many_arguments, reason = "called once, by `prepare`, which names each of them")]
    pub(crate) fn new(
        engine: Engine,
        status: Arc<StatusStore>,
        queue: Arc<Queue>,
        history: Arc<History>,
        metrics: Arc<Metrics>,
        clock: Clock,
        options: Options,
        volume: VolumeOptions,
    ) -> Self {
        let disk = Arc::new(Disk::new(volume));
        let hooks = Arc::new(Hooks::new(options.hooks.clone(), metrics.clone()));
        let notifier = Notifier::new(hooks.clone(), disk.clone(), &options.notices, options.one_time);
        Self {
            engine,
            decisions: DecisionStore::new(disk.clone(), status.clone(), queue.clone(), metrics.clone(), clock.clone()),
            recorder: Recorder::new(history.clone(), status.clone(), metrics.clone()),
            hook_changes: HookChanges::new(disk.clone(), options.timeout),
            tree: PublishedTree::default(),
            protected: ProtectedCommits::default(),
            lfs_objects: LfsObjects::default(),
            notifier,
            disk,
            hooks,
            status,
            queue,
            history,
            metrics,
            clock,
            options,
        }
    }

    /// Commits whose trees neither a removal nor the preparation of a standby tree may use, although no link names them.
    pub(crate) fn protected_commits(&self) -> Vec<Oid> {
        self.decisions.current().pinned.into_iter().chain(self.protected.commits()).collect()
    }

    /// Waits for git, given up at the deadline.
    pub(crate) async fn with_git<T>(
        &self,
        phase: Phase,
        deadline: Instant,
        work: impl Future<Output = Result<T, git::Error>>,
    ) -> Result<T, SyncError> {
        // git has time limits of its own; this is the limit of the whole sync.
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome.map_err(|error| error::git(phase, error)),
            Err(_elapsed) => Err(error::timeout(phase)),
        }
    }

    /// A published commit as the state shows it.
    pub(crate) async fn describe(&self, commit: Oid, published_at: Option<Timestamp>) -> Published {
        let described = self.engine.commit(commit).await.ok();
        Published {
            commit: commit.to_string(),
            subject: described.as_ref().map(|commit| commit.subject.clone()).unwrap_or_default(),
            author: described.as_ref().map(|commit| commit.author.clone()).unwrap_or_default(),
            committed_at: described.and_then(|commit| commit.committed_at),
            published_at,
        }
    }

    /// Reports that the link names a commit from now on. Readers, probes and metrics see this before its details are read.
    pub(crate) fn report_live(&self, commit: Oid) {
        let text = commit.to_string();
        self.metrics.published(&text);
        self.status.set_health(|health| (health.started, health.ready) = (true, true));
        let published_at = Some(self.clock.now());
        self.status.change_quietly(|snapshot| {
            if snapshot.published.as_ref().is_none_or(|published| published.commit != text) {
                let (subject, author, committed_at) = (String::new(), String::new(), None);
                snapshot.published = Some(Published { commit: text, subject, author, committed_at, published_at });
            }
        });
        self.status.is_live(commit);
    }

    /// Waits until records and notices are written, or the deadline is over.
    pub(super) async fn last_writes(&self, deadline: Instant) {
        self.notifier.written(deadline).await;
        if self.disk.volume().is_some() {
            self.history.written(deadline).await;
        }
    }
}
