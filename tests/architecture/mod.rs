//! Rules that the compiler does not check: imports between and inside areas, and the beginning of each file.

mod imports;
mod metadata;
mod releases;
mod sbom;
mod supply;
mod workflows;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{DASHBOARD_LAYERS, GIT_LAYERS, Imports, PUBLISH_LAYERS, SYNC_LAYERS};

/// The permitted imports between areas (ARCHITECTURE.md, "Who may import whom"). An area may always import itself.
const ALLOWED: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("allowance", &["text"]),
    ("api", &[]),
    ("backoff", &[]),
    ("clock", &[]),
    ("flush", &[]),
    ("hash", &[]),
    ("replace", &["flush"]),
    ("secret", &[]),
    ("secret_file", &["secret"]),
    ("remote_url", &["secret"]),
    ("names", &["worker"]),
    ("proxy", &["names", "remote_url", "secret"]),
    ("signature", &["secret"]),
    ("commit", &[]),
    ("lfs", &[]),
    ("pack_index", &[]),
    ("submodules", &["hash"]),
    ("error", &["api", "secret"]),
    ("pattern", &[]),
    ("sparse", &["pattern"]),
    ("attributes", &["pattern"]),
    ("worker", &[]),
    ("notices", &["replace"]),
    ("log", &["clock", "secret", "text"]),
    (
        "git",
        &[
            "allowance",
            "backoff",
            "clock",
            "commit",
            "error",
            "flush",
            "hash",
            "lfs",
            "names",
            "pack_index",
            "proxy",
            "remote_url",
            "secret",
            "sparse",
            "submodules",
            "text",
            "worker",
        ],
    ),
    (
        "publish",
        &[
            "allowance",
            "attributes",
            "clock",
            "commit",
            "error",
            "flush",
            "lfs",
            "pack_index",
            "replace",
            "sparse",
            "submodules",
            "text",
            "worker",
        ],
    ),
    ("history", &["api", "replace", "worker"]),
    ("metrics", &["api", "clock"]),
    ("hooks", &["backoff", "error", "metrics", "proxy", "secret", "text", "worker"]),
    (
        "sync",
        &[
            "api", "backoff", "clock", "error", "git", "hash", "history", "hooks", "metrics", "notices", "publish",
            "replace", "secret", "text", "worker",
        ],
    ),
    ("peers", &["api", "clock", "hash", "metrics", "names", "secret", "signature", "text"]),
    (
        "server",
        &[
            "api",
            "backoff",
            "clock",
            "hash",
            "history",
            "metrics",
            "peers",
            "remote_url",
            "secret",
            "secret_file",
            "signature",
            "sync",
            "text",
        ],
    ),
    (
        "config",
        &[
            "allowance",
            "git",
            "hooks",
            "log",
            "notices",
            "peers",
            "proxy",
            "publish",
            "remote_url",
            "secret",
            "secret_file",
            "server",
            "submodules",
            "sync",
        ],
    ),
    ("ping", &["clock", "config", "hash", "log", "names", "proxy", "remote_url", "secret", "secret_file", "signature"]),
    ("signals", &["api", "sync"]),
    ("dashboard", &["api", "backoff", "clock", "hash", "proxy", "text"]),
    ("init", &["config", "hash", "log", "remote_url"]),
    ("cli", &["config", "dashboard", "init", "ping"]),
    // Not part of the product: tests and fuzzers reach through it. Its targets lie in the areas, under the areas' own rules.
    (
        "fuzzing",
        &[
            "api",
            "attributes",
            "config",
            "dashboard",
            "git",
            "history",
            "lfs",
            "log",
            "peers",
            "publish",
            "remote_url",
            "secret",
            "server",
            "signature",
            "sparse",
        ],
    ),
];

/// Areas inside which no modules import each other in a circle. An area joins this list when its last circle is gone.
const FREE_OF_CIRCLES: &[&str] =
    &["api", "cli", "config", "history", "hooks", "init", "log", "peers", "ping", "proxy", "server", "sync", "worker"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn area(file: &Path, src: &Path) -> String {
    let inside = file.strip_prefix(src).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The areas named by `crate::x` and `crate::{x, y::z}` in code; comments and strings are close enough to code here.
fn edges(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(word(item.trim()));
                    item.clear();
                }
                _ => item.push(c),
            }
        }
        found.insert(word(item.trim()));
    }
    found.remove("");
    found
}

/// Every edge of `src` that the table does not allow.
fn forbidden(src: &Path) -> Vec<String> {
    let mut files = Vec::new();
    sources(src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let area = area(&file, src);
        if area == "main" || area == "lib" {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == area) else {
            wrong.push(format!("{} belongs to no area of the table", file.display()));
            continue;
        };
        for edge in edges(&fs::read_to_string(&file).unwrap()) {
            if edge != area && !allowed.contains(&edge.as_str()) {
                wrong.push(format!("{} imports {edge}, but `{area}` must not know it", file.display()));
            }
        }
    }
    wrong
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn dependencies_point_one_way() {
    assert_eq!(forbidden(&src()), Vec::<String>::new());
}

#[test]
fn imports_inside_an_area_form_no_circle() {
    let src = src();
    let mut files = Vec::new();
    sources(&src, &mut files);
    let texts: Vec<_> = files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect();
    for area in FREE_OF_CIRCLES {
        let imports = Imports::of(area, &src, &texts);
        assert_eq!((imports.circles(), imports.inside_circles()), (Vec::<Vec<String>>::new(), 0), "{area}");
    }
}

#[test]
fn a_circle_inside_an_area_is_found() {
    let text = |file: &str, text: &str| (Path::new("src/hooks").join(file), text.to_owned());
    let texts = [text("one.rs", "use super::two::Two;\n"), text("two.rs", "use super::one::One;\n")];
    let imports = Imports::of("hooks", Path::new("src"), &texts);
    assert_eq!(imports.circles(), [["hooks::one".to_owned(), "hooks::two".to_owned()]]);
    assert_eq!(imports.inside_circles(), 2);
}

#[test]
fn a_forbidden_edge_is_found_in_every_form_of_import() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dashboard")).unwrap();
    for import in [
        "use crate::sync::Handle;",
        "use crate::{api, sync};",
        "use crate::{api::{Record, Event}, sync::Handle};",
        "fn f() { crate::sync::prepare(); }",
    ] {
        fs::write(folder.path().join("dashboard/model.rs"), import).unwrap();
        let wrong = forbidden(folder.path());
        assert!(wrong.len() == 1 && wrong[0].contains("must not know"), "{import}: {wrong:?}");
    }
    fs::write(folder.path().join("dashboard/model.rs"), "use crate::api::{Record, Event};").unwrap();
    assert_eq!(forbidden(folder.path()), Vec::<String>::new());
}

/// The modules of an area, read from a folder.
fn imports_of(area: &str, src: &Path) -> Imports {
    let mut files = Vec::new();
    sources(src, &mut files);
    let texts: Vec<_> = files.into_iter().map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect();
    Imports::of(area, src, &texts)
}

#[test]
fn imports_inside_the_layered_areas_run_one_way() {
    for (area, layers) in
        [("git", GIT_LAYERS), ("publish", PUBLISH_LAYERS), ("sync", SYNC_LAYERS), ("dashboard", DASHBOARD_LAYERS)]
    {
        let imports = imports_of(area, &src());
        assert_eq!(imports.upward(layers), Vec::<String>::new(), "{area}");
        assert_eq!((imports.circles(), imports.inside_circles()), (Vec::new(), 0), "{area}");
    }
}

#[test]
fn an_upward_import_inside_the_git_area_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join("git").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("mod.rs", "mod engine;\nmod store;\npub use engine::Engine;\n");
    write("store/mod.rs", "pub(crate) mod refs;\n");
    write("engine.rs", "use super::store::refs;\npub struct Engine;\n");
    for (text, wrong) in [
        ("use std::fs;\n", 0),
        ("use crate::git::Engine;\n", 1),
        ("use crate::git::{engine::Engine};\n", 1),
        ("fn f() { crate::git::engine::start(); }\n", 1),
    ] {
        write("store/refs.rs", text);
        let upward = imports_of("git", folder.path()).upward(GIT_LAYERS);
        assert_eq!(upward.len(), wrong, "{text}: {upward:?}");
    }
    write("store/refs.rs", "use crate::git::Engine;\n");
    assert_eq!(imports_of("git", folder.path()).circles().len(), 1);
    write("store/refs.rs", "");
    write("elsewhere.rs", "use super::store::refs;\n");
    assert_eq!(imports_of("git", folder.path()).upward(GIT_LAYERS).len(), 1, "it belongs to no layer");
    let layers: &[&[&str]] = &[&["git::store"], &["git::engine"], &["git"]];
    assert_eq!(imports_of("git", folder.path()).upward(layers).len(), 1, "the area's name stands for no other file");
}

#[test]
fn every_file_says_first_what_it_is_for_and_stays_readable() {
    let mut files = Vec::new();
    sources(&src(), &mut files);
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut files);
    let mut lengths = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 200, "the median file has {median} lines");
}
