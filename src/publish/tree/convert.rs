//! The conversions of `.gitattributes` when a file is written: line ends, `$Id$`, the encoding.
//!
//! The result is byte for byte that of git's checkout with `core.autocrlf` and `core.eol` unset on a system whose lines end
//! in LF, including git's two ways to expand `$Id$`. It must not know where attributes come from, nor files.

use std::borrow::Cow;

use git2::Oid;

use crate::attributes::{AttributeState, Attributes};
use crate::publish::tree::encode::Encoding;

/// The conversion of one file. A file that is written unchanged has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversion {
    line_ends: LineEnds,
    ident: bool,
    encoding: Option<Encoding>,
    /// If git can convert a file without knowing all of it, it expands `$Id$` piece by piece, with slightly different
    /// results.
    by_piece: bool,
    /// True if its content in the store may be a pointer to an LFS object.
    lfs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnds {
    Keep,
    Crlf,
    /// LF becomes CRLF if the content looks like text without any CR.
    CrlfIfText,
}

/// Git's classification of an attribute `text`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Undefined,
    Binary,
    Yes,
    Input,
    Auto,
}

/// Returns true for attributes that can change how a file is written: rules without them need not be looked up.
pub(crate) fn matters(name: &[u8], state: &AttributeState) -> bool {
    match (name, state) {
        (b"eol", AttributeState::Value(value)) => value == b"crlf",
        (b"ident", AttributeState::Set) => true,
        (b"filter", AttributeState::Value(value)) => value == b"lfs",
        (b"working-tree-encoding", AttributeState::Value(value)) => !value.is_empty(),
        _ => false,
    }
}

impl Conversion {
    /// Returns the conversion for a file's attributes; `None` if it is written unchanged.
    pub(crate) fn of(attributes: &Attributes) -> Option<Self> {
        let text = match text(attributes.get("text")) {
            Text::Undefined => text(attributes.get("crlf")),
            text => text,
        };
        let eol = match attributes.get("eol") {
            AttributeState::Value(value) if text != Text::Binary => value.as_slice(),
            _ => b"",
        };
        let line_ends = match (text, eol) {
            (Text::Auto, b"crlf") => LineEnds::CrlfIfText,
            (_, b"crlf") => LineEnds::Crlf,
            _ => LineEnds::Keep,
        };
        let encoding = match attributes.get("working-tree-encoding") {
            AttributeState::Value(name) => Encoding::named(name),
            _ => None,
        };
        let ident = *attributes.get("ident") == AttributeState::Set;
        let lfs = *attributes.get("filter") == AttributeState::Value(b"lfs".to_vec());
        let whole_first = encoding.is_some() || (text == Text::Auto && eol != b"lf");
        let conversion = Self { line_ends, ident, encoding, by_piece: !whole_first, lfs };
        (conversion.changes() || lfs).then_some(conversion)
    }

    /// Returns the name of a requested encoding that is not supported.
    pub(crate) fn unknown_encoding(&self) -> Option<&str> {
        match &self.encoding {
            Some(Encoding::Unknown(name)) => Some(name),
            _ => None,
        }
    }

    /// Returns true if a pointer is replaced by its object. Git passes the encoded content to a filter, and git-lfs
    /// recognizes no such pointers.
    pub(crate) fn takes_pointers(&self) -> bool {
        self.lfs && matches!(self.encoding, None | Some(Encoding::Unknown(_)))
    }

    /// Returns false if the content stays unchanged.
    pub(crate) fn changes(&self) -> bool {
        self.line_ends != LineEnds::Keep || self.ident || self.encoding.is_some()
    }

    /// Converts the content. `id` is its hash in the store.
    pub(crate) fn apply<'a>(&self, content: &'a [u8], id: Oid) -> Cow<'a, [u8]> {
        let mut content = Cow::Borrowed(content);
        if self.ident {
            let expanded = if self.by_piece { expand_by_piece(&content, id) } else { expand_whole(&content, id) };
            content = Cow::Owned(expanded);
        }
        let stat = Stat::of(&content);
        let wanted = match self.line_ends {
            LineEnds::Keep => false,
            LineEnds::Crlf => stat.lone_lf > 0,
            LineEnds::CrlfIfText => stat.lone_lf > 0 && stat.lone_cr == 0 && stat.crlf == 0 && !stat.is_binary(),
        };
        if wanted {
            content = Cow::Owned(with_crlf(&content, stat.lone_lf));
        }
        match self.encoding.as_ref().and_then(|encoding| encoding.encode(&content)) {
            // As git does: an empty file has no byte order mark.
            Some(encoded) if !content.is_empty() => Cow::Owned(encoded),
            _ => content,
        }
    }
}

fn text(state: &AttributeState) -> Text {
    match state {
        AttributeState::Set => Text::Yes,
        AttributeState::Unset => Text::Binary,
        AttributeState::Value(value) if value == b"auto" => Text::Auto,
        AttributeState::Value(value) if value == b"input" => Text::Input,
        AttributeState::Value(_) | AttributeState::Unspecified => Text::Undefined,
    }
}

/// The counts by which git distinguishes text from other files (`gather_stats` in git's convert.c).
#[derive(Default)]
struct Stat {
    nul: usize,
    lone_cr: usize,
    lone_lf: usize,
    crlf: usize,
    printable: usize,
    other: usize,
}

impl Stat {
    fn of(content: &[u8]) -> Self {
        let mut stat = Self::default();
        let mut at = 0;
        while at < content.len() {
            match content[at] {
                b'\r' if content.get(at + 1) == Some(&b'\n') => {
                    stat.crlf += 1;
                    at += 1;
                }
                b'\r' => stat.lone_cr += 1,
                b'\n' => stat.lone_lf += 1,
                0 => {
                    stat.nul += 1;
                    stat.other += 1;
                }
                8 | b'\t' | 27 | 12 => stat.printable += 1,
                127 | 1..32 => stat.other += 1,
                _ => stat.printable += 1,
            }
            at += 1;
        }
        if content.last() == Some(&26) {
            // Ctrl-Z at the end, the end-of-file mark of CP/M and DOS, counts as text in git.
            stat.other -= 1;
        }
        stat
    }

    fn is_binary(&self) -> bool {
        self.lone_cr > 0 || self.nul > 0 || (self.printable >> 7) < self.other
    }
}

fn with_crlf(content: &[u8], more: usize) -> Vec<u8> {
    let mut converted = Vec::with_capacity(content.len() + more);
    let mut before = 0;
    for &byte in content {
        if byte == b'\n' && before != b'\r' {
            converted.push(b'\r');
        }
        converted.push(byte);
        before = byte;
    }
    converted
}

fn find(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|other| *other == byte)
}

/// Returns true if the content has a keyword that git would expand.
fn has_ident(content: &[u8]) -> bool {
    let mut rest = content;
    while let Some(dollar) = find(b'$', rest) {
        rest = &rest[dollar + 1..];
        if rest.len() < 3 {
            return false;
        }
        if !rest.starts_with(b"Id") {
            continue;
        }
        let after = rest[2];
        rest = &rest[3..];
        match after {
            b'$' => return true,
            b':' => match rest.iter().position(|byte| matches!(byte, b'$' | b'\n')) {
                Some(end) if rest[end] == b'$' => return true,
                Some(end) => rest = &rest[end + 1..],
                None => return false,
            },
            _ => {}
        }
    }
    false
}

fn expand_whole(content: &[u8], id: Oid) -> Vec<u8> {
    if !has_ident(content) {
        return content.to_vec();
    }
    let mut expanded = Vec::with_capacity(content.len() + 64);
    let mut rest = content;
    while let Some(dollar) = find(b'$', rest) {
        expanded.extend_from_slice(&rest[..=dollar]);
        rest = &rest[dollar + 1..];
        if rest.len() < 3 || !rest.starts_with(b"Id") {
            continue;
        }
        match rest[2] {
            b'$' => rest = &rest[3..],
            b':' => {
                let Some(end) = find(b'$', &rest[3..]).map(|end| end + 3) else { break };
                let inside = &rest[3..end];
                // A space inside means that another version control system wrote it; git leaves it unchanged.
                let foreign = rest.get(4..end).and_then(|text| find(b' ', text)).is_some_and(|at| at + 4 + 1 < end);
                if inside.contains(&b'\n') || foreign {
                    continue;
                }
                rest = &rest[end + 1..];
            }
            _ => continue,
        }
        expanded.extend_from_slice(format!("Id: {id} $").as_bytes());
    }
    expanded.extend_from_slice(rest);
    expanded
}

/// Git's expansion byte by byte. It does not recognize `$$Id$`, and drops the text between two keywords in a few cases;
/// this function does the same, because the result has to equal git's checkout.
fn expand_by_piece(content: &[u8], id: Oid) -> Vec<u8> {
    const HEAD: &[u8; 4] = b"$Id\0";
    const SKIPPING: usize = 5;
    let keyword = format!(": {id} $").into_bytes();
    let mut expanded = Vec::with_capacity(content.len() + 64);
    let mut held: Vec<u8> = Vec::new();
    let mut state = 0;
    for &byte in content {
        if state == SKIPPING {
            held.push(byte);
            if byte != b'\n' && byte != b'$' {
                continue;
            }
            if byte == b'$' && !is_foreign(&held) {
                held.truncate(3);
                held.extend_from_slice(&keyword);
            }
        } else if state < HEAD.len() && HEAD[state] == byte {
            state += 1;
            continue;
        } else {
            held.extend_from_slice(&HEAD[..state]);
            match byte {
                b'$' if state == 3 => held.extend_from_slice(&keyword),
                b':' if state == 3 => {
                    held.push(byte);
                    state = SKIPPING;
                    continue;
                }
                _ => {
                    held.push(byte);
                    if state == 3 {
                        state = 0;
                        continue;
                    }
                }
            }
        }
        expanded.append(&mut held);
        state = 0;
    }
    if state < SKIPPING {
        held.extend_from_slice(&HEAD[..state]);
    }
    expanded.append(&mut held);
    expanded
}

/// Returns true if the text contains a space: another version control system wrote it.
fn is_foreign(held: &[u8]) -> bool {
    let Some(text) = held.strip_prefix(b"$Id: ") else { return false };
    let end = find(0, text).unwrap_or(text.len());
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    (0..end).any(|at| is_space(text[at]) && text.get(at + 1) != Some(&b'$'))
}
