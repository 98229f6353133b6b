//! The values of the command line: what Kubernetes, git and a manifest can take.
//!
//! Each check returns the reason in words that follow the value's name. It must not know the command line.

use crate::remote_url::{RemoteUrl, Transport};

use super::options::Access;

/// The longest name that leaves room for the longest suffix, `-dashboard`, in a label of 63 characters.
const LONGEST_NAME: usize = 53;

/// The repository's address, without anything secret in it.
///
/// The reason never repeats the text, which may contain a password.
pub(super) fn repo(text: &str) -> Result<RemoteUrl, String> {
    let url = RemoteUrl::parse(text).map_err(|wrong| format!("cannot be used: {wrong}"))?;
    let secret =
        "would be readable to everyone who sees the manifest. Leave it out, and keep it in a Secret: --private token";
    if url.transport() == Transport::Local {
        return Err("is a path; a pod needs an address, such as https://github.com/OWNER/NAME.git".to_owned());
    }
    // `user:password@host/path` is taken for the path `password@host/path` on the host `user`.
    let odd_path = url.repository().is_some_and(|(_, path)| path.contains('@'));
    if url.password().is_some() || odd_path {
        return Err(format!("contains a password, which {secret}"));
    }
    if url.transport() != Transport::Ssh && url.user().is_some() {
        return Err(format!("contains a user name, which may be a token and {secret}"));
    }
    if !url.repository().is_none_or(|(host, _)| is_host(host)) {
        return Err("has a host that is neither a name nor an address".to_owned());
    }
    if text.contains(['?', '#']) {
        return Err("contains `?` or `#`; a repository's address ends with its path".to_owned());
    }
    if text.contains(char::is_whitespace) {
        return Err("contains a blank; write it as %20".to_owned());
    }
    Ok(url)
}

/// True for names and addresses. The host of an ssh address is part of a command for a shell.
fn is_host(host: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
    // With a dash at its beginning it would be an option of that command.
    !host.is_empty() && !host.starts_with('-') && host.chars().all(good)
}

/// The access that fits the address, or the reason why the wanted one does not.
pub(super) fn access(wanted: Option<Access>, url: &RemoteUrl) -> Result<Access, String> {
    let ssh = url.transport() == Transport::Ssh;
    let path = || url.repository().map_or(("HOST", "OWNER/NAME"), |found| found);
    match (wanted, ssh) {
        (None | Some(Access::Ssh), true) => Ok(Access::Ssh),
        (None, false) => Ok(Access::Public),
        (Some(Access::Ssh), false) => {
            let (host, path) = path();
            Err(format!("ssh needs an ssh address: --repo git@{host}:{path}.git"))
        }
        (Some(Access::Public), true) => Err("none does not fit an ssh address, which always needs a key".to_owned()),
        (Some(Access::Token | Access::App), true) => {
            let (host, path) = path();
            Err(format!("token and app need an https address: --repo https://{host}/{path}.git"))
        }
        (Some(Access::Token | Access::App), false) if url.transport() == Transport::Http => {
            Err("token and app need https, since http sends them in the clear".to_owned())
        }
        (Some(access), false) => Ok(access),
    }
}

/// The name of the site, of which all names of objects are made.
pub(super) fn site_name(text: &str) -> Result<(), String> {
    label(text)?;
    // The name of a Service is a label as in RFC 1035; other names may begin with a digit (RFC 1123).
    if !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("does not begin with a letter, which the name of a Service must".to_owned());
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("has more than {LONGEST_NAME} characters, and the names of the objects are longer still"));
    }
    Ok(())
}

/// A label of DNS, such as a namespace.
pub(super) fn label(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() || !text.chars().all(|c| good(c) || c == '-') || !text.starts_with(good) || !text.ends_with(good)
    {
        return Err(
            "is not a name that Kubernetes takes: lower-case letters, digits and dashes, no dash at an end".to_owned()
        );
    }
    if text.len() > 63 { Err("has more than 63 characters".to_owned()) } else { Ok(()) }
}

/// A name of several labels, such as that of an object.
pub(super) fn object_name(text: &str) -> Result<(), String> {
    text.split('.').try_for_each(label)?;
    // A subdomain in the sense of RFC 1123, as the API demands of names.
    if text.len() > 253 { Err("has more than 253 characters".to_owned()) } else { Ok(()) }
}

pub(super) fn host(text: &str) -> Result<(), String> {
    if text.contains(['/', ':']) {
        return Err("is not a host name; write it without https:// and without a port or path".to_owned());
    }
    object_name(text).map_err(|_| "is not a host name in lower case, such as site.example.com".to_owned())?;
    // The URL Standard reads a host whose last part is a number as an IPv4 address.
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
    if numeric { Err("is an address; a route needs a host name".to_owned()) } else { Ok(()) }
}

pub(super) fn image(text: &str) -> Result<(), String> {
    let end = |c: char| c.is_ascii_alphanumeric();
    let good = |c: char| end(c) || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    let fits = text.starts_with(end) && text.ends_with(end) && text.chars().all(good) && !text.contains("//");
    if fits { Ok(()) } else { Err("is not an image, such as registry.example.com/pushsync:0.1.0".to_owned()) }
}

/// A folder in a container, without a slash at its end.
pub(super) fn mount(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let fits = path.starts_with('/')
        // The API permits no colon in a `mountPath`.
        && !path.contains(':')
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| part != "..");
    if fits { Ok(path.to_owned()) } else { Err("is not an absolute path of a folder below /".to_owned()) }
}

/// A name made from the repository's: its last part in lower case, with dashes in place of other characters.
pub(super) fn name_of(url: &RemoteUrl) -> Option<String> {
    let leaf = url.leaf()?;
    let leaf = leaf.strip_suffix(".git").unwrap_or(leaf);
    let mut name = String::new();
    for c in leaf.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = name.get(..LONGEST_NAME).unwrap_or(name).trim_end_matches('-');
    site_name(name).is_ok().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_something_secret_or_odd_are_refused_and_not_repeated() {
        let bad = [
            "https://me:hunter22@git.example/a/b.git",
            "https://ghp_0123456789@git.example/a/b.git",
            "me:hunter22@git.example/a/b.git",
            "ssh://git:hunter22@git.example/a/b.git",
            "https://git.example/a/b?private_token=hunter22",
            "",
            "/srv/a.git",
            "file:///srv/hunter22.git",
            "ftp://git.example/hunter22",
            "https://git.example/a b",
            "https://git.example/a\nb",
            "git@a$(id).example:a/b.git",
            "ssh://git@git.example;id/a/b.git",
            "ssh://-oProxyCommand=id/a/b.git",
        ];
        for text in bad {
            let wrong = repo(text).expect_err(text);
            assert!(!wrong.contains("hunter22") && !wrong.contains("ghp_"), "{wrong}");
        }
        for text in [
            "https://git.example/a/b.git",
            "http://git.git:3000/a/b",
            "git@git.example:a/b.git",
            "ssh://git@git.example:2222/a/b",
            "ssh://git@[::1]:2222/a/b",
        ] {
            assert!(repo(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn names_are_made_of_repositories_and_checked() {
        let made = |text: &str| name_of(&repo(text).unwrap());
        assert_eq!(made("https://git.example/acme/Hand_Book.git").as_deref(), Some("hand-book"));
        assert_eq!(made("https://git.example/2048.git"), None);
        assert_eq!(made("https://git.example/2048-game").as_deref(), Some("game"));
        assert_eq!(made(&format!("https://git.example/{}", "a-".repeat(60))).unwrap().len(), 53);
        assert_eq!(made("git@git.example:acme.github.io").as_deref(), Some("acme-github-io"));
        for bad in ["", "-a", "a-", "Site", "a.b", "a_b", "1a", "a b", "ü", "a\n", &"a".repeat(54)] {
            assert!(site_name(bad).is_err(), "{bad}");
        }
        for bad in ["https://a.b", "a.b/", "a:1", "*.a.b", "A.b", "10.0.0.1", "", "a..b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for bad in ["", "-a", "a b", "a//b", "a:", "a\nb", "https://r/a"] {
            assert!(image(bad).is_err(), "{bad}");
        }
        for bad in ["", "/", "a", "/a/../b", "/a:b", "/a\n"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
        assert_eq!(mount("/srv/git/").as_deref(), Ok("/srv/git"));
    }

    #[test]
    fn the_access_must_fit_the_address() {
        let of = |wanted, text: &str| access(wanted, &repo(text).unwrap());
        assert_eq!(of(None, "https://git.example/a/b"), Ok(Access::Public));
        assert_eq!(of(None, "git@git.example:a/b"), Ok(Access::Ssh));
        let wrong = of(Some(Access::Ssh), "https://git.example/a/b.git").unwrap_err();
        assert!(wrong.contains("git@git.example:a/b.git"), "{wrong}");
        let wrong = of(Some(Access::Token), "git@git.example:a/b.git").unwrap_err();
        assert!(wrong.contains("https://git.example/a/b.git"), "{wrong}");
        assert!(of(Some(Access::Token), "http://git.example/a/b").is_err());
    }
}
