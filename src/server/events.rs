//! Server-sent events: a snapshot first, then every event after it, with consecutive ids.
//!
//! A client that falls behind gets a `reset` event and a new snapshot. A client that is gone is noticed when it does
//! not read the heartbeat. Clients have no queue of their own; they read from the backlog of the status store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::Event;
use crate::sync::{Handle, Subscription};

use super::answer;

/// The most streams at a time. The API is for a few dashboards, not for broadcasting.
const MOST_STREAMS: usize = 32;
/// Shorter than the usual idle timeouts of port-forwards and proxies.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Opens streams up to a limit, and ends all of them when the server stops.
#[derive(Clone)]
pub(crate) struct Streams {
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

/// One open stream.
struct Reader {
    handle: Handle,
    /// `None`: the next item is a snapshot.
    events: Option<Receiver<(u64, Event)>>,
    heartbeat: tokio::time::Interval,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Streams {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { slots: Arc::new(Semaphore::new(MOST_STREAMS)), stop }
    }

    pub(crate) fn open(&self, handle: Handle) -> Response<Body> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let message = "32 clients already read the event stream";
            return answer::refusal(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message, Some("close one"));
        };
        let mut heartbeat = interval(HEARTBEAT);
        // A slow reader needs no heartbeats for the time that has passed.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick of an interval is immediate, and the snapshot comes first.
        heartbeat.reset();
        let reader = Reader { handle, events: None, heartbeat, stop: self.stop.clone(), _slot: slot };
        let frames = stream::unfold(reader, |mut reader| async move {
            let frame = reader.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(frame)), reader))
        });
        let mut response = Response::new(Body::from_stream(frames));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Reader {
    /// Returns the next part of the stream. `None` ends it with the terminating chunk of the body.
    async fn next(&mut self) -> Option<String> {
        if self.stop.is_cancelled() {
            return None;
        }
        let Some(events) = &mut self.events else {
            let Subscription { snapshot, events } = self.handle.subscribe();
            self.events = Some(events);
            return Some(frame(snapshot.seq, &Event::Snapshot(Box::new(snapshot))));
        };
        tokio::select! {
            () = self.stop.cancelled() => None,
            event = events.recv() => match event {
                Ok((number, event)) => Some(frame(number, &event)),
                // The lost events cannot be sent again. The snapshot that follows contains their effect.
                Err(RecvError::Lagged(_)) => {
                    self.events = None;
                    Some(frame(self.handle.snapshot().seq, &Event::Reset))
                }
                Err(RecvError::Closed) => None,
            },
            _ = self.heartbeat.tick() => Some(": alive\n\n".to_owned()),
        }
    }
}

/// Formats one event. JSON contains no line break, so one `data:` line is enough.
fn frame(number: u64, event: &Event) -> String {
    match event.data() {
        Ok(data) => format!("id: {number}\nevent: {}\ndata: {data}\n\n", event.name()),
        Err(error) => {
            tracing::error!(%error, "an event could not be written as JSON");
            ": lost\n\n".to_owned()
        }
    }
}
