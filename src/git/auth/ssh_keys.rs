//! Checks private key files for SSH before they are offered.
//!
//! libssh2 closes the whole connection at a file that it cannot parse, and gives no reason. ssh skips such a file, so
//! unusable files are sorted out here first. It must not know of servers.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey};

use crate::git::auth::pem;

/// The most bytes that are read of a key file. No private key is larger.
const LARGEST: u64 = 256 * 1024;

/// The magic bytes of a key in OpenSSH's own format (its PROTOCOL.key, section 1).
const MAGIC: &[u8] = b"openssh-key-v1\0";

const NO_KEY: &str = "it holds no private key";
const DAMAGED: &str = "the private key in it is cut off or damaged";
const UNSUPPORTED: &str = "its type is not supported here; give one of ed25519, ecdsa or rsa";

/// Reads a key file. The error says why the key cannot be used.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    // A device or a large file, given by mistake, must not fill the memory.
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    check_text(&text).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

fn check_text(text: &[u8]) -> Result<(), String> {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    // Text before and after the key is ignored.
    let text = String::from_utf8_lossy(text);
    pem::check_layout(&text)?;
    let Some(body) = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body) else {
        return check_pem(&text);
    };
    let body: String = body.split_ascii_whitespace().collect();
    let key = STANDARD.decode(body).map_err(|_| NO_KEY)?;
    let fields = key.strip_prefix(MAGIC).ok_or(NO_KEY)?;
    let (cipher, fields) = string(fields).ok_or(NO_KEY)?;
    if cipher != b"none" {
        return Err(pem::NEEDS_A_PASSPHRASE.to_owned());
    }
    let (_kdf, fields) = string(fields).ok_or(NO_KEY)?;
    let (_options, fields) = string(fields).ok_or(NO_KEY)?;
    // Skips the number of keys, which is always one.
    let (public, fields) = fields.get(4..).and_then(string).ok_or(NO_KEY)?;
    let (private, _) = string(fields).ok_or(NO_KEY)?;
    let (kind, public) = string(public).ok_or(NO_KEY)?;
    let fields = match kind {
        b"ssh-rsa" => RSA,
        b"ssh-ed25519" => ED25519,
        kind if kind.starts_with(b"ecdsa-sha2-") => ECDSA,
        kind => {
            let kind: String = kind.escape_ascii().to_string().chars().take(60).collect();
            return Err(format!("its type, {kind}, is not supported here; give one of ed25519, ecdsa or rsa"));
        }
    };
    if belongs(private, kind, public, fields) { Ok(()) } else { Err(DAMAGED.to_owned()) }
}

/// The number of fields of a private key between its type and its comment, and the positions of those that the public
/// key repeats, in its order (draft-miller-ssh-agent, "Adding keys to the agent").
type Fields = (usize, &'static [usize]);
const RSA: Fields = (6, &[1, 0]);
const ED25519: Fields = (2, &[0]);
const ECDSA: Fields = (3, &[0, 1]);

/// Returns true if the private half is complete and belongs to the public one.
fn belongs(private: &[u8], kind: &[u8], mut public: &[u8], (count, shared): Fields) -> bool {
    let Some((numbers, rest)) = private.split_first_chunk::<8>() else { return false };
    // OpenSSH stores the same number twice to detect a wrong passphrase.
    let Some((ours, mut rest)) = string(rest).filter(|_| numbers[..4] == numbers[4..]) else { return false };
    let mut fields = Vec::new();
    for _ in 0..=count {
        let Some((field, more)) = string(rest) else { return false };
        fields.push(field);
        rest = more;
    }
    let same = shared.iter().all(|at| {
        string(public).is_some_and(|(field, more)| {
            public = more;
            field == fields[*at]
        })
    });
    let padding = rest.iter().zip(1..).all(|(byte, expected)| *byte == expected);
    ours == kind && same && padding
}

/// Checks the formats that OpenSSL reads. libssh2 reads the same.
fn check_pem(text: &str) -> Result<(), String> {
    pem::check_plain(text)?;
    // Without the callback OpenSSL would ask for a passphrase on the terminal, and wait.
    let key = PKey::private_key_from_pem_callback(text.as_bytes(), |_| Ok(0)).map_err(|_| NO_KEY)?;
    let supported = match key.id() {
        Id::RSA | Id::ED25519 => true,
        Id::EC => {
            let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
            curve.is_some_and(|curve| [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1].contains(&curve))
        }
        _ => false,
    };
    if supported { Ok(()) } else { Err(UNSUPPORTED.to_owned()) }
}

/// Splits off a field with its length before it (RFC 4251, section 5, "string").
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
    #[expect(clippy::print_stderr, reason = "a skipped test says that it was skipped")]
    fn every_kind_of_key_from_ssh_keygen_is_recognized() {
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
                        Ok(()) => {
                            assert!(passphrase.is_empty(), "{name}");
                            if form == "RFC4716" {
                                every_damage_is_seen(&std::fs::read_to_string(&path).unwrap());
                            }
                        }
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

    /// Cuts the key anywhere, and changes any byte of its structure. (Wrong key numbers only the server can detect.)
    fn every_damage_is_seen(text: &str) {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let key = STANDARD.decode(body).unwrap();
        let wrap = |key: &[u8]| {
            let body = STANDARD.encode(key);
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n")
        };
        assert_eq!(check_text(wrap(&key).as_bytes()), Ok(()));
        for end in 0..key.len() {
            assert!(check_text(wrap(&key[..end]).as_bytes()).is_err(), "cut after {end} of {}", key.len());
        }
        // The number of keys and the public key follow the magic bytes and three fields. The private half begins with
        // two equal numbers and the type.
        let public = MAGIC.len() + 4 + 4 + 4 + 4 + 4 + 4;
        let length = u32::from_be_bytes(key[public - 4..public].try_into().unwrap());
        let private = public + usize::try_from(length).unwrap() + 4;
        for at in public..private + 8 + 4 + 4 {
            let mut damaged = key.clone();
            damaged[at] ^= 0x41;
            assert!(check_text(wrap(&damaged).as_bytes()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn key_types_that_ssh_does_not_have_are_refused() {
        use openssl::ec::{EcGroup, EcKey};
        let pem = |key: PKey<openssl::pkey::Private>| key.private_key_to_pem_pkcs8().unwrap();
        let curve = |nid| {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        for good in [PKey::generate_ed25519().unwrap(), curve(Nid::SECP384R1)] {
            assert_eq!(check_text(&pem(good)), Ok(()));
        }
        for bad in [PKey::generate_x25519().unwrap(), PKey::generate_ed448().unwrap(), curve(Nid::SECP256K1)] {
            assert_eq!(check_text(&pem(bad)).unwrap_err(), UNSUPPORTED);
        }
    }

    #[test]
    fn files_without_a_key_are_reported() {
        let cut = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n";
        let no_pem = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for text in ["", "garbage\n", cut, no_pem, "ssh-ed25519 AAAA ada@example\n"] {
            assert_eq!(check_text(text.as_bytes()).unwrap_err(), NO_KEY, "{text}");
        }
        assert_eq!(check_text(b"\xff\xfe").unwrap_err(), NO_KEY);
        let mut key = MAGIC.to_vec();
        let public = [&15_u32.to_be_bytes()[..], b"sk-ssh-ed25519@"].concat();
        let length = u32::try_from(public.len()).unwrap().to_be_bytes();
        for field in
            [&[0, 0, 0, 4][..], b"none", &[0, 0, 0, 4], b"none", &[0; 4], &[0, 0, 0, 1], &length, &public, &[0; 4]]
        {
            key.extend_from_slice(field);
        }
        let text =
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----", STANDARD.encode(key));
        assert!(check_text(text.as_bytes()).unwrap_err().contains("sk-ssh-ed25519@"));
        assert!(check(Path::new("/nowhere")).is_err());
    }
}
