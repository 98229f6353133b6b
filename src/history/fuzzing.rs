//! Properties that must hold for any history file, because other containers may write to the volume (see
//! src/fuzzing.rs).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::History;
use super::journal::Journal;
use crate::api::{Change, Detail, FileChange, PeerResult, Record, sample};

const LIMIT: usize = 8;

/// A folder in memory if possible, because each input becomes a file. Removed with its content when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn folder() -> Folder {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let folder = base.join(format!("pushsync-fuzz-{}-{thread}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the history");
    Folder(folder)
}

/// The file is opened whatever its content. An added record exists after a restart, with its detail, as the newest,
/// with a unique id. A rewrite loses nothing.
pub(crate) fn history_file(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(any_file(data));
}

/// Long enough for a loaded machine.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn any_file(data: &[u8]) {
    let folder = folder();
    let path = folder.0.join("history.jsonl");
    fs::write(&path, data).expect("written");

    let history = History::new(LIMIT);
    let before = history.next_id();
    history.append(record(&before), detail("before.txt"));
    history.attach(&path);
    let loaded = history.attached(later()).await.expect("content is never an error");
    let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    assert!(loaded.records <= LIMIT && loaded.records <= lines);
    let id = history.next_id();
    history.append(record(&id), detail("added.txt"));
    let told = vec![PeerResult { address: "192.0.2.1:8080".into(), result: "told".into() }];
    assert!(history.amend(&id, told.clone()).is_some());
    assert!(history.written(later()).await);
    let ids: Vec<String> = history.page(None, LIMIT).into_iter().map(|record| record.id).collect();
    assert_eq!(ids.iter().filter(|known| **known == id).count(), 1, "the id {id} was given twice: {ids:?}");
    let expected = Record { peers: told, ..record(&id) };
    check(&history, &expected).await;

    // After a restart.
    drop(history);
    let history = History::new(LIMIT);
    history.attach(&path);
    history.attached(later()).await.expect("ours");
    check(&history, &expected).await;
    let next = history.next_id();
    assert!(next.parse::<u64>().ok() > id.parse::<u64>().ok(), "{next} after {id}");

    // After a rewrite of the file.
    let (mut journal, found) = Journal::open(&path, LIMIT).expect("ours");
    let places: Vec<_> = found.records.iter().map(|(_, place)| *place).collect();
    journal.compact(&places).expect("rewritten");
    drop(journal);
    let history = History::new(LIMIT);
    history.attach(&path);
    let loaded = history.attached(later()).await.expect("ours");
    assert_eq!((loaded.records, loaded.skipped), (found.records.len(), 0));
    check(&history, &expected).await;
}

async fn check(history: &History, expected: &Record) {
    let newest = history.page(None, 1);
    assert_eq!(newest.first(), Some(expected));
    let detail = history.detail(&expected.id, later()).await.expect("in time").expect("it is there");
    assert_eq!((&detail.record, detail.detail), (expected, self::detail("added.txt")));
}

fn record(id: &str) -> Record {
    Record { new: Some("1".repeat(40)), ..sample::record(id) }
}

fn detail(path: &str) -> Detail {
    let files = vec![FileChange { path: path.to_owned(), change: Change::Added }];
    Detail { files, files_total: 1, ..Detail::default() }
}
