//! The background work between pushes: a second check of the published tree, standby trees for the next push, flushing to the
//! disk, the removal of old trees, compaction.
//!
//! One task does it. The loop sends it messages about what happened, and it decides what is due. All of it yields to a push. It
//! must not change what readers see.

mod compaction;
mod courtesy;
mod preparation;
mod removal;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::Retry;
use crate::publish::Prepared;

use super::backoff;
use super::context::Context;

pub(crate) use compaction::compact_at_end;
pub(crate) use removal::remove_at_end;

/// A margin, so that a tree whose grace period ends now has expired when the removal runs.
const REMOVAL_MARGIN: Duration = Duration::from_millis(50);

/// The longest wait after a failed removal, until it is tried again and its failure is logged again. The first one is a second.
const LONGEST_WAIT_AFTER_FAILURE: Duration = Duration::from_secs(10 * 60);

/// The loop's activity. Background work starts, and a removal goes on, only beside some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A sync is running.
    Syncing,
    /// The result of a sync is being recorded, or another process owns the volume.
    Other,
    /// The loop waits for the next request.
    Idle,
}

/// An event that may cause background work.
#[derive(Debug)]
enum Message {
    /// A commit was published, or found published at the start.
    Published,
    /// A push is about to be built.
    PushComing,
    /// The store has grown, or holds commits that are not needed any more.
    StoreChanged,
    /// Trees expire at this time.
    RemovalDue(Instant),
    /// A removal left something behind.
    RemovalFailed,
    /// A removal left nothing behind.
    RemovalDone,
    /// The result of making standby trees.
    Prepared(Prepared),
    /// An expired tree may become a standby tree instead of being removed; answered when that was tried.
    TreesExpired(oneshot::Sender<()>),
}

/// The loop's side: sends the task what happened.
pub(crate) struct Maintenance {
    context: Arc<Context>,
    messages: mpsc::UnboundedSender<Message>,
    activity: watch::Sender<Activity>,
    /// True while the first standby tree is being written.
    writing: watch::Receiver<bool>,
    grace: Duration,
}

impl Maintenance {
    /// The task is to be spawned by the caller. It ends when this is dropped.
    pub(crate) fn new(context: Arc<Context>, grace: Duration) -> (Self, MaintenanceTask) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let writing = watch::Sender::new(false);
        let activity = watch::Sender::new(Activity::Other);
        let task = MaintenanceTask {
            context: context.clone(),
            // Weak, so that the task ends with the loop, although its own work sends messages, too.
            messages: messages.downgrade(),
            inbox,
            activity: activity.subscribe(),
            preparing: None,
            preparations: Arc::new(watch::Sender::new(0)),
            next_removal: Some(Instant::now() + grace),
            failed_removals: 0,
            no_room_reported: false,
            removal_waits: Arc::default(),
            writing: Arc::new(writing.clone()),
        };
        (Self { context, messages, activity, writing: writing.subscribe(), grace }, task)
    }

    /// Sets the loop's activity from now on.
    pub(crate) fn enter(&self, activity: Activity) {
        self.activity.send_replace(activity);
    }

    /// A commit was published, or found published at the start: checks it again, makes a standby tree for the next push, and
    /// flushes everything to the disk. Earlier work of this kind is cancelled.
    pub(crate) fn published(&self) {
        // A process that publishes once has no next push.
        if !self.context.options.one_time {
            self.send(Message::Published);
        }
    }

    /// Yields to a push that is about to be built. It waits for a standby tree that is being made, because writing a whole tree
    /// would take longer. All other background work stops between two files, without a wait.
    pub(crate) async fn push_coming(&self, deadline: Instant) {
        if !self.context.disk.volume().is_some_and(|volume| volume.has_standby()) {
            let longest = deadline.saturating_duration_since(Instant::now()) / 2;
            let mut writing = self.writing.clone();
            let _ = timeout(longest, writing.wait_for(|writing| !writing)).await;
        }
        self.send(Message::PushComing);
    }

    /// The store has grown: checks whether it should be compacted.
    pub(crate) fn store_changed(&self) {
        self.send(Message::StoreChanged);
    }

    /// Removes old trees as soon as the loop is idle.
    pub(crate) fn remove_soon(&self) {
        self.send(Message::RemovalDue(Instant::now() + REMOVAL_MARGIN));
    }

    /// Removes the trees that are replaced now when their grace period is over.
    pub(crate) fn remove_after_grace(&self) {
        self.send(Message::RemovalDue(Instant::now() + self.grace + REMOVAL_MARGIN));
    }

    fn send(&self, message: Message) {
        // The task runs for as long as the loop; a process without it only lacks maintenance.
        let _ = self.messages.send(message);
    }
}

/// The task that does the work.
pub(crate) struct MaintenanceTask {
    context: Arc<Context>,
    messages: mpsc::WeakUnboundedSender<Message>,
    inbox: mpsc::UnboundedReceiver<Message>,
    activity: watch::Receiver<Activity>,
    /// The newest preparation for the next push.
    preparing: Option<AbortHandle>,
    /// How many preparations have not ended: one, and those that were cancelled a moment ago.
    preparations: Arc<watch::Sender<usize>>,
    next_removal: Option<Instant>,
    /// The number of removals in a row that left something behind.
    failed_removals: u32,
    /// True once the log has said that there is no room for a standby tree.
    no_room_reported: bool,
    /// Held by a removal that waits for the thread of an earlier one.
    removal_waits: Arc<tokio::sync::Mutex<()>>,
    writing: Arc<watch::Sender<bool>>,
}

impl MaintenanceTask {
    pub(crate) async fn run(mut self) {
        loop {
            let is_idle = *self.activity.borrow_and_update() == Activity::Idle;
            let next = self.next_removal.filter(|_| is_idle);
            tokio::select! {
                biased;
                // First, so that a push that is coming stops the work before more of it starts.
                message = self.inbox.recv() => match message {
                    Some(message) => self.obey(message),
                    None => return,
                },
                changed = self.activity.changed() => if changed.is_err() { return },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    // The removal's result says when the next tree's grace is over.
                    self.next_removal = None;
                    tokio::spawn(self.work().remove());
                }
            }
        }
    }

    fn obey(&mut self, message: Message) {
        match message {
            Message::Published => drop(self.prepare(None)),
            Message::TreesExpired(done) => drop(self.prepare(Some(done))),
            Message::PushComing => {
                self.preparing.take().inspect(AbortHandle::abort);
            }
            Message::StoreChanged => drop(tokio::spawn(compaction::compact_after_publish(self.context.clone()))),
            Message::RemovalDue(due) => self.remove_at(due),
            Message::RemovalDone => self.failed_removals = 0,
            Message::RemovalFailed => {
                self.failed_removals = self.failed_removals.saturating_add(1);
                // Soon at first, because a slow disk may have ended it, and no other removal is due until the next publish.
                let wait =
                    backoff::delay(self.failed_removals, Retry::Soon, LONGEST_WAIT_AFTER_FAILURE, fastrand::f64());
                self.remove_at(Instant::now() + wait + REMOVAL_MARGIN);
            }
            Message::Prepared(Prepared::Soon(left)) => self.remove_at(Instant::now() + left + REMOVAL_MARGIN),
            Message::Prepared(Prepared::NoRoom) => {
                if !std::mem::replace(&mut self.no_room_reported, true) {
                    tracing::info!("the volume has no room for a standby tree: each push writes a whole one");
                }
            }
            Message::Prepared(prepared) => {
                self.no_room_reported = false;
                tracing::debug!(?prepared, "standby trees");
            }
        }
    }

    fn remove_at(&mut self, due: Instant) {
        self.next_removal = Some(self.next_removal.map_or(due, |next| next.min(due)));
    }

    /// Starts a preparation in place of the one that is running. `done` is dropped when it ends.
    fn prepare(&mut self, done: Option<oneshot::Sender<()>>) -> JoinHandle<()> {
        let counted = Counted::count(self.preparations.clone());
        let preparation = self.work().prepare();
        // Spawned, so that a panic in it ends neither this task nor the loop.
        let task = tokio::spawn(async move {
            let _ended = (counted, done);
            preparation.await;
        });
        self.preparing.replace(task.abort_handle()).inspect(AbortHandle::abort);
        task
    }

    fn work(&self) -> BackgroundWork {
        BackgroundWork {
            context: self.context.clone(),
            messages: self.messages.clone(),
            activity: self.activity.clone(),
            preparations: self.preparations.subscribe(),
            removal_waits: self.removal_waits.clone(),
            writing: self.writing.clone(),
        }
    }
}

/// The parts that one piece of background work needs.
#[derive(Clone)]
struct BackgroundWork {
    context: Arc<Context>,
    messages: mpsc::WeakUnboundedSender<Message>,
    activity: watch::Receiver<Activity>,
    preparations: watch::Receiver<usize>,
    removal_waits: Arc<tokio::sync::Mutex<()>>,
    writing: Arc<watch::Sender<bool>>,
}

impl BackgroundWork {
    /// Schedules the next removal for the end of a grace period, also without other events.
    fn remove_in(&self, left: Duration) {
        self.send(Message::RemovalDue(Instant::now() + left + REMOVAL_MARGIN));
    }

    fn send(&self, message: Message) {
        // Without the loop there is no task any more, and nothing left to do.
        if let Some(messages) = self.messages.upgrade() {
            let _ = messages.send(message);
        }
    }
}

/// Counted for as long as it exists, also if its task is cancelled or panics.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn count(counter: Arc<watch::Sender<usize>>) -> Self {
        counter.send_modify(|count| *count += 1);
        Self(counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
