//! Manifests that people wrote for their own cluster, and pods that a pipeline starts.

use super::{PLAIN, SSH, Spec};

#[rustfmt::skip]
pub(super) const SPECS: &[Spec] = &[
    Spec { of: "git-sync's own example", args: &[
        "--repo=https://git.test/acme/dags", "--depth=1", "--period=60s", "--link=current", "--root=/git",
    ], repo: "https://git.test/acme/dags", reference: "HEAD", link: "current", ..PLAIN },
    Spec { of: "git-sync's own tests", args: &[
        "-v=6", "--add-user", "--group-write", "--touch-file=interlock", "--git-config=protocol.file.allow:always",
        "--http-bind=:8080", "--http-metrics", "--http-pprof", "--one-time", "--repo=https://git.test/acme/dags.git",
        "--root=/git", "--link=link",
    ], reference: "HEAD", link: "link", one_time: true, told: &["--add-user", "--git-config", "--http-pprof"], ..PLAIN },
    Spec { of: "git-sync's own tests of settings", args: &[
        "--one-time", "--repo=https://git.test/acme/dags.git", "--root=/git", "--link=link",
        r#"--git-config=http.postBuffer:10485760,sect.k1:"a val",sect.k2:another val"#,
    ], reference: "HEAD", link: "link", one_time: true, told: &["--git-config"], ..PLAIN },
    Spec { of: "an nginx server's pages, unlimited failures", args: &[
        "--repo=https://git.test/acme/dags", "--root=/git/repo", "--period=60s", "--link=docs", "--max-failures=1000000000",
        "-v=2",
    ], repo: "https://git.test/acme/dags", reference: "HEAD", root: "/git/repo", link: "docs", ..PLAIN },
    Spec { of: "an unprivileged nginx server's pages", args: &[
        "--repo=https://git.test/acme/dags", "--depth=1", "--period=300s", "--link=current", "--root=/srv",
    ], repo: "https://git.test/acme/dags", reference: "HEAD", root: "/srv", link: "current", period: 300, ..PLAIN },
    Spec { of: "hosted sites", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags"), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/git"),
        ("GITSYNC_LINK", "website"), ("GITSYNC_PERIOD", "30s"),
    ], repo: "https://git.test/acme/dags", link: "website", period: 30, ..PLAIN },
    Spec { of: "a report viewer, read-only root, an account", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags"), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/usr/share/nginx/html"),
        ("GITSYNC_LINK", "current"), ("GITSYNC_PERIOD", "60s"), ("GITSYNC_DEPTH", "1"), ("GITSYNC_MAX_FAILURES", "-1"),
        ("GITSYNC_SYNC_TIMEOUT", "120s"), ("GITSYNC_USERNAME", "bot"), ("GITSYNC_PASSWORD", "a-token-4711"),
    ], repo: "https://git.test/acme/dags", root: "/usr/share/nginx/html", link: "current", ..PLAIN },
    Spec { of: "a blog with an account in variables", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/data/content", "--period=60s", "--link=current",
    ], env: &[("GITSYNC_USERNAME", "x-access-token"), ("GITSYNC_PASSWORD", "a-token-4711")],
    root: "/data/content", link: "current", ..PLAIN },
    Spec { of: "a branding package for a file server", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/srv/git", "--link=branding", "--period=60s",
    ], root: "/srv/git", link: "branding", ..PLAIN },
    Spec { of: "notes, reloaded by a webhook that answers 204", args: &[
        "--repo=git@git.test:acme/dags.git", "--ref=main", "--root=/git/root", "--link=current", "--period=60s", "--depth=1",
        "--ssh-key-file=FILES/ssh", "--ssh-known-hosts=true", "--ssh-known-hosts-file=FILES/known_hosts",
        "--webhook-url=http://127.0.0.1:8080/api/admin/reload", "--webhook-method=POST", "--webhook-success-status=204",
        "--webhook-timeout=30s",
    ], repo: SSH, root: "/git/root", link: "current", ..PLAIN },
    Spec { of: "rules of a monitoring server", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--period=60s",
        "--webhook-url=http://localhost:9090/-/reload", "--webhook-method=POST", "--webhook-success-status=200",
        "--webhook-timeout=5s", "--webhook-backoff=10s", "--http-bind=:2020", "--http-metrics", "--http-pprof",
    ], told: &["--http-pprof"], ..PLAIN },
    Spec { of: "dashboards of a monitoring server, an address with a port", args: &[
        "--repo=ssh://git@git.test:22/acme/dags.git", "--branch=main", "--depth=1", "--wait=60", "--root=/tmp/dashboards",
        "--ssh-key-file=FILES/ssh", "--ssh-known-hosts-file=FILES/known_hosts",
    ], repo: "ssh://git@git.test:22/acme/dags.git", root: "/tmp/dashboards", link: "dags.git", told: &["--branch", "--wait"], ..PLAIN },
    Spec { of: "an inventory for a job", env: &[
        ("GITSYNC_MAX_FAILURES", "3"), ("GITSYNC_ONE_TIME", "true"), ("GITSYNC_REF", "feature/test-provisioning"),
        ("GITSYNC_REPO", SSH), ("GITSYNC_ROOT", "/git/manifests"), ("GITSYNC_SSH", "true"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"),
        ("GITSYNC_SSH_KNOWN_HOSTS", "false"),
    ], repo: SSH, reference: "feature/test-provisioning", root: "/git/manifests", link: "dags.git", one_time: true, ..PLAIN },
    Spec { of: "a model's training job", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_ONE_TIME", "true"), ("GIT_SYNC_ROOT", "/workspace"),
    ], reference: "HEAD", root: "/workspace", link: "dags.git", one_time: true,
    told: &["GIT_SYNC_REPO", "GIT_SYNC_ONE_TIME", "GIT_SYNC_ROOT"], ..PLAIN },
    Spec { of: "a feature store's init container in a pipeline", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--depth=1", "--root=/git", "--link=current", "--one-time",
        "--verbose=2",
    ], link: "current", one_time: true, ..PLAIN },
    Spec { of: "a data processing driver, two commits", args: &[
        "--repo=git@git.test:acme/dags.git", "--root=/repo", "--ref=main", "--depth=2", "--one-time", "--ssh-key-file=FILES/ssh",
        "--ssh-known-hosts-file=FILES/known_hosts",
    ], repo: SSH, root: "/repo", link: "dags.git", depth: 2, one_time: true, ..PLAIN },
    Spec { of: "a project that is installed before a task", args: &[
        "--repo=https://git.test/acme/dags.git", "--branch=main", "--root=/repo", "--one-time", "--depth=1",
    ], root: "/repo", link: "dags.git", one_time: true, told: &["--branch"], ..PLAIN },
    Spec { of: "a warehouse's transformations", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/workspace"),
        ("GITSYNC_DEPTH", "1"), ("GITSYNC_ONE_TIME", "true"), ("GITSYNC_LINK", "repo"),
    ], root: "/workspace", one_time: true, ..PLAIN },
    Spec { of: "a scheduler's pod behind a gateway with its own certificate", env: &[
        ("GITSYNC_ROOT", "/git"), ("GITSYNC_LINK", "dags"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"),
        ("GITSYNC_REF", "main"), ("GITSYNC_ONE_TIME", "false"), ("GITSYNC_MAX_FAILURES", "11"), ("GITSYNC_PERIOD", "5s"),
        ("GITSYNC_DEPTH", "1"), ("GITSYNC_SYNC_TIMEOUT", "600s"), ("GITSYNC_PASSWORD", "a-token-4711"), ("GITSYNC_USERNAME", "root"),
        ("GITSYNC_GIT_CONFIG", "safe.directory:*,http.sslVerify:false"), ("HTTP_PROXY", ""), ("HTTPS_PROXY", ""),
    ], link: "dags", period: 5, told: &["GITSYNC_GIT_CONFIG"], ..PLAIN },
    Spec { of: "a file share without modes, mixed names", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_BRANCH", "main"), ("GITSYNC_ROOT", "/tmp/dags"),
        ("GIT_SYNC_WAIT", "60"), ("GIT_SYNC_PERMISSIONS", "0"), ("GITSYNC_ADD_USER", "true"),
    ], root: "/tmp/dags", link: "dags.git",
    told: &["GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_WAIT", "GITSYNC_ADD_USER"], ..PLAIN },
    Spec { of: "pages with a variable that no release reads", env: &[
        ("GITSYNC_REPO", "http://git.test:3000/acme/dags.git"), ("GIT_SYNC_BRANCH", "main"), ("GITSYNC_ROOT", "/data"),
        ("GIT_SYNC_DEST", "html"), ("GITSYNC_ONE_TIME", "false"), ("GIT_SYNC_COMMAND_AFTER", "nginx -s reload"),
    ], repo: "http://git.test:3000/acme/dags.git", root: "/data", link: "html",
    told: &["GIT_SYNC_BRANCH", "GIT_SYNC_DEST", "GIT_SYNC_COMMAND_AFTER"], ..PLAIN },
    Spec { of: "cookies", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--cookie-file=FILES/cookie_file",
        "--git-gc=off",
    ], ..PLAIN },
    Spec { of: "all of the history", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo", "--depth=0", "--git-gc=aggressive",
    ], depth: 0, told: &["--git-gc"], ..PLAIN },
    Spec { of: "two accounts in a list, submodules of one level", args: &[
        "--repo", "https://git.test/acme/dags.git", "--ref", "main", "--root", "/git", "--link", "repo", "--submodules=shallow",
        "--credential", r#"[{"url":"https://git.test","username":"bot","password-file":"FILES/password"},{"url":"https://other.test","username":"bot","password":"a-token-4711"}]"#,
    ], told: &["--credential"], ..PLAIN },
    Spec { of: "a token in the address", args: &[
        "--repo=https://ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8@git.test/acme/dags.git", "--ref=main", "--root=/git",
        "--link=repo", "--period=30s",
    ], period: 30, ..PLAIN },
    Spec { of: "an account in the address", args: &[
        "--repo=https://oauth2:a-token-4711@git.test/acme/dags.git", "--ref=main", "--root=/git", "--link=repo",
    ], ..PLAIN },
    Spec { of: "a home folder on a forge with a blank in the name", args: &[
        "--repo=ssh://git@git.test:7999/~bot/my%20dags.git", "--ref=main", "--root=/git", "--link=repo", "--ssh-key-file=FILES/ssh",
        "--ssh-known-hosts-file=FILES/known_hosts",
    ], repo: "ssh://git@git.test:7999/~bot/my%20dags.git", ..PLAIN },
    Spec { of: "the tutorial's variable", args: &["--root=/git", "--link=repo", "--ref=main"],
    env: &[("GIT_REPO", "https://git.test/acme/dags.git")], ..PLAIN },
];
