//! The page of a commit at its forge, worked out from the address of the remote.
//!
//! Pure. The address goes into the clipboard and, as a link, to the terminal; nothing here opens it.

/// Hosts that only take SSH, and the forge that they belong to.
const SSH_HOSTS: [(&str, &str); 3] =
    [("ssh.github.com", "github.com"), ("altssh.gitlab.com", "gitlab.com"), ("altssh.bitbucket.org", "bitbucket.org")];

/// The address of a commit's page. `None` for a remote without a host or with a path that is no repository of a forge.
#[must_use]
pub(crate) fn commit_page(remote: &str, commit: &str) -> Option<String> {
    let (scheme, host, path) = parts(remote)?;
    let host = SSH_HOSTS.iter().find(|(ssh, _)| *ssh == host).map_or(host, |(_, forge)| (*forge).to_owned());
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    // The address becomes part of an OSC 8 sequence. A control character in a remote's address would end that and begin
    // another.
    let plain = |text: &str| text.chars().all(|it| it.is_ascii_alphanumeric() || "-._~/:%+".contains(it));
    let named = path.split('/').filter(|part| !part.is_empty()).count() >= 2;
    let hash = commit.len() >= 7 && crate::hash::is_hex(commit);
    if !named || !hash || host.is_empty() || !plain(&host) || !plain(path) {
        return None;
    }
    let middle = match host.as_str() {
        "bitbucket.org" => "commits",
        host if host.contains("gitlab") => "-/commit",
        _ => "commit",
    };
    Some(format!("{scheme}://{host}/{path}/{middle}/{commit}"))
}

/// Scheme of the page, host and path of a remote.
fn parts(remote: &str) -> Option<(&'static str, String, &str)> {
    let without_user = |authority: &str| authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned();
    if let Some((scheme, rest)) = remote.split_once("://") {
        let (authority, path) = rest.split_once('/')?;
        let host = without_user(authority);
        return match scheme {
            "https" => Some(("https", host, path)),
            "http" => Some(("http", host, path)),
            // The port is that of SSH.
            "ssh" | "git+ssh" | "git" => Some(("https", host.split(':').next()?.to_owned(), path)),
            _ => None,
        };
    }
    // `git@github.com:acme/site.git`; a colon after a slash belongs to a path.
    let (authority, path) = remote.split_once(':')?;
    if authority.contains('/') { None } else { Some(("https", without_user(authority), path)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_remote_leads_to_the_same_page() {
        let page = |remote: &str| commit_page(remote, "475b7a7");
        let github = Some("https://github.com/acme/site/commit/475b7a7".to_owned());
        for remote in [
            "https://github.com/acme/site.git",
            "https://token@github.com/acme/site/",
            "git@github.com:acme/site.git",
            "ssh://git@github.com/acme/site.git",
            "ssh://git@ssh.github.com:443/acme/site.git",
        ] {
            assert_eq!(page(remote), github, "{remote}");
        }
        assert_eq!(
            page("https://gitlab.example/a/b/c.git"),
            Some("https://gitlab.example/a/b/c/-/commit/475b7a7".to_owned())
        );
        assert_eq!(page("git@bitbucket.org:a/b"), Some("https://bitbucket.org/a/b/commits/475b7a7".to_owned()));
        assert_eq!(page("http://127.0.0.1:3000/a/b.git"), Some("http://127.0.0.1:3000/a/b/commit/475b7a7".to_owned()));
    }

    #[test]
    fn a_remote_without_a_forge_has_no_page() {
        for remote in
            ["/srv/site.git", "file:///srv/a/site.git", "https://host/site.git", "./a:b", "https://h/a/b\u{1b}c"]
        {
            assert_eq!(commit_page(remote, "475b7a7"), None, "{remote}");
        }
        assert_eq!(commit_page("https://github.com/acme/site", "HEAD"), None);
    }
}
