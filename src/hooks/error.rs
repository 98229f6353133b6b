//! Why a hook did not succeed, in words that a person can act on; bounded, escaped, and without secrets.

use std::io;
use std::time::Duration;

/// What a hook's run came to, if not to success.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program, it may not be executed, or there are no more processes to be had.
    #[error("{program} cannot be started: {source}")]
    NotStarted { program: String, source: io::Error },
    #[error("{program} ended with {how}; {}", told(.said))]
    Failed { program: String, how: String, said: Vec<String> },
    #[error("{program} was not done within {after:?} and was ended; {}", told(.said))]
    TimedOut { program: String, after: Duration, said: Vec<String> },
    /// The process stops, or nobody wants the answer any more.
    #[error("it was ended before it was done")]
    Stopped,
    #[error("{url} answered {status}, and --webhook-success-status expects {wanted}")]
    Status { url: String, status: u16, wanted: u16 },
    #[error("{url} answered {status} and leads elsewhere; redirects are not followed, {wanted} was expected")]
    Moved { url: String, status: u16, wanted: u16 },
    #[error("{url} was not reached: {why}")]
    Unreached { url: String, why: String },
}

impl Error {
    /// A stable word for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "hook_not_started",
            Self::Failed { .. } | Self::Status { .. } | Self::Moved { .. } => "refused",
            Self::TimedOut { .. } => "hook_timeout",
            Self::Stopped => "stopped",
            Self::Unreached { .. } => "network",
        }
    }

    /// True if the address answered success, by another status than the expected one.
    #[must_use]
    pub fn is_other_success(&self) -> bool {
        matches!(self, Self::Status { status: 200..=299, .. })
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotStarted { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound => {
                    "the command is one program without arguments, and no shell is used; is it in this container's image, and what its #! line names as well?"
                }
                io::ErrorKind::PermissionDenied => "make it executable for the user that pushsync runs as",
                _ => "see the reason; a program needs a process and memory of its own in the container's limits",
            }),
            Self::Failed { .. } => {
                Some("the program refuses this commit: push one that it accepts, or mend the program")
            }
            Self::TimedOut { .. } => {
                Some("make the program faster, or give it more time with the hook's -timeout flag")
            }
            Self::Status { status: 200..=299, .. } => Some(
                "the address answers success by another status: give that one, or 0 for any, to --webhook-success-status; until then the pause between calls doubles, up to ten minutes",
            ),
            Self::Status { .. } | Self::Moved { .. } | Self::Unreached { .. } => {
                Some("check --webhook-url, --webhook-success-status and --webhook-timeout")
            }
            Self::Stopped => None,
        }
    }

    /// The last lines that the program printed.
    #[must_use]
    pub fn said(&self) -> &[String] {
        match self {
            Self::Failed { said, .. } | Self::TimedOut { said, .. } => said,
            _ => &[],
        }
    }
}

/// A message is one line; the record has more of them.
const MOST_TOLD: usize = 5;

fn told(said: &[String]) -> String {
    match said {
        [] => "it said nothing".to_owned(),
        said => format!("it said: {}", said[said.len().saturating_sub(MOST_TOLD)..].join(" | ")),
    }
}
