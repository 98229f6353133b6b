//! Properties of `known_hosts` files, for any input; responses are in `remote::fuzzing`, submodules in `modules`
//! (src/fuzzing.rs).

mod modules;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::git::auth::known_hosts::{HostKeyVerdict, glob, judge, key_type, matches_any};

pub(crate) use crate::git::lfs::fuzzing::lfs_answer;
pub(crate) use modules::{filter_spec, gitmodules, module_url};

pub(crate) use crate::git::remote::fuzzing::{capabilities, fetch_answer, ls_refs, pkt_line};

/// A listed host is known, a revoked key never is, lines about other hosts and comments change nothing, and a pattern
/// matches what its definition says.
pub(crate) fn known_hosts(data: &[u8]) {
    let (head, file) = two_parts(data);
    let file = String::from_utf8_lossy(file);
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let host: String = head.iter().copied().filter(part).take(60).map(char::from).collect();
    let host = if host.is_empty() { "git.test".to_owned() } else { host };
    // The input chooses the port, so that both forms of a name are tried.
    let port = if head.len().is_multiple_of(2) { 22 } else { 2222 };
    let name = if port == 22 { host.to_ascii_lowercase() } else { format!("[{}]:{port}", host.to_ascii_lowercase()) };
    let mut key = b"\0\0\0\x0bssh-ed25519".to_vec();
    key.extend([7; 36]);
    let line = |names: &str| format!("{names} ssh-ed25519 {}\n", STANDARD.encode(&key));

    let verdict = judge(&file, &host, port, &key);
    let with = |text: &str| judge(&format!("{file}\n{text}"), &host, port, &key);
    assert_eq!(with(&format!("# {}", line(&name))), verdict, "a comment");
    assert_eq!(with(&line("other.example.test")), verdict, "another host");
    assert_eq!(with(&format!("@cert-authority {}", line("*"))), verdict, "an authority");
    let known = with(&line(&name));
    assert!(
        if verdict == HostKeyVerdict::Revoked { known == verdict } else { known == HostKeyVerdict::Known },
        "{known:?}"
    );
    assert_eq!(with(&format!("@revoked {}", line("*"))), HostKeyVerdict::Revoked);
    assert_eq!(judge(&format!("@revoked {}{file}", line("*")), &host, port, &key), HostKeyVerdict::Revoked);
    assert!(judge(&file, &host.to_ascii_uppercase(), port, &key) == verdict, "host names have no case");

    let (pattern, rest) = two_parts(file.as_bytes());
    let name = two_parts(rest).0;
    if let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), std::str::from_utf8(name))
        && pattern.len() <= 40
        && name.len() <= 40
    {
        assert_eq!(glob(pattern, name), by_definition(pattern.as_bytes(), name.as_bytes()), "{pattern:?} {name:?}");
        assert!(!matches_any(&format!("!*,{pattern}"), name) || pattern.starts_with("|1|"), "a negation wins");
    }
    let shown = key_type(data);
    assert!(shown.chars().count() <= 40 && !shown.chars().any(crate::text::is_deceptive));
}

/// Matches by the definition, row by row: `*` is any run of bytes, `?` any one, another byte itself.
fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for letter in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match letter {
                b'*' => row[at] || (at > 0 && next[at - 1]),
                b'?' => at > 0 && row[at - 1],
                letter => at > 0 && row[at - 1] && name[at - 1] == *letter,
            };
        }
        row = next;
    }
    row[name.len()]
}

/// Splits off the first line.
fn two_parts(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
