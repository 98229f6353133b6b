//! The errors of remotes and of the object store.
//!
//! libgit2 distinguishes causes by class, code and message; they are mapped to variants here, once. Its messages, and
//! a server's in them, are foreign text: they pass through [`Cause`], which removes secrets and control characters.

mod hints;
pub(crate) mod words;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use git2::{ErrorClass, ErrorCode, Oid};

use crate::allowance::Exceeded;
use crate::error::{ErrorKind, Retry, is_want_of_descriptors};
use crate::lfs::ObjectId;
use crate::secret::scrub;
use crate::text::one_line;
use crate::worker::Lost;

use words::{Category, categorize};

/// The longest foreign text that is repeated.
const LONGEST_CAUSE: usize = 300;

/// A failed request, fetch or read of the store. `remote` is always the address without a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{remote} refused the credentials")]
    Refused { remote: String, source: Cause },
    /// `offered` lists the authentication schemes, if the server names them.
    #[error("{remote} asks for credentials{} and none are configured", in_brackets(offered))]
    NoCredentials { remote: String, offered: String, source: Option<Cause> },
    #[error("the credentials file {} cannot be used", path.display())]
    CredentialFile { path: PathBuf, source: Cause },
    #[error("line {line} of the cookie file {} is not in the Netscape format", path.display())]
    CookieFile { path: PathBuf, line: usize },
    #[error("the askpass service at {url} gave no credentials")]
    Askpass { url: String, source: Cause },
    #[error("{api} gave no token for the GitHub App")]
    AppToken { api: String, source: Cause },
    #[error("{remote} asked for credentials for another address ({asked}); they were not sent")]
    OtherOrigin { remote: String, asked: String },
    #[error("{remote} redirects to another host, which is not followed")]
    Redirected { remote: String, source: Cause },
    #[error("{remote} redirects, but not to a repository")]
    Misled { remote: String, source: Cause },
    #[error("there is no repository at {remote}")]
    NotFound { remote: String, source: Option<Cause> },
    #[error("cannot reach {remote}")]
    Network { remote: String, source: Cause },
    #[error("the name of the host in {remote} cannot be resolved")]
    Dns { remote: String, source: Cause },
    #[error("cannot reach {remote} through the proxy {proxy}")]
    Proxy { remote: String, proxy: String, source: Cause },
    #[error("no trusted TLS connection to {remote}")]
    Tls { remote: String, source: Cause },
    #[error("{host} showed an SSH key that is not in known_hosts: {key_type} {fingerprint}")]
    HostKeyUnknown { host: String, key_type: String, fingerprint: String },
    #[error("{host} showed another SSH key than known_hosts has for it: {key_type} {fingerprint}")]
    HostKeyChanged { host: String, key_type: String, fingerprint: String },
    #[error("{host} showed an SSH key that known_hosts marks as revoked: {key_type} {fingerprint}")]
    HostKeyRevoked { host: String, key_type: String, fingerprint: String },
    #[error("{remote} did not finish within {after:?}")]
    Timeout { remote: String, after: Duration },
    /// The connection was not established, TLS handshake included.
    #[error("{remote} did not accept a connection in time")]
    ConnectTimeout { remote: String },
    /// `after` is the pause that the server asks for.
    #[error("{remote} answered with an error of its own")]
    Server { remote: String, source: Cause, after: Option<Duration> },
    #[error("{remote} does not answer as a git server does")]
    Protocol { remote: String, source: Cause },
    // Git's own words, which users of git-sync search for.
    #[error("couldn't find remote ref {name}{}", nearest(available))]
    RefMissing { name: String, available: Vec<String> },
    #[error("the ref `{name}` names no commit")]
    NotACommit { name: String },
    #[error("commit {commit} breaks the format of git: it names no tree")]
    MalformedCommit { commit: Oid, source: Cause },
    #[error("the repository at {remote} is of a kind that can be followed over http(s) only")]
    RepositoryFormat { remote: String, source: Cause },
    #[error("the repository at {remote} is empty")]
    EmptyRepository { remote: String },
    #[error("{remote} does not send commit {commit}")]
    NoSuchCommit { commit: Oid, remote: String, source: Option<Cause> },
    #[error("{remote} does not send the files of commit {commit} that --filter left out")]
    NoContents { commit: Oid, remote: String, source: Cause },
    #[error("there is no Git LFS server at {remote}")]
    NoLfs { remote: String, source: Cause },
    #[error("the repository's .lfsconfig names a Git LFS server that is not asked: {named}")]
    LfsElsewhere { named: String, source: Cause },
    #[error("{remote} does not answer as a Git LFS server does")]
    LfsAnswer { remote: String, source: Cause },
    #[error("{remote} does not send the LFS object {id} for {path}")]
    NoObject { path: String, id: ObjectId, remote: String, source: Cause },
    #[error("the response of {remote} is not the object")]
    NotTheObject { remote: String, source: Cause },
    #[error("the LFS object {id} for {path} was not sent")]
    Object { path: String, id: ObjectId, source: Box<Error> },
    #[error("commit {commit} is not in the store")]
    NotInStore { commit: Oid },
    #[error("the object store {} is damaged", store.display())]
    Damaged { store: PathBuf, source: Cause },
    #[error("the object store lacks parts of commit {commit}")]
    Incomplete { commit: Oid },
    #[error("the folder {} is not a store of pushsync", store.display())]
    Foreign { store: PathBuf },
    #[error("the disk with the object store is full")]
    DiskFull { source: Cause },
    #[error("the quota of the volume with the object store is used up")]
    Quota { source: Cause },
    #[error("there is not enough memory to unpack what was pushed")]
    NoMemory { source: Cause },
    #[error("no further file or connection can be opened")]
    NoDescriptors { source: Cause },
    #[error("the volume with the object store cannot map files into memory to be written (shared mmap)")]
    NoSharedMaps { source: Cause },
    #[error("the volume with the object store {} is read-only", store.display())]
    ReadOnly { store: PathBuf, source: Cause },
    #[error("the object store {} cannot be read or written", store.display())]
    StoreAccess { store: PathBuf, source: Cause },
    #[error("the submodule `{path}` cannot be fetched")]
    Submodule { path: String, source: Box<Error> },
    #[error("the submodule `{path}` is refused: {why}")]
    BadSubmodule { path: String, why: String },
    #[error("the object store was not compacted")]
    Compaction { source: Cause },
    #[error("the repository at {remote} names its objects by SHA-256, which pushsync cannot store")]
    ObjectFormat { remote: String },
    #[error("the git thread gave no answer")]
    Internal { source: Lost },
}

impl Error {
    /// Returns the kind, for machines.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. }
            | Self::NoCredentials { .. }
            | Self::CredentialFile { .. }
            | Self::CookieFile { .. }
            | Self::Askpass { .. }
            | Self::AppToken { .. } => ErrorKind::Auth,
            Self::Proxy { .. } => ErrorKind::Proxy,
            Self::OtherOrigin { .. } | Self::Redirected { .. } | Self::Misled { .. } => ErrorKind::Redirect,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Network { .. } => ErrorKind::Network,
            Self::Dns { .. } => ErrorKind::Dns,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::HostKeyUnknown { .. } | Self::HostKeyChanged { .. } | Self::HostKeyRevoked { .. } => {
                ErrorKind::HostKey
            }
            Self::Timeout { .. } | Self::ConnectTimeout { .. } => ErrorKind::Timeout,
            Self::Server { .. } => ErrorKind::ServerError,
            Self::Protocol { .. } => ErrorKind::Protocol,
            Self::RefMissing { .. } | Self::NotACommit { .. } => ErrorKind::RefMissing,
            Self::EmptyRepository { .. } => ErrorKind::EmptyRepository,
            Self::NoSuchCommit { .. } | Self::NotInStore { .. } => ErrorKind::NoSuchCommit,
            Self::NoContents { .. } => ErrorKind::NoContents,
            Self::NoLfs { .. } | Self::LfsElsewhere { .. } | Self::LfsAnswer { .. } => ErrorKind::LfsServer,
            Self::NoObject { .. } => ErrorKind::LfsObject,
            Self::NotTheObject { .. } => ErrorKind::LfsMismatch,
            Self::Damaged { .. } | Self::Incomplete { .. } | Self::Foreign { .. } => ErrorKind::StoreDamaged,
            Self::DiskFull { .. } => ErrorKind::DiskFull,
            Self::Quota { .. } => ErrorKind::Quota,
            Self::NoMemory { .. } => ErrorKind::OutOfMemory,
            Self::NoDescriptors { .. } => ErrorKind::NoDescriptors,
            Self::NoSharedMaps { .. } => ErrorKind::NoSharedMaps,
            Self::ReadOnly { .. } => ErrorKind::ReadOnly,
            Self::StoreAccess { .. } => ErrorKind::StoreAccess,
            Self::Submodule { source, .. } | Self::Object { source, .. } => source.kind(),
            Self::BadSubmodule { .. } => ErrorKind::Submodule,
            Self::Compaction { .. } => ErrorKind::Compaction,
            Self::ObjectFormat { .. } => ErrorKind::ObjectFormat,
            Self::RepositoryFormat { .. } => ErrorKind::RepositoryFormat,
            Self::MalformedCommit { .. } => ErrorKind::MalformedCommit,
            Self::Internal { source: Lost::NoThread } => ErrorKind::NoThread,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Returns when a retry makes sense: some causes pass without any action.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Server { after: Some(after), .. } => Retry::After(*after),
            Self::Network { .. }
            | Self::Dns { .. }
            | Self::Proxy { .. }
            | Self::Askpass { .. }
            | Self::AppToken { .. }
            | Self::Timeout { .. }
            | Self::ConnectTimeout { .. }
            | Self::Server { .. }
            | Self::Protocol { .. }
            | Self::NotInStore { .. }
            | Self::NoContents { .. }
            | Self::LfsAnswer { .. }
            | Self::NoObject { .. }
            | Self::Damaged { .. }
            | Self::Incomplete { .. }
            | Self::Foreign { .. }
            | Self::NoDescriptors { .. }
            | Self::Internal { .. } => Retry::Soon,
            Self::Submodule { source, .. } | Self::Object { source, .. } => source.retry(),
            // The others need another push or an action of the operator first.
            _ => Retry::NextPoll,
        }
    }

    /// Returns true if the object store itself is damaged, so that only a new one helps.
    #[must_use]
    pub fn store_is_damaged(&self) -> bool {
        if let Self::Submodule { source, .. } = self {
            return source.store_is_damaged();
        }
        matches!(self, Self::Damaged { .. } | Self::Incomplete { .. } | Self::Foreign { .. })
    }

    /// Maps libgit2's error from an operation on a remote.
    pub(crate) fn from_remote(remote: &str, after: Duration, store: &std::path::Path, error: &git2::Error) -> Self {
        let source = Cause::from(error);
        let remote = remote.to_owned();
        let words = error.message();
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        let (class, code) = (error.class(), error.code());
        let local = matches!(class, ErrorClass::Os | ErrorClass::Filesystem);
        // The order matters: the more certain signs come first.
        if let Some(ours) = Self::of_the_process(class, words) {
            ours
        } else if let Some(said) = refusal_in(error) {
            Self::from_words(remote, said)
        } else if says(&["unsupported extension", "unsupported repository version"]) {
            // libgit2 opens a repository on this machine itself: it uses reftable, or is a partial clone.
            Self::RepositoryFormat { remote, source }
        } else if says(&["object format", "objectformat"]) {
            // The remote's object format. Our own store always has the one that it was created with.
            Self::ObjectFormat { remote }
        } else if local && words.contains(&*store.to_string_lossy()) {
            Self::from_store(store, error)
        } else if code == ErrorCode::Timeout && says(&["failed to connect"]) {
            Self::ConnectTimeout { remote }
        } else if matches!(code, ErrorCode::User | ErrorCode::Timeout) || says(&["cancelled", "timed out", "Timeout"]) {
            Self::Timeout { remote, after }
        } else if code == ErrorCode::Auth || says(&["status code: 401", "status code: 403", "authentication replays"]) {
            Self::Refused { remote, source }
        } else if says(&["status code: 404", "status code: 410"]) {
            Self::NotFound { remote, source: None }
        } else if says(&["status code: 5", "status code: 429"]) {
            Self::Server { remote, source, after: None }
        } else if says(&["cannot redirect from"]) {
            Self::Redirected { remote, source }
        } else if says(&["redirect"]) {
            Self::Misled { remote, source }
        } else if says(&["failed to resolve address"]) {
            Self::Dns { remote, source }
        } else if class == ErrorClass::Ssl || code == ErrorCode::Certificate || says(&["SSL error"]) {
            Self::Tls { remote, source }
        } else if says(&["No space left"]) {
            Self::DiskFull { source }
        } else if says(&["Disk quota"]) {
            Self::Quota { source }
        } else if says(&[
            "does not appear to be a git",
            "does not exist",
            "unsupported URL",
            "could not find repository",
        ]) || (class, code) == (ErrorClass::Repository, ErrorCode::NotFound)
        {
            // libgit2 says "unsupported URL" about a path that does not exist. Unsupported schemes are refused before.
            Self::NotFound { remote, source: None }
        } else {
            match class {
                // Errors while the server's pack is unpacked, not of our store.
                ErrorClass::Http | ErrorClass::Indexer | ErrorClass::Zlib | ErrorClass::Invalid => {
                    Self::Protocol { remote, source }
                }
                ErrorClass::Net if says(&["pkt", "packet", "invalid", "unexpected"]) => {
                    Self::Protocol { remote, source }
                }
                ErrorClass::Odb | ErrorClass::Object | ErrorClass::Reference | ErrorClass::Repository => {
                    Self::Damaged { store: store.to_owned(), source }
                }
                _ => Self::Network { remote, source },
            }
        }
    }

    /// Maps the words with which a server refused.
    pub(crate) fn from_words(remote: String, words: &str) -> Self {
        // The words may be several lines, which a server meant for a terminal.
        let source = Cause::new(&words.split_whitespace().collect::<Vec<_>>().join(" "));
        match categorize(words) {
            Some(Category::Auth) => Self::Refused { remote, source },
            Some(Category::NotFound) => Self::NotFound { remote, source: Some(source) },
            Some(Category::Server) | None => Self::Server { remote, source, after: None },
        }
    }

    /// Maps libgit2's error about our own store.
    pub(crate) fn from_store(store: &std::path::Path, error: &git2::Error) -> Self {
        let source = Cause::from(error);
        let words = error.message();
        let store = store.to_owned();
        if let Some(ours) = Self::of_the_process(error.class(), words) {
            ours
        } else if words.contains("No space left") {
            Self::DiskFull { source }
        } else if words.contains("Disk quota") {
            Self::Quota { source }
        } else if words.contains("Read-only file system") {
            Self::ReadOnly { store, source }
        } else if error.class() == ErrorClass::Os || words.contains("denied") {
            Self::StoreAccess { store, source }
        } else {
            Self::Damaged { store, source }
        }
    }

    /// Returns the error if the process lacks a resource. Then the message says nothing about the remote or the store.
    fn of_the_process(class: ErrorClass, words: &str) -> Option<Self> {
        let source = Cause::new(words);
        // libgit2's own limit for the result of a delta has a message of its own.
        if class == ErrorClass::NoMemory || words.contains("overly large object") {
            Some(Self::NoMemory { source })
        } else if is_want_of_descriptors(words) {
            Some(Self::NoDescriptors { source })
        } else if words.contains("failed to mmap")
            && ["No such device", "Invalid argument"].iter().any(|why| words.contains(why))
        {
            // ENODEV and EINVAL of mmap(2): libgit2 writes and reads packs through shared maps.
            Some(Self::NoSharedMaps { source })
        } else {
            None
        }
    }

    /// Returns the error for a failure of the HTTP client inside this process, whatever it requested: no descriptor, or no
    /// thread to look up a name.
    pub(crate) fn of_client(source: &Cause) -> Option<Self> {
        let words = source.to_string();
        if is_want_of_descriptors(&words) {
            Some(Self::NoDescriptors { source: Cause::new(&words) })
        } else {
            words.contains(&Lost::NoThread.to_string()).then_some(Self::Internal { source: Lost::NoThread })
        }
    }

    /// The error for `--volume-limit`.
    pub(crate) fn over_limit(exceeded: Exceeded) -> Self {
        Self::DiskFull { source: Cause::new(&exceeded.to_string()) }
    }

    pub(crate) fn from_disk(store: &std::path::Path, error: &std::io::Error) -> Self {
        let source = Cause::from(error);
        match error.kind() {
            _ if is_want_of_descriptors(&error.to_string()) => Self::NoDescriptors { source },
            std::io::ErrorKind::StorageFull => Self::DiskFull { source },
            std::io::ErrorKind::QuotaExceeded => Self::Quota { source },
            std::io::ErrorKind::OutOfMemory => Self::NoMemory { source },
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { store: store.to_owned(), source },
            _ => Self::StoreAccess { store: store.to_owned(), source },
        }
    }
}

/// Foreign text that is safe to print: without secrets and control characters, and of limited length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    pub(crate) fn new(text: &str) -> Self {
        // Scrubbed before it is cut: the scrubber would not recognize the first half of a secret.
        Self(one_line(&scrub(text), LONGEST_CAUSE))
    }

    fn says(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.0.contains(part))
    }
}

impl From<&git2::Error> for Cause {
    fn from(error: &git2::Error) -> Self {
        Self::new(error.message())
    }
}

impl From<&std::io::Error> for Cause {
    fn from(error: &std::io::Error) -> Self {
        Self::new(&error.to_string())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Returns the server's own words in an error of libgit2: an `ERR` packet, or the standard error of an SSH server,
/// which libgit2 reports as the end of the stream.
fn refusal_in(error: &git2::Error) -> Option<&str> {
    let words = error.message();
    if let Some((_, said)) = words.split_once("remote error: ") {
        return Some(said);
    }
    (error.class() == ErrorClass::Ssh && error.code() == ErrorCode::Eof && !words.trim().is_empty()).then_some(words)
}

fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn nearest(available: &[String]) -> String {
    if available.is_empty() {
        return String::new();
    }
    format!("; it has {}", available.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn missing_resources_are_not_blamed_on_the_remote_or_the_store() {
        let store = Path::new("/volume/repo.git");
        let tell = |class, words: &str| {
            let error = git2::Error::new(ErrorCode::GenericError, class, words);
            let told = [Error::from_remote("r", Duration::ZERO, store, &error), Error::from_store(store, &error)];
            assert!(told.iter().all(|told| !told.store_is_damaged() && told.hint().is_some()), "{told:?}");
            told.map(|told| told.kind())
        };
        assert_eq!(tell(ErrorClass::NoMemory, "Out of memory"), [ErrorKind::OutOfMemory; 2]);
        assert_eq!(
            tell(ErrorClass::Invalid, "failed to apply delta: overly large object"),
            [ErrorKind::OutOfMemory; 2]
        );
        for class in [ErrorClass::Os, ErrorClass::Odb, ErrorClass::Net] {
            let words = "failed to open '/volume/repo.git/x': Too many open files";
            assert_eq!(tell(class, words), [ErrorKind::NoDescriptors; 2]);
        }
        assert_eq!(tell(ErrorClass::Os, "failed to write: Disk quota exceeded"), [ErrorKind::Quota; 2]);
        let words = "failed to mmap. Could not write data: No such device";
        assert_eq!(tell(ErrorClass::Os, words), [ErrorKind::NoSharedMaps; 2]);
        for (number, kind) in [
            (24, ErrorKind::NoDescriptors),
            (23, ErrorKind::NoDescriptors),
            (28, ErrorKind::DiskFull),
            (122, ErrorKind::Quota),
        ] {
            let told = Error::from_disk(store, &std::io::Error::from_raw_os_error(number));
            assert_eq!((told.kind(), told.hint().is_some()), (kind, true), "{told:?}");
        }
    }
}
