//! A thousand signed deliveries a second to a sidecar that has one core to itself, while it syncs.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::{Ours, check, deliver, program, signed};
use crate::process;
use crate::remote::Remote;

const RATE: usize = 1000;
/// A forge opens a connection for each delivery; so many are open at a time.
const SENDERS: usize = 4;

pub fn run(options: &Options) {
    println!(
        "signed deliveries, {RATE} a second, then as many as there can be, each on a connection of its own, the sidecar bound to one core\n"
    );
    figures::head(&[
        "while",
        "answered",
        "a second",
        "p50",
        "p99",
        "most",
        "of its core",
        "pushes published meanwhile",
    ]);
    let seconds = if options.quick { 3 } else { 10 };
    let mut remote = Remote::new(20_000);
    // The senders, the remote and its programs stay off the core that the sidecar has.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    move_to(&format!("{}-{}", 1.min(cores - 1), cores - 1));
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(program().get_program());
    // Deliveries may cause as many looks as there can be.
    let ours = Ours::start_as(pinned, &remote, "root", &[]);
    ours.wait_for_spare(&remote.head, remote.files());
    for (who, busy, rate) in [
        ("replays are looked at", false, Some(RATE)),
        ("pushes are published", true, Some(RATE)),
        ("no contention", false, None),
    ] {
        let request = signed(&remote, &remote.head, &remote.head);
        let over = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let (request, hook, over) = (request.clone(), ours.hook(), over.clone());
                std::thread::spawn(move || send(&request, hook, number, rate, &over))
            })
            .collect();
        let (started, cpu, mut published) = (Instant::now(), process::cpu_ms(ours.sidecar.id()), 0);
        while started.elapsed() < Duration::from_secs(seconds) {
            if busy {
                let (before, file) = remote.push(1);
                ours.publish(&remote, &before);
                check(&ours.link(), &file);
                published += 1;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        let took = started.elapsed();
        let cpu = process::cpu_ms(ours.sidecar.id()) - cpu;
        let mut all = Series::default();
        for sender in senders {
            all.join(sender.join().unwrap());
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = all.len() as f64 / took.as_secs_f64();
        figures::row(&[
            who.to_owned(),
            all.len().to_string(),
            format!("{rate:.0}"),
            format!("{:.2}", all.median()),
            format!("{:.2}", all.quantile(0.99)),
            format!("{:.2}", all.quantile(1.0)),
            format!("{:.0} %", cpu / took.as_secs_f64() / 10.0),
            published.to_string(),
        ]);
    }
    move_to(&format!("0-{}", cores - 1));
}

/// Binds this process, all its threads and what it starts from now on.
fn move_to(cores: &str) {
    let moved =
        Command::new("taskset").args(["-a", "-p", "-c", cores, &std::process::id().to_string()]).output().unwrap();
    assert!(moved.status.success(), "taskset: {}", String::from_utf8_lossy(&moved.stderr));
}

/// Sends at its share of the rate, or one after the other. A delivery that is late counts from when it was due, as for
/// whoever waits for it.
fn send(request: &[u8], hook: SocketAddr, number: usize, rate: Option<usize>, over: &AtomicBool) -> Series {
    let mut series = Series::default();
    let second = Duration::from_secs(1) * u32::try_from(SENDERS).unwrap();
    let step = rate.map(|rate| second / u32::try_from(rate).unwrap());
    let first = step.unwrap_or_default() * u32::try_from(number).unwrap() / u32::try_from(SENDERS).unwrap();
    let mut due = Instant::now() + first;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_eq!(deliver(request, hook), 202);
        series.add(due.elapsed());
        due = step.map_or_else(Instant::now, |step| due + step);
    }
    series
}
