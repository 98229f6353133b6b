//! The webhook endpoint.
//!
//! A request is checked in this order: size, signature header, the MAC over the streamed body, and only then the
//! content. Requests without a valid signature get the same 401 and are counted. A valid webhook can only cause a
//! sync: the program always fetches the configured ref of the configured remote.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use git2::Oid;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::api::{DeliveryResult, Trigger, TriggerKind};
use crate::peers::{NO_SECRET_CODE, News};
use crate::secret::Secret;
use crate::signature::{PING, PING_HEADER, Signer, parse_header};
use crate::sync::{self, Announced};
use crate::text::one_line;

use super::answer;
use super::body::{self, Kept};
use super::context::{Hook, NO_SECRET, NO_SECRET_HINT, Repeated, UNSIGNED, before, is_delivery_id, single};
use super::ours::{self, Relevance, judge};
use super::payload;
use super::peer;
use super::refusals::Why;
use super::socket::Arrival;

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
/// A second signature that `pushsync ping` adds. It distinguishes a signature header that was lost on the way from a
/// wrong secret.
const PROOF: HeaderName = HeaderName::from_static(PING_HEADER);
/// The pull request actions that change the head commit.
const MOVES: [&str; 3] = ["opened", "synchronize", "reopened"];
/// Text from a payload is cut to this length in replies, status and logs.
const LONGEST_REASON: usize = 300;

/// The reply to an authentic delivery.
#[derive(Serialize)]
struct Told<'a> {
    queued: bool,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
}

/// A request with a verified signature.
struct Authentic<'a> {
    headers: &'a HeaderMap,
    kept: Kept,
    secret: &'static str,
    arrival: Arrival,
}

/// How an authentic delivery is answered.
enum HookOutcome {
    Pong,
    Queue { announced: Option<Announced>, event: String, reason: &'static str },
    Ignore { reason: String, hint: Option<&'static str>, event: String, push: Option<Named> },
    Malformed { status: StatusCode, reason: String, event: String, push: Option<Named> },
}

/// The ref and commit of a push that was ignored. A poll that finds this commit does not count the push as missed.
struct Named {
    reference: Option<String>,
    commit: Oid,
}

impl Named {
    fn of(push: &payload::Push) -> Option<Self> {
        let commit = push.after.as_deref().and_then(ours::commit)?;
        Some(Self { reference: push.reference.clone(), commit })
    }
}

/// Routes every path and method to one handler. Three exact paths and `GET /` exist; everything else is 404.
pub(crate) fn router(hook: Hook) -> Router {
    Router::new().fallback(receive).with_state(Arc::new(hook))
}

async fn receive(State(hook): State<Arc<Hook>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    let below = path.strip_prefix(hook.path.as_str());
    let (from_peer, question) = (below == Some(peer::BELOW), below.is_some_and(peer::is_question));
    if path == "/" && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Some load balancers can only check the port that they send traffic to. This health check reveals nothing
        // about the content.
        let leaving = hook.leaving.is_cancelled();
        return answer::status(if leaving { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK });
    }
    if path != hook.path && !from_peer && !question {
        return answer::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here", None);
    }
    if request.method() != Method::POST {
        let mut refused =
            answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "webhooks are sent by POST", None);
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    if from_peer {
        return peer::receive(&hook, request).await;
    }
    if question {
        return peer::receive_question(&hook, request).await;
    }
    match hook.authenticate(request).await {
        Err(response) => response,
        Ok((headers, kept, secret, arrival)) => hook.conclude(&Authentic { headers: &headers, kept, secret, arrival }),
    }
}

impl Hook {
    /// Reads the body and returns the secret that signed it.
    async fn authenticate(
        &self,
        request: Request<Body>,
    ) -> Result<(HeaderMap, Kept, &'static str, Arrival), Response<Body>> {
        let (head, body) = request.into_parts();
        let arrival = head.extensions.get::<Arrival>().copied();
        let now = tokio::time::Instant::now();
        let arrival = arrival.unwrap_or(Arrival { first_byte: now, ambiguous_length: false });
        // A proxy in front may have used the other length, so the rest of its stream could be another client's request
        // (RFC 9112, section 11.2).
        if arrival.ambiguous_length {
            self.count("malformed");
            return Err(answer::refusal(StatusCode::BAD_REQUEST, "bad_request", "the length is given twice", None));
        }
        // Before any byte is read. A chunked body is counted as it arrives.
        if hyper::body::Body::size_hint(&body).lower() > body::LARGEST {
            return Err(self.too_large());
        }
        let secrets = self.secrets.current().await;
        if secrets.is_empty() {
            return Err(self.no_secret());
        }
        let read = |name: &HeaderName| {
            single(&head.headers, name).ok().flatten().and_then(|value| parse_header(value.as_bytes()))
        };
        let signature = read(&SIGNATURE);
        // A request without a usable header is refused before its body is read.
        let Some(expected) = signature.or_else(|| read(&PROOF)) else {
            return Err(self.unauthorized(Why::NoSignature));
        };
        let signer: fn(&Secret) -> Signer = match signature {
            Some(_) => Signer::new,
            None => |secret| Signer::derived(secret, PING),
        };
        let (words, mut signers): (Vec<_>, Vec<_>) =
            secrets.into_iter().map(|(word, secret)| (word, signer(&secret))).unzip();
        let kept = match body::receive(body, &mut signers, &self.budget, now + self.limits.body).await {
            Ok(kept) => kept,
            Err(body::Fault::TooLarge) => return Err(self.too_large()),
            Err(body::Fault::TimedOut) => {
                self.count("timeout");
                let message = "the body took too long";
                return Err(answer::refusal(StatusCode::REQUEST_TIMEOUT, "timeout", message, None));
            }
            Err(body::Fault::Broken) => {
                self.count("malformed");
                let message = "the body did not arrive whole";
                return Err(answer::refusal(StatusCode::BAD_REQUEST, "bad_request", message, None));
            }
        };
        // Check every secret, so that the response time does not reveal which one matched.
        let fits: Vec<_> = signers.into_iter().map(|signer| signer.verify(&expected)).collect();
        let word = words.into_iter().zip(fits).find_map(|(word, fits)| fits.then_some(word));
        match (word, signature) {
            (Some(word), Some(_)) => Ok((head.headers, kept, word, arrival)),
            (Some(_), None) => Err(self.signature_lost()),
            (None, Some(_)) => Err(self.unauthorized(Why::WrongSignature)),
            (None, None) => Err(self.unauthorized(Why::NoSignature)),
        }
    }

    /// Decides about a delivery, records it and notifies the sync loop and the peers before it is answered.
    fn conclude(&self, request: &Authentic<'_>) -> Response<Body> {
        let id = single(request.headers, &DELIVERY).ok().flatten().and_then(|value| value.to_str().ok());
        let id = id.filter(|id| is_delivery_id(id));
        let note = |event: &str, result: DeliveryResult, reason: Option<&str>, push: Option<&Named>| {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            tracing::info!(delivery.id = id, delivery.event = event, secret = request.secret, "webhook {result}{why}");
            let push = push.map(|push| (push.reference.as_deref(), push.commit));
            self.handle.delivery(sync::Delivery { event, id, result, reason, push })
        };
        match self.decide(request) {
            HookOutcome::Pong => {
                self.count("pong");
                note("ping", DeliveryResult::Pong, None, None);
                let told = Told { queued: false, reason: "pong", hint: None, delivery: id };
                answer::json(StatusCode::OK, &told)
            }
            HookOutcome::Queue { announced, event, reason } => {
                self.count("queued");
                // `note` also knows whether the same delivery arrived before.
                let redelivered = note(&event, DeliveryResult::Queued, None, None);
                self.ring(request, event, id, redelivered, announced);
                answer::json(StatusCode::ACCEPTED, &Told { queued: true, reason, hint: None, delivery: id })
            }
            HookOutcome::Ignore { reason, hint, event, push } => {
                self.count("ignored");
                let reason = one_line(&reason, LONGEST_REASON);
                note(&event, DeliveryResult::Ignored, Some(&reason), push.as_ref());
                answer::json(StatusCode::OK, &Told { queued: false, reason: &reason, hint, delivery: id })
            }
            HookOutcome::Malformed { status, reason, event, push } => {
                self.count("malformed");
                let reason = one_line(&reason, LONGEST_REASON);
                note(&event, DeliveryResult::Malformed, Some(&reason), push.as_ref());
                answer::json(status, &Told { queued: false, reason: &reason, hint: None, delivery: id })
            }
        }
    }

    fn decide(&self, request: &Authentic<'_>) -> HookOutcome {
        let malformed = |status, reason: &str, event: &str| HookOutcome::Malformed {
            status,
            reason: reason.to_owned(),
            event: event.to_owned(),
            push: None,
        };
        let event = match single(request.headers, &EVENT) {
            Ok(Some(event)) => one_line(&String::from_utf8_lossy(event.as_bytes()), LONGEST_REASON),
            Ok(None) => return malformed(StatusCode::BAD_REQUEST, "X-GitHub-Event is missing", "unknown"),
            Err(Repeated) => return malformed(StatusCode::BAD_REQUEST, "X-GitHub-Event is given twice", "unknown"),
        };
        let Ok(content_type) = single(request.headers, &header::CONTENT_TYPE) else {
            return malformed(StatusCode::BAD_REQUEST, "Content-Type is given twice", &event);
        };
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // GitHub's settings of a webhook offer these two content types.
        let form = content_type == "application/x-www-form-urlencoded";
        if !form && content_type != "application/json" {
            let reason = "Content-Type must be application/json or application/x-www-form-urlencoded";
            return malformed(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason, &event);
        }
        if event == "ping" {
            return HookOutcome::Pong;
        }
        let followed = self.handle.followed();
        let pull_request = event == "pull_request" && ours::follows_pull_request(&self.audience.reference, &followed);
        if event != "push" && !pull_request {
            let reason = format!("another event: {event}, only push events cause a sync");
            return HookOutcome::Ignore {
                reason,
                hint: Some("choose \"Just the push event\" in the webhook's settings"),
                event,
                push: None,
            };
        }
        let (kept, whole) = (request.kept.bytes(), request.kept.is_whole());
        let push = if form {
            payload::from_form(kept, whole).and_then(|json| payload::read(json.as_bytes(), whole))
        } else {
            payload::read(kept, whole)
        };
        let push = match push {
            Ok(push) => push,
            Err(error) => return malformed(StatusCode::BAD_REQUEST, &error.to_string(), &event),
        };
        let push = if pull_request { push.of_pull_request() } else { push };
        if let Some(action) = push.action.as_deref().filter(|action| pull_request && !MOVES.contains(action)) {
            let reason = format!("another action: {action} does not change the commit of a pull request");
            return HookOutcome::Ignore { reason, hint: None, event, push: None };
        }
        let moved_to = self.handle.moved_to().and_then(|address| ours::repository(&address));
        match judge(&push, whole, &self.audience, &followed, moved_to.as_ref()) {
            Relevance::Ours { announced } => {
                let reason = if whole {
                    "the followed ref was pushed to"
                } else {
                    "signed; the payload was too large to be read to its end"
                };
                HookOutcome::Queue { announced, event, reason }
            }
            Relevance::Deleted => {
                let reason = "the followed ref was deleted; the published version stays";
                HookOutcome::Queue { announced: None, event, reason }
            }
            Relevance::Ignored { reason, hint } => HookOutcome::Ignore { reason, hint, event, push: Named::of(&push) },
            Relevance::Incomplete { field } => {
                let (status, reason) = (StatusCode::BAD_REQUEST, format!("the push has no field `{field}`"));
                HookOutcome::Malformed { status, reason, event, push: Named::of(&push) }
            }
            Relevance::Impossible { field } => {
                let (status, reason) =
                    (StatusCode::UNPROCESSABLE_ENTITY, format!("the field `{field}` cannot be right"));
                HookOutcome::Malformed { status, reason, event, push: Named::of(&push) }
            }
        }
    }

    fn ring(
        &self,
        request: &Authentic<'_>,
        event: String,
        delivery: Option<&str>,
        redelivered: bool,
        announced: Option<Announced>,
    ) {
        let trigger = Trigger {
            kind: TriggerKind::Webhook,
            delivery: delivery.map(str::to_owned),
            event: Some(event),
            secret: Some(request.secret.to_owned()),
            redelivered,
            merged: 1,
            ..Trigger::default()
        };
        let mut ring = sync::Request::new(TriggerKind::Webhook, self.handle.now());
        ring.trigger = trigger;
        // The latency that records and metrics show begins with the first byte, not with the verified signature.
        ring.received = request.arrival.first_byte;
        ring.received_at = before(self.handle.now(), ring.received.elapsed());
        ring.announced.extend(announced);
        ring.peer_results.extend(self.peers.tell(News {
            after: announced.map(|announced| announced.after.to_string()),
            before: announced.and_then(|announced| announced.before).map(|before| before.to_string()),
            delivery: delivery.map(str::to_owned),
        }));
        self.handle.request_sync(ring);
    }

    fn count(&self, result: &'static str) {
        self.handle.metrics().delivery(result);
    }

    /// Sends the same bytes for a missing, a malformed and a wrong signature.
    fn unauthorized(&self, why: Why) -> Response<Body> {
        self.refusals.note(why);
        self.count("bad_signature");
        self.handle.bad_signature();
        answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", UNSIGNED, None)
    }

    /// The uniform answer is not needed here: without a secret the answer reveals nothing about it.
    fn no_secret(&self) -> Response<Body> {
        self.refusals.note(Why::NoSecret);
        self.count("bad_signature");
        self.handle.bad_signature();
        answer::refusal(StatusCode::UNAUTHORIZED, NO_SECRET_CODE, NO_SECRET, Some(NO_SECRET_HINT))
    }

    /// Answers `pushsync ping`, whose own header proved that it knows the secret.
    fn signature_lost(&self) -> Response<Body> {
        self.count("malformed");
        tracing::warn!("a test delivery came without its header X-Hub-Signature-256: something in between drops it");
        let message = "the sender knows the secret, but its header X-Hub-Signature-256 did not arrive";
        let hint = "let the gateway pass the headers X-Hub-Signature-256, X-GitHub-Event and X-GitHub-Delivery";
        answer::refusal(StatusCode::BAD_REQUEST, "signature_lost", message, Some(hint))
    }

    fn too_large(&self) -> Response<Body> {
        self.count("too_large");
        answer::refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 26214400 bytes", None)
    }
}
