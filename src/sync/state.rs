//! What a person decided and must survive a restart: the pause and the pin, in `.pushsync/state.json`.
//!
//! Written by rename, so it is either the old or the new decision. A file that cannot be read is reported and treated
//! as no decision: following the ref is what the sidecar is there for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use git2::Oid;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// A longer file is not ours.
const LONGEST: u64 = 64 * 1024;

/// The decisions in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    pub paused_until: Option<Timestamp>,
    pub pinned: Option<Oid>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    #[serde(default)]
    paused_until: Option<Timestamp>,
    #[serde(default)]
    pinned: Option<String>,
}

impl Decisions {
    /// Reads the file; none is the same as no decision. Blocking.
    ///
    /// # Errors
    /// If there is a file and it cannot be understood.
    pub fn load(path: &Path) -> io::Result<Self> {
        // Never through a symlink, and never waiting for the writer of a pipe, that somebody put there.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?,
        };
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        let document: Document = serde_json::from_str(&text)?;
        let pinned = match document.pinned {
            None => None,
            Some(commit) => Some(commit.parse().map_err(|_| io::Error::other("`pinned` is not a commit hash"))?),
        };
        Ok(Self { paused_until: document.paused_until, pinned })
    }

    /// Replaces the file, durably. Blocking.
    ///
    /// # Errors
    /// If the volume cannot be written; the file is as it was then.
    pub fn store(self, path: &Path) -> io::Result<()> {
        let document = Document {
            schema: crate::api::SCHEMA,
            paused_until: self.paused_until,
            pinned: self.pinned.map(|commit| commit.to_string()),
        };
        let beside = path.with_extension("json.new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&beside)?;
        file.write_all(&serde_json::to_vec(&document)?)?;
        crate::flush::file(&file)?;
        std::fs::rename(&beside, path)?;
        match path.parent() {
            Some(folder) => crate::flush::folder(folder),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_and_garbage_is_an_error_not_a_decision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(Decisions::load(&path).unwrap(), Decisions::default());
        let decisions = Decisions {
            paused_until: Some(Timestamp::UNIX_EPOCH),
            pinned: Some("0123456789012345678901234567890123456789".parse().unwrap()),
        };
        decisions.store(&path).unwrap();
        assert_eq!(Decisions::load(&path).unwrap(), decisions);
        for garbage in ["", "{", "{\"schema\":1,\"pinned\":\"../../etc\"}"] {
            std::fs::write(&path, garbage).unwrap();
            assert!(Decisions::load(&path).is_err(), "{garbage}");
        }
        Decisions::default().store(&path).unwrap();
        assert_eq!(Decisions::load(&path).unwrap(), Decisions::default());
    }
}
