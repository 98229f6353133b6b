//! Whether an authentic push is about the ref of the repository that is followed here.
//!
//! Only comparing: no pattern is built from the payload, and nothing of it gets further than the answer's text.

use git2::Oid;
use url::Url;

use crate::sync::{Announced, Followed};

use super::payload::{Push, PushedRepository};
use super::{Audience, Repository};

/// What to do with a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `announced`: the commit that it says the ref has now, if it says so.
    Ours {
        announced: Option<Announced>,
    },
    /// Our ref is gone. A look finds the ref missing, records that and changes nothing.
    Deleted,
    Ignored {
        reason: String,
        hint: Option<&'static str>,
    },
    Incomplete {
        field: &'static str,
    },
    Impossible {
        field: &'static str,
    },
}

/// Judges a push. `whole` is false if the payload was too long to be kept: then what is missing counts as ours,
/// because a needless look is cheap and a lost push is not.
pub fn judge(push: &Push, whole: bool, audience: &Audience, followed: &Followed) -> Verdict {
    if whole {
        let named = |repository: &PushedRepository| repository.full_name.is_some() || repository.clone_url.is_some();
        let field = match push {
            Push { reference: None, .. } => Some("ref"),
            Push { after: None, .. } => Some("after"),
            Push { repository: None, .. } => Some("repository"),
            Push { repository: Some(repository), .. } if !named(repository) => Some("repository.full_name"),
            _ => None,
        };
        if let Some(field) = field {
            return Verdict::Incomplete { field };
        }
    }
    if push.reference.as_ref().is_some_and(|reference| !reference.starts_with("refs/")) {
        return Verdict::Impossible { field: "ref" };
    }
    if push.after.as_ref().is_some_and(|after| !is_hash(after)) {
        return Verdict::Impossible { field: "after" };
    }
    if let (Some(ours), Some(pushed)) = (&audience.repository, &push.repository)
        && let Some(verdict) = other_repository(ours, pushed, whole)
    {
        return verdict;
    }
    if let Some(verdict) = other_ref(push, &audience.reference, followed) {
        return verdict;
    }
    let after = push.after.as_deref().unwrap_or_default();
    if push.deleted == Some(true) || (!after.is_empty() && after.bytes().all(|byte| byte == b'0')) {
        return Verdict::Deleted;
    }
    // The hash of an annotated tag is not the commit's, and would be waited for in vain.
    let tag = push.reference.as_ref().is_some_and(|reference| reference.starts_with("refs/tags/"));
    let (before, after) = if tag { (None, &push.head_commit) } else { (push.before.as_deref(), &push.after) };
    let (before, forced) = (before.and_then(commit), push.forced != Some(false));
    let announced = after.as_deref().and_then(commit).map(|after| Announced { before, after, forced });
    Verdict::Ours { announced }
}

/// A hash that can be compared with ours. One of a SHA-256 repository cannot, and zeros are no commit.
pub fn commit(hash: &str) -> Option<Oid> {
    Oid::from_str(hash).ok().filter(|id| hash.len() == 40 && !id.is_zero())
}

fn other_repository(ours: &Repository, pushed: &PushedRepository, whole: bool) -> Option<Verdict> {
    const HINT: &str = "--hook-repo names the repository whose pushes count, if --repo does not";
    let located = pushed.clone_url.as_deref().map(locate);
    let (host, name) = match (&ours.host, &located) {
        (Some(_), None) if whole => return Some(Verdict::Incomplete { field: "repository.clone_url" }),
        (Some(_), Some(None)) => return Some(Verdict::Impossible { field: "repository.clone_url" }),
        (_, Some(Some((host, name)))) => (Some(host), Some(name)),
        (None, Some(None)) | (_, None) => (None, pushed.full_name.as_ref()),
    };
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let host_fits = match (&ours.host, host) {
        (Some(ours), Some(theirs)) => same(ours.trim_matches(['[', ']']), theirs),
        _ => true,
    };
    // With `--hook-repo owner/name` the name is what the forge calls it, wherever it is cloned from.
    let name = if ours.host.is_none() { pushed.full_name.as_ref().or(name) } else { name };
    if host_fits && name.is_none_or(|name| same(&ours.name, name)) {
        return None;
    }
    let theirs = match (host, name) {
        (Some(host), Some(name)) => format!("{host}/{name}"),
        (_, name) => name.cloned().unwrap_or_default(),
    };
    let own = ours.host.as_ref().map_or_else(|| ours.name.clone(), |host| format!("{host}/{}", ours.name));
    Some(Verdict::Ignored { reason: format!("another repository: {theirs}, followed is {own}"), hint: Some(HINT) })
}

/// Host without port, user and brackets, and the path without `.git`.
fn locate(clone_url: &str) -> Option<(String, String)> {
    let (host, path) = if clone_url.contains("://") {
        let url = Url::parse(clone_url).ok()?;
        (url.host_str()?.to_owned(), url.path().to_owned())
    } else {
        let (user_and_host, path) = clone_url.split_once(':')?;
        let host = user_and_host.rsplit_once('@').map_or(user_and_host, |(_, host)| host);
        (host.to_owned(), path.to_owned())
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty()).then(|| (host.trim_matches(['[', ']']).to_owned(), path.to_owned()))
}

fn other_ref(push: &Push, configured: &str, followed: &Followed) -> Option<Verdict> {
    const HINT: &str = "--ref names the ref that is followed";
    if followed.hash || is_hash(configured) {
        let reason = "a commit is followed, not a ref, so no push can change it".to_owned();
        return Some(Verdict::Ignored { reason, hint: Some(HINT) });
    }
    let reference = push.reference.as_deref()?;
    let default_branch = push.repository.as_ref().and_then(|repository| repository.default_branch.as_deref());
    let ours = match (&followed.full_ref, configured) {
        (Some(full), _) => reference == full,
        // Before the first look nobody knows better than the payload.
        (None, "HEAD") => default_branch.is_none_or(|branch| reference.strip_prefix("refs/heads/") == Some(branch)),
        (None, name) => ["", "refs/", "refs/heads/", "refs/tags/"]
            .into_iter()
            .any(|prefix| reference.strip_prefix(prefix).is_some_and(|rest| rest == name)),
    };
    let own = followed.full_ref.as_deref().unwrap_or(configured);
    (!ours)
        .then(|| Verdict::Ignored { reason: format!("another ref: {reference}, followed is {own}"), hint: Some(HINT) })
}

/// SHA-1 or SHA-256, in full.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn push(clone_url: &str, reference: &str) -> Push {
        Push {
            reference: Some(reference.to_owned()),
            before: Some("e".repeat(40)),
            after: Some(COMMIT.to_owned()),
            deleted: Some(false),
            forced: None,
            head_commit: Some("f".repeat(40)),
            repository: Some(PushedRepository {
                full_name: Some("Acme/Site".to_owned()),
                clone_url: Some(clone_url.to_owned()),
                default_branch: Some("main".to_owned()),
            }),
        }
    }

    fn audience(host: Option<&str>, reference: &str) -> Audience {
        let repository = Some(Repository { host: host.map(str::to_owned), name: "acme/site".to_owned() });
        Audience { repository, reference: reference.to_owned() }
    }

    fn rings(push: &Push, audience: &Audience, full_ref: Option<&str>) -> bool {
        let followed = Followed { full_ref: full_ref.map(str::to_owned), hash: false };
        matches!(judge(push, true, audience, &followed), Verdict::Ours { .. })
    }

    #[test]
    fn host_and_name_are_compared_without_case_port_and_user() {
        for (url, ours) in [
            ("https://github.com/acme/site.git", true),
            ("https://GitHub.COM:8443/ACME/Site", true),
            ("https://me:secret@github.com/acme/site.git/", true),
            ("git@github.com:acme/site.git", true),
            ("ssh://git@github.com:22/acme/site.git", true),
            ("https://github.com.evil.test/acme/site.git", false),
            ("https://evil.test/github.com/acme/site.git", false),
            ("https://github.com@evil.test/acme/site.git", false),
            ("https://github.com/acme/site2.git", false),
            ("https://github.com/acme/site/more.git", false),
            ("https://github.com/other/site.git", false),
        ] {
            let main = audience(Some("github.com"), "main");
            assert_eq!(rings(&push(url, "refs/heads/main"), &main, Some("refs/heads/main")), ours, "{url}");
        }
        for url in ["", "https://", "nonsense", "https:///x", "github.com:"] {
            let verdict =
                judge(&push(url, "refs/heads/main"), true, &audience(Some("github.com"), "main"), &Followed::default());
            assert_eq!(verdict, Verdict::Impossible { field: "repository.clone_url" }, "{url}");
        }
    }

    #[test]
    fn a_name_without_a_host_fits_every_forge_and_no_name_fits_all() {
        let mirror = push("https://anywhere.test/mirrors/x.git", "refs/heads/main");
        assert!(rings(&mirror, &audience(None, "main"), None));
        let mut other = push("https://github.com/acme/site.git", "refs/heads/main");
        other.repository.as_mut().expect("there").full_name = Some("acme/other".to_owned());
        assert!(!rings(&other, &audience(None, "main"), None));
        assert!(rings(&other, &Audience { repository: None, reference: "main".to_owned() }, None));
    }

    #[test]
    fn refs_are_compared_in_full() {
        let cases = [
            ("main", Some("refs/heads/main"), "refs/heads/main", true),
            ("main", Some("refs/heads/main"), "refs/tags/main", false),
            ("main", Some("refs/heads/main"), "refs/heads/feature/main", false),
            ("main", Some("refs/heads/main"), "refs/heads/Main", false),
            ("main", None, "refs/heads/main", true),
            ("main", None, "refs/tags/main", true),
            ("main", None, "refs/heads/x/main", false),
            ("heads/main", None, "refs/heads/main", true),
            ("refs/tags/v1", None, "refs/tags/v1", true),
            ("refs/tags/v1", None, "refs/heads/v1", false),
            ("HEAD", None, "refs/heads/main", true),
            ("HEAD", None, "refs/heads/other", false),
            ("HEAD", None, "refs/tags/main", false),
            ("HEAD", Some("refs/heads/other"), "refs/heads/main", false),
            (COMMIT, None, "refs/heads/main", false),
        ];
        for (configured, full_ref, reference, ours) in cases {
            let push = push("https://github.com/acme/site.git", reference);
            let audience = audience(Some("github.com"), configured);
            assert_eq!(rings(&push, &audience, full_ref), ours, "{configured} {full_ref:?} {reference}");
        }
    }

    #[test]
    fn a_tag_announces_its_commit_and_a_deletion_nothing() {
        let followed = Followed::default();
        let tag = push("https://github.com/acme/site.git", "refs/tags/v1");
        let verdict = judge(&tag, true, &audience(None, "v1"), &followed);
        let after = commit(&"f".repeat(40)).expect("a hash");
        assert_eq!(verdict, Verdict::Ours { announced: Some(Announced { before: None, after, forced: true }) });

        for (after, deleted) in [("0".repeat(40), None), ("0".repeat(64), Some(false)), (COMMIT.to_owned(), Some(true))]
        {
            let mut gone = push("https://github.com/acme/site.git", "refs/heads/main");
            gone.after = Some(after);
            gone.deleted = deleted;
            let verdict = judge(&gone, true, &audience(None, "main"), &followed);
            assert_eq!(verdict, Verdict::Deleted);
        }
    }

    #[test]
    fn what_was_cut_off_counts_as_ours_and_what_was_read_still_counts() {
        let followed = Followed::default();
        let ours = audience(Some("github.com"), "main");
        assert_eq!(judge(&Push::default(), false, &ours, &followed), Verdict::Ours { announced: None });
        assert_eq!(judge(&Push::default(), true, &ours, &followed), Verdict::Incomplete { field: "ref" });
        let mut cut = push("https://github.com/acme/site.git", "refs/heads/other");
        cut.repository = None;
        assert!(matches!(judge(&cut, false, &ours, &followed), Verdict::Ignored { .. }));
        let mut cut = push("https://github.com/acme/site.git", "refs/heads/main");
        cut.repository.as_mut().expect("there").clone_url = None;
        assert!(matches!(judge(&cut, false, &ours, &followed), Verdict::Ours { .. }));
    }
}
