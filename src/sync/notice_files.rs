//! The touch file and the error file of a sync, written in the background. It must not know when a sync ends.

use std::path::Path;

use tokio::time::Instant;

use crate::error::SyncError;
use crate::notices::{self, Notice};
use crate::worker::Newest;

/// The touch file and the error file, each written by a thread of its own: they may be on different disks, and a sync waits
/// for neither.
#[derive(Debug)]
pub(super) struct NoticeFiles {
    touch: Option<Newest<()>>,
    error: Option<Newest<Option<Notice>>>,
}

impl NoticeFiles {
    pub(crate) fn new(options: &notices::NoticeOptions) -> Self {
        // A thread for each: the files may be on different disks, of which one hangs.
        let touch = options.touch.clone().map(|path| Newest::new("touch-file", move |()| touch(&path)));
        let error = options.error.clone().map(|path| Newest::new("error-file", move |notice| write(&path, notice)));
        Self { touch, error }
    }

    /// Touches the touch file in the background.
    pub(crate) fn published(&self) {
        if let Some(touch) = &self.touch {
            touch.ask(());
        }
    }

    /// Writes the error file in the background, or removes it if there is no failure. The number is that of the failures in
    /// a row.
    pub(crate) fn failure(&self, failure: Option<(&SyncError, u32)>) {
        if let Some(file) = &self.error {
            file.ask(failure.map(|(error, failures)| notice(error, failures)));
        }
    }

    /// Waits until both are written, or the deadline is over.
    pub(crate) async fn done(&self, deadline: Instant) {
        if let Some(touch) = &self.touch {
            touch.done(deadline).await;
        }
        if let Some(error) = &self.error {
            error.done(deadline).await;
        }
    }
}

fn touch(path: &Path) {
    if let Err(error) = notices::touch(path) {
        tracing::warn!(%error, path = %path.display(), "the touch file could not be touched");
    }
}

fn write(path: &Path, notice: Option<Notice>) {
    let written = match notice {
        Some(notice) => notices::tell(path, &notice),
        None => notices::clear(path),
    };
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "the error file could not be written or removed");
    }
}

fn notice(error: &SyncError, failures: u32) -> Notice {
    let mut notice = Notice::new("sync failed", error.message());
    let args = &mut notice.args;
    args.insert("phase".to_owned(), error.phase.to_string().into());
    args.insert("kind".to_owned(), error.kind.as_str().into());
    args.insert("failCount".to_owned(), failures.into());
    if let Some(hint) = error.hint {
        args.insert("hint".to_owned(), hint.into());
    }
    notice
}
