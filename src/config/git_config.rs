//! The syntax of `--git-config`: `key:value,"quoted key":"quoted value"`, as in git-sync.
//!
//! Pure functions. A key with a colon must be quoted; a comma in a value must be quoted or written `\,`. The module
//! knows no keys.

/// A key of git's configuration and its value.
pub(super) type Pair = (String, String);

/// Parses a list. Errors do not repeat values, which may be secrets.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, String> {
    let mut letters = text.chars().peekable();
    let mut pairs = Vec::new();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        // A comma at the end adds no entry.
        if letters.peek().is_none() {
            return Ok(pairs);
        }
        // Messages count the entries, because the text of each may be a secret.
        let number = pairs.len() + 1;
        let wrong = |what: &str| format!("entry {number}: {what}");
        let key = if letters.next_if_eq(&'"').is_some() {
            let key = quoted(&mut letters).map_err(wrong)?;
            if letters.next() != Some(':') {
                return Err(wrong("no colon after the quoted key"));
            }
            key
        } else {
            let mut key = String::new();
            loop {
                match letters.next() {
                    Some(':') => break key,
                    // Without quotes it would not be clear whether it begins an escape.
                    Some('\\') => return Err(wrong("a key with a backslash must be quoted")),
                    Some(letter) => key.push(letter),
                    None => return Err(wrong("no colon between key and value")),
                }
            }
        };
        if key.trim().is_empty() {
            return Err(wrong("no key"));
        }
        let value = if letters.next_if_eq(&'"').is_some() {
            let value = quoted(&mut letters).map_err(wrong)?;
            if !matches!(letters.next(), Some(',') | None) {
                return Err(wrong("unexpected text after the quoted value"));
            }
            value
        } else {
            unquoted(&mut letters).map_err(wrong)?
        };
        pairs.push((key.trim().to_owned(), value));
    }
}

/// Reads up to the closing quote.
fn quoted(letters: &mut impl Iterator<Item = char>) -> Result<String, &'static str> {
    let mut text = String::new();
    loop {
        match letters.next() {
            Some('"') => return Ok(text),
            Some('\\') => text.push(escaped(letters.next())?),
            Some(letter) => text.push(letter),
            None => return Err("a quote that is not closed"),
        }
    }
}

/// Reads up to the next comma.
fn unquoted(letters: &mut impl Iterator<Item = char>) -> Result<String, &'static str> {
    let mut text = String::new();
    loop {
        match letters.next() {
            Some(',') | None => return Ok(text),
            Some('\\') => text.push(escaped(letters.next())?),
            Some(letter) => text.push(letter),
        }
    }
}

fn escaped(letter: Option<char>) -> Result<char, &'static str> {
    match letter {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some(letter @ ('"' | ',' | '\\')) => Ok(letter),
        _ => Err(r#"a backslash must be followed by n, t, ", a comma or a backslash"#),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_quoted_or_not() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("k:v", &[("k", "v")]),
            ("k:v,", &[("k", "v")]),
            ("k1:v1,k2:v2", &[("k1", "v1"), ("k2", "v2")]),
            ("k1:v1, k2:v2", &[("k1", "v1"), ("k2", "v2")]),
            (r#""k:1":"v,1",k2:v\,2"#, &[("k:1", "v,1"), ("k2", "v,2")]),
            (r#"k:"a\"b\\c\td\n""#, &[("k", "a\"b\\c\td\n")]),
            ("k:", &[("k", "")]),
            ("k:a:b", &[("k", "a:b")]),
            (
                r#""url.https://git.test/.insteadOf":git@git.test:"#,
                &[("url.https://git.test/.insteadOf", "git@git.test:")],
            ),
            ("http.extraHeader:X-One: two", &[("http.extraHeader", "X-One: two")]),
        ];
        for (text, expected) in cases {
            let parsed = parse(text).unwrap();
            let parsed: Vec<(&str, &str)> = parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(&parsed, expected, "{text}");
        }
    }

    #[test]
    fn errors_do_not_repeat_the_value() {
        for (text, expected) in [
            ("k", "entry 1: no colon"),
            ("a:b,k", "entry 2: no colon"),
            (":hidden", "entry 1: no key"),
            (r#""k":"hidden"#, "a quote that is not closed"),
            (r#""k"hidden:v"#, "no colon after the quoted key"),
            (r#"k:"v"hidden"#, "unexpected text after the quoted value"),
            (r"k:hidden\x", "a backslash must be followed"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.contains(expected) && !wrong.contains("hidden"), "{text}: {wrong}");
        }
    }
}
