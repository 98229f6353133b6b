//! What `.gitattributes` change in a file on its way out of the store: line ends, `$Id$`, the encoding.
//!
//! Byte for byte what git's checkout does with `core.autocrlf` and `core.eol` unset on a system whose lines end in LF, its
//! two ways to expand `$Id$` included. It must not know where attributes come from, nor files.

use std::borrow::Cow;

use git2::Oid;

use super::encode::Encoding;
use crate::attributes::{Attributes, State};

/// What is done to a file. A file of which nothing is to be done has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    line_ends: LineEnds,
    ident: bool,
    encoding: Option<Encoding>,
    /// git expands `$Id$` piece by piece, and a little otherwise, where nothing has to be known of the whole file first.
    by_piece: bool,
    /// Its content in the store may be a pointer to a large file.
    lfs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnds {
    Keep,
    Crlf,
    /// If it looks like text that has no CR yet.
    CrlfIfText,
}

/// How git calls what it does with line ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Undefined,
    Binary,
    Yes,
    Input,
    Auto,
}

/// True for what can make a file differ from what is stored: rules without it need not be looked up.
pub(super) fn matters(name: &[u8], state: &State) -> bool {
    match (name, state) {
        (b"eol", State::Value(value)) => value == b"crlf",
        (b"ident", State::Set) => true,
        (b"filter", State::Value(value)) => value == b"lfs",
        (b"working-tree-encoding", State::Value(value)) => !value.is_empty(),
        _ => false,
    }
}

impl Conversion {
    /// `None`: the file is written as it is stored.
    pub(super) fn of(attributes: &Attributes) -> Option<Self> {
        let text = match text(attributes.get("text")) {
            Text::Undefined => text(attributes.get("crlf")),
            text => text,
        };
        let eol = match attributes.get("eol") {
            State::Value(value) if text != Text::Binary => value.as_slice(),
            _ => b"",
        };
        let line_ends = match (text, eol) {
            (Text::Auto, b"crlf") => LineEnds::CrlfIfText,
            (_, b"crlf") => LineEnds::Crlf,
            _ => LineEnds::Keep,
        };
        let encoding = match attributes.get("working-tree-encoding") {
            State::Value(name) => Encoding::named(name),
            _ => None,
        };
        let ident = *attributes.get("ident") == State::Set;
        let lfs = *attributes.get("filter") == State::Value(b"lfs".to_vec());
        let whole_first = encoding.is_some() || (text == Text::Auto && eol != b"lf");
        let conversion = Self { line_ends, ident, encoding, by_piece: !whole_first, lfs };
        (conversion.changes() || lfs).then_some(conversion)
    }

    /// The name of an encoding that is asked for and not known.
    pub(super) fn unknown_encoding(&self) -> Option<&str> {
        match &self.encoding {
            Some(Encoding::Unknown(name)) => Some(name),
            _ => None,
        }
    }

    /// True if a pointer stands for an object. git hands a filter what it has encoded, and git-lfs takes no such pointers.
    pub(super) fn takes_pointers(&self) -> bool {
        self.lfs && matches!(self.encoding, None | Some(Encoding::Unknown(_)))
    }

    /// False if the content stays as it is.
    pub(super) fn changes(&self) -> bool {
        self.line_ends != LineEnds::Keep || self.ident || self.encoding.is_some()
    }

    /// The content as it is to be on the disk. `id` is its own in the store.
    pub(super) fn apply<'a>(&self, content: &'a [u8], id: Oid) -> Cow<'a, [u8]> {
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

fn text(state: &State) -> Text {
    match state {
        State::Set => Text::Yes,
        State::Unset => Text::Binary,
        State::Value(value) if value == b"auto" => Text::Auto,
        State::Value(value) if value == b"input" => Text::Input,
        State::Value(_) | State::Unspecified => Text::Undefined,
    }
}

/// What git counts to tell text from other files.
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
            // The end mark of old systems.
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

/// True if there is anything that git counts as an `$Id$`.
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
                // A space in the middle is another system's.
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

/// What git does byte by byte. It takes `$$Id$` for no keyword, and forgets what stands between two of them in a few cases;
/// what it publishes is what people know, so the same is done here.
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

/// A space in the middle is another system's.
fn is_foreign(held: &[u8]) -> bool {
    let Some(text) = held.strip_prefix(b"$Id: ") else { return false };
    let end = find(0, text).unwrap_or(text.len());
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    (0..end).any(|at| is_space(text[at]) && text.get(at + 1) != Some(&b'$'))
}
