//! Asks replicas whether their published commit contains the commit in question (`--commit`, or `/` on the screen).
//!
//! An answer applies to the commit that the replica published then, and the question is repeated when that changes. An
//! earlier record of the commit is no answer: a force push or a rollback may have replaced it since. Pure.

use jiff::SignedDuration;

use crate::api::{CommitHow, CommitStatus};

use super::message::{Effect, Order};
use super::model::{Asked, Model, Pod, PodId, Problem};
use super::text;

/// A replica that did not have the commit is asked again after this time, also if it still publishes the same.
const AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The answer of a replica that publishes another commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contained {
    /// The commit in question is an ancestor of the published one.
    Yes,
    /// It was published earlier and is not contained in the published one, with the cause.
    Replaced(String),
    NeverSeen,
    /// The replica knows it and has not published it.
    NotYet,
    /// The answer has not arrived yet.
    Asking,
    CannotSay(String),
}

/// Returns what is known about the commit on a replica.
#[must_use]
pub(crate) fn contained(pod: &Pod) -> Contained {
    let Some(asked) = pod.asked.as_ref().filter(|asked| published(pod) == Some(&asked.published)) else {
        return Contained::Asking;
    };
    let status = match &asked.answer {
        None => return Contained::Asking,
        Some(Err(problem)) => return Contained::CannotSay(problem.reason.clone()),
        Some(Ok(status)) => status,
    };
    if status.live {
        return Contained::Yes;
    }
    let commit = text::short(&status.commit);
    match status.how {
        CommitHow::ForcePushedAway => Contained::Replaced(format!("{commit} was taken back by a force push")),
        CommitHow::Replaced => {
            Contained::Replaced(format!("{commit} was replaced by a commit that does not contain it"))
        }
        CommitHow::NotPublished => Contained::NotYet,
        CommitHow::NeverSeen => Contained::NeverSeen,
        CommitHow::Published | CommitHow::Contained | CommitHow::Unknown => {
            let published = text::short(&asked.published);
            Contained::CannotSay(format!("it cannot tell whether {published} contains {commit}"))
        }
    }
}

/// Returns true if a connected replica has not answered yet.
#[must_use]
pub(crate) fn is_open(model: &Model, pod: &Pod) -> bool {
    pod.live() && needs_answer(model, pod) && contained(pod) == Contained::Asking
}

/// Asks every connected replica that publishes another commit.
pub(crate) fn ask(model: &mut Model) -> Vec<Effect> {
    let Some(commit) = model.asked().cloned() else { return Vec::new() };
    let now = model.now;
    for pod in &mut model.pods {
        // An answer about another commit does not count.
        pod.asked = pod.asked.take().filter(|asked| asked.commit == commit);
    }
    let due = |pod: &Pod| {
        let same = pod.asked.as_ref().filter(|asked| published(pod) == Some(&asked.published));
        same.is_none_or(|asked| {
            asked.answer.is_some() && contained(pod) != Contained::Yes && now.duration_since(asked.at) >= AGAIN
        })
    };
    let ids: Vec<PodId> = model
        .pods
        .iter()
        .filter(|pod| pod.live() && needs_answer(model, pod) && due(pod))
        .map(|pod| pod.id.clone())
        .collect();
    let mut effects = Vec::new();
    for id in ids {
        let Some(pod) = model.pod_mut(&id) else { continue };
        let Some(published) = published(pod).cloned() else { continue };
        // The previous answer stays until the next one arrives.
        let answer = pod.asked.take().filter(|asked| asked.published == published).and_then(|asked| asked.answer);
        pod.asked = Some(Asked { commit: commit.clone(), published, at: now, answer });
        effects.push(Effect::Order(id, Order::Commit(commit.clone())));
    }
    effects
}

/// Takes an answer. If it refers to another published commit than the known one, it is dropped and the question is
/// repeated.
pub(crate) fn answered(pod: &mut Pod, answer: Result<Box<CommitStatus>, Problem>) {
    let Some(asked) = pod.asked.as_mut() else { return };
    match &answer {
        Ok(status) if status.published.as_ref() != Some(&asked.published) => asked.answer = None,
        // The answer to the question before this one.
        Ok(status) if !status.commit.starts_with(&asked.commit) => return,
        _ => asked.answer = Some(answer),
    }
    if asked.answer.is_none() {
        pod.asked = None;
    }
}

fn needs_answer(model: &Model, pod: &Pod) -> bool {
    let Some(commit) = model.asked() else { return false };
    published(pod).is_some_and(|published| !published.starts_with(commit.as_str()))
}

fn published(pod: &Pod) -> Option<&String> {
    Some(&pod.snapshot.as_ref()?.published.as_ref()?.commit)
}
