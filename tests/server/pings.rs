//! `pushsync ping` against the real program behind gateways that get things wrong: each mistake is said in words.

use std::net::SocketAddr;
use std::process::Output;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::restarts::{Place, SECRET};
use crate::support::PATIENCE;
use crate::support::tls::{Authority, TlsFront, VALID};

/// Runs `pushsync ping`; the secret is the pod's unless another one is given.
async fn ping(url: String, secret: &str, environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.env_clear().envs(environment.iter().copied()).args(["ping", "--url", &url, "--secret-file"]).arg(&file);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("ended").unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for words in words {
        assert!(text.contains(words), "`{words}` is missing in:\n{text}");
    }
}

/// A gateway in front of `to` that changes a request's head, and passes all else on.
async fn gateway(to: SocketAddr, change: impl Fn(String) -> Vec<u8> + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let change = change.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut part = [0; 4096];
                let end = loop {
                    if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        break end + 4;
                    }
                    match client.read(&mut part).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => bytes.extend_from_slice(&part[..count]),
                    }
                };
                let mut server = TcpStream::connect(to).await.unwrap();
                let head = change(String::from_utf8(bytes[..end].to_vec()).unwrap());
                server.write_all(&[&head, &bytes[end..]].concat()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

fn without(head: &str, dropped: impl Fn(&str) -> bool) -> Vec<u8> {
    let kept = head.split_inclusive("\r\n").filter(|line| !dropped(&line.to_lowercase()));
    kept.collect::<String>().into_bytes()
}

/// Answers every connection with the same bytes after its request's head.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let _ = client.read(&mut request).await;
                let _ = client.write_all(answer.as_bytes()).await;
                let _ = client.shutdown().await;
                while client.read(&mut request).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_of_a_gateway_is_said() {
    let started = std::time::Instant::now();
    let place = Place::new();
    let mut pod = place.start("pod", &[]).await;
    let hook = pod.hook;
    let url = |address: SocketAddr| format!("http://{address}/webhook");

    says(&ping(url(hook), SECRET, &[]).await, 0, &["200 OK", "pong"]);
    // Loopback is never reached through a proxy, and nothing listens at this one.
    let proxy = [("http_proxy", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    says(&ping(url(hook), SECRET, &proxy).await, 0, &["200 OK", "pong"]);
    says(
        &ping(url(hook), "another secret of that length", &[]).await,
        1,
        &["secret here and the one the sidecar reads differ"],
    );
    let odd = ping(url(hook), &format!("\u{feff}{SECRET}"), &[]).await;
    says(&odd, 1, &["Warning: the secret begins with a byte order mark", "differ"]);

    let drops = gateway(hook, |head| without(&head, |line| line.starts_with("x-hub-signature-256:"))).await;
    says(&ping(url(drops), SECRET, &[]).await, 1, &["The secret is right", "drops the header X-Hub-Signature-256"]);
    let allow_list = gateway(hook, |head| without(&head, |line| line.starts_with("x-"))).await;
    says(&ping(url(allow_list), SECRET, &[]).await, 1, &["401", "drops unknown headers"]);
    for start in ["PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let proxied = gateway(hook, move |head| [start.as_bytes(), head.as_bytes()].concat()).await;
        says(&ping(url(proxied), SECRET, &[]).await, 1, &["sends the PROXY protocol to the sidecar"]);
    }
    let over_tls = ping(format!("https://{hook}/webhook"), SECRET, &[]).await;
    says(&over_tls, 1, &["TLS failed: that port uses plain HTTP"]);

    let identity = Authority::new().identity("127.0.0.1", VALID);
    let tls = TlsFront::start(hook, identity).await;
    says(&ping(url(tls.address), SECRET, &[]).await, 1, &["That port uses TLS", "Use https://"]);

    // One line for all of them, without a word of theirs.
    let line = pod.sidecar.wait_for_text(PATIENCE, "refused requests").await;
    assert!(line.contains("1 signed with another secret"), "{line}");
    let lines = pod.sidecar.log().into_iter().filter(|line| line.contains("refused requests")).count() as u64;
    assert!(lines <= 1 + started.elapsed().as_secs() / 60, "{:#?}", pod.sidecar.log());
    assert!(!pod.sidecar.log().iter().any(|line| line.contains("192.0.2.1")), "a word of the sender's is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_pushsync_is_not_success() {
    let url = |address: SocketAddr| format!("http://{address}/webhook");
    for (answer, words) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nWelcome to nginx", "did not come from a pushsync"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "did not come from a pushsync"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"ok\":\"true\"}", "did not come from a pushsync"),
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            "requires a login",
        ),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "PROXY protocol"),
        ("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "That port uses TLS"),
    ] {
        says(&ping(url(server(answer).await), SECRET, &[]).await, 1, &[words]);
    }
    // A port that expects the PROXY protocol hangs up on all else.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let count = client.read(&mut request).await.unwrap_or_default();
            if request[..count].starts_with(b"PROXY ") {
                let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    });
    says(&ping(url(address), SECRET, &[]).await, 1, &["expects the PROXY protocol"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_secret_says_so() {
    let place = Place::new();
    let missing = place.folder.path().join("not-there");
    let optional = ["--hook-secret-optional".to_owned(), format!("--hook-secret-file={}", missing.display())];
    let mut pod = place.start("pod", &optional).await;
    let url = format!("http://{}/webhook", pod.hook);
    says(&ping(url.clone(), SECRET, &[]).await, 1, &["There is no secret in the pod yet"]);
    pod.sidecar.wait_for_text(PATIENCE, "before a secret was available").await;
    std::fs::write(&missing, format!("{SECRET} \n")).unwrap();
    // The file is looked at no more than once a second.
    let end = std::time::Instant::now() + PATIENCE;
    while String::from_utf8_lossy(&ping(url.clone(), SECRET, &[]).await.stdout).contains("no secret in the pod") {
        assert!(std::time::Instant::now() < end, "{}", pod.sidecar.log().join("\n"));
    }
    pod.sidecar.wait_for_text(PATIENCE, "the secret ends with a blank").await;
    let blank = ping(url, &format!("{SECRET} "), &[]).await;
    says(&blank, 0, &["Warning: the secret ends with a blank", "pong"]);
}
