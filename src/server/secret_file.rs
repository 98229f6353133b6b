//! A secret in a file that may change under us: read again when the file is another one, kept when the new one is unusable.
//!
//! Kubernetes swaps a mounted Secret by renaming a symlink (`..data`), so the path is followed anew at every check. The check is
//! one `stat`, at most once a second, only when a request needs the secret, and on a thread of its own: while that hangs, the
//! last good secret stays in use. It knows nothing of what the secret is for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::secret::Secret;
use crate::secret_file::{self, BadSecretFile};

/// How old the knowledge about the file may be.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for the check. A healthy disk answers in microseconds; requests that come while a check takes
/// longer than this do not wait at all.
const PATIENCE: Duration = Duration::from_millis(300);
/// A check that hangs for so long is given up: the file may be on another disk by now.
const GIVE_UP: Duration = Duration::from_secs(30);
/// So many checks may hang; after that the file is not looked at before one of them returns.
const MOST_CHECKS: usize = 4;
/// The longest that a file may take at the start, when there is no last good secret.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

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
    /// The number of the newest check, and of the newest one that ended.
    begun: u64,
    ended: u64,
    /// Checks that have not ended.
    running: usize,
    /// True once the log says that the newest check hangs.
    is_said: bool,
}

/// One secret that follows its file.
pub struct SecretFile(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// True: a file that is gone means that the secret is withdrawn.
    removable: bool,
    /// Never held over a call to the disk.
    held: Mutex<Held>,
    /// The number of the newest check that ended.
    ended: watch::Sender<u64>,
}

/// What a check found.
enum Found {
    Same,
    Changed(Result<(Secret, Stamp), BadSecretFile>, Option<Stamp>),
}

impl SecretFile {
    /// Reads a secret that must be there; when its file goes away later, the last value stays.
    ///
    /// # Errors
    /// [`BadSecretFile`], if it cannot be used, or does not answer within ten seconds.
    pub fn required(path: &Path) -> Result<Self, BadSecretFile> {
        let (secret, stamp) = read_in_time(path)?;
        Ok(Self::new(path, false, Some(secret), Some(stamp)))
    }

    /// Reads a secret that may be missing, now or later (the previous one, once a rotation is over).
    ///
    /// # Errors
    /// [`BadSecretFile`], if the file is there and cannot be used, or does not answer within ten seconds.
    pub fn removable(path: &Path) -> Result<Self, BadSecretFile> {
        match read_in_time(path) {
            Ok((secret, stamp)) => Ok(Self::new(path, true, Some(secret), Some(stamp))),
            Err(fault) if fault.is_missing() => Ok(Self::new(path, true, None, None)),
            Err(fault) => Err(fault),
        }
    }

    fn new(path: &Path, removable: bool, secret: Option<Secret>, stamp: Option<Stamp>) -> Self {
        let checked = Instant::now();
        let held = Held { secret, stamp, checked, begun: 0, ended: 0, running: 0, is_said: false };
        let held = Mutex::new(held);
        Self(Arc::new(Shared { path: path.to_owned(), removable, held, ended: watch::Sender::new(0) }))
    }

    /// The secret as the file has it now; `None` if it was withdrawn. While the file does not answer, the last good one.
    pub async fn current(&self) -> Option<Secret> {
        if let Some((number, deadline)) = self.0.check_if_due() {
            let mut ended = self.0.ended.subscribe();
            if timeout_at(deadline, ended.wait_for(|ended| *ended >= number)).await.is_err() {
                self.0.say_late();
            }
        }
        self.known()
    }

    /// The secret as far as it is known, without looking at the file.
    pub fn known(&self) -> Option<Secret> {
        self.0.lock().secret.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a check if the last one is too long ago. Returns its number and until when it is worth waiting for, also of one
    /// that is under way.
    fn check_if_due(self: &Arc<Self>) -> Option<(u64, Instant)> {
        let mut held = self.lock();
        let (age, is_running) = (held.checked.elapsed(), held.begun > held.ended);
        if is_running && age < GIVE_UP || !is_running && age < CHECK_EVERY || held.running >= MOST_CHECKS {
            let deadline = held.checked + PATIENCE;
            return (is_running && Instant::now() < deadline).then_some((held.begun, deadline));
        }
        held.checked = Instant::now();
        held.begun += 1;
        held.running += 1;
        held.is_said = false;
        let (number, stamp, deadline) = (held.begun, held.stamp, held.checked + PATIENCE);
        drop(held);
        let shared = Arc::clone(self);
        let check = thread::Builder::new().name("secret".to_owned()).spawn(move || {
            let found = look(&shared.path, stamp);
            shared.take_in(number, found);
        });
        if check.is_err() {
            // Without a thread the last good secret stays, and the next request tries again.
            self.take_in(number, Found::Same);
        }
        Some((number, deadline))
    }

    fn take_in(&self, number: u64, found: Found) {
        let mut held = self.lock();
        held.running -= 1;
        // One that hung and was given up knows less than those after it.
        if number > held.ended {
            held.ended = number;
            let path = self.path.display();
            match found {
                Found::Same => {}
                Found::Changed(Ok((secret, stamp)), _) => {
                    let renewed = held.secret.as_ref() != Some(&secret);
                    let odd = secret_file::oddity(&secret).filter(|_| renewed);
                    (held.secret, held.stamp) = (Some(secret), Some(stamp));
                    if renewed {
                        tracing::info!(%path, "read a changed secret");
                    }
                    if let Some(odd) = odd {
                        tracing::warn!(%path, "{odd}");
                    }
                }
                Found::Changed(Err(fault), _) if fault.is_missing() && self.removable => {
                    (held.secret, held.stamp) = (None, None);
                    tracing::info!(%path, "a secret was withdrawn, its file is gone");
                }
                Found::Changed(Err(fault), stamp) => {
                    // Remembered, so that this is said once for each state of the file and not at every request.
                    held.stamp = stamp;
                    tracing::warn!(%path, error = %fault, "a changed secret cannot be used, the one before stays in force");
                }
            }
        }
        let ended = held.ended;
        drop(held);
        self.ended.send_replace(ended);
    }

    fn say_late(&self) {
        let mut held = self.lock();
        if held.begun > held.ended && !std::mem::replace(&mut held.is_said, true) {
            tracing::warn!(path = %self.path.display(), "a secret's file does not answer: the last good secret stays in use");
        }
    }
}

/// Compares the file with what is known of it, and reads it if it is another one.
fn look(path: &Path, known: Option<Stamp>) -> Found {
    let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
    if stamp == known { Found::Same } else { Found::Changed(read(path), stamp) }
}

/// The secrets of the hook listener, the current one first.
pub struct Secrets(Vec<SecretFile>);

impl Secrets {
    pub fn new(files: Vec<SecretFile>) -> Self {
        Self(files)
    }

    /// The secrets in force, each with its word for records.
    pub async fn current(&self) -> Vec<(&'static str, Secret)> {
        // Together: two files that hang cost as much as one.
        futures_util::future::join_all(self.0.iter().map(SecretFile::current)).await;
        self.known()
    }

    /// The same as far as they are known, without looking at the files.
    pub fn known(&self) -> Vec<(&'static str, Secret)> {
        let word = |at| if at == 0 { "current" } else { "previous" };
        self.0.iter().enumerate().filter_map(|(at, file)| Some((word(at), file.known()?))).collect()
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

/// The same, given up when it takes too long; its thread is left behind then.
fn read_in_time(path: &Path) -> Result<(Secret, Stamp), BadSecretFile> {
    let (answer, answered) = mpsc::channel();
    let file = path.to_owned();
    thread::Builder::new().name("secret".to_owned()).spawn(move || {
        // The receiver is gone if this was given up.
        let _ = answer.send(read(&file));
    })?;
    answered.recv_timeout(PATIENCE_AT_START).unwrap_or(Err(BadSecretFile::Silent))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As if the last check had been long ago.
    fn later(file: &SecretFile) -> Option<Secret> {
        let stamp = file.0.lock().stamp;
        let found = look(&file.0.path, stamp);
        let number = {
            let mut held = file.0.lock();
            (held.begun, held.running) = (held.begun + 1, held.running + 1);
            held.begun
        };
        file.0.take_in(number, found);
        file.known()
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
        assert!(is(file.known(), "the-first-secret-of-all"));
        std::os::unix::fs::symlink("..two", folder.path().join("..new")).expect("linked");
        fs::rename(folder.path().join("..new"), &data).expect("swapped");
        assert!(is(later(&file), "other-secret-as-long-ok"));
        fs::remove_file(&path).expect("removed");
        assert!(later(&file).is_none());
        fs::write(&path, "back-again-and-long-enough").expect("written");
        assert!(is(later(&file), "back-again-and-long-enough"));
    }
}
