//! A reason to sync, and how several of them become one.
//!
//! It must not know when a request is taken, or what a sync finds.

use git2::Oid;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{PeerResult, Trigger, TriggerKind};

/// A reason to sync now.
#[derive(Clone, Debug)]
pub struct Request {
    /// The trigger of highest rank, the latest if there are several.
    pub trigger: Trigger,
    /// The id that its record will have, if a caller was promised one.
    pub id: Option<String>,
    /// When the first byte of the webhook arrived, or when the other trigger fired.
    pub received_at: Timestamp,
    pub received: Instant,
    /// When it was put into the queue.
    pub queued: Instant,
    /// The pushes that webhooks announced, the newest last. They are compared with the remote's refs and never trusted on
    /// their own.
    pub announced: Vec<Announced>,
    /// True if a sync for the same reason failed before.
    pub retry: bool,
    /// The sync should not begin earlier, unless another trigger comes: a large fleet spreads its requests.
    pub not_before: Option<Instant>,
    /// Which other replicas were notified, as far as that is known. Nothing waits for it.
    pub peer_results: Vec<PeerResults>,
    /// True while every merged trigger is a webhook or a peer's message: these wait for a token.
    pub(super) limited: bool,
    /// The deliveries that announced the pushes in `announced`.
    names: Vec<Name>,
    /// The trigger of a person or a signal, if one was merged into this request.
    by_hand: Option<Trigger>,
}

/// A webhook's claim that our ref moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// `None` if the push created the ref.
    pub before: Option<Oid>,
    pub after: Oid,
    /// True if `after` does not descend from `before`, or nothing says whether it does.
    pub forced: bool,
}

impl Announced {
    fn ends(&self) -> (Option<Oid>, Oid) {
        (self.before, self.after)
    }
}

/// The delivery that announced a push.
#[derive(Clone, Debug)]
struct Name {
    ends: (Option<Oid>, Oid),
    trigger: Trigger,
    received: Instant,
}

/// The effect of adding an announcement to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    New,
    /// The same push was announced before.
    Repeated,
}

/// True if pushes, each a fast-forward by its own word, lead from `old` to `new`.
#[must_use]
pub(crate) fn is_fast_forward(announced: &[Announced], old: Oid, new: Oid) -> bool {
    leads(announced, old, new, |push| !push.forced)
}

/// True if pushes, whatever they did to the history, lead from `old` to `new`.
#[must_use]
pub(crate) fn is_expected(announced: &[Announced], old: Oid, new: Oid) -> bool {
    leads(announced, old, new, |_| true)
}

fn leads(announced: &[Announced], old: Oid, new: Oid, counts: impl Fn(&Announced) -> bool) -> bool {
    let mut reached = new;
    for push in announced.iter().rev() {
        if push.after == reached
            && counts(push)
            && let Some(before) = push.before
        {
            reached = before;
        }
        if reached == old {
            return reached != new;
        }
    }
    false
}

/// The results of notifying other replicas so far; closed when no more will come.
pub type PeerResults = watch::Receiver<Vec<PeerResult>>;

/// More announcements than this in one merged request are of no use: only the newest matter.
pub(super) const MOST_ANNOUNCED: usize = 16;

impl Request {
    /// A request that is not a webhook's.
    #[must_use]
    pub fn new(kind: TriggerKind, now: Timestamp) -> Self {
        Self {
            trigger: Trigger { kind, merged: 1, ..Trigger::default() },
            id: None,
            retry: false,
            received_at: now,
            received: Instant::now(),
            queued: Instant::now(),
            announced: Vec::new(),
            not_before: None,
            peer_results: Vec::new(),
            limited: matches!(kind, TriggerKind::Webhook | TriggerKind::Peer),
            names: Vec::new(),
            by_hand: None,
        }
    }

    /// The same request once more: a retry, or the rest after a wait for the ref, or after a repair. It paid its token already.
    #[must_use]
    pub fn again(mut self, retry: bool) -> Self {
        (self.retry, self.id, self.limited) = (retry, None, false);
        // The record of the first sync says which replicas were notified.
        (self.not_before, self.peer_results) = (None, Vec::new());
        self
    }

    /// One request for this one, which was taken or failed before, and another that was taken just now.
    #[must_use]
    pub fn followed_by(mut self, later: Self) -> Self {
        (self.id, self.queued) = (later.id.clone(), later.queued);
        self.merge(later);
        self
    }

    /// True if it was not asked for just now: the clock did, or a failure before it.
    fn is_by_itself(&self) -> bool {
        self.retry || matches!(self.trigger.kind, TriggerKind::Poll | TriggerKind::Startup)
    }

    /// True if it is done once its newest commit was seen at the remote: only webhooks and peers asked for it.
    pub(super) fn is_hint(&self) -> bool {
        let hint = matches!(self.trigger.kind, TriggerKind::Webhook | TriggerKind::Peer);
        hint && self.id.is_none() && self.trigger.action.is_none() && self.by_hand.is_none()
    }

    /// The newest commit that was announced.
    #[must_use]
    pub fn newest_announced(&self) -> Option<Oid> {
        self.announced.last().map(|announced| announced.after)
    }

    /// True if a push to this commit was announced.
    #[must_use]
    pub fn announces(&self, commit: Oid) -> bool {
        self.announced.iter().any(|push| push.after == commit)
    }

    /// The trigger that a record of this commit names: the delivery that announced it, else a person who asked, else the
    /// trigger of highest rank.
    #[must_use]
    pub fn trigger_of(&self, commit: Option<Oid>) -> Trigger {
        let named = commit.and_then(|commit| self.name_of(commit)).map(|name| &name.trigger);
        let trigger = named.or(self.by_hand.as_ref()).unwrap_or(&self.trigger).clone();
        let (merged, action, by) = (self.trigger.merged, self.trigger.action, self.trigger.by.clone());
        Trigger { merged, action, by, ..trigger }
    }

    /// When the delivery that announced this commit arrived; if none did, when the earliest merged trigger fired.
    #[must_use]
    pub fn received_of(&self, commit: Option<Oid>) -> Instant {
        commit.and_then(|commit| self.name_of(commit)).map_or(self.received, |name| name.received)
    }

    fn name_of(&self, commit: Oid) -> Option<&Name> {
        let push = self.announced.iter().rfind(|push| push.after == commit)?;
        self.names.iter().find(|name| name.ends == push.ends())
    }

    /// Notes for each announcement that this request came with its delivery. Has no effect the second time.
    pub(super) fn name(&mut self) {
        if matches!(self.trigger.kind, TriggerKind::Manual | TriggerKind::Signal) && self.by_hand.is_none() {
            self.by_hand = Some(self.trigger.clone());
        }
        for push in &self.announced {
            if self.names.iter().all(|name| name.ends != push.ends()) {
                self.names.push(Name { ends: push.ends(), trigger: self.trigger.clone(), received: self.received });
            }
        }
    }

    /// Takes over the announcements of another request, as far as they lead to `commit`.
    pub(super) fn learn(&mut self, other: &Self, commit: Oid) {
        let Some(last) = other.announced.iter().rposition(|push| push.after == commit) else { return };
        self.name();
        for push in &other.announced[..=last] {
            self.add(*push, other.names.iter().find(|name| name.ends == push.ends()).cloned());
        }
    }

    fn add(&mut self, push: Announced, name: Option<Name>) {
        let added = insert(&mut self.announced, push);
        let Some(name) = name else { return };
        match self.names.iter_mut().find(|known| known.ends == name.ends) {
            None => self.names.push(name),
            Some(known) if added == Added::New => *known = name,
            Some(known) => {
                known.received = known.received.min(name.received);
                if rank(name.trigger.kind) > rank(known.trigger.kind) {
                    known.trigger = name.trigger;
                }
            }
        }
        self.names.retain(|name| self.announced.iter().any(|push| push.ends() == name.ends));
    }

    /// Folds a later request into this one. The earlier time counts, the later announcement wins, and a webhook's
    /// identity is kept over a poll's.
    pub(super) fn merge(&mut self, mut later: Self) {
        self.name();
        later.name();
        let merged = self.trigger.merged.saturating_add(later.trigger.merged);
        // A poll asks for nothing that a retry does not: together they are a retry, whose trigger is kept.
        let nobody_asks = self.is_by_itself() && later.is_by_itself();
        self.retry = nobody_asks && (self.retry || later.retry);
        // A person's action is kept whichever trigger names the sync.
        let (action, by) = match later.trigger.action {
            Some(_) => (later.trigger.action, later.trigger.by.clone()),
            None => (self.trigger.action, self.trigger.by.take()),
        };
        if rank(later.trigger.kind) >= rank(self.trigger.kind) {
            self.trigger = later.trigger;
        }
        (self.trigger.merged, self.trigger.action, self.trigger.by) = (merged, action, by);
        self.by_hand = later.by_hand.or(self.by_hand.take());
        self.id = self.id.take().or(later.id);
        for push in later.announced {
            let name = later.names.iter().find(|name| name.ends == push.ends()).cloned();
            self.add(push, name);
        }
        self.peer_results.extend(later.peer_results);
        let excess = self.peer_results.len().saturating_sub(MOST_ANNOUNCED);
        self.peer_results.drain(..excess);
        // The one in a hurry takes the other along.
        self.not_before = self.not_before.zip(later.not_before).map(|(one, other)| one.min(other));
        self.limited &= later.limited;
        if later.received < self.received {
            self.received = later.received;
            self.received_at = later.received_at;
        }
    }
}

/// Adds a push where it belongs, since deliveries may arrive in another order than the pushes: at the end, unless it led to
/// where a known one started. The oldest is dropped when there are too many.
fn insert(announced: &mut Vec<Announced>, push: Announced) -> Added {
    let leads_on = push.before.is_some() && push.before == announced.last().map(|last| last.after);
    if !leads_on && let Some(known) = announced.iter_mut().find(|known| known.ends() == push.ends()) {
        // A peer's message does not say whether the push was forced.
        known.forced &= push.forced;
        return Added::Repeated;
    }
    let follower = announced.iter().position(|known| known.before == Some(push.after)).filter(|_| !leads_on);
    announced.insert(follower.unwrap_or(announced.len()), push);
    let excess = announced.len().saturating_sub(MOST_ANNOUNCED);
    announced.drain(..excess);
    Added::New
}

/// Which trigger names a sync that several asked for.
pub(super) fn rank(kind: TriggerKind) -> u8 {
    match kind {
        TriggerKind::Webhook => 5,
        TriggerKind::Peer => 4,
        TriggerKind::Manual => 3,
        TriggerKind::Signal => 2,
        TriggerKind::Startup => 1,
        TriggerKind::Poll | TriggerKind::Unknown => 0,
    }
}
