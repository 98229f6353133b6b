//! Names of git-sync v3: what they become, who beats whom, and what is said about them.
#![allow(clippy::type_complexity, reason = "a table of cases")]

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use pushsync::config::{Config, Exit, Invocation, parse};
use pushsync::git::Reference;

use super::{pushsync, stderr, stdout};

fn ask(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, Exit> {
    let least = ["--repo=https://git.test/acme/site", "--root=/git"];
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match parse(least.iter().chain(arguments).map(OsString::from), environment)? {
        Invocation::Run(config) => Ok(*config),
        _ => panic!("{arguments:?} is a run"),
    }
}

#[track_caller]
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
    ask(arguments, environment).unwrap_or_else(|exit| panic!("{}", exit.text))
}

#[track_caller]
fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let exit = ask(arguments, environment).err().expect("it is refused");
    assert_eq!(exit.code, 1, "{}", exit.text);
    exit.text
}

#[test]
fn each_old_flag_becomes_what_it_is_called_now_and_says_so() {
    let old = ["--branch=main", "--rev=HEAD", "--dest=now", "--wait=1.5", "--timeout", "90", "--max-sync-failures=4"];
    let config = run(&[&old[..], &["--v=2", "--ssh", "--change-permissions=0"]].concat(), &[]);
    assert_eq!(config.remote.reference, Reference::Name("main".into()));
    assert_eq!(config.volume.link, Path::new("now"));
    assert_eq!((config.sync.period, config.sync.timeout), (Duration::from_millis(1500), Duration::from_secs(90)));
    assert_eq!((config.sync.max_failures, config.log.verbosity), (4, 2));
    let told = config.warnings.join("\n");
    for (old, now) in [
        ("--branch", "ref"),
        ("--dest", "link"),
        ("--wait", "period"),
        ("--timeout", "sync-timeout"),
        ("--max-sync-failures", "max-failures"),
        ("--v", "verbose"),
    ] {
        assert!(told.contains(&format!("{old}: is a name of git-sync v3; use --{now}")), "{old}: {told}");
    }
    assert!(
        told.contains("--ssh: has no effect") && !told.contains("--rev") && !told.contains("permissions"),
        "{told}"
    );
}

#[test]
fn the_same_by_variables() {
    let environment = [
        ("GIT_SYNC_REV", "v1.0"),
        ("GIT_SYNC_DEST", "now"),
        ("GIT_SYNC_WAIT", "30"),
        ("GIT_SYNC_TIMEOUT", "90"),
        ("GIT_SYNC_MAX_SYNC_FAILURES", "0"),
        ("GIT_SYNC_SSH", "false"),
        ("GIT_SYNC_PERMISSIONS", "0"),
        ("GIT_SYNC_ONE_TIME", "true"),
        ("GIT_SYNC_WHATEVER", "x"),
    ];
    let config = run(&[], &environment);
    assert_eq!(config.remote.reference, Reference::Name("v1.0".into()));
    assert_eq!(config.volume.link, Path::new("now"));
    assert_eq!((config.sync.period, config.sync.timeout), (Duration::from_secs(30), Duration::from_secs(90)));
    assert!(config.sync.one_time && config.sync.max_failures == 1, "0 was v3's way to say nothing");
    let told = config.warnings.join("\n");
    assert!(
        told.contains("GIT_SYNC_ONE_TIME: is a name of git-sync v3; use --one-time or PUSHSYNC_ONE_TIME"),
        "{told}"
    );
    assert!(told.contains("GIT_SYNC_WHATEVER: is not a variable of pushsync"), "{told}");
    assert_eq!(config.warnings.len(), 6, "{told}");
}

#[test]
fn an_old_flag_beats_the_new_one_and_an_old_variable_only_git_syncs_newer_one() {
    let period = |arguments: &[&str], environment: &[(&str, &str)]| {
        let config = run(arguments, environment);
        (config.sync.period.as_secs(), config.warnings.join("\n"))
    };
    let (seconds, told) = period(&["--period=7s", "--wait=5"], &[]);
    assert!(seconds == 5 && told.contains("--wait: overrides --period, as in git-sync v4"), "{told}");
    let old = ("GIT_SYNC_WAIT", "5");
    assert_eq!(period(&[], &[old, ("GITSYNC_PERIOD", "7s")]).0, 5, "git-sync's own order");
    let (seconds, told) = period(&[], &[old, ("PUSHSYNC_PERIOD", "7s")]);
    assert!(seconds == 7 && told.contains("GIT_SYNC_WAIT: has no effect, because PUSHSYNC_PERIOD is given"), "{told}");
    assert_eq!(period(&["--period=7s"], &[old]).0, 7, "flags beat variables");
    // The image sets GITSYNC_ROOT; a container spec of v3 must still win over it.
    let root = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        match parse([OsString::from("--repo=https://git.test/acme/site")], environment) {
            Ok(Invocation::Run(config)) => config.volume.root,
            _ => panic!("it is a run"),
        }
    };
    assert_eq!(root(&[("GITSYNC_ROOT", "/git"), ("GIT_SYNC_ROOT", "/tmp/git")]), Path::new("/tmp/git"));
    assert_eq!(root(&[("PUSHSYNC_ROOT", "/mine"), ("GIT_SYNC_ROOT", "/tmp/git")]), Path::new("/mine"));
    // Several spellings of v3: the last one, as git-sync reads them. Lists are separated by colons.
    let ssh = ["--repo=git@git.test:a/b", "--ssh-known-hosts=false"];
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<String> = ["a", "b", "c"].map(|name| folder.path().join(name).display().to_string()).to_vec();
    for path in &keys {
        std::fs::write(path, "key").unwrap();
    }
    let both = [("GIT_SYNC_SSH_KEY_FILE", keys[2].as_str()), ("GIT_SSH_KEY_FILE", &format!("{}:{}", keys[0], keys[1]))];
    let config = run(&ssh, &both);
    assert_eq!(config.remote.credentials.ssh_keys, [Path::new(&keys[0]), Path::new(&keys[1])]);
}

#[test]
fn what_git_sync_v4_refuses_is_refused_with_a_way_out() {
    let cases: [(&[&str], &[(&str, &str)], &str); 8] = [
        (
            &["--change-permissions=0777"],
            &[],
            "--change-permissions: is no longer supported, as in git-sync v4; use --group-write",
        ),
        (&[], &[("GIT_SYNC_PERMISSIONS", "0700")], "GIT_SYNC_PERMISSIONS: is no longer supported"),
        (&["--branch=main", "--rev=v1"], &[], "--branch: is given together with --rev"),
        (
            &[],
            &[("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REV", "v1")],
            "GIT_SYNC_BRANCH: is given together with GIT_SYNC_REV",
        ),
        (&["--wait=soon"], &[], "--wait: `soon` is not a number of seconds"),
        (&["--wait=0.001"], &[], "--wait: `1ms` is too short"),
        (&["--ssh=perhaps"], &[], "--ssh: is neither true nor false"),
        (&["--http-pprof=perhaps"], &[], "--http-pprof: `perhaps` is neither true nor false"),
    ];
    for (arguments, environment, expected) in cases {
        let text = refused(arguments, environment);
        assert!(text.contains(expected) && text.starts_with("pushsync: a problem with"), "{expected}: {text}");
    }
}

#[test]
fn a_password_among_the_arguments_is_taken_warned_of_and_never_shown() {
    // That it is used: app::git_sync_loop.
    let config = run(&["--username=me", "--password=hunter2hunter2"], &[("GITSYNC_PASSWORD", "another-secret")]);
    let told = config.warnings.join("\n");
    assert!(told.contains("--password: every process of the machine can read arguments") && !told.contains("hunter2"));
    let text = refused(&["--password=hunter2hunter2", "--link=hunter2hunter2/.."], &[]);
    assert!(text.contains("--username: is missing, although --password gives") && !text.contains("hunter2"), "{text}");
}

#[test]
fn what_is_accepted_without_effect_says_why() {
    let told = run(&["--add-user", "--git=/usr/bin/git", "--http-pprof"], &[]).warnings.join("\n");
    for part in ["--add-user: has no effect: ", "--git: has no effect: ", "--http-pprof: has no effect: "] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let quiet = run(&["--add-user=false", "--http-pprof=false"], &[("GIT_SYNC_ADD_USER", "0")]).warnings;
    assert!(quiet.is_empty(), "{quiet:?}");
}

#[test]
fn the_manual_is_printed_and_question_marks_ask_for_help() {
    let output = pushsync(&["--man"], &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    let manual = stdout(&output);
    for heading in
        ["NAME", "SYNOPSIS", "THE LINK", "OPTIONS", "NAMES OF GIT-SYNC V3", "SIGNALS", "EXIT STATUS", "FILES"]
    {
        assert!(manual.lines().any(|line| line == heading), "{heading}");
    }
    assert!(manual.lines().count() > 300, "{} lines", manual.lines().count());
    assert_eq!(stdout(&pushsync(&["--repo=x", "--man"], &[])), manual);
    assert_eq!(stdout(&pushsync(&["-?"], &[])), stdout(&pushsync(&["-h"], &[])));
    let wrong = pushsync(&["--man", "--no-such-flag"], &[]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
}

#[test]
fn an_earlier_name_of_a_flag_of_ours_stays_an_alias() {
    assert_ne!(run(&[], &[]).volume.standby_trees, 3);
    assert_eq!(run(&["--standby-trees=3"], &[]).volume.standby_trees, 3);
    assert_eq!(run(&["--spare-trees=3"], &[]).volume.standby_trees, 3);
    assert_eq!(run(&[], &[("PUSHSYNC_SPARE_TREES", "3")]).volume.standby_trees, 3);
}
