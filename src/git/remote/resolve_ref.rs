//! Resolves the followed ref: from the refs that a remote lists to one commit.

use std::sync::Once;

use git2::Oid;

use crate::git::error::Error;
use crate::git::protocol::ls_refs::AdvertisedRef;
use crate::git::remote::options::Reference;
use crate::text::one_line;

/// How many names an error lists.
const MOST_NAMES: usize = 5;
const LONGEST_NAME: usize = 100;

/// The commit that the remote's refs name for the followed ref, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteHead {
    /// The commit, peeled if the ref is an annotated tag.
    pub commit: Oid,
    /// The full name of the followed ref; `None` if a hash is configured.
    pub full_ref: Option<String>,
    /// The branch that the remote's HEAD names, as `refs/heads/…`, if the remote says so.
    pub default_branch: Option<String>,
}

/// Returns the ref prefixes for following `reference`. HEAD is among them to learn the default branch.
pub(crate) fn prefixes(reference: &Reference) -> Vec<String> {
    let mut prefixes = vec!["HEAD".to_owned()];
    match reference {
        Reference::Name(name) => {
            let [branch, tag, other] = Reference::full_names(name);
            prefixes.extend([branch, tag]);
            // Without a slash the name would match whole folders: `p` matches `refs/pull/…`.
            prefixes.extend(name.contains('/').then_some(other));
        }
        Reference::Full(name) => prefixes.push(name.clone()),
        Reference::Head | Reference::Hash(_) => {}
    }
    prefixes
}

/// Returns the prefixes of all branches and tags, to suggest names in place of a missing ref.
pub(crate) fn all_prefixes() -> Vec<String> {
    ["HEAD", "refs/heads/", "refs/tags/"].map(str::to_owned).to_vec()
}

/// Resolves `reference` among the listed refs. `remote` is for the errors.
pub(crate) fn resolve(reference: &Reference, refs: &[AdvertisedRef], remote: &str) -> Result<RemoteHead, Error> {
    if let Reference::Hash(commit) = reference {
        return Ok(RemoteHead { commit: *commit, full_ref: None, default_branch: None });
    }
    // A repository without commits lists no refs.
    if refs.is_empty() {
        return Err(Error::EmptyRepository { remote: remote.to_owned() });
    }
    let find = |name: &str| refs.iter().find(|one| one.name == name);
    let default_branch = find("HEAD").and_then(|head| head.target.clone());
    let found = match reference {
        // A HEAD without a target is detached, and is followed itself.
        Reference::Head => find("HEAD").map(|head| (head, default_branch.as_deref().unwrap_or("HEAD"))),
        Reference::Name(name) => {
            let [branch, tag, other] = Reference::full_names(name).map(|name| find(&name));
            if let (Some(branch), Some(tag)) = (branch, tag) {
                warn_of_ambiguous_name(&branch.name, &tag.name);
            }
            branch.or(tag).or(other).map(|one| (one, one.name.as_str()))
        }
        Reference::Full(name) => find(name).map(|one| (one, one.name.as_str())),
        Reference::Hash(_) => None,
    };
    let Some((one, full_ref)) = found else {
        let name = match reference {
            Reference::Name(name) | Reference::Full(name) => name.as_str(),
            _ => "HEAD",
        };
        return Err(Error::RefMissing { name: name.to_owned(), available: nearest(name, refs) });
    };
    // An annotated tag is listed twice: the peeled entry is the commit.
    let commit = find(&format!("{}^{{}}", one.name)).map_or(one.id, |peeled| peeled.id);
    Ok(RemoteHead { commit, full_ref: Some(full_ref.to_owned()), default_branch })
}

/// Warns of a branch and a tag with the same name. Git itself would resolve the tag.
fn warn_of_ambiguous_name(branch: &str, tag: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            branch,
            tag,
            "the remote has a branch and a tag of this name: --ref follows the branch; its full name ends the doubt"
        );
    });
}

/// Returns the branches and tags with the most similar names.
fn nearest(asked: &str, refs: &[AdvertisedRef]) -> Vec<String> {
    // The names come from the remote, so only their beginning is compared.
    let start = |name: &str| short(name).chars().take(LONGEST_NAME).collect::<String>().to_lowercase();
    let asked = start(asked);
    let mut names: Vec<(usize, &str)> = refs
        .iter()
        .map(|one| one.name.as_str())
        .filter(|name| name.starts_with("refs/heads/") || name.starts_with("refs/tags/"))
        .filter(|name| !name.ends_with("^{}"))
        .map(|name| (strsim::levenshtein(&asked, &start(name)), name))
        .collect();
    names.sort_unstable();
    names.iter().take(MOST_NAMES).map(|(_, name)| format!("`{}`", one_line(short(name), LONGEST_NAME))).collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn id(digit: u8) -> Oid {
        Oid::from_bytes(&[digit; 20]).unwrap()
    }

    fn refs() -> Vec<AdvertisedRef> {
        let one = |name: &str, digit| AdvertisedRef { name: name.into(), id: id(digit), target: None };
        vec![
            AdvertisedRef { name: "HEAD".into(), id: id(1), target: Some("refs/heads/trunk".into()) },
            one("refs/heads/trunk", 1),
            one("refs/heads/v1", 2),
            one("refs/pull/7/head", 3),
            one("refs/tags/v1", 4),
            one("refs/tags/v2", 5),
            one("refs/tags/v2^{}", 6),
            one("refs/heads/tags/v1", 7),
        ]
    }

    fn seen(reference: Reference) -> (Oid, Option<String>) {
        let look = resolve(&reference, &refs(), "remote").expect("it is there");
        assert_eq!(look.default_branch.as_deref(), Some("refs/heads/trunk"));
        (look.commit, look.full_ref)
    }

    #[test]
    fn a_name_is_a_branch_first_and_tags_are_peeled() {
        assert_eq!(seen(Reference::Head), (id(1), Some("refs/heads/trunk".into())));
        assert_eq!(seen(Reference::Name("v1".into())), (id(2), Some("refs/heads/v1".into())));
        assert_eq!(seen(Reference::Name("v2".into())), (id(6), Some("refs/tags/v2".into())));
        assert_eq!(seen(Reference::Name("tags/v2".into())), (id(6), Some("refs/tags/v2".into())));
        assert_eq!(seen(Reference::Name("heads/v1".into())), (id(2), Some("refs/heads/v1".into())));
        assert_eq!(seen(Reference::Name("pull/7/head".into())), (id(3), Some("refs/pull/7/head".into())));
        assert_eq!(seen(Reference::Name("tags/v1".into())), (id(7), Some("refs/heads/tags/v1".into())));
        assert_eq!(seen(Reference::Full("refs/tags/v1".into())), (id(4), Some("refs/tags/v1".into())));
        assert_eq!(seen(Reference::Full("refs/pull/7/head".into())), (id(3), Some("refs/pull/7/head".into())));
    }

    #[test]
    fn a_missing_ref_is_reported_with_similar_names() {
        let error = resolve(&Reference::Name("trunc".into()), &refs(), "remote").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("couldn't find remote ref trunc; it has `trunk`, "), "{text}");
        assert!(!text.contains("^{}") && !text.contains("pull"), "{text}");
        let error = resolve(&Reference::Full("refs/heads/v2".into()), &refs(), "remote").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RefMissing);
        let error = resolve(&Reference::Head, &[], "remote").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EmptyRepository);
    }

    #[test]
    fn prefixes_cover_every_ref_that_a_name_may_mean() {
        assert_eq!(prefixes(&Reference::Name("main".into())), ["HEAD", "refs/heads/main", "refs/tags/main"]);
        assert_eq!(prefixes(&Reference::Full("refs/x/y".into())), ["HEAD", "refs/x/y"]);
        let all = ["HEAD", "refs/heads/tags/v1", "refs/tags/tags/v1", "refs/tags/v1"];
        assert_eq!(prefixes(&Reference::Name("tags/v1".into())), all);
        assert_eq!(prefixes(&Reference::Head), ["HEAD"]);
    }
}
