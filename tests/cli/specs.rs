//! Arguments and environments of git-sync containers as charts, operators, compose files and manifests write them, with names
//! and hosts replaced: each starts, and means what it says.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use pushsync::config::{Config, Exit, Invocation, parse};

/// What a spec has to come out as.
struct Meaning {
    repo: &'static str,
    reference: &'static str,
    root: &'static str,
    link: &'static str,
    period: u64,
    depth: u32,
    one_time: bool,
}

const PLAIN: Meaning = Meaning {
    repo: "https://git.test/acme/dags.git",
    reference: "main",
    root: "/git",
    link: "repo",
    period: 60,
    depth: 1,
    one_time: false,
};

/// A name, the arguments, the environment, and what it means. `FILES` is a folder with a `password`, an `ssh` key, a
/// `known_hosts`, a `cookie_file`, a `ca.pem`, an app's `key` and a `sparse` file.
type Spec = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)], Meaning);

const REPO: (&str, &str) = ("GITSYNC_REPO", "https://git.test/acme/dags.git");
const OLD_REPO: (&str, &str) = ("GIT_SYNC_REPO", "https://git.test/acme/dags.git");

#[rustfmt::skip]
const SPECS: &[Spec] = &[
    ("a chart that sets both generations of variables", &[], &[
        ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"), ("GIT_SYNC_BRANCH", "main"), REPO, OLD_REPO,
        ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"), ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"), ("GIT_SYNC_ADD_USER", "true"), ("GITSYNC_ADD_USER", "true"),
        ("GITSYNC_PERIOD", "5s"), ("GIT_SYNC_MAX_SYNC_FAILURES", "0"), ("GITSYNC_MAX_FAILURES", "0"),
    ], Meaning { period: 5, ..PLAIN }),
    ("the same as an init container", &[], &[
        ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"), ("GIT_SYNC_BRANCH", "main"), REPO, ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_ONE_TIME", "true"), ("GIT_SYNC_ONE_TIME", "true"),
    ], Meaning { one_time: true, ..PLAIN }),
    ("a chart with the variables of v3, seconds and a password", &[], &[
        OLD_REPO, ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REV", "HEAD"), ("GIT_SYNC_ROOT", "/dags"), ("GIT_SYNC_DEST", "repo"),
        ("GIT_SYNC_DEPTH", "1"), ("GIT_SYNC_WAIT", "60"), ("GIT_SYNC_TIMEOUT", "120"), ("GIT_SYNC_ADD_USER", "true"),
        ("GIT_SYNC_MAX_SYNC_FAILURES", "0"), ("GIT_SYNC_SUBMODULES", "recursive"), ("GIT_SYNC_USERNAME", "bot"),
        ("GIT_SYNC_PASSWORD", "a-token-4711\n"), ("GIT_KNOWN_HOSTS", "false"),
    ], Meaning { root: "/dags", ..PLAIN }),
    ("a chart over ssh without known hosts", &[], &[
        ("GIT_SYNC_REPO", "git@git.test:acme/dags.git"), ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GIT_SYNC_SSH", "true"), ("GIT_SSH_KEY_FILE", "FILES/ssh"), ("GIT_KNOWN_HOSTS", "false"),
        ("GITSYNC_SSH", "true"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KNOWN_HOSTS", "false"),
        ("GIT_SYNC_WAIT", "10"),
    ], Meaning { repo: "git@git.test:acme/dags.git", period: 10, ..PLAIN }),
    ("an operator's arguments", &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--depth=1", "--period=20s", "--link=current",
        "--root=/app/git", "--git-config=safe.directory:/tmp/git,http.sslCAInfo:FILES/ca.pem", "--one-time=true",
    ], &[], Meaning { root: "/app/git", link: "current", period: 20, one_time: true, ..PLAIN }),
    ("an operator's arguments with a token in the address", &[
        "--repo=https://ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8@git.test/acme/dags.git", "--branch=main", "--root=/git",
        "--dest=repo", "--wait=30",
    ], &[], Meaning { period: 30, ..PLAIN }),
    ("a controller that follows an organization's configuration", &[
        "--root=/repo/source", "--link=rev", "--max-failures=-1", "--error-file=error.json", "--v=5", "--ssh-known-hosts=false",
    ], &[
        ("GITSYNC_REPO", "git@git.test:acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_PERIOD", "15s"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"),
    ], Meaning { repo: "git@git.test:acme/dags.git", root: "/repo/source", link: "rev", period: 15, ..PLAIN }),
    ("rules for a monitoring server, reloaded by a webhook", &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--period=60s",
        "--webhook-url=http://localhost:9090/-/reload", "--webhook-method=POST", "--webhook-success-status=200",
        "--webhook-timeout=5s", "--webhook-backoff=10s", "--http-bind=:2020", "--http-metrics", "--http-pprof",
    ], &[], PLAIN),
    ("a compose file with a hook and a signal", &[], &[
        REPO, ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_PERIOD", "1m"),
        ("GITSYNC_EXECHOOK_COMMAND", "/bin/true"), ("GITSYNC_EXECHOOK_TIMEOUT", "30s"), ("GITSYNC_SYNC_ON_SIGNAL", "SIGHUP"),
        ("GITSYNC_USERNAME", "bot"), ("GITSYNC_PASSWORD_FILE", "FILES/password"), ("GITSYNC_GROUP_WRITE", "true"),
        ("GITSYNC_STALE_WORKTREE_TIMEOUT", "5m"), ("GITSYNC_VERBOSE", "6"), ("GITSYNC_TOUCH_FILE", "touched"),
    ], PLAIN),
    ("accounts for two servers", &[
        "--repo", "https://git.test/acme/dags.git", "--ref", "main", "--root", "/git", "--link", "repo", "--submodules=shallow",
        "--credential", r#"{"url":"https://git.test","username":"bot","password-file":"FILES/password"}"#,
        "--credential", r#"{"url":"https://other.test","username":"bot","password-file":"FILES/password"}"#,
    ], &[], PLAIN),
    ("a GitHub App", &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--depth=0",
        "--github-app-application-id=4711", "--github-app-installation-id=1843", "--github-app-private-key-file=FILES/key",
    ], &[], Meaning { depth: 0, ..PLAIN }),
    ("cookies, a sparse checkout and a filter", &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--cookie-file=FILES/cookie_file",
        "--sparse-checkout-file=FILES/sparse", "--filter=blob:none", "--git-gc=off",
    ], &[], PLAIN),
    ("an address with a port, a folder and a percent sign", &[
        "--repo=ssh://git@git.test:7999/~bot/my%20dags.git", "--ref=main", "--root=/git", "--link=repo",
        "--ssh-key-file=FILES/ssh", "--ssh-known-hosts-file=FILES/known_hosts",
    ], &[], Meaning { repo: "ssh://git@git.test:7999/~bot/my%20dags.git", ..PLAIN }),
    ("the tutorial's variable", &["--root=/git", "--link=repo", "--ref=main"], &[("GIT_REPO", "https://git.test/acme/dags.git")], PLAIN),
];

fn ask(arguments: &[String], environment: &[(String, String)]) -> Result<Config, Exit> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match parse(arguments.iter().map(OsString::from), environment)? {
        Invocation::Run(config) => Ok(*config),
        _ => panic!("{arguments:?} is a run"),
    }
}

#[test]
fn specs_that_people_use_start_and_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let authority = crate::support::tls::Authority::new();
    for (name, content) in [
        ("password", b"a-token-4711\n\n".to_vec()),
        ("ssh", b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec()),
        ("known_hosts", b"git.test ssh-ed25519 AAAA\n".to_vec()),
        ("cookie_file", b"git.test\tFALSE\t/\tTRUE\t0\to\tvalue-4711\n".to_vec()),
        ("ca.pem", authority.pem()),
        ("key", b"-----BEGIN RSA PRIVATE KEY-----\n".to_vec()),
        ("sparse", b"/dags/\n".to_vec()),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let here = folder.path().display().to_string();
    for (name, arguments, environment, meaning) in SPECS {
        let arguments: Vec<String> = arguments.iter().map(|text| text.replace("FILES", &here)).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), value.replace("FILES", &here))).collect();
        let config = ask(&arguments, &environment).unwrap_or_else(|exit| panic!("{name}: {}", exit.text));
        assert_eq!(config.sync.repo, meaning.repo, "{name}");
        assert_eq!(config.sync.reference, meaning.reference, "{name}");
        assert_eq!(config.volume.root.display().to_string(), meaning.root, "{name}");
        assert_eq!(config.volume.link.display().to_string(), meaning.link, "{name}");
        assert_eq!(config.sync.period, Duration::from_secs(meaning.period), "{name}");
        assert_eq!((config.remote.depth, config.sync.one_time), (meaning.depth, meaning.one_time), "{name}");
        let warnings = config.warnings.join("\n");
        assert!(!warnings.contains("4711") && !warnings.contains("a1b2c3d4"), "{name}: {warnings}");
        // The chart sets one that git-sync v4 does not read either.
        let unread = |warning: &&String| warning.contains("is not a variable") && !warning.starts_with("GITSYNC_SSH: ");
        assert_eq!(config.warnings.iter().find(unread), None, "{name}");
    }
}
