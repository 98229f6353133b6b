//! Splits shell text into its commands: enough of the grammar for the documents, and no more.
//!
//! It must not know what any command means.

/// Stands for the output of a command in a word. It is a commit's hash, which most of them print.
pub const OUTPUT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A command without its redirections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub words: Vec<String>,
    /// The text of its here-document.
    pub input: Option<String>,
}

/// The commands of a text, those inside of other commands included.
pub fn calls(text: &str) -> Vec<Call> {
    let reader = Reader::of(text);
    let words = ["until", "while", "if", "do", "then", "else", "done", "fi", "{", "}", "!"];
    let mut found = reader.found;
    for call in &mut found {
        let assigned = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        };
        let skipped = call.words.iter().take_while(|word| words.contains(&word.as_str()) || assigned(word)).count();
        call.words.drain(..skipped);
    }
    found.retain(|call| !call.words.is_empty());
    found
}

/// The comments of a text, from the `#` to the end of the line.
pub fn comments(text: &str) -> Vec<String> {
    Reader::of(text).comments
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    found: Vec<Call>,
    /// Here-documents that begin after this line: the index of their command, and the line that ends them.
    awaited: Vec<(usize, String)>,
    comments: Vec<String>,
}

impl Reader {
    /// Has read the whole text.
    fn of(text: &str) -> Self {
        let rest = text.chars().collect();
        let mut reader = Self { rest, at: 0, found: Vec::new(), awaited: Vec::new(), comments: Vec::new() };
        reader.list(None);
        reader
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.rest.get(self.at - 1).copied()
    }

    /// Reads commands until `end`, or to the end of the text.
    fn list(&mut self, end: Option<char>) {
        let mut call = self.open();
        loop {
            let Some(next) = self.peek(0) else { return };
            if Some(next) == end {
                self.at += 1;
                return;
            }
            match next {
                '\n' => {
                    self.at += 1;
                    self.here_documents();
                    call = self.open();
                }
                ';' | '&' | '|' => {
                    self.at += 1;
                    call = self.open();
                }
                '(' => {
                    self.at += 1;
                    self.list(Some(')'));
                    call = self.open();
                }
                ' ' | '\t' => self.at += 1,
                '\\' if self.peek(1) == Some('\n') => self.at += 2,
                '#' => {
                    let comment: String = self.rest[self.at..].iter().take_while(|c| **c != '\n').collect();
                    self.at += comment.chars().count();
                    self.comments.push(comment);
                }
                '>' | '<' if self.peek(1) != Some('(') => self.redirection(call),
                _ => {
                    let word = self.word();
                    let is_number = word.chars().all(|c| c.is_ascii_digit());
                    // The number of a descriptor belongs to the redirection.
                    if !(is_number && matches!(self.peek(0), Some('>' | '<'))) {
                        self.found[call].words.push(word);
                    }
                }
            }
        }
    }

    /// A new command; its index stays the same while commands inside of it are read.
    fn open(&mut self) -> usize {
        self.found.push(Call::default());
        self.found.len() - 1
    }

    fn redirection(&mut self, call: usize) {
        let is_here = self.peek(0) == Some('<') && self.peek(1) == Some('<');
        while matches!(self.peek(0), Some('>' | '<' | '&' | '-')) {
            self.at += 1;
        }
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        let target = self.word();
        if is_here {
            self.awaited.push((call, target));
        }
    }

    fn here_documents(&mut self) {
        for (call, end) in std::mem::take(&mut self.awaited) {
            let text: String = self.rest[self.at..].iter().collect();
            let lines = text.lines().take_while(|line| *line != end);
            let input: String = lines.flat_map(|line| [line, "\n"]).collect();
            self.at += input.chars().count() + end.chars().count();
            self.found[call].input = Some(input);
        }
    }

    fn word(&mut self) -> String {
        let (mut word, mut quote) = (String::new(), None);
        while let Some(next) = self.peek(0) {
            match (next, quote) {
                ('\'' | '"', None) => quote = Some(next),
                ('\'' | '"', Some(open)) if open == next => quote = None,
                ('\\', None | Some('"')) => {
                    self.at += 1;
                    word.extend(self.peek(0).filter(|c| *c != '\n'));
                }
                ('$' | '<', None | Some('"')) if self.peek(1) == Some('(') && (next == '$' || quote.is_none()) => {
                    self.at += 2;
                    self.list(Some(')'));
                    word.push_str(OUTPUT);
                    continue;
                }
                (' ' | '\t' | '\n' | ';' | '&' | '|' | '>' | '<' | '(' | ')', None) => break,
                _ => word.push(next),
            }
            self.next();
        }
        word
    }
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let text = "a --x \"$(b 'c d')\" > f 2>&1 &   # e\nuntil g; do h; done | X=1 i \\\n  j\n(k; l <<'END'\nm: n\nEND\n)\nf() { o \"$1\"; }\np <(q)\n";
    let found: Vec<Vec<String>> = calls(text).into_iter().map(|call| call.words).collect();
    let expected: [&[&str]; 11] = [
        &["a", "--x", OUTPUT],
        &["b", "c d"],
        &["g"],
        &["h"],
        &["i", "j"],
        &["k"],
        &["l"],
        &["f"],
        &["o", "$1"],
        &["p", OUTPUT],
        &["q"],
    ];
    assert_eq!(found, expected);
    let input = calls(text).into_iter().find_map(|call| call.input);
    assert_eq!(input.as_deref(), Some("m: n\n"));
}

#[test]
fn comments_are_told_from_other_signs() {
    let text = "# a\nb c#d \"# e\" '# f' $# # g\n(h) # i\ncat <<'END'\n# j\nEND\nk \"$(l # m\n)\"";
    assert_eq!(comments(text), ["# a", "# g", "# i", "# m"]);
}
