//! The baseline of a tree: a check by `stat` alone compares with it to find what has changed.
//!
//! The kernel sets the time of an inode's last change (ctime) at each change of content, mode, owner or names, and no
//! program can set it. So every inode with a ctime before a time at which the tree was complete is unchanged since then.
//! Later changes by this program are listed one by one. It must not know of commits.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::publish::folder;
use crate::publish::folder::Stamp;

/// With more marks than this, a walk of the tree is cheaper than their memory.
const MOST_MARKS: usize = 4096;

/// A file or folder as this program left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    inode: u64,
    changed: Stamp,
}

impl Mark {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { inode: stat.st_ino, changed: Stamp::of(stat) }
    }
}

/// Paths inside a tree, the empty one for its top folder, and the state in which they were left.
pub(crate) type Marks = Vec<(Vec<u8>, Mark)>;

/// A time at which a tree was equal to its commit, and the changes by this program since.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    since: Stamp,
    marks: Arc<HashMap<Vec<u8>, Mark>>,
}

impl Baseline {
    pub(crate) fn at(since: Stamp) -> Self {
        Self { since, marks: Arc::default() }
    }

    /// Returns the baseline after more changes by this program.
    pub(crate) fn with(&self, more: Marks) -> Self {
        let mut marks = Arc::clone(&self.marks);
        if !more.is_empty() {
            // Copied if it is shared: holders of the earlier baseline keep their marks.
            Arc::make_mut(&mut marks).extend(more);
        }
        Self { since: self.since, marks }
    }

    /// Returns the time itself. Baselines of trees on one volume are ordered by it.
    pub(crate) fn since(&self) -> Stamp {
        self.since
    }

    /// Returns true if the file, link or folder `name` of the folder `path` is unchanged. An empty name is the folder
    /// itself.
    pub(crate) fn holds(&self, path: &[u8], name: &[u8], stat: &Stat) -> bool {
        // An inode that changed in the noted tick itself may have been changed after it.
        if Stamp::of(stat) < self.since {
            return true;
        }
        !self.marks.is_empty() && self.marks.get(&inside(path, name)) == Some(&Mark::of(stat))
    }

    /// Returns true if a walk of the whole tree should replace it by a later one.
    pub(crate) fn is_long(&self) -> bool {
        self.marks.len() > MOST_MARKS
    }
}

/// Returns the path of a name in a folder; unlike [`super::super::objects::join`] the top folder is the empty path.
pub(crate) fn inside(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else if name.is_empty() {
        path.to_vec()
    } else {
        [path, b"/", name].concat()
    }
}

/// Returns the mark of a folder that this program has just changed. `None` if its names are not exactly the expected ones,
/// or if another process changed it meanwhile: such a folder has to be checked again.
pub(crate) fn mark_folder<'a>(
    folder: &OwnedFd,
    expected: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Mark>, Errno> {
    let before = Mark::of(&rustix::fs::fstat(folder)?);
    let mut names = folder::names(folder)?;
    let after = Mark::of(&rustix::fs::fstat(folder)?);
    let mut expected: Vec<&[u8]> = expected.into_iter().collect();
    names.sort_unstable();
    expected.sort_unstable();
    // A change by another process between the two `stat`s would otherwise be marked as ours.
    let same = names.iter().map(Vec::as_slice).eq(expected);
    Ok((same && before == after).then_some(after))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_changed_later_is_not_held_unless_it_is_marked_and_still_the_same() {
        let site = tempfile::TempDir::new().unwrap();
        let top = folder::open_path(site.path()).unwrap();
        let look = |name: &str| folder::stat(&top, name.as_bytes()).unwrap().unwrap();
        fs::write(site.path().join("old"), "1").unwrap();
        thread::sleep(Duration::from_millis(30));
        let baseline = Baseline::at(Stamp::now(&top, b"moment").unwrap());
        thread::sleep(Duration::from_millis(30));
        fs::write(site.path().join("new"), "1").unwrap();
        assert!(baseline.holds(b"", b"old", &look("old")));
        assert!(!baseline.holds(b"", b"new", &look("new")));
        let baseline = baseline.with(vec![(b"new".to_vec(), Mark::of(&look("new")))]);
        assert!(baseline.holds(b"", b"new", &look("new")));
        assert!(!baseline.holds(b"d", b"new", &look("new")), "another path");
        thread::sleep(Duration::from_millis(30));
        fs::write(site.path().join("new"), "2").unwrap();
        assert!(!baseline.holds(b"", b"new", &look("new")), "edited in place");
    }

    #[test]
    fn a_folder_is_marked_only_with_the_names_that_it_should_have() {
        let site = tempfile::TempDir::new().unwrap();
        fs::write(site.path().join("a"), "").unwrap();
        fs::write(site.path().join("b"), "").unwrap();
        let top = folder::open_path(site.path()).unwrap();
        let mark = |names: &[&str]| {
            let names = names.iter().map(|name| std::ffi::OsStr::new(*name).as_bytes());
            mark_folder(&top, names).unwrap()
        };
        let stat = rustix::fs::fstat(&top).unwrap();
        assert_eq!(mark(&["b", "a"]), Some(Mark::of(&stat)));
        assert_eq!(mark(&["a"]), None, "an extra name");
        assert_eq!(mark(&["a", "b", "c"]), None, "a missing name");
    }
}
