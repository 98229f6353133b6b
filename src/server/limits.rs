//! How much of anything one listener gives to people it does not know.

use std::time::Duration;

const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. When all are taken, the oldest that has sent no whole request makes room.
    pub connections: usize,
    /// The time for a whole request head, from its first byte; on a kept-alive connection also the longest pause between requests.
    pub head: Duration,
    /// The time from a head to the end of its body.
    pub body: Duration,
    /// How long an answer may be stuck in a socket that nobody reads.
    pub write_stall: Duration,
    /// Bytes of a request head, and of the read buffer.
    pub head_bytes: usize,
    /// Whether a connection may carry a second request.
    pub keep_alive: bool,
    /// A request that runs longer than this may be dropped to make room for a new connection. `None`: never.
    pub crowded_out_after: Option<Duration>,
}

impl Limits {
    /// How long a new connection may send nothing: proxies and load balancers open connections before they need them, so that
    /// is more than a head may take once it has begun.
    #[must_use]
    pub fn silence(&self) -> Duration {
        (self.head * 6).min(LONGEST_SILENCE)
    }

    /// For strangers: one request a connection, so that no proxy and we can differ about where the second one begins.
    #[must_use]
    pub const fn hook() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(5),
            body: Duration::from_secs(15),
            write_stall: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            keep_alive: false,
            crowded_out_after: Some(Duration::from_secs(3)),
        }
    }

    /// For the kubelet and Prometheus.
    #[must_use]
    pub const fn http() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(10),
            body: Duration::from_secs(5),
            write_stall: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            keep_alive: true,
            crowded_out_after: None,
        }
    }

    /// For dashboards, which keep their connections and read slowly over a port-forward.
    #[must_use]
    pub const fn admin() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(60),
            body: Duration::from_secs(5),
            write_stall: Duration::from_secs(30),
            head_bytes: 16 * 1024,
            keep_alive: true,
            crowded_out_after: None,
        }
    }
}
