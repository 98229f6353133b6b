//! What git itself checks out of a commit, with and without a sparse-checkout file: what our trees are compared with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use git2::Oid;

use super::fixture::{Site, listing};

pub type Listing = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// A fresh worktree, made with the commands that git-sync uses.
pub fn checked_out(site: &Site, commit: Oid, sparse: Option<&[u8]>) -> Listing {
    let tree = site.path().join("checked-out");
    git(
        site,
        &site.work(),
        &["worktree", "add", "--force", "--detach", "--no-checkout", "../checked-out", &commit.to_string()],
    );
    if let Some(patterns) = sparse {
        let inside = PathBuf::from(git(site, &tree, &["rev-parse", "--absolute-git-dir"]));
        fs::create_dir_all(inside.join("info")).unwrap();
        fs::write(inside.join("info/sparse-checkout"), patterns).unwrap();
        git(site, &tree, &["sparse-checkout", "init"]);
    }
    git(site, &tree, &["reset", "--quiet", "--hard", &commit.to_string(), "--"]);
    let mut found = listing(&tree);
    found.remove(Path::new(".git"));
    fs::remove_dir_all(&tree).unwrap();
    git(site, &site.work(), &["worktree", "prune"]);
    found
}

/// Runs git with nobody's configuration and the usual umask.
pub fn git(site: &Site, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("sh")
        .args(["-c", "umask 022; exec git \"$@\"", "git", "-c", "core.fsync=none", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", site.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
