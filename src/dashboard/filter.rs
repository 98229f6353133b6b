//! The filter line: words that must all match, some of them bound to a field, each of them invertible with `!`.
//!
//! Matching is a case-blind substring. It knows records, not screens.

use crate::api::{Action, Record, Trigger};

use super::model::rows::CommitRow;

/// A parsed filter. The empty one lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    /// In lower case.
    word: String,
    inverted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Any,
    Pod,
    Trigger,
    Outcome,
    Author,
    State,
}

/// The tokens, as the prompt lists them.
pub(crate) const TOKENS: &str = "pod: trigger: outcome: author: state:   ! inverts";

impl Filter {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.split_whitespace().filter_map(Term::parse).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a sync passes. `pod:` and `state:` look at the replica it ran on.
    #[must_use]
    pub fn record(&self, pod: &str, state: &str, record: &Record) -> bool {
        self.0.iter().all(|term| {
            let found = match term.field {
                Field::Pod => term.within(pod),
                Field::State => term.within(state),
                Field::Trigger => term.triggered(&record.trigger),
                Field::Outcome => term.within(&record.outcome.to_string()),
                Field::Author => record.commits.as_ref().is_some_and(|commits| term.within(&commits.author)),
                Field::Any => term.anywhere(pod, record),
            };
            found != term.inverted
        })
    }

    /// Whether a commit passes. `pod:`, `state:` and `outcome:` say nothing about one.
    #[must_use]
    pub fn commit(&self, row: &CommitRow) -> bool {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.0.iter().all(|term| {
            let found = match term.field {
                Field::Pod | Field::State | Field::Outcome => return true,
                Field::Trigger => term.within(&row.how.words()),
                Field::Author => term.within(&text(&row.author)),
                // Also a hash that is longer than the digits that are shown.
                Field::Any => {
                    term.within(&row.commit)
                        || term.within(&text(&row.subject))
                        || term.within(&text(&row.author))
                        || term.within(&row.how.words())
                }
            };
            found != term.inverted
        })
    }

    /// Whether a replica passes. Only `pod:` and `state:` can hide one: a word about a subject says nothing about it.
    #[must_use]
    pub fn replica(&self, pod: &str, state: &str) -> bool {
        self.0.iter().all(|term| match term.field {
            Field::Pod => term.within(pod) != term.inverted,
            Field::State => term.within(state) != term.inverted,
            _ => true,
        })
    }
}

/// Returns what triggered a sync, in the word of the lists: a user's decision about a commit is called by its name.
#[must_use]
pub(crate) fn trigger(trigger: &Trigger) -> String {
    match trigger.action {
        Some(Action::Rollback) => "rollback".to_owned(),
        Some(Action::Pin) => "pin".to_owned(),
        Some(Action::Unpin) => "unpin".to_owned(),
        _ => trigger.kind.to_string(),
    }
}

impl Term {
    fn triggered(&self, by: &Trigger) -> bool {
        // A rollback is recorded as `manual` and shown as `rollback`; both words find it.
        self.within(&by.kind.to_string()) || self.within(&trigger(by))
    }

    fn parse(token: &str) -> Option<Self> {
        let (inverted, token) = match token.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (field, word) = match token.split_once(':') {
            Some(("pod", word)) => (Field::Pod, word),
            Some(("trigger", word)) => (Field::Trigger, word),
            Some(("outcome", word)) => (Field::Outcome, word),
            Some(("author", word)) => (Field::Author, word),
            Some(("state", word)) => (Field::State, word),
            // A subject such as `fix: a typo` and an address contain a colon as well, so any other name is part of the
            // word.
            _ => (Field::Any, token),
        };
        // While it is being typed, `trigger:` alone must not empty the list.
        (!word.is_empty()).then(|| Self { field, word: word.to_lowercase(), inverted })
    }

    fn within(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.word)
    }

    fn anywhere(&self, pod: &str, record: &Record) -> bool {
        self.within(pod)
            || self.triggered(&record.trigger)
            || self.within(&record.outcome.to_string())
            || self.within(&record.id)
            || record.new.as_deref().is_some_and(|commit| self.within(commit))
            || record.old.as_deref().is_some_and(|commit| self.within(commit))
            || record.trigger.delivery.as_deref().is_some_and(|id| self.within(id))
            || record.error.as_ref().is_some_and(|error| self.within(&error.message) || self.within(&error.kind))
            || record
                .commits
                .as_ref()
                .is_some_and(|commits| self.within(&commits.subject) || self.within(&commits.author))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Commits, Trigger, TriggerKind, sample};

    fn record() -> Record {
        Record {
            trigger: Trigger { kind: TriggerKind::Webhook, ..Trigger::default() },
            old: Some("41d07be".to_owned()),
            new: Some("9f3c2ab".to_owned()),
            commits: Some(Commits { count: Some(1), subject: "Fix Pricing".to_owned(), author: "Ann".to_owned() }),
            ..sample::record("412")
        }
    }

    #[test]
    fn terms_are_joined_by_and_bound_to_fields_and_inverted() {
        let passes = |text: &str| Filter::parse(text).record("web-zz81t", "in sync", &record());
        for text in
            ["", "pricing", "PRICING ann", "trigger:web", "!trigger:poll", "pod:zz81", "9f3c", "trigger:", "state:sync"]
        {
            assert!(passes(text), "{text}");
        }
        for text in ["trigger:poll", "!pricing", "pod:other", "author:bob", "pricing outcome:failed", "!state:sync"] {
            assert!(!passes(text), "{text}");
        }
    }

    #[test]
    fn a_word_about_a_subject_hides_no_replica() {
        assert!(Filter::parse("pricing").replica("web-1", "failed"));
        assert!(!Filter::parse("state:failed").replica("web-1", "in sync"));
        assert!(!Filter::parse("!pod:web").replica("web-1", "in sync"));
    }
}
