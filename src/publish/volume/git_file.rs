//! `--worktree-git`: makes a published tree a linked worktree of the object store, so that git works inside it.
//!
//! The tree contains one file, `.git`, which names `repo.git/worktrees/<commit>` by a relative path: the volume may be
//! mounted elsewhere, and read-only. That folder contains HEAD, the index and git's other files (gitrepository-layout). It
//! must not know how a tree is built, nor when it is removed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{Index, IndexEntryExtendedFlag, Oid, Repository};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::flush;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::path::printable;
use crate::publish::tree::entry::EntryKind;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::volume::names::commit_named;
use crate::replace::{self, Durability};

pub(crate) const NAME: &[u8] = b".git";

/// The depth of the tree below `.worktrees`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// `.worktrees/<commit>`
    Plain,
    /// `.worktrees/<unique>/<commit>`: see `NewTree::stand_beside`.
    Beside,
}

/// Returns the text of the file in the tree.
fn text(commit: Oid, depth: Depth) -> String {
    let up = if depth == Depth::Beside { "../../.." } else { "../.." };
    format!("gitdir: {up}/.pushsync/repo.git/worktrees/{commit}\n")
}

/// Returns true if a tree has the `.git` file of a linked worktree, of pushsync or of git-sync: a file that says where the
/// repository is. No hook or app has a reason to add one.
pub(crate) fn is_left(top: &OwnedFd) -> bool {
    const BEGINS: &[u8] = b"gitdir: ";
    let read = || -> Result<bool, Errno> {
        if !folder::stat(top, NAME)?.is_some_and(|stat| folder::kind(&stat) == FileType::RegularFile) {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(top, NAME, flags, Mode::empty())?;
        let mut found = [0; BEGINS.len()];
        Ok(rustix::io::read(&file, &mut found)? == BEGINS.len() && found == BEGINS)
    };
    read().unwrap_or(false)
}

/// Writes the file into the top folder of a tree that is being built, durably.
pub(crate) fn write(top: &OwnedFd, commit: Oid, depth: Depth, options: &CheckoutOptions) -> Result<(), Error> {
    let written = || {
        remove(top)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = options.mode(EntryKind::File);
        let file = rustix::fs::openat(top, NAME, flags, Mode::from_bits_truncate(mode))?;
        folder::set_mode(&file, mode)?;
        let mut file = File::from(file);
        file.write_all(text(commit, depth).as_bytes())
            .and_then(|()| flush::file(&file))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        folder::flush_names(top)
    };
    written().map_err(|errno: Errno| Error::io("write", NAME, errno).with_cause_from(top))
}

/// Removes the file from a tree that is to become another one.
pub(crate) fn remove(top: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::unlinkat(top, NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Returns true if the tree has exactly this file.
pub(crate) fn is_whole(top: &OwnedFd, commit: Oid, options: &CheckoutOptions) -> bool {
    [Depth::Plain, Depth::Beside].into_iter().any(|depth| says(top, &text(commit, depth), options))
}

fn says(top: &OwnedFd, wanted: &str, options: &CheckoutOptions) -> bool {
    let read = || -> Result<bool, Errno> {
        let Some(stat) = folder::stat(top, NAME)? else { return Ok(false) };
        if folder::kind(&stat) != FileType::RegularFile
            || !options.accepts(EntryKind::File, stat.st_mode)
            || usize::try_from(stat.st_size) != Ok(wanted.len())
        {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(top, NAME, flags, Mode::empty())?;
        let mut found = vec![0; wanted.len()];
        Ok(rustix::io::read(&file, &mut found)? == wanted.len() && found == wanted.as_bytes())
    };
    read().unwrap_or(false)
}

/// Returns true if the store has the folder that the file names. Errors of the index are left to git's own report.
pub(crate) fn is_led_to(store: &Path, commit: Oid) -> bool {
    let inside = store.join("worktrees").join(commit.to_string());
    let head = fs::read(inside.join("HEAD")).is_ok_and(|head| head == format!("{commit}\n").as_bytes());
    head && ["index", "commondir", "gitdir", "locked"].iter().all(|name| inside.join(name).is_file())
}

/// Creates the folder that the file names, before readers see the tree. `entry` is the tree's path below `.worktrees`.
pub(crate) fn prepare(store: &Path, commit: Oid, entry: &str, options: &CheckoutOptions) -> Result<(), Error> {
    let inside = store.join("worktrees").join(commit.to_string());
    let failed = |path: &Path| {
        let path = printable(path.as_os_str().as_bytes());
        move |source| Error::Io { doing: "write", path, source }
    };
    fs::create_dir_all(&inside).map_err(failed(&inside))?;
    let tree = format!("../../../../.worktrees/{entry}/.git\n");
    for (name, content) in [
        ("HEAD", format!("{commit}\n")),
        ("commondir", "../..\n".to_owned()),
        ("gitdir", tree),
        // The file `locked` keeps `git gc` and `git worktree prune` from removing the folder, wherever the volume is
        // mounted.
        ("locked", "pushsync removes this with the tree\n".to_owned()),
    ] {
        let path = inside.join(name);
        replace::file(&path, replace::UNFINISHED, Durability::Content, |file| file.write_all(content.as_bytes()))
            .map_err(failed(&path))?;
    }
    write_index(store, &inside.join("index"), commit, options)
        .map_err(|source| Error::Inside { doing: "write the index", source })
}

/// Writes the index. Times and sizes in it are 0 (unknown), so git compares contents where it has to.
fn write_index(store: &Path, path: &Path, commit: Oid, options: &CheckoutOptions) -> Result<(), git2::Error> {
    const FOLDER_LIKE: u32 = 0o160_000;
    let repository = Repository::open_bare(store)?;
    let tree = crate::commit::tree(&repository, commit)?;
    // A crash may have left a lock; only this process writes here.
    let _ = fs::remove_file(path.with_extension("lock"));
    let mut index = Index::open(path)?;
    index.read_tree(&tree)?;
    if let Some(sparse) = &options.sparse {
        let left_out: Vec<_> = index
            .iter()
            .filter(|entry| {
                let submodule = entry.mode & FOLDER_LIKE == FOLDER_LIKE;
                !(if submodule { sparse.submodule(&entry.path) } else { sparse.file(&entry.path) })
            })
            .collect();
        for mut entry in left_out {
            entry.flags_extended |= IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
            index.add(&entry)?;
        }
    }
    index.write()
}

/// Removes the lock and partial files of a killed process, because git would refuse to work beside them. To be called only
/// while no job of this process writes there. Errors are ignored.
pub(crate) fn clear_leftovers(store: &Path) {
    for folder in fs::read_dir(store.join("worktrees")).into_iter().flatten().flatten() {
        for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name == "index.lock" || name.as_bytes().ends_with(b".new") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Removes the folders of trees that are gone. A folder that cannot be removed is tried again the next time.
pub(crate) fn sweep(store: &Path, is_kept: impl Fn(Oid) -> bool) {
    let Ok(entries) = fs::read_dir(store.join("worktrees")) else { return };
    for entry in entries.flatten() {
        if let Some(commit) = commit_named(Some(&entry.file_name()))
            && !is_kept(commit)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
