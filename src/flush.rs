//! Writing files and folders through to the disk, on file systems that cannot do it for every kind of file.
//!
//! Several network and FUSE file systems answer `fsync` of a folder with `EINVAL`, and some sandboxes refuse `syncfs`. That
//! is not a failure of the disk: no call helps there, and what was written is as durable as it gets. It must not know what
//! is written.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// True if the file system or the sandbox does not offer the operation, so that repeating it is of no use.
#[must_use]
pub fn is_unsupported(errno: Errno) -> bool {
    // OPNOTSUPP and NOTSUP are one number on Linux.
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOTTY].contains(&errno)
}

/// Reads "not supported" as done.
///
/// # Errors
/// Every other error.
pub fn if_supported(outcome: Result<(), Errno>) -> Result<(), Errno> {
    outcome.or_else(|errno| if is_unsupported(errno) { Ok(()) } else { Err(errno) })
}

/// Writes a file through to the disk, where the file system can do that.
///
/// # Errors
/// What the disk says.
pub fn file(file: &File) -> io::Result<()> {
    Ok(if_supported(rustix::fs::fsync(file))?)
}

/// Writes the names in a folder through to the disk, where the file system can do that.
///
/// # Errors
/// If the folder cannot be opened, or what the disk says.
pub fn folder(path: &Path) -> io::Result<()> {
    file(&File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_operation_is_no_failure_and_a_failing_disk_is_one() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
            assert_eq!(if_supported(Err(errno)), Ok(()));
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert_eq!(if_supported(Err(errno)), Err(errno));
        }
    }
}
