//! Whether a commit is live: published now, or contained in what is published now.
//!
//! Reads what is in memory, and the object store on the git thread with an end. Nothing is fetched or changed.

use std::collections::HashSet;
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use tokio::time::{Instant, timeout};

use crate::api::{Action, CommitHow, CommitStatus, Outcome, Record, Refusal, SCHEMA};
use crate::git::Ancestry;

use super::handle::Handle;

/// The longest wait for the store: the git thread may be busy with a slow remote.
const LONGEST_LOOKUP: Duration = Duration::from_secs(3);

/// A shorter prefix is refused.
const SHORTEST_PREFIX: usize = 7;

/// How often an answer is worked out again because another commit was published meanwhile.
const MOST_TRIES: u32 = 3;

impl Handle {
    /// Says where a commit stands on this replica, named by its full hash or a prefix of at least 7 digits.
    ///
    /// # Errors
    /// If the text is no hash (`bad_commit`), or several commits that are known here begin with it (`ambiguous`).
    pub async fn commit(&self, text: &str) -> Result<CommitStatus, Refusal> {
        let text = text.to_ascii_lowercase();
        if !crate::hash::is_prefix(&text, SHORTEST_PREFIX) {
            return Err(refusal("bad_commit", "a commit is named by 7 to 40 hexadecimal digits".to_owned(), None));
        }
        let deadline = Instant::now() + LONGEST_LOOKUP;
        let unknown = |how| CommitStatus {
            schema: SCHEMA,
            now: self.now(),
            commit: text.clone(),
            live: false,
            contained: None,
            how,
            last_published_at: None,
            replaced_at: None,
            published: self.published().map(|commit| commit.to_string()),
        };
        let commit = match self.named(&text, deadline).await? {
            Named::One(commit) => commit,
            Named::None => return Ok(unknown(CommitHow::NeverSeen)),
            Named::CannotTell => return Ok(unknown(CommitHow::Unknown)),
        };
        let mut tries = 1;
        loop {
            let status = self.status_of(commit, deadline).await;
            let now_published = self.published().map(|commit| commit.to_string());
            if now_published == status.published || tries == MOST_TRIES {
                return Ok(status);
            }
            tries += 1;
        }
    }

    /// The published commit, if the link is known to name it.
    fn published(&self) -> Option<Oid> {
        self.status()
            .health()
            .ready
            .then(|| self.status().read(|it| it.published.as_ref()?.commit.parse().ok()))
            .flatten()
    }

    /// The commits that this replica knows to be somewhere, whether or not they were published.
    fn mentioned(&self) -> Vec<String> {
        self.status().read(|snapshot| {
            let published = snapshot.published.as_ref().map(|it| it.commit.clone());
            let head = snapshot.head.as_ref().map(|it| it.commit.clone());
            let announced = snapshot.announced.as_ref().map(|it| it.commit.clone());
            [published, head, announced, snapshot.pinned.clone()].into_iter().flatten().collect()
        })
    }

    async fn named(&self, text: &str, deadline: Instant) -> Result<Named, Refusal> {
        if text.len() == 40 {
            return Ok(text.parse().map_or(Named::None, Named::One));
        }
        let mut found = self.history().commits_with_prefix(text);
        found.extend(self.mentioned().into_iter().filter(|commit| commit.starts_with(text)));
        let left = deadline.saturating_duration_since(Instant::now());
        let stored = match self.engine() {
            Some(engine) => timeout(left, engine.resolve_prefix(text)).await.ok().and_then(Result::ok),
            None => None,
        };
        found.extend(stored.flatten().map(|commit| commit.to_string()));
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [one] => Ok(one.parse().map_or(Named::None, Named::One)),
            // The store says nothing either if it has several, or could not be asked.
            [] => Ok(if stored.is_some() { Named::None } else { Named::CannotTell }),
            several => {
                let message = format!("{} commits that are known here begin with {text}", several.len());
                Err(refusal("ambiguous", message, Some("give more digits")))
            }
        }
    }

    async fn status_of(&self, commit: Oid, deadline: Instant) -> CommitStatus {
        let published = self.published();
        let (text, live) = (commit.to_string(), published.map(|commit| commit.to_string()));
        // The history is bounded, so this is a copy of limited size.
        let records = self.history().page(None, usize::MAX);
        let from_history = FromHistory::by(&records, &text, live.as_deref());
        let mut contained = from_history.contained;
        // `None`: the store could not be asked.
        let mut stored = Some(false);
        if let (None, Some(live)) = (contained, published) {
            let left = deadline.saturating_duration_since(Instant::now());
            let ancestry = match self.engine() {
                Some(engine) => timeout(left, engine.ancestry(commit, live, deadline)).await.ok().and_then(Result::ok),
                None => None,
            };
            stored = ancestry.map(|ancestry| ancestry.known);
            contained = ancestry.and_then(|Ancestry { contained, .. }| contained);
        }
        let known = from_history.mentioned || stored == Some(true) || self.mentioned().contains(&text);
        let how = match contained {
            Some(true) if published == Some(commit) => CommitHow::Published,
            Some(true) => CommitHow::Contained,
            _ if from_history.was_published && from_history.rewritten => CommitHow::ForcePushedAway,
            _ if from_history.was_published => CommitHow::Replaced,
            _ if known => CommitHow::NotPublished,
            _ if stored.is_none() => CommitHow::Unknown,
            _ => CommitHow::NeverSeen,
        };
        CommitStatus {
            schema: SCHEMA,
            now: self.now(),
            commit: text,
            live: contained == Some(true),
            contained,
            how,
            last_published_at: from_history.last_published_at,
            replaced_at: from_history.replaced_at,
            published: live,
        }
    }
}

enum Named {
    One(Oid),
    None,
    CannotTell,
}

/// The history's knowledge of a commit.
#[derive(Debug, Default, PartialEq, Eq)]
struct FromHistory {
    contained: Option<bool>,
    was_published: bool,
    /// A push that rewrote history replaced it.
    rewritten: bool,
    last_published_at: Option<Timestamp>,
    replaced_at: Option<Timestamp>,
    /// Some record names it.
    mentioned: bool,
}

impl FromHistory {
    /// Reads the records, newest first. `live` is the published commit.
    fn by(records: &[Record], commit: &str, live: Option<&str>) -> Self {
        let is = |text: &Option<String>| text.as_deref() == Some(commit);
        let published = |record: &&Record| record.outcome == Outcome::Published && record.old != record.new;
        let came = records.iter().position(|record| published(&record) && is(&record.new));
        let went = records.iter().position(|record| published(&record) && is(&record.old));
        let is_live = live == Some(commit);
        // The record of its end may be older than that of its last publish, or the only one that is left.
        let replaced = went.filter(|went| !is_live && came.is_none_or(|came| *went < came)).map(|at| &records[at]);
        Self {
            contained: live.and_then(|live| contained(records, commit, live)),
            was_published: is_live || came.is_some() || went.is_some(),
            rewritten: replaced.is_some_and(|record| record.rewritten && !by_hand(record)),
            last_published_at: came.map(|at| records[at].finished_at),
            replaced_at: replaced.map(|record| record.finished_at),
            mentioned: records.iter().any(|record| is(&record.new) || is(&record.old) || is(&record.withheld)),
        }
    }
}

fn by_hand(record: &Record) -> bool {
    matches!(record.trigger.action, Some(Action::Pin | Action::Rollback | Action::Unpin))
}

/// Whether `live` is `commit` or descends from it, as far as records say which commit descended from which. That does not
/// depend on when, or how often, the one followed the other.
fn contained(records: &[Record], commit: &str, live: &str) -> Option<bool> {
    if reaches(records, live, commit) {
        return Some(true);
    }
    // A commit cannot contain its own descendant.
    if reaches(records, commit, live) {
        return Some(false);
    }
    let is = |text: &Option<String>, commit: &str| text.as_deref() == Some(commit);
    let denied = records.iter().any(|it| it.fast_forward == Some(false) && is(&it.new, live) && is(&it.old, commit));
    denied.then_some(false)
}

/// True if records lead from `from` to its ancestor `to`.
fn reaches(records: &[Record], from: &str, to: &str) -> bool {
    let mut known = HashSet::from([from]);
    let mut next = vec![from];
    while let Some(commit) = next.pop() {
        if commit == to {
            return true;
        }
        for record in records {
            if record.fast_forward == Some(true)
                && record.new.as_deref() == Some(commit)
                && let Some(old) = record.old.as_deref()
                && known.insert(old)
            {
                next.push(old);
            }
        }
    }
    false
}

fn refusal(code: &str, message: String, hint: Option<&str>) -> Refusal {
    Refusal { code: code.to_owned(), message, hint: hint.map(str::to_owned) }
}
