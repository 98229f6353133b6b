//! The errors of the volume, and of trees that cannot be published, with their hints.
//!
//! Every message names the operation and the path. It must not know why a tree was wanted.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::allowance::Exceeded;
use crate::error::{ErrorKind, NO_DESCRIPTORS_HINT, NO_THREAD_HINT, OUT_OF_MEMORY_HINT, Retry, is_want_of_descriptors};
use crate::publish::path::printable;

/// A file operation that failed, or a tree that cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation; [`Error::kind`] distinguishes the common reasons.
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: String, source: io::Error },
    /// `ENOSPC` while there are free blocks: the file system has no more inodes.
    #[error("cannot {doing} {path}: the file system has no free inodes")]
    NoInodes { doing: &'static str, path: String },
    /// Another process owns `ROOT`.
    #[error("{path} is held by another process ({owner})")]
    Locked { path: String, owner: String },
    /// The tree has a name, mode or link that git itself would refuse to check out, or exceeds a limit.
    #[error("the commit cannot be published: {path}: {why}")]
    Hostile { path: String, why: &'static str },
    /// A name that no common file system can hold.
    #[error("the commit cannot be published: the name of {path} is longer than 255 bytes")]
    NameTooLong { path: String },
    /// Two names that this file system does not distinguish.
    #[error("the commit cannot be published here: this file system takes {path} and another name beside it for one")]
    Twins { path: String },
    /// A file or folder is at the place of the link.
    #[error("{path} is {what}, not a link: it is left alone")]
    Foreign { path: String, what: &'static str },
    /// The configured link cannot be one.
    #[error("{path} cannot be the link: {why}")]
    BadLink { path: String, why: &'static str },
    /// `publish` was called for a tree that is not there.
    #[error("there is no tree {path} to publish")]
    NotBuilt { path: String },
    /// The write would exceed `--volume-limit`.
    #[error("cannot write {path}: {source}")]
    OverLimit { path: String, source: Exceeded },
    /// The file system of the link does not support symbolic links.
    #[error("cannot make the link {path}: this file system has no symbolic links: {source}")]
    NoSymlinks { path: String, source: io::Error },
    /// The system starts no more threads for this process.
    #[error("cannot start a thread to {doing}: {source}")]
    NoThread { doing: &'static str, source: io::Error },
    /// The sparse-checkout file cannot be read.
    #[error("cannot read the sparse-checkout file {path}: {source}")]
    Patterns { path: String, source: io::Error },
    /// The folder that lets git work inside a tree cannot be written.
    #[error("cannot {doing} for git inside the tree: {source}")]
    Inside { doing: &'static str, source: git2::Error },
    /// An object is missing or unreadable in the store.
    #[error("cannot read {what} from the object store: {source}")]
    Store { what: String, source: git2::Error },
    /// An object of Git LFS is not on the volume, or is not what its name says.
    #[error("the LFS object {id} for {path} {what}")]
    Object { path: String, id: crate::lfs::ObjectId, what: &'static str },
    /// The commit is in the store, its submodules are not.
    #[error("the submodules of commit {commit} are not in the store")]
    NoSubmodules { commit: git2::Oid },
    /// The caller has given up.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl AsRef<[u8]>, errno: Errno) -> Self {
        Self::Io { doing, path: printable(path.as_ref()), source: errno.into() }
    }

    /// Determines the kind of "no space": only the file system knows it, and only at the moment of the error.
    pub(crate) fn with_cause_from(self, volume: impl AsFd) -> Self {
        match self {
            Self::Io { doing, path, source } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                match rustix::fs::fstatvfs(volume) {
                    // File systems without a fixed number of inodes (btrfs) report 0 of 0.
                    Ok(state) if state.f_files > 0 && state.f_favail == 0 => Self::NoInodes { doing, path },
                    _ => Self::Io { doing, path, source },
                }
            }
            other => other,
        }
    }

    /// Returns true if more free space would have prevented the error.
    pub(crate) fn is_want_of_space(&self) -> bool {
        self.kind().is_want_of_space()
    }

    /// Returns the kind, for machines.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOSPC) => ErrorKind::DiskFull,
                Some(Errno::DQUOT) => ErrorKind::Quota,
                Some(Errno::ROFS) => ErrorKind::ReadOnly,
                Some(Errno::ACCESS | Errno::PERM) => ErrorKind::Permission,
                Some(Errno::NAMETOOLONG) => ErrorKind::NameTooLong,
                Some(Errno::MFILE | Errno::NFILE) => ErrorKind::NoDescriptors,
                Some(Errno::NOMEM) => ErrorKind::OutOfMemory,
                _ => ErrorKind::Io,
            },
            Self::NoInodes { .. } => ErrorKind::NoInodes,
            // The operator mends it like a full disk: by more space, or by a shorter grace period.
            Self::OverLimit { .. } => ErrorKind::DiskFull,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Hostile { .. } => ErrorKind::HostilePath,
            Self::NameTooLong { .. } => ErrorKind::NameTooLong,
            Self::Twins { .. } => ErrorKind::CaseTwins,
            Self::Foreign { .. } => ErrorKind::ForeignLink,
            Self::BadLink { .. } => ErrorKind::BadLink,
            Self::NotBuilt { .. } => ErrorKind::NotBuilt,
            Self::NoSymlinks { .. } => ErrorKind::NoSymlinks,
            Self::NoThread { .. } => ErrorKind::NoThread,
            Self::Patterns { .. } => ErrorKind::SparseFile,
            Self::Inside { .. } => ErrorKind::WorktreeGit,
            Self::Store { .. } if self.store_is_damaged() => ErrorKind::StoreDamaged,
            Self::Store { source, .. } if source.class() == git2::ErrorClass::NoMemory => ErrorKind::OutOfMemory,
            Self::Store { source, .. } if is_want_of_descriptors(source.message()) => ErrorKind::NoDescriptors,
            Self::Store { .. } => ErrorKind::StoreUnreadable,
            Self::Object { .. } => ErrorKind::LfsObject,
            Self::NoSubmodules { .. } => ErrorKind::NoSubmodules,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Returns when to retry.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.remedy().0
    }

    /// Returns a hint for the operator.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.remedy().1
    }

    /// Returns when to retry, and the hint. The next sweep may free space, and other input and output errors may pass;
    /// all others need an operator or another commit.
    fn remedy(&self) -> (Retry, Option<&'static str>) {
        let soon = |hint| (Retry::Soon, Some(hint));
        let next_poll = |hint| (Retry::NextPoll, Some(hint));
        match self.kind() {
            ErrorKind::DiskFull => soon(
                "make the volume larger (an emptyDir's sizeLimit and --volume-limit, a claim's size) or shorten --stale-worktree-timeout",
            ),
            ErrorKind::NoInodes => {
                soon("the volume has space but no inodes left: use a file system with more, or a smaller repository")
            }
            ErrorKind::NoDescriptors => soon(NO_DESCRIPTORS_HINT),
            ErrorKind::NoThread => soon(NO_THREAD_HINT),
            ErrorKind::LfsObject => soon("nothing to do: the object is fetched again"),
            ErrorKind::StoreDamaged => soon("nothing to do: the repository is fetched again"),
            // `NotBuilt`: the tree vanished after its build, and the next attempt builds it again.
            ErrorKind::NotBuilt
            | ErrorKind::Io
            | ErrorKind::StoreUnreadable
            | ErrorKind::NoSubmodules
            | ErrorKind::Cancelled => (Retry::Soon, None),
            ErrorKind::Quota => next_poll("raise the quota of the volume's owner"),
            ErrorKind::OutOfMemory => next_poll(OUT_OF_MEMORY_HINT),
            ErrorKind::ReadOnly => next_poll("mount the volume that --root names read-write in this container"),
            ErrorKind::Permission => next_poll(
                "let this user write to --root: set fsGroup in the pod's securityContext, or the volume's owner",
            ),
            ErrorKind::NameTooLong => next_poll("rename the file in the repository: no reader could open it"),
            ErrorKind::HostilePath => next_poll(
                "the commit holds what git refuses to check out: find out who pushed it, and push one without it",
            ),
            ErrorKind::CaseTwins => {
                next_poll("rename one of the two files in the repository, or use a case-sensitive file system")
            }
            ErrorKind::ForeignLink => next_poll("move it away, or choose another --link"),
            ErrorKind::BadLink => next_poll("choose another --link: a name inside --root, or a path outside of it"),
            ErrorKind::Locked => next_poll("give each pushsync its own --root: two cannot share one"),
            ErrorKind::NoSymlinks => next_poll(
                "mount a volume with symbolic links (SMB: the mount option mfsymlinks), or put --link on one that has them",
            ),
            ErrorKind::SparseFile => {
                next_poll("mount the file that --sparse-checkout-file names, readable for this user")
            }
            ErrorKind::WorktreeGit => {
                next_poll("see that ROOT/.pushsync/repo.git/worktrees can be written, or leave out --worktree-git")
            }
            // Only remotes, the store's maintenance, the sync loop and hooks fail with these.
            ErrorKind::Auth
            | ErrorKind::NotFound
            | ErrorKind::Redirect
            | ErrorKind::Network
            | ErrorKind::Dns
            | ErrorKind::Proxy
            | ErrorKind::Tls
            | ErrorKind::HostKey
            | ErrorKind::Timeout
            | ErrorKind::ServerError
            | ErrorKind::Protocol
            | ErrorKind::RefMissing
            | ErrorKind::EmptyRepository
            | ErrorKind::NoSuchCommit
            | ErrorKind::NoContents
            | ErrorKind::ObjectFormat
            | ErrorKind::RepositoryFormat
            | ErrorKind::MalformedCommit
            | ErrorKind::Submodule
            | ErrorKind::LfsServer
            | ErrorKind::LfsMismatch
            | ErrorKind::StoreAccess
            | ErrorKind::NoSharedMaps
            | ErrorKind::Compaction
            | ErrorKind::Internal
            | ErrorKind::Refused
            | ErrorKind::HookNotStarted
            | ErrorKind::HookTimeout
            | ErrorKind::Stopped => (Retry::NextPoll, None),
        }
    }

    /// Returns true if an object was missing or unreadable in the store, so that only a new fetch helps.
    ///
    /// Errors of the operating system for an existing store (no permission, too many open files) are not damage: discarding
    /// the store would not help.
    #[must_use]
    pub fn store_is_damaged(&self) -> bool {
        match self {
            Self::Store { source, .. } => {
                source.code() == git2::ErrorCode::NotFound
                    || !matches!(source.class(), git2::ErrorClass::Os | git2::ErrorClass::NoMemory)
                        && !is_want_of_descriptors(source.message())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_decides_kind_hint_and_retry() {
        for (errno, kind, retry) in [
            (Errno::NOSPC, ErrorKind::DiskFull, Retry::Soon),
            (Errno::DQUOT, ErrorKind::Quota, Retry::NextPoll),
            (Errno::ROFS, ErrorKind::ReadOnly, Retry::NextPoll),
            (Errno::ACCESS, ErrorKind::Permission, Retry::NextPoll),
            (Errno::PERM, ErrorKind::Permission, Retry::NextPoll),
            (Errno::NAMETOOLONG, ErrorKind::NameTooLong, Retry::NextPoll),
            (Errno::MFILE, ErrorKind::NoDescriptors, Retry::Soon),
            (Errno::NFILE, ErrorKind::NoDescriptors, Retry::Soon),
            (Errno::NOMEM, ErrorKind::OutOfMemory, Retry::NextPoll),
        ] {
            let error = Error::io("write", b"a\nb", errno);
            assert_eq!((error.kind(), error.retry()), (kind, retry));
            assert!(error.hint().is_some());
            assert!(error.to_string().starts_with(r"cannot write a\nb: "), "{error}");
        }
        let error = Error::io("read", b"a", Errno::IO);
        assert_eq!((error.kind(), error.retry(), error.hint()), (ErrorKind::Io, Retry::Soon, None));
    }

    #[test]
    fn a_missing_object_is_damage_and_a_refused_read_is_not() {
        let store = |code, class| Error::Store { what: "x".into(), source: git2::Error::new(code, class, "y") };
        assert!(store(git2::ErrorCode::NotFound, git2::ErrorClass::Odb).store_is_damaged());
        assert!(store(git2::ErrorCode::GenericError, git2::ErrorClass::Zlib).store_is_damaged());
        assert!(!store(git2::ErrorCode::GenericError, git2::ErrorClass::Os).store_is_damaged());
        let poor = store(git2::ErrorCode::GenericError, git2::ErrorClass::NoMemory);
        assert_eq!(
            (poor.store_is_damaged(), poor.kind(), poor.hint().is_some()),
            (false, ErrorKind::OutOfMemory, true)
        );
        let words = "failed to open 'x': Too many open files";
        let source = git2::Error::new(git2::ErrorCode::GenericError, git2::ErrorClass::Odb, words);
        let busy = Error::Store { what: "x".into(), source };
        assert_eq!(
            (busy.store_is_damaged(), busy.kind(), busy.hint().is_some()),
            (false, ErrorKind::NoDescriptors, true)
        );
        assert!(!Error::Cancelled.store_is_damaged());
    }
}
