//! The decisions that survive a restart: the pause and the pin, in `.pushsync/state.json`.
//!
//! Written by rename, so it is either the old or the new decision. A file that cannot be read is reported and treated
//! as no decision: following the ref is what the sidecar is there for.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use git2::Oid;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::replace::{self, Durability};
use crate::text::one_line;

/// A longer label is cut.
pub(crate) const LONGEST_LABEL: usize = 100;

/// A longer file is not ours.
const LONGEST: u64 = 64 * 1024;

/// The decisions in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decisions {
    pub paused_until: Option<Timestamp>,
    /// The person who decided it, as far as that is known.
    pub paused_by: Option<String>,
    pub pinned: Option<Oid>,
    pub pinned_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    #[serde(default)]
    paused_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused_by: Option<String>,
    #[serde(default)]
    pinned: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned_by: Option<String>,
}

impl Decisions {
    /// Reads the file. `None`: there is none, so nothing was ever decided on this volume. Blocking.
    ///
    /// # Errors
    /// If there is a file and it cannot be understood.
    pub(crate) fn load(path: &Path) -> io::Result<Option<Self>> {
        // Another process can write to the volume, so a symlink is not followed and a pipe is not waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        let document: Document = serde_json::from_str(&text)?;
        let pinned = match document.pinned {
            None => None,
            Some(commit) => Some(commit.parse().map_err(|_| io::Error::other("`pinned` is not a commit hash"))?),
        };
        // Others may write to the volume, so the labels are cleaned again.
        let label =
            |text: Option<String>| text.map(|text| one_line(&text, LONGEST_LABEL)).filter(|text| !text.is_empty());
        Ok(Some(Self {
            paused_until: document.paused_until,
            paused_by: label(document.paused_by).filter(|_| document.paused_until.is_some()),
            pinned,
            pinned_by: label(document.pinned_by).filter(|_| pinned.is_some()),
        }))
    }

    /// True if a pause or pin of `before` is over.
    #[must_use]
    pub(crate) fn releases(&self, before: &Self) -> bool {
        (before.paused_until.is_some() && self.paused_until.is_none())
            || (before.pinned.is_some() && self.pinned.is_none())
    }

    /// Replaces the file, durably. Blocking.
    ///
    /// # Errors
    /// If the volume cannot be written; the file is as it was then.
    pub(crate) fn store(self, path: &Path) -> io::Result<()> {
        let document = Document {
            schema: crate::api::SCHEMA,
            paused_until: self.paused_until,
            paused_by: self.paused_by,
            pinned_by: self.pinned_by,
            pinned: self.pinned.map(|commit| commit.to_string()),
        };
        let document = serde_json::to_vec(&document)?;
        replace::file(path, replace::UNFINISHED, Durability::Full, |file| file.write_all(&document))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_survive_and_garbage_is_an_error_not_a_decision() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(Decisions::load(&path).unwrap(), None);
        let decisions = Decisions {
            paused_until: Some(Timestamp::UNIX_EPOCH),
            paused_by: Some("ada@laptop".to_owned()),
            pinned: Some("0123456789012345678901234567890123456789".parse().unwrap()),
            pinned_by: None,
        };
        decisions.clone().store(&path).unwrap();
        assert_eq!(Decisions::load(&path).unwrap(), Some(decisions));
        for garbage in ["", "{", "{\"schema\":1,\"pinned\":\"../../etc\"}"] {
            std::fs::write(&path, garbage).unwrap();
            assert!(Decisions::load(&path).is_err(), "{garbage}");
        }
        Decisions::default().store(&path).unwrap();
        assert_eq!(Decisions::load(&path).unwrap(), Some(Decisions::default()));
    }
}
