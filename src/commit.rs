//! Reads commits as they are stored, including those that libgit2 refuses to parse.
//!
//! Imported histories contain author lines that violate git's own rules. `git checkout` accepts such a commit,
//! because it only needs the tree; libgit2 rejects it entirely. Therefore this module reads the object itself if
//! libgit2 fails. A leaf: it must not know of remotes or of published trees.

use git2::{ErrorCode, ObjectType, Oid, Repository, Tree};

/// Tags may refer to tags. A longer chain is treated as a loop.
const MOST_TAGS: usize = 32;

/// The metadata of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    /// The whole message.
    pub message: Vec<u8>,
    /// The author's name; empty if the commit contains none.
    pub author: Vec<u8>,
    /// The committer's time in seconds since 1970, if the commit contains one.
    pub time: Option<i64>,
}

/// Returns true if the object exists and is a commit, whatever its content.
#[must_use]
pub(crate) fn exists(repository: &Repository, id: Oid) -> bool {
    // By the header, because libgit2 refuses to parse some commits that git accepts.
    repository.odb().and_then(|odb| odb.read_header(id)).is_ok_and(|(_, kind)| kind == ObjectType::Commit)
}

/// Returns true if libgit2 can parse it.
#[must_use]
pub(crate) fn is_well_formed(repository: &Repository, id: Oid) -> bool {
    repository.find_commit(id).is_ok()
}

/// Reads the hash of a commit's tree.
///
/// # Errors
/// libgit2's error for a commit that does not exist or names no tree.
pub(crate) fn tree_id(repository: &Repository, id: Oid) -> Result<Oid, git2::Error> {
    match repository.find_commit(id) {
        Ok(commit) => Ok(commit.tree_id()),
        Err(error) if error.code() == ErrorCode::NotFound => Err(error),
        Err(error) => raw(repository, id)?.as_deref().and_then(tree_in).ok_or(error),
    }
}

/// Reads a commit's tree.
///
/// # Errors
/// libgit2's error for a commit or tree that does not exist or cannot be read.
pub(crate) fn tree(repository: &Repository, id: Oid) -> Result<Tree<'_>, git2::Error> {
    repository.find_tree(tree_id(repository, id)?)
}

/// Reads the parents that a commit names, whether they are in the store or not; `None` if there is no such commit.
/// libgit2 reports no parents for commits at a shallow boundary, even after the boundary has moved.
#[must_use]
pub(crate) fn parents(repository: &Repository, id: Oid) -> Option<Vec<Oid>> {
    let data = raw(repository, id).ok()??;
    let after_the_tree = data.split(|byte| *byte == b'\n').skip(1);
    // The parents follow the tree directly. A later line that looks like one belongs to the message.
    let hashes = after_the_tree.map_while(|line| line.strip_prefix(b"parent "));
    hashes.map(hash).collect()
}

/// Returns the commit that an object is, or that an annotated tag refers to; `None` if it is neither.
#[must_use]
pub(crate) fn peel(repository: &Repository, id: Oid) -> Option<Oid> {
    let odb = repository.odb().ok()?;
    let mut id = id;
    for _ in 0..MOST_TAGS {
        match odb.read_header(id).ok()?.1 {
            ObjectType::Commit => return Some(id),
            ObjectType::Tag => id = repository.find_tag(id).ok()?.target_id(),
            _ => return None,
        }
    }
    None
}

/// Reads the message, the author and the time of a commit, as far as possible.
///
/// # Errors
/// libgit2's error for a commit that does not exist.
pub(crate) fn head(repository: &Repository, id: Oid) -> Result<CommitHeader, git2::Error> {
    match repository.find_commit(id) {
        Ok(commit) => Ok(CommitHeader {
            message: commit.message_bytes().to_vec(),
            author: commit.author().name_bytes().to_vec(),
            time: Some(commit.time().seconds()),
        }),
        Err(error) if error.code() == ErrorCode::NotFound => Err(error),
        Err(error) => raw(repository, id)?.as_deref().map(head_in).ok_or(error),
    }
}

fn raw(repository: &Repository, id: Oid) -> Result<Option<Vec<u8>>, git2::Error> {
    let odb = repository.odb()?;
    let object = odb.read(id)?;
    Ok((object.kind() == ObjectType::Commit).then(|| object.data().to_vec()))
}

fn tree_in(data: &[u8]) -> Option<Oid> {
    hash(data.strip_prefix(b"tree ")?.split(|byte| *byte == b'\n').next()?)
}

fn head_in(data: &[u8]) -> CommitHeader {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let message = data.get(end + 2..).unwrap_or_default().to_vec();
    let line = |name: &[u8]| {
        data[..end].split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name)).unwrap_or_default()
    };
    let author = line(b"author ");
    let author = author.split(|byte| *byte == b'<').next().unwrap_or_default().trim_ascii().to_vec();
    // Search the time from the end of the line, as git does.
    let committer = String::from_utf8_lossy(line(b"committer "));
    let time = committer.rsplit_once('>').and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    CommitHeader { message, author, time }
}

fn hash(digits: &[u8]) -> Option<Oid> {
    std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 40).and_then(|digits| Oid::from_str(digits).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> (tempfile::TempDir, Repository, Oid) {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let tree = repository.treebuilder(None).unwrap().write().unwrap();
        let text = text.replace("TREE", &tree.to_string());
        let id = repository.odb().unwrap().write(ObjectType::Commit, text.as_bytes()).unwrap();
        (folder, repository, id)
    }

    #[test]
    fn a_commit_that_libgit2_refuses_is_read_as_git_reads_it() {
        let parent = "1".repeat(40);
        let text = format!(
            "tree TREE\nparent {parent}\nauthor Ada Lovelace\ncommitter Ada <ada@example.com> 1700000000 +0000\n\nSubject\n\nBody\n"
        );
        let (_folder, repository, id) = stored(&text);
        assert!(!is_well_formed(&repository, id) && exists(&repository, id));
        assert!(tree(&repository, id).unwrap().is_empty());
        assert_eq!(parents(&repository, id).unwrap(), [Oid::from_str(&parent).unwrap()]);
        let head = head(&repository, id).unwrap();
        assert_eq!(
            (head.message.as_slice(), head.author.as_slice()),
            (&b"Subject\n\nBody\n"[..], &b"Ada Lovelace"[..])
        );
        assert_eq!((head.time, peel(&repository, id)), (Some(1_700_000_000), Some(id)));
    }

    #[test]
    fn a_commit_without_a_tree_is_an_error_and_a_missing_one_is_none() {
        let (_folder, repository, id) = stored("author unknown\n\nno tree\n");
        assert!(tree_id(&repository, id).is_err() && exists(&repository, id));
        let absent = Oid::from_str(&"2".repeat(40)).unwrap();
        assert_eq!(tree_id(&repository, absent).unwrap_err().code(), ErrorCode::NotFound);
        let blob = repository.blob(b"tree").unwrap();
        assert!(!exists(&repository, blob) && peel(&repository, blob).is_none());
    }
}
