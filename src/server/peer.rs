//! `POST <hook-path>/peer`: another replica received a webhook and forwards it. `POST <hook-path>/peer/standing`:
//! another replica starts and requests the current pin and pause.
//!
//! The order of checks is the same as for a webhook: size, header, body, MAC, and only then the content. A message
//! that fails a check causes no record and no sync, and the answer does not say which check failed. A received
//! message is never forwarded again.

use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::api::{Snapshot, Trigger, TriggerKind};
use crate::peers::{self, Admitted, LARGEST, Message, MessageRefusal, NO_SECRET_CODE, SIGNATURE, StandingDecisions};
use crate::secret::Secret;
use crate::sync::{self, Announced};

use super::answer;
use super::context::{Hook, NO_SECRET, NO_SECRET_HINT, UNSIGNED, before, is_delivery_id, single};
use super::ours::commit;
use super::refusals::Why;
use super::socket::Arrival;

/// The path of peer messages relative to the webhook's path.
pub(crate) const BELOW: &str = "/peer";

const SEAL: HeaderName = HeaderName::from_static(SIGNATURE);

/// True if the rest of a path below the webhook's is that of questions.
pub(crate) fn is_question(rest: &str) -> bool {
    rest.strip_prefix(BELOW) == Some(peers::BELOW)
}

/// Returns the path of peer messages, given the path of webhooks.
pub(crate) fn path(hook: &str) -> String {
    format!("{hook}{BELOW}")
}

/// The answer to an authentic message.
#[derive(Serialize)]
struct MessageAnswer {
    result: &'static str,
}

/// A message that arrived completely. None of it is verified yet.
struct Arrived {
    seal: HeaderValue,
    body: Bytes,
    /// The names of the secrets, and the secrets.
    words: Vec<&'static str>,
    secrets: Vec<Secret>,
    first_byte: Instant,
}

pub(crate) async fn receive(hook: &Hook, request: Request<Body>) -> Response<Body> {
    let arrived = match arrive(hook, request).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    match hook.peers.admit(arrived.seal.as_bytes(), &arrived.body, &arrived.secrets, hook.handle.now()) {
        Err(refused) => refuse(hook, refused),
        Ok(Admitted::Own) => answer::json(StatusCode::OK, &MessageAnswer { result: "self" }),
        Ok(Admitted::Known) => answer::json(StatusCode::ACCEPTED, &MessageAnswer { result: "queued" }),
        Ok(Admitted::Look { message, delay, secret }) => {
            count(hook, "received");
            let mut ring = ring(hook, &message, arrived.words[secret], arrived.first_byte);
            // A large fleet spreads its syncs, so that the remote does not get all requests at once.
            ring.not_before = (!delay.is_zero()).then(|| Instant::now() + delay);
            tracing::info!(
                delivery.id = ring.trigger.delivery,
                delay_ms = delay.as_millis(),
                "a peer forwarded a webhook"
            );
            hook.handle.request_sync(ring);
            answer::json(StatusCode::ACCEPTED, &MessageAnswer { result: "queued" })
        }
    }
}

/// Another replica starts and asks which pin and which pause are in force here.
pub(crate) async fn receive_question(hook: &Hook, request: Request<Body>) -> Response<Body> {
    let arrived = match arrive(hook, request).await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    let standing = standing(&hook.handle.snapshot());
    let now = hook.handle.now();
    match hook.peers.answer_standing(arrived.seal.as_bytes(), &arrived.body, &arrived.secrets, now, standing) {
        Err(refused) => refuse(hook, refused),
        Ok(reply) => {
            count(hook, "asked");
            answer::with_type(StatusCode::OK, "application/json", reply)
        }
    }
}

/// `None`: this replica has not read its own decisions yet, or its volume is another process's.
fn standing(snapshot: &Snapshot) -> Option<StandingDecisions> {
    let knows = snapshot.published.is_some() || snapshot.pinned.is_some() || snapshot.paused_until.is_some();
    (knows && snapshot.standby.is_none()).then(|| StandingDecisions {
        pinned: snapshot.pinned.clone(),
        pinned_by: snapshot.pinned_by.clone(),
        paused_until: snapshot.paused_until,
        paused_by: snapshot.paused_by.clone(),
        published: snapshot.published.as_ref().map(|published| published.commit.clone()),
    })
}

fn count(hook: &Hook, result: &'static str) {
    hook.handle.metrics().peer_message(result);
}

fn unauthorized(hook: &Hook, why: Why) -> Response<Body> {
    count(hook, "rejected");
    hook.refusals.note(why);
    answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", UNSIGNED, None)
}

fn refuse(hook: &Hook, refused: MessageRefusal) -> Response<Body> {
    match refused {
        MessageRefusal::Unauthentic => unauthorized(hook, Why::PeerSecret),
        MessageRefusal::Clock => unauthorized(hook, Why::PeerClock),
        MessageRefusal::NotOurs => {
            count(hook, "rejected");
            let message = "the message is for replicas that follow something else, or of another version";
            answer::refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_ours", message, None)
        }
    }
}

/// Takes in a message and the secrets that it may be signed with.
async fn arrive(hook: &Hook, request: Request<Body>) -> Result<Arrived, Response<Body>> {
    let (head, body) = request.into_parts();
    let now = Instant::now();
    let arrival = head.extensions.get::<Arrival>().copied();
    let arrival = arrival.unwrap_or(Arrival { first_byte: now, ambiguous_length: false });
    if hyper::body::Body::size_hint(&body).lower() > LARGEST as u64 {
        count(hook, "rejected");
        let message = "a message has at most 4096 bytes";
        return Err(answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, None));
    }
    let (Ok(Some(seal)), false) = (single(&head.headers, &SEAL), arrival.ambiguous_length) else {
        return Err(unauthorized(hook, Why::PeerSecret));
    };
    let body = match timeout_at(now + hook.limits.body, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        // The same answer as for a wrong signature, so that it does not say which check failed.
        Ok(Err(_)) | Err(_) => return Err(unauthorized(hook, Why::PeerSecret)),
    };
    let (words, secrets): (Vec<_>, Vec<_>) = hook.secrets.current().await.into_iter().unzip();
    if secrets.is_empty() {
        count(hook, "rejected");
        hook.refusals.note(Why::NoSecret);
        return Err(answer::refusal(StatusCode::UNAUTHORIZED, NO_SECRET_CODE, NO_SECRET, Some(NO_SECRET_HINT)));
    }
    Ok(Arrived { seal: seal.clone(), body, words, secrets, first_byte: arrival.first_byte })
}

fn ring(hook: &Hook, message: &Message, secret: &str, received: Instant) -> sync::Request {
    let mut ring = sync::Request::new(TriggerKind::Peer, hook.handle.now());
    ring.trigger = Trigger {
        kind: TriggerKind::Peer,
        delivery: message.delivery.clone().filter(|id| is_delivery_id(id)),
        event: Some("push".to_owned()),
        secret: Some(secret.to_owned()),
        redelivered: false,
        merged: 1,
        ..Trigger::default()
    };
    ring.received = received;
    ring.received_at = before(hook.handle.now(), received.elapsed());
    // Any other value is no commit hash, so there is no commit to wait for.
    let announced = message.after.as_deref().and_then(commit);
    let moved_from = message.before.as_deref().and_then(commit);
    // A peer message does not say whether the push was forced, so assume that it was.
    let announced = announced.map(|after| Announced { before: moved_from, after, forced: true });
    ring.announced.extend(announced);
    ring
}
