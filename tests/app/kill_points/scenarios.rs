//! The paths that a sync may take, each with the volume it starts from. What they have in common is in `stage`.

use std::fs;
use std::time::{Duration, SystemTime};

use super::objects::{GONE, content, object_from_trees};
use super::stage::{Act, Stage};

/// Name, what it is about, and how its volume is prepared.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub prepare: fn() -> Stage,
    /// A flag that the build has to have; empty: none in particular.
    pub needs: &'static str,
}

const fn scenario(name: &'static str, about: &'static str, prepare: fn() -> Stage) -> Scenario {
    Scenario { name, about, prepare, needs: "" }
}

const fn with_flag(needs: &'static str, scenario: Scenario) -> Scenario {
    Scenario { needs, ..scenario }
}

pub const ALL: &[Scenario] = &[
    scenario("fresh", "an empty volume, --one-time", fresh),
    scenario("advance", "a later start, the remote went on", advance),
    scenario("spare", "a push that a spare tree is brought to", spare),
    scenario("start", "the sidecar's first start, until its spare is ready", start),
    scenario("adopt", "the sidecar's start on a volume with a tree, a spare and a new commit", adopt),
    scenario("forced", "a forced push to a spare", forced),
    scenario("pin", "pinned to an older commit", pin),
    scenario("unpin", "unpinned", unpin),
    scenario("pause", "paused", pause),
    scenario("sweep", "trees whose grace is over are removed", sweep),
    scenario("rotate", "a replaced tree that an app wrote into becomes the standby tree", rotate),
    scenario("once-sweep", "--one-time publishes, and removes trees whose grace is over before it ends", once_sweep),
    scenario("edited", "an edited published tree is put back", edited),
    scenario("removed", "a removed published tree is put back", removed),
    scenario("damaged-store", "a damaged store is fetched again", damaged_store),
    scenario("full", "a push to a spare with --durability full", full),
    scenario("full-fresh", "an empty volume with --durability full", full_fresh),
    scenario("history", "the history is rewritten because it is too long", history),
    scenario("deep", "the whole history, and modes for a group", deep),
    with_flag("--pre-publish-exechook-command", scenario("gate", "a push through a gate, with a hook after it", gate)),
    with_flag("--error-file", scenario("refused", "a gate that refuses a push once, told in the error file", refused)),
    with_flag("--git-gc", scenario("gc", "the store is compacted after a publish", gc)),
    with_flag("--git-gc", scenario("gc-sweep", "the store is compacted after a sweep", gc_sweep)),
    with_flag("--submodules", scenario("modules", "an empty volume and a submodule", modules)),
    with_flag("--submodules", scenario("modules-push", "a push that changes the submodule", modules_push)),
    with_flag("--sparse-checkout-file", scenario("sparse", "a push to a sparse tree", sparse)),
    with_flag("--worktree-git", scenario("worktree-git", "a push to a tree with a .git file", worktree_git)),
    with_flag("--worktree-git", scenario("worktree-git-sweep", "a tree with a .git file goes", worktree_git_sweep)),
    with_flag("--lfs", scenario("lfs", "a push that brings a new LFS object and a changed one", lfs)),
    with_flag(
        "--lfs",
        scenario("lfs-part", "a later start with halves of LFS objects, good, spoilt and unwanted", lfs_part),
    ),
    with_flag("--lfs", scenario("lfs-sweep", "a tree goes, and the LFS objects that only it needed", lfs_sweep)),
];

fn fresh() -> Stage {
    Stage::new(Act::Once)
}

fn advance() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.publish();
    stage.advance();
    stage
}

fn spare() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.settle();
    stage.advance();
    stage
}

fn start() -> Stage {
    Stage::new(Act::Start)
}

fn adopt() -> Stage {
    let mut stage = Stage::new(Act::Start);
    stage.settle();
    stage.advance();
    stage
}

fn forced() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.advance();
    stage.settle();
    let shown = stage.commits.pop().unwrap();
    stage.repo.write("d1/f5", "written anew\n");
    let commit = stage.repo.amend("instead");
    stage.repo.force_push();
    stage.commits = vec![shown, commit];
    stage
}

/// Two commits were published; the older one comes last in the list when it is what the link has to come to.
fn pin() -> Stage {
    let mut stage = Stage::new(Act::Pin);
    stage.settle();
    stage.advance();
    stage.settle();
    stage.commits.reverse();
    stage
}

fn unpin() -> Stage {
    let mut stage = pin();
    let pinned = stage.commits.last().unwrap().clone();
    let state = format!("{{\"schema\":1,\"paused_until\":null,\"pinned\":\"{pinned}\"}}");
    fs::write(stage.template().join(".pushsync/state.json"), state).unwrap();
    stage.settle();
    stage.commits.reverse();
    stage.act = Act::Unpin;
    stage
}

fn pause() -> Stage {
    let mut stage = Stage::new(Act::Pause);
    stage.settle();
    stage
}

fn sweep() -> Stage {
    let mut stage = Stage::new(Act::Start);
    stage.set("spare-trees", "0");
    stage.publish();
    stage.advance();
    stage.publish();
    // An exchanged tree, and what a crash and a half-done removal left.
    let trees = stage.template().join(".worktrees");
    let old = trees.join(&stage.commits[0]);
    for name in [".old-1-a", ".tmp-1-b", ".trash-1-c"] {
        let copied = std::process::Command::new("cp").arg("-a").arg(&old).arg(trees.join(name)).status().unwrap();
        assert!(copied.success());
    }
    let long_ago = SystemTime::from(pushsync::clock::Clock::real().now()) - Duration::from_secs(3600);
    for name in [".old-1-a", &stage.commits[0]] {
        fs::File::open(trees.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    stage.set("stale-worktree-timeout", "100ms");
    stage.doomed = vec![stage.commits[0].clone(), ".old-1-a".to_owned()];
    stage
}

fn rotate() -> Stage {
    let mut stage = Stage::new(Act::Start);
    stage.set("standby-trees", "0");
    stage.publish();
    stage.advance();
    stage.publish();
    let replaced = stage.template().join(".worktrees").join(&stage.commits[0]);
    fs::write(replaced.join("d0/f0"), "edited by an app\n").unwrap();
    fs::write(replaced.join("d1/added"), "by an app\n").unwrap();
    fs::remove_file(replaced.join("d2/f6")).unwrap();
    let long_ago = SystemTime::from(pushsync::clock::Clock::real().now()) - Duration::from_secs(3600);
    fs::File::open(replaced).unwrap().set_modified(long_ago).unwrap();
    stage.set("standby-trees", "1").set("stale-worktree-timeout", "100ms");
    stage.doomed = vec![stage.commits[0].clone()];
    stage
}

fn once_sweep() -> Stage {
    let mut stage = sweep();
    stage.act = Act::Once;
    stage.set("git-gc", "always");
    stage.advance();
    stage
}

fn edited() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.publish();
    stage.broken = true;
    fs::write(stage.template().join("current/d0/f0"), "edited by hand\n").unwrap();
    stage
}

fn removed() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.publish();
    stage.broken = true;
    fs::remove_dir_all(stage.template().join(".worktrees")).unwrap();
    stage
}

fn damaged_store() -> Stage {
    let stage = advance();
    let packs = stage.template().join(".pushsync/repo.git/objects/pack");
    for entry in fs::read_dir(packs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "pack" || ending == "idx") {
            fs::remove_file(path).unwrap();
        }
    }
    stage
}

fn full() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.set("durability", "full");
    stage.settle();
    stage.advance();
    stage
}

fn full_fresh() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.set("durability", "full");
    stage
}

fn history() -> Stage {
    let mut stage = advance();
    let path = stage.template().join(".pushsync/history.jsonl");
    let line = fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
    let id = serde_json::from_str::<serde_json::Value>(&line).unwrap()["id"].as_str().unwrap().to_owned();
    let lines: String = (0..40).map(|n| line.replacen(&id, &format!("{id}{n:03}"), 1) + "\n").collect();
    fs::write(&path, lines).unwrap();
    stage.set("history-limit", "10");
    stage
}

fn deep() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.set("depth", "0").set("group-write", "true");
    stage.advance();
    stage.publish();
    stage.advance();
    stage
}

fn gate() -> Stage {
    let mut stage = Stage::new(Act::Push);
    let gate = stage.program("gate", "test -f run.sh && test -L a-link");
    let after = stage.program("after", "test -f run.sh");
    stage.set("pre-publish-exechook-command", &gate).set("exechook-command", &after);
    stage.settle();
    stage.advance();
    stage
}

fn refused() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.settle();
    stage.advance();
    // It runs in `.worktrees/<commit>`.
    let gate = stage.program("gate", "test -e ../../refused || { touch ../../refused; exit 1; }");
    stage.set("pre-publish-exechook-command", &gate).set("pre-publish-exechook-backoff", "100ms");
    stage.set("error-file", "error.json").set("touch-file", "touched");
    stage.refuses = true;
    stage
}

/// Several packs, and trees of which only the newest is left.
fn gc() -> Stage {
    let mut stage = Stage::new(Act::Once);
    many_packs(&mut stage);
    stage.set("git-gc", "always");
    stage.advance();
    stage
}

fn gc_sweep() -> Stage {
    let mut stage = Stage::new(Act::Start);
    many_packs(&mut stage);
    stage.set("git-gc", "always").set("spare-trees", "0").set("stale-worktree-timeout", "100ms");
    stage.doomed = stage.commits[..stage.commits.len() - 1].to_vec();
    stage
}

fn many_packs(stage: &mut Stage) {
    stage.set("git-gc", "off");
    for _ in 0..3 {
        stage.publish();
        stage.advance();
    }
    stage.publish();
}

fn modules() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.set_module("one\n");
    stage.advance();
    stage.commits.remove(0);
    stage
}

fn modules_push() -> Stage {
    let mut stage = modules();
    stage.settle();
    stage.set_module("two and more\n");
    let commit = stage.repo.commit("another library");
    stage.repo.push();
    stage.commits.push(commit);
    stage.act = Act::Push;
    stage
}

fn sparse() -> Stage {
    let mut stage = Stage::new(Act::Push);
    let file = stage.folder.path().join("patterns");
    fs::write(&file, "/d0/\n/d1/\n/run.sh\n").unwrap();
    stage.set("sparse-checkout-file", &file.display().to_string());
    stage.only = vec!["d0", "d1", "run.sh"];
    stage.settle();
    stage.advance();
    stage
}

fn worktree_git() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.set("worktree-git", "true");
    stage.settle();
    stage.advance();
    stage
}

fn worktree_git_sweep() -> Stage {
    let mut stage = Stage::new(Act::Start);
    stage.set("worktree-git", "true").set("spare-trees", "0");
    stage.publish();
    stage.advance();
    stage.publish();
    stage.set("stale-worktree-timeout", "100ms");
    stage.doomed = vec![stage.commits[0].clone()];
    stage
}

fn lfs() -> Stage {
    let mut stage = Stage::new(Act::Push);
    stage.keep_objects();
    stage.settle();
    stage.advance_objects();
    stage
}

/// An earlier process was killed in the middle of two objects, one of which a loss of power spoilt, and of a third that no
/// commit needs any more.
fn lfs_part() -> Stage {
    let mut stage = Stage::new(Act::Once);
    stage.keep_objects();
    stage.publish();
    let [new, changed] = stage.advance_objects();
    stage.leave_part(&new, &new[..new.len() / 2]);
    stage.leave_part(&changed, &vec![0; changed.len() / 2]);
    stage.leave_part(b"nobody wants this any more", b"nobody wants");
    stage
}

fn lfs_sweep() -> Stage {
    let mut stage = Stage::new(Act::Start);
    stage.set("spare-trees", "0");
    stage.keep_objects();
    stage.publish();
    stage.advance_objects();
    stage.publish();
    stage.leave_part(b"nobody wants this any more", b"nobody wants");
    stage.set("stale-worktree-timeout", "100ms");
    stage.doomed = vec![stage.commits[0].clone(), object_from_trees(&content(GONE))];
    stage
}
