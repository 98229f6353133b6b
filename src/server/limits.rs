//! Limits of a listener: connections, time and memory.

use std::time::Duration;

const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. When all are in use, a new one replaces the one that has waited longest without a
    /// complete request.
    pub connections: usize,
    /// The time for a complete request head from its first byte. On a kept-alive connection it is also the longest
    /// pause between requests.
    pub head: Duration,
    /// The time from the end of the head to the end of the body.
    pub body: Duration,
    /// How long a write may make no progress before the connection is closed.
    pub write_stall: Duration,
    /// The largest request head, and the size of the read buffer.
    pub head_bytes: usize,
    /// Whether a connection may carry a second request.
    pub keep_alive: bool,
    /// A request that takes longer than this may be dropped to make room for a new connection. `None`: never.
    pub crowded_out_after: Option<Duration>,
}

impl Limits {
    /// Returns how long a new connection may send nothing. Proxies and load balancers open connections in advance, so
    /// this is longer than the time for a head.
    #[must_use]
    pub fn silence(&self) -> Duration {
        (self.head * 6).min(LONGEST_SILENCE)
    }

    /// For the internet. One request per connection, so that a proxy in front and this server cannot disagree about
    /// where a second request starts.
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

    /// For dashboards, which keep their connections open and read slowly over a port-forward.
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
