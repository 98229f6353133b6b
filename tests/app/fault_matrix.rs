//! The rows of the fault matrix (docs/reliability.md) that nothing else proves: the remote, its name, the clock.
//!
//! Many faults are put to one running sidecar, one after the other: none may leave anything behind that the next one meets.

use std::fs;
use std::process::Command;
use std::time::Duration;

use pushsync::api::{Outcome, Record};
use serde_json::json;

use super::site::{Site, assert_same};
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually, skip};

pub(super) fn newest(history: &[Record]) -> u64 {
    history.first().map_or(0, |record| record.id.parse().unwrap())
}

/// Waits for a failure that is younger than `last`; it must say why and what to do, and nothing published may change.
pub(super) async fn told(site: &mut Site, last: u64, before: &str) -> Record {
    let young = |record: &Record| record.outcome == Outcome::Failed && record.id.parse::<u64>().unwrap() > last;
    let record = site.wait_record(young).await;
    let error = record.error.as_ref().expect("a failure says why");
    assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{error:?}");
    assert!(site.sidecar().is_running());
    assert_eq!(site.published().as_deref(), Some(before));
    assert_same(&site.link(), &site.repo, before);
    record
}

/// Puts each way of answering to the same sidecar: a failure of one of these kinds, and recovery when the next bell rings.
async fn each(modes: impl IntoIterator<Item = (Mode, &[&'static str])>) -> usize {
    let mut site = Site::new();
    site.set("hook-rate", "0");
    site.start_in_sync().await;
    let mut survived = 0;
    for (mode, kinds) in modes {
        let before = site.repo.head();
        let last = newest(&site.history().await);
        // What does not compress, so that the pack is as long as it looks.
        let noise: String = (0..24_000).map(|_| fastrand::alphanumeric()).collect();
        let after = site.repo.push_file("noise", noise, "a change");
        site.remote.set(mode.clone());
        let asked = site.remote.requests();
        assert_eq!(site.ring(&before, &after).await.status, 202);
        let record = told(&mut site, last, &before).await;
        let error = record.error.expect("told");
        let requests = site.remote.requests() - asked;
        println!("{mode:?}: {} after {requests} requests: {}", error.kind, error.message);
        assert!(kinds.contains(&error.kind.as_str()), "{mode:?}: {error:?}");
        assert!(requests <= 60, "{mode:?} was asked {requests} times");
        site.remote.set(Mode::Serve);
        assert_eq!(site.ring(&before, &after).await.status, 202);
        site.wait_published(&after).await;
        site.assert_whole(&after);
        survived += 1;
    }
    survived
}

const BROKEN_OFF: &[&str] = &["network", "protocol", "not_found", "server_error"];

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_told_and_survived() {
    // A list of one ref is some sixty bytes; what is longer cuts the pack of some twenty thousand.
    let bytes = [0, 1, 3, 4, 5, 8, 13, 21, 34, 55, 89, 144, 233, 610, 1597, 4181, 10_946];
    let survived = each(bytes.map(|bytes| (Mode::CutAfter(bytes), BROKEN_OFF))).await;
    println!("{survived} of {} cuts survived", bytes.len());
}

#[tokio::test]
async fn every_status_that_is_no_answer_is_told_and_survived() {
    let statuses: [(u16, &[&str]); 16] = [
        (204, &["protocol"]),
        (304, &["protocol"]),
        (400, BROKEN_OFF),
        (401, &["auth"]),
        (403, &["auth"]),
        (404, &["not_found"]),
        (405, BROKEN_OFF),
        (408, BROKEN_OFF),
        (410, BROKEN_OFF),
        (413, BROKEN_OFF),
        (429, BROKEN_OFF),
        (500, BROKEN_OFF),
        (501, BROKEN_OFF),
        (502, BROKEN_OFF),
        (503, BROKEN_OFF),
        (504, BROKEN_OFF),
    ];
    let survived = each(statuses.map(|(status, kinds)| (Mode::Status(status), kinds))).await;
    println!("{survived} of {} statuses survived", statuses.len());
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    // To itself, and to an address that grows with every step.
    let mut site = Site::new();
    site.set("hook-rate", "0");
    site.start_in_sync().await;
    let itself = format!("http://{}", site.remote.address());
    for mode in [Mode::Redirect(itself), Mode::RedirectFrom("/".to_owned(), "/deeper/".to_owned())] {
        let before = site.repo.head();
        let last = newest(&site.history().await);
        let after = site.repo.push_file("noise", fastrand::u64(..).to_string(), "a change");
        let asked = site.remote.requests();
        site.remote.set(mode.clone());
        assert_eq!(site.ring(&before, &after).await.status, 202);
        let record = told(&mut site, last, &before).await;
        let error = record.error.expect("told");
        let requests = site.remote.requests() - asked;
        println!("{mode:?}: {} after {requests} requests: {}", error.kind, error.message);
        assert_eq!(error.kind, "redirect", "{error:?}");
        assert!(error.message.contains("not to a repository"), "it stays with its host: {error:?}");
        assert!(error.message.contains("too many redirects"), "{error:?}");
        assert!(requests <= 100, "{requests} requests");
        site.remote.set(Mode::Serve);
        assert_eq!(site.ring(&before, &after).await.status, 202);
        site.wait_published(&after).await;
        site.assert_whole(&after);
    }
}

/// The wall clock, moved by as many seconds as a file says. The monotonic clock is the kernel's and stays.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, id, time);
    const char *path = getenv("FAULT_CLOCK");
    if (!failed && id == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atol(text);
            close(file);
        }
    }
    return (int)failed;
}
"#;

#[tokio::test]
async fn a_clock_that_jumps_both_ways_stops_no_push_and_no_poll_and_ends_no_grace() {
    let mut site = Site::new();
    let (source, library, offset) = (site.path("clock.c"), site.path("clock.so"), site.path("offset"));
    fs::write(&source, CLOCK).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        return skip("cc, to build a clock that jumps");
    }
    fs::write(&offset, "0").unwrap();
    site.set("period", "1s").set("stale-worktree-timeout", "1h").set("hook-rate", "0");
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("FAULT_CLOCK", offset.to_str().unwrap())];
    let sidecar = Sidecar::start_with(site.arguments(), &environment);
    site.started(sidecar).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    let year = 365 * 24 * 3600_i64;
    let mut trees = 1;
    for jump in [10 * year, -20 * year, 3600, -3600, 0] {
        let now = jiff::Timestamp::now();
        fs::write(&offset, jump.to_string()).unwrap();
        let pushed = site.push_and_ring("a", &format!("pushed at {jump}")).await;
        site.wait_published(&pushed).await;
        let record = site.wait_record(|record| record.new.as_deref() == Some(&pushed)).await;
        // The clock was really another one.
        let shown = record.started_at.duration_since(now).as_secs();
        assert!((shown - jump).abs() < 60, "{shown} for {jump}");
        let polled = site.repo.push_file("a", format!("polled at {jump}"), "nobody rings");
        site.wait_published(&polled).await;
        site.assert_whole(&polled);
        assert_eq!(site.probe("/livez").await.0, 200);
        assert_eq!(site.probe("/readyz").await.0, 200);
        trees += 2;
        assert_eq!(site.trees(), trees, "a grace of an hour was ended by the clock on the wall");
        let latest = site.history().await;
        assert!(
            latest.iter().all(|record| record.received_to_published_ms.is_none_or(|ms| ms < 60_000)),
            "{latest:#?}"
        );
    }
    // A pause has an end on the wall: the clock ends it when it jumps past.
    assert_eq!(site.post("pause", &json!({ "minutes": 60 })).await.0, 202);
    let held = site.repo.push_file("a", "held back", "while paused");
    fs::write(&offset, "7200").unwrap();
    eventually(PATIENCE + Duration::from_secs(10), || site.published().as_deref() == Some(&held)).await;
    assert!(site.history().await.iter().all(|record| record.outcome != Outcome::Failed));
}

/// Whether a function of this name stands in any file below a folder.
fn stands(folder: &std::path::Path, function: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            stands(&path, function)
        } else {
            fs::read_to_string(&path).is_ok_and(|text| text.contains(function))
        }
    })
}

#[test]
fn the_documents_name_tests_that_exist() {
    let crate_folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, least) in [("docs/reliability.md", 60), ("docs/from-git-sync.md", 60)] {
        let text = fs::read_to_string(crate_folder.join(document)).unwrap();
        let quoted = text.split('`').filter(|word| word.contains("::") && !word.contains(char::is_whitespace));
        let mut named: Vec<&str> = quoted.map(|word| word.trim_end_matches("::*")).collect();
        named.retain(|word| !word.ends_with("::"));
        named.sort_unstable();
        named.dedup();
        assert!(named.len() > least, "{named:?}");
        assert_exist(crate_folder, &named);
    }
}

fn assert_exist(crate_folder: &std::path::Path, named: &[&str]) {
    let missing = |name: &&&str| {
        let (path, function) = name.rsplit_once("::").unwrap();
        let area = path.split("::").next().unwrap();
        let function = format!("fn {function}(");
        // Of modules, only that they are there.
        let module = |root: &str| {
            let place = crate_folder.join(root).join(name.replace("::", "/"));
            place.is_dir() || place.with_extension("rs").exists()
        };
        let found = |root: &str| {
            let folder = crate_folder.join(root).join(area);
            module(root)
                || (folder.is_dir() && stands(&folder, &function))
                || fs::read_to_string(folder.with_extension("rs")).is_ok_and(|text| text.contains(&function))
        };
        !found("tests") && !found("src")
    };
    let missing: Vec<_> = named.iter().filter(missing).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
