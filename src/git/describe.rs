//! Words about commits: head lines, and the way from one to another through a history that may be shallow.
//!
//! Reads the store, never a remote. Subjects and names are hostile text; here they lose what could move a cursor.

use std::collections::{BinaryHeap, HashMap, HashSet};

use git2::{Oid, Repository};
use jiff::Timestamp;

use crate::text::one_line;

use super::engine::{Commit, Span};

const LONGEST_SUBJECT: usize = 300;
const LONGEST_AUTHOR: usize = 100;
/// How many commits a span lists.
const MOST_LISTED: usize = 50;
/// How many commits a span looks at before it says that it cannot tell.
const MOST_WALKED: usize = 10_000;

const NEW: u8 = 1;
const OLD: u8 = 2;

/// Reads one commit.
pub(super) fn commit(store: &Repository, id: Oid) -> Result<Commit, git2::Error> {
    let commit = store.find_commit(id)?;
    let message = String::from_utf8_lossy(commit.message_bytes());
    let first = message.trim_start().lines().next().unwrap_or_default();
    let author = commit.author();
    Ok(Commit {
        id,
        subject: one_line(first, LONGEST_SUBJECT),
        author: one_line(&String::from_utf8_lossy(author.name_bytes()), LONGEST_AUTHOR),
        committed_at: Timestamp::from_second(commit.time().seconds()).ok(),
    })
}

/// Which commits are in `new` and not in `old`. `shallow` are the roots whose parents the store does not have.
///
/// The walk is git's for `old..new`: newest first from both ends, colours flowing to the parents, until nothing is left
/// that only `new` has. So it costs what is between the two, not the history.
pub(super) fn span(
    store: &Repository,
    shallow: &HashSet<Oid>,
    old: Option<Oid>,
    new: Oid,
) -> Result<Span, git2::Error> {
    let head = commit(store, new)?;
    let Some(old) = old.filter(|old| store.find_commit(*old).is_ok()) else {
        return Ok(Span { count: None, commits: vec![head], rewritten: false });
    };
    let mut walk = Walk { store, shallow, colours: HashMap::new(), heap: BinaryHeap::new() };
    walk.paint(new, NEW)?;
    walk.paint(old, OLD)?;
    let mut too_far = false;
    let mut ends = Vec::new();
    let mut oldest_new = i64::MAX;
    let mut steps = 0;
    while let Some((time, id, colour)) = walk.heap.pop() {
        if walk.colour(id) == NEW {
            oldest_new = oldest_new.min(time);
        } else if time < oldest_new && !walk.only_new_waits() {
            // Below the oldest candidate: nothing that follows can be one of its descendants.
            break;
        }
        steps += 1;
        if steps > MOST_WALKED {
            too_far = true;
            break;
        }
        if !walk.descend(id, colour)? {
            ends.push(id);
        }
    }
    // A boundary below what both have hides nothing. Who has it is known at the end only: among commits of one second
    // the parent may come before a child, and `old` reach it after `new` did.
    let cut = too_far || ends.iter().any(|id| walk.colour(*id) == NEW);
    let mut ours: Vec<(i64, Oid)> =
        walk.colours.iter().filter(|(_, (colour, _))| *colour == NEW).map(|(id, (_, time))| (*time, *id)).collect();
    ours.sort_unstable_by_key(|(time, id)| (*id != new, std::cmp::Reverse(*time), *id));
    let mut commits = Vec::new();
    for (_, id) in ours.iter().take(MOST_LISTED) {
        commits.push(commit(store, *id)?);
    }
    if commits.is_empty() {
        // `new` is `old` or one of its ancestors.
        commits.push(head);
    }
    let found = walk.colour(old) & NEW != 0;
    let count = if cut { None } else { u32::try_from(ours.len()).ok() };
    Ok(Span { count, commits, rewritten: !found && !cut })
}

struct Walk<'a> {
    store: &'a Repository,
    shallow: &'a HashSet<Oid>,
    /// Who reaches a commit, and its time.
    colours: HashMap<Oid, (u8, i64)>,
    /// Newest first; the colour is what flows to the parents.
    heap: BinaryHeap<(i64, Oid, u8)>,
}

impl Walk<'_> {
    fn colour(&self, id: Oid) -> u8 {
        self.colours.get(&id).map_or(0, |(colour, _)| *colour)
    }

    fn only_new_waits(&self) -> bool {
        self.heap.iter().any(|(_, id, _)| self.colour(*id) == NEW)
    }

    /// Adds a colour; a commit that had it already is not visited again.
    fn paint(&mut self, id: Oid, colour: u8) -> Result<(), git2::Error> {
        let before = self.colour(id);
        if before | colour == before {
            return Ok(());
        }
        let time = match self.colours.get(&id) {
            Some((_, time)) => *time,
            None => self.store.find_commit(id)?.time().seconds(),
        };
        self.colours.insert(id, (before | colour, time));
        self.heap.push((time, id, before | colour));
        Ok(())
    }

    /// Colours the parents; false if the store does not have them all.
    fn descend(&mut self, id: Oid, colour: u8) -> Result<bool, git2::Error> {
        if self.shallow.contains(&id) {
            return Ok(false);
        }
        let parents: Vec<Oid> = self.store.find_commit(id)?.parent_ids().collect();
        let mut whole = true;
        for parent in parents {
            // A root that left the `shallow` file when it was pruned.
            if self.store.find_commit(parent).is_ok() {
                self.paint(parent, colour)?;
            } else {
                whole = false;
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_stays_on_its_line_and_in_its_direction() {
        assert_eq!(one_line("a\u{1b}[2Jb\tc\r\nd", 50), "a\u{fffd}[2Jb c\u{fffd}\u{fffd}d");
        assert_eq!(one_line("x\u{202e}y\u{2069}z\u{9b}", 50), "x\u{fffd}y\u{fffd}z\u{fffd}");
        assert_eq!(one_line("éééé", 4), "éééé");
        assert_eq!(one_line("ééééé", 4), "ééé…");
        assert_eq!(one_line("\n \n", 4), "");
    }

    /// Among commits of one second their hashes decide in which order they are looked at.
    #[test]
    fn commits_of_one_second_are_told_apart_whatever_their_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Repository::init_bare(folder.path()).unwrap();
        let tree = store.find_tree(store.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let somebody = git2::Signature::new("Ada", "ada@example.test", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let make = |message: &str, parent: Option<Oid>| {
            let parent = parent.map(|id| store.find_commit(id).unwrap());
            store.commit(None, &somebody, &somebody, message, &tree, parent.as_ref().as_slice()).unwrap()
        };
        let end = make("End", None);
        let parent = make("Parent", Some(end));
        let new = make("New", Some(parent));
        let others = [end, parent, new];
        let first = others.iter().copied().max().unwrap();
        let last = others.iter().copied().min().unwrap();
        let old = |fits: &dyn Fn(Oid) -> bool| {
            (0..10_000).map(|number: u32| make(&number.to_string(), Some(parent))).find(|id| fits(*id)).unwrap()
        };
        for old in [old(&|id| id > first), old(&|id| id < last)] {
            let span = span(&store, &HashSet::from([end]), Some(old), new).unwrap();
            assert_eq!((span.count, span.rewritten, span.commits.len()), (Some(1), true, 1));
        }
        // The end is nobody's but the new one's: then it is not known.
        let stranger = make("Stranger", None);
        let span = span(&store, &HashSet::from([end, stranger]), Some(stranger), new).unwrap();
        assert_eq!((span.count, span.rewritten), (None, false));
    }
}
