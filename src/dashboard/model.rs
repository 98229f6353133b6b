//! Everything the screen can show, as plain data: the replicas as last seen, where the user is, what is typed.
//!
//! Time is a field, the terminal's size is a field. It knows no terminal, no network and no clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::{Record, Snapshot, SyncDetail};

use super::ask::Asked;
use super::filter::Filter;
use super::fleet::Latency;
use super::keys::Screen;
use super::message::{Change, Msg};
use super::records::Records;

/// Entries in the Events view.
const MAX_EVENTS: usize = 500;
/// Characters of an entry.
const MAX_NOTE: usize = 500;
/// Details of syncs that are kept, newest opened last.
const MAX_DETAILS: usize = 16;

/// Columns and rows below which there is no screen.
pub const LEAST: (u16, u16) = (40, 6);

/// Identifies a replica for as long as it lives: the pod's uid, or the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(pub Arc<str>);

impl PodId {
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica as the pod list (or the command line) names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: PodId,
    /// The pod's name, or host and port of the URL.
    pub name: String,
    /// `None` for a URL.
    pub namespace: Option<String>,
    pub presence: Presence,
    /// What a container of the pod waits for, as Kubernetes says it: `poll: CrashLoopBackOff`.
    pub container: Option<String>,
    /// What works instead while the pod cannot be connected to.
    pub advice: Option<String>,
}

/// Whether there is anything to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its containers run (or it is a URL, of which we cannot know).
    Running,
    /// It exists but cannot be reached yet, and why.
    NotReady(String),
    /// It is being deleted, or is gone from the list.
    Gone { since: Timestamp },
}

/// The state of the connection to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// More replicas than `--max-links`, or nothing to connect to yet.
    Idle,
    Connecting,
    Live,
    Retry {
        attempt: u32,
        at: Timestamp,
        problem: Problem,
    },
}

/// Why something did not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: String,
    pub hint: Option<String>,
    /// One word for the LINK column instead of a countdown.
    pub word: Option<&'static str>,
}

impl Problem {
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None, word: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn word(mut self, word: &'static str) -> Self {
        self.word = Some(word);
        self
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Pod {
    pub id: PodId,
    /// As found.
    pub found_name: String,
    pub namespace: Option<String>,
    /// Unique on screen.
    pub name: String,
    /// `name` without what all names begin with.
    pub short: String,
    pub presence: Presence,
    /// As in [`Found`].
    pub container: Option<String>,
    pub advice: Option<String>,
    pub link: Link,
    /// Why it was not live when it was tried last; `None` once it is.
    pub problem: Option<Problem>,
    /// The last snapshot, its records moved to `records`.
    pub snapshot: Option<Box<Snapshot>>,
    /// Its clock minus ours.
    pub offset: SignedDuration,
    /// When anything came from it last, by our clock.
    pub heard_at: Option<Timestamp>,
    /// There are more replicas than links, so that this one is visited in turn and what it said last counts for a while.
    pub visited: bool,
    /// When it was connected last, by our clock.
    pub turn_at: Option<Timestamp>,
    /// The question about the commit of `--commit`.
    pub asked: Option<Asked>,
    /// When signatures were refused, and how many, in the last minutes.
    pub refused: Vec<(Timestamp, u64)>,
    pub records: Records,
}

impl Pod {
    #[must_use]
    pub fn new(found: Found) -> Self {
        Self {
            id: found.id,
            name: found.name.clone(),
            short: found.name.clone(),
            found_name: found.name,
            namespace: found.namespace,
            presence: found.presence,
            container: found.container,
            advice: found.advice,
            link: Link::Idle,
            problem: None,
            snapshot: None,
            offset: SignedDuration::ZERO,
            heard_at: None,
            visited: false,
            turn_at: None,
            asked: None,
            refused: Vec::new(),
            records: Records::default(),
        }
    }

    #[must_use]
    pub fn live(&self) -> bool {
        self.link == Link::Live
    }

    #[must_use]
    pub fn gone(&self) -> bool {
        matches!(self.presence, Presence::Gone { .. })
    }

    #[must_use]
    pub fn attached(&self) -> bool {
        self.link != Link::Idle
    }

    /// A time of this replica's clock in terms of ours.
    #[must_use]
    pub fn to_ours(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.offset).unwrap_or(time)
    }
}

/// Where the user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    Fleet,
    History(PodId),
    Detail(PodId, String),
    Events,
}

impl View {
    #[must_use]
    pub fn screen(&self) -> Screen {
        match self {
            Self::Fleet => Screen::Fleet,
            Self::History(_) => Screen::History,
            Self::Detail(..) => Screen::Detail,
            Self::Events => Screen::Events,
        }
    }
}

/// One row of a list of syncs.
#[derive(Clone, Debug)]
pub struct SyncRow {
    pub pod: PodId,
    pub record: Arc<Record>,
}

/// The cursor of a list: an id, never an index, because rows move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// `None`: the first row.
    pub selected: Option<(PodId, String)>,
    /// The newest row stays selected.
    pub follow: bool,
}

/// Which half of a screen the keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    First,
    Second,
    Third,
}

/// How times are written in lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    #[default]
    Ago,
    Utc,
    Local,
}

/// A line at the foot of the screen, for a few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    pub text: String,
    pub bad: bool,
    pub until: Timestamp,
}

/// What the dashboard itself did and saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Timestamp,
    /// Short name of the replica; empty for the dashboard.
    pub pod: String,
    pub kind: &'static str,
    pub text: String,
    pub bad: bool,
}

/// A question that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    pub question: Question,
    /// The replica it is about, unless `all`.
    pub pod: PodId,
    pub all: bool,
    /// True: the button that does it has the focus, not Cancel.
    pub armed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Sync,
    Pause {
        minutes: u32,
    },
    Resume,
    /// The full hash, and what was typed of its beginning.
    Pin {
        commit: String,
        typed: String,
        /// The commits to choose from, newest first; the arrows step through them.
        choices: Vec<String>,
    },
    Unpin,
}

/// A change that was sent to replicas, and what they have answered so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub change: Change,
    /// Replicas that it is about, also those that cannot be told.
    pub total: usize,
    /// Replicas that have not answered, or whose sync has not ended; with the id of that sync.
    pub waiting: Vec<(PodId, Option<String>)>,
    pub done: usize,
    /// Names and reasons.
    pub refused: Vec<(String, String)>,
}

/// The details of one sync, once asked for.
#[derive(Clone, Debug)]
pub enum Loaded {
    Waiting,
    Here(Box<SyncDetail>),
    Failed(String),
}

/// What does not change during a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What was asked for: `prod/web`.
    pub subject: String,
    pub read_only: bool,
    /// Replicas that are connected at the same time; the others are visited in turn.
    pub max_links: usize,
    /// How long a replica that is visited in turn stays connected at most; zero: until it has answered.
    pub longest_visit: SignedDuration,
    /// `--commit`: the commit that the verdict is about, instead of the newest. In lower case, at least seven digits.
    pub commit: Option<String>,
    /// Pods come from `kubectl`, so the list may be empty or change.
    pub kubernetes: bool,
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct Model {
    pub setup: Setup,
    /// Our clock. Ages of a replica's times are computed with its `offset`.
    pub now: Timestamp,
    pub zone: TimeZone,
    pub size: (u16, u16),
    pub pods: Vec<Pod>,
    /// The pods were listed at least once.
    pub listed: bool,
    pub listing_problem: Option<Problem>,
    pub view: View,
    pub trail: Vec<View>,
    pub fleet_pane: Pane,
    pub fleet_pod: Option<PodId>,
    pub fleet_cursor: Cursor,
    pub history_cursor: Cursor,
    /// `G` was pressed: the selection stays at the end while pages arrive.
    pub to_end: bool,
    pub detail_pane: Pane,
    pub detail_row: usize,
    pub events_row: usize,
    pub filter_text: String,
    pub filter: Filter,
    /// The filter is being typed.
    pub typing: bool,
    /// `y` was pressed: the next key says what to copy.
    pub copying: bool,
    pub help: bool,
    pub dialog: Option<Dialog>,
    /// The change that was sent last, and what came of it.
    pub sent: Option<Sent>,
    /// Several lines were pasted into a text field as keys: what is left of that burst is dropped.
    pub spilled: bool,
    pub flash: Option<Flash>,
    pub frozen: bool,
    /// What came in while the screen was frozen.
    pub held: Vec<(Timestamp, Msg)>,
    pub time_format: TimeFormat,
    pub wide: bool,
    pub events: VecDeque<Entry>,
    /// Entries that ever were in it.
    pub noted: u64,
    pub details: VecDeque<((PodId, String), Loaded)>,
    /// Newest first, filtered: derived by [`super::fleet::refresh`].
    pub fleet_rows: Vec<SyncRow>,
    pub history_rows: Vec<SyncRow>,
    /// Not filtered.
    pub fleet_latency: Latency,
    /// The newest sync that a webhook should have rung, and a poll found.
    pub last_missed: Option<SyncRow>,
}

impl Model {
    #[must_use]
    pub fn new(setup: Setup, now: Timestamp, zone: TimeZone) -> Self {
        let cursor = Cursor { selected: None, follow: true };
        Self {
            setup,
            now,
            zone,
            size: (80, 24),
            pods: Vec::new(),
            listed: false,
            listing_problem: None,
            view: View::Fleet,
            trail: Vec::new(),
            fleet_pane: Pane::First,
            fleet_pod: None,
            fleet_cursor: cursor.clone(),
            history_cursor: cursor,
            to_end: false,
            detail_pane: Pane::First,
            detail_row: 0,
            events_row: 0,
            filter_text: String::new(),
            filter: Filter::default(),
            typing: false,
            copying: false,
            help: false,
            dialog: None,
            sent: None,
            spilled: false,
            flash: None,
            frozen: false,
            held: Vec::new(),
            time_format: TimeFormat::Ago,
            wide: false,
            events: VecDeque::new(),
            noted: 0,
            details: VecDeque::new(),
            fleet_rows: Vec::new(),
            history_rows: Vec::new(),
            fleet_latency: Latency::default(),
            last_missed: None,
        }
    }

    #[must_use]
    pub fn pod(&self, id: &PodId) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.id == *id)
    }

    pub fn pod_mut(&mut self, id: &PodId) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| pod.id == *id)
    }

    /// Adds to the Events view, and drops the oldest.
    pub fn note(&mut self, pod: Option<&PodId>, kind: &'static str, text: impl Into<String>, bad: bool) {
        let pod = pod.and_then(|id| self.pod(id)).map(|pod| pod.short.clone()).unwrap_or_default();
        let text = text.into().chars().take(MAX_NOTE).collect();
        self.events.push_front(Entry { at: self.now, pod, kind, text, bad });
        self.events.truncate(MAX_EVENTS);
        self.noted += 1;
    }

    /// True if the terminal has no room for a screen: one line says so, and no key may act on what cannot be seen.
    #[must_use]
    pub fn too_small(&self) -> bool {
        self.size.0 < LEAST.0 || self.size.1 < LEAST.1
    }

    /// Shows a line at the foot for six seconds.
    pub fn say(&mut self, text: impl Into<String>, bad: bool) {
        self.say_for(SignedDuration::from_secs(6), text, bad);
    }

    /// Shows a line at the foot.
    pub fn say_for(&mut self, time: SignedDuration, text: impl Into<String>, bad: bool) {
        let until = self.now.saturating_add(time).unwrap_or(self.now);
        self.flash = Some(Flash { text: text.into(), bad, until });
    }

    #[must_use]
    pub fn detail(&self, pod: &PodId, id: &str) -> Option<&Loaded> {
        self.details.iter().find(|((owner, sync), _)| owner == pod && sync == id).map(|(_, loaded)| loaded)
    }

    pub fn set_detail(&mut self, pod: &PodId, id: &str, loaded: Loaded) {
        self.details.retain(|((owner, sync), _)| owner != pod || sync != id);
        self.details.push_back(((pod.clone(), id.to_owned()), loaded));
        while self.details.len() > MAX_DETAILS {
            self.details.pop_front();
        }
    }
}
