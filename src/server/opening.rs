//! Recognizes protocols other than HTTP by a connection's first bytes.
//!
//! Pure functions. Both protocols indicate a wrong configuration in front of the pod: a load balancer that sends the
//! PROXY protocol, or a gateway that encrypts again. Without a specific message the operator would only see a 400.

use super::refusals::Why;

/// How many bytes are examined: the length of the signature of the PROXY protocol, version 2.
pub(crate) const LONGEST: usize = 12;

/// The first line of version 1 starts with this (The PROXY protocol, section 2.1).
const PROXY_1: &[u8] = b"PROXY ";
/// The signature of version 2 (section 2.2).
const PROXY_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A record of type handshake, version 3.x (RFC 8446, section 5.1).
const TLS: &[u8] = b"\x16\x03";

/// A protocol that this server does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    ProxyProtocol,
    Tls,
}

/// Recognizes a protocol by a connection's first bytes; `None` if it may be HTTP.
pub(crate) fn foreign(start: &[u8]) -> Option<Foreign> {
    if start.starts_with(PROXY_1) || start.starts_with(PROXY_2) {
        Some(Foreign::ProxyProtocol)
    } else if start.starts_with(TLS) {
        Some(Foreign::Tls)
    } else {
        None
    }
}

impl Foreign {
    pub(crate) fn why(self) -> Why {
        match self {
            Self::ProxyProtocol => Why::ProxyProtocol,
            Self::Tls => Why::Tls,
        }
    }

    /// Returns a complete HTTP response. A TLS client reports that the server does not speak TLS; the text is for
    /// packet captures and plain-text probes.
    pub(crate) fn answer(self) -> String {
        let (code, message) = match self {
            Self::ProxyProtocol => ("proxy_protocol", "this port takes plain HTTP, without the PROXY protocol"),
            Self::Tls => ("tls", "this port takes plain HTTP, without TLS"),
        };
        let body = format!(r#"{{"code":"{code}","message":"{message}"}}"#);
        let length = body.len();
        format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_protocol_and_tls_are_recognized_and_http_is_not() {
        for (start, expected) in [
            (&b"PROXY TCP4 192.0.2.1 "[..], Some(Foreign::ProxyProtocol)),
            (b"PROXY UNKNOWN\r\n", Some(Foreign::ProxyProtocol)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", Some(Foreign::ProxyProtocol)),
            (b"\x16\x03\x01\x02\x00", Some(Foreign::Tls)),
            (b"POST /webhook HTTP/1.1", None),
            (b"\r\n\r\nPOST / HTT", None),
            (b"PROXYING / HTTP/1.1", None),
            (b"P", None),
            (b"", None),
        ] {
            assert_eq!(foreign(start), expected, "{start:?}");
        }
    }
}
