//! git-sync's whole command line: every flag and variable of its v4, and every name of v3 that v4 still takes, is known here.
//!
//! The lists are from its main.go. They are written out so that a flag which gets lost fails a test.

use std::ffi::OsString;

use pushsync::config::{Config, Exit, FLAGS, Invocation, older_flags, older_variables, parse};

/// Every flag of git-sync v4, a value that it takes, and its variables: v4's first, then v3's.
#[rustfmt::skip]
const V4: &[(&str, &str, &[&str])] = &[
    ("add-user", "true", &["GITSYNC_ADD_USER", "GIT_SYNC_ADD_USER"]),
    ("askpass-url", "http://localhost:1/x", &["GITSYNC_ASKPASS_URL", "GIT_SYNC_ASKPASS_URL", "GIT_ASKPASS_URL"]),
    ("cookie-file", "false", &["GITSYNC_COOKIE_FILE", "GIT_SYNC_COOKIE_FILE", "GIT_COOKIE_FILE"]),
    ("credential", r#"{"url":"https://git.test","username":"me","password":"hunter2hunter2"}"#, &["GITSYNC_CREDENTIAL"]),
    ("depth", "0", &["GITSYNC_DEPTH", "GIT_SYNC_DEPTH"]),
    ("error-file", "error.json", &["GITSYNC_ERROR_FILE", "GIT_SYNC_ERROR_FILE"]),
    ("exechook-backoff", "3s", &["GITSYNC_EXECHOOK_BACKOFF", "GIT_SYNC_EXECHOOK_BACKOFF"]),
    ("exechook-command", "/bin/true", &["GITSYNC_EXECHOOK_COMMAND", "GIT_SYNC_EXECHOOK_COMMAND"]),
    ("exechook-timeout", "30s", &["GITSYNC_EXECHOOK_TIMEOUT", "GIT_SYNC_EXECHOOK_TIMEOUT"]),
    ("filter", "blob:none", &["GITSYNC_FILTER"]),
    ("git", "git", &["GITSYNC_GIT", "GIT_SYNC_GIT"]),
    ("git-config", "http.sslVerify:true", &["GITSYNC_GIT_CONFIG", "GIT_SYNC_GIT_CONFIG"]),
    ("git-config-add", "http.sslVerify:true", &["GITSYNC_GIT_CONFIG_ADD"]),
    ("git-gc", "always", &["GITSYNC_GIT_GC", "GIT_SYNC_GIT_GC"]),
    ("github-app-application-id", "1", &["GITSYNC_GITHUB_APP_APPLICATION_ID"]),
    ("github-app-client-id", "a", &["GITSYNC_GITHUB_APP_CLIENT_ID"]),
    ("github-app-installation-id", "1", &["GITSYNC_GITHUB_APP_INSTALLATION_ID"]),
    ("github-app-private-key-file", "/nowhere/key", &["GITSYNC_GITHUB_APP_PRIVATE_KEY_FILE"]),
    ("github-base-url", "https://api.git.test/", &["GITSYNC_GITHUB_BASE_URL"]),
    ("group-write", "true", &["GITSYNC_GROUP_WRITE", "GIT_SYNC_GROUP_WRITE"]),
    ("http-bind", ":1234", &["GITSYNC_HTTP_BIND", "GIT_SYNC_HTTP_BIND"]),
    ("http-metrics", "false", &["GITSYNC_HTTP_METRICS", "GIT_SYNC_HTTP_METRICS"]),
    ("http-pprof", "false", &["GITSYNC_HTTP_PPROF", "GIT_SYNC_HTTP_PPROF"]),
    ("init-max-failures", "3", &["GITSYNC_INIT_MAX_FAILURES"]),
    ("init-period", "1s", &["GITSYNC_INIT_PERIOD"]),
    ("link", "current", &["GITSYNC_LINK", "GIT_SYNC_LINK"]),
    ("max-failures", "0", &["GITSYNC_MAX_FAILURES", "GIT_SYNC_MAX_FAILURES"]),
    ("one-time", "true", &["GITSYNC_ONE_TIME", "GIT_SYNC_ONE_TIME"]),
    ("password-file", "/nowhere/password", &["GITSYNC_PASSWORD_FILE", "GIT_SYNC_PASSWORD_FILE"]),
    ("period", "10s", &["GITSYNC_PERIOD", "GIT_SYNC_PERIOD"]),
    ("pre-publish-exechook-backoff", "3s", &["GITSYNC_PRE_PUBLISH_EXECHOOK_BACKOFF"]),
    ("pre-publish-exechook-command", "/bin/true", &["GITSYNC_PRE_PUBLISH_EXECHOOK_COMMAND"]),
    ("pre-publish-exechook-timeout", "30s", &["GITSYNC_PRE_PUBLISH_EXECHOOK_TIMEOUT"]),
    ("ref", "main", &["GITSYNC_REF"]),
    ("repo", "/srv/site.git", &["GITSYNC_REPO", "GIT_SYNC_REPO"]),
    ("root", "/git", &["GITSYNC_ROOT", "GIT_SYNC_ROOT"]),
    ("sparse-checkout-file", "/nowhere/sparse", &["GITSYNC_SPARSE_CHECKOUT_FILE", "GIT_SYNC_SPARSE_CHECKOUT_FILE"]),
    ("ssh-key-file", "/nowhere/key", &["GITSYNC_SSH_KEY_FILE", "GIT_SYNC_SSH_KEY_FILE", "GIT_SSH_KEY_FILE"]),
    ("ssh-known-hosts", "true", &["GITSYNC_SSH_KNOWN_HOSTS", "GIT_SYNC_KNOWN_HOSTS", "GIT_KNOWN_HOSTS"]),
    ("ssh-known-hosts-file", "/nowhere/hosts", &["GITSYNC_SSH_KNOWN_HOSTS_FILE", "GIT_SYNC_SSH_KNOWN_HOSTS_FILE", "GIT_SSH_KNOWN_HOSTS_FILE"]),
    ("stale-worktree-timeout", "0", &["GITSYNC_STALE_WORKTREE_TIMEOUT"]),
    ("submodules", "recursive", &["GITSYNC_SUBMODULES", "GIT_SYNC_SUBMODULES"]),
    ("sync-on-signal", "SIGHUP", &["GITSYNC_SYNC_ON_SIGNAL", "GIT_SYNC_SYNC_ON_SIGNAL"]),
    ("sync-timeout", "120s", &["GITSYNC_SYNC_TIMEOUT", "GIT_SYNC_SYNC_TIMEOUT"]),
    ("touch-file", "touched", &["GITSYNC_TOUCH_FILE", "GIT_SYNC_TOUCH_FILE"]),
    ("username", "me", &["GITSYNC_USERNAME", "GIT_SYNC_USERNAME"]),
    ("verbose", "6", &["GITSYNC_VERBOSE"]),
    ("webhook-backoff", "3s", &["GITSYNC_WEBHOOK_BACKOFF", "GIT_SYNC_WEBHOOK_BACKOFF"]),
    ("webhook-method", "POST", &["GITSYNC_WEBHOOK_METHOD", "GIT_SYNC_WEBHOOK_METHOD"]),
    ("webhook-success-status", "200", &["GITSYNC_WEBHOOK_SUCCESS_STATUS", "GIT_SYNC_WEBHOOK_SUCCESS_STATUS"]),
    ("webhook-timeout", "1s", &["GITSYNC_WEBHOOK_TIMEOUT", "GIT_SYNC_WEBHOOK_TIMEOUT"]),
    ("webhook-url", "http://localhost:1/x", &["GITSYNC_WEBHOOK_URL", "GIT_SYNC_WEBHOOK_URL"]),
    // Deprecated in v4, and taken all the same.
    ("branch", "main", &["GIT_SYNC_BRANCH"]),
    ("change-permissions", "0", &["GIT_SYNC_PERMISSIONS"]),
    ("dest", "current", &["GIT_SYNC_DEST"]),
    ("max-sync-failures", "3", &["GIT_SYNC_MAX_SYNC_FAILURES"]),
    ("password", "hunter2hunter2", &[]),
    ("rev", "main", &["GIT_SYNC_REV"]),
    ("ssh", "true", &[]),
    ("sync-hook-command", "/bin/true", &["GIT_SYNC_HOOK_COMMAND"]),
    ("timeout", "120", &["GIT_SYNC_TIMEOUT"]),
    ("v", "6", &[]),
    ("wait", "30", &["GIT_SYNC_WAIT"]),
];

/// Variables of git-sync that have no flag.
const VARIABLES: &[&str] = &["GITSYNC_PASSWORD", "GIT_SYNC_PASSWORD", "GITSYNC_GITHUB_APP_PRIVATE_KEY"];

fn ask(arguments: &[String], environment: &[(&str, &str)]) -> Result<Config, Exit> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match parse(arguments.iter().map(OsString::from), environment)? {
        Invocation::Run(config) => Ok(*config),
        _ => panic!("{arguments:?} is a run"),
    }
}

fn with(more: &[&str]) -> Vec<String> {
    ["--repo=https://git.test/acme/site", "--root=/git"].iter().chain(more).map(|&text| text.to_owned()).collect()
}

#[test]
fn every_flag_of_git_sync_is_a_flag() {
    for (name, value, _) in V4 {
        let refused = ask(&with(&[&format!("--{name}={value}")]), &[]).err();
        let unknown = refused.as_ref().is_some_and(|exit| exit.code == 2);
        assert!(!unknown, "--{name}: {refused:?}");
        if let Some(exit) = refused {
            assert!(!exit.text.contains("hunter2"), "{}", exit.text);
        }
    }
}

#[test]
fn every_variable_of_git_sync_is_read() {
    for (name, value, variables) in V4 {
        for variable in *variables {
            // What cannot be right is minded under the variable's name; what may be anything is looked for in the result.
            let carried = ["link", "root", "repo", "ref", "branch", "rev", "dest"];
            let value = if carried.contains(name) { *value } else { "~ wrong\t" };
            let arguments: Vec<String> = match *name {
                "repo" => vec!["--root=/git".to_owned()],
                "root" => vec!["--repo=https://git.test/acme/site".to_owned()],
                name if name.starts_with("ssh") => {
                    vec!["--repo=git@git.test:acme/site".to_owned(), "--root=/git".to_owned()]
                }
                _ => with(&[]),
            };
            match ask(&arguments, &[(variable, value)]) {
                Err(exit) => {
                    assert!(exit.text.contains(&format!("{variable}: ")), "{variable}: {}", exit.text);
                    assert_eq!(exit.code, 1);
                }
                Ok(config) => {
                    let place = format!("{} {}", config.volume.link.display(), config.volume.root.display());
                    let all = format!("{} {} {place}", config.sync.reference, config.sync.repo);
                    assert!(all.contains(value) || !carried.contains(name), "{variable} was not read: {all}");
                    let unread = config.warnings.iter().any(|warning| warning.contains("is not a variable"));
                    assert!(!unread, "{variable}: {:?}", config.warnings);
                }
            }
        }
    }
    for variable in VARIABLES {
        let told = ask(&with(&[]), &[(variable, "hunter2hunter2")]).map(|config| config.warnings.join(" "));
        let told = told.unwrap_or_else(|exit| exit.text);
        assert!(!told.contains("is not a variable"), "{variable}: {told}");
        assert!(!told.contains("hunter2"), "{variable}: {told}");
    }
}

#[test]
fn no_old_name_is_taken_that_git_sync_does_not_take_nor_any_flag_marked_as_its_own() {
    for older in older_flags() {
        assert!(V4.iter().any(|(name, ..)| *name == older.name), "{}", older.name);
    }
    for flag in FLAGS.iter() {
        let known = V4.iter().find(|(name, ..)| *name == flag.name);
        assert_eq!(flag.in_git_sync, known.is_some(), "{}", flag.name);
        let theirs = known.map_or(&[][..], |(.., variables)| *variables);
        for variable in older_variables(flag.name) {
            assert!(theirs.contains(&variable.as_str()), "{variable}");
        }
        for variable in theirs {
            let all = [flag.variables(), older_variables(flag.name)].concat();
            assert!(all.iter().any(|known| known == variable), "{variable}");
        }
    }
}
