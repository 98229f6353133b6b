//! The `ls-refs` command: building the request, and parsing the response (gitprotocol-v2, "ls-refs").
//!
//! Pure. Ref names are hostile text: a name that is not text, or contains control characters, cannot be the followed
//! one and is skipped.

use git2::Oid;

use crate::git::protocol::{Malformed, pktline};
use crate::text::one_line;

/// One ref as a remote lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdvertisedRef {
    /// The full name; `NAME^{}` is the commit behind the annotated tag `NAME`.
    pub name: String,
    pub id: Oid,
    /// The ref that a symbolic ref points at.
    pub target: Option<String>,
}

/// Builds the request for the refs whose names begin with one of the prefixes.
pub(crate) fn request(prefixes: &[String]) -> Vec<u8> {
    let mut message = Vec::new();
    pktline::line(&mut message, "command=ls-refs");
    pktline::delimiter(&mut message);
    // Otherwise an annotated tag would have to be fetched to learn its commit.
    pktline::line(&mut message, "peel");
    pktline::line(&mut message, "symrefs");
    for prefix in prefixes {
        pktline::line(&mut message, &format!("ref-prefix {prefix}"));
    }
    pktline::flush(&mut message);
    message
}

/// Parses one line. An annotated tag yields two entries: the tag and the commit behind it.
pub(crate) fn read(line: &[u8], refs: &mut Vec<AdvertisedRef>) -> Result<(), Malformed> {
    let mut words = pktline::text(line).split(|byte| *byte == b' ');
    let id = words.next().unwrap_or_default();
    let name = words.next().ok_or(Malformed("a ref without a name"))?;
    // The HEAD of a repository without commits names a branch, but no commit.
    if id == b"unborn" {
        return Ok(());
    }
    let id = hash(id)?;
    let (mut target, mut peeled) = (None, None);
    for attribute in words {
        if let Some(name) = attribute.strip_prefix(b"symref-target:") {
            target = named(name);
        } else if let Some(id) = attribute.strip_prefix(b"peeled:") {
            peeled = Some(hash(id)?);
        }
    }
    let Some(name) = named(name) else { return Ok(()) };
    if let Some(id) = peeled {
        refs.push(AdvertisedRef { name: format!("{name}^{{}}"), id, target: None });
    }
    refs.push(AdvertisedRef { name, id, target });
    Ok(())
}

/// Parses a full hash in hex. libgit2 would pad a short one with zeros.
pub(crate) fn hash(digits: &[u8]) -> Result<Oid, Malformed> {
    let malformed = Malformed("a hash is malformed");
    if digits.len() != 40 {
        return Err(malformed);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| Oid::from_str(digits).ok()).ok_or(malformed)
}

/// Returns the name of a ref if it is safe to show.
pub(crate) fn named(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty() && one_line(name, usize::MAX) == name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn refs(line: &[u8]) -> Result<Vec<(String, String, Option<String>)>, Malformed> {
        let mut refs = Vec::new();
        read(line, &mut refs)?;
        Ok(refs.into_iter().map(|one| (one.name, one.id.to_string(), one.target)).collect())
    }

    #[test]
    fn the_request_follows_the_protocol() {
        let request = request(&["HEAD", "refs/heads/main", "refs/tags/main"].map(str::to_owned));
        let expected = "0014command=ls-refs\n00010009peel\n000csymrefs\n0014ref-prefix HEAD\n\
                        001fref-prefix refs/heads/main\n001eref-prefix refs/tags/main\n0000";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    #[test]
    fn lines_are_read_with_their_attributes() {
        let head = refs(format!("{ONE} HEAD symref-target:refs/heads/main new:thing\n").as_bytes()).unwrap();
        assert_eq!(head, [("HEAD".into(), ONE.into(), Some("refs/heads/main".into()))]);
        let tag = refs(format!("{ONE} refs/tags/v1 peeled:{TWO}").as_bytes()).unwrap();
        assert_eq!(tag, [("refs/tags/v1^{}".into(), TWO.into(), None), ("refs/tags/v1".into(), ONE.into(), None)]);
        assert_eq!(refs(b"unborn HEAD symref-target:refs/heads/main"), Ok(vec![]));
        assert_eq!(refs(format!("{ONE} refs/heads/caf\u{202e}").as_bytes()), Ok(vec![]));
        assert_eq!(refs(&[ONE.as_bytes(), b" refs/heads/\xff"].concat()), Ok(vec![]));
    }

    #[test]
    fn malformed_refs_are_errors() {
        let short = format!("{} refs/heads/a", &ONE[1..]);
        let odd_peel = format!("{ONE} refs/tags/a peeled:12");
        for line in ["", "nonsense", ONE, &short, &odd_peel, &format!("{ONE}{ONE} refs/heads/sha256")] {
            assert!(refs(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic_or_return_control_characters(line in any::<Vec<u8>>(), name in ".{0,40}") {
            let _ = refs(&line);
            if let Ok(found) = refs(format!("{ONE} {name}").as_bytes()) {
                prop_assert!(found.iter().all(|(name, ..)| !name.chars().any(char::is_control)));
            }
        }
    }
}
