//! How fast pushsync is, beside what git itself and others need for the same, interleaved in one run.
//!
//! Ratios are what counts: absolute times belong to the machine. Whatever is measured is also checked to have happened; a
//! figure for something that did not is a panic, and the run fails.
#![allow(clippy::type_complexity, reason = "a table of parts")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its tables")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod clone;
mod contestants;
mod cost;
mod fan_out;
mod figures;
mod hook;
mod limit;
mod look;
mod memory;
mod options;
mod ours;
mod process;
mod push;
mod remote;
mod start;

use std::time::Instant;

use options::Options;

fn main() {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{}", options::USAGE);
            std::process::exit(2);
        }
    };
    let started = Instant::now();
    println!("{}", process::machine());
    println!("{}", process::command());
    for (name, run) in PARTS {
        if options.has(name) {
            eprintln!("[{:>4.0} s] {name}", started.elapsed().as_secs_f64());
            println!();
            run(&options);
        }
    }
    eprintln!("[{:>4.0} s] done", started.elapsed().as_secs_f64());
}

const PARTS: [(&str, fn(&Options)); options::PARTS.len()] = [
    ("push", push::run),
    ("clone", clone::run),
    ("look", look::run),
    ("hook", hook::run),
    ("fan-out", fan_out::run),
    ("start", start::run),
    ("memory", memory::run),
    ("cost", cost::run),
    ("limit", limit::run),
];
