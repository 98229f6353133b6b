//! Submodules from real repositories, published and compared with git's own clone.
#![allow(clippy::format_push_string, reason = "said shortly")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Oid;
use pushsync::git::{Engine, Error, Modules, Want};
use pushsync::publish::{Built, CheckoutOptions, Durability, Volume, VolumeOptions};
use pushsync::submodules::Submodules;
use pushsync::worker::Cancel;
use tempfile::TempDir;

use super::{git, oid, options};
use crate::support::forge::Forge;
use crate::support::git_http::{GitHttp, Mode};
use crate::support::{PATIENCE, eventually};

const RECURSE: &[&str] = &["--recurse-submodules"];

/// A forge over HTTP, and a volume that follows one repository of it.
pub(super) struct Bench {
    pub(super) forge: Forge,
    pub(super) server: GitHttp,
    engine: Engine,
    volume: Volume,
    _folder: TempDir,
}

impl Bench {
    /// Follows `site`, which `prepare` turns into a repository with submodules.
    fn new(mode: Submodules, prepare: impl FnOnce(&Forge, &GitHttp)) -> Self {
        Self::with(CheckoutOptions { submodules: mode, ..CheckoutOptions::default() }, prepare)
    }

    /// Like `new`, with other checkout options.
    pub(super) fn with(shape: CheckoutOptions, prepare: impl FnOnce(&Forge, &GitHttp)) -> Self {
        let mode = shape.submodules;
        let forge = Forge::new();
        let server = GitHttp::start(&forge.root());
        for name in ["site", "lib", "deep"] {
            forge.make(name);
        }
        prepare(&forge, &server);
        forge.push("site", "with submodules");
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("root");
        let grace = Duration::from_secs(3600);
        let durability = Durability::Normal;
        let volume =
            VolumeOptions { root, link: "current".into(), grace, standby_trees: 1, checkout: shape, durability };
        let volume = Volume::open(volume).unwrap();
        let mut options = options(&server.url("site.git"));
        options.submodules = mode;
        let engine = Engine::new(options, volume.store());
        Self { forge, server, engine, volume, _folder: folder }
    }

    async fn fetch(&self) -> Result<(Oid, Modules), Error> {
        let look = self.engine.ls_remote().await?;
        let fetched = self.engine.fetch(Want::Seen(look)).await?;
        Ok((fetched.commit, self.engine.fetch_submodules(fetched.commit, Vec::new()).await?))
    }

    /// Syncs as the sidecar does.
    pub(super) async fn sync(&self) -> Result<(Modules, Built), Error> {
        let (commit, modules) = self.fetch().await?;
        let built = self.volume.build(&self.volume.store(), commit, &Cancel::default()).unwrap();
        self.volume.publish(commit).unwrap();
        self.volume.prepare(&self.volume.store(), &[], &Cancel::default()).unwrap();
        Ok((modules, built))
    }

    /// Syncs, compares with a clone, and has git check the store.
    #[track_caller]
    fn same(&self, more: &[&str]) {
        self.same_but(&[], more);
    }

    /// Like `matches`, with other addresses that git resolves to this machine.
    #[track_caller]
    fn same_but(&self, here: &[(&str, &Path)], more: &[&str]) {
        let (site, root) = (self.server.url(""), self.forge.root());
        let mut all = vec![(site.as_str(), root.as_path())];
        all.extend(here);
        self.forge.assert_cloned(&self.server.url("site.git"), &self.tree(), &all, more);
        git(self.engine.store(), &["fsck", "--no-dangling"]);
    }

    pub(super) fn tree(&self) -> PathBuf {
        let link = self.volume.state_folder().with_file_name("current");
        link.canonicalize().unwrap()
    }

    fn grafts(&self) -> usize {
        git(self.engine.store(), &["for-each-ref", "refs/pushsync/modules"]).lines().count()
    }
}

fn two_levels(forge: &Forge, _: &GitHttp) {
    forge.add("lib", "deep", "third party/deep", "../deep.git");
    forge.push("lib", "with a submodule");
    forge.add("site", "lib", "vendor/lib", "../lib.git");
}

#[tokio::test]
async fn relative_addresses_are_followed_three_levels_deep_and_every_change_costs_only_itself() {
    let bench = Bench::new(Submodules::Recursive, two_levels);
    let (modules, built) = bench.sync().await.unwrap();
    assert_eq!(
        modules.fetched.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["vendor/lib", "vendor/lib/third party/deep"]
    );
    assert!(modules.objects > 0 && modules.bytes > 0 && built.standby.is_none());
    bench.same(RECURSE);
    assert_eq!(
        std::fs::read_to_string(bench.tree().join("vendor/lib/third party/deep/deep.txt")).unwrap(),
        "the first of deep\n"
    );

    // A push that changes no submodule sends requests to its own remote only.
    bench.forge.push_file("site", "index.html", "two\n");
    let before = bench.server.requests();
    let (modules, built) = bench.sync().await.unwrap();
    assert_eq!(modules, Modules::default());
    assert!(built.standby.is_some() && built.files == 1, "{built:?}");
    assert!(bench.server.seen()[before..].iter().all(|seen| seen.target.starts_with("/site.git")));
    bench.same(RECURSE);

    // A new commit of a submodule changes one file in the standby tree.
    let bumped = bench.forge.push_file("lib", "more.txt", "more\n");
    bench.forge.bump("site", "vendor/lib", &bumped);
    bench.forge.push("site", "bump");
    let (sent, (modules, built)) = (bench.server.sent(), bench.sync().await.unwrap());
    assert_eq!(modules.fetched, [("vendor/lib".to_owned(), oid(&bumped))]);
    assert!(built.standby.is_some() && built.files == 1, "{built:?}");
    assert!(bench.server.sent() - sent < 4000, "{}", bench.server.sent() - sent);
    bench.same(RECURSE);

    // A prefix cannot select a submodule's commit or a flattened commit.
    let graft = git(bench.engine.store(), &["for-each-ref", "--format=%(objectname)", "refs/pushsync/modules"]);
    for (hash, ours) in
        [(bumped.as_str(), false), (&graft[..40], false), (&bench.forge.git("site", &["rev-parse", "HEAD"]), true)]
    {
        assert_eq!(bench.engine.resolve_prefix(&hash[..20]).await.unwrap().is_some(), ours, "{hash}");
    }

    // Flattened trees of commits that are not kept are removed.
    for number in 0..5 {
        bench.forge.push_file("site", "index.html", &format!("{number}\n"));
        bench.sync().await.unwrap();
    }
    assert_eq!(bench.grafts(), 2);
    bench.same(RECURSE);
}

#[tokio::test]
async fn submodules_that_move_change_their_address_go_and_come_back_are_as_git_has_them() {
    let bench = Bench::new(Submodules::Recursive, two_levels);
    let forge = &bench.forge;
    bench.sync().await.unwrap();

    forge.git("site", &["mv", "vendor/lib", "lib"]);
    forge.push("site", "moved");
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!(modules, Modules::default(), "nothing new is needed");
    bench.same(RECURSE);

    forge.make("other");
    let other = forge.git("other", &["rev-parse", "HEAD"]);
    forge.remove("site", "lib");
    forge.add("site", "other", "lib", &bench.server.url("other.git"));
    forge.push("site", "another repository at the same path");
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!(modules.fetched, [("lib".to_owned(), oid(&other))]);
    bench.same(RECURSE);

    forge.remove("site", "lib");
    forge.push_file("site", "lib/plain.txt", "a plain folder now\n");
    bench.sync().await.unwrap();
    bench.same(RECURSE);

    forge.git("site", &["rm", "--quiet", "-r", "lib"]);
    forge.add("site", "lib", "lib", "../lib.git");
    forge.push("site", "and back");
    bench.sync().await.unwrap();
    bench.same(RECURSE);

    forge.remove("site", "lib");
    forge.push("site", "none any more");
    bench.sync().await.unwrap();
    assert!(!bench.tree().join("lib").exists());
    bench.same(RECURSE);
}

#[tokio::test]
async fn shallow_stops_at_the_first_level_and_off_leaves_all_folders_empty() {
    let bench = Bench::new(Submodules::Shallow, two_levels);
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!(modules.fetched.len(), 1);
    let deep = bench.tree().join("vendor/lib/third party/deep");
    assert_eq!(deep.read_dir().unwrap().count(), 0, "an empty folder");
    assert!(bench.tree().join("vendor/lib/lib.txt").exists());
    git(bench.engine.store(), &["fsck", "--no-dangling"]);

    let bench = Bench::new(Submodules::Off, two_levels);
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!((modules, bench.grafts()), (Modules::default(), 0));
    assert_eq!(bench.tree().join("vendor/lib").read_dir().unwrap().count(), 0);
    bench.same(&[]);
}

#[tokio::test]
async fn another_mode_is_another_tree_of_the_same_commit() {
    let bench = Bench::new(Submodules::Shallow, two_levels);
    bench.sync().await.unwrap();
    let mut options = bench.engine.options().clone();
    options.submodules = Submodules::Recursive;
    let bench = Bench { engine: Engine::new(options, bench.volume.store()), ..bench };
    let (_, modules) = bench.fetch().await.unwrap();
    assert_eq!(modules.fetched.len(), 1, "{modules:?}");
    assert_eq!(bench.grafts(), 1);

    let mut options = bench.engine.options().clone();
    options.submodules = Submodules::Off;
    let bench = Bench { engine: Engine::new(options, bench.volume.store()), ..bench };
    bench.fetch().await.unwrap();
    assert_eq!(bench.grafts(), 0);
}

#[tokio::test]
async fn a_folder_without_an_entry_stays_empty_and_one_that_is_not_wanted_too() {
    let bench = Bench::new(Submodules::Recursive, |forge, server| {
        two_levels(forge, server);
        forge.add("site", "deep", "unwanted", "../deep.git");
        forge.set("site", "unwanted of deep", "update", "none");
        let stray = forge.git("lib", &["rev-parse", "HEAD"]);
        forge.git("site", &["update-index", "--add", "--cacheinfo", &format!("160000,{stray},stray")]);
        std::fs::create_dir(forge.work("site").join("stray")).unwrap();
        forge.git("site", &["add", ".gitmodules"]);
        forge.push_index("site");
    });
    let (modules, _) = bench.sync().await.unwrap();
    assert!(
        modules.notes.iter().any(|note| note.starts_with("`stray` is a submodule without an entry")),
        "{modules:?}"
    );
    for name in ["stray", "unwanted"] {
        assert_eq!(bench.tree().join(name).read_dir().unwrap().count(), 0, "{name}");
    }
    assert!(bench.tree().join("vendor/lib/lib.txt").exists());
}

#[tokio::test]
async fn missing_submodules_are_reported_with_path_and_address_and_fetched_later() {
    let bench = Bench::new(Submodules::Recursive, two_levels);
    bench.sync().await.unwrap();
    let published = bench.tree();

    // A commit that was never pushed.
    bench.forge.write("lib", "unpushed.txt", "not yet\n");
    bench.forge.git("lib", &["add", "--all"]);
    bench.forge.git("lib", &["commit", "--quiet", "--message", "kept back"]);
    let unpushed = bench.forge.git("lib", &["rev-parse", "HEAD"]);
    bench.forge.git("site", &["update-index", "--cacheinfo", &format!("160000,{unpushed},vendor/lib")]);
    bench.forge.push_index("site");
    let error = bench.sync().await.unwrap_err();
    assert_eq!(error.kind().as_str(), "no_such_commit", "{error:?}");
    assert!(
        error.to_string().contains("`vendor/lib`") && error.hint().unwrap().contains("push the submodule's commit")
    );
    assert_eq!(bench.tree(), published);

    bench.forge.git("lib", &["push", "--quiet", "origin", "HEAD:main"]);
    let (modules, built) = bench.sync().await.unwrap();
    assert_eq!((modules.fetched.len(), built.files), (1, 1));
    bench.same(RECURSE);

    // A deleted repository, and one whose server fails.
    bench.forge.make("gone");
    bench.forge.add("site", "gone", "gone", "../gone.git");
    bench.forge.push("site", "one more");
    std::fs::rename(bench.forge.bare("gone"), bench.forge.root().join("hidden")).unwrap();
    let error = bench.sync().await.unwrap_err();
    assert_eq!(error.kind().as_str(), "not_found", "{error:?}");
    let mut words = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = cause {
        words.push_str(&format!("{one}: "));
        cause = one.source();
    }
    assert!(words.contains("`gone`") && words.contains(&bench.server.url("gone.git")), "{words}");
    std::fs::rename(bench.forge.root().join("hidden"), bench.forge.bare("gone")).unwrap();
    bench.sync().await.unwrap();
    bench.same(RECURSE);
}

#[tokio::test]
async fn a_server_that_knows_only_the_old_protocol_serves_submodules_too() {
    let bench = Bench::new(Submodules::Recursive, |forge, server| {
        two_levels(forge, server);
        // No ref names the wanted commit any more.
        forge.push_file("lib", "later.txt", "later\n");
        forge.push_file("deep", "later.txt", "later\n");
    });
    bench.server.set(Mode::OldProtocol);
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!(modules.fetched.len(), 2);
    bench.same(RECURSE);
    assert!(git(bench.engine.store(), &["for-each-ref", "refs/pushsync/arriving"]).is_empty());
    let bumped = bench.forge.push_file("lib", "more.txt", "more\n");
    bench.forge.bump("site", "vendor/lib", &bumped);
    bench.forge.push("site", "bump");
    bench.sync().await.unwrap();
    bench.same(RECURSE);
}

#[tokio::test]
async fn the_history_of_the_repository_stays_as_deep_as_asked() {
    for depth in [0, 3] {
        let bench = Bench::new(Submodules::Recursive, |forge, server| {
            two_levels(forge, server);
            for number in 0..5 {
                forge.push_file("lib", "more.txt", &format!("{number}\n"));
            }
            let head = forge.git("lib", &["rev-parse", "HEAD"]);
            forge.bump("site", "vendor/lib", &head);
            forge.push("site", "a submodule with a history");
        });
        let mut options = bench.engine.options().clone();
        options.depth = depth;
        let bench = Bench { engine: Engine::new(options, bench.volume.store()), ..bench };
        for number in 0..3 {
            bench.sync().await.unwrap();
            let count = git(bench.engine.store(), &["rev-list", "--count", "refs/pushsync/head"]);
            let expected =
                if depth == 0 { bench.forge.git("site", &["rev-list", "--count", "HEAD"]) } else { "3".to_owned() };
            assert_eq!(count, expected, "at depth {depth}");
            bench.same(RECURSE);
            bench.forge.push_file("site", "index.html", &format!("{number}\n"));
            let bumped = bench.forge.push_file("lib", "more.txt", &format!("more {number}\n"));
            bench.forge.bump("site", "vendor/lib", &bumped);
            bench.forge.push("site", "bump");
        }
        assert_eq!(
            git(bench.engine.store(), &["rev-list", "--count", &bench.forge.git("lib", &["rev-parse", "HEAD~1"])]),
            "1"
        );
    }
}

#[tokio::test]
async fn hostile_files_are_refused_before_any_request() {
    let bench = Bench::new(Submodules::Recursive, two_levels);
    bench.sync().await.unwrap();
    let published = bench.tree();
    let requests =
        |from: usize| bench.server.seen()[from..].iter().filter(|seen| !seen.target.starts_with("/site.git")).count();
    let lib = bench.forge.git("lib", &["rev-parse", "HEAD~1"]);
    let refused = async |gitmodules: &str, reason: &str| {
        bench.forge.push_links("site", gitmodules, &[("vendor/lib", &lib)]);
        let before = bench.server.requests();
        let error = bench.sync().await.unwrap_err();
        assert_eq!(error.kind().as_str(), "submodule", "{gitmodules}: {error:?}");
        assert!(error.to_string().contains(reason), "{gitmodules}: {error}");
        assert_eq!((requests(before), bench.tree()), (0, published.clone()), "{gitmodules}");
    };
    let with_url = |url: &str| format!("[submodule \"x\"]\n\tpath = vendor/lib\n\turl = {url}\n");
    let outside = bench.forge.bare("lib");
    for (url, reason) in [
        ("-u./payload", "as an option"),
        ("--upload-pack=touch", "as an option"),
        ("ext::sh -c touch% /tmp/owned", "names a program"),
        ("fd::17", "names a program"),
        ("ssh://-oProxyCommand=touch/x", "as an option"),
        ("-oProxyCommand=touch:x", "as an option"),
        ("git@host:-x", "as an option"),
        (outside.to_str().unwrap(), "a path on this machine"),
        (&format!("file://{}", outside.display()), "a path on this machine"),
        ("lib.git", "a path on this machine"),
        ("\"https://git.test/a\\nhost=evil.test\"", "control character"),
        ("https://git.test%0ahost=evil.test/a", "control character"),
        ("git://git.test/a", "not supported"),
        ("../../../../../evil.test/a", "more `../`"),
        ("\"\"", "no url"),
    ] {
        refused(&with_url(url), reason).await;
    }
    let good = bench.server.url("lib.git");
    for (gitmodules, reason) in [
        (format!("[submodule \"../../x\"]\n\tpath = vendor/lib\n\turl = {good}\n"), "its name"),
        (format!("{}\tupdate = !touch /tmp/owned\n", with_url(&good)), "`update`"),
        ("[submodule \"x\"\n".to_owned(), "line 2"),
        ("#".repeat(2 << 20), "larger than"),
    ] {
        refused(&gitmodules, reason).await;
    }

    // An included file is not read, and a malicious entry without a folder has no effect.
    let harmless = format!(
        "[include]\n\tpath = /etc/passwd\n{}[submodule \"y\"]\n\tpath = nowhere\n\turl = ext::sh\n",
        with_url(&good)
    );
    bench.forge.write("site", ".gitmodules", &harmless);
    bench.forge.push("site", "harmless");
    bench.sync().await.unwrap();
    assert!(bench.tree().join("vendor/lib/lib.txt").exists());

    // A symlink in place of `.gitmodules`.
    std::fs::remove_file(bench.forge.work("site").join(".gitmodules")).unwrap();
    std::os::unix::fs::symlink("vendor/lib/lib.txt", bench.forge.work("site").join(".gitmodules")).unwrap();
    bench.forge.git("site", &["add", ".gitmodules"]);
    bench.forge.push_index("site");
    let error = bench.sync().await.unwrap_err();
    assert!(error.kind().as_str() == "submodule" && error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn levels_and_numbers_have_an_end() {
    let bench = Bench::new(Submodules::Recursive, |_, _| {});
    let forge = &bench.forge;
    let listed = |path: &str, url: &str| format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    let head = |name: &str| forge.git(name, &["rev-parse", "HEAD"]);
    // The repository contains itself, each time at an older commit.
    for level in 0..17 {
        let inner = if level == 0 { "lib" } else { "deep" };
        forge.push_links("deep", &listed("in", &format!("../{inner}.git")), &[("in", &head(inner))]);
    }
    let fifteen = forge.git("deep", &["rev-parse", "HEAD~2"]);
    forge.push_links("site", &listed("in", "../deep.git"), &[("in", &fifteen)]);
    bench.sync().await.unwrap();
    assert!(bench.tree().join("in/".repeat(16)).join("lib.txt").exists());
    forge.push_links("site", &listed("in", "../deep.git"), &[("in", &head("deep"))]);
    let error = bench.sync().await.unwrap_err();
    assert!(error.kind().as_str() == "submodule" && error.to_string().contains("16 deep"), "{error:?}");

    let paths: Vec<String> = (0..1001).map(|number| format!("many/{number}")).collect();
    let all: String = paths.iter().map(|path| listed(path, "../lib.git")).collect();
    let lib = head("lib");
    let links: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), lib.as_str())).collect();
    forge.push_links("site", &all, &links);
    let error = bench.sync().await.unwrap_err();
    assert!(error.kind().as_str() == "submodule" && error.to_string().contains("1,000"), "{error:?}");
}

#[tokio::test]
async fn a_repository_on_this_machine_may_have_submodules_there() {
    let bench = Bench::new(Submodules::Recursive, |forge, _| {
        forge.add("lib", "deep", "deep", "../deep.git");
        forge.push("lib", "with a submodule");
        let lib = forge.bare("lib");
        forge.add("site", "lib", "lib", lib.to_str().unwrap());
    });
    let mut options = options(bench.forge.bare("site").to_str().unwrap());
    options.submodules = Submodules::Recursive;
    let bench = Bench { engine: Engine::new(options, bench.volume.store()), ..bench };
    let (modules, _) = bench.sync().await.unwrap();
    assert_eq!(modules.fetched.len(), 2);
    bench.forge.assert_cloned(bench.forge.bare("site").to_str().unwrap(), &bench.tree(), &[], RECURSE);
}

#[tokio::test]
async fn submodules_of_one_level_do_not_wait_for_each_other() {
    let other = Forge::new();
    other.make("slow");
    let slow = GitHttp::start(&other.root());
    let bench = Bench::new(Submodules::Recursive, |forge, _| {
        forge.add("site", "lib", "z", "../lib.git");
        forge.git("site", &["submodule", "add", "--quiet", other.bare("slow").to_str().unwrap(), "a"]);
        forge.set("site", "a", "url", &slow.url("slow.git"));
    });
    slow.set(Mode::Silent);
    let asked = |name: &str| bench.server.seen().iter().any(|seen| seen.target.starts_with(name));
    let fetching = bench.fetch();
    tokio::select! {
        ended = fetching => panic!("the first is silent: {ended:?}"),
        () = eventually(PATIENCE, || asked("/lib.git") && slow.requests() > 0) => {}
    }
    slow.set(Mode::Serve);
    let (modules, _) = bench.sync().await.unwrap();
    assert!(modules.fetched.iter().any(|(path, _)| path == "a"), "{modules:?}");
    bench.same_but(&[(&slow.url(""), &other.root())], RECURSE);
}
