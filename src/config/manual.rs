//! `--man`: the manual as plain text, made from the table of flags so that the two cannot differ.
//!
//! The parts before and after the flags are text files beside this one; the man page of `pushsync run` has them as well.
//! It must not know what values mean.

use std::fmt::Write as _;

use super::flags::{Became, FLAGS, Fallback, Flag, FlagKind, Group, PASSWORDS, older, older_variables};

const HEAD: &str = include_str!("manual/head.txt");
const TAIL: &str = include_str!("manual/tail.txt");
/// The default width of a terminal.
const WIDTH: usize = 80;

/// Texts of flags that are too long for `--help`.
const MORE: &[(&str, &str)] = &[
    (
        "root",
        "Symlinks in the path are followed once, at the start. Foreign files below it are never removed. One process at a time owns a root; a second one waits for it.",
    ),
    (
        "link",
        "The target of the link is always relative. An existing link is replaced, whatever its target, and so is an empty folder. A file or a folder with content is kept, and the sync fails.",
    ),
    (
        "depth",
        "It may be changed between runs. The published tree is the same at any depth; only the amount of history in the store and in the records changes.",
    ),
    ("period", "It begins at the end of a sync. At least 10ms. git-sync's default is 10s."),
    (
        "max-failures",
        "The exit code is 1. 0 and 1 both mean the first failure. Any negative number means never, which is the default here but not in git-sync, because the published tree is useful during an outage of the remote.",
    ),
    ("init-period", "At least 10ms."),
    (
        "one-time",
        "For Jobs and init containers. The exit code is 0 if a tree is published, whether this process wrote it or one before it.",
    ),
    (
        "sync-on-signal",
        "Names are taken in any case. A signal during a sync causes one more right after it, however often it was sent. Signals that mean something else (TERM, INT) or cannot be caught are refused.",
    ),
    (
        "stale-worktree-timeout",
        "The time starts when a tree is replaced. With 0, git-sync's default, it is removed at once, and readers that have resolved the link lose their files.",
    ),
    (
        "drain",
        "For containers that get SIGTERM before all proxies and nodes stop sending traffic to the pod, as in k8s/overlays/classic. Syncs, probes and the admin API continue as well; GET / on the hook's port answers 503. The pod's terminationGracePeriodSeconds must be longer.",
    ),
    (
        "http-bind",
        ":8081 is every interface, 127.0.0.1:8081 one. Paths that are not named above are answered like /, as git-sync does.",
    ),
    (
        "verbose",
        "0 logs each update, 1 each step, 2 to 9 everything. Also PUSHSYNC_VERBOSE=2. No level prints a secret.",
    ),
];

/// The whole manual.
#[must_use]
pub(super) fn render() -> String {
    let mut text = HEAD.to_owned();
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n  {}:", group.heading());
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            describe(flag, &mut text);
        }
        // These variables have no flag, so the table does not contain them.
        if group == Group::Access {
            let _ = writeln!(text, "\n    {}", PASSWORDS.map(|name| format!("${name}")).join(", "));
            wrap(
                &mut text,
                12,
                "The password or token for --username. Environment only, since arguments can be read by every process of the machine.",
            );
        }
    }
    text.push_str("\n  Other:\n\n    -h, -?, --help\n            The usual flags; with --help, all flags.\n\n    --man\n            This manual.\n");
    text.push_str("\n    -V, --version\n            The version.\n\nNAMES OF GIT-SYNC V3\n\n");
    wrap(
        &mut text,
        4,
        "Accepted as in git-sync v4; a warning at the start names the replacement. On the command line they beat the new name; as variables they beat git-sync v4's, and nothing else does.",
    );
    text.push('\n');
    for older in older() {
        let variable = older.variable.map(|name| format!(", ${name}")).unwrap_or_default();
        let became = match older.became {
            Became::Renamed { now, .. } => format!("use --{now}"),
            Became::Seconds { now } => format!("a number of seconds; use --{now} with a unit"),
            Became::Password => "use --password-file, or a variable".to_owned(),
            Became::Needless => "has no effect: the URL determines it".to_owned(),
            Became::Gone { instead } => format!("refused unless 0; use --{instead}"),
        };
        let _ = writeln!(text, "    --{}{variable}\n            {became}", older.name);
    }
    text.push('\n');
    let variables: Vec<String> = FLAGS.iter().flat_map(|flag| older_variables(flag.name)).collect();
    wrap(&mut text, 4, &format!("Variables of flags that have kept their names: {}.", variables.join(", ")));
    let _ = write!(text, "\n{TAIL}");
    text
}

/// The parts before and after the flags: headings in the first column, paragraphs that are indented by four.
#[must_use]
pub fn parts() -> (&'static str, &'static str) {
    (HEAD, TAIL)
}

fn describe(flag: &Flag, text: &mut String) {
    let value = match flag.kind {
        FlagKind::Switch => String::new(),
        FlagKind::Level => format!(" [<{}>]", flag.value),
        _ => format!(" <{}>", flag.value),
    };
    let short = flag.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let head = format!("{short}--{}{value}", flag.name);
    let variables: Vec<String> = flag.variables().iter().map(|name| format!("${name}")).collect();
    let _ = writeln!(text, "\n    {head}, {}", variables.join(", "));
    let default = match flag.fallback {
        Fallback::None => String::new(),
        Fallback::Value(value) | Fallback::Rule(value) => format!(" Default: {value}."),
    };
    wrap(text, 12, &format!("{}{default}", self::text(flag)));
}

/// The meaning of a flag, at length.
pub(super) fn text(flag: &Flag) -> String {
    let more = MORE.iter().find(|(name, _)| *name == flag.name).map(|(_, more)| format!(" {more}")).unwrap_or_default();
    // Texts of the table end without a full stop, as is usual in `--help`.
    let stop = if flag.help.ends_with(['.', ':']) { "" } else { "." };
    format!("{}{stop}{more}", flag.help)
}

/// Adds a paragraph, broken between words.
fn wrap(text: &mut String, indent: usize, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length <= WIDTH {
            text.push(' ');
            column += 1;
        } else {
            if column > 0 {
                text.push('\n');
            }
            text.push_str(&" ".repeat(indent));
            column = indent;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_every_variable_and_every_old_name_is_in_it_and_no_line_is_long() {
        let manual = render();
        for flag in FLAGS.iter() {
            assert!(manual.contains(&format!("--{}", flag.name)), "{}", flag.name);
            for variable in flag.variables().into_iter().chain(older_variables(flag.name)) {
                assert!(manual.contains(&variable), "{variable}");
            }
        }
        for older in older() {
            assert!(manual.contains(&format!("\n    --{}", older.name)), "{}", older.name);
        }
        for line in manual.lines() {
            let headline = line.trim_start().starts_with(['-', '$']);
            assert!(line.chars().count() <= WIDTH || headline, "{line}");
            assert!(!line.ends_with(' '), "{line:?}");
        }
        for (name, _) in MORE {
            assert!(FLAGS.iter().any(|flag| flag.name == *name), "{name} is no flag");
        }
    }
}
