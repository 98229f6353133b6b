//! Records on their way to the history: none is waited for longer than a healthy disk takes, and the state says how many wait.
//!
//! The history writes them on a thread of its own (`history/writer.rs`). It must not know how records come about.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::{Detail, HistoryState, PeerResult, Record};
use crate::history::{History, Waiting};
use crate::metrics::Metrics;

use super::status::StatusStore;

/// Reading the file at the start may take so long; what takes longer is taken in when it has been read.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// A record is on a healthy disk within this time. Another one that follows while it is not is not waited for at all.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);

/// A disk that is merely slow is no news.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// Passes records to the history and shows how many wait for the disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    history: Arc<History>,
    status: Arc<StatusStore>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    pub(crate) fn new(history: Arc<History>, status: Arc<StatusStore>, metrics: Arc<Metrics>) -> Self {
        Self { history, status, metrics }
    }

    /// Has the file of the volume read, and waits for it for a moment.
    pub(super) async fn attach(&self, state_folder: &Path) {
        self.history.attach(&state_folder.join("history.jsonl"));
        if let Err(error) = self.history.attached(Instant::now() + READ_PATIENCE).await {
            tracing::warn!(%error, "the history on the volume cannot be read yet; records wait in memory");
        }
        self.status.restore(self.history.page(None, 50));
    }

    /// Keeps a record. It is on the disk when this returns, unless the disk is slow or records wait for it already.
    pub(super) async fn keep(&self, record: Record, detail: Detail) {
        let is_behind = self.history.waiting().borrow().records > 0;
        self.history.append(record, detail);
        // A disk that is behind already would cost each sync this wait.
        if !is_behind {
            self.history.written(Instant::now() + WRITE_PATIENCE).await;
        }
    }

    /// Adds the peers' answers to a record, if it is still kept.
    pub(super) fn amend(&self, id: &str, peers: Vec<PeerResult>) {
        if let Some(record) = self.history.amend(id, peers) {
            self.status.amended(record);
        }
    }

    /// Shows the number of records that wait for the disk, until the process stops.
    pub(super) fn watch(&self, stop: CancellationToken) {
        let recorder = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = recorder.follow() => {}
            }
        });
    }

    async fn follow(&self) {
        let mut waiting = self.history.waiting();
        let (mut shown, mut loads) = (HistoryState::default(), 0);
        while waiting.changed().await.is_ok() {
            let mut now = *waiting.borrow_and_update();
            self.take_in(now, &mut loads);
            // Another record may be on its way each time that this is checked, although the disk takes each of them.
            while now.records > 0 && shown.waiting == 0 {
                sleep(WORTH_SAYING).await;
                let before = std::mem::replace(&mut now, *waiting.borrow_and_update());
                self.take_in(now, &mut loads);
                if is_stuck(before, now) {
                    break;
                }
            }
            let state = state(now);
            if state != shown {
                self.show(state, shown);
                shown = state;
            }
        }
    }

    /// Shows the records of a file that was read late: they were not known when the volume was opened.
    fn take_in(&self, now: Waiting, loads: &mut u64) {
        if std::mem::replace(loads, now.loads) != now.loads {
            self.status.restore(self.history.page(None, 50));
        }
    }

    fn show(&self, state: HistoryState, before: HistoryState) {
        let HistoryState { waiting, dropped, .. } = state;
        if waiting > 0 && before.waiting == 0 {
            tracing::warn!(waiting, "records wait in memory for the history's disk, which does not take them");
        } else if waiting == 0 && before.waiting > 0 {
            tracing::info!(dropped, "every record is on the history's disk again");
        }
        let lost = dropped.saturating_sub(before.dropped);
        if lost > 0 {
            tracing::warn!(lost, dropped, "records, or their details, were lost: too many wait for the history's disk");
        }
        self.metrics.history(waiting, lost);
        self.status.change(|snapshot| snapshot.history = state);
    }
}

/// True if the disk took nothing between two moments: the same record is the oldest one, or records were dropped.
fn is_stuck(before: Waiting, now: Waiting) -> bool {
    now.records > 0 && (now.since == before.since || now.dropped > before.dropped)
}

fn state(waiting: Waiting) -> HistoryState {
    HistoryState { waiting: waiting.records, since: waiting.since, dropped: waiting.dropped }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_disk_is_stuck_only_if_it_took_none_of_the_records_that_waited() {
        let at = |second: i64| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
        let waiting = |records, since, dropped| Waiting { records, since, dropped, opening: false, loads: 1 };
        let before = waiting(1, at(0), 0);
        for (later, expected) in [
            (waiting(0, None, 0), false),
            (waiting(1, at(1), 0), false),
            (waiting(1, at(0), 0), true),
            (waiting(5, at(0), 0), true),
            (waiting(5, at(1), 1), true),
        ] {
            assert_eq!(is_stuck(before, later), expected, "{later:?}");
        }
    }
}
