//! Links between the documents lead to files and headings that exist, and the README leads to every page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{documents, top};

/// The text outside of blocks of code.
fn prose(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut is_code = false;
    let kept = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        is_code ^= fence;
        !is_code && !fence
    });
    kept.map(str::to_owned).collect()
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(path: &Path) -> BTreeSet<String> {
    let headings = prose(path).into_iter().filter(|line| line.starts_with('#'));
    let slug = |line: String| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// The targets of the links to files of the repository, with their anchors.
fn links(path: &Path) -> Vec<(PathBuf, String)> {
    let text = prose(path).join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let ours = targets.filter(|target| !target.contains("://") && !target.contains(' '));
    ours.map(|target| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
        (file.canonicalize().unwrap_or(file), anchor.to_owned())
    })
    .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = documents();
    let mut headings = BTreeMap::new();
    let mut wrong = Vec::new();
    for page in &pages {
        for (file, anchor) in links(page) {
            let is_page = file.extension().is_some_and(|extension| extension == "md");
            let known = file.exists()
                && (anchor.is_empty()
                    || !is_page
                    || headings.entry(file.clone()).or_insert_with(|| anchors(&file)).contains(&anchor));
            if !known {
                wrong.push(format!("{}: {}#{anchor}", page.display(), file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A reader who looks for a task or a flag starts there.
#[test]
fn the_index_links_every_page() {
    let docs = top().join("docs");
    let index = docs.join("README.md");
    let linked: BTreeSet<PathBuf> = links(&index).into_iter().map(|(file, _)| file).collect();
    for page in documents().into_iter().filter(|page| page.starts_with(&docs) && *page != index) {
        assert!(linked.contains(&page.canonicalize().unwrap()), "{} is not in docs/README.md", page.display());
    }
}

/// GitHub shows nothing for `<name>` outside of code.
#[test]
fn no_placeholder_is_taken_for_a_tag() {
    let tags = ["picture>", "/picture>", "source ", "img ", "!-- ", "https://", "http://"];
    for page in documents() {
        for line in prose(&page) {
            let text: String = line.split('`').step_by(2).collect();
            for (at, _) in text.match_indices('<') {
                let (before, rest) = (&text[..at], &text[at + 1..]);
                let is_name = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
                let is_meant = tags.iter().any(|tag| rest.starts_with(tag)) || before.ends_with('\\');
                assert!(!is_name || is_meant, "{}: {line}", page.display());
            }
        }
    }
}

/// A reader who starts at the README is at most two steps away from each page, and the README fits a few screens.
#[test]
fn each_page_is_two_steps_from_the_readme() {
    let readme = top().join("README.md");
    assert!(fs::read_to_string(&readme).unwrap().lines().count() <= 150);
    let first: BTreeSet<PathBuf> = links(&readme).into_iter().map(|(file, _)| file).collect();
    let is_page = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "md");
    let second = first.iter().filter(is_page).flat_map(|page| links(page)).map(|(file, _)| file);
    let near: BTreeSet<PathBuf> = second.chain(first.iter().cloned()).collect();
    for page in documents().into_iter().map(|page| page.canonicalize().unwrap()) {
        let is_example = page.starts_with(top().canonicalize().unwrap().join("examples"));
        let is_near = near.contains(&page) || page.ends_with("README.md") && is_example;
        assert!(is_near || page == readme.canonicalize().unwrap(), "{} is further away", page.display());
    }
}
