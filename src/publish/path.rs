//! Checks which names of a tree may become files, and makes paths safe to show.
//!
//! A pushed tree is hostile input: git's own programs refuse to create such names, but a crafted push can contain them. The
//! rules for spellings of `.git` are those of git's `core.protectHFS` and `core.protectNTFS`, always on, because a volume
//! or its backup may be read on any system. It must not touch a file system.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::text::is_deceptive;

/// `NAME_MAX` of all common file systems.
pub(crate) const NAME_MAX: usize = 255;

/// The longest path that is shown, in characters: a hostile one may have megabytes.
const SHOWN: usize = 400;

/// The reason why a name may not become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    TooLong,
    Hostile(&'static str),
}

/// Returns a path for a message.
pub(crate) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

/// Removes `.` and `..` from a path lexically, since the folders need not exist yet.
pub fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                tidy.pop();
            }
            Component::CurDir => {}
            other => tidy.push(other),
        }
    }
    tidy
}

/// Checks one name of a tree object. `link` is true if the entry is a symbolic link.
pub(crate) fn check_name(name: &[u8], link: bool) -> Result<(), NameError> {
    match name {
        b"" => return Err(NameError::Hostile("a name is empty")),
        b"." | b".." => return Err(NameError::Hostile("a name is . or ..")),
        _ => {}
    }
    if name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(NameError::Hostile("a name holds a slash or a zero byte"));
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    let plain = without_ignorable(name);
    // A backslash separates folders on Windows, so every part between two of them is checked.
    let mut pieces = name.split(|&byte| byte == b'\\');
    if plain.eq_ignore_ascii_case(b".git") || pieces.any(|piece| is_on_ntfs(piece, &[b".git", b"git~1"])) {
        return Err(NameError::Hostile("a name is a spelling of .git"));
    }
    // Git reads this file from the disk, and would read one outside of the tree through a link.
    if link && (plain.eq_ignore_ascii_case(b".gitmodules") || is_gitmodules_on_ntfs(name)) {
        return Err(NameError::Hostile(".gitmodules is a symbolic link"));
    }
    Ok(())
}

/// Compares a name as NTFS does, which drops trailing spaces and dots, and reads the part after a colon as the name of a
/// stream.
fn is_on_ntfs(name: &[u8], spellings: &[&[u8]]) -> bool {
    let name = name.split(|&byte| byte == b':').next().unwrap_or(name);
    let end = name.iter().rposition(|&byte| byte != b' ' && byte != b'.').map_or(0, |last| last + 1);
    spellings.iter().any(|spelling| name[..end].eq_ignore_ascii_case(spelling))
}

/// Returns true for `.gitmodules` and the short names that NTFS makes for it: `gitmod~1` to `~4`, then `gi7eba~N` from a
/// hash.
fn is_gitmodules_on_ntfs(name: &[u8]) -> bool {
    const SHORT: [&[u8]; 5] = [b".gitmodules", b"gitmod~1", b"gitmod~2", b"gitmod~3", b"gitmod~4"];
    is_on_ntfs(name, &SHORT)
        || (name.len() >= 8 && name[..6].eq_ignore_ascii_case(b"gi7eba") && name[6] == b'~' && name[7].is_ascii_digit())
}

/// Removes the code points that HFS+ ignores when it compares names.
fn without_ignorable(name: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => {
            Cow::Owned(text.chars().filter(|&c| !is_ignorable(c)).collect::<String>().into())
        }
        // HFS+ has only names in UTF-8.
        _ => Cow::Borrowed(name),
    }
}

fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Returns the path as text that is safe in a log, a terminal and a browser: control characters, characters that are
/// invisible or change the direction of text, and bytes that are not UTF-8 become escapes; a long path is cut.
pub(crate) fn printable(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len().min(SHOWN));
    let mut length = 0;
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if length >= SHOWN {
                text.push('…');
                return text;
            }
            length += 1;
            if is_deceptive(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            if length >= SHOWN {
                text.push('…');
                return text;
            }
            length += 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_refuses_is_refused() {
        let long = [b'a'; 256];
        for name in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"/etc",
            b"a\0b",
            b".git",
            b".GIT",
            b".Git",
            b"git~1",
            b"GIT~1",
            b".git.",
            b".git ",
            b".git . .",
            b".git::$INDEX_ALLOCATION",
            b".git:x",
            b"git~1.",
            b"a\\.git",
            b".git\\hooks",
            "\u{200c}.git".as_bytes(),
            ".g\u{200d}it".as_bytes(),
            ".gi\u{202e}T".as_bytes(),
            ".git\u{feff}".as_bytes(),
        ] {
            assert!(matches!(check_name(name, false), Err(NameError::Hostile(_))), "{name:?}");
        }
        assert_eq!(check_name(&long, false), Err(NameError::TooLong));
        assert_eq!(check_name(&long[..255], false), Ok(()));
    }

    #[test]
    fn ordinary_names_are_not_refused() {
        for name in [
            &b".gitignore"[..],
            b".gitmodules",
            b".github",
            b"git",
            b"git~2",
            b"..a",
            b"...",
            b"a b",
            b" ",
            b".git-x",
            b"x.git",
            b"\xff\xfe",
            "\u{fc}\u{200d}".as_bytes(),
            b"con",
            b"a:b",
            b"a\\b",
        ] {
            assert_eq!(check_name(name, false), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn gitmodules_may_not_be_a_link() {
        for name in [
            &b".gitmodules"[..],
            b".GitModules",
            b".gitmodules .",
            b"gitmod~1",
            b"GI7EBA~1",
            ".gitmodules\u{200c}".as_bytes(),
        ] {
            assert!(check_name(name, true).is_err(), "{name:?}");
            assert_eq!(check_name(name, false), Ok(()));
        }
        assert_eq!(check_name(b".gitignore", true), Ok(()));
    }

    #[test]
    fn a_shown_path_cannot_move_the_cursor_or_turn_the_text() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\n".as_bytes()), r"a\u{1b}[2Jb\u{202e}c\n");
        assert_eq!(printable(b"ok/\xff\xc3\xa9"), "ok/\\xff\u{e9}");
        assert_eq!(printable(&[b'a'; 9999]).chars().count(), SHOWN + 1);
        assert!(printable(&[0xff; 9999]).len() < 10 * SHOWN, "invalid bytes are cut as well");
    }
}
