//! The kinds of errors, each with a stable word for machines.
//!
//! The words are an interface: records, the API, metrics, logs and notices contain them, and docs/troubleshooting.md
//! lists them. This module must not know which area fails with which kind.

use std::fmt;

/// Generates the enum, the list and the words from one table, so that none of the three can lack a kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $word:literal,)+) => {
        /// The kind of an error. Matches on it have no `_ =>` arm where a new kind needs a decision: a hint, or when to
        /// try again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $name,)+
        }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the stable word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

kinds! {
    // The remote.
    /// Credentials are missing, unusable or refused.
    Auth => "auth",
    /// There is no repository at the address, or none that these credentials may see.
    NotFound => "not_found",
    /// The remote leads to another address, which is not followed.
    Redirect => "redirect",
    /// The remote could not be reached.
    Network => "network",
    /// The host name could not be resolved.
    Dns => "dns",
    /// The proxy could not be reached, or refused.
    Proxy => "proxy",
    /// There is no trusted TLS connection.
    Tls => "tls",
    /// The SSH host key is unknown, revoked or not the expected one.
    HostKey => "host_key",
    /// A connection, a transfer or the whole sync took too long.
    Timeout => "timeout",
    /// The server answered with an error of its own.
    ServerError => "server_error",
    /// The response is not git's protocol.
    Protocol => "protocol",

    // The repository.
    /// The ref does not exist, or names no commit.
    RefMissing => "ref_missing",
    /// The repository has no commit.
    EmptyRepository => "empty_repository",
    /// The remote does not send the commit, or the store does not have it.
    NoSuchCommit => "no_such_commit",
    /// The remote does not send files that `--filter` left out.
    NoContents => "no_contents",
    /// The repository names its objects by SHA-256.
    ObjectFormat => "object_format",
    /// The repository has a format that can be followed over http(s) only.
    RepositoryFormat => "repository_format",
    /// The commit breaks git's format.
    MalformedCommit => "malformed_commit",
    /// The commit has a name, mode or link that git refuses to check out, or exceeds a limit.
    HostilePath => "hostile_path",
    /// The commit has a name that no common file system can hold.
    NameTooLong => "name_too_long",
    /// The commit has two names that the file system of the volume does not distinguish.
    CaseTwins => "case_twins",
    /// `.gitmodules`, or a submodule in it, is refused.
    Submodule => "submodule",
    /// The commit is in the store, its submodules are not.
    NoSubmodules => "no_submodules",

    // Git LFS.
    /// There is no LFS server, `.lfsconfig` names one that is not contacted, or its answer is wrong.
    LfsServer => "lfs_server",
    /// An LFS object was not sent, or is missing or damaged on the volume.
    LfsObject => "lfs_object",
    /// The response is not the LFS object that was requested.
    LfsMismatch => "lfs_mismatch",

    // The volume.
    /// There is no space left: on the file system, or below `--volume-limit`.
    DiskFull => "disk_full",
    /// The file system has no free inodes.
    NoInodes => "no_inodes",
    /// A quota of the volume is used up.
    Quota => "quota",
    /// The volume is read-only.
    ReadOnly => "read_only",
    /// A file or folder of the volume may not be read or written.
    Permission => "permission",
    /// Another error of the operating system about a file or folder.
    Io => "io",
    /// Another process owns `--root`.
    Locked => "locked",
    /// A file or folder is where the link should be.
    ForeignLink => "foreign_link",
    /// `--link` names a place where the link cannot be.
    BadLink => "bad_link",
    /// The file system of the link has no symbolic links.
    NoSymlinks => "no_symlinks",
    /// The tree that was to be published is not there any more.
    NotBuilt => "not_built",
    /// The sparse-checkout file cannot be read.
    SparseFile => "sparse_file",
    /// The folder for `--worktree-git` cannot be written.
    WorktreeGit => "worktree_git",

    // The object store.
    /// The object store is damaged, and is fetched again.
    StoreDamaged => "store_damaged",
    /// An object could not be read, although the store is not damaged.
    StoreUnreadable => "store_unreadable",
    /// The object store may not be read or written.
    StoreAccess => "store_access",
    /// The volume cannot map files into memory to be written.
    NoSharedMaps => "no_shared_maps",
    /// The object store could not be compacted.
    Compaction => "compaction",

    // The process.
    /// The push needs more memory than is available.
    OutOfMemory => "out_of_memory",
    /// No further file or connection can be opened.
    NoDescriptors => "no_descriptors",
    /// The system starts no more threads.
    NoThread => "no_thread",
    /// The operation was cancelled.
    Cancelled => "cancelled",
    /// An invariant did not hold: a defect of pushsync.
    Internal => "internal",

    // The pre-publish hook.
    /// The pre-publish hook refused the commit.
    Refused => "refused",
    /// The pre-publish hook could not be started.
    HookNotStarted => "hook_not_started",
    /// The pre-publish hook did not finish in time.
    HookTimeout => "hook_timeout",
    /// The pre-publish hook was stopped before it finished.
    Stopped => "stopped",
}

impl ErrorKind {
    /// Returns true if more free space on the volume would have prevented the error.
    #[must_use]
    pub fn is_want_of_space(self) -> bool {
        matches!(self, Self::DiskFull | Self::NoInodes | Self::Quota)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad`, so that a width in a format string has an effect.
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const DOCUMENT: &str = "docs/troubleshooting.md";

    /// Returns the words in the first column of the table of kinds.
    fn documented() -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
        let text = std::fs::read_to_string(path).unwrap();
        let (_, section) = text.split_once("\n## Kinds of errors\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect()
    }

    #[test]
    fn the_documentation_lists_every_kind_and_no_other() {
        let documented = documented();
        let words: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let missing: Vec<_> = words.iter().filter(|word| !documented.iter().any(|known| known == *word)).collect();
        assert!(missing.is_empty(), "{DOCUMENT} does not list {missing:?}");
        let unknown: Vec<_> = documented.iter().filter(|known| !words.contains(&known.as_str())).collect();
        assert!(unknown.is_empty(), "{DOCUMENT} lists {unknown:?}, which are no kinds");
        assert_eq!(documented.len(), words.len(), "{DOCUMENT} lists a kind twice");
    }

    #[test]
    fn each_kind_has_a_word_of_its_own_that_is_a_valid_name_in_every_format() {
        let words: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), ErrorKind::ALL.len());
        for word in words {
            assert!(!word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{word}");
        }
        assert_eq!(format!("[{:>6}]", ErrorKind::Tls), "[   tls]");
    }
}
