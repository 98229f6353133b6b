//! The messages to the model, and the effects that the model requests.
//!
//! The interface between the screen's loop, the links and `update`. It contains no behavior.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::api::{Accepted, CommitStatus, Event, Record, Refusal, Snapshot, SyncDetail};

use super::model::{Found, PodId, Problem};

/// A message to the model.
#[derive(Clone, Debug)]
pub enum Msg {
    /// A key that was pressed by itself.
    Key(KeyEvent),
    /// A key of a burst, faster than typing: pasted text, or keys that a slow line delivered together.
    Rushed {
        key: KeyEvent,
        /// True for the first key of its burst.
        first: bool,
    },
    /// Text that the terminal marked as pasted.
    Paste(String),
    Resize(u16, u16),
    /// The mouse wheel, in rows; up is negative.
    Wheel(isize),
    /// The result of copying, and whether it failed.
    Copied(String, bool),
    /// A second has passed.
    Tick,
    /// A new listing of the pods. Not sent again for URLs.
    Pods(Result<Vec<Found>, Problem>),
    Link(PodId, News),
    /// A line of a sidecar's log.
    LogLine(PodId, String),
    /// The log has ended, with the reason.
    LogEnded(PodId, String),
}

/// A report of the pod list or of a link. It is kept while the screen is frozen.
#[derive(Clone, Debug)]
pub enum Report {
    Pods(Result<Vec<Found>, Problem>),
    Link(PodId, News),
}

/// A report of a link.
#[derive(Clone, Debug)]
pub enum News {
    Connecting,
    /// The first event of a stream, or the snapshot that was read again after a gap.
    Snapshot(Box<Snapshot>),
    Event(Event),
    Heartbeat,
    /// The connection is gone; the link tries again after `retry_in`.
    Lost {
        problem: Problem,
        attempt: u32,
        retry_in: Duration,
    },
    /// A line of `kubectl`.
    Line(String),
    Page(Result<Vec<Record>, Problem>),
    Detail(String, Result<Box<SyncDetail>, Problem>),
    /// Whether the commit of `--commit` is live.
    Commit(Result<Box<CommitStatus>, Problem>),
    Answer(Change, Result<Accepted, Refusal>),
}

/// A change that a user requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Sync,
    Pause { minutes: u32 },
    Resume,
    Pin { commit: String },
    Unpin,
}

impl Change {
    /// Returns its text in the Events view.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Sync => "sync now".to_owned(),
            Self::Pause { minutes } => format!("pause {minutes}m"),
            Self::Resume => "resume".to_owned(),
            Self::Pin { commit } => format!("pin {}", super::text::short(commit)),
            Self::Unpin => "unpin".to_owned(),
        }
    }
}

/// Returns the length of a pause: `1h`, `30m`, `90m`.
#[must_use]
pub fn pause_words(minutes: u32) -> String {
    if minutes.is_multiple_of(60) { format!("{}h", minutes / 60) } else { format!("{minutes}m") }
}

/// A request of the screen to a link. The answer arrives as [`News`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Do not wait for the end of the backoff.
    Reconnect,
    /// Records older than this one.
    Page {
        before: Option<String>,
    },
    Detail(String),
    /// Whether this commit is live.
    Commit(String),
    Change(Change),
}

/// An effect that the model requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Quit,
    /// Stop the process, as Ctrl-Z does.
    Suspend,
    /// Clear the screen and draw all of it.
    Redraw,
    Copy(String),
    /// Follow the log of the sidecar in a pod.
    OpenLog {
        id: PodId,
        namespace: String,
        pod: String,
        container: Option<String>,
    },
    CloseLog,
    Attach(Found),
    Detach(PodId),
    Order(PodId, Order),
    ListPods,
}
