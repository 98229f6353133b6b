//! Values that must never be printed, and a scrubber that removes them from other texts.
//!
//! A [`Secret`] has no `Debug`, `Display` or `Serialize`, so a struct that contains one cannot be logged by accident.
//! Error messages of libraries may contain secrets and pass [`scrub`] before they reach a log, the API or the
//! history.

use std::borrow::Cow;

use parking_lot::RwLock;

/// Shorter values are not scrubbed, because they also occur in harmless text.
const SHORTEST_SCRUBBED: usize = 4;

/// The most values that the scrubber stores. Renewed tokens would otherwise fill the memory over months.
const MOST_LEARNED: usize = 1000;
/// The first values, which are never dropped.
const KEPT_LEARNED: u64 = 100;

static LEARNED: RwLock<Learned> = RwLock::new(Learned { texts: Vec::new(), count: 0 });

struct Learned {
    /// Each with its number, so that the oldest can be dropped.
    texts: Vec<(u64, String)>,
    count: u64,
}

/// Bytes that authenticate a user, a service or a delivery.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// Why bytes are not a valid password or user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    #[error("it contains a line break; write it with `printf %s`, because `echo` adds one")]
    LineBreak,
    #[error("it contains a NUL byte")]
    Nul,
}

impl Secret {
    /// Creates a password or token from its stored form, without the line breaks at its end that `echo` and editors
    /// add.
    ///
    /// # Errors
    /// If it has a line break or a NUL elsewhere.
    pub fn password(bytes: impl Into<Vec<u8>>) -> Result<Self, BadPassword> {
        let mut bytes = bytes.into();
        // Registers the stored form as well, before any message about it is written.
        let _as_it_is_stored = Self::new(bytes.clone());
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        check(&bytes)?;
        Ok(Self::new(bytes))
    }

    /// Wraps the bytes and registers them with the scrubber, which hides them in all texts.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        if let Ok(text) = std::str::from_utf8(&bytes) {
            learn(text);
        }
        Self(bytes.into_boxed_slice())
    }

    /// Returns the bytes. Every call needs a review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value as text, if it is UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Checks a user name.
///
/// # Errors
/// If it has a line break or a NUL.
pub fn check_user(name: &str) -> Result<(), BadPassword> {
    check(name.as_bytes())
}

fn check(bytes: &[u8]) -> Result<(), BadPassword> {
    match bytes.iter().find(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        None => Ok(()),
        Some(0) => Err(BadPassword::Nul),
        Some(_) => Err(BadPassword::LineBreak),
    }
}

fn learn(text: &str) {
    if text.len() < SHORTEST_SCRUBBED {
        return;
    }
    let mut learned = LEARNED.write();
    if learned.texts.iter().any(|(_, known)| known == text) {
        return;
    }
    learned.count += 1;
    let number = learned.count;
    learned.texts.push((number, text.to_owned()));
    if learned.texts.len() > MOST_LEARNED {
        // The first values come from the configuration and are used as long as the process runs.
        let oldest = learned.texts.iter().map(|(number, _)| *number).filter(|number| *number > KEPT_LEARNED).min();
        learned.texts.retain(|(number, _)| Some(*number) != oldest);
    }
    // Longest first, so that a secret that contains another one is hidden entirely.
    learned.texts.sort_by_key(|(_, known)| std::cmp::Reverse(known.len()));
}

/// Hides known secrets, and the credentials of every URL, in text from other sources.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut clean = scrub_urls(text);
    let learned = LEARNED.read();
    for (_, secret) in &learned.texts {
        if clean.contains(secret.as_str()) {
            // A secret with a space in it may have hidden the end of a URL's credentials.
            clean = Cow::Owned(scrub_urls(&clean.replace(secret.as_str(), "***")).into_owned());
        }
    }
    clean
}

/// Replaces `user:password@` by `***@` after every `://`. A user name alone (`git@`) is no secret and is kept.
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
    fn a_password_ends_before_the_line_breaks_at_its_end() {
        for stored in ["token-4711", "token-4711\n", "token-4711\r\n", "token-4711\n\n\r\n"] {
            assert!(Secret::password(stored).is_ok_and(|secret| secret.expose() == b"token-4711"), "{stored:?}");
        }
        assert_eq!(Secret::password("token\n4711").err(), Some(BadPassword::LineBreak));
        assert_eq!(Secret::password("token\r4711\n").err(), Some(BadPassword::LineBreak));
        assert_eq!(Secret::password("token\x004711").err(), Some(BadPassword::Nul));
        assert!(Secret::password(" with blanks\t").is_ok_and(|secret| secret.expose() == b" with blanks\t"));
        assert_eq!(check_user("ada\n"), Err(BadPassword::LineBreak));
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
