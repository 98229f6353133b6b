//! Whole command lines: precedence, defaults, and every problem at once.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::git::{Password, Reference};
use crate::server::{AdminBind, Repository};

mod access;

fn parse_all(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Exit> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    parse(arguments.iter().map(OsString::from), environment)
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
    match parse_all(arguments, environment) {
        Ok(Invocation::Run(config)) => *config,
        Ok(_) => panic!("not a run"),
        Err(exit) => panic!("{}", exit.text),
    }
}

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> Exit {
    match parse_all(arguments, environment) {
        Ok(_) => panic!("{arguments:?} {environment:?} was accepted"),
        Err(exit) => exit,
    }
}

type Variables<'a> = &'a [(&'a str, &'a str)];

/// The least that starts, and more.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--repo", "https://git.test/acme/site.git", "--root", "/git"], more].concat()
}

fn secret_file(folder: &TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_minimal_command_line_has_the_documented_defaults() {
    let config = run(&with(&[]), &[]);
    assert_eq!(config.remote.reference, Reference::Head);
    assert_eq!((config.remote.depth, config.remote.timeout), (1, Duration::from_secs(120)));
    assert_eq!(
        // The last part of the URL as it stands, with `.git`, as git-sync takes it.
        (config.volume.root.as_path(), config.volume.link.as_path()),
        (Path::new("/git"), Path::new("site.git"))
    );
    assert_eq!(config.volume.grace, Duration::from_secs(60));
    assert_eq!((config.sync.period, config.sync.init_period), (Duration::from_secs(60), None));
    assert_eq!((config.sync.max_failures, config.sync.init_max_failures), (-1, None));
    assert!(!config.sync.one_time && !config.sync.webhooks && config.sync.sync_on_signal.is_none());
    assert!((config.sync.hook_rate - 1.0).abs() < f64::EPSILON);
    assert_eq!(config.sync.history_limit, 1000);
    assert_eq!(config.sync.repo, "https://git.test/acme/site.git");
    assert!(!config.sync.replica.is_empty());
    assert!(config.server.hook.is_none() && config.server.http.is_none() && !config.server.http_metrics);
    assert_eq!(config.server.admin, AdminBind::Default);
    assert_eq!(config.log, log::LogOptions { format: None, verbosity: 0 });
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_tutorials_variable_and_the_word_run_are_enough() {
    for arguments in [&["--root", "/git"][..], &["run", "--root=/git"]] {
        let config = run(arguments, &[("GIT_REPO", "https://git.test/acme/site")]);
        assert_eq!(config.sync.repo, "https://git.test/acme/site");
    }
}

#[test]
fn flags_beat_our_variables_which_beat_git_syncs() {
    let theirs = ("GITSYNC_PERIOD", "3s");
    let ours = ("PUSHSYNC_PERIOD", "2s");
    let seconds = |arguments: &[&str], environment: &[_]| run(&with(arguments), environment).sync.period.as_secs();
    assert_eq!(seconds(&["--period", "1s"], &[ours, theirs]), 1);
    assert_eq!(seconds(&["--period=9s", "--period=1s"], &[]), 1, "the last one counts");
    assert_eq!(seconds(&[], &[theirs, ours]), 2);
    assert_eq!(seconds(&[], &[theirs]), 3);
    assert_eq!(seconds(&["--period="], &[("PUSHSYNC_PERIOD", ""), theirs]), 3, "empty is not given");
    // The tutorial's variable comes last: its name does not say for which program it is.
    let config = run(&["--root", "/git"], &[("GIT_REPO", "/a"), ("GITSYNC_REPO", "/b")]);
    assert_eq!(config.sync.repo, "/b");
}

#[test]
fn switches_take_pflags_forms() {
    let one_time = |arguments: &[&str], environment: &[_]| run(&with(arguments), environment).sync.one_time;
    for form in ["--one-time", "--one-time=true", "--one-time=1"] {
        assert!(one_time(&[form], &[("GITSYNC_ONE_TIME", "false")]), "{form}");
    }
    assert!(!one_time(&["--one-time=false"], &[("GITSYNC_ONE_TIME", "true")]));
    assert!(one_time(&[], &[("PUSHSYNC_ONE_TIME", "1")]));
    let limit = |arguments: &[&str]| run(&with(arguments), &[]).sync.max_failures;
    assert_eq!((limit(&["--one-time"]), limit(&["--one-time", "--max-failures=-1"])), (1, -1));
    assert!(!one_time(&[], &[("PUSHSYNC_ONE_TIME", "0")]));
    assert!(refused(&with(&["--one-time=maybe"]), &[]).text.contains("--one-time: `maybe` is neither true nor false"));
}

#[test]
fn verbosity_takes_numbers_and_repeated_letters() {
    let cases = [
        (&["-v"][..], 1),
        (&["-vv"], 2),
        (&["-v", "5"], 5),
        (&["-v=2"], 2),
        (&["-v3"], 3),
        (&["--verbose=1"], 1),
        (&["-v", "--one-time"], 1),
    ];
    for (arguments, expected) in cases {
        assert_eq!(run(&with(arguments), &[]).log.verbosity, expected, "{arguments:?}");
    }
    assert_eq!(run(&with(&[]), &[("GITSYNC_VERBOSE", "2")]).log.verbosity, 2);
}

#[test]
fn every_flag_of_the_table_is_read() {
    // A value that is invalid for every flag. A flag that no code reads would accept it silently.
    // Any text is valid for these, so no value shows that they are read.
    let free_text = ["git", "link", "root", "username", "touch-file", "error-file"];
    let is_free = |name: &str| free_text.contains(&name) || name.ends_with("exechook-command");
    for flag in FLAGS.iter().filter(|flag| !is_free(flag.name)) {
        let argument = format!("--{}=~ wrong\t", flag.name);
        let base: &[&str] = if flag.name.starts_with("ssh") {
            &["--repo", "git@git.test:a/b", "--root", "/git"]
        } else {
            &["--repo", "https://git.test/a/b", "--root", "/git"]
        };
        let exit = refused(&[base, &[argument.as_str()]].concat(), &[]);
        assert!(
            exit.text.contains(&format!("--{}: ", flag.name)) || flag.name == "repo",
            "{}: {}",
            flag.name,
            exit.text
        );
    }
}

#[test]
fn a_secret_turns_webhooks_on() {
    let folder = tempfile::tempdir().unwrap();
    let new = secret_file(&folder, "new", "0123456789abcdef\n");
    let old = secret_file(&folder, "old", "fedcba9876543210");
    let config = run(&with(&["--hook-secret-file", &new, "--hook-secret-file", &old]), &[]);
    let hook = config.server.hook.unwrap();
    assert!(config.sync.webhooks);
    assert_eq!((hook.bind.port(), hook.bind.ip().is_unspecified(), hook.path.as_str()), (8080, true, "/webhook"));
    assert_eq!(hook.secret_files, [Path::new(&new), Path::new(&old)]);
    let repository = Repository { host: Some("git.test".into()), name: "acme/site".into() };
    assert_eq!((hook.audience.repository, hook.audience.reference.as_str()), (Some(repository), "HEAD"));

    let both = format!("{new},{old}");
    let config = run(&with(&["--hook-repo", "mirror/site"]), &[("PUSHSYNC_HOOK_SECRET_FILE", &both)]);
    let hook = config.server.hook.unwrap();
    // One variable for both files, separated by a comma.
    assert_eq!(hook.secret_files.len(), 2);
    assert_eq!(hook.audience.repository, Some(Repository { host: None, name: "mirror/site".into() }));

    let local = run(&["--repo", "/srv/site.git", "--root", "/git", "--hook-secret-file", &new], &[]);
    assert_eq!(local.server.hook.unwrap().audience.repository, None);
}

#[test]
fn only_the_current_secret_must_exist_and_not_even_that_if_it_is_optional() {
    let folder = tempfile::tempdir().unwrap();
    let new = secret_file(&folder, "new", "0123456789abcdef");
    // One byte less than a secret must have.
    let short = secret_file(&folder, "short", "fifteen bytes!!");
    let files = ["--hook-secret-file", &new, "--hook-secret-file", "/nowhere/previous"];
    let config = run(&with(&files), &[]);
    assert!(config.sync.webhooks && config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.server.hook.unwrap().secret_files.len(), 2, "it may come later");

    let missing = ["--hook-secret-file", "/nowhere/current", "--hook-secret-file", "/nowhere/previous"];
    let exit = refused(&with(&missing), &[]);
    assert!(
        exit.text.contains("`/nowhere/current` cannot be read") && !exit.text.contains("previous"),
        "{}",
        exit.text
    );

    let optional = [&missing[..], &["--hook-secret-optional"]].concat();
    let config = run(&with(&optional), &[]);
    assert!(config.server.hook.is_some_and(|hook| hook.secret_optional && !hook.has_secret()));
    assert!(!config.sync.webhooks, "nothing can ring yet, so no webhook is missed");
    assert!(config.warnings[0].contains("webhooks are rejected until it does"), "{:?}", config.warnings);
    let there = run(&with(&["--hook-secret-file", &new, "--hook-secret-optional"]), &[]);
    assert!(there.sync.webhooks && there.warnings.is_empty());

    for wrong in [["--hook-secret-file", &short], ["--hook-secret-file", "/"]] {
        let exit = refused(&with(&[&wrong[..], &["--hook-secret-optional"]].concat()), &[]);
        assert!(exit.text.contains("--hook-secret-file: "), "what is there must be usable: {}", exit.text);
    }
    let exit = refused(&with(&["--hook-secret-file", &new, "--hook-secret-file", &short]), &[]);
    assert!(exit.text.contains("has 15 bytes"), "{}", exit.text);
}

#[test]
fn credentials_come_from_files_variables_or_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(&folder, "password", "token-in-a-file");
    let account = |config: &Config| config.remote.credentials.for_url(&config.remote.url).unwrap();
    let from_file = account(&run(&with(&["--username", "me", "--password-file", &file]), &[]));
    assert!(matches!(from_file.password, Password::File(path) if path == Path::new(&file)));
    for variable in ["PUSHSYNC_PASSWORD", "GITSYNC_PASSWORD"] {
        let from_variable = account(&run(&with(&["--username", "me"]), &[(variable, "token-in-a-variable")]));
        assert!(matches!(from_variable.password, Password::Value(secret) if secret.expose() == b"token-in-a-variable"));
        assert_eq!(from_variable.username.as_deref(), Some("me"));
    }
    let config = run(&["--repo=https://you:token-in-a-url@git.test/a/b", "--root=/git"], &[]);
    assert_eq!(config.sync.repo, "https://git.test/a/b");
    assert_eq!(account(&config).username.as_deref(), Some("you"));
    assert!(matches!(account(&config).password, Password::Value(secret) if secret.expose() == b"token-in-a-url"));
}

#[test]
fn ssh_files_are_required_for_ssh_urls_only() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (secret_file(&folder, "one", "key"), secret_file(&folder, "two", "key"));
    let hosts = secret_file(&folder, "hosts", "git.test ssh-ed25519 AAAA");
    let ssh = ["--repo", "git@git.test:acme/site.git", "--root", "/git"];
    let keys = format!("{one}:{two}");
    let config = run(&ssh, &[("GITSYNC_SSH_KEY_FILE", &keys), ("GITSYNC_SSH_KNOWN_HOSTS_FILE", &hosts)]);
    assert_eq!(config.remote.credentials.ssh_keys, [Path::new(&one), Path::new(&two)]);
    assert_eq!(config.remote.credentials.ssh_known_hosts.as_deref(), Some(Path::new(&hosts)));
    let unchecked = run(&[&ssh[..], &["--ssh-known-hosts=false", "--ssh-key-file", &one]].concat(), &[]);
    assert_eq!(unchecked.remote.credentials.ssh_known_hosts, None);
    let exit = refused(&[&ssh[..], &["--ssh-key-file=/nowhere/key"]].concat(), &[]);
    for part in ["--ssh-key-file: `/nowhere/key` cannot be read", "--ssh-known-hosts-file: "] {
        assert!(exit.text.contains(part), "{part} in {}", exit.text);
    }
    // As for ssh itself, one of several may be missing; none may not.
    let some =
        run(&[&ssh[..], &["--ssh-known-hosts=false", "--ssh-key-file=/a/lost", "--ssh-key-file", &one]].concat(), &[]);
    assert_eq!(some.remote.credentials.ssh_keys, [Path::new("/a/lost"), Path::new(&one)]);
    assert!(some.warnings[0].starts_with("--ssh-key-file: `/a/lost` cannot be read"), "{:?}", some.warnings);
    let none = refused(&[&ssh[..], &["--ssh-key-file=/a/lost", "--ssh-key-file=/a/nother"]].concat(), &[]).text;
    assert!(none.contains("`/a/lost` cannot be read") && none.contains("`/a/nother` cannot be read"), "{none}");
    let usual = refused(&ssh, &[]).text;
    assert!(usual.contains("--ssh-key-file: `/etc/git-secret/ssh` cannot be read"), "{usual}");
}

#[test]
fn each_bad_value_is_one_problem_that_names_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let good = secret_file(&folder, "good", "0123456789abcdef");
    let short = secret_file(&folder, "short", "fifteen bytes!!");
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["--hook-bind", ":8080"], "--hook-bind: needs --hook-secret-file"),
        (vec!["--hook-secret-file", &short], "has 15 bytes; a secret has 16 to 512"),
        (vec!["--hook-secret-file", "/nowhere"], "--hook-secret-file: `/nowhere` cannot be read"),
        (vec!["--hook-secret-file", &good, "--http-bind", ":8080"], "--http-bind: `"),
        (vec!["--http-bind", "127.0.0.1:7", "--admin-bind", "127.0.0.1:7"], "is taken by --http-bind"),
        (vec!["--hook-secret-file", &good, "--hook-path", "/a/peer"], "ends in /peer"),
        (vec!["--admin-bind", "0.0.0.0:9180"], "--admin-bind: `0.0.0.0:9180` is not loopback"),
        (vec!["--admin-bind", "9180"], "--admin-bind: `9180` is not an address"),
        (vec!["--http-metrics"], "--http-metrics: needs --http-bind"),
        (vec!["--link", ".worktrees"], "--link: `.worktrees` is reserved for pushsync"),
        (vec!["--link", "a/.."], "--link: `a/..` does not end in a name"),
        (vec!["--ref", "a..b"], "--ref: `a..b` is not a valid name"),
        (vec!["--period", "5ms"], "--period: `5ms` is too short"),
        (vec!["--sync-on-signal", "SIGWHAT"], "--sync-on-signal: `SIGWHAT` is not a signal"),
        (vec!["--hook-rate", "-1"], "--hook-rate: `-1` is not a rate"),
        (vec!["--hook-rate=NaN"], "--hook-rate: `NaN` is not a rate"),
        (vec!["--username", "me"], "--username: has no password"),
        (vec!["--password-file", &good], "--username: is missing, although --password-file"),
        (vec!["--history-limit", "0"], "--history-limit: `0` is out of bounds"),
        (vec!["--log-format", "xml"], "--log-format: `xml` is not a format"),
        (vec!["--depth", "-1"], "--depth: `-1` is not a whole number"),
        (vec!["--repo", "ftp://h/x"], "--repo: is not the URL of a repository: `ftp://` is not supported"),
        (vec!["--repo", "https://git.test/"], "--link: is missing, and the URL has no last part"),
        (vec!["--root"], "--root: needs a value"),
        (vec!["stray"], "an argument without a flag: is not shown"),
    ];
    for (more, expected) in cases {
        let exit = refused(&with(&more), &[]);
        assert!(exit.text.contains(expected), "{more:?}: {}", exit.text);
        // A mistake must not lead to further messages that are only its consequence.
        assert!(exit.text.starts_with("pushsync: a problem with"), "{more:?}: only one problem: {}", exit.text);
        assert_eq!(exit.code, 1, "{more:?}");
    }
    let token = with(&["--admin-bind", "0.0.0.0:9180", "--admin-token-file", &good]);
    assert!(run(&token, &[]).server.admin_token_file.is_some());
    assert_eq!(run(&with(&["--admin-bind=off"]), &[]).server.admin, AdminBind::Off);
}

#[test]
fn credentials_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(&folder, "password", "token-of-contradiction");
    let in_url = "--repo=https://me:password-of-contradiction@git.test/a/b";
    let variable = [("PUSHSYNC_PASSWORD", "token-of-contradiction")];
    let cases: [(&[&str], Variables, &str); 5] = [
        (&[in_url, "--username=you"], &[], "--username: is given, but the URL also contains a user"),
        (&[in_url], &variable, "--repo: contains a password, and PUSHSYNC_PASSWORD gives another"),
        (&["--username=me", "--password-file", &file], &variable, "given together with PUSHSYNC_PASSWORD"),
        (&[], &variable, "--username: is missing, although PUSHSYNC_PASSWORD"),
        (
            &[
                "--repo=ssh://git:password-of-contradiction@git.test/a",
                "--ssh-known-hosts=false",
                "--ssh-key-file",
                &file,
            ],
            &[],
            "--repo: contains a password, which is not used for SSH",
        ),
    ];
    for (more, environment, expected) in cases {
        let exit = refused(&with(more), environment);
        assert!(exit.text.contains(expected), "{more:?}: {}", exit.text);
        assert!(!exit.text.contains("of-contradiction"), "{}", exit.text);
    }
}

#[test]
fn an_unknown_flag_has_its_own_code_and_hides_its_value() {
    // The word behind an unknown flag is hidden as well, since it may be its value.
    for more in [&["--passwort", "hunter2hunter2"][..], &["--passwort=hunter2hunter2"], &["-x", "hunter2hunter2"]] {
        let exit = refused(&with(more), &[]);
        assert_eq!(exit.code, 2, "{}", exit.text);
        assert!(!exit.text.contains("hunter2") && exit.text.contains("a problem with"), "{}", exit.text);
    }
    let exit = refused(&with(&["--perod", "5s", "--zebra=off", "--period", "5ms"]), &[]);
    assert_eq!(exit.code, 2);
    for part in ["3 problems", "did you mean --period?", "--zebra: is not a flag", "`5ms` is too short"] {
        assert!(exit.text.contains(part), "{part} in {}", exit.text);
    }
    assert!(refused(&["dashbord"], &[]).text.contains("did you mean `dashboard`?"));
}

#[test]
fn unknown_variables_are_warned_of_except_kubernetes_service_links() {
    let warnings = |arguments: &[&str], environment: &[_]| run(&with(arguments), environment).warnings;
    let told = warnings(&[], &[("PUSHSYNC_PEROID", "5s"), ("GITSYNC_LARGE_FILES", "off"), ("OTHER", "x")]);
    assert_eq!(
        told,
        [
            "GITSYNC_LARGE_FILES: is not a variable of pushsync and has no effect",
            "PUSHSYNC_PEROID: is not a variable of pushsync and has no effect; did you mean PUSHSYNC_PERIOD?",
        ]
    );
    // Kubernetes sets these in each pod beside Services named `pushsync` and `pushsync-hook`, unless
    // `enableServiceLinks` is off.
    let links = [
        ("PUSHSYNC_SERVICE_HOST", "10.0.0.1"),
        ("PUSHSYNC_SERVICE_PORT", "80"),
        ("PUSHSYNC_SERVICE_PORT_HOOK", "80"),
        ("PUSHSYNC_PORT", "tcp://10.0.0.1:80"),
        ("PUSHSYNC_HOOK_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(warnings(&[], &links).is_empty());
    assert_eq!(warnings(&[], &[("PUSHSYNC_PORTÉ", "x")]).len(), 1);
    assert!(warnings(&["--ref", "757107ea0eb2509fc211221cce984b8a37570b6d"], &[])[0].contains("pushes have no effect"));
    assert!(warnings(&["--hook-path", "/x"], &[])[0].contains("no effect without --hook-secret-file"));
    let clear = warnings(&["--repo=http://git.test/a", "--username=me"], &[("PUSHSYNC_PASSWORD", "token-in-clear")]);
    assert!(clear[0].contains("unencrypted"), "{clear:?}");
}

#[test]
fn a_lone_token_in_the_url_is_known_to_the_scrubber() {
    // GitHub takes a token in place of the user, so the user of a URL is as secret as a password.
    run(&["--repo=https://ghp_lonetokenlonetoken42@git.test/a/b", "--root=/git"], &[]);
    assert_eq!(crate::secret::scrub("sent ghp_lonetokenlonetoken42"), "sent ***");
}

proptest::proptest! {
    /// Any input gets a result without a panic or an endless loop. A rejection has a reason.
    #[test]
    fn any_command_line_has_an_answer(words in proptest::collection::vec(word(), 0..8), value in value()) {
        let environment = [("PUSHSYNC_HOOK_SECRET_FILE", &value), ("GITSYNC_REF", &value), ("PUSHSYNC_X", &value)];
        let environment = environment.map(|(name, value)| (OsString::from(name), value.clone()));
        if let Err(exit) = parse(words, environment) {
            proptest::prop_assert!(exit.text.lines().count() >= 3 && matches!(exit.code, 1 | 2), "{}", exit.text);
        }
    }
}

fn value() -> impl proptest::strategy::Strategy<Value = OsString> {
    use proptest::prelude::{Strategy as _, any, prop_oneof};
    // Values that mean something to at least one flag: random text alone rarely gets past the first check.
    let known = ["", "/git", "60s", ":8080", "true", "off", "HEAD", "https://me:pw@git.test/a", ",", "-1", "--", "run"];
    let bytes = proptest::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(OsString::from),
        ".{0,8}".prop_map(OsString::from),
        bytes.prop_map(<OsString as std::os::unix::ffi::OsStringExt>::from_vec),
    ]
}

fn word() -> impl proptest::strategy::Strategy<Value = OsString> {
    use proptest::prelude::{Strategy as _, prop_oneof};
    let flag = || proptest::sample::select(FLAGS.to_vec());
    prop_oneof![
        flag().prop_map(|flag| format!("--{}", flag.name).into()),
        (flag(), value()).prop_map(|(flag, value)| {
            let mut word = OsString::from(format!("--{}=", flag.name));
            word.push(value);
            word
        }),
        ("--?[a-z]{0,4}=?", value()).prop_map(|(start, value)| {
            let mut word = OsString::from(start);
            word.push(value);
            word
        }),
        value(),
    ]
}
