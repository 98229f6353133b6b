//! Compose files, task definitions of clouds, and images that others build upon git-sync's.

use super::{PLAIN, SSH, Spec};

#[rustfmt::skip]
pub(super) const SPECS: &[Spec] = &[
    Spec { of: "a scheduler in a compose file, names that do not exist", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_BRANCH", "main"), ("GITSYNC_PERIOD", "30s"),
        ("GITSYNC_DEPTH", "1"), ("GITSYNC_ROOT", "/sync"), ("GITSYNC_DEST", "repo"), ("GITSYNC_LINK", "current"),
        ("GITSYNC_USERNAME", "bot"), ("GITSYNC_PASSWORD", "a-token-4711"), ("GITSYNC_KNOWN_HOSTS", "false"),
        ("GITSYNC_ONE_TIME", "false"),
    ], reference: "HEAD", root: "/sync", link: "current", period: 30,
    told: &["GITSYNC_BRANCH", "GITSYNC_DEST", "GITSYNC_KNOWN_HOSTS"], ..PLAIN },
    Spec { of: "the same over SSH as another user of the group", env: &[
        ("GITSYNC_ADD_USER", "true"), ("GITSYNC_GROUP_WRITE", "true"), ("GITSYNC_REPO", "ssh://git@git.test:10022/acme/dags.git"),
        ("GITSYNC_BRANCH", "master"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_PERIOD", "30s"),
        ("GITSYNC_DEPTH", "1"), ("GITSYNC_SSH", "true"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_KNOWN_HOSTS", "true"),
        ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"),
    ], repo: "ssh://git@git.test:10022/acme/dags.git", reference: "HEAD", period: 30,
    told: &["GITSYNC_ADD_USER", "GITSYNC_BRANCH", "GITSYNC_KNOWN_HOSTS"], ..PLAIN },
    Spec { of: "a task of a cloud's container service", env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_WAIT", "60"),
        ("GITSYNC_PERIOD", "10s"), ("GITSYNC_ONE_TIME", "false"), ("GITSYNC_MAX_FAILURES", "-1"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"),
        ("GITSYNC_SSH_KNOWN_HOSTS", "true"), ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"), ("GITSYNC_ADD_USER", "true"),
    ], repo: SSH, period: 10, told: &["GITSYNC_WAIT", "GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "checks of a status page in a swarm", env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "deploy/swarm"), ("GITSYNC_PERIOD", "60s"), ("GITSYNC_ROOT", "/git"),
        ("GITSYNC_LINK", "repo"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"),
        ("GITSYNC_ADD_USER", "true"), ("GITSYNC_FILTER", "blob:none"), ("GITSYNC_SPARSE_CHECKOUT_FILE", "FILES/sparse"),
        ("GITSYNC_HTTP_BIND", ":8080"), ("TZ", "UTC"),
    ], repo: SSH, reference: "deploy/swarm", told: &["GITSYNC_ADD_USER", "GITSYNC_FILTER"], ..PLAIN },
    Spec { of: "a dashboard of the same, copied by a program", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_PERIOD", "60s"),
        ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_EXECHOOK_COMMAND", "FILES/hook"),
        ("GITSYNC_EXECHOOK_TIMEOUT", "30s"), ("GITSYNC_EXECHOOK_BACKOFF", "10s"), ("GITSYNC_FILTER", "blob:none"),
        ("GITSYNC_SPARSE_CHECKOUT_FILE", "FILES/sparse"),
    ], ..PLAIN },
    Spec { of: "a portfolio tracker whose link is beside the root", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "HEAD"), ("GITSYNC_PERIOD", "60s"),
        ("GITSYNC_ROOT", "/git/repo"), ("GITSYNC_LINK", "/git/Tracker"), ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_STALE_WORKTREE_TIMEOUT", "5m"), ("GITSYNC_HTTP_BIND", ":8082"), ("GITSYNC_USERNAME", ""), ("GITSYNC_PASSWORD", ""),
    ], reference: "HEAD", root: "/git/repo", link: "/git/Tracker", ..PLAIN },
    Spec { of: "specifications of an interface in a cloud's container app", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_BRANCH", "main"), ("GITSYNC_ROOT", "/data"),
        ("GITSYNC_LINK", "repo"), ("GITSYNC_PERIOD", "60s"), ("GITSYNC_ONE_TIME", "false"),
        ("GITSYNC_SPARSE_CHECKOUT_FILE", "FILES/sparse"),
    ], reference: "HEAD", root: "/data", told: &["GITSYNC_BRANCH"], ..PLAIN },
    Spec { of: "a gateway's image built upon git-sync", env: &[
        ("ENABLE_GITSYNC", "1"), ("GITSYNC_VERBOSE", "0"), ("GITSYNC_REF", "HEAD"), ("GITSYNC_ROOT", "/git"),
        ("GITSYNC_PERIOD", "30s"), ("GITSYNC_EXECHOOK_COMMAND", "FILES/hook"), ("GITSYNC_MAX_FAILURES", "1000000"),
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_LINK", "repo"),
    ], reference: "HEAD", period: 30, ..PLAIN },
    Spec { of: "a content server's image with a program and its argument", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_ONE_TIME", "true"),
        ("GITSYNC_PRE_PUBLISH_EXECHOOK_COMMAND", "FILES/hook"), ("GITSYNC_REF", "main"), ("GITSYNC_LINK", "repo"),
    ], one_time: true, ..PLAIN },
    Spec { of: "an automation server's configuration", env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_PERIOD", "1m"),
        ("GITSYNC_SSH_KEY_FILE", "FILES/ssh:FILES/other"), ("GITSYNC_SSH_KNOWN_HOSTS", "false"), ("GITSYNC_SYNC_ON_SIGNAL", "HUP"),
        ("GITSYNC_TOUCH_FILE", "touched"), ("GITSYNC_ERROR_FILE", "error.json"),
    ], repo: SSH, told: &["GITSYNC_SSH_KEY_FILE"], ..PLAIN },
    Spec { of: "agents that ask for a sync by a signal", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/repo"),
        ("GITSYNC_LINK", "current"), ("GITSYNC_PERIOD", "300s"), ("GITSYNC_SYNC_ON_SIGNAL", "SIGHUP"),
        ("GITSYNC_ONE_TIME", "false"), ("GITSYNC_USERNAME", "x-access-token"), ("GITSYNC_PASSWORD", "a-token-4711"),
    ], root: "/repo", link: "current", period: 300, ..PLAIN },
    Spec { of: "a documentation builder", env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "current"),
        ("GITSYNC_PERIOD", "60s"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"),
        ("GITSYNC_GIT_CONFIG", "safe.directory:*"), ("GITSYNC_VERBOSE", "6"), ("GITSYNC_HTTP_METRICS", "true"),
        ("GITSYNC_HTTP_BIND", ":8080"), ("GITSYNC_GROUP_WRITE", "1"),
    ], repo: SSH, link: "current", told: &["GITSYNC_GIT_CONFIG"], ..PLAIN },
];
