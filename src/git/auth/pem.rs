//! The layout of a PEM private key, and the common mistakes that break it.
//!
//! Keys that pass through variables, templates and YAML lose their line breaks or gain indentation. Libraries then
//! report only that there is no key. It must not know what a key is for.

const ONE_LINE: &str = "its line breaks are gone: the whole key is on one line; mount the file as it was made (`kubectl create secret --from-file`)";
pub(crate) const NEEDS_A_PASSPHRASE: &str =
    "it is encrypted with a passphrase, which cannot be entered here; give a key without one";
const ESCAPED: &str =
    "its line breaks are written as `\\n`; mount the file as it was made (`kubectl create secret --from-file`)";
const INDENTED: &str = "its lines are indented; each has to begin in the first column";

/// Checks the lines of a text that contains a private key. The error describes the mistake.
pub(crate) fn check_layout(text: &str) -> Result<(), &'static str> {
    let is_mark = |line: &&str| line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    let Some(line) = text.lines().find(is_mark) else { return Ok(()) };
    let line = line.trim_end_matches('\r');
    if line.contains("\\n") {
        return Err(ESCAPED);
    }
    let mark = line.trim();
    if !mark.starts_with("-----BEGIN ") || !mark.ends_with("PRIVATE KEY-----") || mark.contains("-----END ") {
        return Err(ONE_LINE);
    }
    let indented = |line: &str| line.starts_with([' ', '\t']);
    let key = text.lines().skip_while(|line| !line.contains("-----BEGIN "));
    let (mut lines, mut last) = (0, "");
    for line in key.take_while(|line| !last_was_end(&mut last, line)) {
        lines += 1;
        // Continuation lines of PEM headers begin with a blank.
        if indented(line) && (line.contains("-----") || lines > 2 && !line.contains(',')) {
            return Err(INDENTED);
        }
    }
    Ok(())
}

/// Refuses a key that is encrypted in one of the two forms: the header of RFC 1421, and PKCS #8.
pub(crate) fn check_plain(text: &str) -> Result<(), &'static str> {
    let is_encrypted = text.contains("Proc-Type: 4,ENCRYPTED") || text.contains("BEGIN ENCRYPTED PRIVATE KEY");
    if is_encrypted { Err(NEEDS_A_PASSPHRASE) } else { Ok(()) }
}

/// Returns true for the line after the END line.
fn last_was_end<'a>(last: &mut &'a str, line: &'a str) -> bool {
    let ended = last.contains("-----END ");
    *last = line;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_on_one_line_escaped_or_indented_are_reported() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
        assert_eq!(check_layout(key), Ok(()));
        assert_eq!(check_layout(&key.replace('\n', "\r\n")), Ok(()));
        assert_eq!(check_layout(&key.replace('\n', " ")), Err(ONE_LINE));
        assert_eq!(check_layout(&key.replace('\n', "")), Err(ONE_LINE));
        assert_eq!(check_layout(&key.replace('\n', "\\n")), Err(ESCAPED));
        let indented: Vec<String> = key.lines().map(|line| format!("    {line}\n")).collect();
        assert_eq!(check_layout(&indented.concat()), Err(INDENTED));
        assert_eq!(check_layout(&key.replace("\nb3", "\n  b3").replace("\nAA", "\n  AA")), Err(INDENTED));
        assert_eq!(check_layout("no key at all"), Ok(()));
    }
}
