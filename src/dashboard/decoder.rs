//! Terminal input, read byte by byte: keys, pasted text and the terminal's answers.
//!
//! A terminal sends keys as letters and as escape sequences that contain letters. A sequence may arrive in pieces, and
//! may be one that this program does not know: it is completed or dropped, and no part of it becomes a letter.
//! Pure: bytes and pauses go in, nothing is read and no clock is asked. It knows no screens and no actions.

use std::mem;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sequence;
use super::theme::Background;

/// How long an escape byte waits for the rest of a sequence before it is the Escape key.
pub(crate) const ESCAPE_WAIT: Duration = Duration::from_millis(50);
/// A string (an answer of the terminal) that pauses for so long is abandoned. Alt-P and Alt-] begin like one.
///
/// For as long after an Escape key, a byte that introduces a sequence (`[`, `O`, `]`, `P`, ...) is still the rest of one
/// that arrived late. That sequence is dropped, because the Escape key has been acted on. A person who presses Escape and
/// then `P` within this time has to press `P` again.
pub(crate) const STRING_SILENCE: Duration = Duration::from_millis(500);
/// A paste that pauses for so long has lost its end and is abandoned.
pub(crate) const PASTE_SILENCE: Duration = Duration::from_secs(5);
/// The beginning of the answer to the question about the background.
const ANSWER: &[u8] = b"11;";
/// Bytes that are kept of one paste.
const MAX_PASTE: usize = 64 * 1024;
/// Bytes that are kept of one sequence and of one string; the longest that is understood is far shorter.
const MAX_SEQUENCE: usize = 64;
const PASTE_BEGIN: &[u8] = b"200";
const PASTE_END: &[u8] = b"\x1b[201~";

/// One input from the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Key(KeyEvent),
    /// Text between the marks of a bracketed paste, unchanged.
    Paste(String),
    /// The answer to the question about the background color.
    Background(Background),
    /// The mouse wheel, in rows; up is negative.
    Wheel(isize),
}

/// The state inside a sequence.
#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After so many escape bytes.
    Escape(usize),
    /// After `ESC [`. A `dropped` sequence is read to its end and has no meaning.
    Csi {
        parameters: Vec<u8>,
        dropped: bool,
    },
    /// After `ESC [ [`: one more byte names a function key of the Linux console.
    Console,
    /// After `ESC [ M`: so many bytes of a mouse report follow.
    Mouse(u8),
    /// After `ESC O`.
    Ss3 {
        dropped: bool,
    },
    /// After `ESC ]`, `ESC P` and the like, up to BEL or `ESC \`.
    Text {
        body: Vec<u8>,
        escape: bool,
    },
    Paste(Vec<u8>),
    /// Inside a character of several bytes.
    Utf8 {
        bytes: Vec<u8>,
        length: usize,
        alt: bool,
    },
}

/// Turns bytes into [`Input`].
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// The Escape key was reported, and nothing came since.
    escaped: bool,
}

impl Decoder {
    /// Takes the bytes of one read.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Input> {
        let mut found = Vec::new();
        for byte in bytes {
            self.step(*byte, &mut found);
        }
        found
    }

    /// Nothing came for this long. Reports the Escape key once it cannot be the beginning of a sequence any more.
    pub(crate) fn quiet(&mut self, lasted: Duration) -> Vec<Input> {
        self.escaped &= lasted < STRING_SILENCE;
        let limit = match self.state {
            State::Escape(_) => ESCAPE_WAIT,
            // A person does not type the beginning of an answer, and a slow line may bring the rest of it much later.
            State::Text { ref body, .. } if body.starts_with(ANSWER) => PASTE_SILENCE,
            State::Text { .. } => STRING_SILENCE,
            State::Paste(_) => PASTE_SILENCE,
            _ => return Vec::new(),
        };
        if lasted < limit {
            return Vec::new();
        }
        match mem::replace(&mut self.state, State::Ground) {
            State::Escape(count) => {
                self.escaped = true;
                vec![Input::Key(KeyCode::Esc.into()); count]
            }
            _ => Vec::new(),
        }
    }

    fn step(&mut self, byte: u8, found: &mut Vec<Input>) {
        match mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(byte, false, found),
            State::Escape(count) => self.after_escape(byte, count, found),
            State::Csi { parameters, dropped } => self.csi(byte, parameters, dropped, found),
            State::Console => {
                if let b'A'..=b'E' = byte {
                    found.push(Input::Key(KeyCode::F(1 + byte - b'A').into()));
                } else if byte < b' ' {
                    self.ground(byte, false, found);
                }
            }
            State::Mouse(left) if left > 1 => self.state = State::Mouse(left - 1),
            State::Mouse(_) => {}
            State::Ss3 { dropped } => self.ss3(byte, dropped, found),
            State::Text { body, escape } => self.text(byte, body, escape, found),
            State::Paste(body) => self.paste(byte, body, found),
            State::Utf8 { bytes, length, alt } => self.utf8(byte, bytes, length, alt, found),
        }
    }

    fn ground(&mut self, byte: u8, alt: bool, found: &mut Vec<Input>) {
        let key = |code, control| {
            let mut modifiers = if control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            modifiers.set(KeyModifiers::ALT, alt);
            Input::Key(KeyEvent::new(code, modifiers))
        };
        let late = !alt && self.escaped;
        match byte {
            0x1b => self.state = State::Escape(1),
            b'[' if late => self.state = State::Csi { parameters: Vec::new(), dropped: true },
            b'O' if late => self.state = State::Ss3 { dropped: true },
            b']' | b'P' | b'X' | b'^' | b'_' if late => {
                self.state = State::Text { body: Vec::new(), escape: false };
            }
            b'\r' => found.push(key(KeyCode::Enter, false)),
            b'\t' => found.push(key(KeyCode::Tab, false)),
            0x08 | 0x7f => found.push(key(KeyCode::Backspace, false)),
            0 => found.push(key(KeyCode::Char(' '), true)),
            0x01..=0x1a => found.push(key(KeyCode::Char(char::from(byte - 1 + b'a')), true)),
            0x1c..=0x1f => found.push(key(KeyCode::Char(char::from(byte - 0x1c + b'4')), true)),
            b' '..=b'~' => found.push(key(KeyCode::Char(char::from(byte)), false)),
            // The same introducers as single bytes, which terminals may be told to send.
            0x9b => self.state = State::Csi { parameters: Vec::new(), dropped: false },
            0x8f => self.state = State::Ss3 { dropped: false },
            0x90 | 0x98 | 0x9d..=0x9f => self.state = State::Text { body: Vec::new(), escape: false },
            0xc2..=0xdf => self.state = State::Utf8 { bytes: vec![byte], length: 2, alt },
            0xe0..=0xef => self.state = State::Utf8 { bytes: vec![byte], length: 3, alt },
            0xf0..=0xf4 => self.state = State::Utf8 { bytes: vec![byte], length: 4, alt },
            // No character begins with it.
            0x80..=0xff => {}
        }
        if byte != 0x1b {
            self.escaped = false;
        }
    }

    fn after_escape(&mut self, byte: u8, count: usize, found: &mut Vec<Input>) {
        match byte {
            0x1b => self.state = State::Escape(count + 1),
            // A second escape byte stands for Alt, and no action is bound to a key with Alt.
            b'[' => self.state = State::Csi { parameters: Vec::new(), dropped: count > 1 },
            b'O' => self.state = State::Ss3 { dropped: count > 1 },
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Text { body: Vec::new(), escape: false },
            byte => self.ground(byte, true, found),
        }
    }

    fn csi(&mut self, byte: u8, mut parameters: Vec<u8>, dropped: bool, found: &mut Vec<Input>) {
        match byte {
            b' '..=b'?' => {
                if parameters.len() < MAX_SEQUENCE {
                    parameters.push(byte);
                }
                self.state = State::Csi { parameters, dropped };
            }
            b'[' if parameters.is_empty() => self.state = State::Console,
            b'M' if parameters.is_empty() => self.state = State::Mouse(3),
            b'~' if parameters == PASTE_BEGIN => self.state = State::Paste(Vec::new()),
            b'M' if !dropped && parameters.starts_with(b"<") => {
                found.extend(sequence::wheel(&parameters).map(Input::Wheel));
            }
            b'@'..=b'~' => found.extend(sequence::csi(&parameters, byte).filter(|_| !dropped).map(Input::Key)),
            // A control character ends a sequence and counts by itself, so that Ctrl-C always works.
            byte => self.ground(byte, false, found),
        }
    }

    fn ss3(&mut self, byte: u8, dropped: bool, found: &mut Vec<Input>) {
        match byte {
            // Old terminals put a modifier there.
            b'0'..=b'9' | b';' => self.state = State::Ss3 { dropped },
            b' '..=b'~' => found.extend(sequence::ss3(byte).filter(|_| !dropped).map(Input::Key)),
            byte => self.ground(byte, false, found),
        }
    }

    fn text(&mut self, byte: u8, mut body: Vec<u8>, escape: bool, found: &mut Vec<Input>) {
        match (byte, escape) {
            (0x07, false) | (b'\\', true) => {
                found.extend(sequence::background(&body).map(Input::Background));
            }
            (0x1b, false) => self.state = State::Text { body, escape: true },
            (byte, true) => self.after_escape(byte, 1, found),
            (0x00..=0x1f, false) => self.ground(byte, false, found),
            (byte, false) => {
                if body.len() < MAX_SEQUENCE {
                    body.push(byte);
                }
                self.state = State::Text { body, escape };
            }
        }
    }

    fn paste(&mut self, byte: u8, mut body: Vec<u8>, found: &mut Vec<Input>) {
        body.push(byte);
        if body.ends_with(PASTE_END) {
            body.truncate((body.len() - PASTE_END.len()).min(MAX_PASTE));
            found.push(Input::Paste(String::from_utf8_lossy(&body).into_owned()));
            return;
        }
        // Bytes beyond the limit are read only to find the end.
        if body.len() > MAX_PASTE + 2 * PASTE_END.len() {
            body.remove(MAX_PASTE);
        }
        self.state = State::Paste(body);
    }

    fn utf8(&mut self, byte: u8, mut bytes: Vec<u8>, length: usize, alt: bool, found: &mut Vec<Input>) {
        if !(0x80..=0xbf).contains(&byte) {
            // The character was cut off; what follows stands for itself.
            return self.ground(byte, false, found);
        }
        bytes.push(byte);
        if bytes.len() < length {
            self.state = State::Utf8 { bytes, length, alt };
            return;
        }
        let character = std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next());
        if let Some(character) = character.filter(|character| !character.is_control()) {
            let modifiers = if alt { KeyModifiers::ALT } else { KeyModifiers::NONE };
            found.push(Input::Key(KeyEvent::new(KeyCode::Char(character), modifiers)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the pieces with a pause of so many milliseconds after each, and waits for a last Escape key.
    fn decode(pieces: &[&[u8]], pause: u64) -> Vec<Input> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            found.extend(decoder.push(piece));
            let limits = [ESCAPE_WAIT, STRING_SILENCE, PASTE_SILENCE];
            for limit in limits.into_iter().filter(|limit| *limit <= Duration::from_millis(pause)) {
                found.extend(decoder.quiet(limit));
            }
        }
        found.extend(decoder.quiet(ESCAPE_WAIT));
        found
    }

    fn keys(found: &[Input]) -> Vec<KeyEvent> {
        found.iter().filter_map(|input| if let Input::Key(key) = input { Some(*key) } else { None }).collect()
    }

    /// Sequences as terminals send them, known and unknown.
    const SEQUENCES: &[&[u8]] = &[
        b"\x1b[A",
        b"\x1b[B",
        b"\x1bOA",
        b"\x1bOP",
        b"\x1bOS",
        b"\x1b[P",
        b"\x1b[S",
        b"\x1b[1;3A",
        b"\x1b[1;3B",
        b"\x1b[1;2P",
        b"\x1b[15~",
        b"\x1b[24;5~",
        b"\x1b[[A",
        b"\x1b[[B",
        b"\x1b[Z",
        b"\x1b[I",
        b"\x1b[O",
        b"\x1b[M !!",
        b"\x1b[MSPA",
        b"\x1b[<0;33;7M",
        b"\x1b[<0;33;7m",
        b"\x1b[?64;1;2c",
        b"\x1b[8;24;80t",
        b"\x1b[?1;0$y",
        b"\x1b[83u",
        b"\x1b[27;5;83~",
        b"\x1b[1;5S",
        b"\x1bO2P",
        b"\x1bO5A",
        b"\x1bOj",
        b"\x1b\x1b[A",
        b"\x1b\x1b[B",
        b"\x1b\x1bOA",
        b"\x1bP1$r0 q\x1b\\",
        b"\x1b]11;rgb:ffff/ffff/ffff\x07",
        b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\",
        b"\x1b]52;c;UEF5\x07",
        b"\x1b[200~PAy\nq\x1b[201~",
        b"\x9bA",
        b"\x8fS",
        b"\x1b[ABC" as &[u8],
    ];

    #[test]
    fn no_sequence_becomes_a_letter_wherever_it_is_split() {
        for sequence in &SEQUENCES[..SEQUENCES.len() - 1] {
            for split in 1..sequence.len() {
                for gap in [0, 5, 20, 45, 80, 200, 450] {
                    let found = keys(&decode(&[&sequence[..split], &sequence[split..]], gap));
                    let letters = found.iter().filter(|key| matches!(key.code, KeyCode::Char(_)));
                    // One key is a character by its code: `ESC [ 83 u` is the key S, pressed and reported as such.
                    let meant = usize::from(sequence.ends_with(b"83u"));
                    let name = String::from_utf8_lossy(sequence).escape_debug().to_string();
                    assert!(letters.count() <= meant, "{name} at {split}, {gap} ms: {found:?}");
                }
            }
            let single: Vec<&[u8]> = sequence.chunks(1).collect();
            let found = keys(&decode(&single, 30));
            let letters = found.iter().filter(|key| matches!(key.code, KeyCode::Char(_))).count();
            assert!(letters <= usize::from(sequence.ends_with(b"83u")), "{sequence:?}: {found:?}");
        }
    }

    #[test]
    fn pieces_within_the_wait_mean_what_the_whole_means() {
        for sequence in SEQUENCES {
            let whole = decode(&[sequence], 0);
            for split in 1..sequence.len() {
                assert_eq!(decode(&[&sequence[..split], &sequence[split..]], 40), whole, "{sequence:?} at {split}");
            }
        }
        assert_eq!(keys(&decode(&[b"\x1b[ABC"], 0)).len(), 3, "what follows a sequence stands for itself");
    }

    #[test]
    fn escape_is_a_key_after_a_wait_and_alt_is_a_modifier() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"\x1b"), []);
        assert_eq!(decoder.quiet(Duration::from_millis(40)), []);
        assert_eq!(decoder.quiet(ESCAPE_WAIT), [Input::Key(KeyCode::Esc.into())]);
        assert_eq!(decoder.quiet(ESCAPE_WAIT), []);
        assert_eq!(decode(&[b"\x1b\x1b"], 0).len(), 2);
        let alt = |code| Input::Key(KeyEvent::new(code, KeyModifiers::ALT));
        assert_eq!(decode(&[b"\x1bS"], 0), [alt(KeyCode::Char('S'))]);
        assert_eq!(decode(&["\u{1b}é".as_bytes()], 0), [alt(KeyCode::Char('é'))]);
        // Long after the Escape key, `[` is a letter again.
        assert_eq!(keys(&decode(&[b"\x1b", b"[j"], 600)).len(), 3);
    }

    #[test]
    fn characters_of_several_bytes_may_arrive_in_pieces_and_broken_ones_are_dropped() {
        let text = "é你🎉";
        for split in 1..text.len() {
            let found = keys(&decode(&[&text.as_bytes()[..split], &text.as_bytes()[split..]], 30));
            let typed: String = found.iter().filter_map(|key| key.code.as_char()).collect();
            assert_eq!(typed, text);
        }
        assert_eq!(keys(&decode(&[b"\xe4\xbdj\xff\xc3\x1b[B"], 0)).len(), 2);
    }

    #[test]
    fn a_paste_is_one_piece_of_text_whatever_is_in_it() {
        let paste = b"\x1b[200~Python fix\nPAy\x1b[31m\x03\x1b[201~j";
        for split in 1..paste.len() {
            let found = decode(&[&paste[..split], &paste[split..]], 45);
            assert_eq!(found[0], Input::Paste("Python fix\nPAy\u{1b}[31m\u{3}".to_owned()), "{split}");
            assert_eq!(keys(&found), [KeyEvent::from(KeyCode::Char('j'))]);
        }
        let mut long = b"\x1b[200~".to_vec();
        long.extend(std::iter::repeat_n(b'P', 300_000));
        long.extend_from_slice(b"\x1b[201~q");
        let found = decode(&long.chunks(1024).collect::<Vec<_>>(), 1);
        assert_eq!(found, [Input::Paste("P".repeat(MAX_PASTE)), Input::Key(KeyCode::Char('q').into())]);
        // A paste that lost its end does not take the keyboard away.
        assert_eq!(decode(&[b"\x1b[200~PAy", b"j"], 5001), [Input::Key(KeyCode::Char('j').into())]);
    }

    #[test]
    fn control_characters_always_count() {
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for begun in ["\u{1b}[", "\u{1b}[1;", "\u{1b}O", "\u{1b}P12", "\u{1b}]11;", "\u{1b}[["] {
            let found = keys(&decode(&[begun.as_bytes(), b"\x03"], 10));
            assert_eq!(found, [quit], "{begun:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_keys(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..9) {
            let whole = decode(&[&bytes], 0);
            let pieces: Vec<&[u8]> = bytes.chunks(step).collect();
            prop_assert_eq!(decode(&pieces, 0), whole.clone());
            for key in keys(&whole) {
                prop_assert!(!key.code.as_char().is_some_and(char::is_control));
            }
        }
    }
}
