//! A gateway in front of a git server: forwards requests to a real one, and answers some itself.
//!
//! It stands in for old servers, for gateways that drop headers, and for firewalls that judge a request by itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How answers differ from the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// HTTP/1.0 without a length: the end of the connection ends the answer.
    EndsWithConnection,
    /// Answers to POST say that they are something else.
    OtherType,
    /// Answers to POST do not say what they are.
    NoType,
    /// 403 for a POST from who has sent no GET before.
    GetFirst,
    /// Says nothing for so long before it answers a fetch.
    Slow(Duration),
}

/// A running gateway; it ends with the runtime of the test.
pub struct Gateway {
    pub address: SocketAddr,
    methods: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    pub async fn slow(backend: SocketAddr, silent: Duration) -> Self {
        Self::start(backend, Habit::Slow(silent)).await
    }

    pub async fn start(backend: SocketAddr, habit: Habit) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let methods = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&methods);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(one(stream, backend, habit, Arc::clone(&seen)));
            }
        });
        Self { address, methods }
    }

    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// The methods of the requests so far.
    pub fn methods(&self) -> Vec<String> {
        self.methods.lock().unwrap().clone()
    }
}

/// Serves one request of a connection and closes it.
async fn one(
    mut outside: TcpStream,
    backend: SocketAddr,
    habit: Habit,
    methods: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let (head, body) = message(&mut outside).await?;
    let method = head.split(' ').next()?.to_owned();
    let got = methods.lock().unwrap().iter().any(|method| method == "GET");
    methods.lock().unwrap().push(method.clone());
    if habit == Habit::GetFirst && method == "POST" && !got {
        let answer =
            b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return outside.write_all(answer).await.ok();
    }
    if let Habit::Slow(silent) = habit
        && body.windows(13).any(|part| part == b"command=fetch")
    {
        tokio::time::sleep(silent).await;
    }
    let mut inside = TcpStream::connect(backend).await.ok()?;
    let lines: Vec<&str> = head.split("\r\n").filter(|line| !line.to_lowercase().starts_with("connection:")).collect();
    let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n").trim_end());
    inside.write_all(head.as_bytes()).await.ok()?;
    inside.write_all(&body).await.ok()?;
    let mut answer = Vec::new();
    inside.read_to_end(&mut answer).await.ok()?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { dechunked(&answer[end + 4..]) } else { answer[end + 4..].to_vec() };
    let status = head.split("\r\n").next()?.split_once(' ')?.1;
    let is_post = method == "POST";
    let kept = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        name == "www-authenticate" || name == "content-type" && !(is_post && habit == Habit::NoType)
    };
    let mut headers: Vec<String> = head.split("\r\n").skip(1).filter(kept).map(str::to_owned).collect();
    if is_post && habit == Habit::OtherType {
        headers = vec!["content-type: application/octet-stream".to_owned()];
    }
    let version = if habit == Habit::EndsWithConnection { "1.0" } else { "1.1" };
    if version == "1.1" {
        headers.push(format!("content-length: {}", body.len()));
    }
    let head = format!("HTTP/{version} {status}\r\n{}\r\nconnection: close\r\n\r\n", headers.join("\r\n"));
    outside.write_all(head.as_bytes()).await.ok()?;
    outside.write_all(&body).await.ok()?;
    outside.shutdown().await.ok()
}

/// The head of a request, and its body by the length that it gives.
async fn message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_lowercase();
            let length =
                lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            let length: usize = length.unwrap_or(0);
            while bytes.len() < end + 4 + length {
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
            return Some((head, bytes[end + 4..].to_vec()));
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    body
}
