//! A path pattern as described by gitignore(5), used by sparse-checkout files and gitattributes.
//!
//! Patterns come from repositories, so matching must never be slow. A wildcard pattern is run as a set of states over
//! the path, which takes at most the product of both lengths. This module must not know files or the meaning of a
//! match.

/// A parsed pattern. Paths have no slash at either end.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// The pattern began with `!`.
    pub negative: bool,
    /// The pattern ended with a slash and matches only folders.
    pub folders_only: bool,
    /// The pattern has no slash except at its end and is compared with the last part of the path.
    by_name: bool,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Literal(Vec<u8>),
    /// One asterisk and no other wildcard, compared with names only.
    Suffix(Vec<u8>),
    /// The bytes before the first wildcard, and the rest as tokens.
    Glob(Vec<u8>, Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    Set(Box<[bool; 256]>),
    /// Any sequence of bytes without a slash, including an empty one.
    Star,
    /// Any sequence of bytes.
    Deep,
    /// Followed by a `Deep` and a slash, which may be skipped together.
    Optional,
    /// The pattern is malformed from here on and matches nothing.
    Never,
}

impl Pattern {
    #[must_use]
    pub(crate) fn new(text: &[u8]) -> Self {
        let (negative, text) = text.strip_prefix(b"!").map_or((false, text), |rest| (true, rest));
        let (folders_only, text) = text.strip_suffix(b"/").map_or((false, text), |rest| (true, rest));
        let by_name = !text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let plain = text.iter().position(|byte| is_wildcard(*byte)).unwrap_or(text.len());
        let (literal, rest) = text.split_at(plain);
        let body = if rest.is_empty() {
            Body::Literal(literal.to_vec())
        } else if by_name && literal.is_empty() && rest[0] == b'*' && !rest[1..].iter().any(|byte| is_wildcard(*byte)) {
            Body::Suffix(rest[1..].to_vec())
        } else {
            Body::Glob(literal.to_vec(), tokens(rest, !by_name))
        };
        Self { negative, folders_only, by_name, body }
    }

    /// Returns true if the path matches. `folder` is true for a folder.
    #[must_use]
    pub(crate) fn matches(&self, path: &[u8], folder: bool) -> bool {
        if self.folders_only && !folder {
            return false;
        }
        let text = if self.by_name { name_of(path) } else { path };
        match &self.body {
            Body::Literal(literal) => literal == text,
            Body::Suffix(suffix) => text.ends_with(suffix),
            Body::Glob(literal, tokens) => text.strip_prefix(literal.as_slice()).is_some_and(|rest| run(tokens, rest)),
        }
    }

    /// Returns false if no path below the folder can match by itself.
    #[must_use]
    pub(crate) fn may_match_below(&self, folder: &[u8]) -> bool {
        if self.by_name {
            return true;
        }
        let (Body::Literal(start) | Body::Suffix(start) | Body::Glob(start, _)) = &self.body;
        let below = [folder, b"/"].concat();
        start.starts_with(&below) || (below.starts_with(start) && !matches!(self.body, Body::Literal(_)))
    }
}

/// The part after the last slash.
fn name_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash + 1..])
}

/// Returns true for bytes that end the literal start of a pattern.
#[must_use]
pub(crate) fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

/// Parses the part with wildcards. `paths`: the pattern is compared with whole paths, so that only `**` matches
/// slashes.
fn tokens(pattern: &[u8], paths: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        match byte {
            b'\\' => {
                at += 1;
                tokens.push(pattern.get(at).map_or(Token::Never, |byte| Token::Byte(*byte)));
            }
            b'?' => {
                let mut any = Box::new([true; 256]);
                any[usize::from(b'/')] = !paths;
                tokens.push(Token::Set(any));
            }
            b'*' => {
                let start = at;
                while pattern.get(at + 1) == Some(&b'*') {
                    at += 1;
                }
                let rest = &pattern[at + 1..];
                // Two asterisks are special only as a whole part of the path. Elsewhere they count as one
                // (gitignore(5)).
                let opens = start == 0 || pattern[start - 1] == b'/';
                let closes = rest.is_empty() || rest[0] == b'/' || rest.starts_with(b"\\/");
                if !paths || (at > start && opens && closes) {
                    if paths && rest.first() == Some(&b'/') {
                        tokens.push(Token::Optional);
                    }
                    tokens.push(Token::Deep);
                } else {
                    tokens.push(Token::Star);
                }
            }
            b'[' => {
                let Some((mut set, end)) = set(pattern, at + 1) else {
                    tokens.push(Token::Never);
                    return tokens;
                };
                // In a path no bracket expression matches a slash, not even a negated one.
                set[usize::from(b'/')] &= !paths;
                tokens.push(Token::Set(set));
                at = end;
            }
            byte => tokens.push(Token::Byte(byte)),
        }
        at += 1;
    }
    tokens
}

/// Parses a bracket expression. Returns its set and the position of the closing bracket, or `None` if it is
/// unterminated or has an unknown class.
fn set(pattern: &[u8], mut at: usize) -> Option<(Box<[bool; 256]>, usize)> {
    let mut set = Box::new([false; 256]);
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    // A range needs a plain character before it.
    let mut before: Option<u8> = None;
    let first = at;
    loop {
        let byte = *pattern.get(at)?;
        match byte {
            // A closing bracket that comes first is a member of the set (glob(7)).
            b']' if at > first => break,
            b'\\' => {
                at += 1;
                let escaped = *pattern.get(at)?;
                set[usize::from(escaped)] = true;
                before = Some(escaped);
            }
            b'-' if before.is_some() && pattern.get(at + 1).is_some_and(|next| *next != b']') => {
                at += 1;
                let mut last = *pattern.get(at)?;
                if last == b'\\' {
                    at += 1;
                    last = *pattern.get(at)?;
                }
                for member in before.unwrap_or(last)..=last {
                    set[usize::from(member)] = true;
                }
                before = None;
            }
            b'[' if pattern.get(at + 1) == Some(&b':') => {
                let start = at + 2;
                let end = start + pattern[start..].iter().position(|byte| *byte == b']')?;
                if let Some(name) = pattern[start..end].strip_suffix(b":") {
                    let class = class(name)?;
                    for (member, wanted) in set.iter_mut().zip(0_u8..=255) {
                        *member |= class(wanted);
                    }
                    at = end;
                    before = None;
                } else {
                    // Not followed by `:]`, so it is an ordinary character.
                    set[usize::from(b'[')] = true;
                    before = Some(b'[');
                }
            }
            byte => {
                set[usize::from(byte)] = true;
                before = Some(byte);
            }
        }
        at += 1;
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    Some((set, at))
}

fn class(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name {
        b"alnum" => |byte| byte.is_ascii_alphanumeric(),
        b"alpha" => |byte| byte.is_ascii_alphabetic(),
        b"blank" => |byte| byte == b' ' || byte == b'\t',
        b"cntrl" => |byte| byte.is_ascii_control(),
        b"digit" => |byte| byte.is_ascii_digit(),
        b"graph" => |byte| byte.is_ascii_graphic(),
        b"lower" => |byte| byte.is_ascii_lowercase(),
        b"print" => |byte| byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => |byte| byte.is_ascii_punctuation(),
        // git's own `isspace` knows neither the vertical tab nor the form feed.
        b"space" => |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => |byte| byte.is_ascii_uppercase(),
        b"xdigit" => |byte| byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

fn run(tokens: &[Token], text: &[u8]) -> bool {
    let mut now = vec![false; tokens.len() + 1];
    let mut next = now.clone();
    now[0] = true;
    for &byte in text {
        step_over(tokens, &mut now);
        next.fill(false);
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
            match token {
                Token::Byte(wanted) => next[at + 1] |= *wanted == byte,
                Token::Set(set) => next[at + 1] |= set[usize::from(byte)],
                Token::Star => next[at] |= byte != b'/',
                Token::Deep => next[at] = true,
                Token::Optional | Token::Never => {}
            }
        }
        if !next.contains(&true) {
            return false;
        }
        std::mem::swap(&mut now, &mut next);
    }
    step_over(tokens, &mut now);
    now[tokens.len()]
}

/// Adds the states that are reached without consuming a byte. They all have higher indexes.
fn step_over(tokens: &[Token], states: &mut [bool]) {
    for at in 0..tokens.len() {
        if states[at] {
            match tokens[at] {
                Token::Star | Token::Deep => states[at + 1] = true,
                Token::Optional => {
                    states[at + 1] = true;
                    states[at + 3] = true;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gitignore_describes() {
        for (pattern, path, matches) in [
            ("a", "x/a", true),
            ("/a", "x/a", false),
            ("*.rs", "src/lib.rs", true),
            ("src/*.rs", "src/git/mod.rs", false),
            ("src/**", "src/git/mod.rs", true),
            ("**/mod.rs", "mod.rs", true),
            ("**/mod.rs", "src/git/mod.rs", true),
            ("**/mod.rs", "src/xmod.rs", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a**b", "axb", true),
            ("x/a**b", "x/a/b", false),
            ("[!a-c]x", "dx", true),
            ("[]-]", "]", true),
            ("[[:digit:]]", "7", true),
            ("[[:none:]]", "7", false),
            ("[a", "[a", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a?c", "abc", true),
            ("x/a?c", "x/a/c", false),
            ("a\\", "a\\", false),
        ] {
            assert_eq!(Pattern::new(pattern.as_bytes()).matches(path.as_bytes(), false), matches, "{pattern} {path}");
        }
        assert!(!Pattern::new(b"a/").matches(b"a", false));
        assert!(Pattern::new(b"a/").matches(b"a", true));
    }

    #[test]
    fn no_pattern_is_slow() {
        let pattern = Pattern::new(&[b"/".as_slice(), &b"**/*a".repeat(300)].concat());
        // Processor time, because a busy machine may suspend the thread for longer than any useful limit.
        let used = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
        let before = used();
        assert!(!pattern.matches(&b"a/".repeat(1_500), false));
        assert!(used() - before < 5);
    }
}
