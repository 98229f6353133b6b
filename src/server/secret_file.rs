//! A secret in a file that may change under us: read again when the file is another one, kept when the new one is unusable.
//!
//! Kubernetes swaps a mounted Secret by renaming a symlink (`..data`), so the path is followed anew at every check. The
//! check is one `stat`, at most once a second and only when somebody asks. It knows nothing of what the secret is for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::secret::Secret;
use crate::secret_file::{self, BadSecretFile};

/// How old the knowledge about the file may be.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Tells one content of the file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// A permission that was repaired changes only this.
    changed: (i64, i64),
}

struct Held {
    secret: Option<Secret>,
    stamp: Option<Stamp>,
    checked: Instant,
}

/// One secret that follows its file.
pub struct SecretFile {
    path: PathBuf,
    /// True: a file that is gone means that the secret is withdrawn.
    removable: bool,
    held: Mutex<Held>,
}

impl SecretFile {
    /// Reads a secret that must be there; when its file goes away later, the last value stays.
    ///
    /// # Errors
    /// [`BadSecretFile`], if it cannot be used.
    pub fn required(path: &Path) -> Result<Self, BadSecretFile> {
        let (secret, stamp) = read(path)?;
        Ok(Self::new(path, false, Some(secret), Some(stamp)))
    }

    /// Reads a secret that may be missing, now or later (the previous one, once a rotation is over).
    ///
    /// # Errors
    /// [`BadSecretFile`], if the file is there and cannot be used.
    pub fn removable(path: &Path) -> Result<Self, BadSecretFile> {
        match read(path) {
            Ok((secret, stamp)) => Ok(Self::new(path, true, Some(secret), Some(stamp))),
            Err(fault) if fault.is_missing() => Ok(Self::new(path, true, None, None)),
            Err(fault) => Err(fault),
        }
    }

    fn new(path: &Path, removable: bool, secret: Option<Secret>, stamp: Option<Stamp>) -> Self {
        Self { path: path.to_owned(), removable, held: Mutex::new(Held { secret, stamp, checked: Instant::now() }) }
    }

    /// The secret as the file has it now; `None` if it was withdrawn.
    pub fn current(&self) -> Option<Secret> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.checked.elapsed() >= CHECK_EVERY {
            held.checked = Instant::now();
            self.refresh(&mut held);
        }
        held.secret.clone()
    }

    fn refresh(&self, held: &mut Held) {
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp == held.stamp {
            return;
        }
        let path = self.path.display();
        match read(&self.path) {
            Ok((secret, stamp)) => {
                let renewed = held.secret.as_ref() != Some(&secret);
                let odd = secret_file::oddity(&secret).filter(|_| renewed);
                *held = Held { secret: Some(secret), stamp: Some(stamp), checked: held.checked };
                if renewed {
                    tracing::info!(%path, "read a changed secret");
                }
                if let Some(odd) = odd {
                    tracing::warn!(%path, "{odd}");
                }
            }
            Err(fault) if fault.is_missing() && self.removable => {
                held.secret = None;
                held.stamp = None;
                tracing::info!(%path, "a secret was withdrawn, its file is gone");
            }
            Err(fault) => {
                // Remembered, so that this is said once for each state of the file and not at every request.
                held.stamp = stamp;
                tracing::warn!(%path, error = %fault, "a changed secret cannot be used, the one before stays in force");
            }
        }
    }
}

/// The secrets of the hook listener, the current one first.
pub struct Secrets(Vec<SecretFile>);

impl Secrets {
    pub fn new(files: Vec<SecretFile>) -> Self {
        Self(files)
    }

    /// The secrets in force, each with its word for records.
    pub fn current(&self) -> Vec<(&'static str, Secret)> {
        let word = |at| if at == 0 { "current" } else { "previous" };
        self.0.iter().enumerate().filter_map(|(at, file)| Some((word(at), file.current()?))).collect()
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn read(path: &Path) -> Result<(Secret, Stamp), BadSecretFile> {
    // Taken before the content: a write in between is then seen as another change.
    let stamp = Stamp::of(&std::fs::metadata(path)?);
    Ok((secret_file::read(path)?, stamp))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As if the last check had been long ago.
    fn later(file: &SecretFile) -> Option<Secret> {
        let mut held = file.held.lock().expect("not poisoned");
        file.refresh(&mut held);
        held.secret.clone()
    }

    fn is(secret: Option<Secret>, text: &str) -> bool {
        secret.is_some_and(|secret| secret.expose() == text.as_bytes())
    }

    #[test]
    fn an_unusable_successor_keeps_the_old_secret_and_a_good_one_replaces_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, "the-first-secret-of-all").expect("written");
        let file = SecretFile::required(&path).expect("readable");
        for unusable in ["", "short"] {
            fs::write(&path, unusable).expect("written");
            assert!(is(later(&file), "the-first-secret-of-all"));
        }
        fs::remove_file(&path).expect("removed");
        assert!(is(later(&file), "the-first-secret-of-all"));
        fs::write(&path, "the-second-secret-of-all").expect("written");
        assert!(is(later(&file), "the-second-secret-of-all"));
    }

    #[test]
    fn a_swapped_symlink_is_seen_and_a_removable_secret_can_be_withdrawn() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in [("..one", "the-first-secret-of-all"), ("..two", "other-secret-as-long-ok")] {
            fs::create_dir(folder.path().join(name)).expect("made");
            fs::write(folder.path().join(name).join("secret"), content).expect("written");
        }
        let data = folder.path().join("..data");
        std::os::unix::fs::symlink("..one", &data).expect("linked");
        let path = data.join("secret");
        let file = SecretFile::removable(&path).expect("readable");
        assert!(is(file.current(), "the-first-secret-of-all"));
        std::os::unix::fs::symlink("..two", folder.path().join("..new")).expect("linked");
        fs::rename(folder.path().join("..new"), &data).expect("swapped");
        assert!(is(later(&file), "other-secret-as-long-ok"));
        fs::remove_file(&path).expect("removed");
        assert!(later(&file).is_none());
        fs::write(&path, "back-again-and-long-enough").expect("written");
        assert!(is(later(&file), "back-again-and-long-enough"));
    }
}
