//! The text of facts on screen: states, links, times, commits and files, as pieces with roles.
//!
//! Shared by all screens. It decides the wording, not the position.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::canvas::{Piece, piece};
use crate::api::{Action, Files, Outcome, Record};
use crate::dashboard::fleet::{self, Shown};
use crate::dashboard::model::{Link, Model, Pod, Presence, TimeFormat};
use crate::dashboard::text;
use crate::dashboard::theme::{Glyphs, Role};

/// Seconds without a heartbeat before a live link is called quiet. A heartbeat comes every 10 s.
const QUIET: i64 = 15;

#[must_use]
pub(crate) fn state_role(shown: Shown) -> Role {
    match shown {
        Shown::Failed(_) => Role::Bad,
        Shown::Unknown | Shown::Starting | Shown::Standby => Role::Dim,
        Shown::Behind | Shown::Paused | Shown::Pinned => Role::Warn,
        Shown::Syncing => Role::Busy,
        Shown::InSync => Role::Good,
    }
}

#[must_use]
pub(crate) fn state_glyph(glyphs: &Glyphs, shown: Shown) -> &'static str {
    match shown {
        Shown::Failed(_) => glyphs.failed,
        Shown::Unknown => glyphs.unknown,
        Shown::Behind => glyphs.behind,
        Shown::Starting | Shown::Standby => glyphs.starting,
        Shown::Syncing => glyphs.syncing,
        Shown::Paused => glyphs.paused,
        Shown::Pinned => glyphs.pinned,
        Shown::InSync => glyphs.in_sync,
    }
}

/// Returns the STATE column: a word, a number where it helps, and a pause or pin that the word does not show, since those
/// stay in force beside any other problem.
#[must_use]
pub(crate) fn state_words(model: &Model, glyphs: &Glyphs, pod: &Pod, shown: Shown) -> String {
    let words = state_word(model, glyphs, pod, shown);
    match fleet::hidden_hold(pod, shown).filter(|_| !pod.gone()) {
        Some(hold) => format!("{words} {hold}"),
        None => words,
    }
}

fn state_word(model: &Model, glyphs: &Glyphs, pod: &Pod, shown: Shown) -> String {
    let snapshot = pod.snapshot.as_deref();
    match (shown, snapshot) {
        (Shown::Failed(count), _) if count > 1 => format!("failed {}{count}", glyphs.times),
        (Shown::Paused, Some(snapshot)) => match snapshot.paused_until {
            Some(until) => {
                let left = pod.to_ours(until).duration_since(model.now);
                format!("paused {} left", text::remaining_short(left))
            }
            None => "paused".to_owned(),
        },
        // The duration is not shown for a lost link, because it would not advance.
        (Shown::Syncing, Some(snapshot)) if pod.live() => match &snapshot.running {
            Some(running) => {
                format!(
                    "{} {}",
                    text::phase(running.phase),
                    text::age_short(fleet::age(model, pod, running.started_at))
                )
            }
            None => "syncing".to_owned(),
        },
        _ => shown.word().to_owned(),
    }
}

/// The LINK column.
#[must_use]
pub(crate) fn link_words(model: &Model, glyphs: &Glyphs, pod: &Pod, wide: bool) -> Piece {
    if pod.gone() {
        return piece("pod gone", Role::Dim);
    }
    match &pod.link {
        Link::Live => {
            let silent = pod.heard_at.map_or(0, |at| model.now.duration_since(at).as_secs());
            // Not lost yet: the link gives up after 25 s (`link::SILENCE`).
            if silent > QUIET { piece(format!("quiet {silent}s"), Role::Warn) } else { piece("live", Role::Good) }
        }
        Link::Connecting => match pod.heard_at {
            Some(heard) if wide => {
                let age = text::age_short(model.now.duration_since(heard));
                piece(format!("stale {age} {} connecting", glyphs.dot), Role::Bad)
            }
            _ => piece("connecting", Role::Busy),
        },
        Link::Retry { attempt, at, problem } => {
            let left = at.duration_since(model.now).as_secs().max(0);
            // A word that names the cause is of more use than the number of the attempt.
            let word = problem.word.unwrap_or("retry");
            let retry =
                if problem.word.is_some() { format!("{word} {left}s") } else { format!("{word} {left}s #{attempt}") };
            match pod.heard_at {
                Some(heard) if wide => {
                    let age = text::age_short(model.now.duration_since(heard));
                    piece(format!("stale {age} {} {retry}", glyphs.dot), Role::Bad)
                }
                _ => piece(retry, Role::Bad),
            }
        }
        Link::Idle => match &pod.presence {
            Presence::NotReady(why) => piece(why.clone(), Role::Dim),
            _ if pod.visited && pod.problem.is_some() => piece("not reached", Role::Bad),
            _ if pod.visited => match pod.heard_at {
                Some(heard) => {
                    piece(format!("seen {} ago", text::age_short(model.now.duration_since(heard))), Role::Dim)
                }
                None => piece("not looked at yet", Role::Dim),
            },
            _ => piece("Enter to attach", Role::Accent),
        },
    }
}

/// Returns a time of a replica's clock in a list, in the format of `t`.
#[must_use]
pub(crate) fn when(model: &Model, pod: &Pod, time: Timestamp, wide: bool) -> String {
    match model.time_format {
        TimeFormat::Ago => ago(fleet::age(model, pod, time), wide),
        TimeFormat::Utc => clock(model, time, &TimeZone::UTC),
        TimeFormat::Local => clock(model, time, &model.zone),
    }
}

/// A time of our clock in a list.
#[must_use]
pub(crate) fn at(model: &Model, time: Timestamp, wide: bool) -> String {
    match model.time_format {
        TimeFormat::Ago => ago(model.now.duration_since(time), wide),
        TimeFormat::Utc => clock(model, time, &TimeZone::UTC),
        TimeFormat::Local => clock(model, time, &model.zone),
    }
}

fn ago(age: SignedDuration, wide: bool) -> String {
    let words = text::age(age);
    if !wide {
        words.replace(' ', "")
    } else if age.as_secs() < 3600 {
        format!("{words} ago")
    } else {
        words
    }
}

fn clock(model: &Model, at: Timestamp, zone: &TimeZone) -> String {
    let time = at.to_zoned(zone.clone());
    let today = model.now.to_zoned(zone.clone()).date() == time.date();
    time.strftime(if today { "%H:%M:%S" } else { "%b %d %H:%M" }).to_string()
}

/// The glyph in front of a sync.
#[must_use]
pub(crate) fn outcome(glyphs: &Glyphs, record: &Record) -> Piece {
    match record.outcome {
        Outcome::Published if record.rewritten => piece("!", Role::Warn),
        Outcome::Published => piece(glyphs.in_sync, Role::Good),
        Outcome::Unchanged => piece(glyphs.unchanged, Role::Dim),
        Outcome::Failed | Outcome::Refused => piece(glyphs.failed, Role::Bad),
        Outcome::Unknown => piece("?", Role::Dim),
    }
}

/// `41d07be → 9f3c2ab`
#[must_use]
pub(crate) fn commits(glyphs: &Glyphs, record: &Record) -> Vec<Piece> {
    let arrow = if record.rewritten { glyphs.rewritten } else { glyphs.arrow };
    let new = record.new.as_deref().map_or("?".to_owned(), text::short);
    match (&record.old, record.outcome) {
        (_, Outcome::Unchanged) => vec![piece(new, Role::Accent)],
        (Some(old), _) => {
            vec![piece(text::short(old), Role::Dim), piece(format!(" {arrow} "), Role::Dim), piece(new, Role::Accent)]
        }
        (None, _) => vec![piece(format!("first {arrow} "), Role::Dim), piece(new, Role::Accent)],
    }
}

/// Returns the subject of a sync, or why it failed.
#[must_use]
pub(crate) fn subject(record: &Record) -> Vec<Piece> {
    match record.outcome {
        Outcome::Failed | Outcome::Refused => {
            let message = record.error.as_ref().map_or("no reason given", |error| error.message.as_str());
            vec![piece(message, Role::Bad)]
        }
        Outcome::Unchanged => {
            if let (Some(pinned), Some(withheld)) = (&record.pinned, &record.withheld) {
                let words = format!("pinned at {}: {} not published", text::short(pinned), text::short(withheld));
                return vec![piece(words, Role::Warn)];
            }
            let why = if record.trigger.redelivered { " (redelivery)" } else { "" };
            vec![piece(format!("already at this commit{why}"), Role::Dim)]
        }
        Outcome::Published | Outcome::Unknown => {
            let mut pieces = Vec::new();
            if let Some(commits) = &record.commits {
                pieces.push(piece(&commits.subject, Role::Plain));
            }
            let by = record.trigger.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            match record.trigger.action {
                Some(Action::Rollback) => pieces.push(piece(format!(" (rolled back{by})"), Role::Warn)),
                Some(Action::Pin) => pieces.push(piece(format!(" (pinned{by})"), Role::Warn)),
                Some(Action::Unpin) => pieces.push(piece(format!(" (unpinned{by})"), Role::Dim)),
                _ => {}
            }
            if record.rewritten {
                pieces.push(piece(" (history rewritten)", Role::Warn));
            }
            if let Some(reason) = &record.ignored_webhook {
                pieces.push(piece(format!(" (the webhook arrived and was ignored: {reason})"), Role::Warn));
            }
            if record.missed_webhook {
                pieces.push(piece(" (webhook missed)", Role::Warn));
            }
            let count = record.commits.as_ref().and_then(|commits| commits.count);
            if let Some(count) = count.filter(|count| *count > 1) {
                pieces.push(piece(format!(" ({count} commits)"), Role::Dim));
            }
            pieces
        }
    }
}

/// `+2 -1 ~3`, without what is zero.
#[must_use]
pub(crate) fn files(files: Option<Files>) -> String {
    let Some(files) = files else { return String::new() };
    let parts = [("+", files.added), ("-", files.deleted), ("~", files.modified)];
    let shown: Vec<String> =
        parts.iter().filter(|(_, count)| *count > 0).map(|(sign, count)| format!("{sign}{count}")).collect();
    shown.join(" ")
}

/// Returns the time from start to end of an attempt.
#[must_use]
pub(crate) fn total(record: &Record) -> u64 {
    text::millis_between(record.started_at, record.finished_at)
}

/// Returns `acme/site @ main`.
#[must_use]
pub(crate) fn source(url: &str, reference: &str) -> String {
    format!("{} @ {reference}", repo(url, true))
}

/// Returns `github.com/acme/site` of a remote's URL, or only `acme/site`.
#[must_use]
pub(crate) fn repo(url: &str, short: bool) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // The user of an SSH remote (`git@`) is no part of its name.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let rest = rest.strip_suffix(".git").unwrap_or(rest);
    if !short {
        return rest.to_owned();
    }
    // With a scheme the first part is the host and its port; without one a colon ends the host.
    let (path, separators): (&str, &[char]) = match url.split_once("://") {
        Some(_) => (rest.split_once('/').map_or("", |(_, path)| path), &['/']),
        None => (rest, &['/', ':']),
    };
    let mut parts = path.rsplit(separators);
    match (parts.next(), parts.next()) {
        // The last two parts: a group at GitLab may have groups in it, for which there is no room.
        (Some(name), Some(owner)) if !owner.is_empty() => format!("{owner}/{name}"),
        (Some(name), None) if !name.is_empty() && path.len() < rest.len() => name.to_owned(),
        _ => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_read_short() {
        assert_eq!(repo("https://github.com/acme/site.git", false), "github.com/acme/site");
        assert_eq!(repo("https://github.com/acme/site.git", true), "acme/site");
        assert_eq!(repo("git@github.com:acme/site.git", true), "acme/site");
        assert_eq!(repo("file:///srv/site.git/", true), "srv/site");
        assert_eq!(repo("site", true), "site");
        assert_eq!(repo("http://127.0.0.1:8080/site.git", true), "site");
        assert_eq!(repo("ssh://git@forge.example:2222/acme/site.git", true), "acme/site");
    }
}
