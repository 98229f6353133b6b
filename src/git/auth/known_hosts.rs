//! `known_hosts` files of `OpenSSH`: whether a file lists the key that a host presents.
//!
//! sshd(8), "`SSH_KNOWN_HOSTS` FILE FORMAT": `[@marker] names type key [comment]`; names are a list of patterns, or
//! one hashed name; a port other than 22 makes a name `[host]:port`. Certificate authorities are skipped, since
//! libssh2 never requests certificates. It must not know of connections.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The verdict of the file on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostKeyVerdict {
    Known,
    /// The host is not in the file.
    Unknown,
    /// The file lists the host with another key.
    Changed,
    Revoked,
}

/// Checks the raw key (RFC 4253, section 6.6) that a host presented. A revocation wins wherever it stands in the file.
pub(crate) fn judge(file: &str, host: &str, port: u16, key: &[u8]) -> HostKeyVerdict {
    let name = name(host, port);
    let mut verdict = HostKeyVerdict::Unknown;
    for line in file.lines() {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(names), Some(_kind), Some(written)) = (words.next(), words.next(), words.next()) else { continue };
        if names.starts_with('#') || !matches_any(names, &name) {
            continue;
        }
        // Like ssh, skip a line that cannot be parsed.
        let Ok(written) = STANDARD.decode(written) else { continue };
        let same = written == key;
        match marker {
            Some("@revoked") if same => return HostKeyVerdict::Revoked,
            None if same => verdict = HostKeyVerdict::Known,
            // A host may have keys of several types, one a line. A line with the presented key may still follow.
            None if verdict == HostKeyVerdict::Unknown => verdict = HostKeyVerdict::Changed,
            // The key of a certificate authority is no host key, and a revoked key says nothing about other keys.
            _ => {}
        }
    }
    verdict
}

/// Returns the lines that list a host's key, and the numbers of lines that cannot be parsed, which ssh skips as well.
/// Comments and lines with a marker are in neither.
pub(crate) fn plain_lines(file: &str) -> (String, Vec<usize>) {
    let (mut plain, mut unreadable) = (String::new(), Vec::new());
    for (number, line) in file.lines().enumerate() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some(first), ..) if first.starts_with('#') || first.starts_with('@') => {}
            (Some(names), Some(kind), Some(key)) if STANDARD.decode(key).is_ok() && !line.contains('\u{fffd}') => {
                plain.extend([names, " ", kind, " ", key, "\n"]);
            }
            _ => unreadable.push(number + 1),
        }
    }
    (plain, unreadable)
}

/// Returns the fingerprint as ssh-keygen prints it: `SHA256:…`.
pub(crate) fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// Returns the type at the beginning of a raw key, such as `ssh-ed25519`.
pub(crate) fn key_type(key: &[u8]) -> String {
    let text = key.split_first_chunk::<4>().and_then(|(length, rest)| {
        rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?).and_then(|name| std::str::from_utf8(name).ok())
    });
    crate::text::one_line(text.unwrap_or("unknown"), 40)
}

fn name(host: &str, port: u16) -> String {
    // An IPv6 address has brackets in a URL. In the file only names with a port have them.
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

pub(crate) fn matches_any(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return matches_hash(hashed, name);
    }
    let mut found = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            // A negated pattern that matches excludes the line, even if other patterns of it match (sshd(8)).
            Some(not) if glob(&not.to_ascii_lowercase(), name) => return false,
            Some(_) => {}
            None => found |= glob(&pattern.to_ascii_lowercase(), name),
        }
    }
    found
}

/// Matches `salt|hash`: the HMAC-SHA1 of the name under the salt, both in base64.
fn matches_hash(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&salt) else { return false };
    mac.update(name.as_bytes());
    mac.verify_slice(&hash).is_ok()
}

/// Matches `*` and `?` only; brackets are ordinary characters.
pub(crate) fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            // Only the last star is remembered. An earlier one need not take more, so a pattern with many stars does
            // not cost exponential time.
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|letter| *letter == b'?' || *letter == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            // Let the star match one more character.
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, byte: u8) -> Vec<u8> {
        let mut key = u32::try_from(kind.len()).unwrap().to_be_bytes().to_vec();
        key.extend(kind.as_bytes());
        key.extend([byte; 32]);
        key
    }

    fn line(names: &str, key: &[u8]) -> String {
        format!("{names} {} {} comment\n", key_type(key), STANDARD.encode(key))
    }

    #[test]
    fn plain_names_ports_patterns_and_negations() {
        let (ours, other) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
        let file = format!(
            "# a comment\n\n{}{}{}garbage\n",
            line("git.test,192.0.2.1", &ours),
            line("[git.test]:2222", &other),
            line("*.inner.test,!bad.inner.test", &ours)
        );
        assert_eq!(judge(&file, "GIT.test", 22, &ours), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "192.0.2.1", 22, &ours), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "git.test", 22, &other), HostKeyVerdict::Changed);
        assert_eq!(judge(&file, "git.test", 2222, &other), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "git.test", 2222, &ours), HostKeyVerdict::Changed);
        assert_eq!(judge(&file, "git.test", 2223, &ours), HostKeyVerdict::Unknown);
        assert_eq!(judge(&file, "a.inner.test", 22, &ours), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "bad.inner.test", 22, &ours), HostKeyVerdict::Unknown);
        assert_eq!(judge("", "git.test", 22, &ours), HostKeyVerdict::Unknown);
    }

    #[test]
    fn one_of_several_types_is_enough_and_a_revocation_wins() {
        let (rsa, ed25519) = (key("ssh-rsa", 1), key("ssh-ed25519", 2));
        let mut file = line("git.test", &rsa) + &line("git.test", &ed25519);
        assert_eq!(judge(&file, "git.test", 22, &ed25519), HostKeyVerdict::Known);
        file.push_str(&line("@revoked *", &ed25519));
        assert_eq!(judge(&file, "git.test", 22, &ed25519), HostKeyVerdict::Revoked);
        assert_eq!(judge(&file, "git.test", 22, &rsa), HostKeyVerdict::Known);
        let authority = line("@cert-authority *", &ed25519);
        assert_eq!(judge(&authority, "git.test", 22, &ed25519), HostKeyVerdict::Unknown);
    }

    #[test]
    fn hashed_names_of_ssh_keygen_match() {
        // ssh-keygen -H over `git.test` and `[git.test]:2222`.
        let ours = key("ssh-ed25519", 1);
        let hash = |name: &str| {
            let mut mac = Hmac::<Sha1>::new_from_slice(&[9; 20]).unwrap();
            mac.update(name.as_bytes());
            format!("|1|{}|{}", STANDARD.encode([9; 20]), STANDARD.encode(mac.finalize().into_bytes()))
        };
        let file = line(&hash("git.test"), &ours) + &line(&hash("[git.test]:2222"), &ours);
        assert_eq!(judge(&file, "git.test", 22, &ours), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "git.test", 2222, &ours), HostKeyVerdict::Known);
        assert_eq!(judge(&file, "other.test", 22, &ours), HostKeyVerdict::Unknown);
        assert_eq!(judge("|1|broken ssh-rsa AAAA", "git.test", 22, &ours), HostKeyVerdict::Unknown);
    }

    #[test]
    fn fingerprints_and_types_are_readable() {
        assert_eq!(key_type(&key("ssh-ed25519", 1)), "ssh-ed25519");
        assert_eq!(key_type(&[0, 0, 0, 200, 1]), "unknown");
        assert_eq!(fingerprint(b""), "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
