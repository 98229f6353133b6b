//! The text of a verdict: one line for each group, one line for each replica that lacks the commit, one for `--wait`.
//!
//! Plain text without glyphs and colors. All text from outside is cleaned here.

use std::time::Duration;

use super::{Group, Kind, Lack, Target, Verdict, Why};
use crate::dashboard::model::rows::Source;
use crate::dashboard::text;

/// Characters of a subject in a line.
const SUBJECT: usize = 60;
/// Characters of a reason in a line.
const REASON: usize = 300;

/// The headline until the first answer or the first failed attempt.
const CONNECTING: &str = "CONNECTING";

/// Returns the headline: two or three words.
#[must_use]
pub fn headline(kind: Kind) -> &'static str {
    match kind {
        Kind::Live => "LIVE EVERYWHERE",
        Kind::NotLive => "NOT LIVE EVERYWHERE",
        Kind::Unknown => "UNKNOWN",
        Kind::Unreachable => "NOT REACHABLE",
    }
}

/// A verdict in parts. A narrow screen cuts the subject, which is not essential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub headline: &'static str,
    /// The commit in question: a short hash, or why there is none.
    pub commit: String,
    /// The subject of the commit. Empty if it is not known.
    pub subject: String,
    /// How many replicas have it, then the reasons of the others.
    pub facts: Vec<String>,
    /// The same for narrower screens: without remarks, then without times and commits.
    pub briefer: [Vec<String>; 2],
}

/// How much a reason says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Length {
    Word,
    Brief,
    Full,
}

impl Line {
    fn empty(headline: &'static str) -> Self {
        Self { headline, commit: String::new(), subject: String::new(), facts: Vec::new(), briefer: Default::default() }
    }

    fn with(self, facts: impl Fn(Length) -> Vec<String>) -> Self {
        Self { facts: facts(Length::Full), briefer: [facts(Length::Brief), facts(Length::Word)], ..self }
    }
}

/// The parts of a verdict.
#[must_use]
pub fn parts(verdict: &Verdict) -> Line {
    if verdict.connecting {
        let answers = match verdict.total {
            0 => Vec::new(),
            total => vec![format!("none of {total} has answered yet")],
        };
        return Line::empty(CONNECTING).with(|_| answers.clone());
    }
    let kind = verdict.kind();
    let headline = headline(kind);
    match verdict.groups.as_slice() {
        [] => Line { commit: "no replicas".to_owned(), ..Line::empty(headline) },
        [group] => about(group, kind),
        groups => {
            let good = groups.iter().filter(|group| group.kind() == Kind::Live).count();
            let facts = |length| {
                let mut facts = vec![format!("{good} of {} repositories and refs", groups.len())];
                facts.extend(counted(&verdict.unplaced, verdict.unplaced.len(), length));
                facts
            };
            let commit = verdict.asked.as_deref().map(text::short).unwrap_or_default();
            Line { commit, ..Line::empty(headline) }.with(facts)
        }
    }
}

/// The last line of `--check`: the whole verdict.
#[must_use]
pub fn line(verdict: &Verdict) -> String {
    joined(&parts(verdict))
}

fn joined(line: &Line) -> String {
    // `cut` also cleans: a subject is written by anyone who can push.
    let subject = text::cut(&line.subject, SUBJECT, text::ELLIPSIS);
    let commit = [line.commit.as_str(), &subject].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
    let all = [line.headline.to_owned(), commit].into_iter().chain(line.facts.iter().cloned());
    all.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// The verdict of one of several groups.
#[must_use]
pub fn group_line(group: &Group) -> String {
    format!("{}: {}", source(group.source.as_ref()), joined(&about(group, group.kind())))
}

/// `github.com/acme/site @ main`
#[must_use]
pub fn source(source: Option<&Source>) -> String {
    match source {
        Some(source) => format!("{} @ {}", text::clean(&source.repo), text::clean(&source.reference)),
        None => "no answer yet".to_owned(),
    }
}

/// The commit, on how many replicas it is live, and the reasons of the others.
fn about(group: &Group, kind: Kind) -> Line {
    let facts = |length| {
        let mut facts = vec![match (kind, group.took_ms) {
            // A time beside a verdict that is not good would read as if it were done.
            (Kind::Live, Some(took)) => format!("{} of {} in {}", group.live, group.total, text::took(took)),
            _ => format!("{} of {}", group.live, group.total),
        }];
        facts.extend(counted(&group.lacking, group.total, length));
        // They have the commit, but no later one will be published there.
        if group.pinned > 0 {
            facts.push(format!("({} pinned to it)", group.pinned));
        }
        if let Some(newest) = &group.newest {
            let announced = if newest.announced { ", announced" } else { "" };
            facts.push(format!("(the newest is {}{announced})", text::short(&newest.commit)));
        }
        facts
    };
    let (commit, subject) = match &group.target {
        None => ("the newest commit is not known yet".to_owned(), String::new()),
        Some(target) => (text::short(&target.commit), subject(target)),
    };
    Line { commit, subject, ..Line::empty(headline(kind)) }.with(facts)
}

fn subject(target: &Target) -> String {
    match (&target.subject, target.announced) {
        (Some(subject), _) if !subject.is_empty() => subject.clone(),
        (_, true) => "(announced by a webhook, not seen yet)".to_owned(),
        _ => String::new(),
    }
}

/// `475b7a7 Rework the checkout page`
#[must_use]
pub fn commit(target: &Target) -> String {
    let subject = text::cut(&subject(target), SUBJECT, text::ELLIPSIS);
    format!("{} {subject}", text::short(&target.commit)).trim_end().to_owned()
}

/// `3 behind, 1 paused`: equal reasons counted, the first replica with each reason first.
#[must_use]
pub fn reasons(lacking: &[Lack], total: usize) -> Vec<String> {
    counted(lacking, total, Length::Full)
}

/// The same in one or two words each.
#[must_use]
pub fn brief_reasons(lacking: &[Lack], total: usize) -> Vec<String> {
    counted(lacking, total, Length::Word)
}

fn counted(lacking: &[Lack], total: usize, length: Length) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for lack in lacking {
        let word = short(&lack.why, length);
        match counted.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counted.push((word, 1)),
        }
    }
    let words = counted.into_iter().map(|(word, count)| match word.as_str() {
        // In full, because with many replicas this is the most frequent reason of an unknown verdict.
        "not looked at yet" => format!("{count} of {total} replicas not looked at yet"),
        _ => format!("{count} {word}"),
    });
    words.collect()
}

/// A reason in a word or two.
fn short(why: &Why, length: Length) -> String {
    if length == Length::Word {
        match why {
            Why::Paused { pinned: None, .. } => return "paused".to_owned(),
            Why::Paused { pinned: Some(_), .. } => return "paused, pinned".to_owned(),
            Why::Pinned { .. } => return "pinned".to_owned(),
            Why::Failed { pinned: Some(_), .. } => return "failed, pinned".to_owned(),
            Why::NotReady { .. } => return "not ready".to_owned(),
            Why::Unreachable { .. } => return "unreachable".to_owned(),
            Why::Waiting => return "waiting".to_owned(),
            _ => {}
        }
    }
    match why {
        Why::Behind { .. } => "behind".to_owned(),
        Why::Syncing => "syncing".to_owned(),
        Why::Paused { left, news, pinned, .. } => {
            let news =
                if *news && pinned.is_none() && length == Length::Full { ", a newer commit is known" } else { "" };
            let left = left.map(|left| format!(" ({}{news})", text::remaining_short(left))).unwrap_or_default();
            let pinned = pinned.as_deref().map(|commit| format!(", pinned at {}", text::short(commit)));
            format!("paused{left}{}", pinned.unwrap_or_default())
        }
        Why::Pinned { commit, .. } => format!("pinned at {}", text::short(commit)),
        Why::Failed { pinned: Some(commit), .. } => format!("failed, pinned at {}", text::short(commit)),
        Why::Failed { pinned: None, .. } => "failed".to_owned(),
        Why::Starting => "starting".to_owned(),
        Why::NotReady { reason } => format!("not ready ({})", text::cut(reason, SUBJECT, text::ELLIPSIS)),
        Why::Replaced { how } => text::cut(how, SUBJECT, text::ELLIPSIS),
        Why::NeverSeen => "never saw it".to_owned(),
        Why::Unreachable { .. } => "cannot be reached".to_owned(),
        Why::NotLookedAt => "not looked at yet".to_owned(),
        Why::Waiting => "without an answer yet".to_owned(),
        Why::CannotSay { .. } => "cannot say".to_owned(),
    }
}

/// Why one replica lacks the commit, as a sentence.
#[must_use]
pub fn sentence(why: &Why) -> String {
    match why {
        Why::Behind { commits: Some(1) } => "1 commit behind".to_owned(),
        Why::Behind { commits: Some(count) } => format!("{count} commits behind"),
        Why::Behind { commits: None } => "behind".to_owned(),
        Why::Syncing => "a sync is running".to_owned(),
        Why::Paused { left, by, news, pinned } => {
            let left = left.map(|left| format!(", {} left", text::remaining(left))).unwrap_or_default();
            let pinned = pinned.as_deref().map(|commit| format!(", and pinned at {}", text::short(commit)));
            let news = if *news { ": a newer commit is known" } else { ": it looks for no newer commit" };
            format!("paused{}{left}{}{news}", person(by.as_ref()), pinned.unwrap_or_default())
        }
        Why::Pinned { commit, by } => format!("pinned at {}{}", text::short(commit), person(by.as_ref())),
        Why::Failed { times, message, pinned } => {
            let pinned = pinned.as_deref().map(|commit| format!("pinned at {}, and ", text::short(commit)));
            let syncs = if *times > 1 { format!("the last {times} syncs") } else { "the last sync".to_owned() };
            format!("{}{syncs} failed: {}", pinned.unwrap_or_default(), text::cut(message, REASON, text::ELLIPSIS))
        }
        Why::Starting => "nothing is published yet".to_owned(),
        Why::NotReady { reason } => format!("not ready: {}", text::cut(reason, REASON, text::ELLIPSIS)),
        Why::Replaced { how } => text::cut(how, REASON, text::ELLIPSIS),
        Why::NeverSeen => "it has never seen this commit".to_owned(),
        Why::Unreachable { reason } => format!("cannot be reached: {}", text::cut(reason, REASON, text::ELLIPSIS)),
        Why::NotLookedAt => "not looked at yet".to_owned(),
        Why::Waiting => "no answer yet".to_owned(),
        Why::CannotSay { reason } => format!("cannot say: {}", text::cut(reason, REASON, text::ELLIPSIS)),
    }
}

fn person(by: Option<&String>) -> String {
    by.map(|by| format!(" by {}", text::cut(by, 60, text::ELLIPSIS))).unwrap_or_default()
}

/// One line for each replica that lacks the commit.
#[must_use]
pub fn lacking(verdict: &Verdict) -> Vec<String> {
    let line = |lack: &Lack| {
        let start = if lack.has_it { "not sure of" } else { "not on" };
        format!("{start} {}: {}", text::clean(&lack.name), sentence(&lack.why))
    };
    verdict.groups.iter().flat_map(|group| &group.lacking).chain(&verdict.unplaced).map(line).collect()
}

/// Returns the state of `--wait`, without the time: `waiting for 39a033f: 2/8 live (3 behind, 1 paused)`.
#[must_use]
pub fn waiting(verdict: &Verdict) -> String {
    let mut commits: Vec<String> = Vec::new();
    for target in verdict.groups.iter().filter_map(|group| group.target.as_ref()) {
        let short = text::short(&target.commit);
        // Two refs may be at the same commit.
        if !commits.contains(&short) {
            commits.push(short);
        }
    }
    if commits.is_empty() {
        commits.push(verdict.asked.as_deref().map_or("the newest commit".to_owned(), text::short));
    }
    let live: usize = verdict.groups.iter().map(|group| group.live).sum();
    let all: Vec<Lack> =
        verdict.groups.iter().flat_map(|group| &group.lacking).chain(&verdict.unplaced).cloned().collect();
    let why = if all.is_empty() { String::new() } else { format!(" ({})", reasons(&all, verdict.total).join(", ")) };
    format!("waiting for {}: {live}/{} live{why}", commits.join(" and "), verdict.total)
}

/// Returns the elapsed time and the limit: `12s/2m`.
#[must_use]
pub fn time(waited: Duration, limit: Duration) -> String {
    let words = |duration: Duration| {
        let seconds = duration.as_secs();
        match (seconds / 60, seconds % 60) {
            (0, 0) if !duration.is_zero() => format!("{}ms", duration.as_millis()),
            (0, seconds) => format!("{seconds}s"),
            (minutes, 0) => format!("{minutes}m"),
            (minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        }
    };
    // Whole seconds of the wait: its milliseconds are of no interest beside a limit of minutes.
    format!("{}/{}", words(Duration::from_secs(waited.as_secs())), words(limit))
}
