//! Commits for people: subjects, authors, and the commits between two others in a history that may be shallow.
//!
//! It reads the store, never a remote. Subjects and names are hostile text; control characters are replaced here.

use std::collections::{BinaryHeap, HashMap, HashSet};

use git2::{Oid, Repository};
use jiff::Timestamp;

use crate::commit;
use crate::text::one_line;

/// The first line of a commit, its author and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The hash.
    pub id: Oid,
    /// First line of the message, control characters replaced, at most 300 characters.
    pub subject: String,
    /// Author's name, control characters replaced, at most 100 characters.
    pub author: String,
    /// The committer's time; `None` if the commit has none that can be read.
    pub committed_at: Option<Timestamp>,
}

/// The commits between two others, as far as the history in the store shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The number of commits that `new` reaches and `old` does not; `None` if the history is too shallow to tell.
    pub count: Option<u32>,
    /// The newest of these commits, at most 50, newest first; at least `new` itself.
    pub commits: Vec<Commit>,
    /// True if the history shows that `old` is not an ancestor of `new`.
    pub rewritten: bool,
    /// Whether `new` descends from `old`; `None` if the history is too shallow to tell.
    pub fast_forward: Option<bool>,
}

/// The relation of one commit to another, as far as the history in the store shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// True if the store has the commit.
    pub known: bool,
    /// Whether the other commit is this one or descends from it; `None` if the history is too shallow to tell.
    pub contained: Option<bool>,
}

const LONGEST_SUBJECT: usize = 300;
const LONGEST_AUTHOR: usize = 100;
/// How many commits a span lists.
const MOST_LISTED: usize = 50;
/// How many commits are visited before the result is "unknown".
const MOST_WALKED: usize = 10_000;

const NEW: u8 = 1;
const OLD: u8 = 2;

/// Reads one commit.
pub(crate) fn describe(store: &Repository, id: Oid) -> Result<Commit, git2::Error> {
    let head = commit::head(store, id)?;
    let message = String::from_utf8_lossy(&head.message);
    let first = message.trim_start().lines().next().unwrap_or_default();
    Ok(Commit {
        id,
        subject: one_line(first, LONGEST_SUBJECT),
        author: one_line(&String::from_utf8_lossy(&head.author), LONGEST_AUTHOR),
        committed_at: head.time.and_then(|time| Timestamp::from_second(time).ok()),
    })
}

/// Describes the commits that `new` reaches and `old` does not. `shallow` is the boundary of the store.
///
/// The walk is git's for `old..new`: from both ends, newest first, marks pass to the parents until no pending commit
/// is reached by `new` alone. So it costs the commits between the two, not the history.
pub(crate) fn span(
    store: &Repository,
    shallow: &HashSet<Oid>,
    old: Option<Oid>,
    new: Oid,
) -> Result<Span, git2::Error> {
    let head = describe(store, new)?;
    let Some(old) = old else {
        return Ok(Span { count: None, commits: vec![head], rewritten: false, fast_forward: None });
    };
    if !commit::exists(store, old) {
        // The parents of present commits are known all the same.
        let fast_forward = contains(store, old, new)?;
        let rewritten = fast_forward == Some(false);
        return Ok(Span { count: None, commits: vec![head], rewritten, fast_forward });
    }
    let mut walk = Walk { store, shallow, marks: HashMap::new(), heap: BinaryHeap::new() };
    walk.add_mark(new, NEW)?;
    walk.add_mark(old, OLD)?;
    let mut too_far = false;
    let mut ends = Vec::new();
    let mut oldest_new = i64::MAX;
    let mut steps = 0;
    while let Some((time, id, mark)) = walk.heap.pop() {
        if walk.mark(id) == NEW {
            oldest_new = oldest_new.min(time);
        } else if time < oldest_new && !walk.only_new_waits() {
            // All further commits are older than the oldest candidate, so none descends from it.
            break;
        }
        steps += 1;
        if steps > MOST_WALKED {
            too_far = true;
            break;
        }
        if !walk.descend(id, mark)? {
            ends.push(id);
        }
    }
    // A boundary below common commits hides nothing. Only the end of the walk shows which are common: among commits of
    // the same second a parent may come before its child, and `old` may reach it after `new` did.
    let cut = too_far || ends.iter().any(|id| walk.mark(*id) == NEW);
    let mut ours: Vec<(i64, Oid)> =
        walk.marks.iter().filter(|(_, (mark, _))| *mark == NEW).map(|(id, (_, time))| (*time, *id)).collect();
    ours.sort_unstable_by_key(|(time, id)| (*id != new, std::cmp::Reverse(*time), *id));
    let mut commits = Vec::new();
    for (_, id) in ours.iter().take(MOST_LISTED) {
        commits.push(describe(store, *id)?);
    }
    if commits.is_empty() {
        // `new` is `old` or one of its ancestors.
        commits.push(head);
    }
    let found = walk.mark(old) & NEW != 0;
    let count = if cut { None } else { u32::try_from(ours.len()).ok() };
    let fast_forward = match (found, cut) {
        (true, _) => Some(true),
        (false, false) => Some(false),
        (false, true) => contains(store, old, new)?,
    };
    Ok(Span { count, commits, rewritten: fast_forward == Some(false), fast_forward })
}

/// Returns whether `within` is `commit` or descends from it; `None` if the history in the store ends before that is
/// known.
///
/// A commit names its parents by hash, so an ancestor is recognized even where the `shallow` file ends the history
/// before it. For a negative answer, all missing commits must be ancestors of `commit`, which cannot be its own
/// ancestor.
pub(crate) fn contains(store: &Repository, commit: Oid, within: Oid) -> Result<Option<bool>, git2::Error> {
    if commit == within {
        return Ok(Some(true));
    }
    let Some(Ancestors { known, ends }) = ancestors(store, within)? else { return Ok(None) };
    if known.contains(&commit) {
        return Ok(Some(true));
    }
    if ends.is_empty() {
        return Ok(Some(false));
    }
    if !commit::exists(store, commit) {
        return Ok(None);
    }
    let below = ancestors(store, commit)?;
    Ok(below.is_some_and(|below| ends.is_subset(&below.known)).then_some(false))
}

/// The hashes of a commit and its ancestors, as far as the store has them.
struct Ancestors {
    known: HashSet<Oid>,
    /// The commits whose parents are not all in the store.
    ends: HashSet<Oid>,
}

/// Returns `None` if there are too many.
fn ancestors(store: &Repository, of: Oid) -> Result<Option<Ancestors>, git2::Error> {
    // Fails for a commit that is missing.
    commit::tree_id(store, of)?;
    let mut all = Ancestors { known: HashSet::from([of]), ends: HashSet::new() };
    let mut next = vec![of];
    while let Some(id) = next.pop() {
        if all.known.len() > MOST_WALKED {
            return Ok(None);
        }
        for parent in commit::parents(store, id).unwrap_or_default() {
            if !all.known.insert(parent) {
                continue;
            }
            if commit::exists(store, parent) {
                next.push(parent);
            } else {
                all.ends.insert(id);
            }
        }
    }
    Ok(Some(all))
}

struct Walk<'a> {
    store: &'a Repository,
    shallow: &'a HashSet<Oid>,
    /// The marks of a commit, and its time.
    marks: HashMap<Oid, (u8, i64)>,
    /// Newest first; the mark passes to the parents.
    heap: BinaryHeap<(i64, Oid, u8)>,
}

impl Walk<'_> {
    fn mark(&self, id: Oid) -> u8 {
        self.marks.get(&id).map_or(0, |(mark, _)| *mark)
    }

    fn only_new_waits(&self) -> bool {
        self.heap.iter().any(|(_, id, _)| self.mark(*id) == NEW)
    }

    /// Adds a mark. A commit that had it already is not visited again.
    fn add_mark(&mut self, id: Oid, mark: u8) -> Result<(), git2::Error> {
        let before = self.mark(id);
        if before | mark == before {
            return Ok(());
        }
        let time = match self.marks.get(&id) {
            Some((_, time)) => *time,
            None => commit::head(self.store, id)?.time.unwrap_or(0),
        };
        self.marks.insert(id, (before | mark, time));
        self.heap.push((time, id, before | mark));
        Ok(())
    }

    /// Marks the parents. Returns false if the store lacks one of them.
    fn descend(&mut self, id: Oid, mark: u8) -> Result<bool, git2::Error> {
        if self.shallow.contains(&id) {
            return Ok(false);
        }
        let parents = commit::parents(self.store, id).unwrap_or_default();
        let mut whole = true;
        for parent in parents {
            // A parent may be missing although pruning removed its child from the `shallow` file.
            if commit::exists(self.store, parent) {
                self.add_mark(parent, mark)?;
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
    fn control_and_direction_characters_are_replaced() {
        assert_eq!(one_line("a\u{1b}[2Jb\tc\r\nd", 50), "a\u{fffd}[2Jb c\u{fffd}\u{fffd}d");
        assert_eq!(one_line("x\u{202e}y\u{2069}z\u{9b}", 50), "x\u{fffd}y\u{fffd}z\u{fffd}");
        assert_eq!(one_line("éééé", 4), "éééé");
        assert_eq!(one_line("ééééé", 4), "ééé…");
        assert_eq!(one_line("\n \n", 4), "");
    }

    /// Among commits of the same second their hashes decide the order.
    #[test]
    fn a_span_is_right_when_all_commits_have_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Repository::init_bare(folder.path()).unwrap();
        let tree = store.find_tree(store.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let author_of_all =
            git2::Signature::new("Ada", "ada@example.test", &git2::Time::new(1_700_000_000, 0)).unwrap();
        let make = |message: &str, parent: Option<Oid>| {
            let parent = parent.map(|id| store.find_commit(id).unwrap());
            store.commit(None, &author_of_all, &author_of_all, message, &tree, parent.as_ref().as_slice()).unwrap()
        };
        // Its parent was not fetched.
        let end = format!(
            "tree {}\nparent {}\nauthor A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n\nEnd\n",
            tree.id(),
            "1".repeat(40)
        );
        let end = store.odb().unwrap().write(git2::ObjectType::Commit, end.as_bytes()).unwrap();
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
        // Only the new commit reaches the end of the history: then the result is unknown.
        let stranger = make("Stranger", None);
        let span = span(&store, &HashSet::from([end, stranger]), Some(stranger), new).unwrap();
        assert_eq!((span.count, span.rewritten, span.fast_forward), (None, false, None));
    }

    #[test]
    fn ancestry_is_unknown_only_where_missing_history_could_decide() {
        let folder = tempfile::tempdir().unwrap();
        let store = Repository::init_bare(folder.path()).unwrap();
        let tree = store.treebuilder(None).unwrap().write().unwrap();
        let make = |message: &str, parents: &[Oid]| {
            let parents = parents.iter().fold(String::new(), |text, parent| text + &format!("parent {parent}\n"));
            let who = "A <a@b> 1700000000 +0000";
            let text = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n");
            store.odb().unwrap().write(git2::ObjectType::Commit, text.as_bytes()).unwrap()
        };
        let missing = Oid::from_bytes(&[1; 20]).unwrap();
        let (root, cut) = (make("root", &[]), make("cut", &[missing]));
        let (one, other) = (make("one", &[cut]), make("other", &[cut]));
        let merge = make("merge", &[one, root]);
        let lone = make("lone", &[root]);
        for (commit, within, expected) in [
            (one, one, Some(true)),
            (cut, one, Some(true)),
            (missing, one, Some(true)),
            (root, merge, Some(true)),
            (merge, one, Some(false)),
            (other, one, Some(false)),
            (other, merge, Some(false)),
            (lone, one, None),
            (one, lone, Some(false)),
            (missing, lone, Some(false)),
            (Oid::from_bytes(&[2; 20]).unwrap(), one, None),
        ] {
            assert_eq!(contains(&store, commit, within).unwrap(), expected, "{commit} in {within}");
        }
    }
}
