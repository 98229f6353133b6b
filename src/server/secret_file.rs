//! A secret in a file that can change at any time. A changed file is read again; if its new content is unusable, the
//! previous secret stays in use.
//!
//! Kubernetes replaces a mounted Secret by renaming a symlink (`..data`), so every check resolves the path again. A
//! check is one `stat`, at most once a second, only when a request needs the secret, on its own thread. While a check
//! hangs, the last good secret stays in use. This module does not know what the secret is for.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::secret::Secret;
use crate::secret_file::{self, BadSecretFile};

/// The longest time between a request and the check that it relies on.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for a running check. A healthy disk answers in microseconds; once a check takes longer
/// than this, requests do not wait at all.
const PATIENCE: Duration = Duration::from_millis(300);
/// A check that hangs for this long no longer blocks another one: the file may be on another disk by now.
const GIVE_UP: Duration = Duration::from_secs(30);
/// The most checks that may hang. At this limit no check starts until one of them returns.
const MOST_CHECKS: usize = 4;
/// The longest time for the first read, when there is no last good secret.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

/// Identifies a version of the file without reading its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// A change of permissions alters only this time.
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
    /// True once it has been logged that the newest check hangs.
    is_logged: bool,
}

/// One secret that follows its file.
pub(crate) struct SecretFile(Arc<SecretState>);

struct SecretState {
    path: PathBuf,
    /// True: if the file is deleted, the secret is no longer valid.
    removable: bool,
    /// Never locked during a call to the disk.
    held: Mutex<Held>,
    /// The number of the newest check that ended.
    ended: watch::Sender<u64>,
}

/// The result of a check.
enum ReadResult {
    Same,
    Changed(Result<(Secret, Stamp), BadSecretFile>, Option<Stamp>),
}

impl SecretFile {
    /// Reads a secret that must exist. If its file is deleted later, the last value stays in use.
    ///
    /// # Errors
    /// [`BadSecretFile`], if it cannot be used, or reading it takes longer than ten seconds.
    pub(crate) fn required(path: &Path) -> Result<Self, BadSecretFile> {
        let (secret, stamp) = read_in_time(path)?;
        Ok(Self::new(path, false, Some(secret), Some(stamp)))
    }

    /// Reads a secret that may be missing now or later, such as the previous secret after a rotation.
    ///
    /// # Errors
    /// [`BadSecretFile`], if the file exists and cannot be used, or reading it takes longer than ten seconds.
    pub(crate) fn removable(path: &Path) -> Result<Self, BadSecretFile> {
        match read_in_time(path) {
            Ok((secret, stamp)) => Ok(Self::new(path, true, Some(secret), Some(stamp))),
            Err(fault) if fault.is_missing() => Ok(Self::new(path, true, None, None)),
            Err(fault) => Err(fault),
        }
    }

    fn new(path: &Path, removable: bool, secret: Option<Secret>, stamp: Option<Stamp>) -> Self {
        let checked = Instant::now();
        let held = Held { secret, stamp, checked, begun: 0, ended: 0, running: 0, is_logged: false };
        let held = Mutex::new(held);
        Self(Arc::new(SecretState { path: path.to_owned(), removable, held, ended: watch::Sender::new(0) }))
    }

    /// Returns the secret in the file, or `None` if it was removed. While reading hangs, the last good one is returned.
    pub(crate) async fn current(&self) -> Option<Secret> {
        if let Some((number, deadline)) = self.0.check_if_due() {
            let mut ended = self.0.ended.subscribe();
            if timeout_at(deadline, ended.wait_for(|ended| *ended >= number)).await.is_err() {
                self.0.log_late();
            }
        }
        self.known()
    }

    /// Returns the secret that was read last, without checking the file.
    pub(crate) fn known(&self) -> Option<Secret> {
        self.0.lock().secret.clone()
    }
}

impl SecretState {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    /// Starts a check if the last one is too old. Returns the number of the running check and how long to wait for it.
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
        held.is_logged = false;
        let (number, stamp, deadline) = (held.begun, held.stamp, held.checked + PATIENCE);
        drop(held);
        let shared = Arc::clone(self);
        let check = thread::Builder::new().name("secret".to_owned()).spawn(move || {
            let found = look(&shared.path, stamp);
            shared.finish_check(number, found);
        });
        if check.is_err() {
            // Without a thread the last good secret stays, and the next request tries again.
            self.finish_check(number, ReadResult::Same);
        }
        Some((number, deadline))
    }

    fn finish_check(&self, number: u64, found: ReadResult) {
        let mut held = self.lock();
        held.running -= 1;
        // A check that hung and finished late knows less than the ones after it.
        if number > held.ended {
            held.ended = number;
            let path = self.path.display();
            match found {
                ReadResult::Same => {}
                ReadResult::Changed(Ok((secret, stamp)), _) => {
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
                ReadResult::Changed(Err(fault), _) if fault.is_missing() && self.removable => {
                    (held.secret, held.stamp) = (None, None);
                    tracing::info!(%path, "a secret was removed, its file no longer exists");
                }
                ReadResult::Changed(Err(fault), stamp) => {
                    // Store the stamp of an unusable file too, so that it is logged once per state of the file and
                    // not at every request.
                    held.stamp = stamp;
                    tracing::warn!(%path, error = %fault, "a changed secret cannot be used, the previous one stays in use");
                }
            }
        }
        let ended = held.ended;
        drop(held);
        self.ended.send_replace(ended);
    }

    fn log_late(&self) {
        let mut held = self.lock();
        if held.begun > held.ended && !std::mem::replace(&mut held.is_logged, true) {
            tracing::warn!(path = %self.path.display(), "reading a secret file takes too long, the last good secret stays in use");
        }
    }
}

/// Compares the file's stamp with the known one, and reads the file if they differ.
fn look(path: &Path, known: Option<Stamp>) -> ReadResult {
    let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
    if stamp == known { ReadResult::Same } else { ReadResult::Changed(read(path), stamp) }
}

/// The secrets of the hook listener, the current one first.
pub(crate) struct Secrets(Vec<SecretFile>);

impl Secrets {
    pub(crate) fn new(files: Vec<SecretFile>) -> Self {
        Self(files)
    }

    /// Returns the secrets in use, each with its label for records.
    pub(crate) async fn current(&self) -> Vec<(&'static str, Secret)> {
        // Check the files concurrently, so that two hanging files cost no more time than one.
        futures_util::future::join_all(self.0.iter().map(SecretFile::current)).await;
        self.known()
    }

    /// Returns the same as last read, without checking the files.
    pub(crate) fn known(&self) -> Vec<(&'static str, Secret)> {
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
    // Take the stamp before reading, so that a write in between is seen as another change.
    let stamp = Stamp::of(&std::fs::metadata(path)?);
    Ok((secret_file::read(path)?, stamp))
}

/// The same with a timeout. A thread that hangs is abandoned.
fn read_in_time(path: &Path) -> Result<(Secret, Stamp), BadSecretFile> {
    let (answer, answered) = mpsc::channel();
    let file = path.to_owned();
    let started = thread::Builder::new().name("secret".to_owned()).spawn(move || {
        // The receiver is gone if the caller has given up.
        let _ = answer.send(read(&file));
    });
    started.map_err(BadSecretFile::NoThread)?;
    answered.recv_timeout(PATIENCE_AT_START).unwrap_or(Err(BadSecretFile::Silent))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes the last check old enough for another one.
    fn later(file: &SecretFile) -> Option<Secret> {
        let stamp = file.0.lock().stamp;
        let found = look(&file.0.path, stamp);
        let number = {
            let mut held = file.0.lock();
            (held.begun, held.running) = (held.begun + 1, held.running + 1);
            held.begun
        };
        file.0.finish_check(number, found);
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
    fn a_replaced_symlink_is_followed_and_a_removable_secret_can_be_removed() {
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
