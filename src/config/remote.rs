//! The groups "what" and "where": the repository, the ref, the folder and the link.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Oid;

use super::given::Given;
use super::values;
use crate::allowance::Allowance;
use crate::git::{BadFilter, Compaction, Filter, Lfs, Network, Reference};
use crate::publish::{CheckoutOptions, Durability, VolumeOptions, tidy};
use crate::remote_url::{RemoteUrl, Transport};
use crate::submodules::Submodules;

/// Reads `--repo`. Messages never repeat its text, which may contain a password.
pub(super) fn url(given: &mut Given) -> Option<RemoteUrl> {
    let Some(text) = given.text("repo") else {
        if !given.is_refused("repo") {
            given.problem(
                "repo",
                "is missing; set the repository's URL, as in --repo https://github.com/owner/name or PUSHSYNC_REPO",
            );
        }
        return None;
    };
    match RemoteUrl::parse(&text) {
        Ok(url) => Some(url),
        Err(wrong) => {
            given.problem("repo", format!("is not the URL of a repository: {wrong}"));
            None
        }
    }
}

/// Returns the URL of `--repo` after git's `insteadOf`.
pub(super) fn rewritten(given: &mut Given, url: &RemoteUrl, network: &Network) -> Option<RemoteUrl> {
    let Some(text) = given.text("repo") else { return Some(url.clone()) };
    match network.rewrite(&text) {
        Cow::Borrowed(_) => Some(url.clone()),
        Cow::Owned(address) => match RemoteUrl::parse(&address) {
            Ok(url) => Some(url),
            Err(wrong) => {
                given.problem("git-config", format!("url.<base>.insteadOf turns --repo into an invalid URL: {wrong}"));
                None
            }
        },
    }
}

/// Reads `--ref`, as text and parsed.
pub(super) fn reference(given: &mut Given) -> Option<(String, Reference)> {
    let text = given.text("ref")?;
    let reference = match read_reference(&text) {
        Ok(reference) => reference,
        Err(wrong) => {
            given.problem("ref", format!("`{text}` {wrong}"));
            return None;
        }
    };
    // A warning only: a fixed version is a legitimate wish, but a webhook beside it is probably a mistake.
    if matches!(reference, Reference::Hash(_)) {
        given.warn("ref", "is a full hash, so that commit stays published and pushes have no effect");
    }
    Some((text, reference))
}

/// Checks a `--ref`.
///
/// # Errors
/// The reason, in words that follow the value.
pub fn check_reference(text: &str) -> Result<(), String> {
    read_reference(text).map(drop)
}

/// Parses a ref: `HEAD`, a full hash, a full name, otherwise a short name of a branch or tag.
fn read_reference(text: &str) -> Result<Reference, String> {
    if text == "HEAD" {
        return Ok(Reference::Head);
    }
    // libgit2 fills a shorter text up with zeros, so the length is checked first.
    if text.len() == 40
        && let Ok(id) = Oid::from_str(text)
    {
        return Ok(Reference::Hash(id));
    }
    let (full, reference) = if text.starts_with("refs/") {
        (text.to_owned(), Reference::Full(text.to_owned()))
    } else {
        (format!("refs/heads/{text}"), Reference::Name(text.to_owned()))
    };
    if git2::Reference::is_valid_name(&full) {
        Ok(reference)
    } else {
        Err("is not a valid name of a branch or tag; see `git help check-ref-format`".to_owned())
    }
}

/// `--submodules`.
pub(super) fn submodules(given: &mut Given) -> Option<Submodules> {
    given.value("submodules", |text| match text {
        "recursive" => Ok(Submodules::Recursive),
        "shallow" => Ok(Submodules::Shallow),
        "off" => Ok(Submodules::Off),
        _ => Err("is not a mode; use recursive, shallow or off".to_owned()),
    })
}

/// `--filter`.
pub(super) fn filter(given: &mut Given, url: Option<&RemoteUrl>) -> Option<Filter> {
    let filter = given.value("filter", |text| text.parse().map_err(|bad: BadFilter| bad.to_string()))?;
    if url.is_some_and(|url| !matches!(url.transport(), Transport::Http | Transport::Https)) {
        given.warn("filter", "has an effect over http(s) only: everything is downloaded from this repository");
    }
    Some(filter)
}

/// Reads `--lfs` and `--lfs-url`. `None`: objects are not fetched, or a problem was reported.
pub(super) fn lfs(given: &mut Given, url: Option<&RemoteUrl>, network: &Network) -> Option<Lfs> {
    let on = given.value("lfs", values::switch)?;
    let server = match given.text("lfs-url").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match RemoteUrl::parse(&network.rewrite(&text)) {
            Ok(server) => match Lfs::check(&server) {
                Ok(()) => Some(server),
                Err(wrong) => {
                    given.problem("lfs-url", format!("is not the URL of a Git LFS server: {wrong}"));
                    return None;
                }
            },
            Err(wrong) => {
                given.problem("lfs-url", format!("is not the URL of a Git LFS server: {wrong}"));
                return None;
            }
        },
    };
    if !on {
        if server.is_some() {
            given.warn("lfs-url", "has no effect without --lfs");
        }
        return None;
    }
    let over_http = url.is_none_or(|url| matches!(url.transport(), Transport::Http | Transport::Https));
    if server.is_none() && !over_http {
        given.problem(
            "lfs",
            "needs --lfs-url: objects are fetched over http(s), which --repo does not use (--credential sets the account for that URL)",
        );
        return None;
    }
    Some(Lfs { url: server })
}

/// `--root`, `--link`, the grace of replaced trees and the number of standby trees.
pub(super) fn volume(
    given: &mut Given,
    url: Option<&RemoteUrl>,
    submodules: Option<Submodules>,
) -> Option<VolumeOptions> {
    let grace = given.value("stale-worktree-timeout", values::duration);
    let spares = given.value("standby-trees", |text| match values::number::<usize>(text)? {
        // More would not make a push faster, because a tree is prepared while the next push is being fetched.
        spares @ 0..=8 => Ok(spares),
        _ => Err("is out of bounds; use 0 to 8".to_owned()),
    });
    let group_write = given.value("group-write", values::switch);
    let worktree_git = given.value("worktree-git", values::switch);
    let sparse_file = given.path("sparse-checkout-file");
    if let Some(Err(error)) = sparse_file.as_ref().map(std::fs::read) {
        let shown = sparse_file.as_deref().unwrap_or(Path::new("")).display();
        given.problem(
            "sparse-checkout-file",
            format!("`{shown}` cannot be read: {error}; mount it, or leave the flag out"),
        );
    }
    let root = root(given);
    let link = given.path("link").or_else(|| url.and_then(RemoteUrl::leaf).map(PathBuf::from));
    let Some(link) = link else {
        if url.is_some() {
            given.problem("link", "is missing, and the URL has no last part to name it after; give --link NAME");
        }
        return None;
    };
    // Without a root, only values that depend on it stay unchecked.
    let anchor = root.clone().unwrap_or_else(|| PathBuf::from("/root-to-be"));
    if let Err(wrong) = check_link(&anchor, &link) {
        given.problem("link", format!("`{}` {wrong}", link.display()));
        return None;
    }
    let durability = given.value("durability", |text| match text {
        "normal" => Ok(Durability::Normal),
        "full" => Ok(Durability::Full),
        _ => Err("is not a level; use normal or full".to_owned()),
    });
    // Only the absence of the flag means no limit.
    let limit = if given.is_given("volume-limit") { Some(given.value("volume-limit", values::size)?) } else { None };
    let shape = CheckoutOptions {
        allowance: Arc::new(Allowance::new(limit, crate::git::memory_limit())),
        group_write: group_write?,
        submodules: submodules?,
        worktree_git: worktree_git?,
        sparse_file,
        ..CheckoutOptions::default()
    };
    Some(VolumeOptions {
        root: root?,
        link,
        grace: grace?,
        standby_trees: spares?,
        checkout: shape,
        durability: durability?,
    })
}

/// `--git-gc`
pub(super) fn compaction(given: &mut Given) -> Option<Compaction> {
    let compaction = given.value("git-gc", |text| match text {
        "auto" => Ok(Compaction::Auto),
        "always" | "aggressive" => Ok(Compaction::Always),
        "off" => Ok(Compaction::Off),
        _ => Err("is none of auto, always, aggressive and off".to_owned()),
    });
    if given.text("git-gc").as_deref() == Some("aggressive") {
        given.warn("git-gc", "aggressive has the same effect as always");
    }
    compaction
}

fn root(given: &mut Given) -> Option<PathBuf> {
    let Some(root) = given.path("root") else {
        if !given.is_refused("root") {
            given
                .problem("root", "is missing; set the folder on the shared volume, as in --root /git or PUSHSYNC_ROOT");
        }
        return None;
    };
    // Links are not resolved here, because the folder may not exist yet.
    match std::path::absolute(&root) {
        Ok(root) => Some(root),
        Err(error) => {
            given.problem("root", format!("`{}` cannot be made absolute: {error}", root.display()));
            None
        }
    }
}

/// Checks a path of a link or file: it may be anywhere except where the volume's own files are.
pub(super) fn check_link(root: &Path, link: &Path) -> Result<(), &'static str> {
    if !ends_in_a_name(link) {
        return Err("does not end in a name; the last part must be the link's name");
    }
    // Compared without `..`, which could otherwise lead around the two checks below.
    let root = tidy(root);
    let link = tidy(&root.join(link));
    for ours in [".worktrees", ".pushsync"] {
        if link.starts_with(root.join(ours)) {
            return Err("is reserved for pushsync's own files; choose another name");
        }
    }
    if root.starts_with(&link) {
        return Err("is the root itself or a folder above it; choose a name within the root");
    }
    Ok(())
}

/// `Path::file_name` ignores a `.` at the end, which is no name.
fn ends_in_a_name(link: &Path) -> bool {
    link.file_name().is_some() && !link.as_os_str().as_encoded_bytes().ends_with(b"/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_recognized_by_their_form() {
        let hash = "757107ea0eb2509fc211221cce984b8a37570b6d";
        let cases = [
            ("HEAD", Reference::Head),
            ("main", Reference::Name("main".into())),
            ("feature/x", Reference::Name("feature/x".into())),
            ("refs/tags/v1", Reference::Full("refs/tags/v1".into())),
            (hash, Reference::Hash(Oid::from_str(hash).unwrap())),
            // Short hashes are valid branch names, and git-sync treats them as such.
            ("757107e", Reference::Name("757107e".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(read_reference(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn links_keep_out_of_the_volumes_own_folders() {
        let root = Path::new("/git");
        for good in ["site", "sub/site", "./site", "a/../site", "/var/www/html", ".pushsync-link", "../outside"] {
            assert_eq!(check_link(root, Path::new(good)), Ok(()), "{good}");
        }
        for bad in [
            "..",
            ".",
            "/",
            "a/..",
            "a/.",
            ".worktrees",
            ".pushsync/x",
            "./.worktrees",
            "a/../.pushsync",
            "/git",
            "/git/.worktrees/x",
            "../git",
        ] {
            assert!(check_link(root, Path::new(bad)).is_err(), "{bad}");
        }
    }
}
