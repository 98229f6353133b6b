//! Pushes under the CPU limit of a small sidecar, beside `git fetch` under the same: one at a time, and in bursts.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::contestants::Git;
use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::{Ours, check, program};
use crate::remote::Remote;
use crate::support::control_group::Group;
use crate::support::repo::git_command;

/// 100m, as a small sidecar has.
const THOUSANDTHS: u32 = 100;

const SINGLES: usize = 15;
const BURSTS: usize = 5;
const BURST: usize = 10;

/// Longer than the grace of replaced trees, so that single pushes are in the steady state.
const GAP: Duration = Duration::from_secs(7);
const GRACE: &str = "--stale-worktree-timeout=4s";

pub fn run(options: &Options) {
    println!(
        "push -> published with a CPU limit of {THOUSANDTHS}m, {GRACE}: single pushes 7 s apart, and bursts of {BURST}, in \
         which the next push follows each publish. `git fetch` has the same limit; the server has none.\n"
    );
    figures::head(&[
        "files",
        "single",
        "git fetch",
        "single / fetch",
        "in a burst",
        "its first",
        "its last",
        "a whole burst",
    ]);
    for files in options.files_or(&[100, 20_000]) {
        let groups = (Group::of_cpu(THOUSANDTHS), Group::of_cpu(THOUSANDTHS));
        let (Some(ours), Some(gits)) = groups else { return };
        one(files, &ours, &gits, options);
    }
}

fn one(files: usize, group: &Group, of_git: &Group, options: &Options) {
    let mut remote = Remote::new(files);
    let git = Git::clone(&remote);
    let command = group.command(program().get_program());
    let ours = Ours::start_as(command, &remote, "root", &[&[GRACE][..], &options.flags()].concat());
    let push = |remote: &mut Remote| {
        let (before, file) = remote.push(1);
        let took = ours.publish(remote, &before);
        check(&ours.link(), &file);
        took
    };
    let (mut single, mut fetch) = (Series::default(), Series::default());
    let warm_up = 3;
    for round in 0..warm_up + options.rounds(SINGLES) {
        let due = Instant::now() + GAP;
        let took = push(&mut remote);
        let fetched = git.fetch_in(of_git, &remote);
        if round >= warm_up {
            single.add(took);
            fetch.add(fetched);
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (mut each, mut first, mut last, mut whole) = <(Series, Series, Series, Series)>::default();
    for _ in 0..options.rounds(BURSTS) {
        // The trees of the burst before take their turns again.
        std::thread::sleep(3 * GAP);
        let mut all = Duration::ZERO;
        for number in 1..=BURST {
            let took = push(&mut remote);
            all += took;
            each.add(took);
            if number == 1 {
                first.add(took);
            }
            if number == BURST {
                last.add(took);
            }
        }
        whole.add(all);
    }
    figures::row(&[
        files.to_string(),
        single.to_string(),
        fetch.to_string(),
        format!("{:.2}", single.median() / fetch.median()),
        each.to_string(),
        first.to_string(),
        last.to_string(),
        whole.to_string(),
    ]);
}

impl Git {
    /// A fetch by a program that has a limit. A shell puts it there, for less than a millisecond of processor time.
    fn fetch_in(&self, group: &Group, remote: &Remote) -> Duration {
        let git = git_command(remote.home());
        let mut command = group.command("git");
        command.env_clear().envs(git.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(Path::new(self.bare())).args(["fetch", "-q", "origin", "main:main"]);
        let started = Instant::now();
        assert!(command.status().unwrap().success(), "git fetch");
        started.elapsed()
    }
}
