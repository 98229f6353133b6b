//! Writes an object as it arrives: appends to the bytes that are there, hashes them, and names the object when it is
//! complete.
//!
//! Blocking file work, on a thread of its own. Like packs, objects are not flushed: each use compares the hash, and an
//! object that a loss of power damaged is fetched again. It must not know where the bytes come from.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Receiver;

use crate::allowance::Allowance;
use crate::git::error::Error;
use crate::lfs::{ObjectId, Objects, Pointer};
use crate::worker::Cancel;

const PIECE: usize = 256 * 1024;

/// The file of an incomplete object.
pub(crate) struct PartialObject {
    folder: PathBuf,
    file: File,
    pointer: Pointer,
    hash: Sha256,
    /// The number of bytes that are there.
    pub so_far: u64,
    /// True if the bytes came in more than one response: then a mismatch is worth a new start.
    pub resumed: bool,
}

/// The outcome of writing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    Complete,
    /// The bytes ended before the object did.
    Incomplete,
    /// There are more bytes than the pointer says, or their hash differs. They were dropped.
    Mismatch(&'static str),
}

impl PartialObject {
    /// Opens the file that an earlier attempt, or an earlier process, has written. `None`: another thread is still
    /// writing it.
    pub(crate) fn begin(folder: &Path, pointer: Pointer, cancel: &Cancel) -> Result<Option<Self>, Error> {
        let failed = |error: std::io::Error| Error::from_disk(folder, &error);
        let file = Objects::open_or_make(folder)
            .and_then(|objects| objects.begin(&pointer.id))
            .map_err(|errno| failed(errno.into()))?;
        // An abandoned thread may still hang in a write to it.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let mut partial =
            Self { folder: folder.to_owned(), file, pointer, hash: Sha256::new(), so_far: 0, resumed: false };
        let mut piece = vec![0; PIECE];
        loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            match partial.file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    // The state of a hash cannot be stored, so the bytes of earlier attempts are hashed again.
                    partial.hash.update(&piece[..read]);
                    partial.so_far += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
            if partial.so_far > pointer.size {
                partial.restart()?;
                break;
            }
        }
        partial.resumed = partial.so_far > 0;
        Ok(Some(partial))
    }

    /// Drops all bytes.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| Error::from_disk(&self.folder, &error))?;
        (self.hash, self.so_far, self.resumed) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// Writes the parts until the channel closes, and names the object if it is complete. If the allowance is exceeded, the
    /// object is discarded, with the bytes of earlier attempts.
    pub(crate) fn take(
        &mut self,
        mut pieces: Receiver<Bytes>,
        allowance: &Allowance,
        cancel: &Cancel,
    ) -> Result<WriteOutcome, Error> {
        while let Some(piece) = pieces.blocking_recv() {
            if cancel.is_cancelled() {
                return Ok(WriteOutcome::Incomplete);
            }
            // Checked before it is written: a server must not fill the volume.
            if self.so_far + piece.len() as u64 > self.pointer.size {
                return self.wrong("it is longer than its pointer says");
            }
            if let Err(exceeded) = allowance.take(piece.len() as u64) {
                self.restart()?;
                return Err(Error::over_limit(exceeded));
            }
            self.file.write_all(&piece).map_err(|error| Error::from_disk(&self.folder, &error))?;
            self.hash.update(&piece);
            self.so_far += piece.len() as u64;
        }
        self.finish()
    }

    /// Names the object if it is complete. All bytes may have been there before.
    pub(crate) fn finish(&mut self) -> Result<WriteOutcome, Error> {
        if self.so_far < self.pointer.size {
            return Ok(WriteOutcome::Incomplete);
        }
        if ObjectId::of(self.hash.clone()) != self.pointer.id {
            return self.wrong("its bytes are others than those that its hash was made of");
        }
        let named = Objects::open_or_make(&self.folder).and_then(|objects| objects.finish(&self.pointer.id));
        named.map_err(|errno| Error::from_disk(&self.folder, &errno.into()))?;
        Ok(WriteOutcome::Complete)
    }

    fn wrong(&mut self, what: &'static str) -> Result<WriteOutcome, Error> {
        let resumed = self.resumed;
        self.restart()?;
        // `restart` clears it, and the caller has to know whether another attempt makes sense.
        self.resumed = resumed;
        Ok(WriteOutcome::Mismatch(what))
    }
}

impl Drop for PartialObject {
    /// Unlocks by name: a child between fork and exec has a copy of the file, and the next download would be refused.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(content: &[u8]) -> Pointer {
        Pointer { id: ObjectId::of(Sha256::new_with_prefix(content)), size: content.len() as u64 }
    }

    fn take(partial: &mut PartialObject, pieces: &[&'static [u8]]) -> WriteOutcome {
        let (send, receive) = tokio::sync::mpsc::channel(16);
        for piece in pieces {
            send.try_send(Bytes::from_static(piece)).unwrap();
        }
        drop(send);
        partial.take(receive, &Allowance::default(), &Cancel::default()).unwrap()
    }

    fn begin(folder: &Path, pointer: Pointer) -> PartialObject {
        PartialObject::begin(folder, pointer, &Cancel::default()).unwrap().expect("the object is not locked")
    }

    #[test]
    fn a_dropped_download_releases_its_lock_although_a_child_inherited_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let partial = begin(folder.path(), pointer(b"one two three"));
        // As fork copies it.
        let _copy = partial.file.try_clone().unwrap();
        drop(partial);
        begin(folder.path(), pointer(b"one two three"));
    }

    #[test]
    fn an_object_is_written_in_parts_and_named_only_if_complete_and_correct() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("lfs");
        let wanted = pointer(b"one two three");
        let objects = || Objects::open(&folder).unwrap().unwrap();
        let mut partial = begin(&folder, wanted);
        assert_eq!((partial.so_far, partial.resumed), (0, false));
        assert_eq!(take(&mut partial, &[b"one ", b"two"]), WriteOutcome::Incomplete);
        assert!(PartialObject::begin(&folder, wanted, &Cancel::default()).unwrap().is_none(), "one at a time");
        drop(partial);
        let mut partial = begin(&folder, wanted);
        assert_eq!((partial.so_far, partial.resumed), (7, true));
        assert_eq!(take(&mut partial, &[b" thirty"]), WriteOutcome::Mismatch("it is longer than its pointer says"));
        assert_eq!(partial.so_far, 0);
        assert!(matches!(take(&mut partial, &[b"one two threE"]), WriteOutcome::Mismatch(_)));
        assert!(!objects().holds(&wanted).unwrap());
        assert_eq!(take(&mut partial, &[b"one two three"]), WriteOutcome::Complete);
        assert!(objects().holds(&wanted).unwrap());
        assert_eq!(objects().begun(&wanted.id).unwrap(), 0);

        // An earlier process may have left all bytes, or more.
        for (left, outcome) in
            [(b"one two three".as_slice(), WriteOutcome::Complete), (b"one two three four", WriteOutcome::Incomplete)]
        {
            objects().remove(&wanted.id).unwrap();
            objects().begin(&wanted.id).unwrap().write_all(left).unwrap();
            assert_eq!(begin(&folder, wanted).finish().unwrap(), outcome);
        }
    }
}
