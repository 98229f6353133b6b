//! The pauses and pins in force, which keep replicas from the newest commit by a user's decision.
//!
//! Pure functions of the model. Every screen shows them, beside any other problem.

use super::model::{Model, Pod};
use super::text;
use crate::api::State;

/// A pause or a pin, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub kind: Kind,
    /// `paused 59m`, `pinned at a506e4d`.
    pub words: String,
    /// The user, if known and the same for all of `names`.
    pub by: Option<String>,
    /// Short names of replicas, in their order.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Paused,
    Pinned,
}

/// Returns the pause and the pin of one replica, if any.
#[must_use]
pub(crate) fn of(model: &Model, pod: &Pod) -> Vec<(Kind, String)> {
    let Some(snapshot) = pod.snapshot.as_deref().filter(|_| !pod.gone()) else { return Vec::new() };
    let mut found = Vec::new();
    match snapshot.paused_until {
        Some(until) => {
            let left = pod.to_ours(until).duration_since(model.now);
            found.push((Kind::Paused, format!("paused {}", text::remaining_short(left))));
        }
        None if snapshot.state == State::Paused => found.push((Kind::Paused, "paused".to_owned())),
        None => {}
    }
    if let Some(commit) = &snapshot.pinned {
        found.push((Kind::Pinned, format!("pinned at {}", text::short(commit))));
    }
    found
}

/// All pauses and pins, equal ones joined.
#[must_use]
pub(crate) fn all(model: &Model) -> Vec<Hold> {
    let mut holds: Vec<Hold> = Vec::new();
    for pod in &model.pods {
        for (kind, words) in of(model, pod) {
            let snapshot = pod.snapshot.as_deref();
            let by = snapshot.and_then(|it| match kind {
                Kind::Paused => it.paused_by.clone(),
                Kind::Pinned => it.pinned_by.clone(),
            });
            match holds.iter_mut().find(|hold| hold.kind == kind && hold.words == words) {
                Some(hold) => {
                    hold.names.push(pod.short.clone());
                    // Two users set it, and either name would be wrong for a part of the replicas.
                    hold.by = hold.by.take().filter(|known| Some(known) == by.as_ref());
                }
                None => holds.push(Hold { kind, words, by, names: vec![pod.short.clone()] }),
            }
        }
    }
    holds.sort_by_key(|hold| hold.kind as u8);
    holds
}
