//! The whole program with submodules: three servers, three ways in, failures and restarts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use pushsync::api::Outcome;
use tempfile::TempDir;

use super::site::resting_trees;
use crate::support::forge::Forge;
use crate::support::git_http::{GitHttp, Mode};
use crate::support::sidecar::Sidecar;
use crate::support::sshd::Sshd;
use crate::support::{PATIENCE, eventually, skip};

const RECURSE: &[&str] = &["--recurse-submodules"];

/// A volume and the program that keeps it. The repositories are the forge's.
struct Kept {
    folder: TempDir,
    flags: Vec<String>,
    sidecar: Option<Sidecar>,
}

impl Kept {
    fn new(repo: &str, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root");
        let mut all = vec![format!("--repo={repo}"), "--ref=main".to_owned(), format!("--root={}", root.display())];
        all.extend(["--link=current", "--period=200ms", "--admin-bind=off", "-v"].map(str::to_owned));
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self { folder, flags: all, sidecar: None }
    }

    fn start(&mut self) {
        self.sidecar = None;
        self.sidecar = Some(Sidecar::start(&self.flags));
    }

    fn log(&self) -> String {
        self.sidecar.as_ref().unwrap().log().join("\n")
    }

    fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("root/current")
    }

    fn published(&self) -> Option<String> {
        super::site::published(&self.tree())
    }

    /// The status of `/readyz`; needs `--http-bind`.
    async fn ready(&mut self) -> u16 {
        let line = self.wait_log("\"listener\":\"http\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = format!("http://{}/readyz", line["address"].as_str().unwrap());
        reqwest::get(url).await.unwrap().status().as_u16()
    }

    #[track_caller]
    fn wait_published(&self, commit: &str) -> impl Future<Output = ()> {
        eventually(PATIENCE, move || self.published().as_deref() == Some(commit))
    }

    async fn wait_log(&mut self, text: &str) -> String {
        self.sidecar.as_mut().unwrap().wait_for_text(PATIENCE, text).await
    }

    fn history(&self) -> Vec<pushsync::api::Record> {
        let path = self.folder.path().join("root/.pushsync/history.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn secret(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn three_levels_over_http_ssh_and_another_http_each_with_its_own_way_in() {
    let Some(sshd) = Sshd::start() else { return };
    let forge = Forge::new();
    for name in ["site", "lib", "deep", "side"] {
        forge.make(name);
    }
    let (main, other) = (GitHttp::start(&forge.root()), GitHttp::start(&forge.root()));
    main.require(Some(("ada", "the first password")));
    other.require(Some(("charles", "the second password")));
    // http -> ssh -> another http, and beside it one of the same server by a relative address.
    forge.add("lib", "deep", "deep", &other.url("deep.git"));
    forge.push("lib", "with a submodule");
    forge.add("site", "lib", "lib", &sshd.url(&forge.bare("lib")));
    forge.add("site", "side", "side", "../side.git");
    let head = forge.push("site", "with submodules");

    let secrets = TempDir::new().unwrap();
    let first = secret(secrets.path(), "first", "the first password\n");
    let second = secret(secrets.path(), "second", "the second password\n");
    let known = secret(secrets.path(), "known_hosts", &sshd.known_hosts());
    let key = sshd.key().display().to_string();
    let flags = [
        "--username=ada",
        &format!("--password-file={first}"),
        &format!("--ssh-key-file={key}"),
        &format!("--ssh-known-hosts-file={known}"),
    ];
    let mut kept = Kept::new(&main.url("site.git"), &flags);
    kept.start();
    // The password of the first server is not for the second.
    let line = kept.wait_log("cannot be fetched").await;
    assert!(
        line.contains("`lib/deep`") && line.contains("--credential") && line.contains(&other.url("deep.git")),
        "{line}"
    );
    assert!(other.seen().iter().all(|seen| !seen.credentials), "nothing was shown to it");
    assert_eq!(kept.published(), None);

    let credential = format!(
        "--credential={{\"url\":\"{}\",\"username\":\"charles\",\"password-file\":\"{second}\"}}",
        other.url("")
    );
    kept.flags.push(credential);
    kept.start();
    kept.wait_published(&head).await;
    let here = forge.root();
    let ssh = sshd.url(&here);
    let (main_url, other_url, ssh_url) = (main.url(""), other.url(""), format!("{ssh}/"));
    let here = [(main_url.as_str(), here.as_path()), (other_url.as_str(), &here), (ssh_url.as_str(), &here)];
    forge.assert_cloned(&main.url("site.git"), &kept.tree(), &here, RECURSE);

    // A push to the innermost, and each that holds it: followed as any other.
    let deep = forge.push_file("deep", "deep.txt", "the second of deep\n");
    forge.bump("lib", "deep", &deep);
    let lib = forge.push("lib", "bump");
    forge.bump("site", "lib", &lib);
    let head = forge.push("site", "bump");
    kept.wait_published(&head).await;
    forge.assert_cloned(&main.url("site.git"), &kept.tree(), &here, RECURSE);
    eventually(PATIENCE, || kept.history().iter().any(|record| record.new.as_deref() == Some(&head))).await;
    let record = kept.history().into_iter().find(|record| record.new.as_deref() == Some(&head)).unwrap();
    let files = record.files.unwrap();
    assert_eq!((files.added, files.modified, files.deleted), (0, 1, 0), "the file of the innermost");

    for secret in ["the first password", "the second password"] {
        assert!(!kept.log().contains(secret));
    }
    // What the old process published is vouched for without anybody being asked for a submodule: at once if it had been
    // written through when that process ended, else after a comparison. Either way all of it has been compared when the
    // next spare is made, and the polls go on.
    drop(kept.sidecar.take());
    let (asked, looks) = (other.requests(), main.requests());
    kept.start();
    let vouched = ["the published tree is whole; it stays", "the published tree stays; its content is compared"];
    let sidecar = kept.sidecar.as_mut().unwrap();
    sidecar.wait_for_line(PATIENCE, |line| vouched.iter().any(|words| line.contains(words))).await;
    kept.wait_log("standby trees").await;
    eventually(PATIENCE, || main.requests() >= looks + 3).await;
    assert_eq!((kept.published().as_deref(), other.requests()), (Some(head.as_str()), asked));
}

/// Where a Secret is mounted for git-sync, which always passes it to ssh, whatever the repository's own way in is.
#[tokio::test]
async fn a_submodule_over_ssh_is_let_in_by_the_usual_key_of_a_repository_over_http() {
    let Some(sshd) = Sshd::start() else { return };
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    forge.add("site", "lib", "lib", &sshd.url(&forge.bare("lib")));
    let head = forge.push("site", "with a submodule");
    let main = GitHttp::start(&forge.root());
    let mut kept = Kept::new(&main.url("site.git"), &[]);
    let usual = kept.folder.path().join("etc/git-secret");
    fs::create_dir_all(&usual).unwrap();
    secret(&usual, "known_hosts", &sshd.known_hosts());
    let script =
        format!("mount --make-rprivate / && mount --bind '{}' /etc && exec \"$@\"", usual.parent().unwrap().display());
    let elsewhere = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script, "sh"]).args(program).env_remove("GIT_SSL_CAINFO");
        command
    };
    if !elsewhere(&["true"]).status().is_ok_and(|status| status.success()) {
        return skip("to mount (unshare --mount)");
    }
    let mut command = elsewhere(&[env!("CARGO_BIN_EXE_pushsync")]);
    command.args(&kept.flags);
    kept.sidecar = Some(Sidecar::spawn(command));
    let line = kept.wait_log("the submodule `lib` cannot be fetched").await;
    assert!(line.contains("--ssh-key-file") && !line.contains("--credential"), "{line}");
    fs::copy(sshd.key(), usual.join("ssh")).unwrap();
    kept.wait_published(&head).await;
    assert_eq!(fs::read_to_string(kept.tree().join("lib/lib.txt")).unwrap(), "the first of lib\n");
}

#[tokio::test]
async fn the_old_tree_stays_while_a_submodule_cannot_be_had_and_what_was_damaged_is_put_back_without_it() {
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    let (main, modules) = (GitHttp::start(&forge.root()), GitHttp::start(&forge.root()));
    forge.add("site", "lib", "lib", &modules.url("lib.git"));
    let first = forge.push("site", "with a submodule");
    let mut kept = Kept::new(&main.url("site.git"), &[]);
    kept.start();
    kept.wait_published(&first).await;

    modules.set(Mode::Refuse);
    // Only what is published changes hands: no submodule is asked for.
    let plain = forge.push_file("site", "index.html", "two\n");
    kept.wait_published(&plain).await;
    let bumped = forge.push_file("lib", "lib.txt", "the second\n");
    forge.bump("site", "lib", &bumped);
    let second = forge.push("site", "bump");
    kept.wait_log("the submodule `lib` cannot be fetched").await;
    assert_eq!(kept.published().as_deref(), Some(plain.as_str()));
    assert_eq!(fs::read_to_string(kept.tree().join("lib/lib.txt")).unwrap(), "the first of lib\n");
    eventually(PATIENCE, || kept.history().iter().any(|record| record.outcome == Outcome::Failed)).await;
    let failed = kept.history().into_iter().rfind(|record| record.outcome == Outcome::Failed).unwrap();
    assert_eq!((failed.error.unwrap().kind.as_str(), failed.new.as_deref()), ("network", Some(second.as_str())));

    // A reader's damage in a submodule's folder is mended at the next start, with the submodule's server down.
    drop(kept.sidecar.take());
    let file = kept.tree().join("lib/lib.txt");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "defaced\n").unwrap();
    kept.start();
    eventually(PATIENCE, || fs::read_to_string(&file).is_ok_and(|text| text == "the first of lib\n")).await;
    assert_eq!(kept.published().as_deref(), Some(plain.as_str()));

    modules.set(Mode::Serve);
    kept.wait_published(&second).await;
    let (main_url, modules_url, here) = (main.url(""), modules.url(""), forge.root());
    let here = [(main_url.as_str(), here.as_path()), (modules_url.as_str(), &here)];
    forge.assert_cloned(&main.url("site.git"), &kept.tree(), &here, RECURSE);
}

#[tokio::test]
async fn a_change_of_the_mode_is_a_change_of_the_tree() {
    let forge = Forge::new();
    for name in ["site", "lib", "deep"] {
        forge.make(name);
    }
    let main = GitHttp::start(&forge.root());
    forge.add("lib", "deep", "deep", "../deep.git");
    forge.push("lib", "with a submodule");
    forge.add("site", "lib", "lib", "../lib.git");
    let head = forge.push("site", "with submodules");
    let mut kept = Kept::new(&main.url("site.git"), &[]);
    for (mode, lib, deep) in [
        ("off", false, false),
        ("shallow", true, false),
        ("recursive", true, true),
        ("shallow", true, false),
        ("off", false, false),
    ] {
        kept.flags.retain(|flag| !flag.starts_with("--submodules"));
        kept.flags.push(format!("--submodules={mode}"));
        kept.start();
        let there = |path: &str| kept.tree().join(path).exists();
        eventually(PATIENCE, || {
            kept.published().as_deref() == Some(&head)
                && (there("lib/lib.txt"), there("lib/deep/deep.txt")) == (lib, deep)
                && (there("lib"), there("lib/deep")) == (true, lib)
        })
        .await;
        // Killed at once, or when all is on the disk and nothing is left to be suspected.
        if deep || !lib {
            let flushed = kept.folder.path().join("root/.pushsync/flushed");
            eventually(PATIENCE, || fs::read_to_string(&flushed).is_ok_and(|text| text.contains(&head))).await;
        }
        drop(kept.sidecar.take());
    }
    let mut wrong = Kept::new(&main.url("site.git"), &["--submodules=some"]);
    wrong.start();
    let line = wrong.wait_log("--submodules").await;
    assert!(line.contains("recursive, shallow or off"), "{line}");
}

#[tokio::test]
async fn what_is_published_stays_and_is_ready_until_the_submodules_that_are_wanted_now_can_be_had() {
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    let (main, modules) = (GitHttp::start(&forge.root()), GitHttp::start(&forge.root()));
    forge.add("site", "lib", "lib", &modules.url("lib.git"));
    let head = forge.push("site", "with a submodule");
    let mut kept = Kept::new(&main.url("site.git"), &["--submodules=off", "--http-bind=127.0.0.1:0"]);
    kept.start();
    let flushed = kept.folder.path().join("root/.pushsync/flushed");
    eventually(PATIENCE, || fs::read_to_string(&flushed).is_ok_and(|text| text.contains(&head))).await;
    drop(kept.sidecar.take());
    let standing = fs::metadata(kept.tree()).unwrap().ino();

    kept.flags.push("--submodules=recursive".to_owned());
    for (down, kind) in [(&modules, "network"), (&main, "network")] {
        down.set(Mode::Refuse);
        kept.start();
        let failed = |kept: &Kept| {
            let last = kept.history().pop().filter(|record| record.outcome == Outcome::Failed);
            last.and_then(|record| Some(record.error?.kind))
        };
        eventually(PATIENCE, || failed(&kept).as_deref() == Some(kind)).await;
        // Its background work has every chance to think worse of what stands.
        let failures = || kept.log().matches("sync failed").count();
        eventually(PATIENCE, || failures() >= 3).await;
        assert_eq!(kept.ready().await, 200, "{}", kept.log());
        assert_eq!(fs::metadata(kept.tree()).unwrap().ino(), standing);
        assert!(!kept.log().contains("another process changed") && !kept.log().contains("putting"), "{}", kept.log());
        drop(kept.sidecar.take());
        fs::remove_file(kept.folder.path().join("root/.pushsync/history.jsonl")).unwrap();
        down.set(Mode::Serve);
    }
    kept.start();
    eventually(PATIENCE, || kept.tree().join("lib/lib.txt").exists()).await;
    assert_eq!((kept.published().as_deref(), kept.ready().await), (Some(head.as_str()), 200));
    kept.wait_log("the submodules to publish have changed").await;
}

#[tokio::test]
async fn with_a_gate_other_submodules_wait_for_a_push_that_it_sees() {
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    let main = GitHttp::start(&forge.root());
    forge.add("site", "lib", "lib", "../lib.git");
    let first = forge.push("site", "with a submodule");
    let mut kept = Kept::new(&main.url("site.git"), &["--submodules=off"]);
    kept.start();
    let flushed = kept.folder.path().join("root/.pushsync/flushed");
    eventually(PATIENCE, || fs::read_to_string(&flushed).is_ok_and(|text| text.contains(&first))).await;
    drop(kept.sidecar.take());

    kept.flags.extend(["--submodules=recursive", "--pre-publish-exechook-command=false"].map(str::to_owned));
    kept.start();
    kept.wait_log("which the pre-publish hook sees").await;
    let looks = main.requests();
    eventually(PATIENCE, || main.requests() >= looks + 3).await;
    assert!(!kept.tree().join("lib/lib.txt").exists());
    forge.write("site", "more.txt", "more\n");
    let second = forge.push("site", "more");
    eventually(PATIENCE, || kept.history().iter().any(|record| record.outcome == Outcome::Refused)).await;
    assert!(!kept.tree().join("lib/lib.txt").exists() && kept.published().as_deref() == Some(first.as_str()));
    drop(kept.sidecar.take());
    kept.flags.push("--pre-publish-exechook-command=true".to_owned());
    kept.start();
    kept.wait_published(&second).await;
    assert!(kept.tree().join("lib/lib.txt").exists());
}

/// Folders that hold nothing but submodules say nothing that counts: what they say may not have been downloaded.
#[tokio::test]
async fn submodules_are_there_with_patterns_that_do_not_want_them_and_a_filter() {
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    for folder in ["a", "vendor", "vendor/deep"] {
        forge.write("site", &format!("{folder}/.gitattributes"), "*.txt eol=crlf\n");
    }
    forge.write("site", "src/a.txt", "one\n");
    forge.write("site", "src/b.txt", "one\n");
    for path in ["a/docs/lib", "vendor/deep/lib", "lib"] {
        forge.add("site", "lib", path, "../lib.git");
    }
    let first = forge.push("site", "with submodules");
    for name in ["site", "lib"] {
        let bare = forge.bare(name);
        crate::support::repo::run_git(&bare, &bare, &["config", "uploadpack.allowFilter", "true"]);
    }
    let main = GitHttp::start(&forge.root());
    let folder = TempDir::new().unwrap();
    let patterns = secret(folder.path(), "patterns", "/src/a.txt\n/a/docs/\n");
    let mut kept = Kept::new(
        &main.url("site.git"),
        &["--filter=blob:none", &format!("--sparse-checkout-file={patterns}"), "--stale-worktree-timeout=0s"],
    );
    kept.start();
    kept.wait_published(&first).await;
    let names = |path: &str| {
        let entries = fs::read_dir(kept.tree().join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.join(" ")
    };
    for (path, holds) in [
        (".", "a lib src vendor"),
        ("a", "docs"),
        ("a/docs/lib", "lib.txt"),
        ("src", "a.txt"),
        ("vendor", "deep"),
        ("vendor/deep", "lib"),
        ("vendor/deep/lib", "lib.txt"),
        ("lib", "lib.txt"),
    ] {
        assert_eq!(names(path), holds, "{path}");
    }
    let bumped = forge.push_file("lib", "lib.txt", "the second\n");
    forge.bump("site", "vendor/deep/lib", &bumped);
    let second = forge.push("site", "bump");
    kept.wait_published(&second).await;
    let read = |path: &str| fs::read_to_string(kept.tree().join(path)).unwrap();
    assert_eq!(
        (read("vendor/deep/lib/lib.txt"), read("a/docs/lib/lib.txt").lines().count()),
        ("the second\n".into(), 1)
    );
    assert!(kept.history().iter().all(|record| record.outcome == Outcome::Published), "{:#?}", kept.history());
}

#[tokio::test]
async fn trees_with_submodules_take_turns_and_none_is_written_as_a_whole() {
    let forge = Forge::new();
    for name in ["site", "lib"] {
        forge.make(name);
    }
    forge.add("site", "lib", "vendor/lib", "../lib.git");
    let first = forge.push("site", "with a submodule");
    let main = GitHttp::start(&forge.root());
    let mut kept = Kept::new(&main.url("site.git"), &["--stale-worktree-timeout=0s", "--standby-trees=1"]);
    kept.start();
    kept.wait_published(&first).await;
    let root = kept.folder.path().join("root");
    let trees = resting_trees(&root).await;
    for round in 0..4 {
        // The submodule and the repository around it, in turns.
        let text = format!("round {round}\n");
        let path = if round % 2 == 0 {
            let bumped = forge.push_file("lib", "lib.txt", &text);
            forge.bump("site", "vendor/lib", &bumped);
            "vendor/lib/lib.txt"
        } else {
            forge.write("site", "own.txt", &text);
            "own.txt"
        };
        let commit = forge.push("site", "another");
        kept.wait_published(&commit).await;
        assert_eq!(fs::read_to_string(kept.tree().join(path)).unwrap(), text);
        assert_eq!(resting_trees(&root).await, trees, "round {round}");
    }
}
