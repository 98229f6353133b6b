//! Push -> published: from the first byte of the signed webhook to the link that names the commit.

use std::time::Instant;

use crate::contestants::{Git, Loop, Peer};
use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::{Ours, check};
use crate::process;
use crate::remote::Remote;

/// The first rounds warm all caches.
const WARM_UP: usize = 2;
/// How many files a push changes, and how many rounds show it.
const CHANGED: [(usize, usize); 3] = [(1, 15), (100, 7), (10_000, 3)];

pub fn run(options: &Options) {
    println!(
        "push -> published. \"ready\": a standby tree is, as when pushes are seconds apart; \"at once\": the next push follows \
         each publish. Ratios are of \"ready\" to the faster fetch.\n"
    );
    figures::head(&[
        "files",
        "changed",
        "ready",
        "at once",
        "git fetch",
        "git fetch --depth 1",
        "git pull",
        "ready / fetch",
        "fetch + build + publish",
    ]);
    let mut trees = Vec::new();
    let (mut of_one_file, mut waits) = (Vec::new(), Vec::new());
    for files in options.files() {
        let mut remote = Remote::new(files);
        let ours = Ours::start(&remote, "root", &options.flags());
        let git = Git::clone(&remote);
        for (changed, rounds) in CHANGED.into_iter().filter(|(changed, _)| *changed <= files) {
            let ready = several(&mut remote, &ours, &git, changed, options.rounds(rounds));
            if changed == 1 {
                of_one_file.push((files, ready));
            }
        }
        trees.push((files, fresh(&mut remote, &git, options.rounds(5))));
        drop(ours);
        if waits.is_empty() {
            waits = polled(&mut remote, options);
        }
    }
    println!("\npush -> visible for who is not rung but looks every second: {}", waits.join("; "));
    if let ([(least, few), .., (most, many)], true) = (&of_one_file[..], of_one_file.len() > 1) {
        println!("\none changed file in {most} files / in {least} files: {:.2}, one after the other", many / few);
        in_turns([*least, *most], options);
    }
    println!(
        "\na whole tree, written because there is no standby tree (`--standby-trees=0`), beside `git worktree add`\n"
    );
    figures::head(&["files", "build", "git worktree add", "build / worktree add"]);
    for (files, (build, add)) in trees {
        figures::row(&[
            files.to_string(),
            build.to_string(),
            add.to_string(),
            format!("{:.2}", build.median() / add.median()),
        ]);
    }
}

fn several(remote: &mut Remote, ours: &Ours, git: &Git, changed: usize, rounds: usize) -> f64 {
    let mut times: [Series; 4] = Default::default();
    let (mut fetch, mut build, mut publish) = (Series::default(), Series::default(), Series::default());
    for round in 0..rounds + WARM_UP {
        ours.wait_for_spare(&remote.head, remote.files());
        let (before, file) = remote.push(changed);
        // The order changes from round to round, so that no contestant always finds the server's caches warm.
        for turn in 0..4 {
            let who = (turn + round) % 4;
            let took = match who {
                0 => ours.publish(remote, &before),
                1 => git.fetch(remote),
                2 => git.fetch_shallow(remote),
                _ => git.pull(remote, &file),
            };
            if round >= WARM_UP {
                times[who].add(took);
            }
        }
        check(&ours.link(), &file);
        let told = ours.told(&remote.head);
        if round >= WARM_UP {
            for (series, field) in [(&mut fetch, "fetch_ms"), (&mut build, "build_ms"), (&mut publish, "publish_ms")] {
                series.add(std::time::Duration::from_millis(told[field].as_u64().unwrap()));
            }
        }
    }
    let mut at_once = Series::default();
    for _ in 0..rounds.min(7) {
        let (before, file) = remote.push(changed);
        at_once.add(ours.publish(remote, &before));
        check(&ours.link(), &file);
    }
    let [ready, full, shallow, pull] = times;
    let ratio = ready.median() / full.median().min(shallow.median());
    let phases = format!("{:.0} + {:.0} + {:.0}", fetch.median(), build.median(), publish.median());
    let cells = [&ready, &at_once, &full, &shallow, &pull].map(ToString::to_string);
    let mut row = vec![remote.files().to_string(), changed.to_string()];
    row.extend(cells);
    row.extend([format!("{ratio:.2}"), phases]);
    figures::row(&row);
    ready.median()
}

/// One changed file in few files and in many, in turns, each behind a push to both. A machine that has just written a
/// large tree is slower for a while, whoever pushes next: that is the same for both here.
fn in_turns(sizes: [usize; 2], options: &Options) {
    let mut sites = sizes.map(|files| {
        let remote = Remote::new(files);
        let ours = Ours::start(&remote, "root", &options.flags());
        (remote, ours, Series::default())
    });
    let push = |remote: &mut Remote, ours: &Ours| {
        let (before, file) = remote.push(1);
        let took = ours.publish(remote, &before);
        check(&ours.link(), &file);
        took
    };
    // Before the first grace is over, if that can be: the sweep of a large tree is a burden for both, but gives way to one only.
    let rounds = options.rounds(9);
    for round in 0..2 * (rounds + WARM_UP) {
        // The order changes as well.
        let (first, second) = sites.split_at_mut(1);
        let mut both = [&mut first[0], &mut second[0]];
        both.rotate_left(round / 2 % 2);
        for (remote, ours, _) in both {
            push(remote, ours);
        }
        for (remote, ours, _) in &sites {
            ours.wait_for_spare(&remote.head, remote.files());
        }
        let (remote, ours, times) = &mut sites[round % 2];
        let took = push(remote, ours);
        if round >= 2 * WARM_UP {
            times.add(took);
        }
    }
    let [(_, _, few), (_, _, many)] = sites;
    println!(
        "one changed file in {} files / in {} files: {:.2}, in turns: {many} / {few}",
        sizes[1],
        sizes[0],
        many.median() / few.median()
    );
}

/// A tree from nothing, as the first one is, and as git makes one.
fn fresh(remote: &mut Remote, git: &Git, rounds: usize) -> (Series, Series) {
    let ours = Ours::start(remote, "fresh", &["--standby-trees=0"]);
    let (mut build, mut add) = (Series::default(), Series::default());
    for _ in 0..rounds {
        let (before, file) = remote.push(1);
        ours.publish(remote, &before);
        check(&ours.link(), &file);
        build.add(std::time::Duration::from_millis(ours.told(&remote.head)["build_ms"].as_u64().unwrap()));
        git.fetch(remote);
        add.add(git.worktree_add(remote, &file));
    }
    (build, add)
}

/// Who is not rung waits for his turn.
fn polled(remote: &mut Remote, options: &Options) -> Vec<String> {
    let shell = Loop::start(remote);
    let peer = options.peer.as_ref().map(|program| Peer::start(program, remote, "1s"));
    let (mut of_shell, mut of_peer) = (Series::default(), Series::default());
    for _ in 0..options.rounds(5) {
        // Anywhere in the second between two looks.
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(0..1000)));
        let (_, file) = remote.push(1);
        let since = Instant::now();
        let remote = &*remote;
        std::thread::scope(|scope| {
            let peer = peer.as_ref().map(|peer| scope.spawn(|| peer.wait(&remote.head, &file, since)));
            of_shell.add(shell.wait(&file, since));
            if let Some(peer) = peer {
                of_peer.add(peer.join().unwrap());
            }
        });
    }
    let mut lines = vec![format!("a shell loop around `git pull`: {of_shell}")];
    if let Some(peer) = &peer {
        lines.push(format!("PEER: {of_peer}, {} KiB resident", process::of(peer.id(), "VmRSS")));
    }
    lines
}
