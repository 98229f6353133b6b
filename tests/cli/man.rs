//! The man pages: one for each command, readable by man, and without faults for mandoc.

use std::fs;
use std::process::{Command, Stdio};

use super::{pushsync, stderr, stdout};

/// True if the program is installed. The test of a missing one says so, and proves nothing.
fn has(program: &str) -> bool {
    let there = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} is not installed, so the man pages are not tested with it");
    }
    there
}

#[test]
fn each_command_has_a_page_that_man_and_mandoc_read() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("share/man/man1");
    let output = pushsync(&["man", target.to_str().unwrap()], &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut names: Vec<String> =
        fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let commands = pushsync::config::COMMANDS.iter().map(|command| format!("pushsync-{command}.1"));
    let mut expected: Vec<String> = commands.chain(["pushsync.1".to_owned()]).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(stdout(&output), format!("{} pages written to {}\n", names.len(), target.display()));
    let (man, mandoc) = (has("man"), has("mandoc"));
    for name in &names {
        let page = target.join(name);
        if mandoc {
            // Warnings are about style, and about the date, which a reproducible page does not have.
            let lint = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&page).output().unwrap();
            assert!(lint.status.success(), "{name}: {}", stdout(&lint));
        }
        if man {
            let read = Command::new("man")
                .args(["--warnings", "-l"])
                .arg(&page)
                .env("MANWIDTH", "80")
                .env("MANPAGER", "cat")
                .env("LC_ALL", "C.UTF-8")
                .output()
                .unwrap();
            assert!(read.status.success() && stderr(&read).is_empty(), "{name}: {}", stderr(&read));
            assert!(stdout(&read).contains("SYNOPSIS"), "{name}: {}", stdout(&read));
        }
    }
}

#[test]
fn the_pages_have_all_flags_variables_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    assert!(pushsync(&["man", folder.path().to_str().unwrap()], &[]).status.success());
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().replace("\\-", "-");
    let run = page("pushsync-run.1");
    for flag in pushsync::config::FLAGS.iter() {
        assert!(run.contains(&format!("--{}", flag.name)), "{}", flag.name);
        assert!(flag.variables().iter().all(|variable| run.contains(variable)), "{}", flag.name);
    }
    for heading in ["DESCRIPTION", "THE LINK", "REPOSITORY", "PEERS", "EXIT STATUS", "EXAMPLES"] {
        assert!(
            run.lines().any(|line| line.trim_end_matches('"').trim_start_matches(".SH \"") == heading
                || line == format!(".SH {heading}")),
            "{heading}"
        );
    }
    let pin = page("pushsync-pin.1");
    assert!(pin.contains(".SH EXAMPLES") && pin.contains("kubectl pushsync pin deploy/web c69507e"), "{pin}");
    let main = stdout(&pushsync(&["man"], &[]));
    assert_eq!(main.replace("\\-", "-"), page("pushsync.1"));
    for command in pushsync::config::COMMANDS {
        assert!(page("pushsync.1").contains(&format!("pushsync-{command}(1)")), "{command}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = pushsync(&["man", file.to_str().unwrap()], &[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    assert!(stderr(&output).contains(file.to_str().unwrap()), "{}", stderr(&output));
}
