//! The rows of the fault matrix about limits of the process: descriptors, memory, and packs that unfold to more than fits.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pushsync::api::Outcome;
use sha1::{Digest as _, Sha1};

use super::fault_matrix::{newest, told};
use super::faults::Tmpfs;
use super::site::Site;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// Runs the program under a limit of the shell's `ulimit`.
fn limited(site: &Site, limit: &str) -> Sidecar {
    let mut command = Command::new("sh");
    command.args(["-c", &format!(r#"ulimit {limit} && exec "$0" "$@""#), env!("CARGO_BIN_EXE_pushsync")]);
    command.args(site.arguments());
    Sidecar::spawn(command)
}

#[tokio::test]
async fn forty_descriptors_are_enough() {
    let mut site = Site::new();
    let sidecar = limited(&site, "-n 40");
    site.started(sidecar).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    for number in 0..12 {
        let commit = site.push_and_ring("a", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    assert!(site.history().await.iter().all(|record| record.outcome != Outcome::Failed));
}

#[tokio::test]
async fn when_others_hold_all_descriptors_it_lives_and_goes_on_once_they_let_go() {
    let mut site = Site::new();
    site.set("period", "1s");
    let sidecar = limited(&site, "-n 40");
    site.started(sidecar).await;
    let before = site.repo.head();
    site.wait_published(&before).await;
    let address = site.hook().trim_start_matches("http://").trim_end_matches("/webhook").to_owned();
    // The kernel's queue takes what the process cannot.
    let held: Vec<TcpStream> = (0..60).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", site.sidecar.as_ref().unwrap().id())).unwrap().count();
    eventually(PATIENCE, || open() >= 38).await;
    let after = site.repo.push_file("a", "2", "nobody can ring");
    let stop = Instant::now() + Duration::from_secs(3);
    while Instant::now() < stop {
        let live = site.published().expect("the link is there");
        assert!(live == before || live == after, "{live}");
        site.assert_whole(&live);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(site.sidecar().is_running());
    drop(held);
    site.wait_published(&after).await;
    site.assert_whole(&after);
    for record in site.history().await {
        println!("{:?} {:?}", record.outcome, record.error);
        assert!(
            record.error.is_none_or(|error| !error.message.contains("damaged")),
            "no reason to throw the store away"
        );
    }
}

/// Content that does not compress, of this many bytes.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    fastrand::Rng::with_seed(7).fill(&mut noise);
    noise
}

#[tokio::test]
async fn a_file_that_is_larger_than_the_memory_is_cloned_and_published() {
    let mut site = Site::new();
    // Noise does not get shorter, however long git tries.
    site.repo.git(&["config", "core.compression", "0"]);
    site.repo.bare_git(&["config", "core.compression", "0"]);
    site.repo.push_file("large", noise(150 << 20), "a large file");
    site.set("spare-trees", "0");
    let sidecar = limited(&site, "-d 131072");
    site.started(sidecar).await;
    let head = site.repo.head();
    eventually(PATIENCE * 5, || site.published().as_deref() == Some(&head)).await;
    site.assert_whole(&head);
    let small = site.push_and_ring("a", "2").await;
    site.wait_published(&small).await;
}

fn variable(mut number: usize, mut first: u8, mut bits: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & ((1 << bits) - 1)).unwrap() | first;
        number >>= bits;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
        (first, bits) = (0, 7);
    }
}

fn name(kind: &str, parts: &[&[u8]]) -> [u8; 20] {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut hash = Sha1::new();
    hash.update(format!("{kind} {length}\0"));
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn entry(pack: &mut Vec<u8>, kind: u8, base: Option<[u8; 20]>, content: &[u8]) {
    pack.extend(variable(content.len(), kind << 4, 4));
    pack.extend(base.into_iter().flatten());
    let mut deflate = ZlibEncoder::new(pack, Compression::best());
    deflate.write_all(content).unwrap();
    deflate.finish().unwrap();
}

/// A pack of some 17 KB: a file of 16 MiB of zeros, and one that is made of it `copies` times. Pushed as `main`.
fn push_bomb(site: &Site, copies: usize) -> (String, usize) {
    const MOST: usize = 0xff_ffff;
    let base = vec![0; MOST];
    let (base_name, bomb_name) = (name("blob", &[&base]), name("blob", &vec![base.as_slice(); copies]));
    let delta = [variable(MOST, 0, 7), variable(MOST * copies, 0, 7), [0xf0, 0xff, 0xff, 0xff].repeat(copies)].concat();
    let tree = [b"100644 base\0".as_slice(), &base_name, b"100644 bomb\0", &bomb_name].concat();
    let hex = |name: [u8; 20]| name.map(|byte| format!("{byte:02x}")).concat();
    let who = "A <a@b.test> 1700000000 +0000";
    let (tree_name, parent) = (hex(name("tree", &[&tree])), site.repo.head());
    let commit = format!("tree {tree_name}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nunfold me\n");
    let mut pack = [b"PACK".as_slice(), &[0, 0, 0, 2, 0, 0, 0, 4]].concat();
    entry(&mut pack, 1, None, commit.as_bytes());
    entry(&mut pack, 2, None, &tree);
    entry(&mut pack, 3, None, &base);
    entry(&mut pack, 7, Some(base_name), &delta);
    let sum = Sha1::digest(&pack);
    pack.extend(sum);
    let mut index = Command::new("git");
    index.current_dir(site.repo.bare()).args(["index-pack", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut index = index.spawn().unwrap();
    index.stdin.take().unwrap().write_all(&pack).unwrap();
    assert!(index.wait().unwrap().success());
    let commit = hex(name("commit", &[commit.as_bytes()]));
    site.repo.bare_git(&["update-ref", "refs/heads/main", &commit]);
    (commit, pack.len())
}

/// After a bomb: a push without it is published.
async fn goes_on(site: &Site, bomb: &str) {
    site.repo.write("a", "after the bomb");
    let after = site.repo.commit("without it");
    site.repo.force_push();
    assert_eq!(site.ring(bomb, &after).await.status, 202);
    eventually(PATIENCE * 2, || site.published().as_deref() == Some(&after)).await;
    site.assert_whole(&after);
}

#[tokio::test]
async fn a_pack_that_unfolds_to_more_than_the_disk_is_told_and_survived() {
    let mut site = Site::new();
    site.set("spare-trees", "0");
    let Some(_volume) = Tmpfs::mount(&site.root(), "size=48m") else { return };
    site.start_in_sync().await;
    let (before, last) = (site.repo.head(), newest(&site.history().await));
    let (bomb, bytes) = push_bomb(&site, 8);
    assert_eq!(site.ring(&before, &bomb).await.status, 202);
    let record = told(&mut site, last, &before).await;
    println!("{bytes} bytes for 128 MiB: {:?}", record.error);
    assert_eq!(record.error.expect("told").kind, "disk_full");
    goes_on(&site, &bomb).await;
}

#[tokio::test]
async fn a_pack_that_unfolds_to_more_than_the_memory_is_told_and_survived() {
    let mut site = Site::new();
    site.set("spare-trees", "0");
    let sidecar = limited(&site, "-d 131072");
    site.started(sidecar).await;
    let (before, last) = (site.repo.head(), newest(&site.history().await));
    site.wait_published(&before).await;
    let (bomb, bytes) = push_bomb(&site, 24);
    assert_eq!(site.ring(&before, &bomb).await.status, 202);
    let record = told(&mut site, last, &before).await;
    println!("{bytes} bytes for 384 MiB: {:?}", record.error);
    assert!(record.error.expect("told").message.contains("Out of memory"));
    goes_on(&site, &bomb).await;
}
