//! Replaces a file in one step: readers find the old content or the new one, never a part of either.
//!
//! The new content is written to a file beside the old one, which takes its name by `rename`. Other containers may write
//! to the same folder, so a file that lies there already is removed and the new one is created exclusively: no symlink is
//! followed. This module must not know what is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::flush;

/// The end of the name of a file that is not complete yet.
pub(crate) const UNFINISHED: &str = ".new";

/// How much of a replacement is on the disk when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// After a loss of power either content may be there, or an empty file.
    None,
    /// After a loss of power either content may be there, complete.
    Content,
    /// The new content is there, also after a loss of power.
    Full,
}

/// Replaces the file with what `write` writes, and returns the new file. Blocking.
///
/// # Errors
/// Those of `write` and of the file system. The file is as it was then.
pub(crate) fn file<T>(
    path: &Path,
    unfinished: &str,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<(File, T)> {
    let beside = beside(path, unfinished)?;
    remove(&beside)?;
    // `create_new` is `O_EXCL`, which follows no symlink (open(2)).
    let mut file = File::options().read(true).write(true).create_new(true).mode(0o664).open(&beside)?;
    let replaced = write(&mut file).and_then(|result| {
        if durability != Durability::None {
            // Before the rename: otherwise the name may reach the disk first, and a loss of power leaves an empty file.
            flush::file(&file)?;
        }
        fs::rename(&beside, path)?;
        Ok(result)
    });
    match replaced {
        Ok(result) => {
            if let (Durability::Full, Some(folder)) = (durability, path.parent()) {
                // The new name is on the disk once the folder is (fsync(2)).
                flush::folder(folder)?;
            }
            Ok((file, result))
        }
        Err(error) => {
            // If this fails as well, the next replacement removes it.
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// Removes a file that may not exist. Blocking.
///
/// # Errors
/// Those of the file system.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, unfinished: &str) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or_else(|| io::Error::other("the path has no name"))?.to_owned();
    name.push(unfinished);
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_old_content_stays_until_the_new_one_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        for (content, durability) in [("1", Durability::None), ("2", Durability::Content), ("3", Durability::Full)] {
            file(&path, UNFINISHED, durability, |file| file.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let failed = file(&path, UNFINISHED, Durability::Full, |file| {
            file.write_all(b"half")?;
            Err::<(), _>(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished stays");
    }

    #[test]
    fn a_symlink_beside_it_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("state"), folder.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        symlink(&other, folder.path().join("state.new")).unwrap();
        file(&path, UNFINISHED, Durability::None, |file| file.write_all(b"ours")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert!(!path.is_symlink());
        assert_eq!(fs::read_to_string(&other).unwrap(), "theirs");
    }
}
