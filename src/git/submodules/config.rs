//! Reading `.gitmodules` (gitmodules, gitconfig "Syntax"), which whoever may push has written.
//!
//! Pure. Git's own reader follows `include` and knows hundreds of keys; this one knows three, of one section, and opens
//! nothing. What it cannot read is told with its line and never guessed at.

/// The largest file that is read; a thousand submodules take a tenth of it.
pub(crate) const LARGEST: usize = 1 << 20;

/// One `[submodule "name"]`. Of a key that stands there twice, the last counts, as with git.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    pub name: Vec<u8>,
    pub path: Vec<u8>,
    pub url: Vec<u8>,
    pub update: Vec<u8>,
}

impl Module {
    /// Names become folders below `.git/modules` with git, which therefore ignores such; it is no honest name here either.
    pub(crate) fn has_odd_name(&self) -> bool {
        self.name.is_empty() || self.name.split(|&byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..")
    }
}

/// Why a file is none, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub line: usize,
    pub what: &'static str,
}

pub(crate) fn parse(text: &[u8]) -> Result<Vec<Module>, Malformed> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut modules: Vec<Module> = Vec::new();
    // The module whose section this is; none in a section that is not ours.
    let mut current = None;
    let mut in_section = false;
    while let Some(byte) = reader.next() {
        match byte {
            b' ' | b'\t' | b'\n' => {}
            b'#' | b';' => reader.skip_line(),
            b'[' => {
                let name = reader.section()?.submodule();
                in_section = true;
                current = name.map(|name| {
                    modules.iter().position(|module| module.name == name).unwrap_or_else(|| {
                        modules.push(Module { name, ..Module::default() });
                        modules.len() - 1
                    })
                });
            }
            byte if byte.is_ascii_alphabetic() && in_section => {
                let key = reader.word(byte);
                let value = reader.value()?;
                let Some(module) = current.and_then(|at: usize| modules.get_mut(at)) else { continue };
                match (key.as_slice(), value) {
                    (b"path" | b"url" | b"update", None) => return Err(reader.malformed("a key without a value")),
                    (b"path", Some(value)) => module.path = value,
                    (b"url", Some(value)) => module.url = value,
                    (b"update", Some(value)) => module.update = value,
                    _ => {}
                }
            }
            _ => return Err(reader.malformed("neither a section nor a key")),
        }
    }
    Ok(modules)
}

/// What a file of the same syntax says for a key of a section without a name inside it, as `[lfs] url`. The last one counts.
pub(crate) fn setting(text: &[u8], section: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut current = None;
    let mut found = None;
    while let Some(byte) = reader.next() {
        match byte {
            b' ' | b'\t' | b'\n' => {}
            b'#' | b';' => reader.skip_line(),
            b'[' => current = Some(reader.section()?),
            byte if byte.is_ascii_alphabetic() && current.is_some() => {
                let is_it = reader.word(byte) == key
                    && current.as_ref().is_some_and(|current| current.name == section && current.inner.is_none());
                let value = reader.value()?;
                if is_it {
                    found = Some(value.ok_or(reader.malformed("a key without a value"))?);
                }
            }
            _ => return Err(reader.malformed("neither a section nor a key")),
        }
    }
    Ok(found)
}

/// The line that begins a section.
struct Section {
    /// In small letters.
    name: Vec<u8>,
    /// What stands in quotes.
    inner: Option<Vec<u8>>,
}

impl Section {
    /// The name of the submodule that it is of.
    fn submodule(self) -> Option<Vec<u8>> {
        match self.inner {
            Some(inner) => (self.name == b"submodule").then_some(inner),
            // The old form, `[submodule.name]`, is without case.
            None => self.name.strip_prefix(b"submodule.").map(<[u8]>::to_vec),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Reader<'_> {
    /// The next byte; the two that end a line on Windows are one.
    fn next(&mut self) -> Option<u8> {
        if self.rest.starts_with(b"\r\n") {
            self.rest = &self.rest[1..];
        }
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { line: self.line, what }
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// What follows `[`.
    fn section(&mut self) -> Result<Section, Malformed> {
        let broken = "a section without its end";
        let mut name = Vec::new();
        loop {
            match self.next().ok_or(self.malformed(broken))? {
                b']' => return Ok(Section { name, inner: None }),
                b' ' | b'\t' => break,
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') => {
                    name.push(byte.to_ascii_lowercase());
                }
                _ => return Err(self.malformed("a section whose name is none")),
            }
        }
        let quote = loop {
            match self.next().ok_or(self.malformed(broken))? {
                b' ' | b'\t' => {}
                byte => break byte,
            }
        };
        let mut inner = Vec::new();
        if quote != b'"' {
            return Err(self.malformed("a section whose name is none"));
        }
        loop {
            match self.next().ok_or(self.malformed(broken))? {
                b'"' => break,
                b'\n' => return Err(self.malformed(broken)),
                b'\\' => match self.next().ok_or(self.malformed(broken))? {
                    b'\n' => return Err(self.malformed(broken)),
                    byte => inner.push(byte),
                },
                byte => inner.push(byte),
            }
        }
        match self.next() {
            Some(b']') => Ok(Section { name, inner: Some(inner) }),
            _ => Err(self.malformed(broken)),
        }
    }

    /// The rest of a key, in small letters.
    fn word(&mut self, first: u8) -> Vec<u8> {
        let mut word = vec![first.to_ascii_lowercase()];
        while let Some(&byte) = self.rest.first() {
            if !byte.is_ascii_alphanumeric() && byte != b'-' {
                break;
            }
            word.push(byte.to_ascii_lowercase());
            self.rest = &self.rest[1..];
        }
        word
    }

    /// What follows a key: `None` if that is nothing, which means "true".
    fn value(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        loop {
            match self.next() {
                Some(b' ' | b'\t') => {}
                Some(b'=') => break,
                Some(b'\n') | None => return Ok(None),
                Some(_) => return Err(self.malformed("a key without `=`")),
            }
        }
        let mut value = Vec::new();
        // What stands behind this place is blank so far, and not quoted.
        let mut solid = 0;
        let mut quoted = false;
        loop {
            match self.next() {
                None | Some(b'\n') if quoted => return Err(self.malformed("a quote without its end")),
                None | Some(b'\n') => break,
                Some(b'#' | b';') if !quoted => {
                    self.skip_line();
                    break;
                }
                Some(b' ' | b'\t') if !quoted && value.is_empty() => {}
                Some(byte @ (b' ' | b'\t')) if !quoted => value.push(byte),
                Some(b'"') => {
                    quoted = !quoted;
                    solid = value.len();
                }
                Some(b'\\') => {
                    match self.next() {
                        Some(b'\n') => continue,
                        Some(byte @ (b'\\' | b'"')) => value.push(byte),
                        Some(b'n') => value.push(b'\n'),
                        Some(b't') => value.push(b'\t'),
                        Some(b'b') => value.push(8),
                        _ => return Err(self.malformed("an escape that is none")),
                    }
                    solid = value.len();
                }
                Some(byte) => {
                    value.push(byte);
                    solid = value.len();
                }
            }
        }
        value.truncate(solid);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn module(name: &str, path: &str, url: &str) -> Module {
        Module { name: name.into(), path: path.into(), url: url.into(), ..Module::default() }
    }

    #[test]
    fn what_git_writes_is_read() {
        let text = "[submodule \"lib/x\"]\n\tpath = lib/x\n\turl = ../x.git\n\
                    [submodule \"a \\\"b\\\\\"]\n\tpath = \"a \\\"b\\\\\"\n\turl = https://git.test/b\n\tupdate = none\n";
        let mut second = module("a \"b\\", "a \"b\\", "https://git.test/b");
        second.update = b"none".to_vec();
        assert_eq!(parse(text.as_bytes()), Ok(vec![module("lib/x", "lib/x", "../x.git"), second]));
    }

    #[test]
    fn comments_case_continuations_and_other_sections_are_as_git_has_them() {
        let text = "\u{feff}# x\r\n[include]\n path = /etc/passwd\n[SubModule \"x\"] Path = a\\\n/b ; end\r\n\
                    URL=\"u#1\"  # c\n[core]\n bare\n[submodule.Y]\npath=y z  \nurl = 1\nurl = 2\n\
                    [submodule \"x\"]\nurl = later\n";
        assert_eq!(parse(text.as_bytes()), Ok(vec![module("x", "a/b", "later"), module("y", "y z", "2")]));
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        for (text, line) in [
            ("[submodule \"x\n\"]", 2),
            ("[submodule \"x\"", 1),
            ("[submodule x]", 1),
            ("\n[submodule \"x\"]\npath = \"a", 3),
            ("[submodule \"x\"]\npath", 2),
            ("[submodule \"x\"]\npath = \\q", 2),
            ("path = x", 1),
            ("\0", 1),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|error| error.line), Err(line), "{text}");
        }
    }

    #[test]
    fn one_setting_of_one_section_is_found() {
        let text = "[lfs \"x\"]\nurl = of another\n[LFS]\n URL = one ; c\n[core]\nurl = no\n[lfs]\nurl = \"two\"\n";
        assert_eq!(setting(text.as_bytes(), b"lfs", b"url"), Ok(Some(b"two".to_vec())));
        assert_eq!(setting(b"[lfs]\n\tlocksverify = true\n", b"lfs", b"url"), Ok(None));
        assert_eq!(setting(b"", b"lfs", b"url"), Ok(None));
        assert_eq!(setting(b"[lfs]\nurl\n", b"lfs", b"url").map_err(|wrong| wrong.what), Err("a key without a value"));
        assert_eq!(setting(b"url = x", b"lfs", b"url").map_err(|wrong| wrong.line), Err(1));
    }

    #[test]
    fn names_that_climb_are_odd() {
        for (name, odd) in [("a/../b", true), ("..", true), ("a\\..", true), ("", true), ("a..b/c", false)] {
            assert_eq!(module(name, "", "").has_odd_name(), odd, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }

        #[test]
        fn nearly_honest_files_are_read_or_refused(text in "(\\[submodule \"[a.\\\\\"]{0,4}\"?\\]?|path|url|=|\"|\\\\|\n|#| |x){0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
