//! The rules for a file that holds one secret: the webhook's, or the admin API's token.
//!
//! Errors tell lengths and reasons, never content.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::secret::Secret;

/// Shorter secrets can be guessed; GitHub's own advice is a random text of high entropy.
const SHORTEST: usize = 16;
/// Longer ones are a file mounted by mistake.
const LONGEST: usize = 512;

/// How much is read at most, to be able to tell the length of a wrong file. Also ends the reading of an endless one.
const MOST_READ: u64 = 64 * 1024;

/// Why a file does not hold a usable secret.
#[derive(Debug, thiserror::Error)]
pub enum BadSecretFile {
    #[error("cannot be read ({0})")]
    Unreadable(#[from] io::Error),
    #[error("cannot be read: its disk does not answer")]
    Silent,
    #[error("is not a file")]
    NotAFile,
    #[error("is empty; a secret has {SHORTEST} to {LONGEST} bytes, such as the output of `openssl rand -hex 32`")]
    Empty,
    #[error(
        "holds {0} bytes; a secret has {SHORTEST} to {LONGEST} bytes, such as the output of `openssl rand -hex 32`"
    )]
    Length(usize),
    #[error("holds more than {MOST_READ} bytes; a secret has {SHORTEST} to {LONGEST} bytes")]
    Huge,
}

impl BadSecretFile {
    /// True if there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the secret in a file; one newline at its end does not count.
///
/// # Errors
/// If the file cannot be read or its content has not 16 to 512 bytes.
pub fn read(path: &Path) -> Result<Secret, BadSecretFile> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(BadSecretFile::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_READ + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_READ {
        return Err(BadSecretFile::Huge);
    }
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

/// Says what in a secret is probably not meant to be part of it; `None` if nothing looks odd. Every byte counts all the same,
/// since a secret may be anything, but GitHub's form takes one line of text.
#[must_use]
pub fn oddity(secret: &Secret) -> Option<String> {
    let bytes = secret.expose();
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_break = |byte: Option<&u8>| matches!(byte, Some(b'\n' | b'\r'));
    let mut odd = Vec::new();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        odd.push("looks like UTF-16 (it holds zero bytes or begins with its byte order mark)");
    } else {
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            odd.push("begins with a byte order mark (U+FEFF)");
        }
        if is_break(bytes.first()) || is_break(bytes.last()) {
            odd.push("begins or ends with another line break than the one at its end that does not count");
        }
        let middle = bytes.trim_ascii();
        if middle.iter().any(u8::is_ascii_control) {
            odd.push("holds a control character or a line break inside");
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
        format!("the secret {odd}; all of that counts as part of it, so signatures fit only if the sender has the same")
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
    fn what_is_hardly_meant_to_be_part_of_a_secret_is_told() {
        let utf_16: Vec<u8> = "0123456789abcdef".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 14] = [
            (b"\xef\xbb\xbf0123456789abcdef", "byte order mark (U+FEFF)"),
            (b"\xff\xfe0123456789abcdef", "UTF-16"),
            (b"\xfe\xff0123456789abcdef", "UTF-16"),
            (&utf_16, "UTF-16"),
            (b"0123456789\x07abcdef", "control character"),
            (b"0123456789\nabcdefgh", "line break inside"),
            (b"0123456789\x7fabcdef", "control character"),
            (b"0123456789abcdef\n\n", "another line break"),
            (b"\n0123456789abcdef\n", "another line break"),
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
    fn lengths_outside_the_bounds_are_told() {
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
