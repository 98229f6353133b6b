//! What a connection's first bytes say about its protocol, where that is not HTTP.
//!
//! Pure. Both cases are mistakes in what stands in front (a load balancer with the PROXY protocol, a gateway that re-encrypts),
//! and without a word for them the operator sees nothing but a 400.

use super::refusals::Why;

/// The most bytes that are looked at: the signature of the PROXY protocol's version 2.
pub const LONGEST: usize = 12;

/// The first line of version 1 begins so (The PROXY protocol, section 2.1).
const PROXY_1: &[u8] = b"PROXY ";
/// Section 2.2.
const PROXY_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A record of type handshake, version 3.x (RFC 8446, section 5.1).
const TLS: &[u8] = b"\x16\x03";

/// A protocol that is not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    ProxyProtocol,
    Tls,
}

/// Recognizes a protocol by a connection's first bytes; `None` if it may be HTTP.
pub fn foreign(start: &[u8]) -> Option<Foreign> {
    if start.starts_with(PROXY_1) || start.starts_with(PROXY_2) {
        Some(Foreign::ProxyProtocol)
    } else if start.starts_with(TLS) {
        Some(Foreign::Tls)
    } else {
        None
    }
}

impl Foreign {
    pub fn why(self) -> Why {
        match self {
            Self::ProxyProtocol => Why::ProxyProtocol,
            Self::Tls => Why::Tls,
        }
    }

    /// A whole answer. Over TLS the client reads that it is none; the text is for captures and plain probes.
    pub fn answer(self) -> String {
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
    fn only_what_is_no_http_is_foreign() {
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
