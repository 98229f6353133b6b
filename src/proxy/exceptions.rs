//! `no_proxy`: the addresses that are reached without a proxy.
//!
//! Pure functions. Entries are separated by commas or blanks: `*` (everything), `host` (the host and its subdomains;
//! `.host` and `*.host` mean the same), an IP address, or a network such as `10.0.0.0/8`. A host or address may have
//! a port, which the request's port must then equal.

use std::net::IpAddr;

use url::{Host, Url};

/// The entries of `no_proxy`; none by default.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    what: Pattern,
    /// `None`: any port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// In lower case, without leading and trailing dots.
    Domain(String),
    Network {
        address: IpAddr,
        bits: u8,
    },
}

impl Exceptions {
    /// Parses the variable's value. An invalid entry matches nothing, as in curl.
    pub(super) fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Self(entries.filter_map(Exception::parse).collect())
    }

    /// Returns true if an entry matches the URL.
    pub(super) fn cover(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let port = url.port_or_known_default();
        self.0.iter().any(|entry| entry.port.is_none_or(|wanted| port == Some(wanted)) && entry.what.covers(&host))
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { what: Pattern::Everything, port: None });
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self { what: Pattern::Network { address, bits }, port: None });
        }
        if let Some(what) = single(text) {
            return Some(Self { what, port: None });
        }
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { what: single(host)?, port: Some(port.parse().ok()?) })
    }
}

/// Parses one host or address without a port.
fn single(text: &str) -> Option<Pattern> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Pattern::Network { address, bits: width(address) });
    }
    // Parsed like a URL's host, so that both have the same form (case, non-ASCII letters).
    match Host::parse(text.trim_start_matches('*').trim_matches('.')).ok()? {
        Host::Domain(name) => Some(Pattern::Domain(name)),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

impl Pattern {
    fn covers(&self, host: &Host<&str>) -> bool {
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address).to_canonical()),
        };
        match (self, host, address) {
            (Self::Everything, ..) => true,
            (Self::Domain(name), Host::Domain(host), _) => {
                let above = host.trim_end_matches('.').strip_suffix(name.as_str());
                above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Network { address: network, bits }, _, Some(address)) => {
                let network = if *bits == width(*network) { network.to_canonical() } else { *network };
                width(network) == width(address) && same_prefix(network, address, (*bits).min(width(network)))
            }
            _ => false,
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Returns true if the first `bits` of two addresses of one family are equal.
fn same_prefix(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let number = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    // Shifting by the full width would overflow.
    bits == 0 || (number(one) ^ number(other)) >> (128 - u32::from(bits)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_no_proxy_entry_matches() {
        let cases = [
            ("inner.test", "http://inner.test/", true),
            ("inner.test", "https://git.inner.test:8443/", true),
            ("inner.test", "http://winner.test/", false),
            (".inner.test", "http://git.inner.test/", true),
            (".inner.test", "http://inner.test/", true),
            ("*.inner.test", "http://a.b.inner.test/", true),
            ("*.inner.test", "http://inner.test.evil.test/", false),
            ("Inner.TEST.", "http://inner.test./", true),
            ("b\u{fc}cher.test", "http://xn--bcher-kva.test/", true),
            ("inner.test:8080", "http://inner.test:8080/", true),
            ("inner.test:8080", "http://inner.test/", false),
            ("inner.test:80", "http://inner.test/", true),
            ("inner.test:443", "https://git.inner.test/", true),
            ("*.inner.test:8443", "https://git.inner.test:8443/", true),
            ("10.0.0.0/8", "http://10.1.2.3:8080/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3/31", "http://10.1.2.2/", true),
            ("0.0.0.0/0", "http://203.0.113.1/", true),
            ("0.0.0.0/0", "http://[2001:db8::1]/", false),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("10.1.2.3:81", "http://10.1.2.3/", false),
            ("10.1.2.3:81", "http://10.1.2.3:81/", true),
            ("10.1.2.3", "http://[::ffff:10.1.2.3]/", true),
            ("2001:db8::/32", "http://[2001:db8:1::1]/", true),
            ("2001:db8::1", "http://[2001:db8::1]/", true),
            ("[2001:db8::1]:81", "http://[2001:db8::1]:81/", true),
            ("[2001:db8::1]:81", "http://[2001:db8::1]/", false),
            ("a.test,*", "http://anything.test/", true),
            ("a.test b.test\tc.test", "http://c.test/", true),
            ("", "http://a.test/", false),
            ("10.0.0.0/33,/8,:80,a b:x,.", "http://10.0.0.1/", false),
            // A name is not resolved to compare it with a network.
            ("127.0.0.0/8", "http://localhost/", false),
        ];
        for (entries, url, expected) in cases {
            let covered = Exceptions::parse(entries).cover(&Url::parse(url).unwrap());
            assert_eq!(covered, expected, "`{entries}` and {url}");
        }
    }
}
