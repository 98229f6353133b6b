//! Containers that were written for git-sync v3 and v2, and those that v4 refuses.

use super::{PLAIN, Refused, SSH, Spec};

#[rustfmt::skip]
pub(super) const SPECS: &[Spec] = &[
    Spec { of: "a release repository's controller", args: &[
        "--repo=https://git.test/acme/dags.git", "--branch=master", "--wait=30", "--root=/tmp/git-sync", "--max-sync-failures=3",
    ], env: &[("GIT_SYNC_DEST", "release")], reference: "master", root: "/tmp/git-sync", link: "release", period: 30,
    told: &["--branch", "--wait", "--max-sync-failures", "GIT_SYNC_DEST"], ..PLAIN },
    Spec { of: "a workflow step that clones", args: &[
        "--repo=https://git.test/acme/dags.git", "--root=/src/clone", "--max-sync-failures=3", "--timeout=200", "--branch=main",
        "--one-time",
    ], root: "/src/clone", link: "dags.git", one_time: true, told: &["--max-sync-failures", "--timeout", "--branch"], ..PLAIN },
    Spec { of: "the same over SSH", args: &[
        "--repo=git@git.test:acme/dags.git", "--root=/workdir/root", "--max-sync-failures=3", "--timeout=200", "--branch=main",
        "--ssh", "--one-time",
    ], env: &[("GIT_SSH_KEY_FILE", "FILES/ssh"), ("GIT_SSH_KNOWN_HOSTS_FILE", "FILES/known_hosts")],
    repo: SSH, root: "/workdir/root", link: "dags.git", one_time: true, told: &[
        "--max-sync-failures", "--timeout", "--branch", "--ssh", "GIT_SSH_KEY_FILE", "GIT_SSH_KNOWN_HOSTS_FILE",
    ], ..PLAIN },
    Spec { of: "a security scanner's policies", args: &[
        "--branch=main", "--dest=policy-library", "--max-sync-failures=-1", "--repo=git@git.test:acme/dags.git", "--wait=30",
        "--ssh", "--ssh-known-hosts=false",
    ], env: &[("GITSYNC_ROOT", "/git"), ("GITSYNC_SSH_KEY_FILE", "FILES/ssh")], repo: SSH, link: "policy-library", period: 30,
    told: &["--branch", "--dest", "--max-sync-failures", "--wait", "--ssh"], ..PLAIN },
    Spec { of: "a builder of images, values apart from their flags", args: &[
        "--one-time", "--depth", "1", "--dest", "checkout", "--repo", "https://git.test/acme/dags.git", "--branch", "master",
    ], env: &[("GITSYNC_ROOT", "/git")], reference: "master", link: "checkout", one_time: true, told: &["--dest", "--branch"], ..PLAIN },
    Spec { of: "posts that a webhook reads, values apart from their flags", args: &[
        "--dest", "repo", "--webhook-url", "http://localhost:9300/api/v1/sync",
    ], env: &[("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_ROOT", "/git")], reference: "HEAD",
    told: &["--dest", "GIT_SYNC_REPO"], ..PLAIN },
    Spec { of: "an applier of manifests", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags"), ("GIT_SYNC_DEST", "resources"), ("GIT_SYNC_WAIT", "300"),
        ("GITSYNC_ROOT", "/git"),
    ], repo: "https://git.test/acme/dags", reference: "HEAD", link: "resources", period: 300,
    told: &["GIT_SYNC_REPO", "GIT_SYNC_DEST", "GIT_SYNC_WAIT"], ..PLAIN },
    Spec { of: "a static pod with rules of a firewall", args: &[
        "--root=/git", "--dest=rules", "--repo=https://git.test/acme/dags.git", "--branch=master", "--wait=30",
    ], reference: "master", link: "rules", period: 30, told: &["--dest", "--branch", "--wait"], ..PLAIN },
    Spec { of: "a pipeline service's configuration over SSH", env: &[
        ("GIT_SYNC_REPO", SSH), ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_DEPTH", "1"), ("GIT_SYNC_ROOT", "/configs"),
        ("GIT_SYNC_DEST", "git"), ("GIT_SYNC_SSH", "true"), ("GIT_SSH_KEY_FILE", "FILES/ssh"), ("GIT_KNOWN_HOSTS", "false"),
        ("GIT_SYNC_MAX_SYNC_FAILURES", "10"), ("GIT_SYNC_WAIT", "60"),
    ], repo: SSH, root: "/configs", link: "git", told: &[
        "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_DEPTH", "GIT_SYNC_ROOT", "GIT_SYNC_DEST", "GIT_SYNC_SSH",
        "GIT_SSH_KEY_FILE", "GIT_KNOWN_HOSTS", "GIT_SYNC_MAX_SYNC_FAILURES", "GIT_SYNC_WAIT",
    ], ..PLAIN },
    Spec { of: "a scheduler on another platform", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags"), ("GIT_SYNC_BRANCH", "master"), ("GIT_SYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GIT_SYNC_WAIT", "60"), ("GIT_SYNC_USERNAME", "bot"), ("GIT_SYNC_PASSWORD", "a-token-4711"),
    ], repo: "https://git.test/acme/dags", reference: "master", told: &[
        "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_ROOT", "GIT_SYNC_DEST", "GIT_SYNC_WAIT", "GIT_SYNC_USERNAME",
    ], ..PLAIN },
    Spec { of: "dashboards at a tag", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_BRANCH", "v1.7.2"), ("GIT_SYNC_ROOT", "/tmp/git"),
        ("GIT_SYNC_DEST", "dashboards"), ("GIT_SYNC_WAIT", "60"),
    ], reference: "v1.7.2", root: "/tmp/git", link: "dashboards", told: &[
        "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_ROOT", "GIT_SYNC_DEST", "GIT_SYNC_WAIT",
    ], ..PLAIN },
    Spec { of: "a notebook's workspace that syncs once a second and a half", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_BRANCH", "main"), ("GIT_SYNC_ROOT", "/git"),
        ("GIT_SYNC_DEST", "repo"), ("GIT_SYNC_ONE_TIME", "false"), ("GIT_SYNC_WAIT", "30"), ("GIT_SYNC_USERNAME", "bot"),
        ("GIT_SYNC_PASSWORD", "a-token-4711"), ("GIT_SYNC_EXECHOOK_COMMAND", "FILES/hook"),
    ], period: 30, told: &[
        "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_ROOT", "GIT_SYNC_DEST", "GIT_SYNC_ONE_TIME", "GIT_SYNC_WAIT",
        "GIT_SYNC_USERNAME", "GIT_SYNC_EXECHOOK_COMMAND",
    ], ..PLAIN },
    Spec { of: "a theme, with a switch that is off and an empty name", env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_BRANCH", "master"), ("GIT_SYNC_ROOT", "/theme"),
        ("GIT_SYNC_DEST", ""), ("GIT_SYNC_ONE_TIME", "true"), ("GIT_SYNC_SSH", "false"), ("GIT_SYNC_PERMISSIONS", "0"),
    ], reference: "master", root: "/theme", link: "dags.git", one_time: true, told: &[
        "GIT_SYNC_REPO", "GIT_SYNC_BRANCH", "GIT_SYNC_ROOT", "GIT_SYNC_ONE_TIME",
    ], ..PLAIN },
];

#[rustfmt::skip]
pub const REFUSED: &[Refused] = &[
    Refused { of: "a web server's pages for every user", args: &[], env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_BRANCH", "master"), ("GIT_SYNC_ROOT", "/theme"),
        ("GIT_SYNC_DEST", "theme"), ("GIT_SYNC_PERMISSIONS", "0777"), ("GIT_SYNC_ONE_TIME", "true"), ("GIT_SYNC_SSH", "false"),
    ], says: "GIT_SYNC_PERMISSIONS: is no longer supported, as in git-sync v4; use --group-write" },
    Refused { of: "a period without a unit", args: &[], env: &[
        ("GIT_SYNC_REPO", "https://git.test/acme/dags.git"), ("GIT_SYNC_ROOT", "/git"), ("GIT_SYNC_PERIOD", "10"),
    ], says: "GIT_SYNC_PERIOD: `10` has no unit; write it like 10s" },
    Refused { of: "an operator that forgets the ending", args: &[
        "--repo=https://git.test/acme/dags.git", "--root=/git", "--period=300",
    ], env: &[], says: "--period: `300` has no unit; write it like 300s" },
    Refused { of: "a gateway with a setting of git's own syntax", args: &[], env: &[
        ("GITSYNC_REPO", "https://git.test/acme/dags.git"), ("GITSYNC_ROOT", "/tmp/sync"),
        ("GITSYNC_GIT_CONFIG", "credential.helper=store"),
    ], says: "GITSYNC_GIT_CONFIG" },
    Refused { of: "a branch and a hash", args: &[
        "--repo=https://git.test/acme/dags.git", "--root=/git", "--branch=main", "--rev=a1b2c3d4",
    ], env: &[], says: "--rev" },
    Refused { of: "names of v3 with one dash, as the flags of Go take them", args: &[
        "-repo=https://git.test/acme/dags.git", "-branch=main", "-wait=30",
    ], env: &[("GITSYNC_ROOT", "/git")], says: "-branch: has one dash; write --branch, as for git-sync v4" },
];
