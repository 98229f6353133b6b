//! Checks of files that flags name, such as keys and passwords.
//!
//! It must not know what a file is used for.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::secret::Secret;

use super::given::Given;

/// Reports a problem if the file cannot be opened. A value that is not a path may be the secret itself, given by
/// mistake.
pub(super) fn readable(given: &mut Given, name: &str, path: &Path, what: &str) {
    if let Err(error) = open(path) {
        given.problem(name, format!("{} cannot be read ({error}); mount a file with {what} there", shown(path)));
    }
}

/// The same for a file that must contain a valid password.
pub(super) fn password_file(given: &mut Given, name: &str, path: &Path) {
    readable(given, name, path, "the password");
    if open(path).is_ok()
        && let Ok(content) = std::fs::read(path)
        && let Err(wrong) = Secret::password(content)
    {
        given.problem(name, format!("{} contains no valid password: {wrong}", shown(path)));
    }
}

/// Returns the path for a message, unless the value is likely to be a secret that was given in place of its file.
pub(super) fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.starts_with(b"/") || bytes.starts_with(b".") {
        format!("`{}`", path.display())
    } else {
        "the file (not shown: it is not an absolute path and may be the secret itself)".to_owned()
    }
}

/// Opens a regular file to find out whether it can be read.
pub(super) fn open(path: &Path) -> io::Result<()> {
    // Opening a FIFO would block until it has a writer, and a device may be endless.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path).map(drop)
}
