//! Attributes and sparse patterns at the border of a submodule: those of the outer repository do not apply inside, the
//! submodule's own do, and a submodule is published whatever the patterns are. Compared with git's own clone, byte for
//! byte. A push that changes no submodule reads only its own objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushsync::git::{Engine, Modules};
use pushsync::publish::CheckoutOptions;
use pushsync::submodules::Submodules;
use tempfile::TempDir;

use super::submodules::Bench;
use super::{git, options};
use crate::support::forge::Forge;
use crate::support::git_http::GitHttp;
use crate::support::repo::{Repo, run_git};

const TEXT: &str = "one\ntwo\n$Id$\n";

/// Submodules at three paths, one of them with a submodule of its own, each with other attributes.
fn prepare(forge: &Forge) {
    let all = |name: &str, paths: &[&str]| paths.iter().for_each(|path| forge.write(name, path, TEXT));
    all("deep", &["a.txt", "b.md", "d/c.txt"]);
    forge.write("deep", ".gitattributes", "d/** ident\n");
    forge.push("deep", "files");
    all("lib", &["a.txt", "b.md", "c.bin", "d/a.txt", "docs/e.md"]);
    // A macro of the outer repository is not defined inside.
    forge.write("lib", ".gitattributes", "*.md eol=crlf\n*.bin mine\n");
    forge.add("lib", "deep", "in/deep", "../deep.git");
    forge.push("lib", "files and a submodule");
    all("site", &["a.txt", "b.md", "docs/a.txt", "docs/b.md", "src/a.txt", "vendor/a.txt"]);
    forge.write("site", ".gitattributes", "[attr]mine ident eol=crlf\n* text eol=crlf\n*.txt ident\n");
    forge.write("site", "docs/.gitattributes", "*.md working-tree-encoding=ISO-8859-1 ident\n");
    forge.write("site", "vendor/.gitattributes", "lib/** -text -ident\n*.txt mine\n");
    for path in ["docs/lib", "vendor/lib", "other"] {
        forge.add("site", "lib", path, "../lib.git");
    }
}

/// Returns git's files: a clone with submodules to which the patterns are applied, and the steps of git-sync.
fn gits(bench: &Bench, patterns: Option<&str>, like_git_sync: bool) -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let (url, root) = (bench.server.url(""), bench.forge.root());
    let config = format!("[protocol \"file\"]\n\tallow = always\n[url \"{}/\"]\n\tinsteadOf = {url}\n", root.display());
    fs::write(home.path().join(".gitconfig"), config).unwrap();
    let copy = home.path().join("copy");
    let how = if like_git_sync { "--no-checkout" } else { "--recurse-submodules" };
    run_git(home.path(), home.path(), &["clone", "--quiet", how, &bench.server.url("site.git"), "copy"]);
    if let Some(patterns) = patterns {
        fs::create_dir_all(copy.join(".git/info")).unwrap();
        fs::write(copy.join(".git/info/sparse-checkout"), patterns).unwrap();
        run_git(home.path(), &copy, &["config", "core.sparseCheckout", "true"]);
        run_git(home.path(), &copy, &["config", "core.sparseCheckoutCone", "true"]);
        if !like_git_sync {
            run_git(home.path(), &copy, &["sparse-checkout", "reapply"]);
        }
    }
    if like_git_sync {
        run_git(home.path(), &copy, &["reset", "--quiet", "--hard"]);
        run_git(home.path(), &copy, &["submodule", "update", "--quiet", "--init", "--recursive"]);
    }
    (home, copy)
}

#[track_caller]
fn same(bench: &Bench, patterns: Option<&str>, step: &str) {
    for like_git_sync in [false, true] {
        let (_home, copy) = gits(bench, patterns, like_git_sync);
        assert!(copy.join("other/.gitattributes").exists() || step == "gone", "git has its submodules");
        let tree = bench.tree();
        let diff =
            Command::new("diff").args(["-r", "--no-dereference", "--exclude=.git"]).args([&copy, &tree]).output();
        let diff = diff.unwrap();
        assert!(diff.status.success(), "{step}, {patterns:?}:\n{}", String::from_utf8_lossy(&diff.stdout));
    }
}

fn read(tree: &Path, path: &str) -> String {
    fs::read_to_string(tree.join(path)).unwrap()
}

async fn follow(patterns: Option<&str>) {
    let folder = TempDir::new().unwrap();
    let sparse_file = patterns.map(|patterns| {
        let file = folder.path().join("patterns");
        fs::write(&file, patterns).unwrap();
        file
    });
    let shape = CheckoutOptions { submodules: Submodules::Recursive, sparse_file, ..CheckoutOptions::default() };
    let bench = Bench::with(shape, |forge, _| prepare(forge));
    let forge = &bench.forge;
    let (_, built) = bench.sync().await.unwrap();
    assert!(built.standby.is_none());
    same(&bench, patterns, "fresh");
    let tree = bench.tree();
    assert!(read(&tree, "docs/lib/b.md").starts_with("one\r\n"), "its own attributes");
    assert_eq!(read(&tree, "vendor/lib/a.txt"), TEXT, "not those around it");
    assert!(read(&tree, "other/in/deep/d/c.txt").contains("$Id: "));

    // From the standby tree: a file of the main repository, then files of a submodule and of the nested one.
    forge.write("site", "docs/a.txt", "three\n$Id$\n");
    forge.push_file("site", "src/a.txt", "three\n$Id$\n");
    let (_, built) = bench.sync().await.unwrap();
    assert!(built.standby.is_some(), "{built:?}");
    same(&bench, patterns, "a push of our own files");
    forge.write("deep", "d/c.txt", "$Id$ three\n");
    let deep = forge.push_file("deep", "b.md", "three\n");
    forge.bump("lib", "in/deep", &deep);
    forge.write("lib", "b.md", "three\n");
    let lib = forge.push_file("lib", "a.txt", "$Id$ three\n");
    for path in ["docs/lib", "vendor/lib"] {
        forge.bump("site", path, &lib);
    }
    forge.push("site", "bump two of three");
    let (_, built) = bench.sync().await.unwrap();
    assert!(built.standby.is_some(), "{built:?}");
    same(&bench, patterns, "a push of a submodule's files");

    // Attributes change inside and outside; then a submodule becomes a folder with the same files, and is removed.
    let lib = forge.push_file("lib", ".gitattributes", "*.txt eol=crlf ident\n");
    forge.bump("site", "docs/lib", &lib);
    forge.push("site", "other attributes inside");
    bench.sync().await.unwrap();
    same(&bench, patterns, "other attributes inside");
    forge.push_file("site", ".gitattributes", "* -text\n*.md ident\n");
    bench.sync().await.unwrap();
    same(&bench, patterns, "other attributes around");
    forge.remove("site", "docs/lib");
    for path in ["a.txt", "b.md", "c.bin", "d/a.txt", ".gitattributes"] {
        forge.write("site", &format!("docs/lib/{path}"), &read(&forge.work("lib"), path));
    }
    forge.push("site", "a folder in its place");
    bench.sync().await.unwrap();
    same(&bench, patterns, "a folder in its place");
    forge.remove("site", "other");
    forge.push("site", "one less");
    bench.sync().await.unwrap();
    same(&bench, patterns, "gone");
}

#[tokio::test]
async fn attributes_end_at_a_submodule() {
    follow(None).await;
}

#[tokio::test]
async fn patterns_end_at_a_submodule_which_is_there_whatever_they_say() {
    follow(Some("/docs/\n*.md\n")).await;
    follow(Some("/src/a.txt\n")).await;
}

#[tokio::test]
async fn folders_of_cone_mode_end_at_a_submodule_which_is_there_whatever_they_say() {
    follow(Some("/*\n!/*/\n/docs/\n")).await;
    follow(Some("/*\n!/*/\n/vendor/\n!/vendor/*/\n")).await;
}

#[tokio::test]
async fn a_push_reads_no_folder_that_it_leaves_alone() {
    let repo = Repo::new();
    repo.write("kept/file.txt", "kept\n");
    repo.write("index.html", "one\n");
    repo.commit("two folders");
    repo.push();
    let server = GitHttp::start(&repo.root());
    let folder = TempDir::new().unwrap();
    let engine = Engine::new(options(&server.url("site.git")), folder.path().join("volume/repo.git"));
    let modules = |commit| engine.fetch_submodules(commit, Vec::new());
    let first = super::sync(&engine).await.unwrap().commit;
    assert_eq!(modules(first).await.unwrap(), Modules::default());

    // If the folder is missing, its reader reports that.
    let store = engine.store();
    let kept = git(store, &["rev-parse", &format!("{first}:kept")]);
    let pack = store.join("objects/pack");
    let aside = folder.path().join("aside");
    std::fs::rename(&pack, &aside).unwrap();
    std::fs::create_dir(&pack).unwrap();
    for file in std::fs::read_dir(&aside).unwrap().flatten() {
        if file.path().extension().is_some_and(|ending| ending == "pack") {
            let unpack = format!("git unpack-objects -q < '{}'", file.path().display());
            assert!(
                std::process::Command::new("sh").args(["-c", &unpack]).current_dir(store).status().unwrap().success()
            );
        }
    }
    std::fs::remove_file(store.join("objects").join(&kept[..2]).join(&kept[2..])).unwrap();
    repo.push_file("index.html", "two\n", "the other folder stays as it is");
    let second = super::sync(&engine).await.unwrap().commit;
    assert_ne!(second, first);
    assert_eq!(modules(second).await.unwrap(), Modules::default());
    // The second call does not use the remembered notes.
    assert_eq!(modules(second).await.unwrap(), Modules::default());
}
