//! A repository made by `git`, raw objects that `git` would not make, and a volume beside them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use git2::{ObjectType, Oid};
use pushsync::publish::{CheckoutOptions, Durability, Volume, VolumeOptions};
use pushsync::worker::Cancel;
use tempfile::TempDir;

/// Long enough that no test sees it end.
pub const LONG: Duration = Duration::from_secs(3600);

pub struct Site {
    folder: TempDir,
}

impl Site {
    /// An empty repository.
    pub fn new() -> Self {
        let site = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(site.work()).unwrap();
        site.git(&["init", "-q", "-b", "main", "."]);
        site
    }

    /// Everything of this test is in here.
    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn store(&self) -> PathBuf {
        self.work().join(".git")
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@b.test", "-c", "core.fsync=none", "-c", "gc.auto=0"])
            .args(["-c", "tar.umask=0022"])
            .args(arguments)
            .current_dir(self.work())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits everything in the work folder.
    pub fn commit(&self) -> Oid {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        Oid::from_str(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    /// Writes one file and commits everything.
    pub fn commit_file(&self, path: &str, content: &str) -> Oid {
        self.write(path, content);
        self.commit()
    }

    pub fn raw(&self, kind: ObjectType, content: &[u8]) -> Oid {
        let repository = git2::Repository::open_bare(self.store()).unwrap();
        repository.odb().unwrap().write(kind, content).unwrap()
    }

    pub fn blob(&self, content: &[u8]) -> Oid {
        self.raw(ObjectType::Blob, content)
    }

    /// A tree object of any lines, in the order given, checked by nobody.
    pub fn tree(&self, lines: &[(&str, &[u8], Oid)]) -> Oid {
        let mut raw = Vec::new();
        for (mode, name, id) in lines {
            raw.extend_from_slice(&[mode.as_bytes(), b" ", name, b"\0", id.as_bytes()].concat());
        }
        self.raw(ObjectType::Tree, &raw)
    }

    pub fn commit_of(&self, tree: Oid) -> Oid {
        let person = "A <a@b.test> 1700000000 +0000";
        self.raw(ObjectType::Commit, format!("tree {tree}\nauthor {person}\ncommitter {person}\n\nx\n").as_bytes())
    }

    pub fn volume(&self) -> Volume {
        self.volume_with("current", LONG)
    }

    pub fn volume_with(&self, link: impl Into<PathBuf>, grace: Duration) -> Volume {
        Volume::open(VolumeOptions {
            root: self.root(),
            link: link.into(),
            grace,
            standby_trees: 1,
            checkout: CheckoutOptions::default(),
            durability: Durability::default(),
        })
        .unwrap()
    }

    pub fn volume_of(&self, shape: CheckoutOptions, grace: Duration) -> Volume {
        let (root, link, durability) = (self.root(), "current".into(), Durability::default());
        Volume::open(VolumeOptions { root, link, grace, standby_trees: 1, checkout: shape, durability }).unwrap()
    }

    pub fn put(&self, volume: &Volume, commit: Oid) {
        volume.build(&self.store(), commit, &Cancel::default()).unwrap();
        volume.publish(commit).unwrap();
    }

    pub fn tree_path(&self, commit: Oid) -> PathBuf {
        self.root().join(".worktrees").join(commit.to_string())
    }

    /// What is in `.worktrees`, sorted.
    pub fn worktrees(&self) -> Vec<String> {
        names(&self.root().join(".worktrees"))
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Everything below a folder: path, permission bits and content.
pub fn listing(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_dir() {
                pending.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), (metadata.permissions().mode(), content));
        }
    }
    found
}

/// Waits for something that is about to happen.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Tells readers to stop when the test ends, also by a failed assertion: the scope would wait for them for ever.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A small file system of its own, for as long as it lives.
pub struct Mount(PathBuf);

impl Mount {
    /// `None`, told loudly, if this process may not mount.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at));
        if !mounted {
            crate::support::skip(&format!("to mount a tmpfs at {}", at.display()));
        }
        mounted.then(|| Self(at.to_owned()))
    }

    /// A small btrfs in a file, which has reflinks. `None`, told loudly, if that cannot be had.
    pub fn btrfs(at: &Path, image: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        fs::File::create(image).unwrap().set_len(256 << 20).unwrap();
        let made = run(Command::new(if Path::new("/usr/sbin/mkfs.btrfs").exists() {
            "/usr/sbin/mkfs.btrfs"
        } else {
            "mkfs.btrfs"
        })
        .arg("-q")
        .arg(image));
        let mounted = made && run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        if !mounted {
            crate::support::skip(&format!("mkfs.btrfs and to mount a file at {}", at.display()));
        }
        mounted.then(|| Self(at.to_owned()))
    }

    pub fn remount(&self, options: &str) {
        assert!(run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0)));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run(Command::new("umount").args(["-l"]).arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
