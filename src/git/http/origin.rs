//! The comparison of two addresses by their origin, which decides where credentials may go.

use url::Url;

/// Returns true if both addresses have the same scheme, host and port. `https` in place of `http` on the same host with
/// default ports counts as the same origin, since it is only safer.
pub(crate) fn same_origin(ours: &str, asked: &str) -> bool {
    let (Ok(ours), Ok(asked)) = (Url::parse(ours), Url::parse(asked)) else { return false };
    // A port that is named may belong to another program on the same host.
    let upgraded = ours.scheme() == "http" && asked.scheme() == "https" && asked.port().is_none();
    ours.host_str() == asked.host_str()
        && (ours.scheme() == asked.scheme() && ours.port_or_known_default() == asked.port_or_known_default()
            || upgraded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_their_origin() {
        let ours = "http://git.test/a.git";
        assert!(same_origin(ours, "http://git.test:80/b"));
        assert!(same_origin(ours, "https://git.test/a.git"));
        for other in ["http://git.test:8080/a.git", "http://evil.test/a.git", "https://git.test:8443/", "nonsense"] {
            assert!(!same_origin(ours, other), "{other}");
        }
        assert!(!same_origin("https://git.test/a.git", "http://git.test/a.git"));
    }
}
