//! The list of the program's parts (a software bill of materials) in `CycloneDX` 1.5 JSON, as cargo knows them.
//!
//! No time and no serial number: the same lock file gives the same bytes.

use std::path::Path;

use serde_json::{Value, json};

use super::metadata::{Metadata, checksums};

/// A library in C that a crate brings along.
struct Vendored {
    name: &'static str,
    licence: &'static str,
    from: &'static str,
    /// The file of the crate that says the version, and behind which word; none: it stands behind the plus of the crate's.
    header: Option<(&'static str, &'static str)>,
}

const VENDORED: [Vendored; 4] = [
    // Its exception allows to link it into anything: see its COPYING.
    Vendored { name: "libgit2", licence: "GPL-2.0-only WITH GCC-exception-2.0", from: "libgit2-sys", header: None },
    Vendored {
        name: "libssh2",
        licence: "BSD-3-Clause",
        from: "libssh2-sys",
        header: Some(("libssh2/include/libssh2.h", "#define LIBSSH2_VERSION ")),
    },
    Vendored { name: "openssl", licence: "Apache-2.0", from: "openssl-src", header: None },
    Vendored {
        name: "zlib",
        licence: "Zlib",
        from: "libz-sys",
        header: Some(("src/zlib/zlib.h", "#define ZLIB_VERSION ")),
    },
];

/// The document, with a newline at its end.
pub fn render(metadata: &Metadata) -> String {
    let locked = checksums();
    let purl = |id: &str| format!("pkg:cargo/{}@{}", metadata.text(id, "name"), metadata.text(id, "version"));
    let ours = purl(&metadata.root);
    let reached = metadata.reached(false);
    let mut components = Vec::new();
    let mut edges = Vec::new();
    for id in &reached {
        let needs = metadata.needs(id, false);
        let mut needs: Vec<String> = needs.iter().filter(|id| reached.contains(*id)).map(|id| purl(id)).collect();
        let (name, version) = (metadata.text(id, "name"), metadata.text(id, "version"));
        if let Some(library) = VENDORED.iter().find(|library| library.from == name) {
            let component = vendored(library, version, Path::new(metadata.text(id, "manifest_path")));
            needs.push(component["bom-ref"].as_str().unwrap_or_default().to_owned());
            components.push(component);
        }
        needs.sort();
        edges.push(json!({"ref": purl(id), "dependsOn": needs}));
        if *id != metadata.root {
            let checksum = locked.get(&(name.to_owned(), version.to_owned()));
            let hashes: Vec<Value> =
                checksum.iter().map(|content| json!({"alg": "SHA-256", "content": content})).collect();
            components.push(json!({
                "type": "library", "bom-ref": purl(id), "name": name, "version": version, "purl": purl(id),
                "licenses": [{"expression": metadata.text(id, "license").replace('/', " OR ")}], "hashes": hashes,
            }));
        }
    }
    for component in &components {
        if component["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:generic/")) {
            edges.push(json!({"ref": component["bom-ref"], "dependsOn": []}));
        }
    }
    components.sort_by_key(|component| component["bom-ref"].to_string());
    edges.sort_by_key(|edge| edge["ref"].to_string());
    let document = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": ours, "name": metadata.text(&metadata.root, "name"),
            "version": metadata.text(&metadata.root, "version"), "purl": ours,
            "licenses": [{"expression": metadata.text(&metadata.root, "license")}],
        }},
        "components": components,
        "dependencies": edges,
    });
    format!("{document:#}\n")
}

fn vendored(library: &Vendored, version: &str, manifest: &Path) -> Value {
    let version = match library.header {
        None => version.split_once('+').map_or(version, |(_, version)| version).to_owned(),
        Some((header, word)) => {
            let text = std::fs::read_to_string(manifest.with_file_name(header)).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap();
            line.trim().trim_matches('"').to_owned()
        }
    };
    let (name, licence) = (library.name, library.licence);
    let purl = format!("pkg:generic/{name}@{version}");
    json!({
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        "licenses": [{"expression": licence}],
    })
}
