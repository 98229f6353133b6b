//! Values that must never be printed, and the scrubber that catches those that slip into foreign text.
//!
//! A [`Secret`] has no `Debug`, `Display` or `Serialize`: a struct that holds one cannot be logged by accident.
//! Error messages of libraries are foreign text; they pass [`scrub`] before they reach a log, the API or the history.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// Shorter values are not scrubbed: they would blank out innocent text, and are no secret worth the name.
const SHORTEST_SCRUBBED: usize = 4;

/// More than these are not kept in mind: tokens that are renewed for months would fill the memory.
const MOST_LEARNED: usize = 1000;
/// The first ones are never forgotten.
const KEPT_LEARNED: u64 = 100;

static LEARNED: RwLock<Learned> = RwLock::new(Learned { texts: Vec::new(), count: 0 });

struct Learned {
    /// With the number of each, so that the oldest can be forgotten.
    texts: Vec<(u64, String)>,
    count: u64,
}

/// Bytes that authenticate a user, a service or a delivery.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps the bytes and teaches the scrubber to hide them wherever they turn up in text.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            learn(text);
        }
        Self(bytes.into_boxed_slice())
    }

    /// The bytes themselves. Every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

fn learn(text: &str) {
    if text.len() < SHORTEST_SCRUBBED {
        return;
    }
    let mut learned = LEARNED.write().unwrap_or_else(PoisonError::into_inner);
    if learned.texts.iter().any(|(_, known)| known == text) {
        return;
    }
    learned.count += 1;
    let number = learned.count;
    learned.texts.push((number, text.to_owned()));
    if learned.texts.len() > MOST_LEARNED {
        // The first ones are those of the configuration, which are in use as long as the process runs.
        let oldest = learned.texts.iter().map(|(number, _)| *number).filter(|number| *number > KEPT_LEARNED).min();
        learned.texts.retain(|(number, _)| Some(*number) != oldest);
    }
    // Longest first, so that a secret which contains another is hidden whole.
    learned.texts.sort_by_key(|(_, known)| std::cmp::Reverse(known.len()));
}

/// Hides known secrets, and the user part of every URL, in text from elsewhere.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut clean = scrub_urls(text);
    let learned = LEARNED.read().unwrap_or_else(PoisonError::into_inner);
    for (_, secret) in &learned.texts {
        if clean.contains(secret.as_str()) {
            // A secret with a space in it hid where the password of a URL ends.
            clean = Cow::Owned(scrub_urls(&clean.replace(secret.as_str(), "***")).into_owned());
        }
    }
    clean
}

/// Replaces `user:password@` by `***@` after every `://`. A lone user name (`git@`) is no secret and stays.
fn scrub_urls(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        clean.push_str(head);
        let end = tail.find(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace()).unwrap_or(tail.len());
        rest = tail;
        if let Some(at_sign) = tail[..end].rfind('@')
            && tail[..at_sign].contains(':')
        {
            clean.push_str("***");
            rest = &tail[at_sign..];
        }
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_password_and_keep_the_rest() {
        let cases = [
            ("cannot reach https://me:pa%40ss@host.test/a.git: no", "cannot reach https://***@host.test/a.git: no"),
            ("ssh://git@host.test/a.git", "ssh://git@host.test/a.git"),
            ("https://a:b@c@host/x and http://u:p@h", "https://***@host/x and http://***@h"),
            ("no url at all", "no url at all"),
            ("https://host/path@with:colon", "https://host/path@with:colon"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected);
        }
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_turns_up() {
        let secret = Secret::new("correct-horse-battery");
        assert_eq!(secret.expose_str(), Some("correct-horse-battery"));
        assert_eq!(scrub("header was correct-horse-battery!"), "header was ***!");
        let _ = Secret::new("a pass phrase");
        assert_eq!(scrub("https://me:a pass phrase-2@host/x"), "https://***@host/x");
    }
}
