//! The link that readers follow: a symbolic link, replaced by renaming another one over it.
//!
//! Its target is relative, so that the volume may be mounted anywhere, and `basename $(readlink LINK)` is the commit. It
//! must not know how trees are made.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::flush;
use crate::publish::error::Error;
use crate::publish::folder;
use crate::publish::path::{shown, tidy};
use crate::publish::volume::durability::Durability;
use crate::publish::volume::target::LinkTarget;

/// The link's place: its folder as configured, which may not exist yet, and its name.
#[derive(Debug)]
pub(crate) struct LinkPath {
    folder: PathBuf,
    name: OsString,
    /// The folder of the trees, resolved.
    trees: PathBuf,
    /// The prefix of our temporary links. It differs between links, since several may share a folder.
    prefix: String,
}

/// The state of the link's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Nothing,
    /// A link whose text is exactly the one that pushsync writes for this tree.
    Ours(LinkTarget),
    Foreign,
}

impl LinkPath {
    /// `root` is resolved; `link` is absolute or relative to it. `..` in it is resolved lexically, as in git-sync, since
    /// its folders need not exist yet.
    pub(crate) fn new(root: &Path, link: &Path, trees: PathBuf) -> Result<Self, Error> {
        let path = tidy(&root.join(link));
        let bad = |why| Error::BadLink { path: shown(&path), why };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(bad("it has no name"));
        };
        if root.starts_with(&path) {
            return Err(bad("it is the root itself or a folder above it"));
        }
        if let Ok(inside) = path.strip_prefix(root) {
            let first = inside.components().next().map(Component::as_os_str);
            if first == Some(OsStr::new(".pushsync")) || first == Some(OsStr::new(".worktrees")) {
                return Err(bad("this folder belongs to pushsync"));
            }
        }
        let identity = Sha256::digest(path.as_os_str().as_bytes());
        let prefix = identity[..8].iter().fold(".pushsync-link-".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), trees, prefix: prefix + "-" })
    }

    /// Reads the link. It does not check whether the tree exists.
    pub(crate) fn read(&self) -> Result<LinkState, Error> {
        let failed = |source| Error::Io { doing: "read the link", path: self.shown(), source };
        // Resolved, because `..` in the text of a link counts from the real folder.
        let folder = match self.folder.canonicalize() {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LinkState::Nothing),
            Err(error) => return Err(failed(error)),
        };
        match std::fs::read_link(folder.join(&self.name)) {
            Ok(text) => {
                let named = text.strip_prefix(relative(&folder, &self.trees)).ok().and_then(LinkTarget::read);
                // Only our own spelling counts: `.worktrees//<commit>` does not.
                let ours = named.filter(|target| text.as_os_str() == self.target(&folder, target).as_os_str());
                Ok(ours.map_or(LinkState::Foreign, LinkState::Ours))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LinkState::Nothing),
            // EINVAL: something else than a link (readlink(2)).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(LinkState::Foreign),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the entry of `.worktrees` that a reader of the link reaches, however the link is spelled.
    pub(crate) fn leads_to(&self) -> Option<OsString> {
        let end = self.folder.join(&self.name).canonicalize().ok()?;
        let inside = end.strip_prefix(&self.trees).ok()?;
        inside.components().next().map(|first| first.as_os_str().to_owned())
    }

    /// Sets the link to a tree, and flushes it if that is configured. An existing link is replaced whatever it names, and
    /// so is an empty folder, such as a mount leaves behind. Anything else is foreign data and stays.
    pub(crate) fn set(&self, tree: &LinkTarget, durability: Durability) -> Result<(), Error> {
        let failed = |doing, source| Error::Io { doing, path: self.shown(), source };
        std::fs::create_dir_all(&self.folder).map_err(|source| failed("make the folder of the link", source))?;
        let real = self.folder.canonicalize().map_err(|source| failed("find the folder of the link", source))?;
        let parent = folder::open_path(&real).map_err(|errno| failed("open the folder of the link", errno.into()))?;
        let name = self.name.as_bytes();
        let standing = folder::stat(&parent, name).map_err(|errno| failed("look at the link", errno.into()))?;
        let blocked = match standing.as_ref().map(folder::kind) {
            None | Some(FileType::Symlink) => false,
            Some(FileType::Directory) => true,
            Some(_) => return Err(Error::Foreign { path: self.shown(), what: "a file" }),
        };
        let temporary = self
            .temporary(&parent, &self.target(&real, tree))
            .map_err(|errno| self.no_link(errno).with_cause_from(&parent))?;
        let swap = || {
            if blocked {
                // rename(2) replaces no folder by a link. Removing it fails unless it is empty.
                rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
                    .map_err(|_| Error::Foreign { path: self.shown(), what: "a folder that is not empty" })?;
            }
            // rename(2) replaces the old link in one step, so a reader finds either the old or the new one.
            rustix::fs::renameat(&parent, temporary.as_bytes(), &parent, name)
                .map_err(|errno| failed("rename a link to", errno.into()))
        };
        if let Err(error) = swap() {
            let _ = rustix::fs::unlinkat(&parent, temporary.as_bytes(), AtFlags::empty());
            return Err(error);
        }
        if durability == Durability::Full {
            folder::flush_names(&parent).map_err(|errno| failed("flush the folder of", errno.into()))?;
        }
        Ok(())
    }

    /// Returns the reason why no link could be made. File systems without symbolic links fail with several errors, none of
    /// which is about the user's permissions.
    fn no_link(&self, errno: Errno) -> Error {
        if errno == Errno::PERM || flush::is_unsupported(errno) {
            return Error::NoSymlinks { path: self.shown(), source: errno.into() };
        }
        Error::Io { doing: "create a link beside", path: self.shown(), source: errno.into() }
    }

    /// Flushes the name of the link to the disk.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { doing: "flush the folder of", path: self.shown(), source };
        let real = self.folder.canonicalize().map_err(failed)?;
        let parent = folder::open_path(&real).map_err(|errno| failed(errno.into()))?;
        folder::flush_names(&parent).map_err(|errno| failed(errno.into()))
    }

    fn temporary(&self, parent: &OwnedFd, target: &Path) -> Result<String, Errno> {
        loop {
            let name = format!("{}{:016x}", self.prefix, fastrand::u64(..));
            match rustix::fs::symlinkat(target, parent, &name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Removes the temporary links that a crash left. Only names with this link's prefix are removed, because the folder
    /// may belong to others. A missing or unreadable folder has none.
    pub(crate) fn clear(&self) {
        let Ok(parent) =
            self.folder.canonicalize().map_err(|_| ()).and_then(|real| folder::open_path(&real).map_err(|_| ()))
        else {
            return;
        };
        for name in folder::names(&parent).unwrap_or_default() {
            let ours = name.starts_with(self.prefix.as_bytes());
            if ours
                && matches!(folder::stat(&parent, &name), Ok(Some(stat)) if folder::kind(&stat) == FileType::Symlink)
            {
                let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::empty());
            }
        }
    }

    fn target(&self, folder: &Path, tree: &LinkTarget) -> PathBuf {
        relative(folder, &self.trees).join(tree.path())
    }

    fn shown(&self) -> String {
        shown(&self.folder.join(&self.name))
    }
}

/// Returns the relative path from one folder to another. Both have to be resolved, because `..` after a link leads
/// elsewhere.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_way_is_relative_and_shortest() {
        for (from, to, way) in [
            ("/git", "/git/.worktrees", ".worktrees"),
            ("/git/a/b", "/git/.worktrees", "../../.worktrees"),
            ("/srv/www", "/git/.worktrees", "../../git/.worktrees"),
            ("/", "/git/.worktrees", "git/.worktrees"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way));
        }
    }

    #[test]
    fn a_link_without_a_name_or_inside_our_folders_is_refused() {
        let place = |link: &str| LinkPath::new(Path::new("/git"), Path::new(link), "/git/.worktrees".into());
        for link in ["/", "..", "a/..", "../git", ".pushsync/x", "a/../.pushsync", "/git/.worktrees", ".worktrees/live"]
        {
            assert_eq!(place(link).unwrap_err().kind(), ErrorKind::BadLink, "{link}");
        }
        for link in ["current", "a/b/current", "/srv/www/site", "./current", "a/../b", "../git/b", "../outside"] {
            assert!(place(link).is_ok(), "{link}");
        }
    }
}
