//! Flushes files and folders to the disk, on file systems that do not support it for every kind of file.
//!
//! Several network and FUSE file systems answer `fsync` of a folder with `EINVAL`, and some sandboxes forbid
//! `syncfs`. That is no failure of the disk: no other call would help, so the data is as durable as the file system
//! permits. This module must not know what is written.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Returns true if the file system or the sandbox does not support the operation, so that a retry is useless.
#[must_use]
pub(crate) fn is_unsupported(errno: Errno) -> bool {
    // OPNOTSUPP and NOTSUP are the same number on Linux.
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOTTY].contains(&errno)
}

/// Treats "not supported" as success.
///
/// # Errors
/// Every other error.
pub(crate) fn if_supported(outcome: Result<(), Errno>) -> Result<(), Errno> {
    outcome.or_else(|errno| if is_unsupported(errno) { Ok(()) } else { Err(errno) })
}

/// Flushes a file to the disk, if the file system supports it.
///
/// # Errors
/// The error of the file system.
pub(crate) fn file(file: &File) -> io::Result<()> {
    Ok(if_supported(rustix::fs::fsync(file))?)
}

/// Flushes the names in a folder to the disk, if the file system supports it.
///
/// # Errors
/// If the folder cannot be opened, or the error of the file system.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    file(&File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_operations_succeed_and_disk_errors_fail() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
            assert_eq!(if_supported(Err(errno)), Ok(()));
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert_eq!(if_supported(Err(errno)), Err(errno));
        }
    }
}
