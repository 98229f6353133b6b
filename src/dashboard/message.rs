//! What can happen to the model, and what the model can ask the outside for.
//!
//! The words between the screen's loop, the links and `update`. No behaviour.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::api::{Accepted, CommitStatus, Event, Record, Refusal, Snapshot, SyncDetail};

use super::model::{Found, PodId, Problem};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Msg {
    /// A key that was pressed by itself.
    Key(KeyEvent),
    /// A key of a burst, faster than anyone types: pasted text, or keys that a slow line brought together.
    Rushed {
        key: KeyEvent,
        /// It is the first of its burst.
        first: bool,
    },
    /// Text that the terminal marked as pasted.
    Paste(String),
    Resize(u16, u16),
    /// The mouse wheel, in rows; up is negative.
    Wheel(isize),
    /// What came of copying, and whether it failed.
    Copied(String, bool),
    /// A second went by.
    Tick,
    /// The pods were listed anew. Never sent again for URLs.
    Pods(Result<Vec<Found>, Problem>),
    Link(PodId, News),
    /// A line of a sidecar's log.
    LogLine(PodId, String),
    /// No more lines of it come, and why.
    LogEnded(PodId, String),
}

/// What a link reports.
#[derive(Clone, Debug)]
pub enum News {
    Connecting,
    /// The first word of a stream, or what was read again after a gap.
    Snapshot(Box<Snapshot>),
    Event(Event),
    Heartbeat,
    /// The connection is gone; the link tries again after `retry_in`.
    Lost {
        problem: Problem,
        attempt: u32,
        retry_in: Duration,
    },
    /// `kubectl` said something.
    Line(String),
    Page(Result<Vec<Record>, Problem>),
    Detail(String, Result<Box<SyncDetail>, Problem>),
    /// Whether the commit of `--commit` is live.
    Commit(Result<Box<CommitStatus>, Problem>),
    Answer(Change, Result<Accepted, Refusal>),
}

/// A change that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Sync,
    Pause { minutes: u32 },
    Resume,
    Pin { commit: String },
    Unpin,
}

impl Change {
    /// In the words of the Events view.
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

/// What the screen asks of a link. The answer comes as [`News`].
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

/// What the model wants done.
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
