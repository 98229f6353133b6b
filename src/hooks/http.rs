//! The outgoing webhook: one small request with the commit's hash. The response's status decides about success.
//!
//! Redirects are not followed and the response body is not read. Messages show only the host of the address, because
//! the rest is often a secret. This module does not know when requests are sent.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Client, Method, Url, redirect};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::error::HookError;
use super::run::Publication;
use crate::proxy::Proxies;
use crate::secret::{Secret, scrub};
use crate::text::one_line;
use crate::worker;

const USER_AGENT: &str = concat!("pushsync/", env!("CARGO_PKG_VERSION"));

/// The address of the webhook, which may contain secrets.
#[derive(Clone)]
pub struct Address {
    url: Url,
    /// The form that messages show.
    shown: String,
}

impl Address {
    /// # Errors
    /// A description of the fault, without repeating the address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL; write it like http://localhost:8080/reload")?;
        let ("http" | "https", Some(host)) = (url.scheme(), url.host_str()) else {
            return Err("is not an address for http or https; write it like http://localhost:8080/reload");
        };
        for part in [url.password(), url.query()].into_iter().flatten() {
            // Creating the `Secret` registers the text with the log's scrubber.
            let _ = Secret::new(part);
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let rest = if url.path() == "/" && url.query().is_none() { "/" } else { "/…" };
        let shown = format!("{}://{host}{port}{rest}", url.scheme());
        Ok(Self { url, shown })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A request and its parameters.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: Address,
    pub method: Method,
    /// The status that counts as success; 0: any status does.
    pub success_status: u16,
    pub timeout: Duration,
    pub backoff: Duration,
}

/// A webhook that can be called repeatedly.
#[derive(Debug)]
pub(super) struct Caller {
    webhook: Webhook,
    /// Created at the first call, because that reads every trusted certificate of the machine.
    client: OnceLock<Result<Client, String>>,
    stop: CancellationToken,
}

impl Caller {
    pub(super) fn new(webhook: Webhook, stop: CancellationToken) -> Self {
        Self { webhook, client: OnceLock::new(), stop }
    }

    pub(super) fn backoff(&self) -> Duration {
        self.webhook.backoff
    }

    pub(super) async fn run(&self, what: &Publication) -> Result<(), HookError> {
        let Webhook { url, method, success_status: wanted, .. } = &self.webhook;
        let failed = |why: String| HookError::Unreached { url: url.to_string(), why };
        let client = self.client().await.map_err(failed)?;
        let mut request = client.request(method.clone(), url.url.clone()).header("Gitsync-Hash", &what.hash);
        if !matches!(*method, Method::GET | Method::HEAD) {
            // Some servers require the header even for an empty body.
            request = request.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let answer = tokio::select! {
            answer = request.send() => answer.map_err(|error| failed(words(&error, self.webhook.timeout)))?,
            () = self.stop.cancelled() => return Err(HookError::Stopped),
        };
        let (status, wanted) = (answer.status(), *wanted);
        match status.as_u16() {
            _ if wanted == 0 => Ok(()),
            status if status == wanted => Ok(()),
            code if status.is_redirection() => Err(HookError::Moved { url: url.to_string(), status: code, wanted }),
            code => Err(HookError::Status { url: url.to_string(), status: code, wanted }),
        }
    }

    /// Creates the client once, on its own thread: a disk that hangs while certificates are read must only affect
    /// this hook.
    async fn client(&self) -> Result<Client, String> {
        if let Some(client) = self.client.get() {
            return client.clone();
        }
        let webhook = self.webhook.clone();
        let made = timeout(
            webhook.timeout.max(Duration::from_secs(1)),
            worker::apart("client", move || make_client(&webhook)),
        )
        .await;
        let client = made.map_err(|_| "the trusted certificates could not be read in time".to_owned())?;
        let client = client.map_err(|lost| lost.to_string())?;
        self.client.get_or_init(|| client).clone()
    }
}

fn make_client(webhook: &Webhook) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .timeout(webhook.timeout)
        // The next publish may be days away, so keep no connection.
        .pool_max_idle_per_host(0);
    let builder = Proxies::of_environment().apply(builder, &webhook.url.url)?;
    builder.build().map_err(|error| words(&error, webhook.timeout))
}

/// Joins the causes of an error, without the address, which the library would show completely.
fn words(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("no response within {timeout:?}");
    }
    let mut words: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        words.push(one.to_string());
        cause = one.source();
    }
    if words.is_empty() {
        words.push("the request could not be sent".to_owned());
    }
    one_line(&scrub(&words.join(": ")), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_only() {
        let address = Address::parse("https://me:pass-word@hooks.test:8443/services/T0/secret?token=to-ken").unwrap();
        assert_eq!(format!("{address} {address:?}"), "https://hooks.test:8443/… https://hooks.test:8443/…");
        assert_eq!(scrub("pass-word token=to-ken"), "*** ***");
        assert_eq!(Address::parse("http://[::1]/").unwrap().to_string(), "http://[::1]/");
        for bad in ["", "/reload", "localhost:8080", "ftp://a/", "http://", "unix:/socket"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
