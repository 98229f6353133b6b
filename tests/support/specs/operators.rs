//! Operators, controllers and charms: programs that write the container.

use super::{PLAIN, SSH, Spec};

#[rustfmt::skip]
pub(super) const SPECS: &[Spec] = &[
    Spec { of: "a data platform's operator", args: &[
        "--repo=https://git.test/acme/dags", "--ref=main", "--depth=1", "--period=20s", "--link=current", "--root=/app/git",
        "--git-config=safe.directory:/tmp/git", "--one-time=true",
    ], repo: "https://git.test/acme/dags", root: "/app/git", link: "current", period: 20, one_time: true,
    told: &["--git-config"], ..PLAIN },
    Spec { of: "the same with a certificate of its own and an account", args: &[
        "--repo=https://git.test/acme/dags", "--ref=main", "--depth=1", "--period=20s", "--link=current", "--root=/tmp/git",
        "--git-config=safe.directory:/tmp/git,http.sslCAInfo:FILES/ca.pem",
    ], env: &[("GITSYNC_USERNAME", "bot"), ("GITSYNC_PASSWORD", "a-token-4711")],
    repo: "https://git.test/acme/dags", root: "/tmp/git", link: "current", period: 20, told: &["--git-config"], ..PLAIN },
    Spec { of: "the same at one commit, each 42 hours", args: &[
        "--repo=https://git.test/acme/dags", "--ref=COMMIT", "--depth=1", "--period=42h", "--link=current", "--root=/tmp/git",
    ], repo: "https://git.test/acme/dags", reference: "COMMIT", root: "/tmp/git", link: "current", period: 151_200,
    told: &["--ref"], ..PLAIN },
    Spec { of: "a cluster configuration's controller, token from a service", args: &[
        "--root=/repo/source", "--link=rev", "--max-failures=30", "--error-file=error.json", "--v=5",
    ], env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_PERIOD", "15s"), ("GITSYNC_SSH", "false"), ("GITSYNC_SSH_KNOWN_HOSTS", "false"),
        ("GITSYNC_ASKPASS_URL", "http://localhost:9102/git_askpass"), ("GITSYNC_COOKIE_FILE", "false"),
    ], root: "/repo/source", link: "rev", period: 15, told: &["--v"], ..PLAIN },
    Spec { of: "the same over SSH", args: &[
        "--root=/repo/source", "--link=rev", "--max-failures=30", "--error-file=error.json", "--v=5",
    ], env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "main"), ("GITSYNC_DEPTH", "1"), ("GITSYNC_PERIOD", "15s"), ("GITSYNC_SSH", "true"),
        ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts"),
    ], repo: SSH, root: "/repo/source", link: "rev", period: 15, told: &["--v"], ..PLAIN },
    Spec { of: "the same with a certificate, a proxy and no check", args: &[
        "--root=/repo/source", "--link=rev", "--max-failures=30", "--error-file=error.json", "--v=5",
    ], env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_PERIOD", "15s"),
        ("GIT_SSL_CAINFO", "FILES/ca.pem"), ("HTTPS_PROXY", ""), ("NO_PROXY", "10.0.0.0/8,.svc,git.test"),
    ], root: "/repo/source", link: "rev", period: 15, told: &["--v"], ..PLAIN },
    Spec { of: "the same as a GitHub App", args: &[
        "--root=/repo/source", "--link=rev", "--max-failures=30", "--error-file=error.json", "--v=5",
    ], env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_REF", "main"), ("GITSYNC_PERIOD", "15s"),
        ("GITSYNC_GITHUB_APP_CLIENT_ID", "12345"), ("GITSYNC_GITHUB_APP_INSTALLATION_ID", "77"),
        ("GITSYNC_GITHUB_APP_PRIVATE_KEY", "PRIVATE KEY"), ("GITSYNC_GITHUB_BASE_URL", "https://api.git.test/"),
    ], root: "/repo/source", link: "rev", period: 15, told: &["--v"], ..PLAIN },
    Spec { of: "a database operator that loads a script", args: &[
        "--repo=https://git.test/acme/dags.git", "--depth=1", "--period=60s", "--link=current", "--root=/git", "--one-time",
    ], reference: "HEAD", link: "current", one_time: true, ..PLAIN },
    Spec { of: "the same from a private repository over SSH", args: &[
        "--ssh", "--repo=git@git.test:acme/dags.git", "--depth=1", "--period=60s", "--link=current", "--root=/git",
        "--ssh-key-file=FILES/ssh", "--ssh-known-hosts-file=FILES/known_hosts", "--one-time",
    ], repo: SSH, reference: "HEAD", link: "current", one_time: true, told: &["--ssh"], ..PLAIN },
    Spec { of: "the same with an account for one server", args: &[
        "--repo=https://git.test/acme/dags.git", "--link=current", "--root=/git",
        r#"--credential={"url":"https://git.test","username":"bot","password-file":"FILES/password"}"#, "--one-time",
    ], reference: "HEAD", link: "current", one_time: true, ..PLAIN },
    Spec { of: "a data flow operator", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=main", "--depth=1", "--period=20s", "--link=current", "--root=/tmp/git",
        "--git-config=safe.directory:/tmp/git", "--max-failures=5",
    ], root: "/tmp/git", link: "current", period: 20, told: &["--git-config"], ..PLAIN },
    Spec { of: "a web page operator with names of v3", args: &[
        "--repo=https://git.test/acme/dags.git", "--branch=main", "--wait=20", "--root=/usr/share/nginx", "--dest=html",
        "--git-config=safe.directory:/usr/share/nginx", "--submodules=off", "--v=2",
    ], root: "/usr/share/nginx", link: "html", period: 20,
    told: &["--branch", "--wait", "--dest", "--git-config", "--v"], ..PLAIN },
    Spec { of: "a website operator that clones once", args: &["--repo=https://git.test/acme/dags", "--root=/data", "--one-time"],
    repo: "https://git.test/acme/dags", reference: "HEAD", root: "/data", link: "dags", one_time: true, ..PLAIN },
    Spec { of: "a notebook operator's sidecar", args: &["--one-time"], env: &[
        ("GITSYNC_ROOT", "/git"), ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_PERIOD", "30s"),
    ], reference: "HEAD", link: "dags.git", period: 30, one_time: true, ..PLAIN },
    Spec { of: "an agent operator's skills", args: &[
        "--repo=https://git.test/acme/dags", "--ref=main", "--period=300s", "--root=/arsenal", "--link=current", "--depth=1",
        "--max-failures=-1",
    ], repo: "https://git.test/acme/dags", root: "/arsenal", link: "current", period: 300, ..PLAIN },
    Spec { of: "an add-on controller's sidecar at a tag", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=v1.7.2", "--root=/mnt/addons/one", "--period=60s", "--link=current",
        "--one-time=false",
    ], reference: "v1.7.2", root: "/mnt/addons/one", link: "current", ..PLAIN },
    Spec { of: "a workload compiler's pod with a partial clone", args: &[
        "--repo=https://git.test/acme/dags.git", "--ref=COMMIT", "--root=/workspace", "--link=repo", "--one-time", "--depth=1",
        "--submodules=off", "--sparse-checkout-file=FILES/sparse", "--filter=blob:none",
    ], env: &[("GITSYNC_USERNAME", "bot"), ("GITSYNC_PASSWORD", "a-token-4711")],
    reference: "COMMIT", root: "/workspace", one_time: true, told: &["--ref"], ..PLAIN },
    Spec { of: "the same over SSH", args: &[
        "--repo=ssh://git@git.test/acme/dags.git", "--ref=main", "--root=/workspace", "--link=repo", "--one-time",
        "--depth=1", "--submodules=off", "--sparse-checkout-file=FILES/sparse", "--ssh-key-file=FILES/ssh",
        "--ssh-known-hosts=true", "--ssh-known-hosts-file=FILES/known_hosts",
    ], repo: "ssh://git@git.test/acme/dags.git", root: "/workspace", one_time: true, ..PLAIN },
    Spec { of: "a charm that runs a program after each sync", args: &[
        "--repo=git@git.test:acme/dags.git", "--ref=main", "--depth=1", "--period=5s", "--link=cloned-repo", "--root=/git",
        "--ssh-known-hosts=false", "--ssh-key-file=FILES/ssh", "--verbose=9", "--exechook-command=FILES/hook",
    ], repo: SSH, link: "cloned-repo", period: 5, ..PLAIN },
    Spec { of: "a charm that asks for a sync by a signal", args: &[
        "--repo=https://git.test/acme/dags.git", "--root=/git", "--link=repo", "--period=60s", "--exechook-command=FILES/hook",
        "--sync-on-signal=SIGUSR1", "--http-bind=127.0.0.1:8080", "--http-metrics", "--ref=main", "--username=bot",
    ], env: &[("GITSYNC_PASSWORD_FILE", "FILES/password")], ..PLAIN },
    Spec { of: "a documentation platform's operator, mixed names", env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_SSH", "false"), ("GITSYNC_REF", "main"),
        ("GITSYNC_SSH_KNOWN_HOSTS", "false"), ("GITSYNC_DEPTH", "1"), ("GITSYNC_SYNC_TIMEOUT", "300s"), ("GITSYNC_ROOT", "/git"),
        ("GITSYNC_MAX_FAILURES", "5"), ("GIT_PATH_CLONE", "300"),
        ("GITSYNC_ASKPASS_URL", "http://localhost:9102/git_askpass"),
    ], link: "dags.git", ..PLAIN },
    Spec { of: "a simulation platform's sandbox", env: &[
        ("GITSYNC_REPO", SSH), ("GITSYNC_REF", "main"), ("GITSYNC_ROOT", "/opt"), ("GITSYNC_LINK", "frame"),
        ("GITSYNC_ONE_TIME", "true"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh"), ("GITSYNC_SSH_KNOWN_HOSTS", "false"),
        ("GITSYNC_SUBMODULES", "recursive"), ("GITSYNC_ADD_USER", "true"), ("GITSYNC_SYNC_TIMEOUT", "360s"),
    ], repo: SSH, root: "/opt", link: "frame", one_time: true, told: &["GITSYNC_ADD_USER"], ..PLAIN },
];
