//! Two files for programs without network access: one is touched at each publish, the other contains the current
//! error.
//!
//! Other containers may write to the same volume, so no symlink is followed and no call waits for a pipe. All
//! functions block. This module must not know of syncs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use serde::Serialize;

use crate::replace::{self, Durability};

/// The end of the name of an error file that is not complete yet: the folder is the user's.
const UNFINISHED: &str = ".pushsync-new";

/// The absolute paths of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeOptions {
    /// `--touch-file`
    pub touch: Option<PathBuf>,
    /// `--error-file`
    pub error: Option<PathBuf>,
}

/// The content of the error file, in git-sync's format.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Notice {
    pub msg: String,
    pub err: String,
    pub args: serde_json::Map<String, serde_json::Value>,
}

impl Notice {
    /// Creates a notice from a message and an error, without arguments.
    #[must_use]
    pub fn new(msg: &str, err: String) -> Self {
        Self { msg: msg.to_owned(), err, args: serde_json::Map::new() }
    }
}

/// Creates the file if it is missing and sets its times to now.
///
/// # Errors
/// If that fails, or the path is not a regular file.
pub fn touch(path: &Path) -> io::Result<()> {
    make_folder(path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::from_bits_truncate(0o664));
    let opened = match open() {
        // On a shared volume, another user's process may have created the file. It is empty, so replacing it loses
        // nothing.
        Err(Errno::ACCESS) if fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.len() == 0) => {
            fs::remove_file(path)?;
            open()
        }
        opened => opened,
    };
    let file = File::from(opened?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now })?)
}

/// Replaces the error file atomically.
///
/// # Errors
/// If writing fails; the file is unchanged then.
pub fn tell(path: &Path, notice: &Notice) -> io::Result<()> {
    replace(path, &serde_json::to_vec(notice)?)
}

/// The same with plain text, which git-sync writes for an invalid command line.
///
/// # Errors
/// If writing fails.
pub fn tell_plainly(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text.as_bytes())
}

/// Removes the error file.
///
/// # Errors
/// If the file exists and cannot be removed.
pub fn clear(path: &Path) -> io::Result<()> {
    replace::remove(path)?;
    // Also remove the temporary file that a kill during `tell` may have left.
    let mut beside = path.as_os_str().to_owned();
    beside.push(UNFINISHED);
    replace::remove(Path::new(&beside))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    make_folder(path)?;
    replace::file(path, UNFINISHED, Durability::None, |file| {
        file.write_all(content)?;
        // The file must be readable regardless of the umask.
        Ok(rustix::fs::fchmod(&*file, Mode::from_bits_truncate(0o644))?)
    })?;
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_error_is_written_in_git_syncs_format_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/errors.json");
        let args = serde_json::json!({ "phase": "fetch" }).as_object().unwrap().clone();
        tell(&path, &Notice { msg: "sync failed".into(), err: "why \"it\" did".into(), args }).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"Msg":"sync failed","Err":"why \"it\" did","Args":{"phase":"fetch"}}"#);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        tell_plainly(&path, "plain\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "plain\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let half = folder.path().join("new/errors.json.pushsync-new");
        fs::write(&half, "a kill left it").unwrap();
        clear(&path).unwrap();
        clear(&path).unwrap();
        assert!(!path.exists() && !half.exists());
    }

    #[test]
    fn touching_creates_the_file_and_updates_its_time_but_follows_no_link_and_waits_for_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/touched");
        touch(&path).unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        fs::write(&path, "content stays").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        touch(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().modified().unwrap() > past);
        assert_eq!(fs::read_to_string(&path).unwrap(), "content stays");

        let target = folder.path().join("elsewhere");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(touch(&link).is_err() && !target.exists());
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(touch(&pipe).is_err());
        assert!(touch(folder.path()).is_err());
    }

    #[test]
    fn a_link_at_the_path_of_the_temporary_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("errors"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("errors.pushsync-new")).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        tell_plainly(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
