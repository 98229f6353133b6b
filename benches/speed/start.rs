//! A start on a volume that an earlier process left: from the first instruction to the probe that says ready, and to the
//! look that says nothing changed. Neither may depend on how many files there are.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::{Ours, PATIENCE};
use crate::process;
use crate::remote::Remote;

pub fn run(options: &Options) {
    println!("a start on a volume where nothing changed: until `/readyz` is 200, and until the first look is over\n");
    figures::head(&["files", "ready", "looked at", "processor ms until ready"]);
    for files in options.files() {
        let remote = Remote::new(files);
        let (mut ready, mut looked, mut cpu) = (Series::default(), Series::default(), Series::default());
        // What is there after the first one is as any process leaves it: a tree, its spare, both written through.
        {
            let ours = Ours::start(&remote, "root", &[]);
            ours.wait_for_spare(&remote.head, remote.files());
            std::thread::sleep(Duration::from_secs(1));
        }
        for _ in 0..options.rounds(9) {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let requests = remote.http.requests();
            let started = Instant::now();
            let ours = Ours::spawn(&remote, "root", &["--period=1h", &format!("--http-bind={address}")]);
            while !is_ready(address) {
                assert!(started.elapsed() < PATIENCE, "it is not ready: {:#?}", ours.log());
                std::thread::sleep(Duration::from_micros(100));
            }
            ready.add(started.elapsed());
            cpu.add(Duration::from_secs_f64(process::cpu_ms(ours.id()) / 1000.0));
            while remote.http.requests() == requests {
                assert!(started.elapsed() < PATIENCE, "it does not look: {:#?}", ours.log());
                std::thread::sleep(Duration::from_micros(100));
            }
            looked.add(started.elapsed());
            assert_eq!(
                std::fs::read_link(format!("{}/current", remote.at("root"))).unwrap().file_name().unwrap(),
                &*remote.head
            );
        }
        figures::row(&[files.to_string(), ready.to_string(), looked.to_string(), cpu.to_string()]);
    }
}

/// Asks the probe as the kubelet does.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = TcpStream::connect(address) else { return false };
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200")
}
