//! Whether the commit of `--commit` is contained in what a replica publishes, as far as the replica can say.
//!
//! It knows the model and the API's answer, not how the answer travels.

use super::model::{Model, Pod};

/// What a replica that publishes another commit says about the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contained {
    /// It is an ancestor of what is published.
    Yes,
    /// It was published and is not in what is published now, and how that came about.
    Replaced(String),
    NeverSeen,
    /// The replica knows it and has not published it.
    NotYet,
    /// The answer is not here yet.
    Asking,
    CannotSay(String),
}

/// What is known about `asked` on a replica.
#[must_use]
pub fn contained(_pod: &Pod, _asked: &str) -> Contained {
    Contained::CannotSay(
        "this release of the sidecar does not tell whether a commit is contained in another".to_owned(),
    )
}

/// True if a replica still has to answer.
#[must_use]
pub fn is_open(_model: &Model, _pod: &Pod) -> bool {
    false
}
