//! The outgoing webhook of the real program: how soon an address that failed is called again.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::restarts::Place;
use crate::support::PATIENCE;

const BACKOFF: Duration = Duration::from_millis(500);

/// Runs a pod whose address answers so, and returns the pauses before the next calls and the log.
async fn pauses(answer: &'static str, calls: usize) -> (Vec<Duration>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new();
    let url = format!("--webhook-url=http://{}/reload", listener.local_addr().unwrap());
    let more = [url, format!("--webhook-backoff={}ms", BACKOFF.as_millis()), "--webhook-timeout=5s".to_owned()];
    let pod = place.start("pod", &more).await;
    let mut answered: Option<Instant> = None;
    let mut pauses = Vec::new();
    while pauses.len() < calls {
        let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("called again").unwrap();
        pauses.extend(answered.map(|answered| answered.elapsed()));
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        answered = Some(Instant::now());
    }
    (pauses, pod.sidecar.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_is_made_again_after_the_backoff_and_not_later() {
    for answer in ["HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n", ""] {
        let (pauses, log) = pauses(answer, 5).await;
        let late = |pause: &&Duration| **pause > BACKOFF + Duration::from_secs(1);
        // A machine that is busy may make one of them late.
        assert!(pauses.iter().filter(late).count() <= 1, "{answer:?}: {pauses:?}\n{}", log.join("\n"));
        assert!(pauses.iter().all(|pause| *pause > BACKOFF / 2), "{answer:?}: {pauses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_answers_another_success_is_called_ever_more_rarely() {
    let (pauses, log) = pauses("HTTP/1.1 204 No Content\r\n\r\n", 4).await;
    for (number, pause) in pauses.iter().enumerate() {
        let least = BACKOFF * (1 << number);
        assert!(*pause > least.mul_f64(0.9), "{pauses:?}");
    }
    let line = log.iter().find(|line| line.contains("answered 204")).expect("it is said");
    assert!(line.contains("--webhook-success-status expects 200") && line.contains("or to 0 for any"), "{line}");
}
