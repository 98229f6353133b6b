//! Downloads the LFS objects that the volume lacks: batch requests, parallel downloads, retries and resuming.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use git2::Oid;
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::backoff::doubled;
use crate::git::deadline::Deadline;
use crate::git::error::{Cause, Error};
use crate::git::lfs::batch::{Download, ObjectResponse, PAGE};
use crate::git::lfs::client::{AT_ONCE, DownloadError, EndpointClients, EndpointSession};
use crate::git::lfs::download::{PartialObject, WriteOutcome};
use crate::git::lfs::endpoint;
use crate::git::remote::connection::Remote;
use crate::git::remote::options::RemoteOptions;
use crate::git::remote::request_auth::{Purpose, request_auth};
use crate::git::store::handle::Store;
use crate::git::store::repository;
use crate::lfs::{self, Lacking, Objects, Pointer};
use crate::text::size;
use crate::worker::{Cancel, Lost, Worker};

/// How many attempts without progress an object gets.
const TRIES: u32 = 4;
/// The first pause after a failed attempt; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The bytes that count as progress.
const PROGRESS: u64 = 1 << 20;
/// An address that is valid for fewer seconds is not used.
const SOON: i64 = 5;
/// Bytes of the volume that should stay free.
const MARGIN: u64 = 16 << 20;
/// Parts of an object that may wait for the disk. Each is up to half a megabyte.
const WAITING: usize = 2;

/// The result of a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownloadedObjects {
    /// The number of objects that are complete now.
    pub objects: u64,
    /// Bytes received, without those of earlier attempts.
    pub bytes: u64,
}

/// The connections and threads for LFS, kept between fetches.
#[derive(Default)]
pub(crate) struct LfsClients {
    endpoint: Mutex<Option<EndpointClients>>,
    /// Idle threads that write downloads.
    writers: Mutex<Vec<Worker>>,
}

/// Downloads the objects that the tree of a commit needs and the volume lacks. The store has to have the commit. Interrupted
/// downloads of other objects are discarded.
pub(crate) async fn fetch_objects(
    store: &Store,
    remote: &Remote,
    clients: &LfsClients,
    commit: Oid,
    lacking: Vec<Lacking>,
    full_ref: Option<String>,
) -> Result<DownloadedObjects, Error> {
    if lacking.is_empty() {
        return Ok(DownloadedObjects::default());
    }
    let deadline = remote.deadline();
    let for_job = remote.clone();
    let options =
        store.run(&deadline, move |path, _| endpoint::of(&repository::open(path)?, for_job.options(), commit));
    let endpoint = Remote::new(options.await?);
    let folder = lfs::folder_beside(store.path());
    let (objects, wanted) = (folder.clone(), lacking.clone());
    store.run(&deadline, move |_, _| make_room(&objects, &wanted)).await?;
    let auth_deadline = endpoint.deadline_at(deadline.at());
    let auth = request_auth(store, &endpoint, Purpose::Fetch, &auth_deadline).await?;
    let options = endpoint.options();
    let api = Url::parse(options.url.bare())
        .map_err(|error| Error::NoLfs { remote: options.url.to_string(), source: Cause::new(&error.to_string()) })?;
    let session = EndpointSession { options, auth: &auth, clients: &clients.of_endpoint(options), api };
    let task = Downloads { clients, session, folder, full_ref, deadline: &deadline };
    deadline.limit(task.download_all(&lacking)).await
}

impl LfsClients {
    /// Returns the HTTP clients for an endpoint. Those for another one are dropped.
    fn of_endpoint(&self, options: &RemoteOptions) -> EndpointClients {
        let mut kept = self.endpoint.lock();
        match &*kept {
            Some(clients) if clients.url == options.url.bare() => clients.clone(),
            _ => kept.insert(EndpointClients::new(options)).clone(),
        }
    }
}

/// Discards interrupted downloads that are not wanted any more, and checks that the rest fits on the volume.
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
    let largest = largest.map(|lacking| format!("; the largest is {}, {}", lacking.path, size(lacking.pointer.size)));
    let (needed, free) = (size(needed), size(free));
    let words = format!("LFS objects of {needed} are to come, and {free} are free{}", largest.unwrap_or_default());
    Err(Error::DiskFull { source: Cause::new(&words) })
}

struct Downloads<'a> {
    clients: &'a LfsClients,
    session: EndpointSession<'a>,
    folder: PathBuf,
    full_ref: Option<String>,
    deadline: &'a Deadline,
}

impl Downloads<'_> {
    async fn download_all(&self, lacking: &[Lacking]) -> Result<DownloadedObjects, Error> {
        let mut downloaded = DownloadedObjects::default();
        let mut page = PAGE;
        let mut rest = lacking;
        while !rest.is_empty() {
            let (asked, others) = rest.split_at(page.min(rest.len()));
            let pointers: Vec<Pointer> = asked.iter().map(|lacking| lacking.pointer).collect();
            let Some(said) = self.ask(&pointers).await? else {
                if page == 1 {
                    return Err(self.session.malformed("it rejects even a request for a single object"));
                }
                // The server refuses requests of this length: ask for half as many objects.
                page /= 2;
                continue;
            };
            rest = others;
            let mut downloads = Vec::new();
            for (lacking, said) in asked.iter().zip(said) {
                match said {
                    ObjectResponse::Download(download) => downloads.push((lacking, download)),
                    ObjectResponse::Unavailable(source) => return Err(self.cannot_be_had(lacking, source)),
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
                downloaded.bytes += came?;
                downloaded.objects += 1;
            }
        }
        Ok(downloaded)
    }

    async fn ask(&self, pointers: &[Pointer]) -> Result<Option<Vec<ObjectResponse>>, Error> {
        self.session.batch(pointers, self.full_ref.as_deref(), Timestamp::now().as_second()).await
    }

    fn cannot_be_had(&self, lacking: &Lacking, source: Cause) -> Error {
        let (path, id, remote) = (lacking.path.clone(), lacking.pointer.id, self.session.remote());
        Error::NoObject { path, id, remote, source }
    }

    /// Downloads one object. Returns the number of bytes received.
    async fn object(&self, lacking: &Lacking, mut download: Download, mut asked_at: Instant) -> Result<u64, Error> {
        let pointer = lacking.pointer;
        let told =
            |source: Error| Error::Object { path: lacking.path.clone(), id: pointer.id, source: Box::new(source) };
        let writer = WriterThread::take(self.clients);
        let folder = self.folder.clone();
        let begun = writer.run(self.deadline.at(), move |cancel| PartialObject::begin(&folder, pointer, cancel)).await;
        let begun = begun.map_err(|lost| self.lost(lost)).flatten().map_err(told)?;
        // An abandoned thread still hangs in the disk; the next attempt finds the object complete.
        let mut partial = begun.ok_or_else(|| told(self.deadline.error()))?;
        let (mut came, mut tries, mut renewed) = (0, 0, false);
        // Bytes that a server without range requests sends again are no progress.
        let mut furthest = partial.so_far;
        loop {
            let is_over = download.valid_for.is_some_and(|good| {
                good.saturating_sub(i64::try_from(asked_at.elapsed().as_secs()).unwrap_or(i64::MAX)) < SOON
            });
            let failure = if is_over && !renewed {
                DownloadError::BadLink(Cause::new("its address is not good any more"))
            } else {
                match self.attempt(&writer, partial, &download, pointer, &mut came).await {
                    Ok(Attempt::Complete) => return Ok(came),
                    Ok(Attempt::Incomplete(back, failure)) => {
                        partial = *back;
                        failure
                    }
                    Err(error) => return Err(told(error)),
                }
            };
            // Progress renews the attempts, so that a large object gets through over a bad connection.
            if partial.so_far.saturating_sub(furthest) >= PROGRESS {
                tries = 0;
                renewed = false;
                furthest = partial.so_far;
            }
            tries += 1;
            let last = tries >= TRIES;
            match failure {
                DownloadError::Permanent(error) => return Err(told(error)),
                DownloadError::Temporary(error) if last => return Err(told(error)),
                DownloadError::Temporary(_) => sleep(doubled(PAUSE, tries - 1, LONGEST_PAUSE)).await,
                DownloadError::MustRestart(why) if last => return Err(self.cannot_be_had(lacking, why)),
                DownloadError::MustRestart(_) => partial = self.restarted(&writer, partial).await.map_err(told)?,
                DownloadError::BadLink(why) if renewed => return Err(self.cannot_be_had(lacking, why)),
                DownloadError::BadLink(_) => {
                    // Once only: if a new address does not help, the failure is reported.
                    renewed = true;
                    asked_at = Instant::now();
                    match self.ask(&[pointer]).await.map_err(told)?.and_then(|mut said| said.pop()) {
                        Some(ObjectResponse::Download(renewed_download)) => download = renewed_download,
                        Some(ObjectResponse::Unavailable(why)) => return Err(self.cannot_be_had(lacking, why)),
                        None => return Err(self.session.malformed("it rejects even a request for a single object")),
                    }
                }
            }
        }
    }

    /// Sends one request and writes its response.
    async fn attempt(
        &self,
        writer: &WriterThread<'_>,
        mut partial: PartialObject,
        download: &Download,
        pointer: Pointer,
        came: &mut u64,
    ) -> Result<Attempt, Error> {
        let mut from = partial.so_far;
        let all_there = from == pointer.size;
        let mut response = None;
        if !all_there {
            match self.session.get(download, &pointer, from).await {
                Ok((answer, continues)) => {
                    if !continues {
                        // The server ignores the range and sends the whole object.
                        from = 0;
                        partial = self.restarted(writer, partial).await?;
                    }
                    response = Some(answer);
                }
                Err(failure) => return Ok(Attempt::Incomplete(Box::new(partial), failure)),
            }
        }
        partial.resumed |= from > 0;
        let (send, pieces) = mpsc::channel::<Bytes>(WAITING);
        let allowance = Arc::clone(&self.session.options.allowance);
        let taking = writer.run(self.deadline.at(), move |cancel| {
            let outcome = partial.take(pieces, &allowance, cancel);
            (partial, outcome)
        });
        // Both at once, through a short channel: the slower of network and disk sets the pace.
        let (taken, broke) = tokio::join!(taking, self.feed(response, send, came));
        let (partial, outcome) = taken.map_err(|lost| self.lost(lost))?;
        let partial = Box::new(partial);
        let not_whole =
            || Error::Network { remote: self.session.remote(), source: Cause::new("it ended before the object did") };
        Ok(match outcome? {
            WriteOutcome::Complete => Attempt::Complete,
            WriteOutcome::Incomplete => {
                Attempt::Incomplete(partial, DownloadError::Temporary(broke.unwrap_or_else(not_whole)))
            }
            WriteOutcome::Mismatch(what) if partial.resumed => {
                Attempt::Incomplete(partial, DownloadError::MustRestart(Cause::new(what)))
            }
            WriteOutcome::Mismatch(what) => {
                let source = Cause::new(what);
                Attempt::Incomplete(
                    partial,
                    DownloadError::Permanent(Error::NotTheObject { remote: self.session.remote(), source }),
                )
            }
        })
    }

    /// Passes the response on until it ends; dropping the sender tells the writer. Returns the error if it broke off.
    async fn feed(&self, response: Option<Response>, to: mpsc::Sender<Bytes>, came: &mut u64) -> Option<Error> {
        let mut response = response?;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    *came += piece.len() as u64;
                    // The writer gave up, and returns the reason.
                    if to.send(piece).await.is_err() {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(self.session.broken(error)),
            }
        }
    }

    async fn restarted(&self, writer: &WriterThread<'_>, mut partial: PartialObject) -> Result<PartialObject, Error> {
        let restarted = writer.run(self.deadline.at(), move |_| partial.restart().map(|()| partial)).await;
        restarted.map_err(|lost| self.lost(lost)).flatten()
    }

    fn lost(&self, lost: Lost) -> Error {
        match lost {
            Lost::Deadline => self.deadline.error(),
            source => Error::Internal { source },
        }
    }
}

enum Attempt {
    Complete,
    Incomplete(Box<PartialObject>, DownloadError),
}

/// A thread from the pool, returned when it is dropped.
struct WriterThread<'a> {
    clients: &'a LfsClients,
    worker: Option<Worker>,
}

impl<'a> WriterThread<'a> {
    fn take(clients: &'a LfsClients) -> Self {
        let idle = clients.writers.lock().pop();
        Self { clients, worker: Some(idle.unwrap_or_else(|| Worker::new("lfs"))) }
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

impl Drop for WriterThread<'_> {
    fn drop(&mut self) {
        let mut idle = self.clients.writers.lock();
        // Kept for the next object. There are never more threads than downloads at once.
        let room = idle.len() < AT_ONCE;
        idle.extend(self.worker.take().filter(|_| room));
    }
}
