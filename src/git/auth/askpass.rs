//! The askpass service: an HTTP service that returns user name and password before refs are listed (git-sync's
//! `--askpass-url`).
//!
//! It must not know what the credentials are for.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, StatusCode};
use url::{Host, Url};

use crate::git::auth::login::Login;
use crate::git::error::{Cause, Error};
use crate::git::http::network::Network;
use crate::git::http::{client, transport_error};
use crate::secret::Secret;

/// The longest that a call may take. The service runs in the pod or on the node, so a slower one is broken.
const LONGEST: Duration = Duration::from_secs(1);
// A service that answers without an end must not fill the memory.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The service. Clones share its last answer.
#[derive(Clone)]
pub struct Askpass {
    url: Url,
    shared: Arc<AskpassState>,
}

#[derive(Default)]
struct AskpassState {
    client: OnceLock<Client>,
    last: Mutex<Option<Login>>,
}

impl Askpass {
    /// Nothing is called before the first request.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, shared: Arc::default() }
    }

    /// Returns the last answer.
    pub(crate) fn last_answer(&self) -> Option<Login> {
        self.shared.last.lock().clone()
    }

    /// Calls the service.
    pub(crate) async fn ask(&self, network: &Network) -> Result<Login, Error> {
        // If this call fails, a speculative fetch must not use the answer of an earlier one.
        *self.shared.last.lock() = None;
        let into_error =
            |source| Error::of_client(&source).unwrap_or_else(|| Error::Askpass { url: self.to_string(), source });
        let login = self.answer(network).await.map_err(into_error)?;
        *self.shared.last.lock() = Some(login.clone());
        Ok(login)
    }

    async fn answer(&self, network: &Network) -> Result<Login, Cause> {
        let mut route = network.route(&self.url);
        let here = match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if here {
            // A service on this machine is called without a proxy: that is the default of Go's client, and so
            // git-sync's.
            route.proxy = None;
        }
        let client = client::cached(&self.shared.client, &route, self.url.scheme() == "https", LONGEST).await?;
        let sent = client.get(self.url.clone()).timeout(LONGEST).send();
        let mut response = sent.await.map_err(|error| transport_error::library_cause(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Cause::new(&format!("it answered {} where 200 was expected", response.status().as_u16())));
        }
        let body = client::read(&mut response, LONGEST_ANSWER).await?;
        parse(&body).ok_or_else(|| Cause::new("it answered without a line `username=…` and a line `password=…`"))
    }
}

/// Parses the answer. Of a key that occurs twice the last value counts; other lines are ignored.
fn parse(body: &[u8]) -> Option<Login> {
    let body = std::str::from_utf8(body).ok()?;
    let value = |name: &str| {
        let lines = body.lines().rev();
        // Only the first equals sign separates: a password may contain more of them.
        lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let password = Secret::password(value("password").filter(|password| !password.is_empty())?).ok()?;
    Some(Login { user: value("username")?.to_owned(), password })
}

impl fmt::Display for Askpass {
    /// Shows only the origin: path and query may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.origin().ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_both_lines_in_any_order() {
        let login = parse(b"quit=0\npassword=a=b c\r\nusername=me\n").unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_str()), ("me", Some("a=b c")));
        for wrong in [&b"username=me"[..], b"password=x", b"username=me\npassword=\n", b"", b"\xff"] {
            assert!(parse(wrong).is_none());
        }
        let askpass = Askpass::new(Url::parse("http://me:secret@127.0.0.1:1/token?x").unwrap());
        assert_eq!(askpass.to_string(), "http://127.0.0.1:1");
    }
}
