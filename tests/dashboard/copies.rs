//! The screens in text in docs/dashboard.md are copies of snapshots.

use std::path::Path;

/// Comes before each copy, with the name of the snapshot.
const MARK: &str = "<!-- screen: ";

/// The text of a snapshot without the roles. More than one empty line in a row is one.
fn snapshot(root: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(root.join(format!("tests/dashboard/snapshots/{name}.snap"))).unwrap();
    let screen = text.splitn(3, "---\n").nth(2).unwrap().split("\n=== roles").next().unwrap();
    let mut lines: Vec<&str> = screen.trim_end().lines().collect();
    lines.dedup_by(|one, before| one.is_empty() && before.is_empty());
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    lines[first..].join("\n")
}

#[test]
fn the_screens_in_the_documentation_are_those_of_today() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("docs/dashboard.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut parts = text.split(MARK);
    let mut renewed = parts.next().unwrap().to_owned();
    let mut copies = 0;
    for part in parts {
        let (name, rest) = part.split_once(" -->\n").expect("the name of a snapshot");
        let rest = rest.strip_prefix("```text\n").expect("a block right after the mark");
        let (_, rest) = rest.split_once("\n```\n").expect("the end of the block");
        renewed.extend([MARK, name, " -->\n```text\n", &snapshot(root, name), "\n```\n", rest]);
        copies += 1;
    }
    assert!(copies >= 7, "{copies} marks");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, renewed).unwrap();
    } else {
        assert!(renewed == text, "UPDATE=1 cargo test --locked --test dashboard copies");
    }
}
