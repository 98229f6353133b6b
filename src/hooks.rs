//! Runs the hooks, with git-sync's names: a program before a publish, which can reject it, and a program and an HTTP
//! request after it.
//!
//! The pre-publish hook runs before a tree becomes visible, and the publish waits for it. The other two run in the
//! background after the publish and are retried until they succeed. This area knows nothing of git, of trees, or of
//! when a publish is due: it receives a hash and a path.

mod error;
mod exec;
mod http;
mod output;
mod processes;
mod run;
mod teller;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

pub use error::HookError;
pub use exec::Exec;
pub use http::{Address, Webhook};
pub use run::Publication;

use exec::Program;
use http::Caller;
use run::{HookRuns, count};
use teller::{Hook, notify_until_delivered};

/// How long [`Hooks::stop`] waits before it kills: a little longer than [`exec::STOP_GRACE`], which running hooks
/// have.
const LAST_WAIT: Duration = Duration::from_millis(450);

/// The configured hooks; none by default.
#[derive(Clone, Debug, Default)]
pub struct HookOptions {
    /// `--pre-publish-exechook-*`
    pub gate: Option<Exec>,
    /// `--exechook-*`
    pub exec: Option<Exec>,
    /// `--webhook-*`
    pub webhook: Option<Webhook>,
}

/// The configured hooks and their running processes.
#[derive(Debug)]
pub struct Hooks {
    gate: Option<Program>,
    after: Vec<Arc<Hook>>,
    metrics: Arc<Metrics>,
    runs: HookRuns,
    /// The newest publication for each hook in `after`. Empty until the first publication.
    newest: Mutex<Vec<watch::Sender<Publication>>>,
    /// The trees in which a program has run to its end, whether it succeeded or not.
    ran: Mutex<Option<mpsc::UnboundedReceiver<Publication>>>,
    has_run: mpsc::UnboundedSender<Publication>,
}

impl Hooks {
    #[must_use]
    pub fn new(options: HookOptions, metrics: Arc<Metrics>) -> Self {
        let runs = HookRuns::default();
        let program = |exec: Exec| Program::new(exec, runs.clone());
        let exec = options.exec.map(|exec| Hook::Exec(program(exec)));
        let webhook = options.webhook.map(|webhook| Hook::Webhook(Caller::new(webhook, runs.stop.clone())));
        let (has_run, ran) = mpsc::unbounded_channel();
        Self {
            gate: options.gate.map(program),
            after: exec.into_iter().chain(webhook).map(Arc::new).collect(),
            metrics,
            runs,
            newest: Mutex::default(),
            ran: Mutex::new(Some(ran)),
            has_run,
        }
    }

    /// Stops running hooks once `stop` is cancelled. If the process is the first one of a container, it also reaps
    /// orphaned processes.
    pub fn watch(&self, stop: CancellationToken) {
        let stopping = self.runs.stop.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            stopping.cancel();
        });
        // The kernel gives orphans to the first process of a PID namespace (pid_namespaces(7)).
        if std::process::id() == 1 {
            tokio::spawn(processes::watch_orphans(self.runs.processes.clone()));
        }
    }

    /// Returns the channel that gets each tree in which a program has run after the publish. It can be taken once.
    pub fn take_runs(&self) -> Option<mpsc::UnboundedReceiver<Publication>> {
        self.ran.lock().take()
    }

    /// True if a program runs in published trees, or in those that are to be published.
    #[must_use]
    pub fn run_in_trees(&self) -> bool {
        self.gate.is_some() || self.after.iter().any(|hook| matches!(**hook, Hook::Exec(_)))
    }

    /// Returns the first pause before a rejected commit is tried again; `None` without a pre-publish hook.
    #[must_use]
    pub fn gate_backoff(&self) -> Option<Duration> {
        self.gate.as_ref().map(Program::backoff)
    }

    /// Runs the pre-publish hook. Without one, every publication is accepted.
    ///
    /// Dropping the returned future stops the program.
    ///
    /// # Errors
    /// [`HookError`], if the program rejected the publication, exceeded its timeout, or could not be started.
    pub async fn gate(&self, built: &Publication) -> Result<(), HookError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let passed = gate.run(built).await;
        self.count("pre-publish-exechook", passed.as_ref().err());
        passed
    }

    /// Notifies all hooks in the background. A hook that has not received the previous publication yet receives only
    /// this one; a hook that has already received this one is not called again.
    pub fn tell(&self, published: Publication) {
        if self.after.is_empty() || self.runs.stop.is_cancelled() {
            return;
        }
        let mut newest = self.newest.lock();
        if newest.is_empty() {
            // The tasks begin with the first publication: before that there is nothing to deliver.
            for hook in &self.after {
                let (sender, receiver) = watch::channel(published.clone());
                newest.push(sender);
                let (hook, metrics, stop) = (hook.clone(), self.metrics.clone(), self.runs.stop.clone());
                let has_run = self.has_run.clone();
                self.runs
                    .tasks
                    .spawn(async move { notify_until_delivered(&hook, receiver, &metrics, &has_run, &stop).await });
            }
        } else {
            for sender in newest.iter() {
                sender.send_replace(published.clone());
            }
        }
    }

    /// Calls every hook once and waits for the results. Returns true if all succeeded.
    pub async fn tell_once(&self, published: &Publication) -> bool {
        let runs = self.after.iter().map(|hook| async {
            let heard = hook.run(published).await;
            self.count(hook.name(), heard.as_ref().err());
            if let Err(error) = &heard {
                tracing::error!(hook = hook.name(), commit = published.hash, "the hook failed: {error}");
            }
            heard.is_ok()
        });
        futures_util::future::join_all(runs).await.into_iter().all(|heard| heard)
    }

    /// Stops running hooks with SIGTERM and kills what is left after [`LAST_WAIT`].
    pub async fn stop(&self) {
        self.runs.stop.cancel();
        self.runs.tasks.close();
        let _ = tokio::time::timeout(LAST_WAIT, self.runs.tasks.wait()).await;
        // Only programs that ignore SIGTERM are left by now.
        self.runs.processes.kill_all();
    }

    fn count(&self, name: &str, failed: Option<&HookError>) {
        count(&self.metrics, name, failed);
    }
}
