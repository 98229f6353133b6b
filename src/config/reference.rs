//! Generates docs/configuration.md from the table of flags.

use std::fmt::Write as _;

use super::flags::{Became, FLAGS, Fallback, Flag, FlagKind, Group, Older, older, older_variables};

const HEAD: &str = "\
# Configuration

<!-- Made from the table in src/config/flags.rs. After a change there: UPDATE=1 cargo test --locked --test dashboard cli::reference -->

`pushsync [run] --repo URL --root DIR [flags]`. Every flag has an environment variable; where kubernetes/git-sync v4 has the same
flag, its variable is read as well (ours wins), and `GIT_REPO` stands for `--repo`. Flags beat variables. An empty value counts as
not given.

* A switch is written `--flag`, `--flag=true` or `--flag=false`; its variable takes `true`, `false`, `1` or `0`.
* A duration is written `60s`, `1m30s` or `10ms`.
* An address is written `:8080` (every interface), `127.0.0.1:8080` or `[::1]:8080`.
* A repeatable flag is given once for each value. Its variable holds all of them, separated by commas (`PUSHSYNC_...`) or, as
  git-sync has it, by colons (`GITSYNC_...`). `--credential` and `--git-config` have lists of their own.
* A password has no flag, because every process of the machine can read arguments: use `--password-file`, or the variable
  `PUSHSYNC_PASSWORD` (or `GITSYNC_PASSWORD`). git-sync's old `--password` is taken, and warned of.
* A variable that begins with `PUSHSYNC_`, `GITSYNC_` or `GIT_SYNC_` and stands for nothing here is warned of at the start.
* `pushsync --help` and `pushsync --man` print the same at length, `pushsync -h` the usual flags, and `pushsync man DIR` writes man pages. [from-git-sync.md](from-git-sync.md) says what differs from git-sync.

The exit code is 2 for an unknown flag and 1 for any other mistake. All mistakes are listed at once, before a port is opened or a
file is written.
";

const OLDER: &str = "
## Names of git-sync v3

Accepted as in git-sync v4; a warning at the start names the replacement. On the command line they beat the new name; as
variables they beat git-sync v4's and nothing else.

| flag | variable | now |
| --- | --- | --- |
";

/// Returns the whole file.
#[must_use]
pub fn render() -> String {
    let mut text = HEAD.to_owned();
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "\n## {}\n\n| flag | variables | default | |\n| --- | --- | --- | --- |", group.heading());
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let _ = writeln!(text, "{}", row(flag));
        }
    }
    text.push_str(OLDER);
    for older in older() {
        let _ = writeln!(text, "{}", older_row(older));
    }
    for flag in FLAGS.iter() {
        let names: Vec<String> = older_variables(flag.name).iter().map(|name| format!("`{name}`")).collect();
        // git-sync v3 did not have the others, or they are in the rows above.
        if !names.is_empty() {
            let _ = writeln!(text, "| | {} | `--{}` |", names.join(" "), flag.name);
        }
    }
    text
}

fn older_row(older: &Older) -> String {
    let now = match older.became {
        Became::Renamed { now, .. } => format!("`--{now}`"),
        Became::Seconds { now } => format!("`--{now}`; a number of seconds"),
        Became::Password => "`--password-file`, or a variable".to_owned(),
        Became::Needless => "nothing: the URL determines it".to_owned(),
        Became::Gone { instead } => format!("`--{instead}`; refused unless 0"),
    };
    let variable = older.variable.map(|name| format!("`{name}`")).unwrap_or_default();
    format!("| `--{}` | {variable} | {now} |", older.name)
}

fn row(flag: &Flag) -> String {
    let value = match flag.kind {
        FlagKind::Switch => String::new(),
        FlagKind::One | FlagKind::Many | FlagKind::Whole | FlagKind::Level => format!(" {}", flag.value),
    };
    let short = flag.short.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let variables: Vec<String> = flag.variables().iter().map(|name| format!("`{name}`")).collect();
    let default = match flag.fallback {
        Fallback::None => String::new(),
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Rule(text) => text.to_owned(),
    };
    // Markdown takes `<url>` for a tag of HTML and shows nothing.
    let help = flag.help.replace('<', r"\<");
    format!("| {short}`--{}{value}` | {} | {default} | {help} |", flag.name, variables.join(" "))
}
