//! Words of a repository that steer a terminal, all the way: commit, sidecar, log, API, dashboard. None comes out.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::site::Site;
use crate::support::pty::Pty;

/// Sets the title, clears the screen, turns the text around; by ESC, by the one-byte control characters, and by Unicode.
const EVIL: &str = "\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{8}";

/// What must not be in anything that is shown. A line feed is looked for where text should be one line.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}')
}

/// Every text in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|value| texts(value, found)),
        Value::Object(all) => all.iter().for_each(|(name, value)| {
            found.push(name.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

fn dashboard(admin: &str, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    let output = command.args(["dashboard", "--url", admin]).args(args).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_repository_steers_the_terminal_of_whoever_looks() {
    let mut site = Site::new();
    site.start_in_sync().await;
    let before = site.repo.head();
    site.repo.write(&format!("page{EVIL}\nsecond line"), "content");
    site.repo.git(&["add", "--all"]);
    let author = format!("Eve {EVIL} Evil <eve{EVIL}@example.test>");
    let subject = format!("Subject {EVIL} ends here");
    site.repo.git(&["commit", "--quiet", "--author", &author, "--message", &subject]);
    site.repo.push();
    let after = site.repo.head();
    // The repository really says so.
    assert!(site.repo.git(&["log", "-1", "--format=%an%s"]).matches("\u{1b}[2J").count() >= 2);
    assert_eq!(site.ring(&before, &after).await.status, 202);
    site.wait_published(&after).await;
    site.assert_whole(&after);
    let record = site.wait_record(|record| record.new.as_deref() == Some(&after)).await;

    for path in ["/api/v1/snapshot".to_owned(), "/api/v1/history".to_owned(), format!("/api/v1/syncs/{}", record.id)] {
        let body = site.get(&path).await;
        let mut found = Vec::new();
        texts(&serde_json::from_str(&body).unwrap(), &mut found);
        assert!(found.iter().any(|text| text.contains("ends here")), "{path}: {body}");
        let bad: Vec<_> = found.iter().filter(|text| text.chars().any(|c| steers(c) || c == '\n')).collect();
        assert!(bad.is_empty(), "{path}: {bad:?}");
    }
    let detail = site.get(&format!("/api/v1/syncs/{}", record.id)).await;
    assert!(detail.contains("second line") && detail.contains("Eve "), "{detail}");
    let log = site.sidecar().log();
    assert!(log.iter().all(|line| !line.chars().any(steers)), "{log:?}");

    let admin = log.iter().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["listener"] == "admin").then(|| format!("http://{}", line["address"].as_str().unwrap()))
    });
    let admin = admin.expect("it listens");
    for args in [&["--once"][..], &["--check"], &["--once", "--output", "json"]] {
        let shown = dashboard(&admin, args);
        assert!(shown.contains("ends here"), "{args:?}: {shown}");
        assert!(!shown.chars().any(steers), "{args:?}: {shown:?}");
    }

    let mut pty = Pty::start(160, 40, &["--url".to_owned(), admin], &[]);
    pty.shows("ends here");
    pty.keys("\r");
    pty.shows("Log of its sync");
    pty.shows("Eve ");
    pty.keys("2");
    pty.shows("Syncs on all replicas");
    pty.keys("\r");
    pty.shows("History");
    pty.keys("\r");
    pty.shows("Log of this sync");
    pty.shows("second line");
    let mut raw = pty.screen().raw.clone();
    // The program's own question about the background color, at its start.
    let question = b"\x1b]11;?\x07";
    let at = raw.windows(question.len()).position(|part| part == question).expect("it asks for the background");
    raw.drain(at..at + question.len());
    let holds = |bytes: &[u8]| raw.windows(bytes.len()).any(|part| part == bytes);
    assert!(
        !holds(b"\x1b]0;") && !holds(b"\x07") && !holds("\u{9b}".as_bytes()),
        "{:?}",
        String::from_utf8_lossy(&raw)
    );
    assert!(!holds("\u{202e}".as_bytes()) && !holds("\u{2028}".as_bytes()));
    assert_eq!(site.repo.show(&after, &format!("page{EVIL}\nsecond line")), "content");
}
