//! Large bodies: what is refused early, what still rings, and what it costs.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::harness::*;

const MIB: usize = 1024 * 1024;

/// A push that is padded to `bytes`, with `repository` behind or before the padding.
fn padded(bytes: usize, repository_first: bool) -> String {
    let mut payload = payload();
    let repository = payload.as_object_mut().unwrap().remove("repository").unwrap();
    let text = payload.to_string();
    let fields = &text[1..text.len() - 1];
    let padding = format!("\"commits_\":\"{}\"", "x".repeat(bytes));
    if repository_first {
        format!("{{{fields},\"repository\":{repository},{padding}}}")
    } else {
        format!("{{{fields},{padding},\"repository\":{repository}}}")
    }
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_the_body() {
    let sidecar = Sidecar::new();
    let post = Post::push(&payload());
    let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
    stream.write_all((post.head() + "Content-Length: 26214401\r\n\r\n").as_bytes()).await.unwrap();
    // Not a byte of the body was sent.
    assert_eq!(read_answer(&mut stream).await.status, 413);
    assert_eq!(sidecar.metric("pushsync_webhook_deliveries_total{result=\"too_large\"}"), Some(1.0));

    // One byte less is asked for.
    let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
    let head = post.head() + "Content-Length: 26214400\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
}

#[tokio::test]
async fn chunks_that_grow_beyond_the_limit_are_refused_and_the_answer_is_not_lost() {
    let sidecar = Sidecar::new();
    let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
    let head = Post::push(&payload()).head() + "Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; MIB], b"\r\n"].concat();
    for _ in 0..28 {
        stream.write_all(&chunk).await.expect("read to the end");
    }
    assert_eq!(read_answer(&mut stream).await.status, 413);
    assert!(sidecar.rung().is_none());
}

#[tokio::test]
async fn an_unsigned_upload_gets_its_answer_and_no_reset() {
    let sidecar = Sidecar::new();
    let post = Post { body: vec![b'x'; 8 * MIB], ..Post::push(&payload()) };
    let unsigned = post.clone().with("X-Hub-Signature-256", "");
    assert_eq!(sidecar.post(&unsigned).await.status, 401, "before the body");
    assert_eq!(sidecar.post(&post).await.status, 401, "after the body");
}

#[tokio::test]
async fn a_large_push_rings_with_what_could_be_read() {
    let sidecar = Sidecar::new();
    // Larger than what is kept; the fields that matter come early.
    let answer = sidecar.post(&Post::new("push", padded(3 * MIB, true))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(sidecar.rung().unwrap().newest_announced().unwrap().to_string(), COMMIT);
    // The repository comes too late to be read: a needless look is cheap, a lost push is not.
    let answer = sidecar.post(&Post::new("push", padded(3 * MIB, false))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.reason().contains("too large to be read"), "{answer:?}");
    assert!(sidecar.rung().is_some());
    // As a form, cut in the middle of the encoding.
    let body: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &padded(2 * MIB, true).replace("xxx", "ö%x"))
        .finish();
    let form = Post::new("push", body).with("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(sidecar.post(&form).await.status, 202);
    assert_eq!(sidecar.rung().unwrap().newest_announced().unwrap().to_string(), COMMIT);

    // The fields that were read are still compared: another ref is ignored, however much follows.
    let other = padded(3 * MIB, true).replace("refs/heads/main", "refs/heads/dev");
    assert_eq!(sidecar.post(&Post::new("push", other)).await.status, 200);
    // And a body just within what is kept is judged in full.
    let mut wrong = payload();
    wrong["x"] = json!("y".repeat(MIB / 2));
    wrong["repository"]["clone_url"] = json!("https://github.com/evil/site.git");
    wrong["repository"]["ssh_url"] = json!("git@github.com:evil/site.git");
    assert_eq!(sidecar.post(&Post::push(&wrong)).await.status, 200);
    assert!(sidecar.rung().is_none());
}

/// Set in the child process that has this test to itself.
const ALONE: &str = "PUSHSYNC_TEST_ALONE";

/// Runs one test of this file in a process of its own, because memory is a process's.
fn alone(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(test);
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("server::large::{name}"), "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    println!("{told}");
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
    assert!(told.contains("peak RSS"), "the test did not run: {told}");
}

fn assert_peak_below_64_mib(what: &str) {
    let peak = resident("VmHWM:");
    println!("{what}: peak RSS {peak} KiB, clients included");
    assert!(peak < 64 * 1024, "{peak} KiB");
}

#[test]
fn the_largest_pushes_all_at_once_ring_within_64_mib() {
    alone("the_largest_pushes_all_at_once_ring_within_64_mib", thirty_two_pushes());
}

#[test]
fn unauthenticated_slow_large_bodies_cost_little_and_delay_no_other_client() {
    alone("unauthenticated_slow_large_bodies_cost_little_and_delay_no_other_client", three_hundred_strangers());
}

async fn three_hundred_strangers() {
    let mut setup = Setup::default();
    setup.limits.hook.body = 10 * PATIENCE;
    setup.limits.hook.crowded_out_after = None;
    let sidecar = setup.start();
    let wrong = format!("sha256={}", "0".repeat(64));
    let head = Post::push(&payload()).with("X-Hub-Signature-256", &wrong).with("Content-Length", "26214400").head();
    let chunk = vec![b'x'; 64 * 1024];
    let mut strangers = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(sidecar.hook()).await.unwrap();
        stream.write_all((head.clone() + "\r\n").as_bytes()).await.unwrap();
        for _ in 0..32 {
            stream.write_all(&chunk).await.unwrap();
        }
        strangers.push(stream);
    }
    let started = std::time::Instant::now();
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    println!("a good push among them: {} ms", started.elapsed().as_millis());
    // It was read in full although the strangers hold what all bodies share.
    assert_eq!(sidecar.rung().unwrap().newest_announced().unwrap().to_string(), COMMIT);
    assert_peak_below_64_mib("300 strangers with 2 MiB each");
}

async fn thirty_two_pushes() {
    let mut setup = Setup::default();
    // This is about memory; an unoptimised build on a busy machine hashes slowly.
    setup.limits.hook.body = 10 * PATIENCE;
    setup.limits.hook.crowded_out_after = None;
    let sidecar = setup.start();
    let text = payload().to_string();
    let start = std::sync::Arc::new(format!("{},\"padding\":\"", &text[..text.len() - 1]));
    let padding = std::sync::Arc::new(vec![b'x'; 64 * 1024]);
    let rounds = 24 * MIB / padding.len();
    let mut signer = pushsync::signature::Signer::new(&pushsync::secret::Secret::new(SECRET));
    signer.update(start.as_bytes());
    (0..rounds).for_each(|_| signer.update(&padding));
    signer.update(b"\"}");
    let length = start.len() + rounds * padding.len() + 2;
    let head = Post::new("push", "").with("X-Hub-Signature-256", &signer.header()).head();
    let head = std::sync::Arc::new(format!("{head}Content-Length: {length}\r\n\r\n"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (address, head, start, padding) = (sidecar.hook(), head.clone(), start.clone(), padding.clone());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            for _ in 0..rounds {
                stream.write_all(&padding).await.unwrap();
            }
            stream.write_all(b"\"}").await.unwrap();
            read_answer(&mut stream).await.status
        });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 202);
    }
    let rung = sidecar.rung().unwrap();
    assert_eq!((rung.trigger.merged, rung.newest_announced().unwrap().to_string().as_str()), (32, COMMIT));
    assert_peak_below_64_mib("32 bodies of 24 MiB at once");
}

/// In KiB; 0 where there is no /proc.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
