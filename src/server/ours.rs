//! Decides whether an authentic push concerns the followed ref of the configured repository.
//!
//! The payload's values are only compared. No pattern is built from them, and they appear nowhere except in the reply
//! and the log.

use git2::Oid;
use url::Url;

use crate::hash::is_hash;
use crate::remote_url::forge;
use crate::sync::{Announced, Followed};

use super::payload::{Push, PushedRepository};

/// Which deliveries concern this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// `None`: any signed repository is accepted, because the remote is a path.
    pub repository: Option<Repository>,
    /// `--ref` as configured.
    pub reference: String,
}

/// A repository on a forge, compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `None`: `--hook-repo owner/name` named no host.
    pub host: Option<String>,
    /// `owner/name`
    pub name: String,
}

/// The result of comparing a push with the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Relevance {
    /// `announced`: the commit that the payload names as the new head of the ref, if it names one.
    Ours {
        announced: Option<Announced>,
    },
    /// The followed ref was deleted. The sync that follows records that the ref is missing and changes nothing.
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

/// Classifies a push. `moved_to` is the address that the remote redirects to, because a renamed repository sends its
/// new name. `whole` is false if the payload was too long to be kept. Fields that are missing then count as matching,
/// because an unnecessary sync is cheap and a lost push is not.
pub(crate) fn judge(
    push: &Push,
    whole: bool,
    audience: &Audience,
    followed: &Followed,
    moved_to: Option<&Repository>,
) -> Relevance {
    if whole {
        let named = |repository: &PushedRepository| {
            repository.full_name.is_some() || repository.clone_url.is_some() || repository.ssh_url.is_some()
        };
        let field = match push {
            Push { reference: None, .. } => Some("ref"),
            Push { after: None, .. } => Some("after"),
            Push { repository: None, .. } => Some("repository"),
            Push { repository: Some(repository), .. } if !named(repository) => Some("repository.full_name"),
            _ => None,
        };
        if let Some(field) = field {
            return Relevance::Incomplete { field };
        }
    }
    if push.reference.as_ref().is_some_and(|reference| !reference.starts_with("refs/")) {
        return Relevance::Impossible { field: "ref" };
    }
    if push.after.as_ref().is_some_and(|after| !is_hash(after)) {
        return Relevance::Impossible { field: "after" };
    }
    if let (Some(ours), Some(pushed)) = (&audience.repository, &push.repository)
        && let Some(verdict) = other_repository(ours, moved_to, pushed, whole)
    {
        return verdict;
    }
    if let Some(verdict) = other_ref(push, &audience.reference, followed) {
        return verdict;
    }
    let after = push.after.as_deref().unwrap_or_default();
    // Either sign counts, because `deleted` may be missing.
    if push.deleted == Some(true) || (!after.is_empty() && after.bytes().all(|byte| byte == b'0')) {
        return Relevance::Deleted;
    }
    if is_of_another_branch(push, followed) {
        return Relevance::Ours { announced: None };
    }
    // The `after` of an annotated tag is the hash of the tag object, which would never appear as a commit.
    let tag = push.reference.as_ref().is_some_and(|reference| reference.starts_with("refs/tags/"));
    let (before, after) = if tag { (None, &push.head_commit) } else { (push.before.as_deref(), &push.after) };
    // A forge that leaves out `forced` may have taken a forced push, so only an explicit `false` counts.
    let (before, forced) = (before.and_then(commit), push.forced != Some(false));
    let announced = after.as_deref().and_then(commit).map(|after| Announced { before, after, forced });
    Relevance::Ours { announced }
}

/// Parses a SHA-1 commit hash. Returns `None` for a SHA-256 hash and for the all-zero hash.
pub(crate) fn commit(hash: &str) -> Option<Oid> {
    Oid::from_str(hash).ok().filter(|id| hash.len() == 40 && !id.is_zero())
}

/// Returns the rejection of a push to another repository, or `None` if one of its addresses matches or if there is
/// nothing to compare.
fn other_repository(
    ours: &Repository,
    moved_to: Option<&Repository>,
    pushed: &PushedRepository,
    whole: bool,
) -> Option<Relevance> {
    const HINT: &str = "--hook-repo names the repository whose pushes count, if --repo does not";
    let mut located = Vec::new();
    if let Some(url) = &pushed.clone_url {
        match locate(url) {
            Some(place) => located.push(place),
            None if ours.host.is_some() => return Some(Relevance::Impossible { field: "repository.clone_url" }),
            None => {}
        }
    }
    // Forges without SSH put arbitrary values into this field, so an unusable one is no error.
    located.extend(pushed.ssh_url.as_deref().and_then(locate));
    if located.is_empty() && ours.host.is_some() && whole {
        return Some(Relevance::Incomplete { field: "repository.clone_url" });
    }
    let is_named = |wanted: &Repository, host: &str, name: &str| {
        wanted.host.as_ref().is_none_or(|wanted| forge(wanted) == host) && same(&wanted.name, name)
    };
    // `--hook-repo owner/name` is compared with the name that the forge uses, independent of the clone URL.
    let fits = if ours.host.is_none() {
        let name = pushed.full_name.as_deref().or_else(|| located.first().map(|(_, name)| name.as_str()));
        name.is_none_or(|name| same(&ours.name, name))
    } else {
        located.is_empty() || located.iter().any(|(host, name)| is_named(ours, host, name))
    };
    let moved = moved_to.is_some_and(|moved| located.iter().any(|(host, name)| is_named(moved, host, name)));
    if fits || moved {
        return None;
    }
    let theirs = match located.first() {
        Some((host, name)) => {
            format!("{host}/{}", pushed.full_name.as_ref().filter(|_| ours.host.is_none()).unwrap_or(name))
        }
        None => pushed.full_name.clone().unwrap_or_default(),
    };
    let own = ours.host.as_ref().map_or_else(|| ours.name.clone(), |host| format!("{host}/{}", ours.name));
    Some(Relevance::Ignored { reason: format!("another repository: {theirs}, followed is {own}"), hint: Some(HINT) })
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// Returns the repository at an address in the form that a delivery uses, or `None` for a local path.
pub(crate) fn repository(address: &str) -> Option<Repository> {
    locate(address).map(|(host, name)| Repository { host: Some(host), name })
}

/// Returns the forge (no port, no user, no brackets) and the path without `.git`.
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
    (!host.is_empty() && !path.is_empty()).then(|| (forge(&host), path.to_owned()))
}

/// Returns true if the followed ref is one that the forge keeps for a pull request (`refs/pull/NUMBER/head`). Forges
/// send no push event for such a ref, but they send pull request events.
pub(crate) fn follows_pull_request(configured: &str, followed: &Followed) -> bool {
    let name = followed.full_ref.as_deref().unwrap_or(configured);
    let name = name.strip_prefix("refs/").unwrap_or(name);
    name.strip_prefix("pull/")
        .and_then(|rest| rest.strip_suffix("/head"))
        .is_some_and(|number| number.parse::<u64>().is_ok())
}

fn other_ref(push: &Push, configured: &str, followed: &Followed) -> Option<Relevance> {
    const HINT: &str = "--ref names the ref that is followed";
    if followed.hash || is_hash(configured) {
        let reason = "a commit is followed, not a ref, so no push can change it".to_owned();
        return Some(Relevance::Ignored { reason, hint: Some(HINT) });
    }
    let reference = push.reference.as_deref()?;
    let default_branch = push.repository.as_ref().and_then(|repository| repository.default_branch.as_deref());
    let ours = match (&followed.full_ref, configured) {
        // The remote's HEAD may name another branch by now, so the pushed ref cannot be compared; the sync finds out.
        (Some(full), "HEAD") if has_moved(full, default_branch) => true,
        (Some(full), _) => reference == full,
        // Before the first sync the payload's default branch is the only information.
        (None, "HEAD") => default_branch.is_none_or(|branch| reference.strip_prefix("refs/heads/") == Some(branch)),
        (None, name) => ["", "refs/", "refs/heads/", "refs/tags/"]
            .into_iter()
            .any(|prefix| reference.strip_prefix(prefix).is_some_and(|rest| rest == name)),
    };
    let own = followed.full_ref.as_deref().unwrap_or(configured);
    (!ours).then(|| Relevance::Ignored {
        reason: format!("another ref: {reference}, followed is {own}"),
        hint: Some(HINT),
    })
}

/// Returns true if the branch that is followed as the remote's HEAD is no longer the default branch.
fn has_moved(followed: &str, default_branch: Option<&str>) -> bool {
    followed.strip_prefix("refs/heads/").zip(default_branch).is_some_and(|(followed, default)| followed != default)
}

/// Returns true if a relevant push is to another branch than the followed one; its commit says nothing about ours.
fn is_of_another_branch(push: &Push, followed: &Followed) -> bool {
    followed.full_ref.as_deref().zip(push.reference.as_deref()).is_some_and(|(followed, pushed)| followed != pushed)
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
                ssh_url: None,
                default_branch: Some("main".to_owned()),
            }),
            ..Push::default()
        }
    }

    fn audience(host: Option<&str>, reference: &str) -> Audience {
        let repository = Some(Repository { host: host.map(str::to_owned), name: "acme/site".to_owned() });
        Audience { repository, reference: reference.to_owned() }
    }

    fn is_ours(push: &Push, audience: &Audience, full_ref: Option<&str>) -> bool {
        let followed = Followed { full_ref: full_ref.map(str::to_owned), hash: false };
        matches!(judge(push, true, audience, &followed, None), Relevance::Ours { .. })
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
            assert_eq!(is_ours(&push(url, "refs/heads/main"), &main, Some("refs/heads/main")), ours, "{url}");
        }
        for url in ["", "https://", "nonsense", "https:///x", "github.com:"] {
            let verdict = judge(
                &push(url, "refs/heads/main"),
                true,
                &audience(Some("github.com"), "main"),
                &Followed::default(),
                None,
            );
            assert_eq!(verdict, Relevance::Impossible { field: "repository.clone_url" }, "{url}");
        }
    }

    #[test]
    fn a_repository_without_a_host_matches_any_forge_and_none_matches_all() {
        let mirror = push("https://anywhere.test/mirrors/x.git", "refs/heads/main");
        assert!(is_ours(&mirror, &audience(None, "main"), None));
        let mut other = push("https://github.com/acme/site.git", "refs/heads/main");
        other.repository.as_mut().expect("there").full_name = Some("acme/other".to_owned());
        assert!(!is_ours(&other, &audience(None, "main"), None));
        assert!(is_ours(&other, &Audience { repository: None, reference: "main".to_owned() }, None));
    }

    #[test]
    fn either_url_may_match_and_the_ssh_hosts_of_forges_count_as_the_forge() {
        let cases = [
            (Some("github.com"), "https://else.test/x/y.git", "git@github.com:acme/site.git", true),
            (Some("github.com"), "https://github.com/acme/site.git", "git@else.test:x/y.git", true),
            (Some("github.com"), "https://else.test/x/y.git", "git@else.test:x/y.git", false),
            (Some("github.com"), "https://else.test/x/y.git", "ssh://git@ssh.github.com:443/acme/site.git", true),
            (Some("ssh.github.com"), "https://github.com/acme/site.git", "git@github.com:acme/site.git", true),
            (Some("altssh.gitlab.com"), "https://gitlab.com/acme/site.git", "git@gitlab.com:acme/site.git", true),
            (Some("altssh.bitbucket.org"), "https://bitbucket.org/acme/site", "git@bitbucket.org:acme/site", true),
            (Some("git.test"), "https://ssh.git.test/acme/site.git", "git@ssh.git.test:acme/site.git", false),
        ];
        for (host, clone_url, ssh_url, ours) in cases {
            let mut push = push(clone_url, "refs/heads/main");
            push.repository.as_mut().expect("there").ssh_url = Some(ssh_url.to_owned());
            assert_eq!(is_ours(&push, &audience(host, "main"), None), ours, "{host:?}: {clone_url} {ssh_url}");
        }
        let mut only_ssh = push("", "refs/heads/main");
        let repository = only_ssh.repository.as_mut().expect("there");
        (repository.clone_url, repository.ssh_url) = (None, Some("git@github.com:acme/site.git".to_owned()));
        assert!(is_ours(&only_ssh, &audience(Some("github.com"), "main"), None));
    }

    #[test]
    fn a_renamed_repository_matches_the_name_that_the_remote_redirects_to() {
        let renamed = push("https://github.com/acme-inc/website.git", "refs/heads/main");
        let ours = audience(Some("github.com"), "main");
        let to = |address| repository(address).expect("an address");
        let judged = |moved_to: Option<&Repository>| judge(&renamed, true, &ours, &Followed::default(), moved_to);
        assert!(matches!(judged(None), Relevance::Ignored { .. }));
        assert!(matches!(judged(Some(&to("https://github.com/Acme-Inc/website"))), Relevance::Ours { .. }));
        assert!(matches!(judged(Some(&to("https://github.com/acme-inc/other.git"))), Relevance::Ignored { .. }));
        assert!(matches!(judged(Some(&to("https://else.test/acme-inc/website"))), Relevance::Ignored { .. }));
        // The old name still matches, because the forge may have sent the delivery before the renaming.
        let old = push("https://github.com/acme/site.git", "refs/heads/main");
        let verdict = judge(&old, true, &ours, &Followed::default(), Some(&to("https://github.com/acme-inc/website")));
        assert!(matches!(verdict, Relevance::Ours { .. }));
    }

    #[test]
    fn only_the_head_of_a_pull_request_is_followed_by_its_events() {
        let known = |full_ref: &str| Followed { full_ref: Some(full_ref.to_owned()), ..Followed::default() };
        for (configured, followed, expected) in [
            ("pull/7/head", Followed::default(), true),
            ("refs/pull/7/head", Followed::default(), true),
            ("pull/7/head", known("refs/pull/7/head"), true),
            ("pull/7/head", known("refs/heads/pull/7/head"), false),
            ("pull/7/merge", Followed::default(), false),
            ("pull/x/head", Followed::default(), false),
            ("main", Followed::default(), false),
        ] {
            assert_eq!(follows_pull_request(configured, &followed), expected, "{configured} {followed:?}");
        }
    }

    #[test]
    fn a_push_with_another_default_branch_announces_no_commit() {
        let followed = Followed { full_ref: Some("refs/heads/old".to_owned()), ..Followed::default() };
        let push = push("https://github.com/acme/site.git", "refs/heads/main");
        let verdict = judge(&push, true, &audience(Some("github.com"), "HEAD"), &followed, None);
        assert_eq!(verdict, Relevance::Ours { announced: None });
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
            ("HEAD", Some("refs/heads/main"), "refs/heads/other", false),
            // The default branch is `main` by now, so HEAD names another branch than the one that is followed.
            ("HEAD", Some("refs/heads/other"), "refs/heads/main", true),
            ("HEAD", Some("refs/heads/other"), "refs/heads/third", true),
            ("other", Some("refs/heads/other"), "refs/heads/main", false),
            ("HEAD", Some("HEAD"), "refs/heads/main", false),
            (COMMIT, None, "refs/heads/main", false),
        ];
        for (configured, full_ref, reference, ours) in cases {
            let push = push("https://github.com/acme/site.git", reference);
            let audience = audience(Some("github.com"), configured);
            assert_eq!(is_ours(&push, &audience, full_ref), ours, "{configured} {full_ref:?} {reference}");
        }
    }

    #[test]
    fn a_tag_announces_its_commit_and_a_deletion_nothing() {
        let followed = Followed::default();
        let tag = push("https://github.com/acme/site.git", "refs/tags/v1");
        let verdict = judge(&tag, true, &audience(None, "v1"), &followed, None);
        let after = commit(&"f".repeat(40)).expect("a hash");
        assert_eq!(verdict, Relevance::Ours { announced: Some(Announced { before: None, after, forced: true }) });

        for (after, deleted) in [("0".repeat(40), None), ("0".repeat(64), Some(false)), (COMMIT.to_owned(), Some(true))]
        {
            let mut gone = push("https://github.com/acme/site.git", "refs/heads/main");
            gone.after = Some(after);
            gone.deleted = deleted;
            let verdict = judge(&gone, true, &audience(None, "main"), &followed, None);
            assert_eq!(verdict, Relevance::Deleted);
        }
    }

    #[test]
    fn missing_fields_of_a_cut_payload_match_and_present_ones_are_compared() {
        let followed = Followed::default();
        let ours = audience(Some("github.com"), "main");
        assert_eq!(judge(&Push::default(), false, &ours, &followed, None), Relevance::Ours { announced: None });
        assert_eq!(judge(&Push::default(), true, &ours, &followed, None), Relevance::Incomplete { field: "ref" });
        let mut cut = push("https://github.com/acme/site.git", "refs/heads/other");
        cut.repository = None;
        assert!(matches!(judge(&cut, false, &ours, &followed, None), Relevance::Ignored { .. }));
        let mut cut = push("https://github.com/acme/site.git", "refs/heads/main");
        cut.repository.as_mut().expect("there").clone_url = None;
        assert!(matches!(judge(&cut, false, &ours, &followed, None), Relevance::Ours { .. }));
    }
}
