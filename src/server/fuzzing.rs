//! Properties that must hold for any body of a delivery with a valid signature (see src/fuzzing.rs).

use serde_json::Value;

use crate::sync::Followed;
use crate::text::{is_deceptive, one_line};

use super::ours::{Audience, Relevance, Repository, judge};
use super::payload::{Push, from_form, read};

/// A form has exactly one field `payload`; the payload of a cut form is a prefix of the payload of the whole form.
pub(crate) fn form_body(data: &[u8]) {
    if let Ok(whole) = from_form(data, true) {
        for cut in [1, 2, 3, data.len() / 2] {
            let end = data.len().saturating_sub(cut);
            if let Ok(part) = from_form(&data[..end], false) {
                // A character that was cut in the middle is decoded as a replacement character.
                let part = part.trim_end_matches('\u{fffd}');
                assert!(whole.starts_with(part), "{part:?} is no beginning of {whole:?}");
            }
        }
        let twice = [data, b"&payload=x"].concat();
        assert!(from_form(&twice, true).is_err(), "two payloads");
    }
    let text = String::from_utf8_lossy(data);
    let form =
        form_urlencoded::Serializer::new(String::new()).append_pair("x", "1").append_pair("payload", &text).finish();
    assert_eq!(from_form(form.as_bytes(), true).ok().as_deref(), Some(text.as_ref()), "written and read again");
}

/// The fields equal what any JSON parser reads. A cut document yields no other values. Only a push to our repository
/// and ref is relevant. No text of a payload can control a terminal.
pub(crate) fn push_payload(data: &[u8]) {
    let whole = read(data, true);
    let oracle = serde_json::from_slice::<Value>(data).ok();
    if let (Ok(push), Some(oracle)) = (&whole, &oracle) {
        assert_same(push, oracle);
    }
    let part = read(&data[..data.len() / 2], false);
    if let (Ok(part), Ok(whole)) = (&part, &whole) {
        assert_subset(part, whole);
    }
    for (push, complete) in [(&whole, true), (&part, false)] {
        match push {
            Ok(push) => judged(push, complete),
            Err(error) => assert!(!one_line(&error.to_string(), 300).chars().any(is_deceptive)),
        }
    }
}

fn assert_same(push: &Push, oracle: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for (name, found) in ["ref", "after"].into_iter().zip([&push.reference, &push.after]) {
        assert_eq!(found, &text(&oracle[name]), "{name}");
    }
    assert_eq!(push.before, text(&oracle["before"]));
    assert_eq!(push.deleted, oracle["deleted"].as_bool());
    assert_eq!(push.forced, oracle["forced"].as_bool());
    assert_eq!(push.head_commit, text(&oracle["head_commit"]["id"]));
    let repository = push.repository.as_ref();
    assert_eq!(repository.is_some(), oracle["repository"].is_object());
    let field = |name: &str| text(&oracle["repository"][name]);
    assert_eq!(repository.and_then(|it| it.full_name.clone()), field("full_name"));
    assert_eq!(repository.and_then(|it| it.clone_url.clone()), field("clone_url"));
    assert_eq!(repository.and_then(|it| it.default_branch.clone()), field("default_branch"));
}

fn assert_subset(part: &Push, whole: &Push) {
    fn within<T: PartialEq>(part: Option<&T>, whole: Option<&T>) -> bool {
        part.is_none() || part == whole
    }
    assert!(within(part.reference.as_ref(), whole.reference.as_ref()));
    assert!(within(part.before.as_ref(), whole.before.as_ref()) && within(part.after.as_ref(), whole.after.as_ref()));
    assert!(
        within(part.deleted.as_ref(), whole.deleted.as_ref()) && within(part.forced.as_ref(), whole.forced.as_ref())
    );
    assert!(within(part.head_commit.as_ref(), whole.head_commit.as_ref()));
    let (part, whole) = (part.repository.as_ref(), whole.repository.as_ref());
    assert!(part.is_none() || whole.is_some());
    let clone_url = |it: Option<&super::payload::PushedRepository>| it.and_then(|it| it.clone_url.clone());
    assert!(within(clone_url(part).as_ref(), clone_url(whole).as_ref()));
    let ssh_url = |it: Option<&super::payload::PushedRepository>| it.and_then(|it| it.ssh_url.clone());
    assert!(within(ssh_url(part).as_ref(), ssh_url(whole).as_ref()));
}

fn judged(push: &Push, whole: bool) {
    let repository = Repository { host: Some("github.com".into()), name: "acme/site".into() };
    let audience = Audience { repository: Some(repository), reference: "main".into() };
    let known = Followed { full_ref: Some("refs/heads/main".into()), hash: false };
    for followed in [Followed { full_ref: None, hash: false }, known] {
        match judge(push, whole, &audience, &followed, None) {
            Relevance::Ours { announced } => {
                assert_ours(push, whole);
                if let Some(announced) = announced {
                    let said = [&push.after, &push.head_commit].into_iter().flatten();
                    let after = announced.after.to_string();
                    assert!(
                        said.into_iter().any(|said| said.eq_ignore_ascii_case(&after)),
                        "{after} was not announced"
                    );
                }
            }
            Relevance::Deleted => assert_ours(push, whole),
            Relevance::Ignored { reason, .. } => assert!(!one_line(&reason, 300).chars().any(is_deceptive)),
            Relevance::Incomplete { .. } => assert!(whole, "of a beginning everything may be missing"),
            Relevance::Impossible { .. } => {}
        }
    }
    let hash = Followed { full_ref: None, hash: true };
    assert!(!matches!(judge(push, whole, &audience, &hash, None), Relevance::Ours { .. } | Relevance::Deleted));
}

fn assert_ours(push: &Push, whole: bool) {
    let reference = push.reference.as_deref();
    let ours = ["refs/heads/main", "refs/tags/main", "refs/main"];
    assert!(reference.map_or(!whole, |reference| ours.contains(&reference)), "{reference:?} is not our ref");
    let urls =
        push.repository.as_ref().map_or([None, None], |known| [&known.clone_url, &known.ssh_url].map(Option::as_deref));
    let fits = |url: &str| {
        let url = url.to_lowercase();
        url.contains("github.com") && url.contains("acme/site")
    };
    let known: Vec<&str> = urls.into_iter().flatten().collect();
    assert!(if known.is_empty() { !whole } else { known.into_iter().any(fits) }, "{urls:?} is not our repository");
}
