//! The replica's current state as the API shows it, and the stream of its changes.
//!
//! One lock guards the state and the numbering of events, so a reader who takes a snapshot and a subscription together
//! misses nothing and sees nothing twice. Nothing here waits or touches the disk.

mod announcement;
mod deliveries;
mod webhook;

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::api::{Event, Record, Replica, SCHEMA, Snapshot, State, Webhook};
use crate::clock::{Clock, millis};

use super::Options;
use deliveries::Deliveries;

pub use deliveries::Delivery;

/// Events that a slow reader may lag behind before it has to start over.
const EVENT_BACKLOG: usize = 256;
/// Records in a snapshot.
const RECENT: usize = 50;

/// The ref's full name and the remote's answer for it at the last sync. Deliveries are compared with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The full name of the ref; `None` before the first listing, or if a hash is configured.
    pub full_ref: Option<String>,
    /// True if a full hash is configured, so that no push is ours.
    pub hash: bool,
}

/// The facts that the probes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// A first tree was published (by this process or one before it) and seen whole.
    pub started: bool,
    /// The link names a tree that exists.
    pub ready: bool,
    /// Since when the sync loop has not answered a request for a sign of life; `None`: none is open. The loop has no
    /// heartbeat timer, which would wake an idle process without need.
    pub asked: Option<Instant>,
}

/// The shared state of one replica.
#[derive(Debug)]
pub struct StatusStore {
    state: Mutex<Current>,
    events: broadcast::Sender<(u64, Event)>,
    clock: Clock,
}

#[derive(Debug)]
struct Current {
    snapshot: Snapshot,
    recent: VecDeque<Record>,
    followed: Followed,
    moved_to: Option<String>,
    health: Health,
    deliveries: Deliveries,
}

impl StatusStore {
    #[must_use]
    pub fn new(options: &Options, clock: Clock) -> Self {
        let now = clock.now();
        let snapshot = Snapshot {
            schema: SCHEMA,
            now,
            replica: Replica {
                name: options.replica.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: now,
            },
            repo: options.repo.clone(),
            reference: options.reference.clone(),
            published: None,
            head: None,
            announced: None,
            state: State::Starting,
            running: None,
            failures_in_row: 0,
            last_error: None,
            webhook: Webhook { enabled: options.webhooks, ..Webhook::default() },
            poll: crate::api::Poll { period_ms: millis(options.period), last_at: None, next_at: None, unchanged: 0 },
            paused_until: None,
            paused_by: None,
            pinned: None,
            pinned_by: None,
            peers: Some(options.peers),
            standby: None,
            recent: Vec::new(),
            history: crate::api::HistoryState::default(),
            seq: 0,
        };
        let inner = Current {
            snapshot,
            recent: VecDeque::new(),
            followed: Followed::default(),
            moved_to: None,
            health: Health { started: false, ready: false, asked: None },
            deliveries: Deliveries::default(),
        };
        Self { state: Mutex::new(inner), events: broadcast::Sender::new(EVENT_BACKLOG), clock }
    }

    /// The state with its newest records.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.full(&mut self.lock())
    }

    /// Reads the state without copying it. The newest records are not part of it here.
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.lock().snapshot)
    }

    /// A snapshot and every event after it.
    #[must_use]
    pub fn subscribe(&self) -> (Snapshot, broadcast::Receiver<(u64, Event)>) {
        let mut inner = self.lock();
        // Under the same lock as the snapshot, so that no event lies between the two.
        let events = self.events.subscribe();
        (self.full(&mut inner), events)
    }

    #[must_use]
    pub fn followed(&self) -> Followed {
        self.lock().followed.clone()
    }

    pub fn set_followed(&self, followed: Followed) {
        self.lock().followed = followed;
    }

    /// The address that the remote redirected the last listing to, if it did.
    #[must_use]
    pub fn moved_to(&self) -> Option<String> {
        self.lock().moved_to.clone()
    }

    pub fn set_moved_to(&self, address: Option<String>) {
        self.lock().moved_to = address;
    }

    #[must_use]
    pub fn health(&self) -> Health {
        self.lock().health
    }

    pub fn set_health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.lock().health);
    }

    /// Changes the snapshot, derives the state word from it, and notifies the readers.
    pub fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut inner = self.lock();
        change(&mut inner.snapshot);
        self.notify_readers(&mut inner);
    }

    /// Derives the state word again and notifies the readers.
    fn notify_readers(&self, inner: &mut Current) {
        inner.snapshot.state = state_of(&inner.snapshot);
        self.send(inner, |snapshot| Event::State(Box::new(snapshot.clone())));
    }

    /// Changes the snapshot without an event, for a poll that found nothing.
    pub fn change_quietly(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut inner = self.lock();
        change(&mut inner.snapshot);
        inner.snapshot.state = state_of(&inner.snapshot);
    }

    /// A sync started or went on to its next phase.
    pub fn running(&self, running: crate::api::Running) {
        let mut inner = self.lock();
        let first = inner.snapshot.running.as_ref().is_none_or(|before| before.id != running.id);
        inner.snapshot.running = Some(running.clone());
        inner.snapshot.state = state_of(&inner.snapshot);
        self.send(&mut inner, |_| if first { Event::SyncStarted(running) } else { Event::SyncPhase(running) });
    }

    /// A sync ended: its record joins the newest, the state follows from it.
    pub fn finished(&self, record: Record, change: impl FnOnce(&mut Snapshot)) {
        let mut inner = self.lock();
        inner.snapshot.running = None;
        inner.snapshot.last_error.clone_from(&record.error);
        if record.missed_webhook {
            let Current { snapshot, deliveries, .. } = &mut *inner;
            deliveries.missed(snapshot, record.new.as_ref(), self.clock.now());
        }
        change(&mut inner.snapshot);
        inner.snapshot.state = state_of(&inner.snapshot);
        inner.recent.push_front(record.clone());
        inner.recent.truncate(RECENT);
        self.send(&mut inner, |_| Event::SyncFinished(Box::new(record)));
        self.send(&mut inner, |snapshot| Event::State(Box::new(snapshot.clone())));
    }

    /// A record that readers know has grown.
    pub fn amended(&self, record: Record) {
        let mut inner = self.lock();
        if let Some(known) = inner.recent.iter_mut().find(|known| known.id == record.id) {
            *known = record.clone();
        }
        self.send(&mut inner, |_| Event::SyncAmended(Box::new(record)));
    }

    /// Fills in what the history held from before this process.
    pub fn restore(&self, newest_first: impl IntoIterator<Item = Record>) {
        self.lock().recent = newest_first.into_iter().take(RECENT).collect();
    }

    fn full(&self, inner: &mut Current) -> Snapshot {
        let now = self.clock.now();
        inner.snapshot.webhook.day = inner.deliveries.day(now);
        let mut snapshot = inner.snapshot.clone();
        snapshot.now = now;
        snapshot.recent = inner.recent.iter().cloned().collect();
        snapshot
    }

    fn send(&self, inner: &mut Current, event: impl FnOnce(&Snapshot) -> Event) {
        inner.snapshot.seq += 1;
        inner.snapshot.now = self.clock.now();
        // An event is a copy of the state, so none is made without a listener. A later reader takes a snapshot under
        // this lock.
        if self.events.receiver_count() > 0 {
            inner.snapshot.webhook.day = inner.deliveries.day(inner.snapshot.now);
            let _ = self.events.send((inner.snapshot.seq, event(&inner.snapshot)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.state.lock()
    }
}

/// The one word for a replica, by precedence: a person's decision, a running sync, a failure, a missing tree.
fn state_of(snapshot: &Snapshot) -> State {
    let published = snapshot.published.as_ref().map(|published| &published.commit);
    let head = snapshot.head.as_ref().map(|head| &head.commit);
    if snapshot.standby.is_some() {
        State::Standby
    } else if snapshot.paused_until.is_some() {
        State::Paused
    } else if snapshot.running.is_some() && published.is_some() {
        State::Syncing
    } else if snapshot.failures_in_row > 0 {
        State::Failed
    } else if published.is_none() {
        State::Starting
    } else if snapshot.pinned.is_some() {
        State::Pinned
    } else if snapshot.announced.is_some() || head.is_some_and(|head| Some(head) != published) {
        State::Behind
    } else {
        State::InSync
    }
}
