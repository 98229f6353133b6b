//! The filter of a fetch, as `--filter` names it (gitprotocol-v2, "filter"; git-rev-list, "--filter").
//!
//! Pure. `fetch::missing_files` fetches files that were left out and are needed.

use std::fmt;
use std::str::FromStr;

/// The files that are not sent unless they are requested by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `blob:none`: no files.
    NoFiles,
    /// `blob:limit=<n>`: no files of at least this many bytes.
    Below(u64),
}

/// The reason why a text is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    #[error("leaves out folders, which are all needed here; use blob:none")]
    Trees,
    #[error("has no size that can be read; use blob:limit=<n>, <n>k, <n>m or <n>g")]
    Size,
    #[error("is not supported; use blob:none or blob:limit=<n>[kmg]")]
    Unknown,
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        match text.split_once('=') {
            None if text == "blob:none" => Ok(Self::NoFiles),
            Some(("blob:limit", size)) => read_size(size).map(Self::Below).ok_or(BadFilter::Size),
            _ if text.starts_with("tree:") => Err(BadFilter::Trees),
            _ => Err(BadFilter::Unknown),
        }
    }
}

/// Parses a size as git does: digits, and one letter in either case for a power of 1024.
fn read_size(text: &str) -> Option<u64> {
    let power = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => 0,
    };
    let digits = if power == 0 { text } else { &text[..text.len() - 1] };
    // `parse` alone would accept a plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << power)
}

/// The form of the protocol, in bytes: servers need not know the letters.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFiles => f.write_str("blob:none"),
            Self::Below(bytes) => write!(f, "blob:limit={bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_git_reads_them() {
        for (text, bytes) in [("0", 0), ("17", 17), ("1k", 1024), ("2M", 2 << 20), ("3g", 3 << 30)] {
            assert_eq!(format!("blob:limit={text}").parse(), Ok(Filter::Below(bytes)));
            assert_eq!(Filter::Below(bytes).to_string(), format!("blob:limit={bytes}"));
        }
        for text in ["", "k", "-1", "+1", "1 k", "1kb", "1.5m", "99999999999g", "18446744073709551616", "ä"] {
            assert_eq!(format!("blob:limit={text}").parse::<Filter>(), Err(BadFilter::Size), "{text}");
        }
    }

    #[test]
    fn unsupported_filters_are_refused() {
        assert_eq!("blob:none".parse(), Ok(Filter::NoFiles));
        assert_eq!("tree:0".parse::<Filter>(), Err(BadFilter::Trees));
        for text in
            ["", "blob", "blob:limit", "Blob:none", "blob:none=1", "sparse:oid=x", "object:type=tree", "combine:x"]
        {
            assert_eq!(text.parse::<Filter>(), Err(BadFilter::Unknown), "{text}");
        }
    }
}
