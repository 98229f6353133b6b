//! Decides which paths a sparse-checkout file selects, exactly as git does.
//!
//! git-sync copies the file and runs `git sparse-checkout init`: cone mode if every line is a cone pattern, otherwise
//! the whole file is a list of gitignore(5) patterns that select what to keep. This module must not know trees, files
//! or its callers.

use std::collections::HashSet;

use crate::pattern::{Pattern, is_wildcard};

/// A parsed pattern file.
#[derive(Debug)]
pub struct Sparse {
    text: Vec<u8>,
    rules: Rules,
}

#[derive(Debug)]
enum Rules {
    /// Whole paths from the top, with a leading slash.
    Cone(Cone),
    Patterns(Vec<Pattern>),
}

#[derive(Debug, Default)]
struct Cone {
    /// Everything is selected.
    full: bool,
    /// Folders that are selected with everything below them.
    recursive: HashSet<Vec<u8>>,
    /// Folders of which only the files directly in them are selected.
    parents: HashSet<Vec<u8>>,
    /// The parent folders of those in `recursive`.
    above: HashSet<Vec<u8>>,
}

/// How much of a folder is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    Nothing,
    /// Each name has to be checked individually. Possibly none is selected.
    Some,
}

/// The result of cone patterns for one path.
#[derive(PartialEq, Eq)]
enum Cut {
    Recursive,
    Matched,
    Not,
}

impl Sparse {
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let lines = lines(text);
        let rules = match Cone::of(&lines) {
            Some(cone) => Rules::Cone(cone),
            None => Rules::Patterns(lines.iter().map(|line| Pattern::new(line)).collect()),
        };
        Self { text: text.to_vec(), rules }
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the result for a folder; the empty path is the top one.
    #[must_use]
    pub fn folder(&self, path: &[u8]) -> Wanted {
        match &self.rules {
            Rules::Cone(cone) => cone.folder(path),
            Rules::Patterns(patterns) => {
                let inherited = inherited(patterns, path);
                // Only a pattern with the opposite effect can change the decision for paths below this folder.
                let undone = patterns
                    .iter()
                    .any(|pattern| pattern.negative == inherited && (path.is_empty() || pattern.may_match_below(path)));
                match (undone, inherited) {
                    (true, _) => Wanted::Some,
                    (false, true) => Wanted::All,
                    (false, false) => Wanted::Nothing,
                }
            }
        }
    }

    /// Returns true if a file or link is selected.
    #[must_use]
    pub fn file(&self, path: &[u8]) -> bool {
        self.entry(path, false)
    }

    /// Returns true if a submodule is selected. git matches it as a folder, but treats it as a single entry
    /// otherwise.
    #[must_use]
    pub fn submodule(&self, path: &[u8]) -> bool {
        self.entry(path, true)
    }

    fn entry(&self, path: &[u8], folder: bool) -> bool {
        let above = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |slash| &path[..slash]);
        match &self.rules {
            Rules::Cone(cone) => match cone.folder(above) {
                Wanted::All => true,
                Wanted::Nothing => false,
                Wanted::Some => cone.cut(path) != Cut::Not,
            },
            Rules::Patterns(patterns) => decision(patterns, path, folder).unwrap_or_else(|| inherited(patterns, above)),
        }
    }
}

/// Returns the decision of the last matching pattern.
fn decision(patterns: &[Pattern], path: &[u8], folder: bool) -> Option<bool> {
    patterns.iter().rev().find(|pattern| pattern.matches(path, folder)).map(|pattern| !pattern.negative)
}

/// Returns the decision for names in a folder that no pattern matches: the last decision on the path to the folder.
fn inherited(patterns: &[Pattern], path: &[u8]) -> bool {
    if path.is_empty() {
        return false;
    }
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut wanted = false;
    for end in ends.chain([path.len()]) {
        wanted = decision(patterns, &path[..end], true).unwrap_or(wanted);
    }
    wanted
}

impl Cone {
    /// Returns `None` if one of the lines is not valid in cone mode; git then treats all lines as plain patterns.
    fn of(lines: &[Vec<u8>]) -> Option<Self> {
        let mut cone = Self::default();
        for line in lines {
            let (negative, text) = line.strip_prefix(b"!").map_or((false, line.as_slice()), |rest| (true, rest));
            let (folders_only, text) = text.strip_suffix(b"/").map_or((false, text), |rest| (true, rest));
            match (text, negative, folders_only) {
                // `/*` and `!/*/` begin a cone: the files at the top, and none of the folders (git-sparse-checkout).
                (b"/*", true, true) => {
                    cone.full = false;
                    continue;
                }
                (b"/*", false, false) => {
                    cone.full = true;
                    continue;
                }
                _ => {}
            }
            let double = text.windows(2).any(|two| two == b"**");
            if text.len() < 2 || text[0] != b'/' || double || (!folders_only && text != b"/*") || has_wildcard(text) {
                return None;
            }
            let plain = unescaped(text);
            match (text.len() > 2 && text.ends_with(b"/*"), negative) {
                // `!/a/*/` makes a folder of the cone one of which only the files directly in it are selected.
                (true, true) => {
                    let above = plain[..plain.len() - 2].to_vec();
                    if !cone.recursive.remove(&above) {
                        return None;
                    }
                    cone.parents.insert(above);
                }
                (false, false) => {
                    // git takes a folder that is repeated this way for an error, and leaves cone mode.
                    if cone.parents.contains(&plain) {
                        return None;
                    }
                    cone.recursive.insert(plain);
                }
                _ => return None,
            }
        }
        let above =
            cone.recursive.iter().filter_map(|path| Some(path[..path.iter().rposition(|c| *c == b'/')?].to_vec()));
        cone.above = above.collect();
        Some(cone)
    }

    fn folder(&self, path: &[u8]) -> Wanted {
        if self.full {
            return Wanted::All;
        }
        if path.is_empty() {
            return Wanted::Some;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            match self.cut(&path[..end]) {
                Cut::Recursive => return Wanted::All,
                Cut::Not => return Wanted::Nothing,
                Cut::Matched => {}
            }
        }
        let whole = [b"/", path].concat();
        if self.parents.contains(&whole) || self.above.contains(&whole) { Wanted::Some } else { Wanted::Nothing }
    }

    fn cut(&self, path: &[u8]) -> Cut {
        let whole = [b"/", path].concat();
        let slash = whole.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if self.recursive.contains(&whole) {
            return Cut::Recursive;
        }
        if slash == 0 || self.parents.contains(&whole[..slash]) {
            return Cut::Matched;
        }
        let mut ends = whole.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'/').map(|(at, _)| at);
        if ends.any(|end| self.recursive.contains(&whole[..end])) { Cut::Recursive } else { Cut::Not }
    }
}

/// Returns true if a pattern contains a wildcard that cone mode does not support.
fn has_wildcard(text: &[u8]) -> bool {
    (1..text.len()).any(|at| {
        let (before, byte, next) = (text[at - 1], text[at], text.get(at + 1).copied());
        is_wildcard(byte)
            && before != b'\\'
            && !(byte == b'\\' && next.is_some_and(is_wildcard))
            && !(before == b'/' && byte == b'*' && next.is_none())
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let kept = if byte == b'\\' { bytes.next().copied() } else { Some(byte) };
        plain.extend(kept);
    }
    plain
}

/// Returns the patterns of a file: without comments, the byte order mark, and unescaped trailing spaces.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#');
    lines.map(|line| trimmed(line).to_vec()).collect()
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.iter().position(|byte| *byte == 0).map_or(line, |end| &line[..end]);
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => at += 1,
            // As in git, nothing is cut from a line that ends with a backslash.
            b'\\' if at + 1 == line.len() => return line,
            byte => {
                at += if byte == b'\\' { 2 } else { 1 };
                end = at;
            }
        }
    }
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cone_selects_folders_and_the_files_on_the_path_to_them() {
        let sparse = Sparse::parse(b"/*\n!/*/\n/a/\n!/a/*/\n/a/b/\n");
        for (path, wanted) in
            [("top", true), ("a/file", true), ("a/b/c/d", true), ("a/c/file", false), ("b/file", false)]
        {
            assert_eq!(sparse.file(path.as_bytes()), wanted, "{path}");
        }
        assert_eq!(sparse.folder(b"a"), Wanted::Some);
        assert_eq!(sparse.folder(b"a/b/c"), Wanted::All);
        assert_eq!(sparse.folder(b"a/c"), Wanted::Nothing);
    }

    #[test]
    fn other_patterns_decide_from_the_last_to_the_first_and_are_inherited() {
        let sparse = Sparse::parse(b"# docs only\r\n/docs/  \n!*.png\nREADME\\ \n");
        for (path, wanted) in [
            ("docs/a/b.md", true),
            ("docs/a/b.png", false),
            ("src/docs/a", false),
            ("src/README ", true),
            ("README", false),
        ] {
            assert_eq!(sparse.file(path.as_bytes()), wanted, "{path}");
        }
        assert_eq!(sparse.folder(b"docs"), Wanted::Some);
        assert_eq!(Sparse::parse(b"docs/*\n/x y\n").folder(b"src"), Wanted::Nothing);
        assert_eq!(Sparse::parse(b"/docs\nx*\n").folder(b"docs"), Wanted::All);
    }
}
