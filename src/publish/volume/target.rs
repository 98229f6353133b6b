//! The place of a commit's tree: `.worktrees/<commit>`, or one folder deeper where two names cannot be exchanged.
//!
//! Only the link records which one. It must not know how trees are made or removed.

use std::os::fd::OwnedFd;
use std::path::Path;

use git2::Oid;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::publish::folder;
use crate::publish::volume::names::{BESIDE, commit_named};

/// The tree that a link of ours names: `.worktrees/<commit>` or `.worktrees/<beside>/<commit>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkTarget {
    pub commit: Oid,
    pub beside: Option<String>,
}

impl LinkTarget {
    pub(crate) fn plain(commit: Oid) -> Self {
        Self { commit, beside: None }
    }

    /// Returns the entry of `.worktrees` that is removed with the tree.
    pub(crate) fn entry(&self) -> String {
        self.beside.clone().unwrap_or_else(|| self.commit.to_string())
    }

    /// Returns its path below `.worktrees`.
    pub(crate) fn path(&self) -> String {
        let commit = self.commit;
        self.beside.as_ref().map_or_else(|| commit.to_string(), |beside| format!("{beside}/{commit}"))
    }

    /// Opens the tree.
    pub(crate) fn open(&self, trees: &OwnedFd) -> Result<OwnedFd, Errno> {
        let commit = self.commit.to_string();
        match &self.beside {
            None => folder::open(trees, commit.as_bytes()),
            Some(beside) => folder::open(folder::open(trees, beside.as_bytes())?, commit.as_bytes()),
        }
    }

    /// Returns true if there is a folder at this place. Its content is not checked.
    pub(crate) fn exists(&self, trees: &OwnedFd) -> Result<bool, Errno> {
        let commit = self.commit.to_string();
        let found = match &self.beside {
            None => folder::stat(trees, commit.as_bytes()),
            Some(beside) => match folder::open(trees, beside.as_bytes()) {
                Ok(within) => folder::stat(within, commit.as_bytes()),
                // Another process removed or replaced the folder in between.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                Err(errno) => Err(errno),
            },
        };
        Ok(found?.is_some_and(|stat| folder::kind(&stat) == FileType::Directory))
    }

    /// Parses the part of a link's text below `.worktrees`.
    pub(crate) fn read(within: &Path) -> Option<Self> {
        let commit = commit_named(within.file_name())?;
        let beside = match within.parent()?.to_str()? {
            "" => None,
            beside if beside.starts_with(BESIDE) && !beside.contains('/') => Some(beside.to_owned()),
            _ => return None,
        };
        Some(Self { commit, beside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_stands_under_its_commit_or_one_folder_deeper() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let read = |text: &str| LinkTarget::read(Path::new(text)).map(|target| target.path());
        for text in [hash.to_owned(), format!(".beside-1-2/{hash}")] {
            assert_eq!(read(&text), Some(text));
        }
        for text in [format!("other/{hash}"), format!(".beside-1/x/{hash}"), format!("../{hash}"), ".beside-1".into()] {
            assert_eq!(read(&text), None, "{text}");
        }
    }
}
