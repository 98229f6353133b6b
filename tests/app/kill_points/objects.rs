//! The objects of Git LFS: a scenario whose `*.bin` are kept by it, and what may lie among the objects on the volume.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{Truth, named};
use super::stage::Stage;
use crate::support::lfs::{LfsServer, hash, pointer};

const FOLDER: &str = ".pushsync/lfs";

/// How long the object is that the first commit alone needs.
pub const GONE: usize = 500;

/// Bytes that do not compress, others for each length.
pub fn content(length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut content);
    content
}

/// Where an object lies, from the folder of trees on.
pub fn object_from_trees(content: &[u8]) -> String {
    format!("../{FOLDER}/{}", hash(content))
}

impl Stage {
    /// Puts a server of objects before the remote, as with a forge, and a first commit that needs some of them.
    pub fn keep_objects(&mut self) {
        let base = self.remote.url("");
        let server = LfsServer::start(Some(base.trim_end_matches('/').to_owned()));
        // Each piece is a write of its own, and so a place to be killed at.
        server.set(|knobs| knobs.pause = Duration::from_millis(3));
        let url = server.url("site.git");
        self.set("repo", &url).set("lfs", "true");
        self.kept = Some(server);
        self.repo.write(".gitattributes", "*.bin filter=lfs -text\n");
        // No attribute, no object: it is published as it is.
        self.repo.write("pointer.txt", pointer(&"ab".repeat(32), 5));
        for (path, length) in [("film.bin", 70_000), ("d1/same.bin", 300), ("d2/gone.bin", GONE)] {
            self.write_object(path, length);
        }
        let commit = self.repo.commit("objects");
        self.repo.push();
        self.commits = vec![commit];
    }

    /// Pushes a new object, a changed one, one less, one under another name, and what a push changes otherwise. Answers the
    /// new and the changed one.
    pub fn advance_objects(&mut self) -> [Vec<u8>; 2] {
        self.repo.remove("d2/gone.bin");
        self.repo.git(&["mv", "d1/same.bin", "moved.bin"]);
        let brought = [self.write_object("deep/er/new.bin", 200_000), self.write_object("film.bin", 150_000)];
        self.advance();
        brought
    }

    /// A file that LFS keeps, not committed yet. Answers its content.
    pub fn write_object(&self, path: &str, length: usize) -> Vec<u8> {
        let content = content(length);
        self.repo.write(path, self.kept.as_ref().unwrap().add(content.clone()));
        content
    }

    /// What an earlier process would have left of an object: `left` of what is called by the hash of `content`.
    pub fn leave_part(&self, content: &[u8], left: &[u8]) {
        fs::write(self.template().join(FOLDER).join(format!("{}.part", hash(content))), left).unwrap();
    }

    /// Puts the objects in the place of their pointers in a folder that git has written.
    pub fn place_objects(&self, folder: &Path) {
        let Some(server) = &self.kept else { return };
        for file in kept_files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            let oid = text.lines().find_map(|line| line.strip_prefix("oid sha256:")).unwrap();
            fs::write(&file, &server.books().objects[oid]).unwrap();
        }
    }
}

/// The objects that a tree needs.
pub fn of(tree: &Path) -> BTreeSet<String> {
    kept_files(tree).iter().map(|file| hash(&fs::read(file).unwrap())).collect()
}

fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(kept_files(&entry.path()));
        } else if entry.path().extension().is_some_and(|ending| ending == "bin") {
            found.push(entry.path());
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

impl Truth {
    /// `Err`: an object that is not what its name says, or that the published tree needs and that is gone: somebody who
    /// removes the tree would need the network to have it put back.
    pub fn sound(&self, root: &Path) -> Result<(), String> {
        let (folder, commit) = (root.join(FOLDER), named(root));
        let is_part = |name: &String| Path::new(name).extension().is_some_and(|ending| ending == "part");
        for name in names(&folder).iter().filter(|name| !is_part(name)) {
            let content = fs::read(folder.join(name)).map_err(|error| format!("the object {name}: {error}"))?;
            if hash(&content) != *name {
                return Err(format!("the object {name} is another one, of {} bytes", content.len()));
            }
        }
        let needed = commit.and_then(|commit| self.objects.get(&commit));
        match needed.into_iter().flatten().find(|name| !folder.join(name).exists()) {
            Some(gone) => Err(format!("the object {gone} is gone and the published tree needs it")),
            None => Ok(()),
        }
    }

    /// Objects that no tree needs, whole or not. A part may stay for as long as somebody may go on with it; once a start has
    /// come to its end, every object that a tree needs is whole.
    pub fn unneeded(&self, root: &Path) -> Vec<PathBuf> {
        let mut needed = BTreeSet::new();
        for name in names(&root.join(".worktrees")) {
            // A tree is called by its commit, a spare `.spare-<commit>-…`.
            let commit = name.strip_prefix(".spare-").map_or(&*name, |rest| &rest[..rest.find('-').unwrap_or(0)]);
            needed.extend(self.objects.get(commit).into_iter().flatten());
        }
        let kept = names(&root.join(FOLDER));
        kept.iter().filter(|name| !needed.contains(name)).map(|name| Path::new(FOLDER).join(name)).collect()
    }
}
