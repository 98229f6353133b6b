//! Servers with false responses in protocol v2: each has its own error, costs no store and no thread, and syncing
//! continues.

use std::time::Duration;

use pushsync::git::{Engine, Error, Want};

use super::{Volume, oid, options, short, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

fn line(data: &[u8]) -> Vec<u8> {
    [format!("{:04x}", data.len() + 4).as_bytes(), data].concat()
}

/// A response to `fetch` with this pack, cut at any point.
fn answer(pack: &[u8]) -> Vec<u8> {
    let mut answer = line(b"packfile\n");
    for part in pack.chunks(1000) {
        answer.extend(line(&[&[1], part].concat()));
    }
    answer
}

fn whole(pack: &[u8]) -> Vec<u8> {
    [answer(pack).as_slice(), b"0000"].concat()
}

/// A pack with exactly these objects of the remote.
pub(super) fn pack(repo: &Repo, objects: &[&str]) -> Vec<u8> {
    use std::io::Write as _;
    let mut command = crate::support::repo::git_command(&repo.root());
    let mut child = command
        .current_dir(repo.bare())
        .args(["pack-objects", "--stdout", "--quiet"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(objects.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

async fn lied_to(engine: &Engine, server: &GitHttp, command: &'static str, answer: Vec<u8>) -> Error {
    server.set(Mode::Lie { command, answer, endless: Vec::new() });
    let error = sync(engine).await.unwrap_err();
    server.set(Mode::Serve);
    error
}

#[tokio::test]
async fn false_packs_are_detected_and_leave_the_store_unchanged() {
    let repo = Repo::new();
    let first = repo.head();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    synced(&engine, &first, "one").await;
    let shallow = std::fs::read(engine.store().join("shallow")).ok();
    let second = repo.push_file("index.html", "two\n", "Second");
    let of = |what: &str| repo.git(&["rev-parse", &format!("{second}{what}")]);
    let (tree, blob) = (of("^{tree}"), of(":index.html"));
    let good = pack(&repo, &[&second, &tree, &blob]);
    let ended_early = |cut: usize| whole(&good[..cut]);
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    let boundary = [line(b"shallow-info\n"), line(b"shallow 1234\n"), b"0001".to_vec(), whole(&good)].concat();
    let lies: Vec<(&str, Vec<u8>)> = vec![
        ("another commit", whole(&pack(&repo, &[&first]))),
        ("a commit without its tree", whole(&pack(&repo, &[&second]))),
        ("a tree without its file", whole(&pack(&repo, &[&second, &tree]))),
        ("a pack that ends early", ended_early(good.len() / 2)),
        ("a pack without its last byte", ended_early(good.len() - 1)),
        ("nothing but a head", ended_early(12)),
        ("no pack in the pack", whole(b"")),
        ("no objects", whole(&pack(&repo, &[]))),
        ("a wrong checksum", whole(&changed)),
        ("no pack at all", whole(b"this is no pack, is it?")),
        ("an answer that just stops", answer(&good[..good.len() - 1])),
        ("an answer that stops within a packet", whole(&good)[..60].to_vec()),
        ("garbage for a packet", b"zzzz this is no packet".to_vec()),
        ("garbage in the middle", [answer(&good[..40]).as_slice(), b"-001"].concat()),
        (
            "a packet that is too long",
            [answer(&good[..20]).as_slice(), b"ffff", vec![b'x'; 70_000].as_slice()].concat(),
        ),
        ("a band that is none", [line(b"packfile\n"), line(b"\x09data"), b"0000".to_vec()].concat()),
        ("a section within the pack", [answer(&good[..40]).as_slice(), b"0001"].concat()),
        ("a section that is none", [line(b"surprise\n"), whole(&good)].concat()),
        ("a boundary that is none", boundary),
        ("nothing", Vec::new()),
    ];
    for (name, lie) in lies {
        // An engine without any state about the server.
        let engine = volume.engine(engine.options().clone());
        let error = lied_to(&engine, &server, "command=fetch", lie).await;
        assert_eq!(error.kind().as_str(), "protocol", "{name}: {error:?}");
        assert!(!error.store_is_damaged(), "{name}");
        assert_eq!(super::git(engine.store(), &["rev-parse", "refs/pushsync/head"]), first, "{name}");
        assert_eq!(std::fs::read(engine.store().join("shallow")).ok(), shallow, "{name}");
    }
    for words in [b"\x03out of memory".as_slice(), b"ERR go away"] {
        let lie = if words[0] == 3 { [line(b"packfile\n"), line(words)].concat() } else { line(words) };
        let error = lied_to(&volume.engine(engine.options().clone()), &server, "command=fetch", lie).await;
        assert_eq!(error.kind().as_str(), "server_error", "{error:?}");
    }
    // One of the responses brought half of the commit; the real one is fetched all the same.
    synced(&engine, &second, "two").await;
    let third = repo.push_file("index.html", "three\n", "Third");
    synced(&engine, &third, "three").await;
    assert!(
        std::fs::read_dir(engine.store().join("objects/pack"))
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("pack_git2_") })
    );
}

/// A pack shows its own end: a server that is slow to end its response, or never does, delays no push.
#[tokio::test]
async fn the_rest_of_a_response_after_the_pack_is_not_waited_for() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    synced(&engine, &repo.head(), "one").await;
    for (number, behind) in [b"".as_slice(), b"-001", b"0001", b"zzzz"].into_iter().enumerate() {
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Next");
        let of = |what: &str| repo.git(&["rev-parse", &format!("{commit}{what}")]);
        let good = pack(&repo, &[&commit, &of("^{tree}"), &of(":index.html")]);
        let answer = [answer(&good).as_slice(), behind].concat();
        server.set(Mode::Lie { command: "command=fetch", answer, endless: Vec::new() });
        synced(&engine, &commit, page.trim_end()).await;
        server.set(Mode::Serve);
    }
    // The last four bytes of a real response, which mark its end, never arrive.
    let commit = repo.push_file("index.html", "last\n", "Last");
    let third = Volume::new();
    server.set(Mode::NoGoodbye);
    let started = std::time::Instant::now();
    synced(&third.engine(options(&server.url("site.git"))), &commit, "last").await;
    let took = started.elapsed();
    // Waits for the usual time, which shows that the end did not arrive, and no longer.
    assert!((Duration::from_millis(200)..Duration::from_secs(20)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn lies_about_refs_fall_back_to_what_libgit2_makes_of_the_server() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let huge = [b"ffff".as_slice(), vec![b'x'; 70_000].as_slice()].concat();
    let short_hash = [line(b"1234 HEAD\n"), b"0000".to_vec()].concat();
    for lie in [b"zzzz".to_vec(), huge, short_hash, b"0001".to_vec(), Vec::new(), line(b"HEAD"), line(b"ERR no")] {
        let shown = String::from_utf8_lossy(&lie[..lie.len().min(20)]).into_owned();
        let engine = volume.engine(engine.options().clone());
        let error = lied_to(&engine, &server, "command=ls-refs", lie).await;
        assert!(["protocol", "server_error"].contains(&error.kind().as_str()), "{shown}: {error:?}");
        synced(&engine, &repo.head(), "one").await;
    }
}

#[tokio::test]
async fn a_server_whose_version_2_is_broken_is_left_to_libgit2() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    for command in ["command=fetch", "command=ls-refs"] {
        let commit = repo.push_file("index.html", command, "Next");
        server.set(Mode::Lie { command, answer: b"zzzz".to_vec(), endless: Vec::new() });
        assert_eq!(sync(&engine).await.unwrap_err().kind().as_str(), "protocol");
        synced(&engine, &commit, command).await;
        assert!(server.seen().last().unwrap().protocol.is_none(), "by libgit2");
        // Until a failure: then all request modes are tried again.
        server.set(Mode::Status(500));
        engine.ls_remote().await.unwrap_err();
        server.set(Mode::Serve);
        engine.ls_remote().await.unwrap();
        assert!(server.seen().last().unwrap().protocol.is_some());
    }
}

#[tokio::test]
async fn packets_without_end_are_given_up_and_leave_no_thread_behind() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let look = engine.ls_remote().await.unwrap();
    let hasty = volume.engine(short(Duration::from_millis(300), options(&server.url("site.git"))));
    let (answer, endless) = (line(b"packfile\n"), line(b"\x01").repeat(1000));
    server.set(Mode::Lie { command: "command=fetch", answer, endless });
    let error = hasty.fetch(Want::Seen(look.clone())).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "timeout", "{error:?}");
    // More attempts than threads may be alive: if each left one behind, this would end with another error.
    server.set(Mode::StallAfter(150));
    for _ in 0..40 {
        let error = hasty.fetch(Want::Seen(look.clone())).await.unwrap_err();
        assert_eq!(error.kind().as_str(), "timeout", "{error:?}");
    }
    server.set(Mode::Serve);
    synced(&engine, &repo.head(), "one").await;
    assert_eq!(look.commit, oid(&repo.head()));
}
