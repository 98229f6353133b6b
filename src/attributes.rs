//! Resolves gitattributes(5) for a path: parsing, macros, nesting and precedence, as git applies them at checkout.
//!
//! The files come from repositories: nothing in them is an error, and lines that git ignores are ignored. This module must
//! not know files, trees, or the purpose of any attribute.

use std::collections::HashMap;

use crate::pattern::Pattern;

/// git ignores longer lines and larger files.
const LONGEST_LINE: usize = 2048;
const LARGEST_FILE: usize = 100 * 1024 * 1024;

const MACRO: &[u8] = b"[attr]";
const BLANKS: &[u8] = b" \t\r\n";

/// The state of an attribute for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttributeState {
    Set,
    Unset,
    /// Also the result of `!name`.
    Unspecified,
    Value(Vec<u8>),
}

type Assignments = Vec<(Vec<u8>, AttributeState)>;

/// The rules of one attributes file.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    patterns: Vec<(Pattern, Assignments)>,
    macros: HashMap<Vec<u8>, Assignments>,
}

/// The attributes of one path.
#[derive(Debug, Default)]
pub(crate) struct Attributes(HashMap<Vec<u8>, AttributeState>);

impl Attributes {
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> &AttributeState {
        self.0.get(name.as_bytes()).unwrap_or(&AttributeState::Unspecified)
    }
}

impl Rules {
    /// Returns the attributes that git defines in every repository.
    #[must_use]
    pub(crate) fn built_in() -> Self {
        Self::parse(b"[attr]binary -diff -merge -text", true)
    }

    /// Parses a file. `top` is true for the file in the top folder, the only one that may define macros.
    #[must_use]
    pub(crate) fn parse(text: &[u8], top: bool) -> Self {
        let mut rules = Self::default();
        if text.len() > LARGEST_FILE {
            return rules;
        }
        // A byte order mark belongs to the first pattern: git skips it in working tree files, but here it would read
        // them from its index.
        let text = text.iter().position(|byte| *byte == 0).map_or(text, |end| &text[..end]);
        for line in text.split(|byte| *byte == b'\n') {
            rules.add(line, top);
        }
        rules
    }

    /// Returns true if `wanted` accepts an assignment of the file, including those inside macros.
    #[must_use]
    pub(crate) fn mentions(&self, mut wanted: impl FnMut(&[u8], &AttributeState) -> bool) -> bool {
        let patterns = self.patterns.iter().map(|(_, assignments)| assignments);
        patterns.chain(self.macros.values()).flatten().any(|(name, state)| wanted(name, state))
    }

    fn add(&mut self, line: &[u8], top: bool) {
        let line = after_blanks(line);
        if line.is_empty() || line[0] == b'#' || line.len() >= LONGEST_LINE {
            return;
        }
        let quoted = if line[0] == b'"' { unquoted(&line[1..]) } else { None };
        let (name, rest) = match &quoted {
            Some((name, rest)) => (name.as_slice(), *rest),
            None => split_word(line),
        };
        if name.len() > MACRO.len() && name.starts_with(MACRO) {
            let name = split_word(after_blanks(&name[MACRO.len()..])).0;
            if let (true, true, Some(assignments)) = (top, is_valid(name), assignments(rest)) {
                // The last definition is used.
                self.macros.insert(name.to_vec(), assignments);
            }
            return;
        }
        let pattern = Pattern::new(name);
        // Negative patterns are forbidden (gitattributes(5)): git ignores the line.
        if let (false, Some(assignments)) = (pattern.negative, assignments(rest)) {
            self.patterns.push((pattern, assignments));
        }
    }
}

/// Returns the attributes of a path. `files` are those from the top folder down to the path's folder, each with its
/// folder (empty for the top).
#[must_use]
pub(crate) fn look_up(files: &[(&[u8], &Rules)], path: &[u8]) -> Attributes {
    let mut found = Attributes::default();
    for (folder, rules) in files.iter().rev() {
        let inside = path.strip_prefix(*folder).unwrap_or(path);
        let inside = if folder.is_empty() { inside } else { inside.strip_prefix(b"/").unwrap_or(inside) };
        for (pattern, assignments) in rules.patterns.iter().rev() {
            // Only files have attributes here, so a pattern with a slash at its end matches nothing (gitattributes(5)).
            if pattern.matches(inside, false) {
                assign(&mut found, files, assignments);
            }
        }
    }
    found
}

/// Applies assignments. The first assignment of an attribute wins, because later ones have lower precedence. Macros
/// may expand to macros, to any depth.
fn assign(found: &mut Attributes, files: &[(&[u8], &Rules)], assignments: &Assignments) {
    let mut stack = vec![assignments.iter().rev()];
    while let Some(top) = stack.last_mut() {
        let Some((name, state)) = top.next() else {
            stack.pop();
            continue;
        };
        if found.0.contains_key(name) {
            continue;
        }
        // Before the macro is expanded: one that contains itself ends here.
        found.0.insert(name.clone(), state.clone());
        if *state == AttributeState::Set
            && let Some(body) = files.iter().rev().find_map(|(_, rules)| rules.macros.get(name))
        {
            stack.push(body.iter().rev());
        }
    }
}

/// Parses assignments. Returns `None` if one of them is invalid, because git then ignores the line.
fn assignments(mut rest: &[u8]) -> Option<Assignments> {
    let mut assignments = Vec::new();
    loop {
        rest = after_blanks(rest);
        if rest.is_empty() {
            return Some(assignments);
        }
        let (word, after) = split_word(rest);
        rest = after;
        let (name, value) = match word.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&word[..equals], Some(&word[equals + 1..])),
            None => (word, None),
        };
        let (name, state) = match (name.first(), value) {
            (Some(b'-'), _) => (&name[1..], AttributeState::Unset),
            (Some(b'!'), _) => (&name[1..], AttributeState::Unspecified),
            (_, Some(value)) => (name, AttributeState::Value(value.to_vec())),
            (_, None) => (name, AttributeState::Set),
        };
        if !is_valid(name) {
            return None;
        }
        assignments.push((name.to_vec(), state));
    }
}

fn is_valid(name: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // git keeps names that begin with `builtin_` for itself.
    !name.is_empty() && name[0] != b'-' && name.iter().all(allowed) && !name.starts_with(b"builtin_")
}

fn after_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !BLANKS.contains(byte)).unwrap_or(text.len());
    &text[start..]
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| BLANKS.contains(byte)).unwrap_or(text.len()))
}

/// Parses a name in double quotes with C escapes, and returns the rest. `None` if it is unterminated or invalid.
fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut name = Vec::new();
    let mut at = 0;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match byte {
            b'"' => return Some((name, &text[at..])),
            b'\\' => {
                let escaped = *text.get(at)?;
                at += 1;
                name.push(match escaped {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    b'\\' | b'"' => escaped,
                    b'0'..=b'3' => {
                        let digits = text.get(at..at + 2)?;
                        at += 2;
                        let digit = |byte: u8| matches!(byte, b'0'..=b'7').then(|| byte - b'0');
                        ((escaped - b'0') << 6) | (digit(digits[0])? << 3) | digit(digits[1])?
                    }
                    _ => return None,
                });
            }
            byte => name.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(files: &[(&str, &str)], path: &str) -> AttributeState {
        let built_in = Rules::built_in();
        let parsed: Vec<_> =
            files.iter().map(|(folder, text)| (*folder, Rules::parse(text.as_bytes(), folder.is_empty()))).collect();
        let mut files: Vec<(&[u8], &Rules)> = vec![(b"", &built_in)];
        files.extend(parsed.iter().map(|(folder, rules)| (folder.as_bytes(), rules)));
        look_up(&files, path.as_bytes()).get("text").clone()
    }

    #[test]
    fn the_last_line_and_the_deepest_file_win() {
        let auto = AttributeState::Value(b"auto".to_vec());
        assert_eq!(text_of(&[("", "* text=auto\n*.c text\n")], "a/b.c"), AttributeState::Set);
        assert_eq!(text_of(&[("", "*.c text\n* text=auto\n")], "a/b.c"), auto);
        assert_eq!(text_of(&[("", "*.c text\n"), ("a", "b.c -text\n")], "a/b.c"), AttributeState::Unset);
        assert_eq!(text_of(&[("", "*.c text\n"), ("a", "b.c !text\n")], "a/b.c"), AttributeState::Unspecified);
        assert_eq!(text_of(&[("", "/b.c text\n")], "a/b.c"), AttributeState::Unspecified);
        assert_eq!(text_of(&[("a", "/b.c text\n")], "a/b.c"), AttributeState::Set);
        assert_eq!(text_of(&[("", "a/ text\n")], "a/b.c"), AttributeState::Unspecified);
    }

    #[test]
    fn macros_expand_and_only_the_top_file_defines_them() {
        assert_eq!(text_of(&[("", "*.png binary\n")], "x.png"), AttributeState::Unset);
        assert_eq!(text_of(&[("", "[attr]win text eol=crlf\n* win\n")], "x"), AttributeState::Set);
        assert_eq!(text_of(&[("a", "[attr]win text\n* win\n")], "a/x"), AttributeState::Unspecified);
        assert_eq!(text_of(&[("", "* binary text\n")], "x"), AttributeState::Set);
        assert_eq!(text_of(&[("", "* text binary\n")], "x"), AttributeState::Unset);
        assert_eq!(text_of(&[("", "[attr]binary text\n* binary\n")], "x"), AttributeState::Set);
        // A macro that contains itself.
        assert_eq!(text_of(&[("", "[attr]m m text\n* m\n")], "x"), AttributeState::Set);
    }

    #[test]
    fn invalid_lines_are_ignored_as_in_git() {
        for line in ["# * text", "!* text", "* text te/xt", "* -", "* text builtin_x", "\"* text"] {
            assert_eq!(text_of(&[("", line)], "x"), AttributeState::Unspecified, "{line}");
        }
        assert_eq!(text_of(&[("", &format!("* text {}", "a ".repeat(2000)))], "x"), AttributeState::Unspecified);
        assert_eq!(text_of(&[("", "\"a b\\056c\" text")], "a b.c"), AttributeState::Set);
    }
}
