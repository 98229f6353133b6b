//! The real program on its command line: help, mistakes, exit codes, and what must never be printed.

mod completion;
mod git_sync;
mod man;
mod older;
mod ping;
mod reference;
mod specs;

use std::process::{Command, Output};

use insta::assert_snapshot;

type Variables<'a> = Vec<(&'a str, &'a str)>;

/// Runs the program with an environment of nothing but `environment`.
fn pushsync(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns the error text of a rejected command line, after checking the exit code and that stdout is empty.
fn refusal(code: i32, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = pushsync(arguments, environment);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

#[test]
fn the_long_help_is_grouped_and_has_every_command_and_flag() {
    let output = pushsync(&["--help"], &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_snapshot!("help", stdout(&output));
    for arguments in [&["help"][..], &["help", "run"], &["run", "--help"], &["--repo", "x", "--help"]] {
        assert_eq!(stdout(&pushsync(arguments, &[])), stdout(&output), "{arguments:?}");
    }
    for flag in pushsync::config::FLAGS.iter() {
        assert!(stdout(&output).contains(&format!("--{}", flag.name)), "{}", flag.name);
    }
}

#[test]
fn the_short_help_fits_a_screen_and_has_examples() {
    let output = pushsync(&["-h"], &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_snapshot!("help_short", stdout(&output));
    assert!(stdout(&output).lines().count() <= 72, "{}", stdout(&output).lines().count());
    for arguments in [&["run", "-h"][..], &["-?"]] {
        assert_eq!(stdout(&pushsync(arguments, &[])), stdout(&output), "{arguments:?}");
    }
}

#[test]
fn help_explains_each_command() {
    for command in pushsync::config::COMMANDS {
        let (help, long) = (pushsync(&["help", command], &[]), pushsync(&[command, "--help"], &[]));
        assert!(help.status.success() && help.stderr.is_empty(), "{command}: {}", stderr(&help));
        if command != "help" {
            assert_eq!(stdout(&help), stdout(&long), "{command}");
        }
        assert!(stdout(&help).contains("Usage: pushsync"), "{command}: {}", stdout(&help));
    }
}

#[test]
fn help_of_ping() {
    let output = pushsync(&["ping", "--help"], &[]);
    assert!(output.status.success());
    assert_snapshot!("help_ping", stdout(&output));
}

#[test]
fn version_is_one_line() {
    for form in ["--version", "-V"] {
        let output = pushsync(&[form], &[]);
        assert!(output.status.success());
        assert_eq!(stdout(&output), concat!("pushsync ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

#[test]
fn nothing_given() {
    assert_snapshot!("nothing_given", refusal(1, &[], &[]));
}

#[test]
fn every_problem_is_told_at_once_with_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(&short, "too short\n").unwrap();
    let text = refusal(
        1,
        &[
            "--repo=git@git.test:acme/site.git",
            "--root=/git",
            "--link=.pushsync",
            "--ref=a..b",
            "--username=me",
            "--ssh-key-file=/nowhere/key",
            "--hook-secret-file",
            short.to_str().unwrap(),
            "--hook-path=hook",
            "--hook-rate=-3",
            "--admin-bind=10.0.0.1:9180",
            "--http-bind=:9180",
            "--sync-on-signal=KILL",
        ],
        &[
            ("GITSYNC_PERIOD", "1ms"),
            ("PUSHSYNC_MAX_FAILURES", "many"),
            ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "/nowhere/hosts"),
        ],
    );
    let text = text.replace(folder.path().to_str().unwrap(), "FOLDER").replace("[::]:", "0.0.0.0:");
    assert_snapshot!("every_problem", text);
}

#[test]
fn unknown_flags_have_a_code_of_their_own_and_all_of_them_are_named() {
    let arguments = ["--repo=/srv/a", "--rooot", "/git", "--frobnicate=x", "--period=1x", "--depth"];
    assert_snapshot!("unknown_flags", refusal(2, &arguments, &[]));
}

#[test]
fn an_unknown_command_is_no_flag() {
    assert_snapshot!("unknown_command", refusal(1, &["pong", "--url", "http://me:hunter2hunter2@host"], &[]));
}

#[test]
fn a_reader_who_has_gone_away_is_no_panic() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for (arguments, code) in [(&["--help"][..], 0), (&[], 1), (&["--unknown"], 2), (&["ping"], 1)] {
        let status = Command::new(env!("CARGO_BIN_EXE_pushsync"))
            .args(arguments)
            .env_clear()
            .stdout(closed())
            .stderr(closed())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

/// Runs itself as a child process whose stderr is not read.
#[test]
fn logging_to_a_broken_stderr_is_no_panic() {
    const CHILD: &str = "TEST_LOGS_TO_A_BROKEN_STDERR";
    if std::env::var_os(CHILD).is_some() {
        pushsync::log::init(pushsync::log::LogOptions { format: None, verbosity: 0 });
        for number in 0..100 {
            tracing::warn!(number, "into the void");
        }
        return;
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cli::logging_to_a_broken_stderr_is_no_panic"])
        .env(CHILD, "1")
        .stderr(writer)
        .output()
        .unwrap();
    assert!(output.status.success() && stdout(&output).contains("1 passed"), "{}", stdout(&output));
}

#[test]
fn no_secret_is_ever_printed() {
    const SECRET: &str = "Sup3rS3cretValue42";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    // Shorter than allowed, so that it is refused; still a secret.
    std::fs::write(&file, &SECRET[..12]).unwrap();
    let file = file.to_str().unwrap();
    let good = folder.path().join("good");
    std::fs::write(&good, "0123456789abcdef").unwrap();
    let good = good.to_str().unwrap();
    let url = format!("https://me:{SECRET}@git.test/a/b.git");
    let command_lines: Vec<(Vec<String>, Variables)> = vec![
        (vec![format!("--repo={url}")], vec![]),
        (vec![format!("--repo=ftp://me:{SECRET}@git.test/x"), "--root=/git".into()], vec![]),
        (vec![format!("--repo=https://me:{SECRET}@/x"), "--root=/git".into()], vec![]),
        (vec![format!("--repo=https://me:{SECRET}@git.test:port/x"), "--root=/git".into()], vec![]),
        (vec![format!("--repo={url}"), "--root=/git".into(), format!("--ref={url}")], vec![]),
        (vec![url.clone()], vec![]),
        (vec!["run".into(), url.clone()], vec![]),
        (vec!["--password".into(), SECRET.into()], vec![]),
        (vec![format!("--password={SECRET}")], vec![]),
        (vec![format!("--github-app-private-key={SECRET}"), "-x".into(), SECRET.into()], vec![]),
        (vec!["--hook-secret-file".into(), SECRET.into()], vec![]),
        (vec!["--hook-secret-file".into(), file.into(), "--admin-token-file".into(), SECRET.into()], vec![]),
        (vec!["--password-file".into(), SECRET.into(), "--repo=https://git.test/x".into()], vec![]),
        (vec!["--period".into(), SECRET.into()], vec![("PUSHSYNC_PASSWORD", SECRET)]),
        (vec![], vec![("PUSHSYNC_REPO", &url), ("GITSYNC_PASSWORD", SECRET), ("GITSYNC_USERNAME", "me")]),
        (vec![], vec![("PUSHSYNC_HOOK_SECRET", SECRET), ("PUSHSYNC_TOKEN", SECRET), ("GIT_REPO", &url)]),
        (vec!["ping".into(), format!("--url=ftp://me:{SECRET}@host/x"), "--secret-file".into(), file.into()], vec![]),
        (
            vec!["ping".into(), format!("--url=http://me:{SECRET}@127.0.0.1:1/x"), "--secret-file".into(), file.into()],
            vec![],
        ),
        (vec!["ping".into(), "--url=http://127.0.0.1:1/x".into(), "--secret-file".into(), SECRET.into()], vec![]),
        (vec!["ping".into(), "--url=http://127.0.0.1:1/x".into(), format!("--secret={SECRET}")], vec![]),
        (
            vec!["ping".into(), format!("--url=http://me:{SECRET}@127.0.0.1:1/x"), "--secret-file".into(), good.into()],
            vec![],
        ),
        (vec!["ping".into(), "--url=http://127.0.0.1:1/x".into(), SECRET.into()], vec![]),
        (vec!["ping".into(), "--url=http://127.0.0.1:1/x".into(), format!("--push={SECRET}")], vec![]),
        (vec!["ping".into(), format!("--after={SECRET}"), "--secret-file".into()], vec![]),
    ];
    for (arguments, environment) in command_lines {
        let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = pushsync(&borrowed, &environment);
        let all = stdout(&output) + &stderr(&output);
        assert!(!output.status.success(), "{arguments:?} was meant to be refused: {all}");
        assert!(!all.is_empty() && !all.contains(&SECRET[..12]), "{arguments:?} {environment:?}: {all}");
    }
}

#[test]
fn refs_are_legal_exactly_where_git_says_so() {
    let names = [
        "main",
        "feature/x",
        "a.b",
        "a..b",
        "a.lock",
        "a.lock/b",
        ".a",
        "a/.b",
        "a.",
        "/a",
        "a/",
        "a//b",
        "a b",
        "a~",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a@{b",
        "@",
        "-a",
        "\u{e9}",
        "a\u{7f}",
        "refs/heads/a",
        "refs/",
        "refs/heads/",
        "refs/heads/a..b",
        "v1.0",
        "{",
        "a}",
        "HEAD~1",
        "a\tb",
    ];
    for name in names {
        let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
        let git = Command::new("git").args(["check-ref-format", &full]).status().unwrap().success();
        let arguments = ["--repo=/srv/a", "--root=/git", "--ref", name].map(Into::into);
        // As `--ref=-a`, since nothing that begins with a dash is taken for a value.
        let arguments = if name.starts_with('-') {
            ["--repo=/srv/a", "--root=/git", "--ref=-a", ""].map(Into::into)
        } else {
            arguments
        };
        let arguments = arguments.into_iter().filter(|argument: &std::ffi::OsString| !argument.is_empty());
        let ours = pushsync::config::parse(arguments, []);
        assert_eq!(ours.is_ok(), git, "`{name}`: git says {git}; {:?}", ours.err());
    }
}
