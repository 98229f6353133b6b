//! One webhook, eight replicas: until the last of them has the commit.

use std::net::{SocketAddr, TcpListener};

use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::{Ours, check, program};
use crate::remote::Remote;

const REPLICAS: u8 = 8;

pub fn run(options: &Options) {
    println!("one webhook to one of {REPLICAS} replicas on this machine, until it and until all of them publish\n");
    figures::head(&["files", "the one that was rung", "all of them"]);
    let mut remote = Remote::new(100);
    let first = SocketAddr::from(([127, 0, 76, 1], 0));
    let port = TcpListener::bind(first).unwrap().local_addr().unwrap().port();
    let names: Vec<String> = (1..=REPLICAS).map(|number| format!("127.0.76.{number}:{port}")).collect();
    let replicas: Vec<Ours> = names
        .iter()
        .map(|name| {
            let (hook, peers) = (format!("--hook-bind={name}"), format!("--peers={}", names.join(",")));
            Ours::start_as(program(), &remote, &format!("root-{name}"), &[&hook, &peers])
        })
        .collect();
    let (mut one, mut all) = (Series::default(), Series::default());
    for _ in 0..options.rounds(9) {
        for replica in &replicas {
            replica.wait_for_spare(&remote.head, remote.files());
        }
        let (before, file) = remote.push(1);
        let started = std::time::Instant::now();
        one.add(replicas[0].publish(&remote, &before));
        for replica in &replicas {
            replica.wait(&remote.head);
        }
        all.add(started.elapsed());
        for replica in &replicas {
            check(&replica.link(), &file);
        }
    }
    figures::row(&[remote.files().to_string(), one.to_string(), all.to_string()]);
}
