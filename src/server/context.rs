//! The state of the hook listener, and the checks that webhooks and peer messages share.
//!
//! It must not know how either is verified.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::peers::Peers;
use crate::sync;

use super::body::Budget;
use super::limits::Limits;
use super::ours::Audience;
use super::refusals::Refusals;
use super::secret_file::Secrets;

/// GitHub's delivery ids have 36 characters. Longer ones are not shown.
const LONGEST_DELIVERY_ID: usize = 64;
/// The message for every request without a valid signature.
pub(crate) const UNSIGNED: &str = "the request is not signed with the configured secret";
/// The message while no secret is available.
pub(crate) const NO_SECRET: &str = "no webhook secret is configured yet, so every delivery is refused";
pub(crate) const NO_SECRET_HINT: &str =
    "create the Secret that --hook-secret-file is mounted from; a pod has it within a minute";

/// The state of the hook listener.
pub(crate) struct Hook {
    pub path: String,
    pub secrets: Arc<Secrets>,
    pub peers: Arc<Peers>,
    pub audience: Audience,
    pub limits: Limits,
    pub handle: sync::Handle,
    pub budget: Arc<Budget>,
    pub refusals: Arc<Refusals>,
    /// Cancelled when the process is about to end but still accepts connections.
    pub leaving: CancellationToken,
}

/// A header that may occur only once is repeated.
pub(crate) struct Repeated;

/// Returns a header that may occur at most once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    // `HeaderMap::get` would return the first of several without notice, and a proxy may have used another one.
    let first = values.next();
    if values.next().is_some() { Err(Repeated) } else { Ok(first) }
}

/// Returns the time that lies `elapsed` before `now`.
pub(crate) fn before(now: Timestamp, elapsed: std::time::Duration) -> Timestamp {
    SignedDuration::try_from(elapsed).ok().and_then(|elapsed| now.checked_sub(elapsed).ok()).unwrap_or(now)
}

/// Returns true if the id is safe to show.
pub(crate) fn is_delivery_id(id: &str) -> bool {
    (1..=LONGEST_DELIVERY_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}
