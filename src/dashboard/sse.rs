//! A bounded reader of server-sent events: bytes in, frames out.
//!
//! It implements the event-stream format of the HTML standard as far as servers use it. The server is not trusted: a line
//! or an event without an end is an error, not a growing buffer.

/// The longest event that is read. A snapshot with its 50 records is far below.
pub(crate) const MAX_EVENT: usize = 4 << 20;

/// A frame of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Event {
        name: String,
        data: String,
        /// The last `id:` seen on the stream.
        id: Option<String>,
    },
    /// A comment: the heartbeat.
    Comment,
}

/// The stream exceeded [`MAX_EVENT`] without an end of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB", MAX_EVENT >> 20)]
pub(crate) struct TooLong;

/// The state between chunks.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    after_carriage_return: bool,
    started: bool,
}

impl Parser {
    /// Takes the next bytes and returns the frames that they complete.
    ///
    /// # Errors
    /// [`TooLong`]; the stream is useless after that.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<Frame>, TooLong> {
        let mut frames = Vec::new();
        for &byte in chunk {
            let follows_carriage_return = std::mem::replace(&mut self.after_carriage_return, byte == b'\r');
            match byte {
                // A line ends with LF, CR or CRLF, and the two bytes of CRLF may be in different chunks.
                b'\n' if follows_carriage_return => {}
                b'\n' | b'\r' => frames.extend(self.end_of_line()),
                _ if self.line.len() + self.data.len() >= MAX_EVENT => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(frames)
    }

    fn end_of_line(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.started, true) {
            // The stream may begin with one byte order mark, which is no part of the first field.
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            return self.end_of_event();
        }
        if text.starts_with(':') {
            return Some(Frame::Comment);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        // One space only: further ones belong to the value.
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Frame> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        // The standard drops an event without a data line.
        std::mem::take(&mut self.has_data).then(|| Frame::Event { name, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Frame {
        Frame::Event { name: name.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    #[test]
    fn fields_comments_and_all_line_ends_are_understood() {
        let stream = b"\xef\xbb\xbf: hi\r\nevent: state\rid: 7\ndata: {\ndata:  \"a\"}\r\n\r\nretry: 5\n\ndata\n\n";
        let mut parser = Parser::default();
        let frames = parser.push(stream).expect("small");
        assert_eq!(frames, [Frame::Comment, event("state", "{\n \"a\"}", Some("7")), event("", "", Some("7"))]);
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; 1 << 20], b"\n"].concat();
        let outcome = (0..8).try_for_each(|_| parser.push(&line).map(|_| ()));
        assert_eq!(outcome, Err(TooLong));
        assert_eq!(Parser::default().push(&vec![b'y'; MAX_EVENT + 1]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()], 0..200), cut in 0usize..200) {
            let cut = cut.min(bytes.len());
            let whole = Parser::default().push(&bytes).expect("small");
            let mut parser = Parser::default();
            let mut parts = parser.push(&bytes[..cut]).expect("small");
            parts.extend(parser.push(&bytes[cut..]).expect("small"));
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn any_event_is_read_as_it_was_written(name in "[a-z_]{1,12}", data in "[^\r\n\u{feff}]{0,60}") {
            let text = format!("event: {name}\ndata: {data}\n\n");
            prop_assert_eq!(Parser::default().push(text.as_bytes()).expect("small"), vec![event(&name, &data, None)]);
        }
    }
}
