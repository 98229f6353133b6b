//! A small forward proxy: plain requests and CONNECT, with a login if asked for, and a log of what went through.
//!
//! It connects to its one server whatever host is requested, so a name that no resolver knows proves that the proxy was used.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy; it ends with the runtime of the test.
pub struct Proxy {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub async fn start(backend: SocketAddr, login: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let expected = login.map(|(user, password)| {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            format!("basic {text}").to_ascii_lowercase()
        });
        let seen = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, backend, expected.clone(), Arc::clone(&seen)));
            }
        });
        Self { address, log }
    }

    /// The first line of each connection's request, with the status that refused it, if one did.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut outside: TcpStream, backend: SocketAddr, expected: Option<String>, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if outside.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let shown = text.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("proxy-authorization: ").map(|value| value.trim().to_owned())
    });
    if expected.is_some() && shown != expected {
        log.lock().unwrap().push(format!("407 {line}"));
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = outside.write_all(answer.as_bytes()).await;
        return;
    }
    log.lock().unwrap().push(line.clone());
    let Ok(mut inside) = TcpStream::connect(backend).await else { return };
    let sent = if line.starts_with("CONNECT ") {
        outside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await
    } else {
        // The server takes the absolute form as well.
        inside.write_all(&head).await
    };
    if sent.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
    }
}
