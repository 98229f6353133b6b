//! Makes a tree that readers or apps may have written into hold exactly its commit again.
//!
//! One walk of `stat`s: a folder that has not changed since the baseline costs no read of an object, of a file, or of the
//! commit. Only changed folders are compared with the commit: extra names are removed, and files that differ are written as
//! new files. Without a baseline everything is compared. It must not know the tree's place or use.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use git2::Oid;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::publish::checkout::writers::{make_folder, write_entry};
use crate::publish::folder::baseline::{Baseline, Mark, Marks, inside, mark_folder};
use crate::publish::folder::{Names, Stamp};
use crate::publish::standby::listings::{CheckedListings, Listings};
use crate::publish::standby::watch::Watch;
use crate::publish::tree::view::{EntryKind, MAX_DEPTH, TreeEntry, View, hostile};
use crate::publish::volume::hook_changes::{HookChanges, PathState};
use crate::publish::{Error, folder, verify};
use crate::worker::Cancel;

/// The result of a walk.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The number of removed names that the commit does not have, each with its content.
    pub removed: u64,
    /// The number of files and links that were missing or differed.
    pub rewritten: u64,
    /// The number of entries in the tree now.
    pub entries: u64,
    /// The marks of changes after the start of the walk.
    pub marks: Marks,
}

/// A folder of the walk.
struct Frame {
    folder: OwnedFd,
    name: Vec<u8>,
    /// The length of the path of the folder above.
    above: usize,
    /// Its folders that are still to be visited.
    folders: Vec<Inner>,
    /// Its entries in the commit, once they were needed.
    entries: Option<Vec<TreeEntry>>,
}

/// The name of a folder, and its tree object if it is known to have one.
type Inner = (Vec<u8>, Option<Oid>);

struct Walk<'a> {
    view: &'a View<'a>,
    root: Oid,
    baseline: Option<&'a Baseline>,
    cancel: &'a Cancel,
    /// A file of another file system, mounted over ours, has ctimes of another clock.
    device: u64,
    path: Vec<u8>,
    content: Vec<u8>,
    /// The names of the current folder.
    names: Names,
    restored: Restored,
    mode: OnDifference,
    /// Each folder is watched before its names are read.
    watch: Option<&'a mut Watch>,
    listed: Option<CheckedListings<'a>>,
}

/// The action at a difference.
enum OnDifference {
    /// It is repaired.
    Restore,
    /// It is listed, unless it is a name that the commit does not have.
    List(HookChanges),
    /// The walk ends at the first difference. True if there was one.
    Compare(bool),
}

/// Restores the open folder `top` to the tree object `root`.
///
/// # Errors
/// If an object cannot be read, or an entry cannot be removed or written: the tree cannot be used then. `cancelled`: it can
/// be restored by the same baseline later.
pub(crate) fn restore(
    view: &View<'_>,
    root: Oid,
    top: &OwnedFd,
    baseline: Option<&Baseline>,
    help: (Option<&mut Watch>, &Listings),
    cancel: &Cancel,
) -> Result<Restored, Error> {
    let (watch, listings) = help;
    let listed = baseline.and_then(|_| listings.begin(view));
    walk(view, root, top, baseline, (OnDifference::Restore, watch, listed), cancel).map(|(restored, _)| restored)
}

/// Returns true if an open folder is exactly the tree object `root`. Nothing is changed. It is cheaper than
/// [`verify::compare`], since folders that have not changed since the baseline cost no read of an object. False only means
/// that `verify::compare` has to decide: there is a difference, a hook or an app added a name, or an entry cannot be read.
///
/// # Errors
/// `cancelled`.
pub(crate) fn is_exact(
    view: &View<'_>,
    root: Oid,
    top: &OwnedFd,
    baseline: Option<&Baseline>,
    cancel: &Cancel,
) -> Result<bool, Error> {
    match walk(view, root, top, baseline, (OnDifference::Compare(false), None, None), cancel) {
        Ok((_, mode)) => Ok(matches!(mode, OnDifference::Compare(false))),
        Err(Error::Cancelled) => Err(Error::Cancelled),
        // `verify::compare` meets the same error and reports it.
        Err(_) => Ok(false),
    }
}

/// Lists how the tracked files of an open folder differ from the tree object `root`, and changes nothing. Names that the
/// commit does not have are ignored.
///
/// # Errors
/// If an object or the tree cannot be read.
pub(crate) fn differences(
    view: &View<'_>,
    root: Oid,
    top: &OwnedFd,
    baseline: Option<&Baseline>,
    cancel: &Cancel,
) -> Result<HookChanges, Error> {
    let (_, mode) = walk(view, root, top, baseline, (OnDifference::List(HookChanges::default()), None, None), cancel)?;
    Ok(if let OnDifference::List(listed) = mode { listed } else { HookChanges::default() })
}

fn walk(
    view: &View<'_>,
    root: Oid,
    top: &OwnedFd,
    baseline: Option<&Baseline>,
    (mode, watch, listed): (OnDifference, Option<&mut Watch>, Option<CheckedListings<'_>>),
    cancel: &Cancel,
) -> Result<(Restored, OnDifference), Error> {
    let stat = rustix::fs::fstat(top).map_err(|errno| Error::io("look at", b"the top folder", errno))?;
    let mut walk = Walk {
        view,
        root,
        baseline,
        cancel,
        device: device(&stat),
        path: Vec::new(),
        content: Vec::new(),
        names: Names::default(),
        restored: Restored::default(),
        mode,
        watch,
        listed,
    };
    let top = folder::open(top, b".").map_err(|errno| Error::io("open", b"the top folder", errno))?;
    let mut stack = Vec::new();
    walk.enter(&mut stack, top, (Vec::new(), Some(root)))?;
    while let Some(frame) = stack.last_mut() {
        if matches!(walk.mode, OnDifference::Compare(true)) {
            break;
        }
        let Some((name, tree)) = frame.folders.pop() else {
            walk.path.truncate(frame.above);
            stack.pop();
            continue;
        };
        if stack.len() == MAX_DEPTH {
            return Err(hostile(&inside(&walk.path, &name), b"", "folders are nested more than 256 deep"));
        }
        let Some(frame) = stack.last() else { break };
        let inner = walk.open_folder(&frame.folder, &name)?;
        walk.enter(&mut stack, inner, (name, tree))?;
    }
    if let Some(listed) = walk.listed {
        listed.keep();
    }
    Ok((walk.restored, walk.mode))
}

impl Walk<'_> {
    /// Checks every entry of a folder and repairs differences, except inside of its folders.
    fn enter(&mut self, stack: &mut Vec<Frame>, folder: OwnedFd, (name, tree): Inner) -> Result<(), Error> {
        self.go_on()?;
        let above = self.path.len();
        self.path = inside(&self.path, &name);
        if let Some(watch) = &mut self.watch {
            watch.add(&folder, &self.path);
        }
        let stat = rustix::fs::fstat(&folder).map_err(|errno| self.failed("look at", b"", errno))?;
        let is_held = self.baseline.is_some_and(|baseline| baseline.holds(&self.path, b"", &stat));
        let mut names = std::mem::take(&mut self.names);
        let seen = if is_held { self.is_unchanged(&folder, &stat, tree, &mut names)? } else { None };
        let is_whole = seen.is_some();
        if !is_whole {
            names.list(&folder).map_err(|errno| self.failed("list", b"", errno))?;
        }
        let (folders, count) = seen.unwrap_or_else(|| (Vec::new(), names.len()));
        self.restored.entries += count as u64;
        // The mode of the top folder is the caller's: an unpublished tree is closed to other users.
        let above_top = !stack.is_empty();
        stack.push(Frame { folder, name, above, folders, entries: None });
        let names_if_changed = if is_whole { Vec::new() } else { names.to_vec() };
        self.names = names;
        if !is_whole {
            let names = names_if_changed;
            self.resolve(stack)?;
            if let Some(frame) = stack.last_mut() {
                let entries = frame.entries.as_deref().unwrap_or_default();
                frame.folders = match &self.mode {
                    OnDifference::List(_) => self.list(&frame.folder, entries)?,
                    OnDifference::Compare(_) => self.compare(&frame.folder, entries, &names)?,
                    OnDifference::Restore => {
                        let mode_changed = above_top && self.mode_was_put_right(&frame.folder, &stat)?;
                        self.put_right(&frame.folder, entries, &names, mode_changed)?
                    }
                };
            }
        }
        Ok(())
    }

    /// Answers the folders in a folder, which is held itself, and how many names it has, if all of them are held, too.
    fn is_unchanged(
        &mut self,
        folder: &OwnedFd,
        stat: &Stat,
        tree: Option<Oid>,
        names: &mut Names,
    ) -> Result<Option<(Vec<Inner>, usize)>, Error> {
        let (mut folders, mut count) = (Vec::new(), 0);
        // Other processes may have changed the names in a folder in the same tick as this program.
        let is_old = self.baseline.is_some_and(|baseline| Stamp::of(stat) < baseline.since());
        let view = self.view;
        let listing = match (&mut self.listed, tree) {
            (Some(listed), Some(tree)) if is_old => listed.get(view, tree, &self.path),
            _ => None,
        };
        if let Some(listing) = &listing {
            for (name, tree) in listing.iter() {
                count += 1;
                if !self.is_name_unchanged(folder, name, tree, &mut folders)? {
                    return Ok(None);
                }
            }
        } else {
            names.list(folder).map_err(|errno| self.failed("list", b"", errno))?;
            for name in names.iter() {
                count += 1;
                if !self.is_name_unchanged(folder, name, None, &mut folders)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some((folders, count)))
    }

    /// Returns true if a file or link is unchanged. A folder whose names changed is compared when it is entered.
    fn is_name_unchanged(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        tree: Option<Oid>,
        folders: &mut Vec<Inner>,
    ) -> Result<bool, Error> {
        match folder::stat(folder, name).map_err(|errno| self.failed("look at", name, errno))? {
            Some(stat) if folder::kind(&stat) == FileType::Directory => {
                folders.push((name.to_vec(), tree));
                Ok(device(&stat) == self.device)
            }
            Some(stat) => Ok(self.is_held(name, &stat)),
            None => Ok(false),
        }
    }

    /// Reads the entries of the last folder, and of those above it, from the top down.
    fn resolve(&self, stack: &mut [Frame]) -> Result<(), Error> {
        let mut path = Vec::new();
        // From the top down, because the attributes of a folder apply to the folders inside.
        for at in 0..stack.len() {
            path = inside(&path, &stack[at].name);
            if stack[at].entries.is_some() {
                continue;
            }
            let id = if at == 0 {
                Some(self.root)
            } else {
                let name = &stack[at].name;
                let above = stack[at - 1].entries.as_deref().unwrap_or_default();
                let entry = above.iter().find(|entry| entry.name == *name);
                match entry.map(|entry| (entry.kind, entry.id)) {
                    Some((EntryKind::Folder, id)) => Some(id),
                    Some((EntryKind::Submodule, _)) => None,
                    _ => return Err(self.failed("find in its commit the folder", b"", Errno::NOENT)),
                }
            };
            // The folder of a submodule that is left out is empty.
            stack[at].entries = Some(id.map_or_else(|| Ok(Vec::new()), |id| self.view.tree(id, &path))?);
        }
        Ok(())
    }

    /// Makes a folder equal to its entries, and returns the folders among them.
    fn put_right(
        &mut self,
        folder: &OwnedFd,
        entries: &[TreeEntry],
        names: &[Vec<u8>],
        mode_changed: bool,
    ) -> Result<Vec<Inner>, Error> {
        let before = self.restored.removed + self.restored.rewritten;
        let mut changed = mode_changed;
        let wanted: HashMap<&[u8], &TreeEntry> = entries.iter().map(|entry| (entry.name.as_slice(), entry)).collect();
        // Extra names go first: on a file system that ignores case one may be in the place of an entry.
        for name in names.iter().filter(|name| !wanted.contains_key(name.as_slice())) {
            self.go_on()?;
            folder::remove_all(folder, name).map_err(|errno| self.failed("remove", name, errno))?;
            self.restored.removed += 1;
        }
        let mut folders = Vec::new();
        for entry in entries {
            self.go_on()?;
            let name = &entry.name;
            let standing = folder::stat(folder, name).map_err(|errno| self.failed("look at", name, errno))?;
            if matches!(entry.kind, EntryKind::Folder | EntryKind::Submodule) {
                let there = standing.as_ref().is_some_and(|stat| folder::kind(stat) == FileType::Directory);
                if !there {
                    folder::remove_all(folder, name).map_err(|errno| self.failed("remove", name, errno))?;
                    drop(make_folder(self.view, folder, &self.path, name)?);
                    changed = true;
                }
                folders.push(inner(entry));
                continue;
            }
            match standing {
                Some(stat) if self.is_held(name, &stat) && verify::has_kind(self.view, &stat, entry.kind) => {}
                Some(stat) if self.is_as_committed(folder, entry, &stat)? => {}
                _ => self.rewrite(folder, entry)?,
            }
        }
        if changed || self.restored.removed + self.restored.rewritten > before {
            let expected = entries.iter().map(|entry| entry.name.as_slice());
            let mark = mark_folder(folder, expected).map_err(|errno| self.failed("look at", b"", errno))?;
            self.restored.marks.extend(mark.map(|mark| (self.path.clone(), mark)));
        }
        Ok(folders)
    }

    /// Lists the differences in a folder, and returns its existing folders.
    fn list(&mut self, folder: &OwnedFd, entries: &[TreeEntry]) -> Result<Vec<Inner>, Error> {
        let mut folders = Vec::new();
        for entry in entries {
            self.go_on()?;
            let name = &entry.name;
            let standing = folder::stat(folder, name).map_err(|errno| self.failed("look at", name, errno))?;
            let kind = standing.as_ref().map(folder::kind);
            match entry.kind {
                EntryKind::Folder if kind == Some(FileType::Directory) => {
                    folders.push(inner(entry));
                    continue;
                }
                // The content of a submodule that is left out is not tracked.
                EntryKind::Submodule if kind == Some(FileType::Directory) => continue,
                _ => {}
            }
            if let Some(stat) = &standing
                && verify::has_kind(self.view, stat, entry.kind)
                && (self.is_held(name, stat) || self.has_content(folder, entry, stat)?)
            {
                continue;
            }
            let left =
                PathState::of(folder, name, standing.as_ref()).map_err(|errno| self.failed("read", name, errno))?;
            let path = inside(&self.path, name);
            if let OnDifference::List(listed) = &mut self.mode {
                listed.insert(path, left);
            }
        }
        Ok(folders)
    }

    /// Notes whether a folder differs from its entries, and returns the folders among them.
    fn compare(&mut self, folder: &OwnedFd, entries: &[TreeEntry], names: &[Vec<u8>]) -> Result<Vec<Inner>, Error> {
        let mut folders = Vec::new();
        // An extra name shows in the count alone, since each entry is looked up below.
        let mut differs = names.len() != entries.len();
        for entry in entries {
            if differs {
                break;
            }
            self.go_on()?;
            let name = &entry.name;
            let standing = folder::stat(folder, name).map_err(|errno| self.failed("look at", name, errno))?;
            let Some(stat) = standing.filter(|stat| verify::has_kind(self.view, stat, entry.kind)) else {
                differs = true;
                break;
            };
            if matches!(entry.kind, EntryKind::Folder | EntryKind::Submodule) {
                folders.push(inner(entry));
            } else {
                // A second hard link elsewhere is found again by the check before the tree is used for another commit.
                let is_alone = stat.st_nlink == 1 && device(&stat) == self.device;
                differs = !(self.is_held(name, &stat) || is_alone && self.has_content(folder, entry, &stat)?);
            }
        }
        if differs {
            self.mode = OnDifference::Compare(true);
        }
        Ok(folders)
    }

    fn has_content(&mut self, folder: &OwnedFd, entry: &TreeEntry, stat: &Stat) -> Result<bool, Error> {
        verify::has_content(self.view, folder, entry, stat, &mut self.content, &self.path, self.cancel)
    }

    /// Returns true if a file or link has the right content; if only its mode differs, that is repaired.
    fn is_as_committed(&mut self, folder: &OwnedFd, entry: &TreeEntry, stat: &Stat) -> Result<bool, Error> {
        let wanted = if entry.kind == EntryKind::Link { FileType::Symlink } else { FileType::RegularFile };
        // The owner of a second hard link could write into the next commit's tree.
        if folder::kind(stat) != wanted || device(stat) != self.device || stat.st_nlink > 1 {
            return Ok(false);
        }
        if !self.has_content(folder, entry, stat)? {
            return Ok(false);
        }
        let view = self.view;
        if !verify::has_kind(view, stat, entry.kind) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let set = rustix::fs::openat(folder, &*entry.name, flags, Mode::empty())
                .and_then(|file| folder::set_mode(&file, view.options().mode(entry.kind)));
            // If the file is not ours, it is replaced by a new one.
            return Ok(set.is_ok());
        }
        Ok(true)
    }

    /// Sets the right mode of a folder inside the tree. Returns true if it had another one.
    fn mode_was_put_right(&self, folder: &OwnedFd, stat: &Stat) -> Result<bool, Error> {
        if verify::has_kind(self.view, stat, EntryKind::Folder) {
            return Ok(false);
        }
        folder::set_mode(folder, self.view.options().mode(EntryKind::Folder))
            .map_err(|errno| self.failed("set the mode of", b"", errno))?;
        Ok(true)
    }

    fn rewrite(&mut self, folder: &OwnedFd, entry: &TreeEntry) -> Result<(), Error> {
        folder::remove_all(folder, &entry.name).map_err(|errno| self.failed("remove", &entry.name, errno))?;
        let check = || if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) };
        write_entry(self.view, folder, &self.path, entry, None, &check)?;
        self.restored.rewritten += 1;
        if let Ok(Some(stat)) = folder::stat(folder, &entry.name) {
            self.restored.marks.push((inside(&self.path, &entry.name), Mark::of(&stat)));
        }
        Ok(())
    }

    /// Opens a folder, whose permissions a reader with write access may have removed.
    fn open_folder(&self, parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Error> {
        folder::open(parent, name).map_err(|errno| self.failed("open the folder", name, errno))
    }

    fn is_held(&self, name: &[u8], stat: &Stat) -> bool {
        device(stat) == self.device && self.baseline.is_some_and(|baseline| baseline.holds(&self.path, name, stat))
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn failed(&self, doing: &'static str, name: &[u8], errno: Errno) -> Error {
        Error::io(doing, inside(&self.path, name), errno)
    }
}

/// Of a submodule only the folder is known.
fn inner(entry: &TreeEntry) -> Inner {
    (entry.name.clone(), (entry.kind == EntryKind::Folder).then_some(entry.id))
}

fn device(stat: &Stat) -> u64 {
    stat.st_dev
}
