//! The journal against a real file system: restarts, torn and hostile lines, growth.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::api::{FileChange, Outcome, sample};

fn record(id: &str) -> Record {
    Record { new: Some(format!("{id:0>40}")), ..sample::record(id) }
}

fn detail(path: &str) -> Detail {
    let change = FileChange { path: path.to_owned(), change: crate::api::Change::Added };
    Detail { files: vec![change], files_total: 1, ..Detail::default() }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    (folder, path)
}

fn later() -> Instant {
    Instant::now() + std::time::Duration::from_secs(60)
}

/// Attaches the file and waits until it was read and everything is in it.
async fn attach(history: &History, path: &std::path::Path) -> Loaded {
    history.attach(path);
    let loaded = history.attached(later()).await.unwrap();
    assert!(history.written(later()).await);
    loaded
}

/// Adds a record and waits until it is on the disk.
async fn append(history: &History, record: Record, detail: Detail) {
    history.append(record, detail);
    assert!(history.written(later()).await);
}

async fn detail_of(history: &History, id: &str) -> Option<SyncDetail> {
    history.detail(id, later()).await.unwrap()
}

fn ids(history: &History) -> Vec<String> {
    history.page(None, 1000).into_iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn records_and_their_details_survive_a_restart() {
    let (_folder, path) = file();
    let history = History::new(10);
    attach(&history, &path).await;
    for name in ["one", "two", "three"] {
        let id = history.next_id();
        append(&history, record(&id), detail(name)).await;
    }

    let again = History::new(10);
    assert_eq!(attach(&again, &path).await, Loaded { records: 3, skipped: 0 });
    assert_eq!(ids(&again), ["3", "2", "1"]);
    assert_eq!(detail_of(&again, "2").await.unwrap().detail.files[0].path, "two");
    assert_eq!(again.next_id(), "4");
    let page: Vec<_> = again.page(Some("3"), 1).into_iter().map(|record| record.id).collect();
    assert_eq!(page, ["2"]);
    assert!(again.page(Some("no such"), 5).is_empty());
}

#[tokio::test]
async fn a_torn_last_line_and_garbage_are_skipped_and_the_next_record_is_whole() {
    let (_folder, path) = file();
    let history = History::new(10);
    attach(&history, &path).await;
    append(&history, record("1"), detail("one")).await;
    append(&history, record("2"), detail("two")).await;
    let mut bytes = fs::read(&path).unwrap();
    // As a loss of power may leave it: the last record breaks off.
    bytes.truncate(bytes.len() - 20);
    let mut hostile = b"{\"schema\":1}\n\xff\xfe garbage\n[[[[\n".to_vec();
    hostile.extend(&bytes);
    fs::write(&path, hostile).unwrap();

    let again = History::new(10);
    // The three hostile lines and the torn one.
    assert_eq!(attach(&again, &path).await, Loaded { records: 1, skipped: 4 });
    append(&again, record("3"), detail("three")).await;
    let third = History::new(10);
    assert_eq!(attach(&third, &path).await, Loaded { records: 2, skipped: 4 });
    assert_eq!(ids(&third), ["3", "1"]);
    assert_eq!(detail_of(&third, "3").await.unwrap().detail.files[0].path, "three");
}

#[tokio::test]
async fn the_file_is_bounded_and_details_stay_readable_after_a_rewrite() {
    let (_folder, path) = file();
    let history = History::new(20);
    attach(&history, &path).await;
    let mut longest = 0;
    for _ in 0..500 {
        let id = history.next_id();
        append(&history, record(&id), detail(&format!("file-{id}"))).await;
        longest = longest.max(fs::read_to_string(&path).unwrap().lines().count());
    }
    // The limit and a quarter of it, and 17 lines more (`Journal::is_due`).
    assert!(longest <= 20 + 5 + 17, "{longest} lines");
    for id in 481..=500 {
        let found = detail_of(&history, &id.to_string()).await.unwrap();
        assert_eq!(found.detail.files[0].path, format!("file-{id}"));
    }
    assert!(detail_of(&history, "480").await.is_none());
}

#[tokio::test]
async fn records_from_before_the_file_was_readable_come_after_its_records() {
    let (_folder, path) = file();
    let before = History::new(10);
    attach(&before, &path).await;
    let id = before.next_id();
    append(&before, record(&id), Detail::default()).await;

    let late = History::new(10);
    let id = late.next_id();
    late.append(Record { outcome: Outcome::Failed, ..record(&id) }, detail("while away"));
    attach(&late, &path).await;
    assert_eq!(ids(&late), ["2", "1"]);
    assert_eq!(late.next_id(), "3");
    let again = History::new(10);
    attach(&again, &path).await;
    assert_eq!(detail_of(&again, "2").await.unwrap().detail.files[0].path, "while away");
}

#[tokio::test]
async fn a_detached_file_is_attached_again_or_created_without_losing_a_record() {
    let (_folder, path) = file();
    let history = History::new(10);
    attach(&history, &path).await;
    for name in ["one", "two"] {
        let id = history.next_id();
        append(&history, record(&id), detail(name)).await;
    }
    // The volume is lost for a while, and the file with it.
    history.detach();
    fs::remove_file(&path).unwrap();
    let id = history.next_id();
    history.append(record(&id), detail("three"));
    attach(&history, &path).await;
    let again = History::new(10);
    attach(&again, &path).await;
    for (id, name) in [("1", "one"), ("2", "two"), ("3", "three")] {
        assert_eq!(detail_of(&history, id).await.unwrap().detail.files[0].path, name);
        assert_eq!(detail_of(&again, id).await.unwrap().detail.files[0].path, name);
    }
    assert_eq!((ids(&history).len(), ids(&again).len()), (3, 3));
}

#[tokio::test]
async fn a_symlink_in_place_of_the_history_file_is_not_followed() {
    let (folder, path) = file();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    let history = History::new(10);
    history.attach(&path);
    assert!(history.attached(later()).await.is_err());
    history.append(record("1"), detail("one"));
    // The obstacle is removed, so the waiting record is written.
    fs::remove_file(&path).unwrap();
    append(&history, record("2"), detail("two")).await;
    assert_eq!(attach(&History::new(10), &path).await.records, 2);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[tokio::test]
async fn an_amended_record_keeps_its_place_and_its_detail_over_a_restart() {
    let (_folder, path) = file();
    let history = History::new(10);
    attach(&history, &path).await;
    for name in ["one", "two", "three"] {
        let id = history.next_id();
        append(&history, record(&id), detail(name)).await;
    }
    let peers = vec![PeerResult { address: "192.0.2.1:8080".into(), result: "timed_out".into() }];
    let amended = history.amend("2", peers.clone());
    assert!(history.written(later()).await);
    assert_eq!(amended.map(|record| record.peers), Some(peers.clone()));
    assert!(history.amend("9", peers.clone()).is_none());

    let again = History::new(10);
    assert_eq!(attach(&again, &path).await, Loaded { records: 3, skipped: 0 });
    for history in [history, again] {
        assert_eq!(ids(&history), ["3", "2", "1"]);
        let found = detail_of(&history, "2").await.unwrap();
        assert_eq!((found.record.peers, found.detail), (peers.clone(), detail("two")));
    }
}

#[tokio::test]
async fn foreign_ids_do_not_exhaust_the_counter() {
    let (_folder, path) = file();
    // The last two are above `HIGHEST_ID`.
    let lines: Vec<String> = ["5", "18446744073709551615", "9007199254740993"]
        .iter()
        .map(|id| serde_json::to_string(&record(id)).unwrap() + "\n")
        .collect();
    fs::write(&path, lines.concat()).unwrap();
    let history = History::new(10);
    let early = history.next_id();
    history.append(record(&early), detail("early"));
    assert_eq!(attach(&history, &path).await, Loaded { records: 3, skipped: 0 });
    // The record of this process had the id 1, and was moved behind the 5.
    assert_eq!((history.next_id(), ids(&history).first().cloned()), ("7".into(), Some("6".into())));
}

#[tokio::test]
async fn waiting_details_over_the_limit_are_dropped_oldest_first_and_records_stay() {
    let (_folder, path) = file();
    let history = History::new(10);
    // A folder in the file's place: nothing can be written before it is gone.
    fs::create_dir(&path).unwrap();
    history.attach(&path);
    assert!(history.attached(later()).await.is_err());
    let large = |id: &str| detail(&format!("{id}{}", "x".repeat(3 << 20)));
    for _ in 0..7 {
        let id = history.next_id();
        history.append(record(&id), large(&id));
    }
    let waiting = *history.waiting().borrow();
    assert_eq!((waiting.records, waiting.dropped), (7, 2), "five of three mebibytes fit into sixteen");
    let paths = async |history: &History| {
        let mut paths = Vec::new();
        for record in history.page(None, 10).iter().rev() {
            let files = detail_of(history, &record.id).await.unwrap().detail.files;
            paths.push(files.first().map(|file| file.path.trim_end_matches('x').to_owned()).unwrap_or_default());
        }
        paths
    };
    assert_eq!(paths(&history).await, ["", "", "3", "4", "5", "6", "7"]);
    fs::remove_dir(&path).unwrap();
    append(&history, record(&history.next_id()), large("8")).await;
    assert_eq!(history.waiting().borrow().dropped, 3, "the third gave way to the eighth");
    let again = History::new(10);
    attach(&again, &path).await;
    assert_eq!(paths(&again).await, ["", "", "", "4", "5", "6", "7", "8"]);
}

/// Returns how many descriptors of this process lead to a file.
fn descriptors(path: &std::path::Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|to| to == path).count()
}

#[test]
fn no_file_is_closed_while_the_records_are_locked() {
    use journal::{Journal, JournalLine};
    type End<'a> = &'a dyn Fn(&mut RecordState);
    let (_folder, path) = file();
    let (_other_folder, other_path) = file();
    let line_in = |path: &std::path::Path| -> JournalLine {
        let (mut journal, _) = Journal::open(path, 10).unwrap();
        journal.append(&record("1"), &detail("one")).unwrap()
    };
    // Each of these ends the last use of the first file.
    let other = || line_in(&other_path);
    let trim = |state: &mut RecordState| state.append(record("2"), Detail::default(), 1);
    let write = |state: &mut RecordState| state.was_written(&record("1"), other());
    let compact = |state: &mut RecordState| state.were_moved(vec![("1".to_owned(), other())]);
    let load = |state: &mut RecordState| {
        drop(other());
        let (journal, found) = Journal::open(&other_path, 10).unwrap();
        state.insert_file(&journal, found, 10);
    };
    let detach = |state: &mut RecordState| {
        state.journal = Some(Journal::open(&path, 10).unwrap().0);
        trim(state);
        state.unused_files.clear();
        state.detach();
    };
    let ends = [("trim", &trim as End), ("write", &write), ("compact", &compact), ("load", &load), ("detach", &detach)];
    for (name, end) in ends {
        let mut state = RecordState::default();
        state.append(record("1"), detail("one"), 10);
        state.was_written(&record("1"), line_in(&path));
        assert_eq!(descriptors(&path), 1, "{name}");
        end(&mut state);
        assert_eq!((descriptors(&path), state.unused_files.len()), (1, 1), "{name}: it was closed");
        state.unused_files.clear();
        assert_eq!(descriptors(&path), 0, "{name}");
    }
}

#[tokio::test]
async fn a_detached_file_that_no_record_needs_is_closed() {
    let (_folder, path) = file();
    let history = History::new(10);
    attach(&history, &path).await;
    assert_eq!(descriptors(&path), 1);
    history.detach();
    let closed = async {
        while descriptors(&path) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout_at(later(), closed).await.unwrap();
}
