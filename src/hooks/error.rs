//! Errors of hooks. The texts are bounded and escaped, and contain no secrets.

use std::io;
use std::time::Duration;

use crate::error::ErrorKind;

/// Why a hook's run did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The program does not exist, is not executable, or no process could be created.
    #[error("{program} cannot be started: {source}")]
    NotStarted { program: String, source: io::Error },
    #[error("{program} failed with {how}; {}", quote(.printed))]
    Failed { program: String, how: String, printed: Vec<String> },
    #[error("{program} did not finish within {after:?} and was stopped; {}", quote(.printed))]
    TimedOut { program: String, after: Duration, printed: Vec<String> },
    /// The process is shutting down, or the result is no longer needed.
    #[error("it was stopped before it finished")]
    Stopped,
    #[error("{url} answered {status}, and --webhook-success-status expects {wanted}")]
    Status { url: String, status: u16, wanted: u16 },
    #[error("{url} answered {status}; redirects are not followed, {wanted} was expected")]
    Moved { url: String, status: u16, wanted: u16 },
    #[error("{url} could not be reached: {why}")]
    Unreached { url: String, why: String },
}

impl HookError {
    /// Returns the kind, for the record of a sync.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotStarted { .. } => ErrorKind::HookNotStarted,
            Self::Failed { .. } | Self::Status { .. } | Self::Moved { .. } => ErrorKind::Refused,
            Self::TimedOut { .. } => ErrorKind::HookTimeout,
            Self::Stopped => ErrorKind::Stopped,
            Self::Unreached { .. } => ErrorKind::Network,
        }
    }

    /// Returns true if the server answered with a success status other than the expected one.
    #[must_use]
    pub fn is_other_success(&self) -> bool {
        matches!(self, Self::Status { status: 200..=299, .. })
    }

    /// Returns advice for the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotStarted { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound => {
                    "the command is one program without arguments, and no shell is used; check that it and the interpreter in its #! line are in this container's image"
                }
                io::ErrorKind::PermissionDenied => "make it executable for the user that pushsync runs as",
                _ => "see the reason; the container's limits must leave room for another process and its memory",
            }),
            Self::Failed { .. } => {
                Some("the program rejects this commit: push a commit that it accepts, or fix the program")
            }
            Self::TimedOut { .. } => {
                Some("make the program faster, or give it more time with the hook's -timeout flag")
            }
            Self::Status { status: 200..=299, .. } => Some(
                "the server answers with another success status: set --webhook-success-status to that one, or to 0 for any; until then the pause between calls doubles, up to ten minutes",
            ),
            Self::Status { .. } | Self::Moved { .. } | Self::Unreached { .. } => {
                Some("check --webhook-url, --webhook-success-status and --webhook-timeout")
            }
            Self::Stopped => None,
        }
    }

    /// The last lines of the program's output.
    #[must_use]
    pub fn printed(&self) -> &[String] {
        match self {
            Self::Failed { printed, .. } | Self::TimedOut { printed, .. } => printed,
            _ => &[],
        }
    }
}

/// A message is a single line, so it quotes only these. The record has more of them.
const MOST_QUOTED: usize = 5;

fn quote(printed: &[String]) -> String {
    match printed {
        [] => "it printed nothing".to_owned(),
        printed => format!("it printed: {}", printed[printed.len().saturating_sub(MOST_QUOTED)..].join(" | ")),
    }
}
