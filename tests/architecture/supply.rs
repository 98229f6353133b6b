//! Rules for dependencies: licences, sources and duplicates against `deny.toml`, `unsafe`, and the list of parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::metadata::{Metadata, checksums};
use super::{sbom, sources, src};

fn policy() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap()
}

/// The strings of a list of `deny.toml`; of `{ crate = "x", … }` the crate's name.
fn listed(name: &str) -> BTreeSet<String> {
    let policy = policy();
    let start = policy.find(&format!("\n{name} = [")).unwrap_or_else(|| panic!("deny.toml has no {name}"));
    let list = &policy[start..];
    let list = &list[..list.find(']').unwrap()];
    let lines = list.split(['\n', ',', '[']).map(|part| part.trim().trim_start_matches("{ crate = "));
    lines.filter_map(|part| part.strip_prefix('"')?.strip_suffix('"')).map(str::to_owned).collect()
}

/// An SPDX expression: `OR` gives a choice, `AND` asks for all. Old crates write a slash for the former.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let inner = |text: &str| text.trim().to_owned();
    let mut depth = 0;
    let (mut ors, mut ands) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[at..].starts_with(" OR ") => {
                ors.push(inner(&expression[start..at]));
                start = at + 4;
            }
            _ if depth == 0 && expression[at..].starts_with(" AND ") => ands.push(at),
            _ => {}
        }
    }
    if !ors.is_empty() {
        ors.push(inner(&expression[start..]));
        return ors.iter().any(|one| is_allowed(one, allowed));
    }
    if let Some(&at) = ands.first() {
        return is_allowed(&inner(&expression[..at]), allowed) && is_allowed(&inner(&expression[at + 5..]), allowed);
    }
    let expression = expression.trim();
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.contains(expression),
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).into();
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "MIT AND Apache-2.0 OR GPL-3.0",
        "(MIT)",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in
        ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "Apache-2.0 WITH LLVM-exception", "mit"]
    {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn every_part_comes_from_the_registry_under_a_licence_that_is_allowed() {
    let metadata = Metadata::read();
    let (allowed, registries) = (listed("allow"), listed("allow-registry"));
    let locked = checksums();
    for id in metadata.reached(true).iter().filter(|id| **id != metadata.root) {
        let name = format!("{} {}", metadata.text(id, "name"), metadata.text(id, "version"));
        let licence = metadata.text(id, "license");
        assert!(is_allowed(licence, &allowed), "{name} is under `{licence}`, which deny.toml does not allow");
        let source = metadata.text(id, "source").strip_prefix("registry+").unwrap_or("no registry");
        assert!(registries.contains(source), "{name} comes from {source}");
        let key = (metadata.text(id, "name").to_owned(), metadata.text(id, "version").to_owned());
        assert!(locked.contains_key(&key), "{name} has no checksum in Cargo.lock");
    }
}

#[test]
fn what_is_there_twice_is_argued_and_what_is_argued_is_there() {
    let metadata = Metadata::read();
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    let reached = metadata.reached(true);
    for id in &reached {
        versions.entry(metadata.text(id, "name")).or_default().insert(metadata.text(id, "version"));
    }
    let twice: BTreeSet<String> =
        versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(twice, listed("skip"), "crates in two versions, and `skip` in deny.toml with the reasons");
    let reasons = policy().lines().filter(|line| line.contains("crate = ") && line.contains("reason = ")).count();
    assert_eq!(reasons, twice.len());
}

#[test]
fn both_lock_files_name_nothing_but_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock = fs::read_to_string(root.join(name)).unwrap();
        for line in lock.lines().filter(|line| line.starts_with("source = ")) {
            assert_eq!(line, "source = \"registry+https://github.com/rust-lang/crates.io-index\"", "{name}");
        }
    }
}

/// The word in code: comments are left out, and no string of ours holds it.
fn has_unsafe(text: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_')).any(|word| word == "unsafe")
}

#[test]
fn unsafe_stands_in_one_file_that_says_why() {
    assert!(has_unsafe("let x = unsafe { y };") && !has_unsafe("// unsafe\nlet unsafe_code = 1;"));
    let mut files = Vec::new();
    sources(&src(), &mut files);
    let exempt = src().join("git/libgit2/limits.rs");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (code, allows) = (has_unsafe(&text), text.contains("(unsafe_code)"));
        assert_eq!((code, allows), if file == exempt { (true, true) } else { (false, false) }, "{}", file.display());
    }
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nunsafe_code = \"deny\"\n"), "what the file above is exempted from");
}

#[test]
fn the_list_of_parts_is_whole_and_always_the_same() {
    let metadata = Metadata::read();
    let text = sbom::render(&metadata);
    assert_eq!(text, sbom::render(&Metadata::read()), "a second run gives the same bytes");
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((list["bomFormat"].as_str(), list["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    assert_eq!(list["metadata"]["component"]["name"], "pushsync");
    assert_eq!(list["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));

    let components = list["components"].as_array().unwrap();
    let refs: BTreeSet<&str> = components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(refs.len(), components.len(), "references are unique");
    // Everything but ourselves, and the libraries in C that crates bring along.
    let crates = components.iter().filter(|component| component["purl"].as_str().unwrap().starts_with("pkg:cargo/"));
    let crates: Vec<_> = crates.collect();
    assert_eq!(crates.len(), metadata.reached(false).len() - 1);
    for component in &crates {
        assert_eq!(component["hashes"][0]["alg"], "SHA-256");
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64);
    }
    for component in components {
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
    }
    for library in ["libgit2", "libssh2", "openssl", "zlib"] {
        let found = components.iter().find(|component| component["name"] == library).expect(library);
        assert!(found["version"].as_str().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{found}");
    }
    let known: BTreeSet<&str> =
        refs.iter().copied().chain([list["metadata"]["component"]["bom-ref"].as_str().unwrap()]).collect();
    for edge in list["dependencies"].as_array().unwrap() {
        assert!(known.contains(edge["ref"].as_str().unwrap()));
        assert!(edge["dependsOn"].as_array().unwrap().iter().all(|to| known.contains(to.as_str().unwrap())), "{edge}");
    }
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "no path of this machine");
}
