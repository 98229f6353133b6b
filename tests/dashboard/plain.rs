//! The modes without a terminal: what they print, and with what code they end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fake::Fake;
use super::sample::sha;

fn run(fakes: &[&Fake], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.arg("dashboard").args(args);
    for fake in fakes {
        command.args(["--url", &fake.url()]);
    }
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(!output.stdout.contains(&0x1b), "an escape sequence in plain output");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn two() -> (Fake, Fake) {
    let (one, two) = (Fake::local("web-1"), Fake::local("web-2"));
    for fake in [&one, &two] {
        fake.publish("41d07be", "Bump node");
        fake.publish("9f3c2ab", "Fix pricing table");
    }
    (one, two)
}

#[test]
fn a_pipe_gets_a_table() {
    let (one, two) = two();
    let output = run(&[&one, &two], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output);
    assert!(text.contains("head 9f3c2ab Fix pricing table (live on 2 of 2)"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("web-")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].contains("in sync  9f3c2ab  20") && rows[0].ends_with("0    live"), "{text}");
}

/// Phases have the names of git and of the flags, as on the screen: the API calls listing refs `look`.
#[test]
fn a_failed_listing_of_refs_is_called_that() {
    let (one, two) = two();
    let mut error = super::sample::error();
    error.phase = pushsync::api::Phase::Look;
    one.inner().snapshot.last_error = Some(error);
    let table = text(&run(&[&one, &two], &[]));
    assert!(table.contains("web-1: ls-refs failed: cannot write"), "{table}");
}

#[test]
fn records_that_wait_for_a_disk_are_a_line_of_the_table() {
    let (one, two) = two();
    assert!(!text(&run(&[&one, &two], &[])).contains("for the disk"));
    one.inner().snapshot.history.waiting = 3;
    let table = text(&run(&[&one, &two], &[]));
    assert!(table.contains("\nhistory: 3 records wait for the disk of web-1\n"), "{table}");
    two.inner().snapshot.history.waiting = 1;
    let table = text(&run(&[&one, &two], &[]));
    assert!(table.contains("\nhistory: 4 records wait for the disks of 2 replicas\n"), "{table}");
}

#[test]
fn the_exit_code_of_a_check_says_how_the_fleet_is() {
    let (one, mut two) = two();
    assert_eq!(run(&[&one, &two], &["--check"]).status.code(), Some(0));
    one.publish("abc1234", "Only here");
    assert_eq!(run(&[&one, &two], &["--check"]).status.code(), Some(3));
    // The older commit was live on both and is contained in the newer one.
    assert_eq!(run(&[&one, &two], &["--check", "--commit", &sha("9f3c2ab")]).status.code(), Some(0));
    assert_eq!(run(&[&one, &two], &["--check", "--commit", "abc1234"]).status.code(), Some(3));
    // A sidecar that cannot say so makes it unknown, although its records name the commit.
    one.inner().old = true;
    let output = run(&[&one, &two], &["--check", "--commit", &sha("9f3c2ab")]);
    assert_eq!(output.status.code(), Some(3));
    let last = text(&output).lines().last().unwrap().to_owned();
    assert!(last.starts_with("UNKNOWN  9f3c2ab Fix pricing table  1 of 2  1 cannot say"), "{last}");
    one.inner().old = false;
    two.kill();
    assert_eq!(run(&[&one, &two], &["--check"]).status.code(), Some(3));
    assert_eq!(run(&[&two], &["--check"]).status.code(), Some(2));
    assert_eq!(run(&[], &["--check"]).status.code(), Some(1));
    assert_eq!(run(&[&one], &["--check", "--nonsense"]).status.code(), Some(1));
}

#[test]
fn a_replica_that_failed_is_not_in_sync() {
    let fake = Fake::local("web-1");
    fake.publish("41d07be", "Bump node");
    fake.inner().failed("500", "9f3c2ab");
    let output = run(&[&fake], &["--check"]);
    assert_eq!(output.status.code(), Some(3));
    let text = text(&output);
    assert!(text.contains("no space left on device") && text.contains("hint: The volume is full"), "{text}");
}

#[test]
fn waiting_ends_when_the_commit_is_live_everywhere() {
    let (one, two) = two();
    let args = ["--check", "--wait", "60s", "--commit", "feedbee", "--output", "json"];
    let urls = [one.url(), two.url()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .arg("dashboard")
        .args(args)
        .args(["--url", &urls[0], "--url", &urls[1]])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    one.publish("feedbee", "Awaited");
    assert!(said.any(|line| line.starts_with("waiting for feedbee: 1/2 live")), "it says that one of two has it");
    assert!(child.try_wait().unwrap().is_none(), "it ends although one lacks the commit");
    two.publish("feedbee", "Awaited");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["in_sync"], true);
}

#[test]
fn waiting_for_a_commit_that_never_comes_ends_at_its_limit() {
    let (one, two) = two();
    // A limit that is too short to ask the replicas ends with 2, which is right. How short that is depends on the machine.
    let limits = (0..8).map(|doubled| Duration::from_millis(300) * 2_u32.pow(doubled));
    for limit in limits {
        let wait = format!("{}ms", limit.as_millis());
        let started = Instant::now();
        let output = run(&[&one, &two], &["--check", "--wait", &wait, "--commit", "0000000"]);
        assert!(started.elapsed() >= limit, "{:?} of {limit:?}", started.elapsed());
        let last = text(&output).lines().last().unwrap_or_default().to_owned();
        match output.status.code() {
            Some(2) => assert!(last.starts_with("NOT REACHABLE"), "{last}"),
            code => return assert_eq!(code, Some(3), "{last}"),
        }
    }
    panic!("the replicas were never reached");
}

#[test]
fn the_document_carries_the_words_of_the_api() {
    let (one, two) = two();
    let output = run(&[&one, &two], &["--once", "--output", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["head"]["commit"], sha("9f3c2ab"));
    assert_eq!(document["replicas"].as_array().unwrap().len(), 2);
    let replica = &document["replicas"][0];
    assert_eq!((&replica["state"], &replica["link"]), (&Value::from("in_sync"), &Value::from("live")));
    assert_eq!(replica["published"]["commit"], sha("9f3c2ab"));
    assert!(document["now"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(document["history"].as_array().unwrap().len(), 4);
    assert_eq!(document["history"][0]["outcome"], "published");
    assert!(document["history"][0]["replica"].as_str().unwrap().starts_with("web-"));
}

#[test]
fn a_token_is_needed_where_it_is_wanted_and_never_in_an_address() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Fix");
    fake.inner().token = Some("s3cret-token".to_owned());
    let refused = run(&[&fake], &["--check"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("requires a token"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret-token\n").unwrap();
    let path = file.path().display().to_string();
    let good = run(&[&fake], &["--check", "--token-file", &path]);
    assert_eq!(good.status.code(), Some(0));
    assert!(!text(&good).contains("s3cret"));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let (one, _two) = two();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "--watch", "--url", &one.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // The first line goes into a pipe that nobody reads.
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
}

/// A rollout as a screen reader follows it: one line for each event, in order, appended only.
#[test]
fn what_happens_is_a_line_of_text_for_each_event() {
    use std::io::{BufRead, BufReader};
    let (one, two) = two();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "--watch", "-o", "text", "--url", &one.url(), "--url", &two.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen: Vec<String> = Vec::new();
    let names = [&one, &two].map(|fake| fake.url().trim_start_matches("http://").to_owned());
    let mut until = |words: &str| {
        while !seen.last().is_some_and(|line| line.contains(words)) {
            let line = lines.next().expect(words).unwrap();
            assert!(!line.contains('\u{1b}') && !line.contains('\r'), "{line:?}");
            let time = line.split(' ').next().unwrap();
            assert_eq!(time.len(), "11:00:20".len(), "{line}");
            // A replica keeps one name from the first line to the last, in whichever order the replicas answer.
            assert!(!line.contains("web-1") && !line.contains("web-2"), "{line}");
            println!("{line}");
            seen.push(line);
        }
    };
    until("LIVE EVERYWHERE  9f3c2ab Fix pricing table  2 of 2");
    one.publish("feedbee", "New hero image");
    until(&format!("{} published feedbee New hero image ", names[0]));
    until("NOT LIVE EVERYWHERE  feedbee");
    two.publish("feedbee", "New hero image");
    until(&format!("{} published feedbee New hero image ", names[1]));
    until("LIVE EVERYWHERE  feedbee New hero image  2 of 2");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// No replica has had time to answer. The text says what the screen says, and a check calls the same silence by its name.
#[test]
fn a_watch_is_connecting_until_a_replica_answers_or_fails() {
    use std::io::{BufRead, BufReader};
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "--watch", "-o", "text", "--utc", "--url", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.ends_with(" CONNECTING  none of 1 has answered yet"), "{first}");
    // One line until there is news.
    let later = lines.next().unwrap();
    assert!(!later.contains("CONNECTING"), "{later}");
    child.kill().unwrap();
    child.wait().unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "--check", "--timeout", "1s", "--url", &url])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(2));
    let text = text(&checked);
    assert!(text.lines().last().unwrap().starts_with("NOT REACHABLE"), "{text}");
}

#[test]
fn ascii_means_ascii_without_a_screen_too() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Größe — “new” 文 😀");
    let table = run(&[&fake], &["--check", "--ascii"]);
    assert!(table.stdout.is_ascii(), "{}", text(&table));
    assert!(text(&table).contains("9f3c2ab Gr??e - \"new\" ??"), "{}", text(&table));
    let json = run(&[&fake], &["--check", "--ascii", "-o", "json"]);
    assert!(json.stdout.is_ascii(), "{}", text(&json));
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["head"]["subject"], "Größe — “new” 文 😀");
    let usual = run(&[&fake], &["--check"]);
    assert!(text(&usual).contains("Größe — “new” 文 😀"), "{}", text(&usual));
}

#[test]
fn something_else_behind_the_address_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "--check", "--url", &url])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("no pushsync admin API"), "{said}");
}
