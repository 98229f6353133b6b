//! A look that finds nothing, at a remote with 50,001 refs: requests, bytes, processor time, and how many a second.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::contestants::{Peer, git};
use crate::figures;
use crate::options::Options;
use crate::ours::{Ours, deliver, signed};
use crate::process;
use crate::remote::Remote;
use crate::support::repo::git_command;

const REFS: usize = 50_000;

pub fn run(options: &Options) {
    let remote = Remote::new(100);
    remote.add_refs(REFS);
    println!("a look that finds nothing new, {} refs\n", REFS + 1);
    figures::head(&[
        "who",
        "looks",
        "requests a look",
        "bytes down",
        "bytes up",
        "processor ms",
        "looks a second",
        "deliveries a look",
    ]);
    let none = AtomicUsize::new(0);
    let span = Duration::from_secs(if options.quick { 3 } else { 10 });
    {
        let ours = Ours::start(&remote, "polling", &["--period=10ms"]);
        std::thread::sleep(Duration::from_secs(1));
        let pid = ours.sidecar.id();
        watched("pushsync, every 10 ms", &remote, pid, span, &none);
        assert_eq!(process::children_ticks(pid), 0, "a look runs no program");
    }
    {
        let ours = Ours::start(&remote, "rung", &[]);
        let (request, hook) = (signed(&remote, &remote.head, &remote.head), ours.hook());
        let (over, rung) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| ring(&request, hook, &over, &rung));
            std::thread::sleep(Duration::from_secs(1));
            watched("pushsync, rung all the time", &remote, ours.sidecar.id(), span, &rung);
            over.store(true, Ordering::Relaxed);
        });
    }
    if let Some(program) = &options.peer {
        let peer = Peer::start(program, &remote, "10ms");
        std::thread::sleep(Duration::from_secs(1));
        watched("PEER (without the programs it runs)", &remote, peer.id(), span, &none);
    }
    let (url, times) = (remote.url(), options.rounds(15));
    let full = remote.at("full.git");
    git(remote.home(), &["clone", "-q", "--bare", &url, &full]);
    let pulled = remote.at("pulled");
    git(remote.home(), &["clone", "-q", "--single-branch", &url, &pulled]);
    counted(
        "git ls-remote URL refs/heads/main",
        &remote,
        times,
        &format!("git ls-remote -q {url} refs/heads/main >/dev/null"),
    );
    counted("git fetch origin main", &remote, times, &format!("git -C {full} fetch -q origin main"));
    counted("git pull, the tutorial's", &remote, times, &format!("git -C {pulled} pull -q"));
}

/// Rings for what is published already, one delivery after the other; those that meet a look are merged.
fn ring(request: &[u8], hook: SocketAddr, over: &AtomicBool, rung: &AtomicUsize) {
    while !over.load(Ordering::Relaxed) {
        assert_eq!(deliver(request, hook), 202);
        rung.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Measures a program that polls by itself, over some seconds.
fn watched(who: &str, remote: &Remote, pid: u32, span: Duration, rung: &AtomicUsize) {
    let rung_before = rung.load(Ordering::Relaxed);
    let (cpu, requests, wire, started) =
        (process::cpu_ms(pid), remote.http.requests(), remote.http.wire(), Instant::now());
    std::thread::sleep(span);
    let looks = remote.http.requests() - requests;
    let (cpu, after) = (process::cpu_ms(pid) - cpu, remote.http.wire());
    assert!(looks > 0, "{who} does not look");
    let rung = rung.load(Ordering::Relaxed) - rung_before;
    tell(who, (looks, looks, rung), (after.1 - wire.1, after.2 - wire.2), cpu, started.elapsed());
}

/// Measures a command including all programs that it runs.
fn counted(who: &str, remote: &Remote, times: usize, command: &str) {
    let environment = git_command(remote.home());
    let mut shell = Command::new("bash");
    shell.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script = format!("set -e; for i in $(seq {times}); do {command}; done; times");
    let (requests, wire, started) = (remote.http.requests(), remote.http.wire(), Instant::now());
    let output = shell.args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let cpu: f64 = text.lines().last().unwrap().split_whitespace().map(milliseconds).sum();
    let after = remote.http.wire();
    tell(who, (times, remote.http.requests() - requests, 0), (after.1 - wire.1, after.2 - wire.2), cpu, took);
}

/// bash's way to say it: `0m1.234s`.
fn milliseconds(text: &str) -> f64 {
    let (minutes, seconds) = text.trim_end_matches('s').split_once('m').unwrap();
    (minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()) * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn tell(who: &str, (looks, requests, rung): (usize, usize, usize), (up, down): (u64, u64), cpu: f64, took: Duration) {
    let count = looks as f64;
    figures::row(&[
        who.to_owned(),
        looks.to_string(),
        format!("{:.2}", requests as f64 / count),
        format!("{:.0}", down as f64 / count),
        format!("{:.0}", up as f64 / count),
        format!("{:.2}", cpu / count),
        format!("{:.0}", count / took.as_secs_f64()),
        format!("{:.1}", rung as f64 / count),
    ]);
}
