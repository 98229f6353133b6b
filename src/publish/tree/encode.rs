//! `working-tree-encoding`: converts text of the store, which is UTF-8, to the encoding of the file.
//!
//! UTF-16, UTF-32 and the common one-byte encodings are supported, with the same output as the iconv of GNU systems. Files
//! with another encoding are not converted, which a remark reports; git without a suitable iconv does the same. It must not
//! know attributes.

/// The encoding of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf16 {
        big: bool,
        mark: bool,
    },
    Utf32 {
        big: bool,
        mark: bool,
    },
    /// The first 128 or 256 characters of Unicode.
    Plain(u32),
    /// Like the first 256 characters, with these exceptions.
    Latin(&'static [(u8, char)]),
    /// An unsupported encoding: the content stays UTF-8.
    Unknown(String),
}

const LATIN_9: &[(u8, char)] =
    &[(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];

/// NUL marks unused bytes.
const WINDOWS_1252: &[(u8, char)] = &[
    (0x80, '€'),
    (0x81, '\0'),
    (0x82, '‚'),
    (0x83, 'ƒ'),
    (0x84, '„'),
    (0x85, '…'),
    (0x86, '†'),
    (0x87, '‡'),
    (0x88, 'ˆ'),
    (0x89, '‰'),
    (0x8a, 'Š'),
    (0x8b, '‹'),
    (0x8c, 'Œ'),
    (0x8d, '\0'),
    (0x8e, 'Ž'),
    (0x8f, '\0'),
    (0x90, '\0'),
    (0x91, '‘'),
    (0x92, '’'),
    (0x93, '“'),
    (0x94, '”'),
    (0x95, '•'),
    (0x96, '–'),
    (0x97, '—'),
    (0x98, '˜'),
    (0x99, '™'),
    (0x9a, 'š'),
    (0x9b, '›'),
    (0x9c, 'œ'),
    (0x9d, '\0'),
    (0x9e, 'ž'),
    (0x9f, 'Ÿ'),
];

impl Encoding {
    /// Returns the encoding of that name; `None` for UTF-8, the encoding of the store.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let utf = name.strip_prefix("UTF").map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        Some(match (utf, name.as_str()) {
            (_, "") | (Some("8"), _) => return None,
            // Without a byte order in its name an encoding has a byte order mark and is little-endian.
            (Some("16" | "16LE-BOM"), _) => Self::Utf16 { big: false, mark: true },
            (Some("16LE"), _) => Self::Utf16 { big: false, mark: false },
            (Some("16BE"), _) => Self::Utf16 { big: true, mark: false },
            (Some("16BE-BOM"), _) => Self::Utf16 { big: true, mark: true },
            (Some("32"), _) => Self::Utf32 { big: false, mark: true },
            (Some("32LE"), _) => Self::Utf32 { big: false, mark: false },
            (Some("32BE"), _) => Self::Utf32 { big: true, mark: false },
            (_, "ASCII" | "US-ASCII" | "ANSI_X3.4-1968") => Self::Plain(0x80),
            (_, "ISO-8859-1" | "ISO8859-1" | "ISO_8859-1" | "ISO88591" | "LATIN1" | "LATIN-1" | "L1") => {
                Self::Plain(0x100)
            }
            (_, "ISO-8859-15" | "ISO8859-15" | "ISO_8859-15" | "LATIN-9") => Self::Latin(LATIN_9),
            (_, "CP1252" | "WINDOWS-1252") => Self::Latin(WINDOWS_1252),
            _ => Self::Unknown(name),
        })
    }

    /// Converts the content. `None` if it is not UTF-8, or has a character that the encoding lacks: git then leaves it
    /// unchanged.
    pub(crate) fn encode(&self, content: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(content).ok()?;
        match self {
            Self::Utf16 { big, mark } => {
                let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
                Some(units.flat_map(|unit| if *big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect())
            }
            Self::Utf32 { big, mark } => {
                let units = mark.then_some(0xfeff).into_iter().chain(text.chars().map(u32::from));
                Some(units.flat_map(|unit| if *big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect())
            }
            Self::Plain(end) => {
                text.chars().map(|c| u8::try_from(u32::from(c)).ok().filter(|_| u32::from(c) < *end)).collect()
            }
            Self::Latin(others) => text.chars().map(|c| latin(others, c)).collect(),
            Self::Unknown(_) => None,
        }
    }
}

fn latin(others: &[(u8, char)], c: char) -> Option<u8> {
    // The character NUL is encoded as itself; in the table it only marks unused bytes.
    if c != '\0'
        && let Some((byte, _)) = others.iter().find(|(_, other)| *other == c)
    {
        return Some(*byte);
    }
    let byte = u8::try_from(u32::from(c)).ok()?;
    others.iter().all(|(taken, _)| *taken != byte).then_some(byte)
}
