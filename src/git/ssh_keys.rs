//! Which files with private keys can be used, and what is wrong with the others.
//!
//! libssh2 ends the whole connection at a file that it cannot make a key of, and says of it only that. ssh itself passes
//! such a file over, so they are told apart before any is offered. It must not know of servers.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::PKey;

/// No private key is larger; what is, is another file.
const LARGEST: u64 = 256 * 1024;

/// What a key in OpenSSH's own form begins with (its PROTOCOL.key, section 1).
const MAGIC: &[u8] = b"openssh-key-v1\0";

const NEEDS_A_PASSPHRASE: &str = "it needs a passphrase, and nobody is here to type it; give a key without one";
const NO_KEY: &str = "it holds no private key";

/// Reads a key file, and says why it is of no use.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    check_text(&text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

fn check_text(text: &[u8]) -> Result<(), String> {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    let text = std::str::from_utf8(text).map_err(|_| NO_KEY)?;
    let Some(body) = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body) else {
        return check_pem(text);
    };
    let body: String = body.split_ascii_whitespace().collect();
    let key = STANDARD.decode(body).map_err(|_| NO_KEY)?;
    let fields = key.strip_prefix(MAGIC).ok_or(NO_KEY)?;
    let (cipher, fields) = string(fields).ok_or(NO_KEY)?;
    if cipher != b"none" {
        return Err(NEEDS_A_PASSPHRASE.to_owned());
    }
    let (_, fields) = string(fields).ok_or(NO_KEY)?;
    let (_, fields) = string(fields).ok_or(NO_KEY)?;
    // After the number of keys, which is always one, the public key, whose first field is its type.
    let (public, _) = fields.get(4..).and_then(string).ok_or(NO_KEY)?;
    let (kind, _) = string(public).ok_or(NO_KEY)?;
    match kind {
        b"ssh-rsa" | b"ssh-ed25519" => Ok(()),
        kind if kind.starts_with(b"ecdsa-sha2-") => Ok(()),
        kind => Err(format!(
            "its type, {}, is not supported here; give one of ed25519, ecdsa or rsa",
            kind.escape_ascii().to_string().chars().take(60).collect::<String>()
        )),
    }
}

/// The forms that OpenSSL reads, of which libssh2 reads the same.
fn check_pem(text: &str) -> Result<(), String> {
    // Asked for a passphrase in either form: RFC 1421's header, or PKCS #8.
    if text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return Err(NEEDS_A_PASSPHRASE.to_owned());
    }
    match PKey::private_key_from_pem_callback(text.as_bytes(), |_| Ok(0)) {
        Ok(_) => Ok(()),
        Err(_) => Err(NO_KEY.to_owned()),
    }
}

/// A field with its length before it (RFC 4251, section 5, "string"), and what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn keygen(folder: &Path, name: &str, options: &[&str]) -> Option<std::path::PathBuf> {
        let path = folder.join(name);
        let made = Command::new("ssh-keygen").args(["-q", "-f"]).arg(&path).args(options).status();
        match made {
            Ok(status) => {
                assert!(status.success(), "{options:?}");
                Some(path)
            }
            Err(_) => None,
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "who skips says so")]
    fn every_kind_of_key_that_ssh_keygen_makes_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = 0;
        for form in ["RFC4716", "PEM", "PKCS8"] {
            for kind in [["rsa", "2048"], ["ecdsa", "256"], ["ecdsa", "521"], ["ed25519", "256"]] {
                if kind[0] == "ed25519" && form != "RFC4716" {
                    continue;
                }
                for passphrase in ["", "open sesame"] {
                    let name = format!("{form}-{}-{}-{}", kind[0], kind[1], passphrase.len());
                    let options = ["-t", kind[0], "-b", kind[1], "-m", form, "-N", passphrase];
                    let Some(path) = keygen(folder.path(), &name, &options) else { continue };
                    made += 1;
                    match check(&path) {
                        Ok(()) => assert!(passphrase.is_empty(), "{name}"),
                        Err(error) => {
                            assert!(!passphrase.is_empty(), "{name}: {error}");
                            assert!(error.to_string().contains("passphrase"), "{name}: {error}");
                        }
                    }
                }
            }
        }
        if made == 0 {
            assert!(std::env::var_os("CI").is_none(), "ssh-keygen is missing");
            eprintln!("SKIPPED: there is no ssh-keygen");
        }
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let cut = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n";
        let no_pem = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for text in ["", "garbage\n", cut, no_pem, "ssh-ed25519 AAAA ada@example\n"] {
            assert_eq!(check_text(text.as_bytes()).unwrap_err(), NO_KEY, "{text}");
        }
        assert_eq!(check_text(b"\xff\xfe").unwrap_err(), NO_KEY);
        let mut key = MAGIC.to_vec();
        let public = [&15_u32.to_be_bytes()[..], b"sk-ssh-ed25519@"].concat();
        let length = u32::try_from(public.len()).unwrap().to_be_bytes();
        for field in [&[0, 0, 0, 4][..], b"none", &[0, 0, 0, 4], b"none", &[0; 4], &[0, 0, 0, 1], &length, &public] {
            key.extend_from_slice(field);
        }
        let text =
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----", STANDARD.encode(key));
        assert!(check_text(text.as_bytes()).unwrap_err().contains("sk-ssh-ed25519@"));
        assert!(check(Path::new("/nowhere")).is_err());
    }
}
