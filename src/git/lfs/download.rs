//! An object as it comes in: written behind what there is of it already, hashed on the way, named when it is whole.
//!
//! Blocking file work, on a thread of its own. It is not flushed, as packs are not: whoever uses an object compares its hash,
//! and what a loss of power spoilt is fetched anew. It must not know where the bytes come from.

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

/// The file that an object is written to.
pub(crate) struct Landing {
    folder: PathBuf,
    file: File,
    pointer: Pointer,
    hash: Sha256,
    /// How many bytes of it are there.
    pub so_far: u64,
    /// True if they came in more than one answer: then it is worth to begin anew if they do not make the object.
    pub patched: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Landed {
    Whole,
    /// The bytes came to an end before the object did.
    Open,
    /// More bytes than the pointer says, or others than its hash is of. They are thrown away.
    Wrong(&'static str),
}

impl Landing {
    /// Takes up what an earlier try, or an earlier process, has written. `None`: another one is still at it.
    pub(crate) fn begin(folder: &Path, pointer: Pointer, cancel: &Cancel) -> Result<Option<Self>, Error> {
        let failed = |error: std::io::Error| Error::from_disk(folder, &error);
        let file = Objects::open_or_make(folder)
            .and_then(|objects| objects.begin(&pointer.id))
            .map_err(|errno| failed(errno.into()))?;
        // A thread that was given up may still hang in a write to it.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let mut landing =
            Self { folder: folder.to_owned(), file, pointer, hash: Sha256::new(), so_far: 0, patched: false };
        let mut piece = vec![0; PIECE];
        loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            match landing.file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    landing.hash.update(&piece[..read]);
                    landing.so_far += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
            if landing.so_far > pointer.size {
                landing.restart()?;
                break;
            }
        }
        landing.patched = landing.so_far > 0;
        Ok(Some(landing))
    }

    /// Forgets what there is.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| Error::from_disk(&self.folder, &error))?;
        (self.hash, self.so_far, self.patched) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// Writes what comes until nothing comes any more, and gives the object its name if it is whole.
    /// What the volume may not hold any more is given up, and what came of it before with it.
    pub(crate) fn take(
        &mut self,
        mut pieces: Receiver<Bytes>,
        allowance: &Allowance,
        cancel: &Cancel,
    ) -> Result<Landed, Error> {
        while let Some(piece) = pieces.blocking_recv() {
            if cancel.is_cancelled() {
                return Ok(Landed::Open);
            }
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
        self.settle()
    }

    /// The same if nothing has to come: all of it may have been there already.
    pub(crate) fn settle(&mut self) -> Result<Landed, Error> {
        if self.so_far < self.pointer.size {
            return Ok(Landed::Open);
        }
        if ObjectId::of(self.hash.clone()) != self.pointer.id {
            return self.wrong("its bytes are others than those that its hash was made of");
        }
        let named = Objects::open_or_make(&self.folder).and_then(|objects| objects.finish(&self.pointer.id));
        named.map_err(|errno| Error::from_disk(&self.folder, &errno.into()))?;
        Ok(Landed::Whole)
    }

    fn wrong(&mut self, what: &'static str) -> Result<Landed, Error> {
        let patched = self.patched;
        self.restart()?;
        self.patched = patched;
        Ok(Landed::Wrong(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(content: &[u8]) -> Pointer {
        Pointer { id: ObjectId::of(Sha256::new_with_prefix(content)), size: content.len() as u64 }
    }

    fn take(landing: &mut Landing, pieces: &[&'static [u8]]) -> Landed {
        let (send, receive) = tokio::sync::mpsc::channel(16);
        for piece in pieces {
            send.try_send(Bytes::from_static(piece)).unwrap();
        }
        drop(send);
        landing.take(receive, &Allowance::default(), &Cancel::default()).unwrap()
    }

    fn begin(folder: &Path, pointer: Pointer) -> Landing {
        Landing::begin(folder, pointer, &Cancel::default()).unwrap().unwrap()
    }

    #[test]
    fn an_object_lands_in_parts_and_only_whole_and_right_ones_get_their_name() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("lfs");
        let wanted = pointer(b"one two three");
        let objects = || Objects::open(&folder).unwrap().unwrap();
        let mut landing = begin(&folder, wanted);
        assert_eq!((landing.so_far, landing.patched), (0, false));
        assert_eq!(take(&mut landing, &[b"one ", b"two"]), Landed::Open);
        assert!(Landing::begin(&folder, wanted, &Cancel::default()).unwrap().is_none(), "one at a time");
        drop(landing);
        let mut landing = begin(&folder, wanted);
        assert_eq!((landing.so_far, landing.patched), (7, true));
        assert_eq!(take(&mut landing, &[b" thirty"]), Landed::Wrong("it is longer than its pointer says"));
        assert_eq!(landing.so_far, 0);
        assert!(matches!(take(&mut landing, &[b"one two threE"]), Landed::Wrong(_)));
        assert!(!objects().holds(&wanted).unwrap());
        assert_eq!(take(&mut landing, &[b"one two three"]), Landed::Whole);
        assert!(objects().holds(&wanted).unwrap());
        assert_eq!(objects().begun(&wanted.id).unwrap(), 0);

        // What an earlier process left may be all of it, or more than all.
        for (left, landed) in [(b"one two three".as_slice(), Landed::Whole), (b"one two three four", Landed::Open)] {
            objects().remove(&wanted.id).unwrap();
            objects().begin(&wanted.id).unwrap().write_all(left).unwrap();
            assert_eq!(begin(&folder, wanted).settle().unwrap(), landed);
        }
    }
}
