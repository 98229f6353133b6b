//! The man pages, from the definitions of all commands.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{ArgMatches, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::config;

/// Prints the page of the program, or writes all pages.
pub(super) fn write(given: &ArgMatches) -> io::Result<String> {
    let mut tree = super::tree(false);
    tree.build();
    let Some(folder) = given.get_one::<PathBuf>("folder") else {
        return page(&overview(&tree));
    };
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(told)?;
    let write = |name: &str, text: String| fs::write(folder.join(format!("{name}.1")), text).map_err(told);
    write("pushsync", page(&overview(&tree))?)?;
    for command in tree.get_subcommands() {
        write(&format!("pushsync-{}", command.get_name()), page(command)?)?;
    }
    Ok(format!("{} pages written to {}\n", tree.get_subcommands().count() + 1, folder.display()))
}

/// The program as a list of commands. The flags of the sidecar are on its own page.
fn overview(tree: &Command) -> Command {
    let mut overview = Command::new("pushsync")
        .version(env!("CARGO_PKG_VERSION"))
        .about("keeps a git repository checked out on a volume, at once when it is pushed to")
        .long_about(
            "A sidecar that publishes the commits of a git repository as trees of files, when a signed webhook \
             announces a push and every 60 seconds; and the commands that watch and steer its replicas.",
        )
        .override_usage("pushsync [run] --repo URL --root DIR [flags]\npushsync COMMAND [arguments]")
        .subcommand_help_heading("COMMANDS")
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_long_help(
            "Each command has a page of its own: pushsync-run(1), pushsync-status(1) and so on. `pushsync completion` \
             prints completion scripts for shells. Under the name kubectl-pushsync the program is a plugin of kubectl.",
        );
    for name in config::COMMANDS {
        let about = tree.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
        overview = overview.subcommand(Command::new(name).about(about.unwrap_or_default()));
    }
    // Without this, clap leaves the commands of the list without their display names.
    overview.build();
    overview
}

/// One page. `clap_mangen` would run the lines of examples together, so the end is written here.
fn page(command: &Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let is_sidecar = command.get_name() == "run";
    let man = Man::new(command.clone()).title(name.to_uppercase()).manual("pushsync");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    // The parts of `--man` that are not flags, so that the two manuals say the same.
    let (head, tail) = config::manual_parts();
    if is_sidecar {
        // The sections before it, name and synopsis, are made by `clap_mangen`.
        let start = head.find("\nDESCRIPTION\n").map_or(0, |at| at + 1);
        sections(&head[start..], &mut page)?;
    } else {
        man.render_description_section(&mut page)?;
    }
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if is_sidecar {
        sections(tail, &mut page)?;
    } else if let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        ending(&text.to_string(), &mut page)?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(if command.has_subcommands() { "git(1), kubectl(1)" } else { "pushsync(1)" })]);
    roff.to_writer(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

/// The examples, which stand under their heading with their lines as they are, and notes.
fn ending(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    let (examples, notes) = match text.strip_prefix("Examples:\n") {
        Some(rest) => rest.split_once("\n\n").map_or((rest, ""), |(examples, notes)| (examples, notes)),
        None => ("", text),
    };
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        literal(examples, &mut roff);
    }
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for paragraph in notes.split("\n\n") {
            self::paragraph(paragraph, &mut roff);
        }
    }
    roff.to_writer(page)
}

/// A text whose headings begin in the first column and whose paragraphs are indented by four.
fn sections(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    for block in text.split("\n\n") {
        let block = block.trim_matches('\n');
        if block.starts_with(' ') {
            let lines: Vec<&str> = block.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
            paragraph(&lines.join("\n"), &mut roff);
        } else if !block.is_empty() {
            // A heading may have its paragraph on the next line.
            let (heading, rest) = block.split_once('\n').unwrap_or((block, ""));
            roff.control("SH", [heading]);
            if !rest.is_empty() {
                let lines: Vec<&str> = rest.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
                paragraph(&lines.join("\n"), &mut roff);
            }
        }
    }
    roff.to_writer(page)
}

/// Text that is filled, or a table or example, whose spaces mean something.
fn paragraph(text: &str, roff: &mut Roff) {
    let is_literal = |line: &str| line.starts_with(' ') || line.trim_start().contains("  ");
    if text.lines().any(is_literal) {
        literal(text, roff);
    } else {
        roff.control("PP", []);
        text.lines().for_each(|line| {
            roff.text([roman(line)]);
        });
    }
}

fn literal(text: &str, roff: &mut Roff) {
    roff.control("PP", []);
    // No filling: roff would join the lines of an example to a paragraph.
    roff.control("nf", []);
    let indent = text.lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    for line in text.lines() {
        roff.text([roman(format!("  {}", line.get(indent..).unwrap_or_default()))]);
    }
    roff.control("fi", []);
}
