//! The message between replicas: small, signed with a key derived from the webhook secret, valid for a minute.
//!
//! The content is parsed only after the signature has been verified. The module knows nothing of HTTP except the name
//! of one header.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::signature::{Signer, parse_hex};

/// The header with the time and the signature.
pub const SIGNATURE: &str = "x-pushsync-signature";
/// The largest body that is read.
pub const LARGEST: usize = 4 * 1024;
/// How far the clocks of two replicas may differ, in seconds.
pub(crate) const SKEW: i64 = 60;

/// The code of a refusal by a replica that has no secret yet.
pub const NO_SECRET_CODE: &str = "no_secret";

/// The version of the message; a replica of another release may speak another one during a rollout.
const VERSION: u32 = 1;
/// The purpose of the derived key. It differs from GitHub's signature, so neither signature is valid in place of the
/// other.
const PURPOSE: &[u8] = b"pushsync-peer-v1";

/// The body, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The version. Messages that [`Message::new`] makes and [`Message::read`] returns have the current one.
    pub v: u32,
    /// The remote, redacted, and the ref, both as configured. Replicas that follow something else ignore the message.
    pub repo: String,
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commits after and before the push, according to the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The id of the webhook's delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The same in every attempt and for every address, so that a receiver can recognize duplicates.
    pub id: String,
    /// Identifies the sending process, so that it recognizes itself under an address that it did not know to be its
    /// own.
    pub from: String,
    /// The number of replicas that the sender knows. The receivers spread their syncs accordingly.
    pub replicas: u32,
    /// Different in every attempt, so that no two messages have the same signature.
    pub nonce: String,
}

/// The version alone, which is checked before the rest is parsed.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl Message {
    /// Returns a message of the current version; the caller sets the remaining fields.
    #[must_use]
    pub fn new(repo: &str, reference: &str, from: &str) -> Self {
        Self {
            v: VERSION,
            repo: repo.to_owned(),
            reference: reference.to_owned(),
            after: None,
            before: None,
            delivery: None,
            id: String::new(),
            from: from.to_owned(),
            replicas: 0,
            nonce: String::new(),
        }
    }

    /// Parses a body whose signature has been verified. Returns `None` for another version or an invalid message.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let versioned: Versioned = serde_json::from_slice(body).ok()?;
        if versioned.v == VERSION { serde_json::from_slice(body).ok() } else { None }
    }
}

/// Returns the header for a body that is sent at `time` (seconds since 1970).
#[must_use]
pub fn seal(secret: &Secret, time: i64, body: &[u8]) -> String {
    seal_for(PURPOSE, secret, time, body)
}

/// The same for another kind of message: a seal for one purpose fits no other.
#[must_use]
pub(crate) fn seal_for(purpose: &[u8], secret: &Secret, time: i64, body: &[u8]) -> String {
    format!("t={time},v1={}", signer(purpose, secret, time, body).hex())
}

/// The parsed header, not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    /// Seconds since 1970.
    pub time: i64,
    pub mac: [u8; 32],
}

impl Seal {
    /// Parses `t=<seconds>,v1=<64 hex digits>` in exactly this form.
    #[must_use]
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let (time, mac) = std::str::from_utf8(value).ok()?.strip_prefix("t=")?.split_once(",v1=")?;
        // A sign or a leading zero would be a second form of the same number.
        let plain = (1..=12).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || (time.len() > 1 && time.starts_with('0')) {
            return None;
        }
        Some(Self { time: time.parse().ok()?, mac: parse_hex(mac.as_bytes())? })
    }

    /// Returns the index of the secret that signed the body. Checks every secret, so that the time does not reveal
    /// which one matched.
    #[must_use]
    pub(crate) fn fits(&self, body: &[u8], secrets: &[Secret]) -> Option<usize> {
        self.fits_for(PURPOSE, body, secrets)
    }

    /// The same for another kind of message.
    #[must_use]
    pub(crate) fn fits_for(&self, purpose: &[u8], body: &[u8], secrets: &[Secret]) -> Option<usize> {
        let fits = |secret: &Secret| signer(purpose, secret, self.time, body).verify(&self.mac);
        let fits: Vec<bool> = secrets.iter().map(fits).collect();
        fits.into_iter().position(|fits| fits)
    }
}

fn signer(purpose: &[u8], secret: &Secret, time: i64, body: &[u8]) -> Signer {
    let mut signer = Signer::derived(secret, purpose);
    // The time is part of what is signed. Otherwise a copy of a message could be sent later with a new time.
    signer.update(time.to_string().as_bytes());
    signer.update(b".");
    signer.update(body);
    signer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_under_a_derived_key() {
        // Computed with Python's hmac: key = HMAC(secret, "pushsync-peer-v1"), MAC over "1700000000.{}".
        let sealed = seal(&Secret::new("It's a Secret to Everybody"), 1_700_000_000, b"{}");
        assert_eq!(sealed, "t=1700000000,v1=c48e7ff4cccffcd5a3ef6f0c12ed1850906fdd07cb66b018edc2c0ed0a495572");
    }

    #[test]
    fn a_signature_is_valid_for_its_body_time_and_secret_only() {
        let secrets = ["the first secret of all", "the second secret of all"].map(Secret::new);
        let header = seal(&secrets[1], 1_700_000_000, b"body");
        let sealed = Seal::read(header.as_bytes()).unwrap();
        assert_eq!(sealed.fits(b"body", &secrets), Some(1));
        assert_eq!(sealed.fits(b"body", &secrets[..1]), None);
        assert_eq!(sealed.fits(b"bodY", &secrets), None);
        assert_eq!(sealed.fits(b"body", &[]), None);
        let later = Seal { time: sealed.time + 1, ..sealed };
        assert_eq!(later.fits(b"body", &secrets), None);
    }

    #[test]
    fn a_signature_header_is_accepted_in_one_form_only() {
        let mac = "ab".repeat(32);
        assert!(Seal::read(format!("t=1,v1={mac}").as_bytes()).is_some());
        assert!(Seal::read(format!("t=0,v1={mac}").as_bytes()).is_some());
        let bad = [
            format!("t=+1,v1={mac}"),
            format!("t=-1,v1={mac}"),
            format!("t=01,v1={mac}"),
            format!("t=,v1={mac}"),
            format!("t=1234567890123,v1={mac}"),
            format!(" t=1,v1={mac}"),
            format!("t=1,v1={mac} "),
            format!("t=1, v1={mac}"),
            format!("v1={mac},t=1"),
            format!("t=1,v1={mac},v1={mac}"),
            format!("t=1,v1={}", &mac[1..]),
            format!("t=1,v2={mac}"),
            String::new(),
        ];
        for value in bad {
            assert_eq!(Seal::read(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Seal::read(b"t=1,v1=\xff"), None);
    }

    #[test]
    fn a_message_of_another_version_is_rejected() {
        let message = Message { replicas: 8, ..Message::new("https://git.test/a/b.git", "main", "me") };
        let body = serde_json::to_string(&message).unwrap();
        assert_eq!(Message::read(body.as_bytes()), Some(message));
        assert_eq!(Message::read(body.replace("\"v\":1", "\"v\":2").as_bytes()), None);
        for garbage in
            ["", "{}", "[]", "null", "{\"v\":1}", "{\"v\":\"1\"}", &body.replace("\"replicas\":8", "\"replicas\":-8")]
        {
            assert_eq!(Message::read(garbage.as_bytes()), None, "{garbage}");
        }
        let twice = body.replace("\"v\":1", "\"v\":1,\"v\":1");
        assert_eq!(Message::read(twice.as_bytes()), None);
    }
}
