//! The rules for a file that contains one secret: the webhook's, or the admin API's token.
//!
//! Errors contain lengths and reasons, never content.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::secret::Secret;

/// Shorter secrets can be guessed; GitHub recommends a random text with high entropy.
const SHORTEST: usize = 16;
/// Longer content indicates that the wrong file was mounted.
const LONGEST: usize = 512;

/// How much is read at most. More than [`LONGEST`], so that the error can state the length. Also limits the reading
/// of an endless file.
const MOST_READ: u64 = 64 * 1024;

/// Why a file contains no usable secret.
#[derive(Debug, thiserror::Error)]
pub enum BadSecretFile {
    #[error("cannot be read ({0})")]
    Unreadable(#[from] io::Error),
    #[error("cannot be read: reading takes too long")]
    Silent,
    /// Files are read on threads, because a disk may hang.
    #[error(
        "cannot be read: the system starts no more threads ({0}); raise the limit of processes and threads (pids.max of \
         the container or pod, ulimit -u)"
    )]
    NoThread(io::Error),
    #[error("is not a file")]
    NotAFile,
    #[error("is empty; a secret has {SHORTEST} to {LONGEST} bytes, such as the output of `openssl rand -hex 32`")]
    Empty,
    #[error("has {0} bytes; a secret has {SHORTEST} to {LONGEST} bytes, such as the output of `openssl rand -hex 32`")]
    Length(usize),
    #[error("has more than {MOST_READ} bytes; a secret has {SHORTEST} to {LONGEST} bytes")]
    Huge,
}

impl BadSecretFile {
    /// Returns true if the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the secret in a file, without one line break at its end.
///
/// # Errors
/// [`BadSecretFile`], for example if the content is not 16 to 512 bytes long.
pub(crate) fn read(path: &Path) -> Result<Secret, BadSecretFile> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(BadSecretFile::NotAFile);
    }
    let mut bytes = Vec::new();
    // One byte more, to tell a longer file from one of exactly this size.
    File::open(path)?.take(MOST_READ + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_READ {
        return Err(BadSecretFile::Huge);
    }
    // `echo` and editors add a line break, and `kubectl create secret --from-file` keeps it.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    match bytes.len() {
        0 => Err(BadSecretFile::Empty),
        SHORTEST..=LONGEST => Ok(Secret::new(bytes)),
        length => Err(BadSecretFile::Length(length)),
    }
}

/// Describes parts of a secret that are probably unintended; `None` if there are none. All bytes are used anyway,
/// because a secret may contain any bytes. GitHub's form accepts only one line of text.
#[must_use]
pub(crate) fn oddity(secret: &Secret) -> Option<String> {
    let bytes = secret.expose();
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_break = |byte: Option<&u8>| matches!(byte, Some(b'\n' | b'\r'));
    let mut odd = Vec::new();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        odd.push("looks like UTF-16 (it contains zero bytes or begins with a UTF-16 byte order mark)");
    } else {
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            odd.push("begins with a byte order mark (U+FEFF)");
        }
        if is_break(bytes.first()) || is_break(bytes.last()) {
            odd.push("begins with a line break, or ends with more than the one that is removed");
        }
        let middle = bytes.trim_ascii();
        if middle.iter().any(u8::is_ascii_control) {
            odd.push("contains a control character or a line break");
        }
    }
    if is_blank(bytes.first()) {
        odd.push("begins with a blank");
    }
    if is_blank(bytes.last()) {
        odd.push("ends with a blank");
    }
    (!odd.is_empty()).then(|| {
        let odd = odd.join(" and ");
        format!(
            "the secret {odd}; these are part of it, so signatures match only if the sender uses exactly the same bytes"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(content: &[u8]) -> Result<Secret, BadSecretFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        read(&path)
    }

    #[test]
    fn one_newline_at_the_end_does_not_count() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"0123456789abcdef", b"0123456789abcdef"),
            (b"0123456789abcdef\n", b"0123456789abcdef"),
            (b"0123456789abcdef\r\n", b"0123456789abcdef"),
            (b"0123456789abcdef\n\n", b"0123456789abcdef\n"),
        ];
        for (content, expected) in cases {
            assert!(reading(content).is_ok_and(|secret| secret.expose() == expected), "{content:?}");
        }
    }

    #[test]
    fn probably_unintended_parts_of_a_secret_are_reported() {
        let utf_16: Vec<u8> = "0123456789abcdef".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 14] = [
            (b"\xef\xbb\xbf0123456789abcdef", "byte order mark (U+FEFF)"),
            (b"\xff\xfe0123456789abcdef", "UTF-16"),
            (b"\xfe\xff0123456789abcdef", "UTF-16"),
            (&utf_16, "UTF-16"),
            (b"0123456789\x07abcdef", "control character"),
            (b"0123456789\nabcdefgh", "line break"),
            (b"0123456789\x7fabcdef", "control character"),
            (b"0123456789abcdef\n\n", "a line break, or ends"),
            (b"\n0123456789abcdef\n", "a line break, or ends"),
            (b" 0123456789abcdef\n", "begins with a blank"),
            (b"0123456789abcdef \n", "ends with a blank"),
            (b"0123456789abcdef\t", "ends with a blank"),
            (b"0123456789 abcdef\r\n", ""),
            ("0123456789 \u{fc}\u{4e2d} abcdef".as_bytes(), ""),
        ];
        for (content, expected) in cases {
            let told = oddity(&reading(content).unwrap()).unwrap_or_default();
            assert_eq!(told.is_empty(), expected.is_empty(), "{content:?}: {told}");
            assert!(told.contains(expected) && !told.contains("0123"), "{content:?}: {told}");
        }
        let both = oddity(&reading(b"\xef\xbb\xbf0123456789abcdef ").unwrap()).unwrap();
        assert!(both.contains("U+FEFF") && both.contains("ends with a blank"), "{both}");
    }

    #[test]
    fn lengths_outside_the_bounds_are_rejected() {
        assert!(matches!(reading(b""), Err(BadSecretFile::Empty)));
        assert!(matches!(reading(b"\n"), Err(BadSecretFile::Empty)));
        assert!(matches!(reading(b"fifteen bytes!!\n"), Err(BadSecretFile::Length(15))));
        assert!(matches!(reading(&[b'x'; 513]), Err(BadSecretFile::Length(513))));
        assert!(matches!(reading(&vec![b'x'; 70_000]), Err(BadSecretFile::Huge)));
        assert!(reading(&[b'x'; 512]).is_ok());
        assert!(matches!(read(Path::new("/")), Err(BadSecretFile::NotAFile)));
        assert!(read(Path::new("/no/such/file")).is_err_and(|bad| bad.is_missing()));
    }
}
