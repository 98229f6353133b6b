//! The meaning of complete escape sequences: keys with a name, and the answer about the background color.
//!
//! The sources are xterm's ctlseqs and the function keys of rxvt, the Linux console and tmux. Other sequences are ignored.
//! It knows bytes and keys, not how they arrive.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::theme::Background;

/// `ESC [ PARAMETERS FINAL`.
#[must_use]
pub(crate) fn csi(parameters: &[u8], last: u8) -> Option<KeyEvent> {
    let numbers = numbers(parameters)?;
    let number = |at: usize| numbers.get(at).copied().flatten();
    let modifiers = modifiers(number(1).unwrap_or(1))?;
    let code = match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'Z' => KeyCode::BackTab,
        b'P' => KeyCode::F(1),
        b'Q' => KeyCode::F(2),
        // There is no `R` for F3: with modifiers it has the form of a cursor position report (xterm ctlseqs, CPR).
        b'S' => KeyCode::F(4),
        b'~' => tilde(number(0)?)?,
        b'u' => unicode(number(0)?)?,
        // Reports of focus, mouse, positions, attributes and others.
        _ => return None,
    };
    Some(KeyEvent::new(code, modifiers))
}

/// Rows that one step of the wheel moves.
const WHEEL: isize = 3;

/// `ESC [ < BUTTON ; COLUMN ; ROW M`: the wheel, whose steps are buttons 64 and 65. Other buttons mean nothing here.
#[must_use]
pub(crate) fn wheel(parameters: &[u8]) -> Option<isize> {
    let button = numbers(parameters.strip_prefix(b"<")?)?.first().copied().flatten()?;
    match button {
        64 => Some(-WHEEL),
        65 => Some(WHEEL),
        _ => None,
    }
}

/// `ESC O FINAL`.
#[must_use]
pub(crate) fn ss3(last: u8) -> Option<KeyEvent> {
    let code = match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        b'P'..=b'S' => KeyCode::F(1 + last - b'P'),
        // The Enter key of the keypad in application mode.
        b'M' => KeyCode::Enter,
        _ => return None,
    };
    Some(code.into())
}

/// The answer to `OSC 11 ; ?`: `11;rgb:RRRR/GGGG/BBBB` with one to four hexadecimal digits each.
#[must_use]
pub(crate) fn background(body: &[u8]) -> Option<Background> {
    let text = std::str::from_utf8(body).ok()?.strip_prefix("11;rgb")?;
    let (_, colors) = text.split_once(':')?;
    let shares: Vec<f64> = colors
        .split('/')
        .take(3)
        .map(|digits| {
            let most = f64::from(16u32.checked_pow(u32::try_from(digits.len()).ok()?)? - 1);
            Some(f64::from(u32::from_str_radix(digits, 16).ok()?) / most)
        })
        .collect::<Option<_>>()?;
    let [red, green, blue] = shares[..] else { return None };
    // Luminance as in ITU-R BT.601; the eye sees green best.
    let luminance = 0.299 * red + 0.587 * green + 0.114 * blue;
    Some(if luminance > 0.5 { Background::Light } else { Background::Dark })
}

/// Numbers between semicolons; `None` for those that are left out. Anything else is no key.
fn numbers(parameters: &[u8]) -> Option<Vec<Option<u32>>> {
    let text = std::str::from_utf8(parameters).ok()?;
    let number = |part: &str| if part.is_empty() { Some(None) } else { part.parse().ok().map(Some) };
    text.split(';').map(number).collect()
}

/// One more than the sum of shift 1, alt 2, control 4, super 8, hyper 16, meta 32.
fn modifiers(number: u32) -> Option<KeyModifiers> {
    let bits = number.checked_sub(1)?;
    let table = [
        (1, KeyModifiers::SHIFT),
        (2, KeyModifiers::ALT),
        (4, KeyModifiers::CONTROL),
        (8, KeyModifiers::SUPER),
        (16, KeyModifiers::HYPER),
        (32, KeyModifiers::META),
    ];
    Some(table.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, modifier)| modifier).collect())
}

fn tilde(number: u32) -> Option<KeyCode> {
    Some(match number {
        // rxvt sends 7 and 8, the Linux console and tmux 1 and 4.
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => function_key(number - 10)?,
        // DEC's numbers, which xterm keeps: they leave out 16 and 22 between the blocks of function keys.
        17..=21 => function_key(number - 11)?,
        23 | 24 => function_key(number - 12)?,
        _ => return None,
    })
}

fn function_key(number: u32) -> Option<KeyCode> {
    Some(KeyCode::F(u8::try_from(number).ok()?))
}

/// A key by its code point, as tmux and kitty report it.
fn unicode(number: u32) -> Option<KeyCode> {
    Some(match number {
        9 => KeyCode::Tab,
        13 => KeyCode::Enter,
        27 => KeyCode::Esc,
        8 | 127 => KeyCode::Backspace,
        _ => KeyCode::Char(char::from_u32(number).filter(|character| !character.is_control())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_names_and_modifiers() {
        let plain = |code: KeyCode| Some(KeyEvent::from(code));
        assert_eq!(csi(b"", b'A'), plain(KeyCode::Up));
        assert_eq!(csi(b"1;3", b'A'), Some(KeyEvent::new(KeyCode::Up, KeyModifiers::ALT)));
        assert_eq!(csi(b"5", b'~'), plain(KeyCode::PageUp));
        assert_eq!(csi(b"15", b'~'), plain(KeyCode::F(5)));
        assert_eq!(csi(b"24", b'~'), plain(KeyCode::F(12)));
        assert_eq!(ss3(b'P'), plain(KeyCode::F(1)));
        assert_eq!(csi(b"83;5", b'u'), Some(KeyEvent::new(KeyCode::Char('S'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn reports_and_unknown_sequences_are_no_keys() {
        for (parameters, last) in [
            (&b"?64;1"[..], b'c'),
            (b"<0;10;5", b'M'),
            (b"12;40", b'R'),
            (b"", b'I'),
            (b"27;5;83", b'~'),
            (b"1:2;3", b'S'),
            (b"201", b'~'),
            (b"4294967296", b'~'),
            (b"1;0", b'A'),
            (b"5 ", b'q'),
        ] {
            assert_eq!(csi(parameters, last), None, "{} {last}", String::from_utf8_lossy(parameters));
        }
        assert_eq!(ss3(b'j'), None);
    }

    #[test]
    fn the_background_is_light_or_dark_whatever_the_number_of_digits() {
        for (body, expected) in [
            ("11;rgb:ffff/ffff/ffff", Some(Background::Light)),
            ("11;rgb:0000/0000/0000", Some(Background::Dark)),
            ("11;rgb:fd/f6/e3", Some(Background::Light)),
            ("11;rgba:0000/2b2b/3636/ffff", Some(Background::Dark)),
            ("11;?", None),
            ("10;rgb:ffff/ffff/ffff", None),
            ("11;rgb:ffff/ffff", None),
            ("11;rgb:/f/f", None),
            ("11;rgb:zz/00/00", None),
        ] {
            assert_eq!(background(body.as_bytes()), expected, "{body}");
        }
    }
}
