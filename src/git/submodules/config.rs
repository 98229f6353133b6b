//! Parses `.gitmodules` (gitmodules, gitconfig "Syntax"), which is hostile input: every author of a push can change
//! it.
//!
//! Pure. Git's own parser follows `include` and knows hundreds of keys; this one knows three, of one section, and
//! opens no file. An error names its line; nothing is guessed.

/// The largest file that is read. A thousand submodules take a tenth of it.
pub(crate) const LARGEST: usize = 1 << 20;

/// One `[submodule "name"]`. The last value of a key counts, as with git.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    pub name: Vec<u8>,
    pub path: Vec<u8>,
    pub url: Vec<u8>,
    pub update: Vec<u8>,
}

impl Module {
    /// Returns true for a name that git ignores: names become folders below `.git/modules`, and this one would leave
    /// it.
    pub(crate) fn has_odd_name(&self) -> bool {
        self.name.is_empty() || self.name.split(|&byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..")
    }
}

/// The reason why a file cannot be parsed, and the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    pub line: usize,
    pub what: &'static str,
}

pub(crate) fn parse(text: &[u8]) -> Result<Vec<Module>, ConfigError> {
    // git skips a byte order mark, too.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut parser = ConfigParser { rest: text, line: 1 };
    let mut modules: Vec<Module> = Vec::new();
    // The module of the current section; `None` in other sections.
    let mut current = None;
    let mut in_section = false;
    while let Some(byte) = parser.next() {
        match byte {
            b' ' | b'\t' | b'\n' => {}
            b'#' | b';' => parser.skip_line(),
            b'[' => {
                let name = parser.section()?.submodule();
                in_section = true;
                current = name.map(|name| {
                    modules.iter().position(|module| module.name == name).unwrap_or_else(|| {
                        modules.push(Module { name, ..Module::default() });
                        modules.len() - 1
                    })
                });
            }
            byte if byte.is_ascii_alphabetic() && in_section => {
                let key = parser.word(byte);
                let value = parser.value()?;
                let Some(module) = current.and_then(|at: usize| modules.get_mut(at)) else { continue };
                match (key.as_slice(), value) {
                    // Such a key means "true" (git-config, "Syntax"), which is no path and no address.
                    (b"path" | b"url" | b"update", None) => return Err(parser.error("a key without a value")),
                    (b"path", Some(value)) => module.path = value,
                    (b"url", Some(value)) => module.url = value,
                    (b"update", Some(value)) => module.update = value,
                    _ => {}
                }
            }
            _ => return Err(parser.error("neither a section nor a key")),
        }
    }
    Ok(modules)
}

/// Returns the value of a key in a section without a subsection, such as `[lfs] url`. The last value counts.
pub(crate) fn setting(text: &[u8], section: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, ConfigError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut parser = ConfigParser { rest: text, line: 1 };
    let mut current = None;
    let mut found = None;
    while let Some(byte) = parser.next() {
        match byte {
            b' ' | b'\t' | b'\n' => {}
            b'#' | b';' => parser.skip_line(),
            b'[' => current = Some(parser.section()?),
            byte if byte.is_ascii_alphabetic() && current.is_some() => {
                let is_it = parser.word(byte) == key
                    && current.as_ref().is_some_and(|current| current.name == section && current.inner.is_none());
                let value = parser.value()?;
                if is_it {
                    found = Some(value.ok_or(parser.error("a key without a value"))?);
                }
            }
            _ => return Err(parser.error("neither a section nor a key")),
        }
    }
    Ok(found)
}

/// The header of a section.
struct Section {
    /// The name in lower case.
    name: Vec<u8>,
    /// The quoted subsection.
    inner: Option<Vec<u8>>,
}

impl Section {
    /// Returns the name of the submodule that the section is about.
    fn submodule(self) -> Option<Vec<u8>> {
        match self.inner {
            Some(inner) => (self.name == b"submodule").then_some(inner),
            // The old form, `[submodule.name]`, has no case.
            None => self.name.strip_prefix(b"submodule.").map(<[u8]>::to_vec),
        }
    }
}

struct ConfigParser<'a> {
    rest: &'a [u8],
    line: usize,
}

impl ConfigParser<'_> {
    /// Returns the next byte. The two bytes of a Windows line ending count as one.
    fn next(&mut self) -> Option<u8> {
        if self.rest.starts_with(b"\r\n") {
            self.rest = &self.rest[1..];
        }
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn error(&self, what: &'static str) -> ConfigError {
        ConfigError { line: self.line, what }
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// Parses a section header after `[`.
    fn section(&mut self) -> Result<Section, ConfigError> {
        let broken = "a section without its end";
        let mut name = Vec::new();
        loop {
            match self.next().ok_or(self.error(broken))? {
                b']' => return Ok(Section { name, inner: None }),
                b' ' | b'\t' => break,
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') => {
                    name.push(byte.to_ascii_lowercase());
                }
                _ => return Err(self.error("a section whose name is none")),
            }
        }
        let quote = loop {
            match self.next().ok_or(self.error(broken))? {
                b' ' | b'\t' => {}
                byte => break byte,
            }
        };
        let mut inner = Vec::new();
        if quote != b'"' {
            return Err(self.error("a section whose name is none"));
        }
        loop {
            match self.next().ok_or(self.error(broken))? {
                b'"' => break,
                b'\n' => return Err(self.error(broken)),
                b'\\' => match self.next().ok_or(self.error(broken))? {
                    b'\n' => return Err(self.error(broken)),
                    // In a subsection a backslash only quotes the next character: `\t` is a t (git-config, "Syntax").
                    byte => inner.push(byte),
                },
                byte => inner.push(byte),
            }
        }
        match self.next() {
            Some(b']') => Ok(Section { name, inner: Some(inner) }),
            _ => Err(self.error(broken)),
        }
    }

    /// Parses the rest of a key, in lower case.
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

    /// Parses the value of a key. `None`: the key has none, which means "true".
    fn value(&mut self) -> Result<Option<Vec<u8>>, ConfigError> {
        loop {
            match self.next() {
                Some(b' ' | b'\t') => {}
                Some(b'=') => break,
                Some(b'\n') | None => return Ok(None),
                Some(_) => return Err(self.error("a key without `=`")),
            }
        }
        let mut value = Vec::new();
        // The length without trailing unquoted blanks.
        let mut solid = 0;
        let mut quoted = false;
        loop {
            match self.next() {
                None | Some(b'\n') if quoted => return Err(self.error("a quote without its end")),
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
                        // A backslash at the end of a line continues the value on the next one.
                        Some(b'\n') => continue,
                        Some(byte @ (b'\\' | b'"')) => value.push(byte),
                        Some(b'n') => value.push(b'\n'),
                        Some(b't') => value.push(b'\t'),
                        Some(b'b') => value.push(8),
                        _ => return Err(self.error("an escape that is none")),
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
    fn files_that_git_writes_are_parsed() {
        let text = "[submodule \"lib/x\"]\n\tpath = lib/x\n\turl = ../x.git\n\
                    [submodule \"a \\\"b\\\\\"]\n\tpath = \"a \\\"b\\\\\"\n\turl = https://git.test/b\n\tupdate = none\n";
        let mut second = module("a \"b\\", "a \"b\\", "https://git.test/b");
        second.update = b"none".to_vec();
        assert_eq!(parse(text.as_bytes()), Ok(vec![module("lib/x", "lib/x", "../x.git"), second]));
    }

    #[test]
    fn comments_case_continuations_and_other_sections_are_parsed_as_git_does() {
        let text = "\u{feff}# x\r\n[include]\n path = /etc/passwd\n[SubModule \"x\"] Path = a\\\n/b ; end\r\n\
                    URL=\"u#1\"  # c\n[core]\n bare\n[submodule.Y]\npath=y z  \nurl = 1\nurl = 2\n\
                    [submodule \"x\"]\nurl = later\n";
        assert_eq!(parse(text.as_bytes()), Ok(vec![module("x", "a/b", "later"), module("y", "y z", "2")]));
    }

    #[test]
    fn errors_name_their_line() {
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
    fn submodule_names_with_a_parent_folder_are_odd() {
        for (name, odd) in [("a/../b", true), ("..", true), ("a\\..", true), ("", true), ("a..b/c", false)] {
            assert_eq!(module(name, "", "").has_odd_name(), odd, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&text);
        }

        #[test]
        fn nearly_valid_files_are_parsed_or_refused_without_a_panic(text in "(\\[submodule \"[a.\\\\\"]{0,4}\"?\\]?|path|url|=|\"|\\\\|\n|#| |x){0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
