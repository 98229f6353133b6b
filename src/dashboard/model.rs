//! The state of the dashboard as plain data: the replicas as last seen, the user's position, the typed text.
//!
//! Time is a field, the terminal's size is a field. It knows no terminal, no network and no clock.

mod pod;
pub mod rows;

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::api::{Record, SyncDetail};

pub use self::pod::{Asked, Found, Link, Pod, PodId, Presence, Problem};
use self::rows::{CommitRow, Latency, Source};
use super::filter::Filter;
use super::keys::Screen;
use super::message::{Change, Report};
use super::palette::Palette;
use super::podlog::PodLog;
use super::sorting::{CommitOrder, PodOrder};

/// Entries in the Events view.
const MAX_EVENTS: usize = 500;
/// Characters of an entry.
const MAX_NOTE: usize = 500;
/// Details of syncs that are kept, newest opened last.
const MAX_DETAILS: usize = 16;

/// Columns and rows below which there is no screen.
pub const LEAST: (u16, u16) = (40, 6);

/// The user's screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The list of commits, or of repositories while several are in the view and none is chosen.
    Commits,
    /// A commit on all replicas.
    Commit(String),
    Fleet,
    History(PodId),
    Detail(PodId, String),
    Events,
    /// The sidecar's own log.
    Log(PodId),
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

/// A line at the bottom of the screen, for a few seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    pub text: String,
    pub bad: bool,
    pub until: Timestamp,
}

/// An event of the dashboard itself.
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
    /// True if the confirming button has the focus, and not Cancel.
    pub armed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Sync,
    Pause {
        minutes: u32,
    },
    Resume,
    /// The full hash, and the typed beginning of it.
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
    /// The replicas of the change, also those that got no request.
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

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The target in words: `prod/web`.
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
    /// Several replicas behind URLs are called by their addresses from the first line on, since written lines stay. A screen
    /// shows the names that they report, if those are unique.
    pub by_address: bool,
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
    /// The selected repository and ref, where the view has several.
    pub scope: Option<Source>,
    /// The row of the list of repositories.
    pub source_row: usize,
    /// The commit in question; it replaces `--commit`.
    pub question: Option<String>,
    /// The selected commit. `None`: the newest.
    pub commit_cursor: Option<String>,
    pub commit_order: CommitOrder,
    /// The selected replica of a commit's screen. `None`: the worst.
    pub commit_pod: Option<PodId>,
    pub pod_order: PodOrder,
    pub fleet_pane: Pane,
    pub fleet_pod: Option<PodId>,
    pub fleet_cursor: Cursor,
    pub history_cursor: Cursor,
    /// True after `G`: the selection stays at the end while pages arrive.
    pub to_end: bool,
    pub detail_pane: Pane,
    pub detail_row: usize,
    pub events_row: usize,
    pub filter_text: String,
    pub filter: Filter,
    /// True while the filter is typed.
    pub typing: bool,
    /// True after `y`: the next key selects the text to copy.
    pub copying: bool,
    pub help: bool,
    /// The list of all commands, while it is open.
    pub palette: Option<Palette>,
    /// A shown address, to be opened or copied.
    pub address: Option<String>,
    /// The search text of `/` on screens that hide no rows; `n` and `N` go to its matches.
    pub search: String,
    /// True while the changed files take the whole screen.
    pub diffstat: bool,
    pub log: PodLog,
    pub dialog: Option<Dialog>,
    /// The last change, and its answers.
    pub sent: Option<Sent>,
    /// True if several lines were pasted into a text field as keys: the rest of that burst is dropped.
    pub spilled: bool,
    pub flash: Option<Flash>,
    pub frozen: bool,
    /// The reports that arrived while the screen was frozen.
    pub held: Vec<(Timestamp, Report)>,
    pub time_format: TimeFormat,
    pub wide: bool,
    pub events: VecDeque<Entry>,
    /// The number of entries that ever were in it.
    pub noted: u64,
    pub details: VecDeque<((PodId, String), Loaded)>,
    /// True if the fields below have to be computed again before they are read. Replicas report more often than a screen is
    /// drawn.
    pub stale: bool,
    /// The replicas that were current at the last computation.
    pub current: Vec<bool>,
    /// The repositories and refs that the replicas follow: computed by [`super::lists::refresh`], as are all fields below.
    pub sources: Vec<Source>,
    /// In the chosen order.
    pub all_commits: Vec<CommitRow>,
    /// The commits that pass the filter.
    pub commit_rows: Vec<CommitRow>,
    /// Newest first, filtered.
    pub fleet_rows: Vec<SyncRow>,
    pub history_rows: Vec<SyncRow>,
    /// Not filtered.
    pub fleet_latency: Latency,
    /// The newest sync that a poll found although a webhook should have announced it.
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
            // Replaced by the terminal's size before the first frame.
            size: (80, 24),
            pods: Vec::new(),
            listed: false,
            listing_problem: None,
            view: View::Commits,
            trail: Vec::new(),
            scope: None,
            source_row: 0,
            question: None,
            commit_cursor: None,
            commit_order: CommitOrder::default(),
            commit_pod: None,
            pod_order: PodOrder::default(),
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
            palette: None,
            address: None,
            search: String::new(),
            diffstat: false,
            log: PodLog::default(),
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
            stale: false,
            current: Vec::new(),
            sources: Vec::new(),
            all_commits: Vec::new(),
            commit_rows: Vec::new(),
            fleet_rows: Vec::new(),
            history_rows: Vec::new(),
            fleet_latency: Latency::default(),
            last_missed: None,
        }
    }

    /// Returns the current screen of the table of keys.
    #[must_use]
    pub fn screen(&self) -> Screen {
        match &self.view {
            // Not a view of its own, because it appears and disappears with the answers of the replicas.
            View::Commits if self.scope.is_none() && self.sources.len() > 1 => Screen::Sources,
            View::Commits => Screen::Commits,
            View::Commit(_) => Screen::Commit,
            View::Fleet => Screen::Fleet,
            View::History(_) => Screen::History,
            View::Detail(..) => Screen::Detail,
            View::Events => Screen::Events,
            View::Log(_) => Screen::Log,
        }
    }

    /// True while the list of repositories is shown.
    #[must_use]
    pub fn at_sources(&self) -> bool {
        self.screen() == Screen::Sources
    }

    /// Returns the commit of the verdict, if it is not the newest.
    #[must_use]
    pub fn asked(&self) -> Option<&String> {
        self.question.as_ref().or(self.setup.commit.as_ref())
    }

    /// Returns false for a replica that is known to follow another repository or ref than the selected one.
    #[must_use]
    pub fn in_scope(&self, pod: &Pod) -> bool {
        match (&self.scope, pod.snapshot.as_deref()) {
            // A replica that has not answered may belong to any of them, so it is not hidden.
            (Some(source), Some(snapshot)) => source.is_of(snapshot),
            _ => true,
        }
    }

    /// Returns true if the view has several repositories or refs and none of them was chosen.
    #[must_use]
    pub fn several(&self) -> bool {
        self.scope.is_none() && self.sources.len() > 1
    }

    #[must_use]
    pub fn pod(&self, id: &PodId) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.id == *id)
    }

    pub fn pod_mut(&mut self, id: &PodId) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| pod.id == *id)
    }

    /// Adds an entry to the Events view, and drops the oldest.
    pub fn note(&mut self, pod: Option<&PodId>, kind: &'static str, text: impl Into<String>, bad: bool) {
        let pod = pod.and_then(|id| self.pod(id)).map(|pod| pod.short.clone()).unwrap_or_default();
        // A line of kubectl or an error of a replica may have any length, and 500 entries are kept.
        let text = text.into().chars().take(MAX_NOTE).collect();
        // The newest in front, as the view shows them.
        self.events.push_front(Entry { at: self.now, pod, kind, text, bad });
        self.events.truncate(MAX_EVENTS);
        // It keeps counting when entries are dropped, because the log file is written up to this number.
        self.noted += 1;
    }

    /// Returns true if the terminal is too small for a screen: one line says so, and no key may act on hidden content.
    #[must_use]
    pub fn too_small(&self) -> bool {
        self.size.0 < LEAST.0 || self.size.1 < LEAST.1
    }

    /// Shows a line at the bottom for six seconds.
    pub fn say(&mut self, text: impl Into<String>, bad: bool) {
        self.say_for(SignedDuration::from_secs(6), text, bad);
    }

    /// Shows a line at the bottom.
    pub fn say_for(&mut self, time: SignedDuration, text: impl Into<String>, bad: bool) {
        let until = self.now.saturating_add(time).unwrap_or(self.now);
        self.flash = Some(Flash { text: text.into(), bad, until });
    }

    #[must_use]
    pub fn detail(&self, pod: &PodId, id: &str) -> Option<&Loaded> {
        self.details.iter().find(|((owner, sync), _)| owner == pod && sync == id).map(|(_, loaded)| loaded)
    }

    pub fn set_detail(&mut self, pod: &PodId, id: &str, loaded: Loaded) {
        // Removed first, so that details which were opened again become the newest of those that are kept.
        self.details.retain(|((owner, sync), _)| owner != pod || sync != id);
        self.details.push_back(((pod.clone(), id.to_owned()), loaded));
        while self.details.len() > MAX_DETAILS {
            self.details.pop_front();
        }
    }
}
