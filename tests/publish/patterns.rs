//! Random trees, sparse-checkout files and gitattributes, made to hit the corners of what git does with them.

use std::collections::BTreeSet;

use fastrand::Rng;

const NAMES: [&str; 9] = ["a", "b", "ab", "a.txt", "b.md", "x y", "lib.rs", "docs", "deep"];

fn pick<'a>(random: &mut Rng, from: &[&'a str]) -> &'a str {
    from[random.usize(..from.len())]
}

/// Paths of files; none is a folder of another.
pub fn paths(random: &mut Rng) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for _ in 0..40 {
        let mut path = String::new();
        for _ in 0..random.usize(0..4) {
            path += pick(random, &["a", "b", "docs", "deep", "ab"]);
            path.push('/');
        }
        // Names of files and folders differ, so that no file stands in a folder's way.
        path += pick(random, &["f", "a.txt", "b.md", "x y", "lib.rs", "ab.c", "[x]", "a*b", "star\\"]);
        paths.insert(path);
    }
    paths
}

/// Lines as people write them, and as nobody should.
pub fn patterns(random: &mut Rng) -> Vec<u8> {
    let mut text = Vec::new();
    if random.u8(..20) == 0 {
        text.extend_from_slice(b"\xef\xbb\xbf");
    }
    for _ in 0..random.usize(0..6) {
        text.extend_from_slice(match random.u8(..24) {
            0 => b"# a comment",
            1 => b"",
            2 => b"/*",
            3 => b"!/*/",
            4 => b"  ",
            _ => &[],
        });
        let line = pattern(random);
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(pick(random, &["\n", "\n", "\n", "\r\n", " \n", "\\ \n"]).as_bytes());
    }
    if random.u8(..8) == 0 {
        text.pop();
    }
    text
}

pub fn pattern(random: &mut Rng) -> String {
    let mut line = String::new();
    line += pick(random, &["", "", "", "!", "/", "/", "!/", "\\"]);
    for at in 0..random.usize(1..4) {
        if at > 0 {
            line.push('/');
        }
        line += pick(
            random,
            &[
                "a",
                "b",
                "ab",
                "docs",
                "deep",
                "*",
                "**",
                "a*",
                "*.txt",
                "*b",
                "?",
                "[ab]",
                "[!a]",
                "[a-c]*",
                "[[:alpha:]]",
                "f",
                "x y",
                "lib.rs",
                "a**b",
                "[]x]",
                "\\[x]",
                "a\\*b",
                "[a",
                "**b",
                "*.[mt]*",
                "[[:no:]]",
                "[\\]]",
                "star\\\\",
            ],
        );
    }
    line += pick(random, &["", "", "", "/", "/", "/*", "/**"]);
    line
}

/// What cone mode writes for some folders, sometimes with a line too few or too many.
pub fn cone(random: &mut Rng) -> Vec<u8> {
    let mut parents = BTreeSet::new();
    let mut recursive = BTreeSet::new();
    for _ in 0..random.usize(0..4) {
        let mut path = String::new();
        for _ in 0..random.usize(1..4) {
            if !path.is_empty() {
                parents.insert(path.clone());
            }
            path = format!("{path}/{}", pick(random, &["a", "b", "docs", "deep", "ab"]));
        }
        recursive.insert(path);
    }
    let mut lines = vec!["/*".to_owned(), "!/*/".to_owned()];
    for parent in parents {
        lines.push(format!("{parent}/"));
        lines.push(format!("!{parent}/*/"));
    }
    lines.extend(recursive.iter().map(|path| format!("{path}/")));
    match random.u8(..8) {
        0 => drop(lines.remove(random.usize(..lines.len()))),
        1 => lines.insert(random.usize(..=lines.len()), pattern(random)),
        2 => lines.push(lines[random.usize(..lines.len())].clone()),
        _ => {}
    }
    lines.join("\n").into_bytes().into_iter().chain(*b"\n").collect()
}

/// A name that no pattern treats in a special way.
pub fn name(random: &mut Rng) -> &'static str {
    pick(random, &NAMES)
}
