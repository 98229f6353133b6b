//! The task that keeps the list of pods up to date: a watch for changes, and a listing from time to time.
//!
//! It reports lists. It must not know how the model uses them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::backoff::Pauses;

use super::child::Terminal;
use super::message::Msg;
use super::model::{Found, Problem};
use super::pods::Lister;
use super::pods::watch::{Change, Watch, apply};

/// The pause between two listings while a watch reports the changes.
const WATCHED: Duration = Duration::from_secs(60);
/// The pause between two listings without a watch while no pod has a problem. Each costs a kubectl.
const CALM: Duration = Duration::from_secs(15);
/// The pause between two listings without a watch after something happened.
const BUSY: Duration = Duration::from_secs(5);
/// Changes that come together are reported together.
const TOGETHER: Duration = Duration::from_millis(50);
/// A watch that ends sooner than this did not work. The server ends a good one after half an hour or more.
const STOOD: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Lists and watches until no task reads the messages any more.
pub(crate) struct Listing {
    pub lister: Lister,
    pub out: mpsc::Sender<Msg>,
    /// Something happened to a pod: list now.
    pub asked: Arc<Notify>,
    watch: Option<Watch>,
    /// When the watch began, or may begin again.
    watch_at: Instant,
    pauses: Pauses,
    /// The last listing, brought up to date by what the watch reported.
    last: Result<Vec<Found>, Problem>,
}

/// The reason why the task continues.
enum Woken {
    Asked,
    Time,
    Changes(Option<Vec<Change>>),
}

impl Listing {
    #[must_use]
    pub(crate) fn new(
        lister: Lister,
        first: Result<Vec<Found>, Problem>,
        out: mpsc::Sender<Msg>,
        asked: Arc<Notify>,
    ) -> Self {
        Self {
            lister,
            out,
            asked,
            watch: None,
            watch_at: Instant::now(),
            pauses: Pauses::new(BUSY, LONGEST_BACKOFF),
            last: first,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut wait = BUSY;
        loop {
            self.begin_watch();
            let wait_now = if self.watch.is_some() { WATCHED } else { wait };
            let woken = tokio::select! {
                () = self.asked.notified() => Woken::Asked,
                () = tokio::time::sleep(wait_now) => Woken::Time,
                changes = next(&mut self.watch) => Woken::Changes(changes),
            };
            wait = BUSY;
            match woken {
                Woken::Changes(Some(changes)) => self.changed(changes).await,
                // A listing finds the changes between the end of a watch and the next one.
                Woken::Changes(None) if self.watch_stood() => _ = self.list().await,
                Woken::Changes(None) => {}
                Woken::Asked => {
                    // Several links break at once when a node fails.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    self.list().await;
                }
                Woken::Time => {
                    if self.list().await {
                        wait = CALM;
                    }
                }
            }
            if self.out.is_closed() {
                return;
            }
        }
    }

    /// Lists, and reports. Returns true if the list has not changed.
    async fn list(&mut self) -> bool {
        let found = self.lister.list(Terminal::None).await;
        let same = self.last == found;
        self.last.clone_from(&found);
        // The receiver is gone when the program ends; the loop above checks that.
        let _ = self.out.send(Msg::Pods(found)).await;
        same
    }

    async fn changed(&mut self, mut changes: Vec<Change>) {
        while let Ok(Some(more)) = tokio::time::timeout(TOGETHER, next(&mut self.watch)).await {
            changes.extend(more);
        }
        // A watch starts only after a successful listing. After a failed one, the next listing contains all changes.
        let Ok(list) = self.last.as_mut() else { return };
        apply(list, changes);
        let list = list.clone();
        let _ = self.out.send(Msg::Pods(Ok(list))).await;
    }

    fn begin_watch(&mut self) {
        if self.watch.is_some() || self.last.is_err() || Instant::now() < self.watch_at {
            return;
        }
        match self.lister.watch() {
            Ok(Some(watch)) => {
                self.watch = Some(watch);
                self.watch_at = Instant::now();
            }
            Ok(None) => {}
            Err(_) => self.later(),
        }
    }

    /// Drops a watch that ended. Returns true if it had worked.
    fn watch_stood(&mut self) -> bool {
        self.watch = None;
        let stood = self.watch_at.elapsed() >= STOOD;
        if stood {
            self.pauses.reset();
        } else {
            self.later();
        }
        stood
    }

    fn later(&mut self) {
        self.watch_at = Instant::now() + self.pauses.take();
    }
}

async fn next(watch: &mut Option<Watch>) -> Option<Vec<Change>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
