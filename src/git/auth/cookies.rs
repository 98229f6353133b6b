//! Cookie files in the Netscape format, as curl and git read them, and the selection of cookies for an address.
//!
//! A line has seven fields separated by tabs: domain, whether subdomains match, path, whether TLS is required, expiry
//! (0: never), name, value. Cookies are only read; those that a server sets are dropped.

use jiff::Timestamp;
use url::{Host, Url};

use crate::secret::Secret;

const HTTP_ONLY: &str = "#HttpOnly_";

/// The cookies of a file, for any number of hosts.
#[derive(Default)]
pub(crate) struct Jar(Vec<Cookie>);

struct Cookie {
    domain: String,
    below: bool,
    path: String,
    tls_only: bool,
    /// The expiry in seconds since 1970; 0 = never.
    expires: i64,
    /// `name=value`
    pair: Secret,
}

impl Jar {
    /// Parses a cookie file.
    ///
    /// # Errors
    /// The number of the first line in another format. The line itself is not returned, since it may be a secret.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, usize> {
        let mut cookies = Vec::new();
        for (line, number) in file.split(|byte| *byte == b'\n').zip(1_usize..) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // curl writes this prefix before cookies that the scripts of a page must not read. Such a line looks like a
            // comment and is a cookie.
            let line = line.strip_prefix(HTTP_ONLY.as_bytes()).unwrap_or(line);
            if line.starts_with(b"#") || line.trim_ascii().is_empty() {
                continue;
            }
            cookies.push(str::from_utf8(line).ok().and_then(cookie).ok_or(number)?);
        }
        // The longest path first (RFC 6265, section 5.4).
        cookies.sort_by_key(|cookie: &Cookie| std::cmp::Reverse(cookie.path.len()));
        Ok(Self(cookies))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of the `Cookie` header for an address; `None` if no cookie matches.
    pub(crate) fn header(&self, url: &Url, now: Timestamp) -> Option<Secret> {
        let mut value = Vec::new();
        for cookie in self.0.iter().filter(|cookie| cookie.is_for(url, now)) {
            if !value.is_empty() {
                value.extend(b"; ");
            }
            value.extend(cookie.pair.expose());
        }
        (!value.is_empty()).then(|| Secret::new(value))
    }
}

fn cookie(line: &str) -> Option<Cookie> {
    let mut fields = line.split('\t');
    let domain = fields.next()?.trim_start_matches('.').to_ascii_lowercase();
    let below = flag(fields.next()?)?;
    let path = fields.next()?.to_owned();
    let tls_only = flag(fields.next()?)?;
    let expires = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    // Registered with the scrubber by itself, too, since a server may repeat the value without the name.
    let value = Secret::new(fields.next().unwrap_or_default());
    let usable = !domain.is_empty() && !name.is_empty() && fields.next().is_none();
    let pair = Secret::new(format!("{name}={}", value.expose_str()?));
    usable.then_some(Cookie { domain, below, path, tls_only, expires, pair })
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_uppercase().as_str() {
        "TRUE" => Some(true),
        "FALSE" => Some(false),
        _ => None,
    }
}

impl Cookie {
    fn is_for(&self, url: &Url, now: Timestamp) -> bool {
        let host = match url.host() {
            // An IP address has no subdomains.
            Some(Host::Domain(name)) => name == self.domain || self.below && ends_below(name, &self.domain),
            Some(address) => address.to_string() == self.domain,
            None => false,
        };
        let path = self.path.trim_end_matches('/');
        let below = url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let lives = self.expires == 0 || self.expires > now.as_second();
        host && below && lives && (!self.tls_only || url.scheme() == "https")
    }
}

fn ends_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Netscape HTTP Cookie File\n\n\
        .git.test\tTRUE\t/\tTRUE\t2147483647\to\tgit-me=1//secret-o\n\
        #HttpOnly_git.test\tFALSE\t/acme\tFALSE\t0\tdeep\tsecret-deep\n\
        old.test\tFALSE\t/\tFALSE\t1000\told\tsecret-old\n\
        127.0.0.1\tFALSE\t/\tFALSE\t0\tlocal\tsecret-local\n";

    fn shown(url: &str) -> Option<String> {
        let header = Jar::parse(FILE.as_bytes())
            .unwrap()
            .header(&Url::parse(url).unwrap(), Timestamp::from_second(2000).unwrap());
        header.map(|header| header.expose_str().unwrap().to_owned())
    }

    #[test]
    fn an_address_gets_the_cookies_of_its_domain_path_and_security() {
        let both = "deep=secret-deep; o=git-me=1//secret-o";
        let cases = [
            ("https://git.test/acme/site", Some(both)),
            ("https://git.test/acmes/site", Some("o=git-me=1//secret-o")),
            ("http://git.test/acme", Some("deep=secret-deep")),
            ("https://sub.git.test/acme", Some("o=git-me=1//secret-o")),
            ("https://evilgit.test/acme", None),
            ("http://git.test/", None),
            ("https://old.test/", None),
            ("http://127.0.0.1:8080/x", Some("local=secret-local")),
            ("https://127.0.0.1.evil.test/x", None),
        ];
        for (url, expected) in cases {
            assert_eq!(shown(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn an_invalid_line_is_reported_by_number_and_values_are_scrubbed() {
        assert_eq!(Jar::parse(b"# fine\nSet-Cookie: a=b\n").err(), Some(2));
        assert_eq!(Jar::parse(b"a.test\tMAYBE\t/\tTRUE\t0\tn\tv\n").err(), Some(1));
        assert!(Jar::parse(b"").is_ok_and(|jar| jar.0.is_empty()));
        // Only a comment may be in another encoding.
        assert!(Jar::parse(b"# caf\xe9\na.test\tTRUE\t/\tTRUE\t0\tn\tv\r\n\r\n").is_ok_and(|jar| jar.0.len() == 1));
        assert_eq!(Jar::parse(b"# fine\na.test\tTRUE\t/\tTRUE\t0\tn\tcaf\xe9\n").err(), Some(2));
        shown("https://git.test/");
        assert_eq!(crate::secret::scrub("it said secret-deep"), "it said ***");
    }
}
