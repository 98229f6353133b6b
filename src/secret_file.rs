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
