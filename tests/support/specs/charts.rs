//! Helm charts: what their templates turn values into.

use super::{PLAIN, SSH, Spec};

#[rustfmt::skip]
pub(super) const SPECS: &[Spec] = &[
    Spec { of: "a workflow scheduler's chart, both generations of names, sidecar", env: &[
        ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"), ("GIT_SYNC_BRANCH", "main"),
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"),
        ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"), ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"), ("GIT_SYNC_ADD_USER", "true"), ("GITSYNC_ADD_USER", "true"),
        ("GITSYNC_PERIOD", "5s"), ("GIT_SYNC_MAX_SYNC_FAILURES", "0"), ("GITSYNC_MAX_FAILURES", "0"),
    ], period: 5, told: &["GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "the same as an init container of a worker", env: &[
        ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"), ("GIT_SYNC_BRANCH", "main"),
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"),
        ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"), ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"), ("GIT_SYNC_ADD_USER", "true"), ("GITSYNC_ADD_USER", "true"),
        ("GIT_SYNC_WAIT", "60"), ("GITSYNC_PERIOD", "60s"), ("GIT_SYNC_MAX_SYNC_FAILURES", "70"), ("GITSYNC_MAX_FAILURES", "70"),
        ("GIT_SYNC_ONE_TIME", "true"), ("GITSYNC_ONE_TIME", "true"),
    ], one_time: true, told: &["GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "the same with an account from a Secret", env: &[
        ("GIT_SYNC_USERNAME", "bot"), ("GITSYNC_USERNAME", "bot"), ("GIT_SYNC_PASSWORD", "a-token-4711"),
        ("GITSYNC_PASSWORD", "a-token-4711"), ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"), ("GIT_SYNC_BRANCH", "main"),
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"),
        ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"), ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"), ("GIT_SYNC_ADD_USER", "true"), ("GITSYNC_ADD_USER", "true"),
        ("GITSYNC_PERIOD", "30s"), ("GIT_SYNC_MAX_SYNC_FAILURES", "0"), ("GITSYNC_MAX_FAILURES", "0"),
    ], period: 30, told: &["GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "the same over SSH without known hosts", env: &[
        ("GIT_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GIT_SYNC_SSH", "true"), ("GITSYNC_SSH", "true"),
        ("GIT_KNOWN_HOSTS", "false"), ("GITSYNC_SSH_KNOWN_HOSTS", "false"), ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"),
        ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REPO", SSH), ("GITSYNC_REPO", SSH), ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"),
        ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"), ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"),
        ("GIT_SYNC_ADD_USER", "true"), ("GITSYNC_ADD_USER", "true"), ("GITSYNC_PERIOD", "5s"),
    ], repo: SSH, period: 5, told: &["GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "the same over SSH with known hosts, and a probe", env: &[
        ("GIT_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GIT_SYNC_SSH", "true"), ("GITSYNC_SSH", "true"),
        ("GIT_KNOWN_HOSTS", "true"), ("GITSYNC_SSH_KNOWN_HOSTS", "true"), ("GIT_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"),
        ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"), ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"),
        ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REPO", SSH), ("GITSYNC_REPO", SSH), ("GIT_SYNC_DEPTH", "1"), ("GITSYNC_DEPTH", "1"),
        ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"), ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"),
        ("GITSYNC_PERIOD", "66s"), ("GIT_SYNC_HTTP_BIND", ":1234"), ("GITSYNC_HTTP_BIND", ":1234"),
    ], repo: SSH, period: 66, ..PLAIN },
    Spec { of: "a user community's chart of the same scheduler, names of v3", env: &[
        ("GIT_SYNC_ROOT", "/dags"), ("GIT_SYNC_DEST", "repo"), ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"),
        ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REV", "HEAD"), ("GIT_SYNC_DEPTH", "1"), ("GIT_SYNC_WAIT", "60"),
        ("GIT_SYNC_TIMEOUT", "120"), ("GIT_SYNC_ADD_USER", "true"), ("GIT_SYNC_MAX_SYNC_FAILURES", "0"),
        ("GIT_SYNC_SUBMODULES", "recursive"), ("GIT_SYNC_USERNAME", "bot"), ("GIT_SYNC_PASSWORD", "a-token-4711\n"),
        ("GIT_KNOWN_HOSTS", "false"),
    ], root: "/dags", told: &[
        "GIT_SYNC_ROOT", "GIT_SYNC_DEST", "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_DEPTH", "GIT_SYNC_WAIT",
        "GIT_SYNC_TIMEOUT", "GIT_SYNC_ADD_USER", "GIT_SYNC_SUBMODULES", "GIT_SYNC_USERNAME", "GIT_KNOWN_HOSTS",
    ], ..PLAIN },
    Spec { of: "a load generator's chart", env: &[
        ("GITSYNC_REF", "main"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "repo"), ("GITSYNC_ADD_USER", "true"), ("GITSYNC_PERIOD", "15s"),
        ("GITSYNC_MAX_FAILURES", "0"),
    ], period: 15, told: &["GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "a schema registry's chart with a variable of its own", env: &[
        ("GIT_SYNC_WAIT", "5"), ("GITSYNC_PERIOD", "5s"), ("GIT_SYNC_REV", "HEAD"), ("GITSYNC_REF", "main"),
        ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"),
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_ROOT", "/git"), ("GITSYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GITSYNC_LINK", "repo"), ("GITSYNC_SUBMODULES", "recursive"),
    ], period: 5, ..PLAIN },
    Spec { of: "a scheduler's chart that checks out one folder", args: &[
        "--repo=https://git.test/acme/dags.git", "--root=/git", "--link=repo", "--ref=main", "--period=60s", "--depth=1",
        "--sparse-checkout-file=FILES/sparse",
    ], ..PLAIN },
    Spec { of: "a chart that reloads a development server", args: &[
        "--ssh-key-file=FILES/ssh", "--ssh-known-hosts=true", "--ssh-known-hosts-file=FILES/known_hosts", "--root=/workspace",
        "--link=current", "--depth=1", "--submodules=off", "--period=5s", "--max-failures=-1", "--stale-worktree-timeout=30s",
    ], env: &[("GITSYNC_REPO", SSH), ("APP_PR_NUMBER", "7"), ("GITSYNC_REF", "refs/pull/7/head")],
    repo: SSH, reference: "refs/pull/7/head", root: "/workspace", link: "current", period: 5, ..PLAIN },
    Spec { of: "a policy server's chart with a token, init container", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/policy", "--link=current", "--depth=1", "--one-time",
        "--username=bot", "--password-file=FILES/password",
    ], env: &[("HOME", "/tmp")], root: "/policy", link: "current", one_time: true, ..PLAIN },
    Spec { of: "the same over SSH, sidecar", args: &[
        "--repo=git@git.test:acme/dags.git", "--ref=main", "--root=/policy", "--link=current", "--depth=1", "--period=30s",
        "--ssh", "--ssh-key-file=FILES/ssh", "--ssh-known-hosts-file=FILES/known_hosts",
    ], env: &[("HOME", "/tmp")], repo: SSH, root: "/policy", link: "current", period: 30, told: &["--ssh"], ..PLAIN },
    Spec { of: "a health checker's chart with a vault", args: &[
        "--repo=git@git.test:acme/dags.git", "--ref=master", "--root=/checks", "--link=current", "--depth=1", "--max-failures=3",
        "--period=1m", "--ssh-key-file=FILES/ssh", "--ssh-known-hosts=false",
    ], env: &[("HOME", "/tmp")], repo: SSH, reference: "master", root: "/checks", link: "current", ..PLAIN },
    Spec { of: "a static site's chart with an Apache server", args: &[
        "--repo=https://git.test/acme/dags.git", "--depth=1", "--period=240s", "--max-failures=10", "--link=current",
        "--root=/git-apache", "--verbose=9",
    ], reference: "HEAD", root: "/git-apache", link: "current", period: 240, ..PLAIN },
    Spec { of: "a GitOps helper's chart with a long webhook", args: &[
        "--repo=git@git.test:acme/dags.git", "--branch=main", "--ssh=true", "--ssh-key-file=FILES/ssh", "--ssh-known-hosts=false",
        "--ssh-known-hosts-file=FILES/known_hosts", "--depth=1", "--dest=current", "--root=/repo/helm-chart-git",
        "--webhook-url=http://localhost/hooks/redeploy-webhook", "--webhook-timeout=120s",
    ], repo: SSH, root: "/repo/helm-chart-git", link: "current", told: &["--branch", "--dest", "--ssh"], ..PLAIN },
    Spec { of: "a bot's chart that clones once", args: &[
        "--repo=git@git.test:acme/dags.git", "--ref=main", "--root=/repo", "--link=current", "--one-time", "--ssh",
        "--ssh-known-hosts=false",
    ], env: &[("GITSYNC_SSH_KEY_FILE", "FILES/ssh")], repo: SSH, root: "/repo", link: "current", one_time: true, told: &["--ssh"], ..PLAIN },
];
