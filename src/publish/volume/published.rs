//! The state of published trees in this process: which of their entries are known to be unchanged, and the changes by hooks.
//!
//! It must not know how trees are compared.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::Oid;
use parking_lot::{Mutex, MutexGuard};

use crate::publish::error::Error;
use crate::publish::folder::Stamp;
use crate::publish::folder::baseline::Baseline;
use crate::publish::tree::options::CheckoutOptions;
use crate::publish::volume::hook_changes::HookChanges;

/// The state of a published tree in this process.
#[derive(Clone, Debug)]
pub(crate) struct PublishedTree {
    /// `None` if an earlier process left it and it has not been checked.
    pub baseline: Option<Baseline>,
    pub entries: u64,
    /// When it should be compared with its commit as a whole; `None` if that was done.
    pub verify_due: Option<Instant>,
    /// Set if that comparison comes so late that apps may have changed something since.
    pub handed_over: Option<HandedOver>,
    /// The options with which it was written (`CheckoutOptions::fingerprint`).
    pub fingerprint: u64,
    /// The changes of tracked files by hooks. The baseline is from before them.
    pub hook_changes: Option<Arc<HookChanges>>,
}

/// A tree without reported changes by others before readers got it.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver {
    /// A time before readers got it.
    pub at: Stamp,
    /// A baseline that also contains the push's files. An app may change one in the same tick of the clock, so it is used
    /// only to copy times.
    pub written: Baseline,
}

/// The published trees by their commits.
#[derive(Debug)]
pub(crate) struct PublishedTrees {
    trees: Mutex<HashMap<Oid, PublishedTree>>,
    /// `.pushsync`, where the changes by hooks are stored.
    state: PathBuf,
}

impl PublishedTrees {
    pub(crate) fn new(state: PathBuf) -> Self {
        Self { trees: Mutex::default(), state }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<Oid, PublishedTree>> {
        self.trees.lock()
    }

    pub(crate) fn get(&self, commit: Oid) -> Option<PublishedTree> {
        self.lock().get(&commit).cloned()
    }

    pub(crate) fn insert(&self, commit: Oid, known: PublishedTree) {
        self.lock().insert(commit, known);
    }

    /// Notes that another commit was published. The trees of all others are checked before they are used again.
    pub(crate) fn note_push(&self, live: Oid) {
        // Readers have left the others. Such a tree is checked when it is used again, and not before.
        let mut trees = self.lock();
        trees.iter_mut().filter(|(commit, _)| **commit != live).for_each(|(_, known)| known.verify_due = None);
    }

    /// Returns true if one of the trees should be compared with its commit now.
    pub(crate) fn verify_is_due(&self, now: Instant) -> bool {
        self.lock().values().any(|known| known.verify_due.is_some_and(|due| due <= now))
    }

    /// Returns the time until the next tree should be compared with its commit.
    pub(crate) fn next_verify(&self, now: Instant) -> Option<Duration> {
        let trees = self.lock();
        let due = trees.values().filter_map(|known| known.verify_due);
        due.filter(|due| *due > now).min().map(|due| due - now)
    }

    /// Notes that this process wrote a tree, which was complete at a time when no other process could change it. Entries
    /// that were written in that tick of the clock are compared later.
    pub(crate) fn note_written(&self, since: Stamp, commit: Oid, entries: u64, options: &CheckoutOptions) {
        let (baseline, fingerprint, verify_due) =
            (Some(Baseline::at(since)), options.fingerprint(), Some(Instant::now()));
        self.insert(
            commit,
            PublishedTree { baseline, entries, verify_due, handed_over: None, fingerprint, hook_changes: None },
        );
    }

    /// Trusts a tree of an earlier process for now; it is compared with its commit as soon as there is time.
    pub(crate) fn verify_later(&self, commit: Oid, options: &CheckoutOptions) {
        // Without a baseline every file is read: the earlier process may have left anything.
        let (fingerprint, verify_due) = (options.fingerprint(), Some(Instant::now()));
        self.insert(
            commit,
            PublishedTree {
                baseline: None,
                entries: 0,
                verify_due,
                handed_over: None,
                fingerprint,
                hook_changes: None,
            },
        );
    }

    /// Returns the baseline of a published tree.
    pub(crate) fn baseline(&self, commit: Oid, fingerprint: u64) -> Option<Baseline> {
        // A tree that was written with other options differs although nothing has changed it.
        self.lock().get(&commit).filter(|known| known.fingerprint == fingerprint)?.baseline.clone()
    }

    /// Returns the changes of tracked files in a published tree by hooks.
    pub(crate) fn hook_changes(&self, commit: Oid) -> Option<Arc<HookChanges>> {
        let known = self.lock().get(&commit).and_then(|known| known.hook_changes.clone());
        // An earlier process may have stored it.
        known.or_else(|| HookChanges::load(&self.state, commit).map(Arc::new))
    }

    /// Stores changes of tracked files by hooks, also for the next process.
    pub(crate) fn accept(&self, commit: Oid, found: HookChanges) -> Result<(), Error> {
        // Stored before it counts, so that a failed write is an error and not a list that the next process lacks.
        found.store(&self.state, commit).map_err(|source| failed("write", source))?;
        if let Some(known) = self.lock().get_mut(&commit) {
            known.hook_changes = (!found.is_empty()).then(|| Arc::new(found));
        }
        Ok(())
    }

    /// Notes that another tree is about to replace that commit's, in which no hook has run yet.
    pub(crate) fn forget_hook_changes(&self, commit: Oid) -> Result<(), Error> {
        if self.hook_changes(commit).is_none() {
            return Ok(());
        }
        if let Some(known) = self.lock().get_mut(&commit) {
            known.hook_changes = None;
        }
        HookChanges::default().store(&self.state, commit).map_err(|source| failed("remove", source))
    }
}

fn failed(doing: &'static str, source: std::io::Error) -> Error {
    Error::Io { doing, path: ".pushsync/hook-changes".to_owned(), source }
}
