//! The cost of an idle process: memory, processor time and wake-ups, and the size of the program.

use std::time::{Duration, Instant};

use crate::figures;
use crate::options::Options;
use crate::ours::{Ours, check, program};
use crate::process;
use crate::remote::Remote;

pub fn run(options: &Options) {
    let size = std::fs::metadata(program().get_program()).unwrap().len();
    println!(
        "one repository of 20,000 files synced over http, then nothing to do (`--period=1h`); the program has {size} bytes\n"
    );
    figures::head(&[
        "resident KiB",
        "of which its own",
        "most so far",
        "after 5 pushes",
        "threads",
        "wake-ups a minute",
        "processor ms a minute",
    ]);
    let mut remote = Remote::new(20_000);
    let ours = Ours::start(&remote, "root", &[]);
    ours.wait_for_spare(&remote.head, remote.files());
    // A minute after a publish the first sweep looks what is over its grace, and measures the trees; then there is nothing.
    std::thread::sleep(Duration::from_secs(if options.quick { 2 } else { 65 }));
    let pid = ours.sidecar.id();
    let [resident, own, most, threads] = ["VmRSS", "RssAnon", "VmHWM", "Threads"].map(|field| process::of(pid, field));
    assert!(resident > 0 && own > 0);
    let (wake_ups, cpu, started) = (process::wake_ups(pid), process::cpu_ms(pid), Instant::now());
    std::thread::sleep(Duration::from_secs(if options.quick { 10 } else { 60 }));
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let (wake_ups, cpu) = (process::wake_ups(pid) - wake_ups, process::cpu_ms(pid) - cpu);
    for _ in 0..5 {
        let (before, file) = remote.push(1);
        ours.publish(&remote, &before);
        check(&ours.link(), &file);
        ours.wait_for_spare(&remote.head, remote.files());
    }
    std::thread::sleep(Duration::from_secs(1));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let wake_ups = wake_ups as f64 / minutes;
    figures::row(&[
        resident.to_string(),
        own.to_string(),
        most.to_string(),
        process::of(pid, "VmRSS").to_string(),
        threads.to_string(),
        format!("{wake_ups:.0}"),
        format!("{:.1}", cpu / minutes),
    ]);
}
