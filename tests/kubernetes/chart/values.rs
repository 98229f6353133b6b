//! `values.yaml`, its schema and the table in the chart's README say the same about every value.
//!
//! The comment above a value in `values.yaml` is the source. Nothing here needs helm.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::*;

const UPDATE: &str =
    "run\n  UPDATE=1 cargo test --locked --test server kubernetes::chart::values\nand commit the files";

fn schema() -> Value {
    serde_json::from_str(&text("charts/pushsync/values.schema.json")).unwrap()
}

/// The path of each value that has a comment, in the order of the file, and the comment.
fn comments() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut path, mut comment) = (Vec::new(), Vec::new());
    for line in text("charts/pushsync/values.yaml").lines() {
        let inner = line.trim_start();
        if let Some(words) = inner.strip_prefix("# ") {
            comment.push(words.to_owned());
            continue;
        }
        if let Some((key, _)) = inner.split_once(':').filter(|(key, _)| !key.contains(' ')) {
            path.truncate((line.len() - inner.len()) / 2);
            path.push(key.to_owned());
            if !comment.is_empty() {
                found.push((path.join("."), comment.join(" ")));
            }
        }
        comment.clear();
    }
    found
}

/// The schema of each value that is not a group of values.
fn properties(of: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
    for (name, property) in of["properties"].as_object().unwrap() {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if property.get("properties").is_some() {
            assert_eq!(property["additionalProperties"], false, "{at}");
            properties(property, &at, found);
        } else {
            found.insert(at, property.clone());
        }
    }
}

fn default(values: &Value, path: &str) -> Value {
    path.split('.').try_fold(values, |value, key| value.get(key)).unwrap_or_else(|| panic!("no {path}")).clone()
}

#[test]
fn every_value_has_a_comment_and_a_strict_schema() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let mut properties_by_path = BTreeMap::new();
    properties(&schema, "", &mut properties_by_path);
    // Parent charts give it to every part.
    assert!(properties_by_path.remove("global").is_some());
    let values = strict::documents(&text("charts/pushsync/values.yaml")).unwrap().remove(0);
    let described: BTreeMap<String, String> = comments().into_iter().collect();
    assert!(described.len() > 60, "{described:?}");
    assert_eq!(described.keys().collect::<Vec<_>>(), properties_by_path.keys().collect::<Vec<_>>());
    for (path, property) in &properties_by_path {
        assert_eq!(property["description"], described[path].as_str(), "the schema's description of {path}");
        assert!(property["type"].is_string() || property["type"].is_array(), "{path} has no type");
        default(&values, path);
    }
}

/// Returns the paths that the templates read behind `.Values.`.
fn read_by_templates() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for template in std::fs::read_dir(file("charts/pushsync/templates")).unwrap().map(|entry| entry.unwrap().path()) {
        // The folder of the test has one template, which reads nothing else.
        let Ok(text) = std::fs::read_to_string(template) else { continue };
        let paths = text.split(".Values.").skip(1);
        found.extend(paths.map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
            rest[..end].trim_end_matches('.').to_owned()
        }));
    }
    found
}

#[test]
fn every_value_is_read_by_a_template_and_no_template_reads_another() {
    let mut known = BTreeMap::new();
    properties(&schema(), "", &mut known);
    known.remove("global");
    let read = read_by_templates();
    let is_within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    for path in known.keys() {
        assert!(read.iter().any(|read| is_within(path, read)), "no template reads {path}");
    }
    for read in &read {
        let is_known = known.keys().any(|path| is_within(path, read) || is_within(read, path));
        assert!(is_known, "values.schema.json has no {read}");
    }
}

/// The table of the README.
fn table() -> String {
    let values = strict::documents(&text("charts/pushsync/values.yaml")).unwrap().remove(0);
    let mut table = String::from("| value | default | |\n| --- | --- | --- |\n");
    for (path, comment) in comments() {
        let value = match default(&values, &path) {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Object(fields) if !fields.is_empty() => "see values.yaml".to_owned(),
            other => format!("`{other}`"),
        };
        writeln!(table, "| `{path}` | {value} | {} |", comment.replace('|', "\\|")).unwrap();
    }
    table
}

#[test]
fn the_readme_lists_every_value() {
    const START: &str = "<!-- values: made by tests/kubernetes/chart/values.rs -->\n";
    const END: &str = "<!-- end of values -->\n";
    let readme = text("charts/pushsync/README.md");
    let (before, rest) = readme.split_once(START).expect("the start of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    let expected = format!("{before}{START}{}{END}{after}", table());
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(file("charts/pushsync/README.md"), &expected).unwrap();
        return;
    }
    assert!(readme == expected, "the table in charts/pushsync/README.md differs from values.yaml; {UPDATE}");
}
