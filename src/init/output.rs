//! Files: reads the manifest that is to be changed, and writes a folder of manifests.
//!
//! It must not know what is in them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::sheet::EditRefusal;
use super::site;

/// No manifest is larger: a server takes objects of up to 1.5 MB.
const LARGEST: u64 = 8 << 20;

/// The reason for the user.
#[derive(Debug)]
pub(super) struct Failure(pub String);

impl Failure {
    /// A defect: a value of the user's that passed the checks does not fit a template.
    pub(super) fn template(refusal: &EditRefusal) -> Self {
        Self(format!("a template cannot be filled in: {refusal}. This is a defect of pushsync"))
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let told = |error: io::Error| Failure(format!("cannot read {shown}: {error}"));
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(told)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure(format!("{shown} is larger than 8 MiB, so it is no manifest")));
    }
    String::from_utf8(bytes).map_err(|_| Failure(format!("{shown} is not UTF-8 text")))
}

/// Writes the files and a kustomization of them. Returns their names.
pub(super) fn write(
    folder: &Path,
    files: &[site::File],
    head: &str,
    overwrite: bool,
) -> Result<Vec<&'static str>, Failure> {
    let resources = files.iter().map(|file| format!("  - {}\n", file.name)).collect::<Vec<_>>().concat();
    let kustomization =
        format!("{head}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{resources}");
    let mut all: Vec<(&'static str, &str)> = files.iter().map(|file| (file.name, file.text.as_str())).collect();
    all.push(("kustomization.yaml", &kustomization));
    let told =
        |name: &str, error: &io::Error| Failure(format!("cannot write {}: {error}", folder.join(name).display()));
    fs::create_dir_all(folder).map_err(|error| told("", &error))?;
    let there: Vec<&str> = all.iter().map(|(name, _)| *name).filter(|name| folder.join(name).exists()).collect();
    if !overwrite && !there.is_empty() {
        let there = there.join(", ");
        return Err(Failure(format!("{} has {there} already; --overwrite replaces them", folder.display())));
    }
    for (name, text) in &all {
        let mut options = File::options();
        options.write(true);
        // A file that appeared in the meantime is not replaced either.
        let options = if overwrite { options.create(true).truncate(true) } else { options.create_new(true) };
        let mut file = options.open(folder.join(name)).map_err(|error| told(name, &error))?;
        file.write_all(text.as_bytes()).map_err(|error| told(name, &error))?;
    }
    Ok(all.into_iter().map(|(name, _)| name).collect())
}
