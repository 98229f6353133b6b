//! The interface of the sync loop for the rest of the process: requests, commands, the state and the history.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use crate::api::{Accepted, Event, Refusal, Snapshot};
use crate::clock::Clock;
use crate::git::Engine;
use crate::history::History;
use crate::metrics::Metrics;
use crate::text::one_line;

use super::decisions::LONGEST_LABEL;
use super::queue::{Queue, Request};
use super::status::{Delivery, Followed, Health, StatusStore};

/// A change that a person asks for. Carried out by the sync loop, which alone writes the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Sync,
    Pause {
        minutes: u32,
    },
    Resume,
    /// Publish this commit (full hash or prefix) and stay there.
    Pin {
        commit: String,
    },
    Unpin,
}

/// A snapshot and the events after it.
pub struct Subscription {
    pub snapshot: Snapshot,
    /// Numbered as the snapshot's `seq`.
    pub events: broadcast::Receiver<(u64, Event)>,
}

/// A command on its way to the sync loop.
#[derive(Debug)]
pub struct CommandRequest {
    pub command: Command,
    /// The person who asks, as far as that is known: a label, cleaned.
    pub by: Option<String>,
    pub answer: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// Where commands arrive.
pub type Commands = mpsc::Receiver<CommandRequest>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    status: Arc<StatusStore>,
    queue: Arc<Queue>,
    history: Arc<History>,
    metrics: Arc<Metrics>,
    clock: Clock,
    commands: mpsc::Sender<CommandRequest>,
    /// For questions about commits; `None`: only the history is asked.
    engine: Option<Engine>,
}

impl Handle {
    /// Ties the parts together; the receiver belongs to the sync loop.
    #[must_use]
    pub fn new(
        status: Arc<StatusStore>,
        queue: Arc<Queue>,
        history: Arc<History>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> (Self, Commands) {
        // Bounded: a caller waits when the loop does not answer.
        let (commands, receiver) = mpsc::channel(16);
        (Self { status, queue, history, metrics, clock, commands, engine: None }, receiver)
    }

    /// Lets questions about commits be answered from the object store, too.
    #[must_use]
    pub fn with_engine(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }

    pub(super) fn status(&self) -> &StatusStore {
        &self.status
    }

    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Requests a sync. Never waits and never fails; the request is merged with a pending one.
    pub fn request_sync(&self, request: Request) {
        for push in &request.announced {
            self.status.announce(*push, &request.trigger);
        }
        self.queue.push(request);
    }

    /// Notes an authentic delivery in the state. Returns true if its id was seen before.
    #[must_use]
    pub fn delivery(&self, delivery: Delivery<'_>) -> bool {
        self.status.delivery(delivery)
    }

    /// Counts a request that could not prove that it knows the secret.
    pub fn bad_signature(&self) {
        if let Some(wait) = self.status.bad_signature() {
            let status = self.status.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                status.report_bad_signatures();
            });
        }
    }

    /// The ref that a push must name to be ours.
    #[must_use]
    pub fn followed(&self) -> Followed {
        self.status.followed()
    }

    /// The address that the remote redirects to, if it does.
    #[must_use]
    pub fn moved_to(&self) -> Option<String> {
        self.status.moved_to()
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.status.health()
    }

    /// Asks the sync loop for a sign of life. False if it has not answered an earlier request for too long: it hangs.
    #[must_use]
    pub fn is_responsive(&self, patience: Duration) -> bool {
        self.status.set_health(|health| health.asked = health.asked.or_else(|| Some(Instant::now())));
        let asked = self.status.health().asked;
        self.queue.ask();
        asked.is_none_or(|since| since.elapsed() < patience)
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.status.snapshot()
    }

    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let (snapshot, events) = self.status.subscribe();
        Subscription { snapshot, events }
    }

    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Has a command carried out and returns the result. `by` is the caller's label for the person who asks.
    ///
    /// # Errors
    /// A [`Refusal`] with the reason, or with the code `stopping` if the process is about to end.
    pub async fn command(&self, command: Command, by: Option<String>) -> Result<Accepted, Refusal> {
        let stopping =
            || Refusal { code: "stopping".to_owned(), message: "the sidecar is shutting down".to_owned(), hint: None };
        let (answer, answered) = oneshot::channel();
        let by = by.map(|by| one_line(&by, LONGEST_LABEL)).filter(|by| !by.is_empty());
        self.commands.send(CommandRequest { command, by, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}
