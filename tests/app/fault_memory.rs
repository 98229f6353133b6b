//! The rows of the fault matrix about memory: files that are larger than it, and packs that unfold to more than fits.

use std::io::Write as _;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest as _, Sha1};

use super::fault_limits::limited;
use super::fault_matrix::{newest, told};
use super::faults::Tmpfs;
use super::site::Site;
use crate::support::control_group::Group;
use crate::support::git_http::Mode;
use crate::support::{PATIENCE, eventually};

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

/// What unfolds.
#[derive(Clone, Copy, Debug)]
enum Bomb {
    /// A file of 16 MiB of zeros, and one that is made of it so many times: 17 KB.
    Copies(usize),
    /// A file of so many MiB of zeros, and one that is four bytes of it.
    Base(usize),
    /// A delta that is so many MiB long itself, and makes an eighth of that.
    Delta(usize),
}

/// Pushed as `main`.
fn push_bomb(site: &Site, bomb: Bomb) -> (String, usize) {
    const MOST: usize = 0xff_ffff;
    let (base, delta, times) = match bomb {
        Bomb::Copies(copies) => (MOST, [0xf0, 0xff, 0xff, 0xff].repeat(copies), copies * MOST),
        Bomb::Base(mebibytes) => (mebibytes << 20, vec![0x90, 4], 4),
        // One byte from the start, in the longest words.
        Bomb::Delta(mebibytes) => (MOST, [0xff, 0, 0, 0, 0, 1, 0, 0].repeat(mebibytes << 17), mebibytes << 17),
    };
    let delta = [variable(base, 0, 7), variable(times, 0, 7), delta].concat();
    let base = vec![0; base];
    // All of it is zeros.
    let zeros: Vec<&[u8]> = (0..times).step_by(MOST).map(|from| &base[..MOST.min(times - from)]).collect();
    let (base_name, bomb_name) = (name("blob", &[&base]), name("blob", &zeros));
    let tree = [b"100644 base\0".as_slice(), &base_name, b"100644 bomb\0", &bomb_name].concat();
    let hex = |name: [u8; 20]| name.map(|byte| format!("{byte:02x}")).concat();
    let who = "A <a@b.test> 1700000000 +0000";
    let (tree_name, parent) = (hex(name("tree", &[&tree])), site.repo.head());
    let commit = format!("tree {tree_name}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nunfold me: {bomb:?}\n");
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
    site.repo.write("a", format!("after {bomb}"));
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
    let (bomb, bytes) = push_bomb(&site, Bomb::Copies(8));
    assert_eq!(site.ring(&before, &bomb).await.status, 202);
    let record = told(&mut site, last, &before).await;
    println!("{bytes} bytes for 128 MiB: {:?}", record.error);
    assert_eq!(record.error.expect("told").kind, "disk_full");
    goes_on(&site, &bomb).await;
}

/// Each bomb is refused for want of memory by a process that lives on, and publishes the next push.
async fn survives(site: &mut Site, bombs: &[Bomb]) {
    let first = site.repo.head();
    site.wait_published(&first).await;
    for bomb in bombs {
        let (before, last) = (site.published().unwrap(), newest(&site.history().await));
        let (commit, bytes) = push_bomb(site, *bomb);
        assert_eq!(site.ring(&before, &commit).await.status, 202);
        let error = told(site, last, &before).await.error.expect("told");
        println!("{bomb:?}, {bytes} bytes: {error:?}");
        assert_eq!(error.kind, "out_of_memory", "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("memory limit")));
        goes_on(site, &commit).await;
    }
}

#[tokio::test]
async fn a_pack_that_unfolds_to_more_than_the_memory_is_told_and_survived() {
    let mut site = Site::new();
    site.set("spare-trees", "0").set("hook-rate", "0");
    let sidecar = limited(&site, "-d 131072");
    site.started(sidecar).await;
    survives(&mut site, &[Bomb::Copies(24)]).await;
}

/// The kernel ends whoever takes more than a container may; a limit of the process only refuses it.
async fn in_a_container(mode: Mode, bombs: &[Bomb]) {
    let Some(group) = Group::make(128 << 20) else { return };
    let mut site = Site::new();
    site.set("spare-trees", "0").set("hook-rate", "0");
    site.remote.set(mode);
    let sidecar = group.run(site.arguments());
    site.started(sidecar).await;
    survives(&mut site, bombs).await;
}

#[tokio::test]
async fn bombs_do_not_get_a_container_killed() {
    in_a_container(Mode::Serve, &[Bomb::Copies(24), Bomb::Base(160), Bomb::Delta(160), Bomb::Copies(200)]).await;
}

#[tokio::test]
async fn bombs_through_libgit2s_own_transport_do_not_get_a_container_killed() {
    in_a_container(Mode::OldProtocol, &[Bomb::Copies(24), Bomb::Base(160)]).await;
}

#[tokio::test]
async fn a_file_by_delta_that_fits_into_the_container_is_published() {
    // What the bound must not refuse: a file of 32 MiB, and a change in it, where there are 128 MiB.
    let Some(group) = Group::make(128 << 20) else { return };
    let mut site = Site::new();
    site.set("spare-trees", "0").set("hook-rate", "0");
    let mut content = vec![7; 32 << 20];
    let before = site.repo.push_file("large", &content, "a large file");
    let sidecar = group.run(site.arguments());
    site.started(sidecar).await;
    site.wait_published(&before).await;
    content[1000] = 8;
    let after = site.push_and_ring("large", std::str::from_utf8(&content).unwrap()).await;
    site.wait_published(&after).await;
    site.assert_whole(&after);
}
