//! docs/configuration.md, made from the table of flags so that the two cannot differ.

use std::fmt::Write as _;

use super::flags::{FLAGS, Fallback, Flag, Group, Kind};

const HEAD: &str = "\
# Configuration

<!-- Made from the table in src/config/flags.rs. After a change there: UPDATE=1 cargo test --locked --test tests cli::reference -->

`pushsync [run] --repo URL --root DIR [flags]`. Every flag has an environment variable; where kubernetes/git-sync v4 has the same
flag, its variable is read as well (ours wins), and `GIT_REPO` stands for `--repo`. Flags beat variables. An empty value counts as
not given.

* A switch is written `--flag`, `--flag=true` or `--flag=false`; its variable takes `true`, `false`, `1` or `0`.
* A duration is written `60s`, `1m30s` or `10ms`.
* An address is written `:8080` (every interface), `127.0.0.1:8080` or `[::1]:8080`.
* A repeatable flag is given once for each value. Its variable holds all of them, separated by commas (`PUSHSYNC_...`) or, as
  git-sync has it, by colons (`GITSYNC_...`).
* A password has no flag, because every process of the machine can read arguments: use `--password-file`, or the variable
  `PUSHSYNC_PASSWORD` (or `GITSYNC_PASSWORD`).
* A variable that begins with `PUSHSYNC_` or `GITSYNC_` and stands for nothing here is warned of at the start.

The exit code is 2 for an unknown flag and 1 for any other mistake. All mistakes are listed at once, before a port is opened or a
file is written.
";

/// The whole file.
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
    text
}

fn row(flag: &Flag) -> String {
    let value = match flag.kind {
        Kind::Switch => String::new(),
        Kind::One | Kind::Many | Kind::Level => format!(" {}", flag.value),
    };
    let short = flag.short.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let variables: Vec<String> = flag.variables().iter().map(|name| format!("`{name}`")).collect();
    let default = match flag.fallback {
        Fallback::None => String::new(),
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Rule(text) => text.to_owned(),
    };
    format!("| {short}`--{}{value}` | {} | {default} | {} |", flag.name, variables.join(" "), flag.help)
}
