//! The authentication of one request: user and password, configured headers, cookies.

use jiff::Timestamp;
use url::Url;

use crate::secret::Secret;

use super::cookies::Jar;
use super::login::Login;

/// Everything that a request to the remote may show, and that no other host may see.
#[derive(Default)]
pub(crate) struct RequestAuth {
    pub login: Option<Login>,
    headers: Vec<(String, Secret)>,
    jar: Jar,
}

impl RequestAuth {
    pub(crate) fn new(login: Option<Login>, headers: Vec<(String, Secret)>, jar: Jar) -> Self {
        Self { login, headers, jar }
    }

    /// Returns the headers for an address, cookies included.
    pub(crate) fn headers(&self, url: &str) -> Vec<(String, Secret)> {
        let mut headers = self.headers.clone();
        if self.jar.is_empty() {
            return headers;
        }
        // Chosen for each request: a redirect leads to another path, and cookies have paths.
        let cookies = Url::parse(url).ok().and_then(|url| self.jar.header(&url, Timestamp::now()));
        headers.extend(cookies.map(|cookies| ("Cookie".to_owned(), cookies)));
        headers
    }

    /// Returns true if a configured header authenticates already.
    pub(crate) fn has_authorization(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
    }
}
