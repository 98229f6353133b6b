//! The scripts that the release workflow calls, on a copy of the files that they read.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PLATFORMS: [&str; 4] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"];

/// A folder with the scripts, Cargo.toml and this changelog.
fn copy(changelog: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir(folder.path().join("scripts")).unwrap();
    for file in
        ["Cargo.toml", "LICENSE", "scripts/release-notes", "scripts/release-archive", "scripts/release-checksums"]
    {
        fs::copy(root.join(file), folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join("CHANGELOG.md"), changelog).unwrap();
    folder
}

/// Runs a script. Returns its standard output, or its standard error if it failed.
fn run(folder: &TempDir, script: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(folder.path().join("scripts").join(script));
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn the_notes_of_a_release_are_the_section_of_its_version() {
    let section = format!("## [Unreleased]\n\n- later\n\n## [{VERSION}] - 2026-12-01\n\n### Added\n\n- this\n\n");
    let folder = copy(&format!("# Changelog\n\n{section}## [0.0.9]\n\n- before\n"));
    for version in [VERSION.to_owned(), format!("v{VERSION}")] {
        assert_eq!(run(&folder, "release-notes", &[&version]).unwrap(), "### Added\n\n- this\n");
    }
    // The last section of the file, too.
    let folder = copy(&format!("# Changelog\n\n{section}"));
    assert_eq!(run(&folder, "release-notes", &[VERSION]).unwrap(), "### Added\n\n- this\n");
    let refused = run(&folder, "release-notes", &["99.0.0"]).unwrap_err();
    assert!(refused.contains(&format!("Cargo.toml has the version {VERSION}, not 99.0.0")), "{refused}");
    for without in
        ["# Changelog\n\n## [Unreleased]\n\n- later\n".to_owned(), format!("## [{VERSION}]\n\n## [0.0.9]\n- a\n")]
    {
        let refused = run(&copy(&without), "release-notes", &[VERSION]).unwrap_err();
        assert!(refused.contains("no section") && refused.contains("or an empty one"), "{refused}");
    }
    assert!(run(&folder, "release-notes", &[]).unwrap_err().contains("usage"));
}

#[test]
fn the_checksums_are_those_of_all_archives() {
    let folder = copy("");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["-c", "user.name=a", "-c", "user.email=a@b.test", "commit", "--quiet", "--allow-empty", "--message=a"]);
    fs::write(folder.path().join("program"), "#!/bin/sh\necho a program\n").unwrap();
    let dist = folder.path().join("target/dist");
    for platform in PLATFORMS {
        let made = run(&folder, "release-archive", &["program", platform]).unwrap();
        assert_eq!(made.trim_end(), format!("target/dist/pushsync-{VERSION}-{platform}.tar.gz"));
    }
    assert!(run(&folder, "release-archive", &["program", "windows-amd64"]).unwrap_err().contains("usage"));
    let lacking = run(&folder, "release-checksums", &[dist.to_str().unwrap()]).unwrap_err();
    assert!(lacking.contains(&format!("lacks pushsync-{VERSION}.cdx.json")), "{lacking}");
    fs::write(dist.join(format!("pushsync-{VERSION}.cdx.json")), "{}").unwrap();
    let sums = run(&folder, "release-checksums", &[dist.to_str().unwrap()]).unwrap();
    assert_eq!(sums.lines().count(), 5, "{sums}");
    assert_eq!(fs::read_to_string(dist.join("SHA256SUMS")).unwrap(), sums);
    let check = Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&dist).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    // The program in an archive can be run, and the same input gives the same bytes.
    let archive = dist.join(format!("pushsync-{VERSION}-linux-amd64.tar.gz"));
    let before = fs::read(&archive).unwrap();
    run(&folder, "release-archive", &["program", "linux-amd64"]).unwrap();
    assert!(before == fs::read(&archive).unwrap(), "the archives differ");
    let untar = Command::new("tar").arg("-xzf").arg(&archive).current_dir(folder.path()).status().unwrap();
    assert!(untar.success());
    let output = Command::new(folder.path().join("pushsync")).output().unwrap();
    assert_eq!(output.stdout, b"a program\n");
}
