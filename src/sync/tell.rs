//! Telling others what became of a sync: the touch file and the hooks after a publish, the error file while something fails.
//!
//! None of it can make a sync fail, and of all of it only the last run of `--one-time` is waited for.

use git2::Oid;

use crate::error::SyncError;
use crate::hooks::Publication;
use crate::notices::{self, Notice};

use super::tools::Tools;

impl Tools {
    /// A commit was published, or found published at the start.
    pub async fn announce(&self, commit: Oid) {
        if let Some(path) = self.options.notices.touch.clone() {
            let shown = path.display().to_string();
            if let Err(error) = self.note(move || notices::touch(&path)).await {
                tracing::warn!(%error, path = shown, "the touch file could not be touched");
            }
        }
        // With --one-time they are told once, at the end.
        if let (false, Some(publication)) = (self.options.one_time, self.publication(commit)) {
            self.hooks.tell(publication);
        }
    }

    /// Tells the hooks what is published and waits for one attempt of each. True if all of them heard it.
    pub async fn announce_once(&self) -> bool {
        let live = self.board.read(|snapshot| snapshot.published.as_ref()?.commit.parse().ok());
        match live.and_then(|commit| self.publication(commit)) {
            Some(publication) => self.hooks.tell_once(&publication).await,
            None => true,
        }
    }

    fn publication(&self, commit: Oid) -> Option<Publication> {
        let tree = self.volume()?.tree(commit);
        Some(Publication { hash: commit.to_string(), tree })
    }

    /// Keeps the error file true: there while syncs fail, gone after one that did not.
    pub async fn tell_in_file(&self, failure: Option<(&SyncError, u32)>) {
        let Some(path) = self.options.notices.error.clone() else { return };
        let shown = path.display().to_string();
        let notice = failure.map(|(error, failures)| notice(error, failures));
        let write = move || match notice {
            Some(notice) => notices::tell(&path, &notice),
            None => notices::clear(&path),
        };
        if let Err(error) = self.note(write).await {
            tracing::warn!(%error, path = shown, "the error file could not be written or removed");
        }
    }
}

fn notice(error: &SyncError, failures: u32) -> Notice {
    let mut notice = Notice::new("sync failed", error.message());
    let args = &mut notice.args;
    args.insert("phase".to_owned(), error.phase.to_string().into());
    args.insert("kind".to_owned(), error.kind.into());
    args.insert("failCount".to_owned(), failures.into());
    if let Some(hint) = error.hint {
        args.insert("hint".to_owned(), hint.into());
    }
    notice
}
