//! kill -9 at every call that changes a file, one run for each: nothing torn, nothing lost, nothing left over.
//!
//! `scripts/kill-points` runs all of it; a sample is an ordinary test. docs/reliability.md says what it found.

mod check;
mod objects;
mod scenarios;
mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{on_ci, skip, tracer};
use check::Truth;
use scenarios::{ALL, Scenario};
use stage::{Act, Run, Stage};

/// Of so many kills one is followed by another push, to see that the store still takes one.
const PUSH_AFTER_EACH: usize = 4;

/// What a campaign over one scenario came to.
struct Outcome {
    points: usize,
    kills: usize,
    calls: BTreeMap<&'static str, usize>,
    /// Kill point and what was wrong.
    violations: Vec<(usize, String)>,
}

/// The points that CI takes, so that a failure there is no matter of luck.
const CI_SEED: u64 = 37;

/// How many points of each scenario a sample has.
const SAMPLE: usize = 3;

/// How many scenarios of a sample run at a time.
const AT_A_TIME: usize = 3;

#[test]
fn a_sample_of_the_kill_points_of_each_scenario_is_survived() {
    if let Err(why) = tracer::permitted() {
        return skip(&format!("ptrace, without which no kill point is reached: {why}"));
    }
    let given = std::env::var("KILL_SEED").ok().map(|text| text.parse().expect("KILL_SEED is a number"));
    let seed = given.unwrap_or_else(|| if on_ci() { CI_SEED } else { fastrand::u64(..) });
    println!("KILL_SEED={seed}");
    let flags = flags();
    let scenarios: Vec<_> = ALL.iter().filter(|scenario| flags.contains(scenario.needs)).collect();
    let next = AtomicUsize::new(0);
    // Most of a scenario is waiting for the program.
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = campaign(scenario, &Points::Sample { seed });
                    let name = scenario.name;
                    assert!(outcome.violations.is_empty(), "KILL_SEED={seed} {name}: {:?}", outcome.violations);
                    assert!(outcome.points > 5, "{name}: {} points", outcome.points);
                    assert!(outcome.kills > 0, "KILL_SEED={seed} {name}: no point was reached");
                    println!("{name}: {} of {} points", outcome.kills, outcome.points);
                }
            });
        }
    });
}

#[test]
#[ignore = "hundreds of kills for each scenario; scripts/kill-points runs it"]
fn every_kill_point_is_survived() {
    tracer::permitted().expect("ptrace is needed");
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let number = |name: &str| variable(name).map(|text| text.parse::<usize>().expect("a number"));
    let wanted: Vec<String> =
        variable("KILL_SCENARIOS").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    for name in &wanted {
        assert!(ALL.iter().any(|scenario| scenario.name == name), "no scenario is called {name}");
    }
    println!("{:14} | {:>6} | {:>6} | {:>12} | calls", "scenario", "points", "killed", "survived");
    let mut failed = false;
    let flags = flags();
    for scenario in ALL.iter().filter(|scenario| wanted.is_empty() || wanted.iter().any(|name| name == scenario.name)) {
        if !flags.contains(scenario.needs) {
            println!("{:14} | this build has no {}", scenario.name, scenario.needs);
            continue;
        }
        let points = number("KILL_AT").map_or(Points::Every(number("KILL_EVERY").unwrap_or(1)), Points::Only);
        let outcome = campaign(scenario, &points);
        let calls: Vec<_> = outcome.calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let survived = format!("{} of {}", outcome.kills - outcome.violations.len().min(outcome.kills), outcome.kills);
        println!(
            "{:14} | {:>6} | {:>6} | {survived:>12} | {}",
            scenario.name,
            outcome.points,
            outcome.kills,
            calls.join(", ")
        );
        println!("{:14} | {}", "", scenario.about);
        for (point, why) in &outcome.violations {
            failed = true;
            println!("VIOLATION in {} at {point}: {why}", scenario.name);
            println!("    replay: scripts/kill-points {} --at {point}", scenario.name);
        }
        if failed && variable("KILL_KEEP_GOING").is_none() {
            break;
        }
    }
    assert!(!failed, "see above");
}

/// The build's own words about its flags.
fn flags() -> String {
    let output = std::process::Command::new(stage::program()).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// At which calls of a scenario a campaign kills, counted from 1.
enum Points {
    /// At each n-th call, also past the last one that was counted: some runs make more calls than the one before.
    Every(usize),
    Only(usize),
    /// At a few calls, which follow from the seed and the scenario's name alone.
    Sample {
        seed: u64,
    },
}

impl Points {
    /// The points, given how many calls a run without a kill made.
    fn of(&self, scenario: &Scenario, counted: usize) -> Box<dyn Iterator<Item = usize>> {
        match *self {
            Self::Every(step) => Box::new((1..).step_by(step)),
            Self::Only(point) => Box::new(std::iter::once(point)),
            Self::Sample { seed } => {
                let name =
                    scenario.name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
                let mut random = fastrand::Rng::with_seed(name);
                let points: Vec<_> = (0..SAMPLE).map(|_| random.usize(1..=counted)).collect();
                Box::new(points.into_iter())
            }
        }
    }
}

/// Kills a scenario's program at each of the points, one run for each, and judges what is left.
fn campaign(scenario: &Scenario, points: &Points) -> Outcome {
    let alone = matches!(points, Points::Only(_));
    let mut stage = (scenario.prepare)();
    stage.prepare_next();
    let truth = Truth::of(&stage);
    let mut outcome = Outcome { points: 0, kills: 0, calls: BTreeMap::new(), violations: Vec::new() };
    let counted = stage.copy();
    let run = stage.run(counted.path(), None);
    for call in &run.report.calls {
        *outcome.calls.entry(call.name).or_default() += 1;
    }
    outcome.points = run.report.calls.len();
    if let Err(why) = judge(&stage, &truth, counted.path(), &run, false) {
        outcome.violations.push((0, why + "\n" + &stage.log()));
        return outcome;
    }
    if std::env::var_os("KILL_LIST").is_some() {
        for (number, call) in run.report.calls.iter().enumerate() {
            println!("{:5} {} {}", number + 1, call.name, call.path.display());
        }
    }
    drop(counted);
    // Threads and timers make some runs longer than others. A sample may not miss them all for that.
    let mut shortest = outcome.points;
    for point in points.of(scenario, outcome.points) {
        let point = if matches!(points, Points::Sample { .. }) { (point - 1) % shortest + 1 } else { point };
        let root = stage.copy();
        let run = stage.run(root.path(), Some(point));
        let beyond = !run.report.killed && run.fault.is_none();
        if !beyond {
            outcome.kills += usize::from(run.report.killed);
            let before_push = outcome.kills.is_multiple_of(PUSH_AFTER_EACH);
            if let Err(why) = judge(&stage, &truth, root.path(), &run, before_push || alone) {
                outcome.violations.push((point, keep(scenario, point, &stage, root.path(), &run, &why)));
                if std::env::var_os("KILL_KEEP_GOING").is_none() {
                    break;
                }
            }
        } else if matches!(points, Points::Sample { .. }) {
            shortest = shortest.min(run.report.calls.len()).max(1);
        } else if point >= outcome.points {
            break;
        }
    }
    outcome
}

/// What has to hold at once, after the next start, and after another push.
fn judge(stage: &Stage, truth: &Truth, root: &Path, run: &Run, another_push: bool) -> Result<(), String> {
    if let Some(fault) = &run.fault {
        return Err(fault.clone());
    }
    let at_once = truth.published(root);
    match (&at_once, check::named(root)) {
        (Ok(_), _) => {}
        (Err(_), None) if !stage.published => {}
        (Err(_), Some(_)) if stage.broken && is_as_before(stage, root) => {}
        (Err(why), _) => return Err(format!("right after the kill: {why}")),
    }
    truth.sound(root).map_err(|why| format!("right after the kill: {why}"))?;
    let told = check::history(root)?;
    let known = check::history(&stage.template())?;
    if let Some(lost) = known.iter().find(|id| !told.contains(id) && told.len() < known.len()) {
        let newest = known.len().saturating_sub(10);
        if known[newest..].contains(lost) {
            return Err(format!("right after the kill: record {lost} is lost"));
        }
    }
    let pinned = check::pinned(root)?;
    if run.accepted && stage.act == Act::Pin && pinned.is_none() {
        return Err("a pin was accepted and is forgotten".to_owned());
    }
    if run.accepted && stage.act == Act::Unpin && pinned.is_some() {
        return Err("an unpin was accepted and is forgotten".to_owned());
    }
    if stage.act == Act::Pause {
        // A paused volume is not synced; what it publishes is all there is to see.
        let _ = fs::remove_file(root.join(".pushsync/state.json"));
    }
    let goal = match (stage.act, pinned) {
        (Act::Pin | Act::Unpin, Some(commit)) => commit,
        (Act::Pin, None) => stage.commits[0].clone(),
        _ => stage.commits.last().cloned().unwrap_or_default(),
    };
    stage.restart(root)?;
    settled(stage, truth, root, &goal, &told)?;
    if another_push && !matches!(stage.act, Act::Pin | Act::Unpin) {
        push_again(stage, root)?;
    }
    Ok(())
}

/// What has to hold once a start has come to its end.
fn settled(stage: &Stage, truth: &Truth, root: &Path, goal: &str, told: &[String]) -> Result<(), String> {
    let after = |why: String| format!("after the next start: {why}");
    let commit = truth.published(root).map_err(after)?;
    if commit != goal {
        return Err(after(format!("{commit} is published instead of {goal}")));
    }
    let kept = check::history(root).map_err(after)?;
    if let Some(lost) = told.iter().rev().take(10).find(|id| !kept.contains(id)) {
        return Err(after(format!("record {lost} is lost")));
    }
    check::store(root).map_err(after)?;
    truth.sound(root).map_err(after)?;
    if !check::leftovers(truth, root).is_empty() {
        // The sidecar removes some while it runs.
        stage.live_until(root, || check::leftovers(truth, root).is_empty());
        truth.sound(root).map_err(after)?;
        let left = check::leftovers(truth, root);
        if !left.is_empty() {
            return Err(after(format!("left over for ever: {}", left.join(", "))));
        }
    }
    Ok(())
}

/// The remote goes on, and the volume has to follow. The remote is set back afterwards.
fn push_again(stage: &Stage, root: &Path) -> Result<(), String> {
    let after = |why: String| format!("at the next push: {why}");
    let head = stage.commits.last().cloned().unwrap_or_default();
    let commit = stage.next_commit();
    stage.repo.bare_git(&["update-ref", "refs/heads/main", &commit]);
    let restarted = stage.restart(root);
    stage.repo.bare_git(&["update-ref", "refs/heads/main", &head]);
    restarted.map_err(after)?;
    let named = check::named(root);
    if named.as_deref() != Some(&commit) {
        return Err(after(format!("{named:?} is published instead of {commit}")));
    }
    check::same(&stage.next_tree(), &root.join("current").join(".")).map_err(after)?;
    check::store(root).map_err(after)
}

/// A tree that was no good before may be as bad, not worse.
fn is_as_before(stage: &Stage, root: &Path) -> bool {
    let (before, now) = (stage.template().join("current").join("."), root.join("current").join("."));
    check::named(root) == check::named(&stage.template())
        && if before.exists() { check::same(&before, &now).is_ok() } else { !now.exists() }
}

/// Keeps the volume and the log of a violation for whoever looks into it, and says where.
fn keep(scenario: &Scenario, point: usize, stage: &Stage, root: &Path, run: &Run, why: &str) -> String {
    let calls = &run.report.calls;
    let last = calls.last().map(|call| format!("{} {}", call.name, call.path.display())).unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("kill-point-{}-{point}", scenario.name));
    let _ = fs::remove_dir_all(&folder);
    let _ = std::process::Command::new("cp").arg("-a").arg(root).arg(&folder).status();
    let list: Vec<_> = calls.iter().map(|call| format!("{} {}\n", call.name, call.path.display())).collect();
    let _ = fs::write(folder.join("calls.txt"), list.concat());
    let _ = fs::write(folder.join("next-start.log"), stage.log());
    format!("{why} (killed before `{last}`; the volume is kept in {})", folder.display())
}
