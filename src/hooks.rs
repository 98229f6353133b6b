//! Who hears of a publish, and who may refuse one: two programs and an address, under git-sync's names.
//!
//! The gate runs before a tree is visible and is waited for; the other two run after, in the background, and are tried
//! again until they succeed. It knows nothing of git, of trees, or of when a publish is due: it is handed a hash and a path.

mod error;
mod exec;
mod http;
mod output;
mod processes;
mod teller;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

pub use error::Error;
pub use exec::Exec;
pub use http::{Address, Webhook};

use exec::Program;
use http::Caller;
use processes::Processes;
use teller::{Hook, tell_until_heard};

/// After the word to stop, running hooks have [`exec::STOP_GRACE`] to end; then they are killed. This is a little more.
const LAST_WAIT: Duration = Duration::from_millis(450);

/// What is configured; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--pre-publish-exechook-*`
    pub gate: Option<Exec>,
    /// `--exechook-*`
    pub exec: Option<Exec>,
    /// `--webhook-*`
    pub webhook: Option<Webhook>,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The commit.
    pub hash: String,
    /// Its tree, absolute.
    pub tree: PathBuf,
    /// How often a published tree was put back by this process: in a new tree of the same commit the hooks run again.
    pub put_back: u64,
}

/// The configured hooks, and whatever of them runs now.
#[derive(Debug)]
pub struct Hooks {
    gate: Option<Program>,
    after: Vec<Arc<Hook>>,
    metrics: Arc<Metrics>,
    shared: Shared,
    /// The newest publication for each of `after`; filled when there is a first one to tell.
    newest: Mutex<Vec<watch::Sender<Publication>>>,
    /// The trees in which a program has run to its end, whether it succeeded or not.
    ran: Mutex<Option<mpsc::UnboundedReceiver<Publication>>>,
    has_run: mpsc::UnboundedSender<Publication>,
}

/// What every run needs.
#[derive(Clone, Debug)]
struct Shared {
    processes: Arc<Processes>,
    /// Told to stop: nothing new begins, what runs is ended.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Hooks {
    #[must_use]
    pub fn new(options: Options, metrics: Arc<Metrics>) -> Self {
        let shared =
            Shared { processes: Arc::default(), stop: CancellationToken::new(), tasks: TaskTracker::default() };
        let program = |exec: Exec| Program::new(exec, shared.clone());
        let exec = options.exec.map(|exec| Hook::Exec(program(exec)));
        let webhook = options.webhook.map(|webhook| Hook::Webhook(Caller::new(webhook, shared.stop.clone())));
        let (has_run, ran) = mpsc::unbounded_channel();
        Self {
            gate: options.gate.map(program),
            after: exec.into_iter().chain(webhook).map(Arc::new).collect(),
            metrics,
            shared,
            newest: Mutex::default(),
            ran: Mutex::new(Some(ran)),
            has_run,
        }
    }

    /// Ends what runs as soon as `stop` says so, and, as the first process of a container, buries the orphans that hooks and
    /// others leave to it.
    pub fn watch(&self, stop: CancellationToken) {
        let stopping = self.shared.stop.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            stopping.cancel();
        });
        if std::process::id() == 1 {
            tokio::spawn(processes::bury_orphans(self.shared.processes.clone()));
        }
    }

    /// The trees in which a program has run after their publish, as these runs end. To be asked for once.
    pub fn take_runs(&self) -> Option<mpsc::UnboundedReceiver<Publication>> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// True if a program runs in published trees, or in those that are to be published.
    #[must_use]
    pub fn run_in_trees(&self) -> bool {
        self.gate.is_some() || self.after.iter().any(|hook| matches!(**hook, Hook::Exec(_)))
    }

    /// How long a refused commit is left alone at first; `None` without a gate.
    #[must_use]
    pub fn gate_backoff(&self) -> Option<Duration> {
        self.gate.as_ref().map(Program::backoff)
    }

    /// Asks the gate whether this may be published. Without a gate everything may.
    ///
    /// Dropping the returned future ends the program.
    ///
    /// # Errors
    /// It may not: the program said so, was not done in time, or could not be started.
    pub async fn gate(&self, built: &Publication) -> Result<(), Error> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let passed = gate.run(built).await;
        self.count("pre-publish-exechook", passed.as_ref().err());
        passed
    }

    /// Has everybody told in the background. Who has not heard the one before by then hears only this one; who has heard
    /// this one already hears nothing.
    pub fn tell(&self, published: Publication) {
        if self.after.is_empty() || self.shared.stop.is_cancelled() {
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_empty() {
            for hook in &self.after {
                let (sender, receiver) = watch::channel(published.clone());
                newest.push(sender);
                let (hook, metrics, stop) = (hook.clone(), self.metrics.clone(), self.shared.stop.clone());
                let has_run = self.has_run.clone();
                self.shared
                    .tasks
                    .spawn(async move { tell_until_heard(&hook, receiver, &metrics, &has_run, &stop).await });
            }
        } else {
            for sender in newest.iter() {
                sender.send_replace(published.clone());
            }
        }
    }

    /// Tells everybody once and waits for it. True if all of them heard it.
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

    /// Ends what runs: asked first, killed soon after. Returns when nothing is left, or can be waited for no longer.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(LAST_WAIT, self.shared.tasks.wait()).await;
        self.shared.processes.kill_all();
    }

    fn count(&self, name: &str, failed: Option<&Error>) {
        count(&self.metrics, name, failed);
    }
}

/// A run that was cut short because nobody wants its answer any more is neither a success nor an error.
fn count(metrics: &Metrics, name: &str, failed: Option<&Error>) {
    match failed {
        None => metrics.hook_run(name, "success"),
        Some(Error::Stopped) => {}
        Some(_) => metrics.hook_run(name, "error"),
    }
}
