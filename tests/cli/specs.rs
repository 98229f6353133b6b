//! The containers of `support::specs`, read by the real parser: each starts, means what it says, and is told what it has to
//! be told, no more and no less.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pushsync::config::{Config, Exit, Invocation, parse};

use crate::support::specs::{self, Spec};

const COMMIT: &str = "1111111111222222222233333333334444444444";

fn ask(arguments: &[String], environment: &[(String, String)]) -> Result<Config, Exit> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match parse(arguments.iter().map(OsString::from), environment)? {
        Invocation::Run(config) => Ok(*config),
        _ => panic!("{arguments:?} is a run"),
    }
}

/// What the containers mount.
fn mounted(folder: &Path) {
    let authority = crate::support::tls::Authority::new();
    for (name, content) in [
        ("password", b"a-token-4711\n\n".to_vec()),
        ("ssh", b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec()),
        ("known_hosts", b"git.test ssh-ed25519 AAAA\n".to_vec()),
        ("cookie_file", b"git.test\tFALSE\t/\tTRUE\t0\to\tvalue-4711\n".to_vec()),
        ("ca.pem", authority.pem()),
        ("key", b"-----BEGIN RSA PRIVATE KEY-----\n".to_vec()),
        ("sparse", b"/dags/\n".to_vec()),
        ("hook", b"#!/bin/sh\n".to_vec()),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.join("hook"), executable).unwrap();
}

fn given(spec: &Spec, folder: &Path) -> (Vec<String>, Vec<(String, String)>) {
    let key = "-----BEGIN RSA PRIVATE KEY-----\n4711\n-----END RSA PRIVATE KEY-----\n";
    let filled = |text: &str| {
        let text = text.replace("FILES", &folder.display().to_string()).replace("COMMIT", COMMIT);
        text.replace("PRIVATE KEY", key)
    };
    let environment = spec.env.iter().map(|(name, value)| ((*name).to_owned(), filled(value)));
    (spec.args.iter().map(|text| filled(text)).collect(), environment.collect())
}

#[test]
fn specs_that_people_use_start_and_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    mounted(folder.path());
    let mut wrong = Vec::new();
    for spec in specs::all() {
        let of = spec.of;
        let (arguments, environment) = given(&spec, folder.path());
        let config = match ask(&arguments, &environment) {
            Ok(config) => config,
            Err(exit) => {
                wrong.push(format!("{of}: {}", exit.text));
                continue;
            }
        };
        let seconds = |duration: Duration| duration.as_secs();
        let (root, link) = (config.volume.root.display().to_string(), config.volume.link.display().to_string());
        let is = (&*config.sync.repo, &*config.sync.reference, &*root, &*link, seconds(config.sync.period));
        let reference = spec.reference.replace("COMMIT", COMMIT);
        let expected = (spec.repo, &*reference, spec.root, spec.link, spec.period);
        if is != expected {
            wrong.push(format!("{of}: {is:?} instead of {expected:?}"));
        }
        if (config.remote.depth, config.sync.one_time) != (spec.depth, spec.one_time) {
            wrong.push(format!("{of}: depth {}, one-time {}", config.remote.depth, config.sync.one_time));
        }
        let told: BTreeSet<&str> =
            config.warnings.iter().map(|warning| warning.split(": ").next().unwrap_or_default()).collect();
        if told != spec.told.iter().copied().collect() {
            wrong.push(format!("{of}: told {:#?} instead of {:?}", config.warnings, spec.told));
        }
        let warnings = config.warnings.join("\n");
        if warnings.contains("4711") || warnings.contains("a1b2c3d4") {
            wrong.push(format!("{of}: shows a secret: {warnings}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_git_sync_refuses_is_refused_with_a_way_out() {
    for refused in specs::refused() {
        let arguments: Vec<String> = refused.args.iter().map(|text| (*text).to_owned()).collect();
        let environment: Vec<(String, String)> =
            refused.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let exit = ask(&arguments, &environment).err().unwrap_or_else(|| panic!("{}: it starts", refused.of));
        assert!(exit.text.contains(refused.says), "{}: {}", refused.of, exit.text);
    }
}

/// One of a kind counts once: no two of them are given the same.
#[test]
fn the_table_holds_more_different_specs_than_were_tried_by_hand() {
    let mut seen = HashSet::new();
    for spec in specs::all() {
        assert!(seen.insert((spec.args, spec.env)), "{}: is in the table twice", spec.of);
    }
    assert!(seen.len() >= 61, "{} specs", seen.len());
    println!("{} specs that start, {} that are refused", seen.len(), specs::refused().len());
}
