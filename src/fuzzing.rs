//! The table of fuzz targets: one for each parser of untrusted bytes, with the properties that must hold for any
//! input.
//!
//! Not part of the product: compiled for `cargo fuzz` (which sets `cfg(fuzzing)`) and for the tests, which replay the
//! seeds and all inputs that ever caused a failure. Each area keeps its targets in a file `fuzzing.rs`, which can
//! access its private items. A target panics if a property is violated.

mod leaves;
mod patterns;

use crate::{config, dashboard, git, history, log, peers, publish, server};

/// The name of a target and its function.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// Every target. `fuzz/fuzz_targets/` has one file for each, `fuzz/seeds/` a folder.
pub const TARGETS: [FuzzTarget; 28] = [
    ("signature_header", leaves::signature_header),
    ("form_body", server::fuzzing::form_body),
    ("push_payload", server::fuzzing::push_payload),
    ("peer_message", peers::fuzzing::peer_message),
    ("pkt_line", git::fuzzing::pkt_line),
    ("capabilities", git::fuzzing::capabilities),
    ("ls_refs", git::fuzzing::ls_refs),
    ("fetch_answer", git::fuzzing::fetch_answer),
    ("lfs_answer", git::fuzzing::lfs_answer),
    ("lfs_pointer", leaves::lfs_pointer),
    ("known_hosts", git::fuzzing::known_hosts),
    ("tree_object", publish::fuzzing::tree_object),
    ("tree_name", publish::fuzzing::tree_name),
    ("packed_blob", publish::fuzzing::packed_blob),
    ("history_file", history::fuzzing::history_file),
    ("config_values", config::fuzzing::config_values),
    ("git_config", config::fuzzing::git_config),
    ("remote_url", leaves::remote_url),
    ("gitmodules", git::fuzzing::gitmodules),
    ("module_url", git::fuzzing::module_url),
    ("filter_spec", git::fuzzing::filter_spec),
    ("attributes", patterns::attributes),
    ("sparse_file", patterns::sparse_file),
    ("scrub", leaves::scrub),
    ("text_escape", log::fuzzing::text_escape),
    ("api_json", leaves::api_json),
    ("dashboard_stream", dashboard::fuzzing::dashboard_stream),
    ("dashboard_text", dashboard::fuzzing::dashboard_text),
];

/// Runs one target with one input.
///
/// # Panics
/// If a property is violated, or the target does not exist.
pub fn run(name: &str, data: &[u8]) {
    // By name and not by index, so that a stored input stays with its target when the table changes.
    let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) else { panic!("no target `{name}`") };
    target(data);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Seeds are real data or close to it; the inputs in `fuzz/regressions` caused a failure once.
    #[test]
    fn every_seed_and_every_input_that_broke_something_is_replayed() {
        let mut broken = Vec::new();
        for (name, target) in TARGETS {
            let mut inputs = 0;
            for kind in ["seeds", "regressions"] {
                let Ok(entries) = fs::read_dir(folder().join(kind).join(name)) else { continue };
                for entry in entries {
                    let path = entry.unwrap().path();
                    let input = fs::read(&path).unwrap();
                    // Inputs may be truncated, so every target is also run with the first part of its seeds.
                    let step = (input.len() / 64).max(1);
                    let mut all = || (0..=input.len()).rev().step_by(step).for_each(|end| target(&input[..end]));
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut all)).is_err() {
                        broken.push(path);
                    }
                    inputs += 1;
                }
            }
            assert!(inputs > 0, "{name} has no seeds");
        }
        assert_eq!(broken, Vec::<PathBuf>::new(), "why stands above");
    }

    #[test]
    fn table_programs_and_seeds_name_the_same_targets() {
        let table: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&folder().join("fuzz_targets")), table);
        assert_eq!(names(&folder().join("seeds")), table);
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for name in &table {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
            let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("fuzzing::run(\"{name}\"")), "{name} runs another target");
        }
    }
}
