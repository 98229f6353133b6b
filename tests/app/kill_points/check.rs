//! What has to hold after a kill, read from the volume alone: the link, the tree, the history, the store, and no leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::objects;
use super::stage::{MODULE, Stage};
use crate::support::repo::Repo;

/// The trees that git itself makes of the commits.
pub struct Truth {
    trees: BTreeMap<String, PathBuf>,
    /// The objects of LFS that each of them needs; empty without any.
    pub objects: BTreeMap<String, BTreeSet<String>>,
}

impl Truth {
    pub fn of(stage: &Stage) -> Self {
        let (mut trees, mut objects) = (BTreeMap::new(), BTreeMap::new());
        for commit in &stage.commits {
            let folder = stage.folder.path().join(format!("truth-{commit}"));
            fs::create_dir(&folder).unwrap();
            stage.checkout(commit, &folder);
            if stage.kept.is_some() {
                objects.insert(commit.clone(), objects::of(&folder));
            }
            trees.insert(commit.clone(), folder);
        }
        Self { trees, objects }
    }

    /// `Err`: what is wrong with the tree that the link names.
    pub fn published(&self, root: &Path) -> Result<String, String> {
        let commit = named(root).ok_or("the link names nothing")?;
        let tree = self.trees.get(&commit).ok_or_else(|| format!("the link names {commit}, which is none of ours"))?;
        same(tree, &root.join("current").join("."))?;
        Ok(commit)
    }
}

/// The commit in the link's text.
pub fn named(root: &Path) -> Option<String> {
    let target = fs::read_link(root.join("current")).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Compares names, kinds, executable bits, targets of links and contents.
pub fn same(expected: &Path, actual: &Path) -> Result<(), String> {
    let names = |folder: &Path| -> Result<Vec<_>, String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        // `--worktree-git`: its link to the store is no entry of the commit.
        names.retain(|name| name != ".git");
        names.sort();
        Ok(names)
    };
    let (wanted, found) = (names(expected)?, names(actual)?);
    if wanted != found {
        return Err(format!("{} has {found:?} instead of {wanted:?}", actual.display()));
    }
    for name in wanted {
        let (expected, actual) = (expected.join(&name), actual.join(&name));
        let kind = |path: &Path| path.symlink_metadata().map_err(|error| format!("{}: {error}", path.display()));
        let (wanted, found) = (kind(&expected)?, kind(&actual)?);
        let differs = Err(format!("{} differs", actual.display()));
        if wanted.file_type() != found.file_type() {
            return differs;
        }
        if wanted.is_dir() {
            same(&expected, &actual)?;
        } else if wanted.is_symlink() {
            if fs::read_link(&expected).ok() != fs::read_link(&actual).ok() {
                return differs;
            }
        } else if fs::read(&expected).ok() != fs::read(&actual).ok()
            || (wanted.permissions().mode() ^ found.permissions().mode()) & 0o100 != 0
        {
            return differs;
        }
    }
    Ok(())
}

/// The ids in the history, in their order. A last line without its end is a torn write; any other line has to be a record.
pub fn history(root: &Path) -> Result<Vec<String>, String> {
    let text = match fs::read_to_string(root.join(".pushsync/history.jsonl")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("the history cannot be read: {error}")),
    };
    let mut ids = Vec::new();
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { continue };
        let record: Value = serde_json::from_str(line).map_err(|error| format!("history: {error} in {line:?}"))?;
        ids.push(record["id"].as_str().ok_or_else(|| format!("history: no id in {line:?}"))?.to_owned());
    }
    Ok(ids)
}

/// The commit that a person pinned, by what the volume says.
pub fn pinned(root: &Path) -> Result<Option<String>, String> {
    match fs::read(root.join(".pushsync/state.json")) {
        Ok(text) => {
            let state: Value = serde_json::from_slice(&text).map_err(|error| format!("state.json: {error}"))?;
            Ok(state["pinned"].as_str().map(str::to_owned))
        }
        Err(_) => Ok(None),
    }
}

/// git's own judgement of the store.
pub fn store(root: &Path) -> Result<(), String> {
    let store = root.join(".pushsync/repo.git");
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "--git-dir"]).arg(&store).args(["fsck", "--no-dangling", "--no-progress"]);
    let output = git.output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!("git fsck: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Names that nobody needs once a start has come to its end.
pub fn leftovers(truth: &Truth, root: &Path) -> Vec<String> {
    let unneeded = truth.unneeded(root);
    let mut found: Vec<_> = unneeded.iter().map(|path| path.display().to_string()).collect();
    let mut look = |folder: &Path, fine: &dyn Fn(&str) -> bool| {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !fine(&name) {
                found.push(folder.join(name).display().to_string());
            }
        }
    };
    look(Path::new(""), &|name| matches!(name, "current" | ".pushsync" | ".worktrees" | "touched" | "refused"));
    let is_commit = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    look(Path::new(".worktrees"), &|name| is_commit(name) || name.starts_with(".spare-"));
    let ours = ["repo.git", "modules", "history.jsonl", "state.json", "flushed", "lock"];
    look(Path::new(".pushsync"), &|name| ours.contains(&name) || name == "lfs" && !truth.objects.is_empty());
    inside(root, Path::new(".pushsync/repo.git"), &mut found);
    found.sort();
    found
}

/// Locks, unfinished packs and halves of packs in a store.
fn inside(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = folder.join(&name);
        let half = |ending: &str, other: &str| {
            name.strip_suffix(ending).is_some_and(|stem| !root.join(folder).join(format!("{stem}{other}")).exists())
        };
        let unfinished = path.extension().is_some_and(|ending| ending == "lock")
            || ["tmp_", ".tmp", "pack_git2_"].iter().any(|prefix| name.starts_with(prefix))
            || half(".pack", ".idx")
            || half(".idx", ".pack");
        if unfinished {
            found.push(path.display().to_string());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            inside(root, &path, found);
        }
    }
}

impl Stage {
    /// What git and git-lfs put into a work tree for this commit.
    pub fn checkout(&self, commit: &str, folder: &Path) {
        self.unpack(&self.repo, commit, &self.only, folder);
        if let Some(module) = &self.module {
            let named = self.repo.git(&["rev-parse", &format!("{commit}:{MODULE}")]);
            self.unpack(module, &named, &[], &folder.join(MODULE));
        }
        self.place_objects(folder);
    }

    fn unpack(&self, repo: &Repo, commit: &str, only: &[&str], folder: &Path) {
        let archive = self.folder.path().join("tree.tar");
        let output = archive.display().to_string();
        repo.git(&[&["archive", "--format=tar", "-o", &output, commit], only].concat());
        let untar = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder).status().unwrap();
        assert!(untar.success());
    }
}
