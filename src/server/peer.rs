//! `POST <hook-path>/peer`: another replica was rung and passes it on.
//!
//! The order is the webhook's: size, header, body, MAC, and only then a look into it. Whatever is wrong, there is no record,
//! no look and no word about what it was. What is heard here is never passed on.

use axum::body::Body;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::HeaderName;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::api::{Trigger, TriggerKind};
use crate::peers::{Admitted, LARGEST, Message, NO_SECRET_CODE, Refused, SIGNATURE};
use crate::sync::{self, Announced};

use super::answer;
use super::hook::{Hook, NO_SECRET, NO_SECRET_HINT, UNSIGNED, before, is_delivery_id, single};
use super::ours::commit;
use super::refusals::Why;
use super::socket::Arrival;

/// The rest of the path below the webhook's.
pub const BELOW: &str = "/peer";

const SEAL: HeaderName = HeaderName::from_static(SIGNATURE);

/// Where peers listen, if webhooks are received at `hook`.
pub fn path(hook: &str) -> String {
    format!("{hook}{BELOW}")
}

/// The answer to an authentic message.
#[derive(Serialize)]
struct Heard {
    result: &'static str,
}

pub async fn receive(hook: &Hook, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let now = Instant::now();
    let arrival = head.extensions.get::<Arrival>().copied();
    let arrival = arrival.unwrap_or(Arrival { first_byte: now, ambiguous_length: false });
    let count = |result| hook.handle.metrics().peer_message(result);
    let refused = |why| {
        count("rejected");
        hook.refusals.note(why);
        answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", UNSIGNED, None)
    };
    if hyper::body::Body::size_hint(&body).lower() > LARGEST as u64 {
        count("rejected");
        let message = "a message has at most 4096 bytes";
        return answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, None);
    }
    let (Ok(Some(seal)), false) = (single(&head.headers, &SEAL), arrival.ambiguous_length) else {
        return refused(Why::PeerSecret);
    };
    let body = match timeout_at(now + hook.limits.body, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return refused(Why::PeerSecret),
    };
    let (words, secrets): (Vec<_>, Vec<_>) = hook.secrets.current().await.into_iter().unzip();
    if secrets.is_empty() {
        count("rejected");
        hook.refusals.note(Why::NoSecret);
        return answer::refusal(StatusCode::UNAUTHORIZED, NO_SECRET_CODE, NO_SECRET, Some(NO_SECRET_HINT));
    }
    match hook.peers.admit(seal.as_bytes(), &body, &secrets, hook.handle.now()) {
        Err(Refused::Unauthentic) => refused(Why::PeerSecret),
        Err(Refused::Clock) => refused(Why::PeerClock),
        Err(Refused::NotOurs) => {
            count("rejected");
            let message = "the message is for replicas that follow something else, or of another version";
            answer::refusal(StatusCode::UNPROCESSABLE_ENTITY, "not_ours", message, None)
        }
        Ok(Admitted::Own) => answer::json(StatusCode::OK, &Heard { result: "self" }),
        Ok(Admitted::Known) => answer::json(StatusCode::ACCEPTED, &Heard { result: "queued" }),
        Ok(Admitted::Look { message, delay, secret }) => {
            count("received");
            let mut ring = ring(hook, &message, words[secret], arrival.first_byte);
            ring.not_before = (!delay.is_zero()).then(|| now + delay);
            tracing::info!(delivery.id = ring.trigger.delivery, delay_ms = delay.as_millis(), "rung by a peer");
            hook.handle.ring(ring);
            answer::json(StatusCode::ACCEPTED, &Heard { result: "queued" })
        }
    }
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
    // Whatever else they say is nothing that could be waited for.
    let announced = message.after.as_deref().and_then(commit);
    let moved_from = message.before.as_deref().and_then(commit);
    // A message does not say whether the push was forced, so nothing is left out on its word.
    let announced = announced.map(|after| Announced { before: moved_from, after, forced: true });
    ring.announced.extend(announced);
    ring
}
