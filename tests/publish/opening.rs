//! What opening a volume makes, clears, refuses and leaves alone.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use pushsync::publish::{CheckoutOptions, Durability, Error, Live, Volume, VolumeOptions};
use sha2::{Digest, Sha256};

use super::fixture::{LONG, Site, names};

fn open(root: &Path, link: &str) -> Result<Volume, Error> {
    Volume::open(VolumeOptions {
        root: root.to_owned(),
        link: link.into(),
        grace: LONG,
        standby_trees: 1,
        checkout: CheckoutOptions::default(),
        durability: Durability::default(),
    })
}

#[test]
fn a_new_root_is_made_with_its_parents() {
    let site = Site::new();
    let root = site.path().join("a/b/root");
    let volume = open(&root, "current").unwrap();
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o775);
    assert_eq!(fs::metadata(root.join(".pushsync")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(names(&root), [".pushsync", ".worktrees"]);
    assert_eq!(volume.store(), root.join(".pushsync/repo.git"));
    assert_eq!(volume.live().unwrap(), Live::Nothing);
    assert!(volume.trees().unwrap().is_empty());
}

#[test]
fn a_link_to_the_root_is_resolved() {
    let site = Site::new();
    fs::create_dir(site.path().join("real")).unwrap();
    symlink("real", site.path().join("alias")).unwrap();
    let volume = open(&site.path().join("alias"), "current").unwrap();
    assert_eq!(volume.state_folder(), site.path().join("real/.pushsync"));
}

#[test]
fn a_second_process_is_told_who_has_the_root() {
    let site = Site::new();
    let volume = site.volume();
    let error = open(&site.root(), "other").unwrap_err();
    assert_eq!(error.kind().as_str(), "locked");
    assert!(error.to_string().contains(&format!("pid {} on ", std::process::id())), "{error}");
    drop(volume);
    open(&site.root(), "other").unwrap();
}

#[test]
fn leftovers_go_and_nothing_else_does() {
    let site = Site::new();
    let (root, beside) = (site.root(), site.path().join("www"));
    let kept = site.path().join("kept");
    for folder in [
        &kept,
        &beside,
        &root.join("lost+found"),
        &root.join(".worktrees/.tmp-1-2/deep"),
        &root.join(".worktrees/.trash-9"),
    ] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(kept.join("file"), "precious").unwrap();
    fs::write(root.join(".worktrees/.tmp-1-2/deep/file"), "half").unwrap();
    symlink(&kept, root.join(".worktrees/.tmp-1-2/way-out")).unwrap();
    symlink(&kept, root.join(".worktrees/.tmp-3")).unwrap();
    fs::write(root.join(".worktrees/README"), "somebody's").unwrap();
    fs::write(root.join("theirs"), "x").unwrap();
    fs::create_dir_all(root.join(".pushsync/a-folder.new")).unwrap();
    for file in ["state.json.new", "history.jsonl.new", "flushed.new", "notes"] {
        fs::write(root.join(".pushsync").join(file), "half").unwrap();
    }
    let link = beside.join("site");
    let hash = Sha256::digest(link.as_os_str().as_bytes());
    let prefix = format!("{:016x}", u64::from_be_bytes(hash[..8].try_into().unwrap()));
    symlink(&kept, beside.join(format!(".pushsync-link-{prefix}-0123"))).unwrap();
    fs::write(beside.join(format!(".pushsync-link-{prefix}-4567")), "a file is not ours").unwrap();
    symlink(&kept, beside.join(".pushsync-link-0000000000000000-0123")).unwrap();

    let volume = open(&root, link.to_str().unwrap()).unwrap();
    // Their names at once, what is in them when there is time.
    let left = names(&root.join(".worktrees"));
    assert!(
        left.iter().all(|name| name == "README" || name.starts_with(".trash-")) && volume.has_leftovers(),
        "{left:?}"
    );
    volume.remove_marked(|| true).unwrap();
    assert_eq!(names(&root.join(".worktrees")), ["README"]);
    assert_eq!(names(&root.join(".pushsync")), ["a-folder.new", "lock", "notes"]);
    assert_eq!(names(&root), [".pushsync", ".worktrees", "lost+found", "theirs"]);
    let mut left = vec![format!(".pushsync-link-{prefix}-4567"), ".pushsync-link-0000000000000000-0123".to_owned()];
    left.sort();
    assert_eq!(names(&beside), left);
    assert_eq!(fs::read(kept.join("file")).unwrap(), b"precious");
}

#[test]
fn our_folders_may_not_be_links_to_somewhere_else() {
    let site = Site::new();
    for name in [".pushsync", ".worktrees"] {
        let (root, trap) = (site.path().join(format!("root{name}")), site.path().join(format!("trap{name}")));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(trap.join(".tmp-1")).unwrap();
        symlink(&trap, root.join(name)).unwrap();
        let error = open(&root, "current").unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(names(&trap), [".tmp-1"]);
    }
}

#[test]
fn a_root_that_is_a_file_is_an_error_that_names_it() {
    let site = Site::new();
    fs::write(site.root(), "x").unwrap();
    let error = open(&site.root(), "current").unwrap_err();
    assert_eq!(error.kind().as_str(), "io");
    assert!(error.to_string().contains(site.root().to_str().unwrap()), "{error}");
}

#[test]
fn an_emptied_volume_is_made_again() {
    let site = Site::new();
    let volume = site.volume();
    let commit = site.commit_file("a", "1");
    site.put(&volume, commit);
    fs::remove_dir_all(site.root().join(".worktrees")).unwrap();
    assert_eq!(volume.live().unwrap(), Live::Dangling(commit));
    site.put(&volume, commit);
    assert_eq!(fs::read(site.root().join("current/a")).unwrap(), b"1");
}
