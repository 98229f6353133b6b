//! cargo's metadata of the dependencies, read without a network. It contains no rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The part of `cargo metadata` that checks and lists need.
pub struct Metadata {
    pub packages: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
    pub root: String,
}

impl Metadata {
    /// Of what is built for Linux; crates for other systems need not even be on this machine.
    pub fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--locked", "--offline", "--format-version", "1", "--all-features"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let by_id = |list: &Value| -> BTreeMap<String, Value> {
            let entries = list.as_array().unwrap().iter();
            entries.map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry.clone())).collect()
        };
        Self {
            packages: by_id(&document["packages"]),
            nodes: by_id(&document["resolve"]["nodes"]),
            root: document["resolve"]["root"].as_str().unwrap().to_owned(),
        }
    }

    /// The dependencies of a package; `dev` includes those of tests.
    pub fn needs(&self, id: &str, dev: bool) -> BTreeSet<String> {
        let dependencies = self.nodes[id]["deps"].as_array().unwrap().iter();
        let counts = |kind: &Value| dev || kind["kind"].as_str() != Some("dev");
        dependencies
            .filter(|dependency| dependency["dep_kinds"].as_array().unwrap().iter().any(counts))
            .map(|dependency| dependency["pkg"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Every package that goes into the program or its build, ours included; `dev` adds the tests' and theirs.
    pub fn reached(&self, dev: bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut pending = vec![self.root.clone()];
        while let Some(id) = pending.pop() {
            if found.insert(id.clone()) {
                // The tests of dependencies are not built.
                pending.extend(self.needs(&id, dev && id == self.root));
            }
        }
        found
    }

    pub fn text(&self, id: &str, field: &str) -> &str {
        self.packages[id][field].as_str().unwrap_or_default()
    }
}

/// The checksum of each locked package, by name and version.
pub fn checksums() -> BTreeMap<(String, String), String> {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            line.map(|value| value.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) = (field("name"), field("version"), field("checksum")) {
            found.insert((name, version), checksum);
        }
    }
    found
}
