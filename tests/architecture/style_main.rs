//! `scripts/style-report`: counts what can be counted of how the sources read. A report for reviewers, not a test.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a chore, whose output is its purpose")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::{DASHBOARD_LAYERS, GIT_LAYERS, Imports, PUBLISH_LAYERS, SYNC_LAYERS};

const RIDDLES: [&str; 4] = ["what", "who", "whoever", "whatever"];
const NOBODY: [&str; 5] = ["somebody", "nobody", "whoever", "everybody", "anew"];

/// Words of text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// A comment's kind and text, if the line is one.
fn comment(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
    doc.map(|text| (true, text)).or_else(|| line.strip_prefix("//").map(|text| (false, text)))
}

fn read(folder: &Path, extension: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, extension, found);
        } else if path.extension().is_some_and(|end| end == extension) {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn area(file: &Path, src: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The types that a text defines, whatever their visibility.
fn types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub").map_or(line, |rest| rest.split_once(' ').map_or(rest, |(_, rest)| rest));
        let rest = ["struct ", "enum ", "trait "].iter().find_map(|keyword| line.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_alphanumeric()).next().filter(|name| !name.is_empty())
    })
}

fn main() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let src = top.join("src");
    let (mut files, mut tests, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    read(&src, "rs", &mut files);
    read(&top.join("tests"), "rs", &mut tests);
    read(&top.join("docs"), "md", &mut texts);
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        texts.push((top.join(name), fs::read_to_string(top.join(name)).unwrap()));
    }

    let (mut code, mut plain, mut docs, mut riddles, mut nobody) = (0_usize, 0_usize, 0_usize, 0_usize, 0_usize);
    for line in files.iter().flat_map(|(_, text)| text.lines()) {
        if let Some((is_doc, text)) = comment(line) {
            *(if is_doc { &mut docs } else { &mut plain }) += 1;
            riddles += usize::from(words(text).next().is_some_and(|word| RIDDLES.contains(&word.as_str())));
            nobody += usize::from(words(text).any(|word| NOBODY.contains(&word.as_str())));
        } else if !line.trim().is_empty() {
            code += 1;
            nobody += usize::from(words(line).any(|word| NOBODY.contains(&word.as_str())));
        }
    }
    let in_texts = texts.iter().flat_map(|(_, text)| text.lines());
    let nobody_in_texts = in_texts.filter(|line| words(line).any(|word| NOBODY.contains(&word.as_str()))).count();
    println!("src: {} files, {code} lines of code, {docs} of documentation, {plain} of plain comments", files.len());
    println!("comment lines that open with What/Who/Whoever/Whatever: {riddles}   (target 0)");
    println!(
        "lines with somebody/nobody/whoever/everybody/anew: {nobody} in src, {nobody_in_texts} in documents   (target 0)"
    );
    let percent = plain * 1000 / code.max(1);
    println!("plain comments for 100 lines of code: {}.{}   (target 3)", percent / 10, percent % 10);

    let mut defined: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in &files {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for name in types(code) {
            defined.entry(name).or_default().insert(area(file, &src));
        }
    }
    let shared: Vec<_> = defined.iter().filter(|(_, areas)| areas.len() > 2).collect();
    println!("type names in more than two areas: {}   (target 0)", shared.len());
    for (name, areas) in shared {
        println!("    {name}: {}", areas.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    }

    let areas: BTreeSet<_> = files.iter().map(|(file, _)| area(file, &src)).collect();
    let (mut count, mut lines) = (0, Vec::new());
    for area in areas {
        let imports = Imports::of(&area, &src, &files);
        for circle in imports.circles() {
            count += 1;
            lines.push(format!("    {area} ({}): {}", circle.len(), circle.join(", ")));
        }
        for (name, layers) in
            [("git", GIT_LAYERS), ("publish", PUBLISH_LAYERS), ("sync", SYNC_LAYERS), ("dashboard", DASHBOARD_LAYERS)]
        {
            if area == name {
                let upward = imports.upward(layers).len();
                lines.push(format!("    {name}: {upward} imports from a lower layer to a higher one   (target 0)"));
            }
        }
        let inside = imports.inside_circles();
        if inside > 0 {
            lines.push(format!("    {area}: {inside} imports inside circles"));
        }
    }
    println!("circles of modules inside an area: {count}   (target 0)");
    for line in lines {
        println!("{line}");
    }

    let mut lengths: Vec<_> = files.iter().chain(&tests).map(|(_, text)| text.lines().count()).collect();
    lengths.sort_unstable();
    let longest = files.iter().chain(&tests).max_by_key(|(_, text)| text.lines().count()).unwrap();
    let name = longest.0.strip_prefix(top).unwrap().display();
    println!("files: median {} lines, longest {} ({name})", lengths[lengths.len() / 2], lengths[lengths.len() - 1]);
}
