//! The answers of replicas to a verb: as text, as JSON, and as an exit code.
//!
//! Pure. It knows no connections.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Accepted, Outcome, Record, Refusal, SCHEMA};
use crate::dashboard::message::{Change, pause_words};
use crate::dashboard::model::Problem;
use crate::dashboard::text;

/// Characters of a subject and of a reason in a line.
const SUBJECT: usize = 60;
const REASON: usize = 300;
/// The replicas that are named in the last line; every replica has its own line above it.
const NAMED: usize = 3;

/// The result of a change on one replica.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// It executed the change. The record is that of the sync that did so, if there was one.
    Done {
        accepted: Accepted,
        record: Option<Box<Record>>,
    },
    /// There was nothing to do: it is not paused, or not pinned.
    Already(Refusal),
    Refused(Refusal),
    /// It accepted the change, and the sync for it failed.
    Failed {
        accepted: Accepted,
        record: Box<Record>,
    },
    /// Nothing was sent.
    Unreachable(Problem),
    /// Nothing was sent, because Kubernetes has not started its containers.
    NotReady(String),
    /// The change was sent, and its result is not known.
    Open(String),
}

/// One replica and its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub name: String,
    pub namespace: Option<String>,
    pub answer: Answer,
}

impl Answer {
    /// Returns true if the requested state is reached.
    #[must_use]
    pub(crate) fn is_good(&self) -> bool {
        // A script may repeat a verb after a lost connection, and the second run must not fail for that.
        matches!(self, Self::Done { .. } | Self::Already(_))
    }

    /// The word in JSON.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Already(_) => "already",
            Self::Refused(_) => "refused",
            Self::Failed { .. } => "failed",
            Self::Unreachable(_) => "unreachable",
            Self::NotReady(_) => "not_ready",
            Self::Open(_) => "not_known",
        }
    }

    fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::Done { accepted, .. } | Self::Failed { accepted, .. } => Some(accepted),
            _ => None,
        }
    }

    fn record(&self) -> Option<&Record> {
        match self {
            Self::Done { record, .. } => record.as_deref(),
            Self::Failed { record, .. } => Some(record),
            _ => None,
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) | Self::Already(refusal) => refusal.hint.as_deref(),
            Self::Failed { record, .. } => record.error.as_ref()?.hint.as_deref(),
            Self::Unreachable(problem) => problem.hint.as_deref(),
            Self::Done { .. } | Self::NotReady(_) | Self::Open(_) => None,
        }
    }

    /// Returns the replica's answer as half a sentence.
    #[must_use]
    pub(crate) fn words(&self, change: &Change) -> String {
        let cut = |reason: &str| text::cut(reason, REASON, text::ELLIPSIS);
        match self {
            Self::Done { accepted, record } => {
                let mut words = decision(change, accepted);
                if let Some(record) = record {
                    words.extend([if words.is_empty() { "" } else { ", " }, &outcome(record)]);
                }
                words
            }
            Self::Already(refusal) => format!("nothing to do: {}", cut(&refusal.message)),
            Self::Refused(refusal) => format!("refused: {}", cut(&refusal.message)),
            // The decision is in force although its sync failed, so both are said.
            Self::Failed { accepted, record } => {
                let decision = decision(change, accepted);
                let separator = if decision.is_empty() { "" } else { ", but " };
                format!("{decision}{separator}{}", outcome(record))
            }
            Self::Unreachable(problem) => format!("cannot be reached: {}", cut(&problem.reason)),
            Self::NotReady(reason) => format!("not asked, since it is not ready: {}", cut(reason)),
            Self::Open(reason) => format!("not known: {}", cut(reason)),
        }
    }
}

/// Returns the decision in force now.
fn decision(change: &Change, accepted: &Accepted) -> String {
    match change {
        Change::Sync => String::new(),
        Change::Pause { .. } => match accepted.paused_until {
            // In UTC and absolute, because the line may be read later in a log.
            Some(until) => format!("paused until {}", until.strftime("%Y-%m-%dT%H:%M:%SZ")),
            None => "paused".to_owned(),
        },
        Change::Resume => "resumed".to_owned(),
        Change::Pin { commit } => format!("pinned at {}", text::short(accepted.pinned.as_ref().unwrap_or(commit))),
        Change::Unpin => "unpinned".to_owned(),
    }
}

/// Returns the result of a sync.
fn outcome(record: &Record) -> String {
    let commit = record.new.as_deref().map_or("nothing".to_owned(), text::short);
    let subject = record.commits.as_ref().map(|commits| commits.subject.as_str()).filter(|subject| !subject.is_empty());
    let subject =
        subject.map(|subject| format!(" {}", text::cut(subject, SUBJECT, text::ELLIPSIS))).unwrap_or_default();
    let error = || record.error.as_ref().map_or("no reason given", |error| error.message.as_str());
    match record.outcome {
        Outcome::Published => format!("published {commit}{subject}"),
        // Not a failure: a sync of a replica that is up to date has this result.
        Outcome::Unchanged => format!("{commit} is live already"),
        Outcome::Failed => format!("its sync failed: {}", text::cut(error(), REASON, text::ELLIPSIS)),
        Outcome::Refused => {
            format!("its pre-publish hook refused {commit}: {}", text::cut(error(), REASON, text::ELLIPSIS))
        }
        Outcome::Unknown => "its sync ended in a way that this program does not know".to_owned(),
    }
}

/// Returns a replica's line, its name padded to the widest.
#[must_use]
pub(crate) fn line(change: &Change, answered: &Answered, width: usize) -> String {
    let name = text::clean(&answered.name);
    let gap = " ".repeat(width.saturating_sub(text::width(&name)) + 2);
    let hint = answered
        .answer
        .hint()
        .map(|hint| format!(" ({})", text::cut(hint, REASON, text::ELLIPSIS)))
        .unwrap_or_default();
    format!("{name}{gap}{}{hint}", answered.answer.words(change))
}

/// The last line: `paused for 1h: 7 of 8 ok   web-3 refused: it is starting`.
#[must_use]
pub(crate) fn sum(change: &Change, all: &[Answered]) -> String {
    let what = match change {
        Change::Sync => "synced".to_owned(),
        Change::Pause { minutes } => format!("paused for {}", pause_words(*minutes)),
        Change::Resume => "resumed".to_owned(),
        Change::Pin { commit } => format!("pinned at {}", text::short(commit)),
        Change::Unpin => "unpinned".to_owned(),
    };
    let bad: Vec<&Answered> = all.iter().filter(|answered| !answered.answer.is_good()).collect();
    let mut parts = vec![format!("{what}: {} of {} ok", all.len() - bad.len(), all.len())];
    let named = |answered: &&Answered| format!("{} {}", text::clean(&answered.name), answered.answer.words(change));
    parts.extend(bad.iter().take(NAMED).map(named));
    if bad.len() > NAMED {
        parts.push(format!("{} more", bad.len() - NAMED));
    }
    parts.join("   ")
}

/// Returns the exit code. 0: every replica executed the change; 2: none could be asked; 3: at least one did not, or it is
/// not known.
#[must_use]
pub(crate) fn exit_code(all: &[Answered]) -> u8 {
    let asked = |answered: &Answered| !matches!(answered.answer, Answer::Unreachable(_) | Answer::NotReady(_));
    match all {
        // Before the next arm, which an empty list would match as well.
        all if !all.iter().any(asked) => 2,
        all if all.iter().all(|answered| answered.answer.is_good()) => 0,
        _ => 3,
    }
}

/// The document of `--output json` (docs/dashboard.md, "Verbs").
#[must_use]
pub(crate) fn document(change: &Change, all: &[Answered], problem: Option<&Problem>, now: Timestamp) -> Value {
    let (minutes, commit) = match change {
        Change::Pause { minutes } => (Some(*minutes), None),
        Change::Pin { commit } => (None, Some(commit)),
        Change::Sync | Change::Resume | Change::Unpin => (None, None),
    };
    json!({
        "schema": SCHEMA,
        "now": now,
        "verb": verb(change),
        "minutes": minutes,
        "commit": commit,
        // From the exit code, so that the document and the code cannot disagree.
        "all_ok": exit_code(all) == 0,
        "words": sum(change, all),
        "ok": all.iter().filter(|answered| answered.answer.is_good()).count(),
        "total": all.len(),
        "problem": problem.map(|problem| json!({"reason": problem.reason, "hint": problem.hint})),
        "replicas": all.iter().map(|answered| replica(change, answered)).collect::<Vec<_>>(),
    })
}

/// The word on the command line.
#[must_use]
pub(crate) fn verb(change: &Change) -> &'static str {
    match change {
        Change::Sync => "sync",
        Change::Pause { .. } => "pause",
        Change::Resume => "resume",
        Change::Pin { .. } => "pin",
        Change::Unpin => "unpin",
    }
}

fn replica(change: &Change, answered: &Answered) -> Value {
    let answer = &answered.answer;
    let code = match answer {
        Answer::Refused(refusal) | Answer::Already(refusal) => Some(refusal.code.as_str()),
        Answer::Failed { record, .. } => record.error.as_ref().map(|error| error.kind.as_str()),
        _ => None,
    };
    json!({
        "name": answered.name,
        "namespace": answered.namespace,
        "ok": answer.is_good(),
        "answer": answer.word(),
        "words": answer.words(change),
        "code": code,
        "hint": answer.hint(),
        "sync": answer.accepted().and_then(|accepted| accepted.sync.as_ref()),
        "outcome": answer.record().map(|record| record.outcome),
        "commit": answer.record().and_then(|record| record.new.as_ref()),
        "paused_until": answer.accepted().and_then(|accepted| accepted.paused_until),
        "pinned": answer.accepted().and_then(|accepted| accepted.pinned.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::State;

    fn accepted() -> Accepted {
        Accepted { schema: SCHEMA, sync: None, state: State::InSync, paused_until: None, pinned: None }
    }

    fn of(name: &str, answer: Answer) -> Answered {
        Answered { name: name.to_owned(), namespace: None, answer }
    }

    fn refusal(code: &str, message: &str) -> Refusal {
        Refusal { code: code.to_owned(), message: message.to_owned(), hint: Some("try again".to_owned()) }
    }

    #[test]
    fn the_exit_code_is_zero_only_if_all_replicas_succeeded() {
        let done = || of("a", Answer::Done { accepted: accepted(), record: None });
        let already = || of("b", Answer::Already(refusal("not_paused", "it is not paused")));
        let refused = || of("c", Answer::Refused(refusal("starting", "the volume is not open yet")));
        let gone = || of("d", Answer::Unreachable(Problem::new("connection refused")));
        let waits = || of("e", Answer::NotReady("PodInitializing".to_owned()));
        let open = || of("f", Answer::Open("no answer".to_owned()));
        assert_eq!(exit_code(&[done(), already()]), 0);
        assert_eq!(exit_code(&[done(), refused()]), 3);
        assert_eq!(exit_code(&[done(), gone()]), 3);
        assert_eq!(exit_code(&[done(), waits()]), 3);
        assert_eq!(exit_code(&[done(), open()]), 3);
        assert_eq!(exit_code(&[gone(), waits()]), 2);
        assert_eq!(exit_code(&[]), 2);
        assert_eq!(
            sum(&Change::Resume, &[done(), already(), refused()]),
            "resumed: 2 of 3 ok   c refused: the volume is not open yet"
        );
        let five = [gone(), gone(), gone(), gone(), done()];
        assert!(sum(&Change::Sync, &five).ends_with("   1 more"), "{}", sum(&Change::Sync, &five));
        assert_eq!(line(&Change::Sync, &refused(), 4), "c     refused: the volume is not open yet (try again)");
    }

    #[test]
    fn foreign_words_cannot_move_the_cursor() {
        let hostile = of("a\x1b[2J", Answer::Refused(refusal("x", "no\x1b]0;title\x07\nnew line")));
        for text in [line(&Change::Sync, &hostile, 1), sum(&Change::Sync, &[hostile])] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
