//! Recognizes commit hashes, and prefixes of them, in text. It must not know any store.

/// The digits of a SHA-1 hash, the only kind that the store has.
const SHA1: usize = 40;
/// The digits of a SHA-256 hash, as repositories with `extensions.objectFormat = sha256` have.
const SHA256: usize = 64;

/// True if a text consists of hexadecimal digits of either case. An empty text does.
#[must_use]
pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for a complete SHA-1 or SHA-256 hash.
#[must_use]
pub(crate) fn is_hash(text: &str) -> bool {
    matches!(text.len(), SHA1 | SHA256) && is_hex(text)
}

/// True for a SHA-1 hash, or for its first digits if there are at least `shortest`.
#[must_use]
pub(crate) fn is_prefix(text: &str, shortest: usize) -> bool {
    (shortest..=SHA1).contains(&text.len()) && is_hex(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_prefixes_are_recognized_by_length_and_digits() {
        assert!(is_hash(&"aB".repeat(20)) && is_hash(&"0f".repeat(32)));
        assert!(!is_hash(&"a".repeat(39)) && !is_hash(&"a".repeat(50)) && !is_hash(&"g".repeat(40)));
        assert!(is_prefix("1234", 4) && is_prefix(&"a".repeat(40), 7));
        assert!(!is_prefix("123", 4) && !is_prefix(&"a".repeat(41), 4) && !is_prefix("12é4", 4) && !is_prefix("", 4));
    }
}
