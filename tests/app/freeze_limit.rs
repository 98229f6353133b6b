//! More records than may wait for a history's disk that hangs.

use super::freeze::{start, sync_of_history};
use super::site::Site;

fn number(id: &str) -> u32 {
    id.parse().expect("ids are numbers")
}

#[tokio::test]
async fn of_too_many_records_that_wait_for_the_disk_the_oldest_are_lost_and_that_is_told() {
    const LIMIT: u64 = 10;
    let limited = |site: &mut Site| {
        site.set("history-limit", &LIMIT.to_string());
    };
    let Some(frozen) = start(limited).await else { return };
    frozen.in_sync().await;
    let first = number(&frozen.on_disk().pop().expect("the start is on the disk").id);
    frozen.program.hang(sync_of_history);
    let mut commits = Vec::new();
    for turn in 0..LIMIT + 4 {
        commits.push(frozen.push(&format!("push {turn}")).await.0);
        frozen.site.wait_record(|record| record.new.as_ref() == commits.last()).await;
    }
    assert!(frozen.program.hanging() > 0, "nothing hangs");
    let state = frozen.snapshot_when(|snapshot| snapshot.history.dropped >= 4).await.history;
    assert_eq!((state.waiting, state.dropped), (LIMIT, 4), "{state:?}");
    let shown = frozen.site.history().await;
    let newest: Vec<_> = commits.iter().rev().take(10).cloned().map(Some).collect();
    assert_eq!(shown.iter().map(|record| record.new.clone()).collect::<Vec<_>>(), newest, "the newest stay");
    assert_eq!(state.since, shown.last().map(|oldest| oldest.finished_at));
    let (_, metrics) = frozen.site.probe("/metrics").await;
    assert!(metrics.contains("\npushsync_history_dropped_total 4\n"), "{metrics}");
    assert!(frozen.log().contains("were lost: too many wait for the history's disk"), "{}", frozen.log());

    // What is left is written in order. The one whose call hung is there, too.
    frozen.program.release();
    let settled = frozen.snapshot_when(|snapshot| snapshot.history.waiting == 0).await.history;
    assert_eq!(settled.dropped, 4, "what was lost is not forgotten");
    let written: Vec<u32> = frozen.on_disk().iter().map(|record| number(&record.id)).collect();
    let left: Vec<u32> = shown.iter().rev().map(|record| number(&record.id)).collect();
    assert_eq!(written[written.len() - left.len()..], left, "{written:?}");
    let lost = first + 2..first + 5;
    assert!(!written.iter().any(|id| lost.contains(id)), "{written:?}");
    assert_eq!(frozen.site.history().await, shown);
    frozen.terminate();
}
