//! The chart `charts/pushsync`, rendered by the real helm.
//!
//! It must not know how a template is written, only what comes out of it.

mod refusals;
mod same;
mod uses;
mod values;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::*;

const CHART: &str = "charts/pushsync";

/// helm with these arguments, apart from every configuration of this machine; `None` without helm.
fn helm(arguments: &[&str]) -> Option<Output> {
    let Some(program) = find_on_the_path("helm") else {
        skip_helm("helm on the PATH");
        return None;
    };
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home.path());
    Some(command.output().unwrap())
}

/// `scripts/install-helm` has a package for one kind of machine. On others a test is skipped also where `CI` is set: what a
/// template gives does not depend on the machine.
fn skip_helm(needs: &str) {
    if cfg!(target_arch = "x86_64") {
        return crate::support::skip(needs);
    }
    eprintln!("SKIPPED: this test needs {needs}");
}

/// Returns helm's output; fails if helm failed.
fn printed(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The documents of the release `site` of a chart, each strictly typed; `None` without helm.
fn rendered(chart: &Path, arguments: &[&str]) -> Option<Vec<Value>> {
    let folder = chart.to_str().unwrap();
    let output = helm(&[&["template", "site", folder], arguments].concat())?;
    let documents: Vec<Value> = strict::documents(&printed(&output)).unwrap();
    for document in &documents {
        strict::check(document).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
    Some(documents)
}

fn template(arguments: &[&str]) -> Option<Vec<Value>> {
    rendered(&file(CHART), arguments)
}

/// The one document of that kind and name among these.
fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    let found: Vec<&Value> = documents.iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn kinds(documents: &[Value]) -> Vec<(String, String)> {
    let mut found: Vec<_> = documents
        .iter()
        .map(|document| (word(&document["kind"]).to_owned(), word(&document["metadata"]["name"]).to_owned()))
        .collect();
    found.sort();
    found
}

#[test]
fn helm_has_nothing_to_object_to() {
    let Some(output) = helm(&["lint", "--strict", file(CHART).to_str().unwrap()]) else { return };
    assert!(printed(&output).contains("0 chart(s) failed"));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = strict::documents(&text("charts/pushsync/Chart.yaml")).unwrap().remove(0);
    assert_eq!(word(&chart["appVersion"]), env!("CARGO_PKG_VERSION"));
    assert_eq!(word(&chart["version"]), env!("CARGO_PKG_VERSION"));
}
