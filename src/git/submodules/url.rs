//! Resolves the address of a submodule in `.gitmodules` relative to its parent's, or refuses it.
//!
//! Pure. The address is hostile input. It may name another server, but no program, no file of this machine (unless the
//! parent is one), and nothing that a program might take for an option.

use crate::git::http::origin::same_origin;
use crate::remote_url::{RemoteUrl, Transport};

/// Resolves `text` in a repository at `parent`. `main` is the repository of `--repo`, and `rewrite` the operator's
/// `insteadOf`.
pub(crate) fn resolve(
    text: &[u8],
    parent: &RemoteUrl,
    main: &RemoteUrl,
    rewrite: impl Fn(&str) -> String,
) -> Result<RemoteUrl, String> {
    let text = std::str::from_utf8(text).map_err(|_| "its address is not UTF-8")?;
    if text.is_empty() {
        return Err("it has no url in .gitmodules".to_owned());
    }
    harmless(text)?;
    let relative = text.starts_with("./") || text.starts_with("../");
    let address = if relative { join(parent.bare(), text)? } else { text.to_owned() };
    // Joining may have changed the beginning of the address.
    harmless(&address)?;
    let url = RemoteUrl::parse(&rewrite(&address)).map_err(|wrong| format!("its address is none: {wrong}"))?;
    if url.transport() == Transport::Local {
        if parent.transport() != Transport::Local || main.transport() != Transport::Local {
            return Err("its address is a path on this machine, and its parent's is not".to_owned());
        }
        if !url.bare().starts_with('/') {
            return Err("its address is a path that does not begin with `/`, `./` or `../`".to_owned());
        }
    }
    let odd_start = |part: Option<&str>| part.is_some_and(|part| part.starts_with('-'));
    if odd_start(url.user())
        || url.repository().is_some_and(|(host, path)| odd_start(Some(host)) || odd_start(Some(path)))
    {
        return Err("a part of its address begins with `-`, as an option does".to_owned());
    }
    Ok(if shares_login(&url, parent) { url.with_login_of(parent) } else { url })
}

/// Returns true if the login in the parent's address (`https://user:password@…`) counts for this address: as with git,
/// it counts for its whole server.
fn shares_login(url: &RemoteUrl, parent: &RemoteUrl) -> bool {
    let over_http = |url: &RemoteUrl| matches!(url.transport(), Transport::Http | Transport::Https);
    let has_no_login = url.user().is_none() && url.password().is_none();
    over_http(url)
        && over_http(parent)
        && has_no_login
        && parent.password().is_some()
        && same_origin(parent.bare(), url.bare())
}

/// Refuses addresses that git refuses, or would hand to a helper program.
fn harmless(text: &str) -> Result<(), String> {
    if text.starts_with('-') {
        return Err("its address begins with `-`, as an option does".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("its address contains a control character".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    // git refuses these: a credential helper would take them for line breaks.
    if ["%0a", "%0d", "%00"].iter().any(|encoded| lower.contains(encoded)) {
        return Err("its address contains an encoded control character".to_owned());
    }
    let scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if text.trim_start_matches(scheme).starts_with("::") {
        return Err("its address names a program (`helper::address`)".to_owned());
    }
    Ok(())
}

/// Joins relative addresses by git's rule for `./` and `../` ("git submodule add"): each `../` removes one part of the
/// parent's address.
fn join(parent: &str, text: &str) -> Result<String, String> {
    let mut base = parent.strip_suffix('/').unwrap_or(parent).to_owned();
    let mut rest = text;
    let mut separator = '/';
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            if let Some(slash) = base.rfind('/') {
                base.truncate(slash);
            } else if let Some(colon) = base.rfind(':') {
                base.truncate(colon);
                separator = ':';
            } else {
                return Err("its address has more `../` than its parent's has parts".to_owned());
            }
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    // The rest of `https://host` would then no longer be on the parent's server.
    if parent.contains("://") && base.find("://").is_none_or(|at| base.len() <= at + "://".len()) {
        return Err("its address has more `../` than its parent's has parts".to_owned());
    }
    let joined = format!("{base}{separator}{rest}");
    Ok(joined.strip_suffix('/').map(str::to_owned).unwrap_or(joined))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(parent: &str, text: &str) -> Result<String, String> {
        let parent = RemoteUrl::parse(parent).unwrap();
        resolve(text.as_bytes(), &parent, &parent, str::to_owned).map(|url| url.to_string())
    }

    #[test]
    fn relative_addresses_resolve_as_in_git() {
        // Expected values are those of `git submodule init` (2.47).
        for (parent, text, expected) in [
            ("https://git.test/acme/site.git", "../lib.git", "https://git.test/acme/lib.git"),
            ("https://git.test/acme/site.git/", "../../x/lib", "https://git.test/x/lib"),
            ("https://git.test/acme/site", "./lib", "https://git.test/acme/site/lib"),
            ("https://git.test/acme/site", ".././../x/lib/", "https://git.test/x/lib"),
            ("git@git.test:acme/site.git", "../lib.git", "git@git.test:acme/lib.git"),
            ("git@git.test:acme/site.git", "../../x/lib", "git@git.test:x/lib"),
            ("git@git.test:site.git", "../lib.git", "git@git.test:lib.git"),
            ("ssh://git@git.test:2222/a/site", "../lib", "ssh://git@git.test:2222/a/lib"),
            ("/srv/git/site.git", "../lib.git", "/srv/git/lib.git"),
            ("https://git.test/acme/site.git", "git@other.test:x/lib", "git@other.test:x/lib"),
        ] {
            assert_eq!(resolved(parent, text).as_deref(), Ok(expected), "{text} in {parent}");
        }
        for (parent, text) in [
            ("https://git.test/site", "../../lib"),
            ("https://git.test/site", "../../../evil.test/lib"),
            ("git@git.test:site", "../../lib"),
            ("/srv/site", "../../../lib"),
        ] {
            assert!(resolved(parent, text).unwrap_err().contains("more `../`"), "{text} in {parent}");
        }
    }

    #[test]
    fn a_login_in_an_address_goes_to_its_own_server_only() {
        let parent = RemoteUrl::parse("https://me:my-password@git.test/site").unwrap();
        let login = |text: &str| {
            let url = resolve(text.as_bytes(), &parent, &parent, str::to_owned).unwrap();
            (url.user().map(str::to_owned), url.password().is_some())
        };
        assert_eq!(login("../lib"), (Some("me".to_owned()), true));
        assert_eq!(login("https://git.test/other"), (Some("me".to_owned()), true));
        assert_eq!(login("https://you:yours-only@git.test/other").0.as_deref(), Some("you"));
        for other in
            ["https://evil.test/lib", "http://git.test/lib", "https://git.test:8443/lib", "https://you@git.test/x"]
        {
            assert!(!login(other).1, "{other}");
        }
    }

    #[test]
    fn rewritten_addresses_are_checked_after_the_rewrite() {
        let parent = RemoteUrl::parse("https://git.test/site").unwrap();
        let to = |prefix: &'static str| move |text: &str| text.replace("https://git.test", prefix);
        let mirror = resolve(b"../lib", &parent, &parent, to("https://mirror.test")).unwrap();
        assert_eq!(mirror.to_string(), "https://mirror.test/lib");
        assert!(resolve(b"../lib", &parent, &parent, to("/srv/git")).unwrap_err().contains("path on this machine"));
    }

    proptest! {
        #[test]
        fn no_address_of_a_remote_repository_is_a_file_an_option_or_a_program(
            text in "(\\.\\./|\\./|/|-|::|:|@|https://|file://|ext|a|%0a|\\\\| ){0,8}",
        ) {
            for parent in ["https://git.test/a/b", "git@git.test:a/b"] {
                let parent = RemoteUrl::parse(parent).unwrap();
                if let Ok(url) = resolve(text.as_bytes(), &parent, &parent, str::to_owned) {
                    prop_assert!(url.transport() != Transport::Local);
                    prop_assert!(harmless(url.bare()).is_ok());
                    let (host, _) = url.repository().unwrap();
                    prop_assert!(!host.starts_with('-'));
                }
            }
        }
    }
}
