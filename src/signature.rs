//! HMAC-SHA256 as GitHub signs webhooks: over the raw bytes of the body, in hex, after `sha256=`.
//!
//! A leaf module that knows nothing of HTTP. Source: GitHub docs, "Validating webhook deliveries".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// The header in which `pushsync ping` proves that it knows the secret, even if `X-Hub-Signature-256` was removed on
/// the way.
pub const PING_HEADER: &str = "x-pushsync-ping";
/// The purpose of the derived key for that header.
pub const PING: &[u8] = b"pushsync-ping-v1";

/// A MAC that is computed while the body is received.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// HMAC accepts keys of any length (RFC 2104, section 3), so this cannot fail.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length"))
    }

    /// Creates a signer whose key is derived from the secret for one purpose, so that its MACs are invalid for every
    /// other.
    #[must_use]
    pub fn derived(secret: &Secret, purpose: &[u8]) -> Self {
        let mut key = Self::new(secret);
        key.update(purpose);
        let key = key.0.finalize().into_bytes();
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(self, expected: &[u8; 32]) -> bool {
        self.0.verify_slice(expected).is_ok()
    }

    /// Returns the value of an `X-Hub-Signature-256` header.
    #[must_use]
    pub fn header(self) -> String {
        format!("sha256={}", self.hex())
    }

    /// Returns the MAC in lower-case hex.
    #[must_use]
    pub fn hex(self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0.finalize().into_bytes() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Parses the value of an `X-Hub-Signature-256` header: `sha256=` and 64 hex digits of either case, and nothing else.
///
/// Other forms (`sha1=`, bare hex, a list) are rejected.
#[must_use]
pub fn parse_header(value: &[u8]) -> Option<[u8; 32]> {
    parse_hex(value.strip_prefix(b"sha256=")?)
}

/// Parses exactly 64 hex digits of either case.
#[must_use]
pub fn parse_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let mut mac = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in mac.iter_mut().zip(hex.chunks_exact(2)) {
        // Digit by digit, because `from_str_radix` would accept a sign.
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(mac)
}

/// Signs a whole body at once.
#[must_use]
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    let mut signer = Signer::new(secret);
    signer.update(body);
    signer.header()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_published_test_vector_matches() {
        let secret = Secret::new("It's a Secret to Everybody");
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign(&secret, b"Hello, World!"), expected);
    }

    #[test]
    fn a_signature_header_is_accepted_in_githubs_form_only() {
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let mac = parse_header(format!("sha256={hex}").as_bytes()).expect("GitHub's own form");
        assert_eq!((mac[0], mac[31]), (0x75, 0x17));
        assert_eq!(parse_header(format!("sha256={}", hex.to_uppercase()).as_bytes()), Some(mac));
        for wrong in [
            hex.to_owned(),
            String::new(),
            "sha256=".to_owned(),
            format!("sha1={hex}"),
            format!("sha512={hex}{hex}"),
            format!("SHA256={hex}"),
            format!("sha256={hex}0"),
            format!("sha256={}", &hex[1..]),
            format!("sha256= {}", &hex[1..]),
            format!("sha256={}g", &hex[1..]),
            format!("sha256=+{}", &hex[1..]),
            format!("sha256={hex},sha256={hex}"),
            format!(" sha256={hex}"),
            format!("sha256={}é", &hex[2..]),
        ] {
            assert_eq!(parse_header(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_streamed_body_is_verified_and_a_wrong_one_rejected() {
        let secret = Secret::new("It's a Secret to Everybody");
        let mut expected = [0; 32];
        for (at, byte) in expected.iter_mut().enumerate() {
            let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
            *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
        }
        let mut streamed = Signer::new(&secret);
        streamed.update(b"Hello, ");
        let mut wrong = streamed.clone();
        streamed.update(b"World!");
        wrong.update(b"World?");
        assert!(streamed.verify(&expected));
        assert!(!wrong.verify(&expected));
    }
}
