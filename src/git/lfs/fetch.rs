//! The objects of Git LFS: which server has them, how they are had there, and bringing those that the volume lacks.
//!
//! What is lacking is told by whoever knows trees. `server` finds the server, `batch` speaks its language, `api` makes the
//! requests, `land` writes what comes in. Several come at once; what was cut off goes on where it ended, in this fetch, in the
//! next or in another process. Nothing gets its name before its hash was compared.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use git2::Oid;
use jiff::Timestamp;
use reqwest::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::git::engine::Engine;
use crate::git::error::{Cause, Error};
use crate::git::lfs::batch::{Download, PAGE, Said};
use crate::git::lfs::client::{AT_ONCE, Caller, Door, Trouble};
use crate::git::lfs::download::{Landed, Landing};
use crate::git::lfs::endpoint;
use crate::git::remote::request_auth::Purpose;
use crate::git::store::repository;
use crate::lfs::{self, Lacking, Objects, Pointer};
use crate::worker::{Cancel, Lost, Worker};

/// How often an object is tried without any progress.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// So much is progress.
const PROGRESS: u64 = 1 << 20;
/// An address that is good for less than this is not begun with.
const SOON: i64 = 5;
/// What should stay free besides.
const MARGIN: u64 = 16 << 20;
/// Parts of an object that wait for the disk. Each is up to half a megabyte.
const WAITING: usize = 2;

/// What was brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    pub objects: u64,
    /// Bytes received; what an earlier try had brought is not among them.
    pub bytes: u64,
}

/// What the engine keeps for it.
#[derive(Default)]
pub(crate) struct Kept {
    door: Mutex<Option<Door>>,
    /// One for each object that is on its way.
    writers: Mutex<Vec<Worker>>,
}

impl Engine {
    /// Brings objects onto the volume that the tree of a commit lacks. The commit itself has to be in the store. What is begun
    /// and not among them is thrown away.
    pub async fn fetch_objects(
        &self,
        commit: Oid,
        lacking: Vec<Lacking>,
        full_ref: Option<String>,
    ) -> Result<Brought, Error> {
        if lacking.is_empty() {
            return Ok(Brought::default());
        }
        let deadline = self.deadline();
        let server = self.run_until(deadline, move |inner, _| {
            endpoint::of(&repository::open(&inner.store)?, &inner.options, commit)
        });
        let engine = self.beside(server.await?);
        let folder = lfs::folder_beside(self.store());
        let (place, wanted) = (folder.clone(), lacking.clone());
        self.run_until(deadline, move |_, _| make_room(&place, &wanted)).await?;
        let pass = engine.pass(Purpose::Fetch, deadline).await?;
        let door = self.door(&engine);
        let api = Url::parse(engine.options().url.bare()).map_err(|error| Error::NoLfs {
            remote: engine.options().url.to_string(),
            source: Cause::new(&error.to_string()),
        })?;
        let caller = Caller { options: engine.options(), pass: &pass, door: &door, api };
        let task = Task { engine: self, caller, folder, full_ref, deadline };
        timeout_at(deadline, task.bring(&lacking)).await.unwrap_or_else(|_| Err(self.late()))
    }

    fn door(&self, engine: &Self) -> Door {
        let mut kept = self.inner().lfs.door.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(door) if door.url == engine.options().url.bare() => door.clone(),
            _ => kept.insert(Door::new(engine.options())).clone(),
        }
    }
}

/// Throws away what was begun and is not wanted any more, and sees to it that the rest fits.
fn make_room(folder: &Path, lacking: &[Lacking]) -> Result<(), Error> {
    let looked = || {
        let objects = Objects::open_or_make(folder)?;
        let wanted: HashSet<_> = lacking.iter().map(|lacking| lacking.pointer.id).collect();
        for (id, whole, _) in objects.all()? {
            if !whole && !wanted.contains(&id) {
                objects.give_up(&id)?;
            }
        }
        let mut needed = 0_u64;
        for lacking in lacking {
            let begun = objects.begun(&lacking.pointer.id)?;
            needed = needed.saturating_add(lacking.pointer.size.saturating_sub(begun));
        }
        Ok::<_, rustix::io::Errno>((needed, objects.room()?))
    };
    let (needed, free) = looked().map_err(|errno| Error::from_disk(folder, &errno.into()))?;
    if needed.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    let largest = lacking.iter().max_by_key(|lacking| lacking.pointer.size);
    let largest = largest.map(|lacking| format!("; the largest is {}, {} bytes", lacking.path, lacking.pointer.size));
    let words =
        format!("LFS objects of {needed} bytes are to come, and {free} are free{}", largest.unwrap_or_default());
    Err(Error::DiskFull { source: Cause::new(&words) })
}

struct Task<'a> {
    engine: &'a Engine,
    caller: Caller<'a>,
    folder: PathBuf,
    full_ref: Option<String>,
    deadline: Instant,
}

impl Task<'_> {
    async fn bring(&self, lacking: &[Lacking]) -> Result<Brought, Error> {
        let mut brought = Brought::default();
        let mut page = PAGE;
        let mut rest = lacking;
        while !rest.is_empty() {
            let (asked, others) = rest.split_at(page.min(rest.len()));
            let pointers: Vec<Pointer> = asked.iter().map(|lacking| lacking.pointer).collect();
            let Some(said) = self.ask(&pointers).await? else {
                if page == 1 {
                    return Err(self.caller.malformed("it takes no question about a single object"));
                }
                page /= 2;
                continue;
            };
            rest = others;
            let mut downloads = Vec::new();
            for (lacking, said) in asked.iter().zip(said) {
                match said {
                    Said::Here(download) => downloads.push((lacking, download)),
                    Said::No(source) => return Err(self.cannot_be_had(lacking, source)),
                }
            }
            let received = Instant::now();
            let mut downloads = downloads.into_iter();
            let mut coming = FuturesUnordered::new();
            loop {
                while coming.len() < AT_ONCE
                    && let Some((lacking, download)) = downloads.next()
                {
                    coming.push(self.object(lacking, download, received));
                }
                let Some(came) = coming.next().await else { break };
                brought.bytes += came?;
                brought.objects += 1;
            }
        }
        Ok(brought)
    }

    async fn ask(&self, pointers: &[Pointer]) -> Result<Option<Vec<Said>>, Error> {
        self.caller.batch(pointers, self.full_ref.as_deref(), Timestamp::now().as_second()).await
    }

    fn cannot_be_had(&self, lacking: &Lacking, source: Cause) -> Error {
        let (path, id, remote) = (lacking.path.clone(), lacking.pointer.id, self.caller.remote());
        Error::NoObject { path, id, remote, source }
    }

    /// Brings one object, and answers how many bytes came for it.
    async fn object(&self, lacking: &Lacking, mut download: Download, mut asked_at: Instant) -> Result<u64, Error> {
        let pointer = lacking.pointer;
        let told =
            |source: Error| Error::Object { path: lacking.path.clone(), id: pointer.id, source: Box::new(source) };
        let writer = Writer::take(self.engine);
        let folder = self.folder.clone();
        let begun = writer.run(self.deadline, move |cancel| Landing::begin(&folder, pointer, cancel)).await;
        let begun = begun.map_err(|lost| self.lost(lost)).flatten().map_err(told)?;
        // Who gave up on it stays stuck in the disk; the next try finds it done.
        let mut landing = begun.ok_or_else(|| told(self.engine.late()))?;
        let (mut came, mut tries, mut renewed) = (0, 0, false);
        // What a server that has to be asked from the start sends once more is no progress.
        let mut furthest = landing.so_far;
        loop {
            let is_over = download.good_for.is_some_and(|good| {
                good.saturating_sub(i64::try_from(asked_at.elapsed().as_secs()).unwrap_or(i64::MAX)) < SOON
            });
            let trouble = if is_over && !renewed {
                Trouble::Stale(Cause::new("its address is not good any more"))
            } else {
                match self.pour(&writer, landing, &download, pointer, &mut came).await {
                    Ok(Poured::Whole) => return Ok(came),
                    Ok(Poured::Open(back, trouble)) => {
                        landing = *back;
                        trouble
                    }
                    Err(error) => return Err(told(error)),
                }
            };
            if landing.so_far.saturating_sub(furthest) >= PROGRESS {
                tries = 0;
                renewed = false;
                furthest = landing.so_far;
            }
            tries += 1;
            let last = tries >= TRIES;
            match trouble {
                Trouble::Lasting(error) => return Err(told(error)),
                Trouble::Passing(error) if last => return Err(told(error)),
                Trouble::Passing(_) => sleep(PAUSE * 2_u32.pow(tries - 1)).await,
                Trouble::FromTheStart(why) if last => return Err(self.cannot_be_had(lacking, why)),
                Trouble::FromTheStart(_) => landing = self.restarted(&writer, landing).await.map_err(told)?,
                Trouble::Stale(why) if renewed => return Err(self.cannot_be_had(lacking, why)),
                Trouble::Stale(_) => {
                    // Once: what a new address does not help against is told.
                    renewed = true;
                    asked_at = Instant::now();
                    match self.ask(&[pointer]).await.map_err(told)?.and_then(|mut said| said.pop()) {
                        Some(Said::Here(anew)) => download = anew,
                        Some(Said::No(why)) => return Err(self.cannot_be_had(lacking, why)),
                        None => return Err(self.caller.malformed("it takes no question about a single object")),
                    }
                }
            }
        }
    }

    /// One request, and what comes of it.
    async fn pour(
        &self,
        writer: &Writer<'_>,
        mut landing: Landing,
        download: &Download,
        pointer: Pointer,
        came: &mut u64,
    ) -> Result<Poured, Error> {
        let mut from = landing.so_far;
        let all_there = from == pointer.size;
        let mut response = None;
        if !all_there {
            match self.caller.get(download, &pointer, from).await {
                Ok((answer, continues)) => {
                    if !continues {
                        // It sends all of it, whatever was asked.
                        from = 0;
                        landing = self.restarted(writer, landing).await?;
                    }
                    response = Some(answer);
                }
                Err(trouble) => return Ok(Poured::Open(Box::new(landing), trouble)),
            }
        }
        landing.patched |= from > 0;
        let (send, pieces) = mpsc::channel::<Bytes>(WAITING);
        let allowance = Arc::clone(&self.engine.options().allowance);
        let taking = writer.run(self.deadline, move |cancel| {
            let landed = landing.take(pieces, &allowance, cancel);
            (landing, landed)
        });
        let (taken, broke) = tokio::join!(taking, self.feed(response, send, came));
        let (landing, landed) = taken.map_err(|lost| self.lost(lost))?;
        let landing = Box::new(landing);
        let not_whole =
            || Error::Network { remote: self.caller.remote(), source: Cause::new("it ended before the object did") };
        Ok(match landed? {
            Landed::Whole => Poured::Whole,
            Landed::Open => Poured::Open(landing, Trouble::Passing(broke.unwrap_or_else(not_whole))),
            Landed::Wrong(what) if landing.patched => Poured::Open(landing, Trouble::FromTheStart(Cause::new(what))),
            Landed::Wrong(what) => {
                let source = Cause::new(what);
                Poured::Open(landing, Trouble::Lasting(Error::NotTheObject { remote: self.caller.remote(), source }))
            }
        })
    }

    /// Hands on what comes in, until it ends; then whoever takes it knows that it did. Says why if it broke off.
    async fn feed(&self, response: Option<Response>, to: mpsc::Sender<Bytes>, came: &mut u64) -> Option<Error> {
        let mut response = response?;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    *came += piece.len() as u64;
                    // Who takes no more has a reason, and tells it.
                    if to.send(piece).await.is_err() {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(self.caller.broken(error)),
            }
        }
    }

    async fn restarted(&self, writer: &Writer<'_>, mut landing: Landing) -> Result<Landing, Error> {
        let restarted = writer.run(self.deadline, move |_| landing.restart().map(|()| landing)).await;
        restarted.map_err(|lost| self.lost(lost)).flatten()
    }

    fn lost(&self, lost: Lost) -> Error {
        match lost {
            Lost::Deadline => self.engine.late(),
            source => Error::Internal { source },
        }
    }
}

enum Poured {
    Whole,
    Open(Box<Landing>, Trouble),
}

/// A thread of the engine's, given back when it is not needed any more.
struct Writer<'a> {
    engine: &'a Engine,
    worker: Option<Worker>,
}

impl<'a> Writer<'a> {
    fn take(engine: &'a Engine) -> Self {
        let idle = engine.inner().lfs.writers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { engine, worker: Some(idle.unwrap_or_else(|| Worker::new("lfs"))) }
    }

    async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        job: impl FnOnce(&Cancel) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        match &self.worker {
            Some(worker) => worker.run(deadline, job).await,
            None => Err(Lost::NoThread),
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut idle = self.engine.inner().lfs.writers.lock().unwrap_or_else(PoisonError::into_inner);
        // Kept for the next object; there are never more of them than were at work at once.
        let room = idle.len() < AT_ONCE;
        idle.extend(self.worker.take().filter(|_| room));
    }
}
