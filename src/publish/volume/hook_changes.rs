//! The changes that hooks made to tracked files of a published tree. They count as published, also for the next process.
//!
//! A site generator may write into the files that it reads. Such a tree differs from its commit, but is not damaged as long
//! as it differs in exactly these files. The list is kept for the live tree, in `.pushsync/hook-changes`: the commit, then
//! a line for each path. It must not know what ran in the tree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use git2::{ObjectType, Oid};
use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use crate::publish::folder;
use crate::publish::volume::names::commit_named;
use crate::replace::{self, Durability};

const NAME: &str = "hook-changes";
/// More paths than this are not kept for the next process, which then rebuilds the tree and runs the hooks again.
const MOST_PATHS: usize = 100_000;
const LONGEST: u64 = 64 * 1024 * 1024;

/// A tracked path as a hook left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathState {
    /// The path does not exist.
    Missing,
    /// A file with these permission bits and content.
    File(RawMode, Oid),
    /// A link to this target.
    Link(Oid),
    /// A folder, or another kind of file.
    Other,
}

/// The paths of a tree that differ from its commit, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookChanges(BTreeMap<Vec<u8>, PathState>);

impl PathState {
    /// Reads the state of a name, whose `stat` is given.
    pub(crate) fn of(parent: &OwnedFd, name: &[u8], stat: Option<&Stat>) -> Result<Self, Errno> {
        let Some(stat) = stat else { return Ok(Self::Missing) };
        let hashed = |content: &[u8]| Oid::hash_object(ObjectType::Blob, content).map_err(|_| Errno::IO);
        match folder::kind(stat) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
                hashed(target.to_bytes()).map(Self::Link)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut content = Vec::new();
                File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?)
                    .read_to_end(&mut content)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                hashed(&content).map(|hash| Self::File(stat.st_mode & 0o777, hash))
            }
            _ => Ok(Self::Other),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // libgit2 would read an abbreviated hash as one that ends in zeros.
        let hash = |text: &str| Oid::from_str(text).ok().filter(|hash| hash.to_string() == text);
        match text.split_once(':') {
            Some(("link", target)) => hash(target).map(Self::Link),
            Some((mode, content)) => Some(Self::File(RawMode::from_str_radix(mode, 8).ok()?, hash(content)?)),
            None if text == "missing" => Some(Self::Missing),
            None if text == "other" => Some(Self::Other),
            None => None,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Missing => "missing".to_owned(),
            Self::File(mode, hash) => format!("{mode:o}:{hash}"),
            Self::Link(target) => format!("link:{target}"),
            Self::Other => "other".to_owned(),
        }
    }
}

impl HookChanges {
    pub(crate) fn insert(&mut self, path: Vec<u8>, left: PathState) {
        self.0.insert(path, left);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.0.keys().next().map(Vec::as_slice)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns how a hook left a path; `None` if it has to be as in the commit.
    pub(crate) fn get(&self, path: &[u8]) -> Option<PathState> {
        if self.0.is_empty() { None } else { self.0.get(path).copied() }
    }

    /// Reads the list of an earlier process for a commit. Returns `None` if it cannot be read.
    pub(crate) fn load(state: &Path, commit: Oid) -> Option<Self> {
        // Another process may have put a symlink or a pipe there: never follow the one or wait for a writer of the other.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(state.join(NAME)).ok()?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        if commit_named(lines.next().map(str::as_ref)) != Some(commit) {
            return None;
        }
        let entry = |line: &str| {
            let (left, path) = line.split_once(' ')?;
            Some((from_hex(path)?, PathState::parse(left)?))
        };
        lines.map(entry).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    /// Stores the list for the next process, or removes the file if the list is empty.
    pub(crate) fn store(&self, state: &Path, commit: Oid) -> std::io::Result<()> {
        let there = state.join(NAME);
        if self.is_empty() || self.len() > MOST_PATHS {
            return replace::remove(&there);
        }
        let mut text = format!("{commit}\n");
        for (path, left) in &self.0 {
            text.push_str(&left.words());
            text.push(' ');
            for byte in path {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        // Not flushed: after a loss of power the tree is rebuilt, and the hooks run again.
        replace::file(&there, replace::UNFINISHED, Durability::None, |file| file.write_all(text.as_bytes()))?;
        Ok(())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_commit_is_read_again_for_that_commit_alone() {
        let state = tempfile::TempDir::new().unwrap();
        let commit = |digit: char| Oid::from_str(&digit.to_string().repeat(40)).unwrap();
        let mut accepted = HookChanges::default();
        accepted.insert(b"a file\n\xff".to_vec(), PathState::File(0o644, commit('1')));
        accepted.insert(b"d/gone".to_vec(), PathState::Missing);
        accepted.insert(b"l".to_vec(), PathState::Link(commit('2')));
        accepted.insert(b"o".to_vec(), PathState::Other);
        accepted.store(state.path(), commit('a')).unwrap();
        assert_eq!(HookChanges::load(state.path(), commit('a')).as_ref(), Some(&accepted));
        assert_eq!(HookChanges::load(state.path(), commit('b')), None);
        HookChanges::default().store(state.path(), commit('a')).unwrap();
        assert_eq!(HookChanges::load(state.path(), commit('a')), None);
        for bad in ["", "x", "missing", "missing 6", "644:12 61", "\n"] {
            std::fs::write(state.path().join(NAME), format!("{}\n{bad}", commit('a'))).unwrap();
            let loaded = HookChanges::load(state.path(), commit('a'));
            assert!(loaded.is_none_or(|loaded| loaded.is_empty()), "{bad}");
        }
    }
}
