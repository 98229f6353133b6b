//! Tokens of a GitHub App: a signed assertion for the API, and an installation token for git that is renewed before it
//! expires.
//!
//! docs.github.com, "Generating a JSON Web Token for a GitHub App" and "Generating an installation access token".

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use parking_lot::Mutex;
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::git::auth::login::Login;
use crate::git::auth::pem;
use crate::git::error::{Cause, Error};
use crate::git::http::network::Network;
use crate::git::http::{client, transport_error};
use crate::secret::Secret;

/// The user name. GitHub checks only the token.
const USER: &str = "-";
/// An assertion may be valid for ten minutes. Its validity begins in the past to allow for clock differences.
const CLOCK_TOLERANCE: i64 = 60;
const ASSERTION_LIFETIME: i64 = 600;
/// A token that expires sooner is renewed first, since a fetch may take a while.
const RENEW_BEFORE_EXPIRY: i64 = 30;
/// The longest that a call to the API may take.
const LONGEST: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 256 * 1024;

/// The App's private key (PEM).
#[derive(Clone)]
pub enum AppKey {
    /// A configured value.
    Value(Secret),
    /// A file, which is read for each new token.
    File(PathBuf),
}

/// An App that is installed for the repository. Clones share the token.
#[derive(Clone)]
pub struct GithubApp {
    key: AppKey,
    /// The App's id or client id.
    issuer: String,
    installation: u64,
    /// The address of the API, ending in a slash.
    api: Url,
    shared: Arc<AppState>,
}

#[derive(Default)]
struct AppState {
    client: OnceLock<Client>,
    token: Mutex<Option<InstallationToken>>,
}

#[derive(Clone)]
struct InstallationToken {
    secret: Secret,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct TokenResponse {
    token: String,
    expires_at: Timestamp,
}

impl GithubApp {
    /// `issuer` is the App's id or client id. Nothing is requested before the first use.
    #[must_use]
    pub fn new(key: AppKey, issuer: String, installation: u64, mut api: Url) -> Self {
        // `Url::join` replaces the part of the path after the last slash. Without a slash at its end, `/api/v3` of a
        // GitHub Enterprise server would become `/api/app/…`.
        if !api.path().ends_with('/') {
            api.set_path(&format!("{}/", api.path()));
        }
        Self { key, issuer, installation, api, shared: Arc::default() }
    }

    /// Returns the path of the key if it is in a file. The caller reads it where blocking is allowed.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match &self.key {
            AppKey::File(path) => Some(path),
            AppKey::Value(_) => None,
        }
    }

    /// Returns the token while it is valid.
    pub(crate) fn valid_token(&self) -> Option<Login> {
        let token = self.shared.token.lock().clone()?;
        let lives = token.expires_at.as_second() - Timestamp::now().as_second() >= RENEW_BEFORE_EXPIRY;
        lives.then(|| Login { user: USER.to_owned(), password: token.secret })
    }

    /// Drops the token after the server refused it: it was revoked before its expiry.
    pub(crate) fn forget(&self) {
        *self.shared.token.lock() = None;
    }

    /// Requests a new token. `file` is the content of the key file.
    pub(crate) async fn renew(&self, file: Option<Secret>, network: &Network) -> Result<Login, Error> {
        let into_error =
            |source| Error::of_client(&source).unwrap_or_else(|| Error::AppToken { api: self.to_string(), source });
        let key = match &self.key {
            AppKey::Value(secret) => Some(secret.clone()),
            AppKey::File(_) => file,
        };
        let key = key.ok_or_else(|| into_error(Cause::new("the private key was not read")))?;
        // The lock is taken after the request only: a slow API must not stop callers whose token is still valid. Two
        // calls at once cost a second token at most.
        let token = self.ask(&key, network).await.map_err(into_error)?;
        let login = Login { user: USER.to_owned(), password: token.secret.clone() };
        *self.shared.token.lock() = Some(token);
        Ok(login)
    }

    async fn ask(&self, key: &Secret, network: &Network) -> Result<InstallationToken, Cause> {
        let assertion = assertion(key, &self.issuer, Timestamp::now().as_second())?;
        let path = format!("app/installations/{}/access_tokens", self.installation);
        let url = self.api.join(&path).map_err(|_| Cause::new("the address of the API cannot be used"))?;
        let client =
            client::cached(&self.shared.client, &network.route(&url), url.scheme() == "https", LONGEST).await?;
        let request = client.post(url).timeout(LONGEST).header(ACCEPT, "application/vnd.github+json");
        let sent = request.bearer_auth(assertion.expose_str().unwrap_or_default()).send();
        let mut response = sent.await.map_err(|error| transport_error::library_cause(&error))?;
        let status = response.status();
        if status != StatusCode::CREATED {
            // The status is reported even if the text beside it cannot be read.
            let said = client::read(&mut response, LONGEST_ANSWER).await.unwrap_or_default();
            let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
            let message = said["message"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
            return Err(Cause::new(&format!("it answered {}{message}", status.as_u16())));
        }
        let body = client::read(&mut response, LONGEST_ANSWER).await?;
        // serde's message may quote the document, and so the token.
        let answer: TokenResponse =
            serde_json::from_slice(&body).map_err(|_| Cause::new("it answered without token and expires_at"))?;
        let secret = Secret::password(answer.token)
            .map_err(|wrong| Cause::new(&format!("its token cannot be used: {wrong}")))?;
        Ok(InstallationToken { secret, expires_at: answer.expires_at })
    }
}

/// A JSON Web Token (RFC 7519) signed with RS256 (RFC 7518, section 3.3).
fn assertion(key: &Secret, issuer: &str, now: i64) -> Result<Secret, Cause> {
    let begins = now - CLOCK_TOLERANCE;
    let head = json!({ "alg": "RS256", "typ": "JWT" });
    let claims = json!({ "iat": begins, "exp": begins + ASSERTION_LIFETIME, "iss": issuer });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(head), part(claims));
    // OpenSSL would only report that there is no key.
    let text = String::from_utf8_lossy(key.expose());
    if let Err(wrong) = pem::check_layout(&text).and_then(|()| pem::check_plain(&text)) {
        return Err(Cause::new(&format!("the private key cannot be used: {wrong}")));
    }
    let wrong = |_| Cause::new("the private key is no RSA key in PEM");
    // Without the callback OpenSSL would ask for a passphrase on the terminal, and wait.
    let key = PKey::private_key_from_pem_callback(key.expose(), |_| Ok(0)).map_err(wrong)?;
    let signature = Signer::new(MessageDigest::sha256(), &key)
        .and_then(|mut signer| signer.sign_oneshot_to_vec(signed.as_bytes()))
        .map_err(wrong)?;
    Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

impl fmt::Display for GithubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.api.origin().ascii_serialization())
    }
}
