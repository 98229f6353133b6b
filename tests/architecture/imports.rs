//! The imports between the modules of one area, read from its sources: which module names which, and which form circles.
//!
//! It reads text, not types: a name that a parent re-exports counts as the module that it comes from. It contains no rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path below `src`, such as `git::lfs::batch`.
type Module = String;

/// The layers of the git area, lowest first. A module belongs to the layer with its longest prefix.
pub const GIT_LAYERS: &[&[&str]] = &[
    &["git::error"],
    &["git::deadline"],
    &["git::protocol"],
    &["git::http"],
    &["git::libgit2"],
    &["git::auth"],
    &["git::store"],
    &["git::remote"],
    // Flattening works on the store; fetching submodules is a layer of its own below.
    &["git::submodules::config", "git::submodules::url", "git::submodules::flatten"],
    &["git::fetch"],
    &["git::lfs"],
    &["git::submodules::fetch"],
    &["git::maintenance"],
    &["git::engine"],
];

/// The layers of the publish area, lowest first.
pub const PUBLISH_LAYERS: &[&[&str]] = &[
    &["publish::path"],
    &["publish::error"],
    &["publish::folder"],
    &["publish::tree"],
    &["publish::volume"],
    &["publish::verify"],
    &["publish::removal"],
    &["publish::checkout"],
    &["publish::standby"],
    &["publish::build"],
    &["publish::front"],
];

/// The layers of the sync area, lowest first.
pub const SYNC_LAYERS: &[&[&str]] = &[
    &["sync::error", "sync::options", "sync::backoff", "sync::sync_log", "sync::notice_files"],
    &["sync::queue"],
    &["sync::announcement_tracker", "sync::decisions"],
    &["sync::inherited", "sync::rejected", "sync::protected", "sync::tree_state", "sync::lfs_objects"],
    &["sync::status"],
    &["sync::recorder", "sync::disk"],
    &["sync::decision_store", "sync::hook_changes", "sync::notify"],
    // The parts that the steps of a sync, the background work and the commands share.
    &["sync::context"],
    &["sync::lfs_removal"],
    &["sync::state"],
    &["sync::maintenance"],
    &["sync::open_volume"],
    &["sync::run"],
    &["sync::record"],
    &["sync::handle"],
    &["sync::lookup", "sync::command"],
    &["sync::sync_loop"],
    &["sync::setup"],
];

/// The layers of the dashboard area, lowest first.
pub const DASHBOARD_LAYERS: &[&[&str]] = &[
    &["dashboard::text", "dashboard::theme", "dashboard::keys", "dashboard::records", "dashboard::forge"],
    // The parts of the model: plain data.
    &["dashboard::model::pod", "dashboard::model::rows"],
    &["dashboard::message", "dashboard::filter", "dashboard::sorting", "dashboard::palette", "dashboard::podlog"],
    &["dashboard::model"],
    // Computed from the model.
    &["dashboard::names", "dashboard::ask", "dashboard::fleet"],
    &["dashboard::verdict"],
    &["dashboard::commits", "dashboard::holds", "dashboard::rollback", "dashboard::webhooks"],
    &["dashboard::lists"],
    // Changes of the model by reports and keys.
    &["dashboard::cursor"],
    &["dashboard::answers", "dashboard::turns", "dashboard::typing", "dashboard::copying", "dashboard::bursts"],
    &["dashboard::reports", "dashboard::navigation", "dashboard::act"],
    &["dashboard::input"],
    &["dashboard::pasted"],
    &["dashboard::update"],
    &["dashboard::view"],
    // The connections. All layers before this one do no input or output.
    &["dashboard::child", "dashboard::children", "dashboard::person", "dashboard::sse", "dashboard::forward"],
    &["dashboard::http", "dashboard::kubectl", "dashboard::pods"],
    &["dashboard::link", "dashboard::listing"],
    &["dashboard::links"],
    &["dashboard::args"],
    &["dashboard::reach"],
    // The terminal.
    &["dashboard::sequence", "dashboard::output", "dashboard::clipboard", "dashboard::reader"],
    &["dashboard::decoder", "dashboard::terminal"],
    // The programs.
    &["dashboard::plain", "dashboard::screen", "dashboard::verbs"],
    &["dashboard"],
];

/// Which modules each module of an area imports.
pub struct Imports {
    edges: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    /// Reads the modules of `area`, given all files of `src` with their texts.
    pub fn of(area: &str, src: &Path, files: &[(PathBuf, String)]) -> Self {
        let mut texts = BTreeMap::new();
        for (file, text) in files {
            let module = module_of(file.strip_prefix(src).expect("a file of src"));
            if module.split("::").next() == Some(area) && !is_for_tests(&module) {
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
                texts.insert(
                    module,
                    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n"),
                );
            }
        }
        let exports: BTreeMap<_, _> =
            texts.iter().map(|(module, text)| (module.clone(), exported(module, text))).collect();
        let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, text) in &texts {
            let found = edges.entry(module.clone()).or_default();
            for (path, is_export) in paths(module, text) {
                let target = resolve(&path, &texts, &exports);
                found.extend(target.filter(|target| !is_export && target != module && texts.contains_key(target)));
            }
        }
        Self { edges }
    }

    /// The sets of modules that import one another in a circle, each sorted.
    pub fn circles(&self) -> Vec<Vec<Module>> {
        let reach: BTreeMap<_, _> = self.edges.keys().map(|module| (module, self.reachable(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, reached) in &reach {
            let circle: Vec<_> = reached.iter().filter(|other| reach[*other].contains(*module)).cloned().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    /// The imports that lead from a lower layer to a higher one, and modules that belong to no layer. A module with nothing
    /// but declarations of others belongs to none. The name of the area itself stands for its `mod.rs` alone.
    pub fn upward(&self, layers: &[&[&str]]) -> Vec<String> {
        let is_in = |module: &str, prefix: &str| {
            let rest = module.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") && prefix.contains("::"))
        };
        let layer = |module: &str| {
            let prefixes = layers.iter().enumerate().flat_map(|(at, names)| names.iter().map(move |name| (at, *name)));
            prefixes.filter(|(_, name)| is_in(module, name)).max_by_key(|(_, name)| name.len()).map(|(at, _)| at)
        };
        let mut wrong = Vec::new();
        for (from, targets) in &self.edges {
            for to in targets {
                match (layer(from), layer(to)) {
                    (Some(lower), Some(higher)) if lower < higher => wrong.push(format!("{from} imports {to}")),
                    (Some(_), Some(_)) => {}
                    _ => wrong.push(format!("{from} or {to} belongs to no layer")),
                }
            }
        }
        wrong
    }

    /// How many imports run inside circles: the least number that has to go is at most this.
    pub fn inside_circles(&self) -> usize {
        let circles = self.circles();
        let both =
            |from: &Module, to: &Module| circles.iter().any(|circle| circle.contains(from) && circle.contains(to));
        self.edges.iter().map(|(from, targets)| targets.iter().filter(|to| both(from, to)).count()).sum()
    }

    fn reachable(&self, from: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<_> = self.edges[from].iter().collect();
        while let Some(module) = pending.pop() {
            if reached.insert(module.clone()) {
                pending.extend(&self.edges[module]);
            }
        }
        reached
    }
}

fn is_for_tests(module: &str) -> bool {
    module.split("::").any(|part| matches!(part, "tests" | "fuzzing" | "sample" | "properties"))
}

/// `git/lfs/mod.rs` and `git/lfs.rs` are `git::lfs`.
fn module_of(file: &Path) -> Module {
    let parts: Vec<_> = file.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let joined = parts.join("::");
    let joined = joined.strip_suffix(".rs").unwrap_or(&joined);
    joined.strip_suffix("::mod").unwrap_or(joined).to_owned()
}

/// Every `use` of a text with its `pub`, its groups taken apart, and its aliases dropped.
fn uses(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].rsplit('\n').next().unwrap_or_default().trim();
        if !(before.is_empty() || before.starts_with("pub")) {
            continue;
        }
        let Some(end) = text[at..].find(';') else { continue };
        let tree: String = text[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
        // A word in a text that begins a line is no import.
        if !tree.chars().all(|c| c.is_alphanumeric() || "_:{}, *".contains(c)) {
            continue;
        }
        flatten("", &tree, &mut |path| found.push((path, !before.is_empty())));
    }
    found
}

fn flatten(prefix: &str, tree: &str, each: &mut dyn FnMut(String)) {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        each(format!("{prefix}{path}").trim_end_matches("::self").to_owned());
        return;
    };
    let (head, body) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut depth, mut item) = (0, String::new());
    for c in body.chars().chain([',']) {
        match c {
            ',' if depth == 0 => {
                if !item.trim().is_empty() {
                    flatten(&format!("{prefix}{}", head.trim()), item.trim(), each);
                }
                item.clear();
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        item.push(c);
    }
}

/// All paths that a module names: its `use`s, and `super::x` or `crate::x` in its code. True: a re-export.
fn paths(module: &str, text: &str) -> Vec<(Module, bool)> {
    let mut found: Vec<_> =
        uses(text).into_iter().filter_map(|(path, public)| Some((absolute(module, &path)?, public))).collect();
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    for start in ["super::", "crate::"] {
        for (at, _) in text.match_indices(start) {
            let path: String = text[at..].chars().take_while(|c| named(*c)).collect();
            let in_use = text[..at].rsplit(['\n', ';']).next().is_some_and(|line| line.contains("use "));
            if !in_use && !text[..at].ends_with("::") {
                found.extend(absolute(module, path.trim_end_matches(':')).map(|path| (path, false)));
            }
        }
    }
    found
}

/// A path from the root of the crate. `None`: it leads out of the crate.
fn absolute(module: &str, path: &str) -> Option<Module> {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").peekable();
    match parts.peek().copied()? {
        "crate" => {
            at.clear();
            parts.next();
        }
        "self" => drop(parts.next()),
        "super" => {}
        first if first.starts_with(char::is_lowercase) => {}
        _ => return None,
    }
    while parts.next_if_eq(&"super").is_some() {
        at.pop()?;
    }
    at.extend(parts);
    Some(at.join("::"))
}

/// The re-exports of a module: each name and its origin.
fn exported(module: &str, text: &str) -> BTreeMap<String, Module> {
    let mut names = BTreeMap::new();
    for (path, _) in uses(text) {
        if let (Some(path), Some(name)) = (absolute(module, &path), path.rsplit("::").next()) {
            names.insert(name.to_owned(), path);
        }
    }
    names
}

/// The module that a path leads to, through re-exports.
fn resolve(
    path: &str,
    texts: &BTreeMap<Module, String>,
    exports: &BTreeMap<Module, BTreeMap<String, Module>>,
) -> Option<Module> {
    let mut path = path.to_owned();
    for _ in 0..8 {
        if texts.contains_key(&path) {
            return Some(path);
        }
        let mut holder = path.as_str();
        let name = loop {
            let (above, name) = holder.rsplit_once("::")?;
            holder = above;
            if texts.contains_key(above) {
                break name;
            }
        };
        match exports[holder].get(name) {
            Some(next) if *next != path => path.clone_from(next),
            _ => return Some(holder.to_owned()),
        }
    }
    None
}
