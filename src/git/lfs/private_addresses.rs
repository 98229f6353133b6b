//! Refuses objects' addresses that lead to this machine or to link-local addresses.
//!
//! The address of an object is hostile input. Object storage may be inside a cluster, so private addresses are
//! allowed; those of this machine and of the link (where clouds keep their keys) never hold objects, unless the LFS
//! server itself is there.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::names;

#[derive(Debug, thiserror::Error)]
#[error("it leads to an address of this machine or of the link ({0}), which holds no objects")]
pub(crate) struct Inside(String);

/// Checks an address with a numeric host. Names are checked when they are resolved.
pub(crate) fn judge(href: &Url, asked: &Url) -> Result<(), Inside> {
    // The operator chose this server, wherever it is.
    if href.host() == asked.host() {
        return Ok(());
    }
    let inside = match href.host() {
        Some(Host::Ipv4(address)) => is_inside(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_inside(IpAddr::V6(address)),
        // Names below `localhost` are this machine, too (RFC 6761, section 6.3).
        Some(Host::Domain(name)) => name.trim_end_matches('.').ends_with("localhost"),
        None => true,
    };
    if inside { Err(Inside(href.host_str().unwrap_or_default().to_owned())) } else { Ok(()) }
}

fn is_inside(address: IpAddr) -> bool {
    // A connection to `::ffff:127.0.0.1` reaches 127.0.0.1.
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // Linux takes 0.0.0.0 for this machine. Nothing else in 0.0.0.0/8 is a destination (RFC 1122, section
            // 3.2.1.3).
            address.is_loopback() || address.is_link_local() || address.is_unspecified() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
    }
}

/// Resolves names, and leaves out the refused addresses.
pub(crate) struct Outside;

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = names::addresses(name.as_str(), 0).await?;
            let (inside, outside): (Vec<SocketAddr>, Vec<_>) =
                found.into_iter().partition(|found| is_inside(found.ip()));
            match (outside.is_empty(), inside.first()) {
                (true, Some(address)) => Err(Inside(format!("{} is {}", name.as_str(), address.ip())).into()),
                _ => Ok(Box::new(outside.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_addresses_are_refused_unless_the_lfs_server_is_there() {
        let asked = Url::parse("https://git.test/a/info/lfs").unwrap();
        let is_fine = |href: &str| judge(&Url::parse(href).unwrap(), &asked).is_ok();
        for inside in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/x",
            "http://0.0.0.0:9180/x",
            "http://169.254.169.254/latest",
            "http://[::1]/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://[fe80::1]/x",
            "http://localhost:9180/x",
            "http://a.localhost./x",
        ] {
            assert!(!is_fine(inside), "{inside}");
        }
        for fine in ["https://git.test/x", "https://10.1.2.3/x", "https://cdn.test/x", "https://[2001:db8::1]/x"] {
            assert!(is_fine(fine), "{fine}");
        }
        let local = Url::parse("http://127.0.0.1:3000/a/info/lfs").unwrap();
        assert!(judge(&Url::parse("http://127.0.0.1:9000/x").unwrap(), &local).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_refused() {
        let found = Outside.resolve("localhost".parse().unwrap()).await;
        assert!(found.is_err_and(|error| error.to_string().contains("of this machine")));
    }
}
