//! Reads the fields of GitHub's push payload that are compared. The signature has been verified before.
//!
//! Forges and events differ in the order of keys, so no order is assumed. If the body was too long to be kept, only
//! its beginning is parsed and the fields after it are absent. The values are only compared: they never become a
//! path, a ref to fetch or a URL to connect to.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// The fields of a push or pull request event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Push {
    /// The full name of the ref.
    pub reference: Option<String>,
    /// The hash of the ref before the push; zeros if the push created it.
    pub before: Option<String>,
    /// The hash of the ref after the push; zeros if the push deleted it. For an annotated tag it is the hash of the
    /// tag object, not of the commit.
    pub after: Option<String>,
    pub deleted: Option<bool>,
    /// True if the new commit does not descend from `before`.
    pub forced: Option<bool>,
    /// `head_commit.id`
    pub head_commit: Option<String>,
    /// Pull request events only, like the two fields below: the number, the action, and `pull_request.head.sha`.
    pub number: Option<u64>,
    pub action: Option<String>,
    pub pull_head: Option<String>,
    pub repository: Option<PushedRepository>,
}

/// The repository of the event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PushedRepository {
    pub full_name: Option<String>,
    pub clone_url: Option<String>,
    pub ssh_url: Option<String>,
    pub default_branch: Option<String>,
}

impl Push {
    /// Converts a pull request event to a push to the ref that the forge keeps for it, `refs/pull/NUMBER/head`.
    #[must_use]
    pub(crate) fn of_pull_request(self) -> Self {
        let reference = self.number.map(|number| format!("refs/pull/{number}/head"));
        Self { reference, after: self.pull_head.clone(), head_commit: None, forced: None, deleted: None, ..self }
    }
}

/// Why an authentic body could not be parsed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the body is not the JSON of a push: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the form must have exactly one field `payload`, it has {0}")]
    PayloadFields(usize),
}

/// Parses a push payload. `whole` is false if `json` is only the beginning of the document.
///
/// # Errors
/// [`Malformed`], if it is no JSON object, a field has the wrong type, or a field occurs twice.
pub(crate) fn read(json: &[u8], whole: bool) -> Result<Push, Malformed> {
    let mut push = Push::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // A document that was cut off fails at its end. The fields before that count.
    match PushFields(&mut push).deserialize(&mut deserializer).and_then(|()| deserializer.end()) {
        Err(error) if whole || !error.is_eof() => Err(error.into()),
        _ => Ok(push),
    }
}

/// Returns the JSON in a form's field `payload`.
///
/// # Errors
/// [`Malformed::PayloadFields`]
pub(crate) fn from_form(form: &[u8], whole: bool) -> Result<Cow<'_, str>, Malformed> {
    // A percent sign whose digits were cut off would be taken literally, so drop it.
    let cut = form.iter().rev().take(2).position(|&byte| byte == b'%').map_or(0, |back| back + 1);
    let form = if whole { form } else { &form[..form.len() - cut] };
    let mut payloads = form_urlencoded::parse(form).filter(|(name, _)| name == "payload");
    match (payloads.next(), payloads.count()) {
        (Some((_, payload)), 0) => Ok(payload),
        (first, more) => Err(Malformed::PayloadFields(more + usize::from(first.is_some()))),
    }
}

struct PushFields<'a>(&'a mut Push);

impl<'de> DeserializeSeed<'de> for PushFields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PushFields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        // `null` counts as well: a second value must not take its place.
        let (mut head, mut pull) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "ref" => set(&mut self.0.reference, "ref", &mut map)?,
                "before" => set(&mut self.0.before, "before", &mut map)?,
                "after" => set(&mut self.0.after, "after", &mut map)?,
                "deleted" => set(&mut self.0.deleted, "deleted", &mut map)?,
                "forced" => set(&mut self.0.forced, "forced", &mut map)?,
                "head_commit" => {
                    // It is `null` in a push that deletes the ref (GitHub docs, "push").
                    set::<Option<HeadCommit>, _>(&mut head, "head_commit", &mut map)?;
                    self.0.head_commit = head.as_ref().and_then(Option::as_ref).map(|head| head.id.clone());
                }
                "number" => set(&mut self.0.number, "number", &mut map)?,
                "action" => set(&mut self.0.action, "action", &mut map)?,
                "pull_request" => {
                    set::<PullRequest, _>(&mut pull, "pull_request", &mut map)?;
                    self.0.pull_head = pull.as_ref().map(|pull| pull.head.sha.clone());
                }
                "repository" if self.0.repository.is_some() => return Err(M::Error::duplicate_field("repository")),
                "repository" => {
                    // Inserted before it is read: of a cut document the fields so far count.
                    map.next_value_seed(RepositoryFields(self.0.repository.insert(PushedRepository::default())))?;
                }
                // The other fields, mostly commits, are skipped and not stored.
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct HeadCommit {
    id: String,
}

#[derive(Deserialize)]
struct PullRequest {
    head: PullHead,
}

#[derive(Deserialize)]
struct PullHead {
    sha: String,
}

struct RepositoryFields<'a>(&'a mut PushedRepository);

impl<'de> DeserializeSeed<'de> for RepositoryFields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RepositoryFields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a repository object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut ssh_url = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "full_name" => set(&mut self.0.full_name, "full_name", &mut map)?,
                "clone_url" => set(&mut self.0.clone_url, "clone_url", &mut map)?,
                "ssh_url" => {
                    set::<Option<String>, _>(&mut ssh_url, "ssh_url", &mut map)?;
                    self.0.ssh_url = ssh_url.clone().flatten();
                }
                "default_branch" => set(&mut self.0.default_branch, "default_branch", &mut map)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Sets a field once. JSON parsers differ in which of two equal keys they use, so duplicates are rejected.
fn set<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
    field: &mut Option<T>,
    name: &'static str,
    map: &mut M,
) -> Result<(), M::Error> {
    if field.is_some() {
        return Err(M::Error::duplicate_field(name));
    }
    *field = Some(map.next_value()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH: &str = r#"{"commits":[{"id":"x"}],"ref":"refs/heads/main","after":"abc","deleted":false,"created_at":7,
        "head_commit":{"id":"abc","message":"x"},"repository":{"full_name":"a/b","owner":{"full_name":"no"},
        "clone_url":"https://h/a/b.git","default_branch":"main","created_at":1},"sender":{"ref":"no"}}"#;

    #[test]
    fn every_truncated_push_yields_only_values_of_the_whole_one() {
        let whole = read(PUSH.as_bytes(), true).expect("a push");
        assert_eq!(whole.reference.as_deref(), Some("refs/heads/main"));
        assert_eq!(whole.head_commit.as_deref(), Some("abc"));
        let fields = |push: &Push| push.repository.as_ref().and_then(|repository| repository.clone_url.clone());
        for end in 0..PUSH.len() {
            assert!(read(&PUSH.as_bytes()[..end], true).is_err(), "{end} bytes taken for the whole");
            let part = read(&PUSH.as_bytes()[..end], false).expect("a beginning");
            assert!(part.reference.is_none() || part.reference == whole.reference);
            assert!(part.after.is_none() || part.after == whole.after);
            assert!(fields(&part).is_none() || fields(&part) == fields(&whole));
        }
    }

    #[test]
    fn a_pull_request_event_becomes_a_push_to_its_ref() {
        let json = r#"{"action":"synchronize","number":7,"before":"b","after":"a","pull_request":{"number":7,
            "head":{"ref":"feature","sha":"abc","repo":{"full_name":"fork/b"}},"base":{"ref":"main","sha":"def"}},
            "repository":{"full_name":"a/b","clone_url":"https://h/a/b.git"}}"#;
        let pull = read(json.as_bytes(), true).expect("a pull request").of_pull_request();
        assert_eq!((pull.reference.as_deref(), pull.after.as_deref()), (Some("refs/pull/7/head"), Some("abc")));
        assert_eq!((pull.before.as_deref(), pull.action.as_deref()), (Some("b"), Some("synchronize")));
        for wrong in [
            r#"{"number":"7"}"#,
            r#"{"number":-7}"#,
            r#"{"pull_request":{"head":{}}}"#,
            r#"{"pull_request":{"head":{"sha":"a"}},"pull_request":{"head":{"sha":"b"}}}"#,
        ] {
            assert!(read(wrong.as_bytes(), true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_push_payloads_are_refused() {
        for wrong in [
            "",
            "null",
            "[]",
            "7",
            "\"ref\"",
            "{",
            "{}x",
            r#"{"ref":1}"#,
            r#"{"ref":null}"#,
            r#"{"after":{}}"#,
            r#"{"deleted":"no"}"#,
            r#"{"repository":[]}"#,
            r#"{"repository":null}"#,
            r#"{"repository":{"clone_url":[]}}"#,
            r#"{"head_commit":{"id":3}}"#,
            r#"{"ref":"a","ref":"a"}"#,
            r#"{"ref":"a","r\u0065f":"b"}"#,
            r#"{"repository":{},"repository":{}}"#,
            r#"{"repository":{"clone_url":"a","clone_url":"a"}}"#,
            r#"{"repository":{"ssh_url":"a","ssh_url":"b"}}"#,
            r#"{"repository":{"ssh_url":null,"ssh_url":"b"}}"#,
            r#"{"head_commit":null,"head_commit":{"id":"b"}}"#,
            r#"{"repository":{"ssh_url":7}}"#,
            "\u{feff}{}",
        ] {
            assert!(read(wrong.as_bytes(), true).is_err(), "{wrong}");
        }
        assert!(read(b"{\"ref\":\"\xff\"}", true).is_err());
        let deep = format!("{{\"x\":{}", "[".repeat(500_000));
        assert!(read(deep.as_bytes(), true).is_err());
    }

    #[test]
    fn a_form_has_one_payload() {
        assert_eq!(from_form(b"payload=%7B%22a+b%22%7D", true).expect("one"), "{\"a b\"}");
        assert_eq!(from_form(b"x=1&payload=%7B%7D&y", true).expect("one"), "{}");
        assert_eq!(from_form(b"payload=%7B%2", false).expect("one"), "{");
        assert_eq!(from_form(b"payload=%7B%", false).expect("one"), "{");
        for (wrong, count) in [("", 0), ("Payload=1", 0), ("payload=1&payload=1", 2), ("payload=1&p%61yload=2", 2)] {
            assert!(matches!(from_form(wrong.as_bytes(), true), Err(Malformed::PayloadFields(n)) if n == count));
        }
    }
}
