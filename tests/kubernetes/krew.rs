//! The manifest of `scripts/krew-manifest`: krew's types with every field, krew's own rules, and an installation as krew does it.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use serde::Deserialize;

use super::*;

/// krew.googlecontainertools.github.com/v1alpha2, from the reference for writers of manifests.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: PluginSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginSpec {
    version: String,
    homepage: String,
    short_description: String,
    description: String,
    #[serde(default)]
    caveats: String,
    platforms: Vec<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Platform {
    selector: Selector,
    uri: String,
    sha256: String,
    bin: String,
    #[serde(default)]
    files: Vec<FileOperation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOperation {
    from: String,
    to: String,
}

const PLATFORMS: [&str; 4] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];

/// The archives of a release of the version 1.2.3, as its scripts make them, with the program of these tests.
fn release(folder: &Path) {
    std::fs::copy(env!("CARGO_BIN_EXE_pushsync"), folder.join("pushsync")).unwrap();
    std::fs::copy(file("LICENSE"), folder.join("LICENSE")).unwrap();
    let run = |command: &str| {
        let output = Command::new("sh").args(["-ec", command]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run("tar -czf pushsync-1.2.3-linux-amd64.tar.gz LICENSE pushsync");
    for platform in &PLATFORMS[1..] {
        std::fs::write(folder.join(format!("pushsync-1.2.3-{platform}.tar.gz")), platform).unwrap();
    }
    run("sha256sum -- *.tar.gz > SHA256SUMS; rm pushsync LICENSE");
}

fn manifest(arguments: &[&str]) -> Output {
    Command::new(file("scripts/krew-manifest")).args(arguments).env_remove("GITHUB_REPOSITORY").output().unwrap()
}

fn plugin(folder: &Path) -> Plugin {
    let sums = folder.join("SHA256SUMS");
    let output = manifest(&["v1.2.3", sums.to_str().unwrap(), "acme/pushsync"]);
    assert!(output.status.success(), "{output:?}");
    let mut documents: Vec<Plugin> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

#[test]
fn the_manifest_is_one_that_krew_accepts() {
    let folder = tempfile::tempdir().unwrap();
    release(folder.path());
    let plugin = plugin(folder.path());
    assert_eq!(plugin.api_version, "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((plugin.kind.as_str(), plugin.metadata.name.as_str()), ("Plugin", "pushsync"));
    let spec = plugin.spec;
    assert_eq!((spec.version.as_str(), spec.homepage.as_str()), ("v1.2.3", "https://github.com/acme/pushsync"));
    // The index of krew wants a short one that does not say "kubectl".
    assert!(
        spec.short_description.len() <= 50 && !spec.short_description.contains(['\n', '.']),
        "{}",
        spec.short_description
    );
    assert!(!spec.description.is_empty() && spec.caveats.contains("role.yaml"));
    assert!(file("k8s/sidecar/role.yaml").is_file());
    let sums = std::fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
    let mut found = Vec::new();
    for platform in &spec.platforms {
        let labels = &platform.selector.match_labels;
        assert!(platform.selector.match_expressions.is_empty());
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["arch", "os"]);
        let name = format!("{}-{}", labels["os"], labels["arch"]);
        let archive = format!("pushsync-1.2.3-{name}.tar.gz");
        assert_eq!(platform.uri, format!("https://github.com/acme/pushsync/releases/download/v1.2.3/{archive}"));
        assert!(sums.contains(&format!("{}  {archive}\n", platform.sha256)), "{name}");
        assert!(platform.files.iter().any(|operation| operation.from == platform.bin && operation.to == "."));
        // The index wants the license in the plugin's folder.
        assert!(platform.files.iter().any(|operation| operation.from == "LICENSE"));
        found.push(name);
    }
    assert_eq!(found, PLATFORMS);
}

/// krew unpacks the archive, copies `files`, and links `bin` as `kubectl-NAME` into a folder of the PATH.
#[test]
fn an_installation_as_krew_does_it_is_a_plugin_of_kubectl() {
    let Some(kubectl) = kubectl() else { return };
    let folder = tempfile::tempdir().unwrap();
    release(folder.path());
    let plugin = plugin(folder.path());
    let platform = &plugin.spec.platforms[0];
    let archive = platform.uri.rsplit('/').next().unwrap();
    let (unpacked, store, path) =
        (folder.path().join("unpacked"), folder.path().join("store"), folder.path().join("bin"));
    for each in [&unpacked, &store, &path] {
        std::fs::create_dir(each).unwrap();
    }
    let tar =
        Command::new("tar").arg("-xzf").arg(folder.path().join(archive)).arg("-C").arg(&unpacked).output().unwrap();
    assert!(tar.status.success());
    for operation in &platform.files {
        std::fs::copy(unpacked.join(&operation.from), store.join(&operation.to).join(&operation.from)).unwrap();
    }
    std::os::unix::fs::symlink(store.join(&platform.bin), path.join(format!("kubectl-{}", plugin.metadata.name)))
        .unwrap();
    let search = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let output = Command::new(kubectl).args(["pushsync", "--version"]).env("PATH", search).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains(env!("CARGO_PKG_VERSION")), "{output:?}");
}

#[test]
fn what_is_missing_is_named_and_nothing_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    release(folder.path());
    let sums = folder.path().join("SHA256SUMS");
    let sums = sums.to_str().unwrap();
    for (arguments, message) in [
        (vec![], "usage: scripts/krew-manifest VERSION SHA256SUMS [OWNER/NAME]"),
        (vec!["next", sums, "a/b"], "'next' is no semantic version"),
        (vec!["1.2.3", sums], "name the repository at github.com: OWNER/NAME"),
        (vec!["1.2.3", sums, "https://github.com/a/b"], "name the repository at github.com: OWNER/NAME"),
        (vec!["1.2.3", "no-such-file", "a/b"], "there is no file 'no-such-file'"),
        (vec!["1.2.4", sums, "a/b"], "must have one SHA-256 sum for pushsync-1.2.4-linux-amd64.tar.gz"),
    ] {
        let output = manifest(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty() && error.contains(message), "{output:?}");
    }
}
