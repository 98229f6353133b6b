//! The first start: from an empty volume to a published tree, beside `git clone --depth 1`.

use std::path::Path;
use std::time::Instant;

use crate::contestants::git;
use crate::figures::{self, Series};
use crate::options::Options;
use crate::ours::program;
use crate::remote::Remote;

pub fn run(options: &Options) {
    println!("first clone: the whole program, `--one-time`, beside `git clone --depth 1`; both with their trees\n");
    figures::head(&["files", "pushsync", "git clone --depth 1", "pushsync / clone"]);
    for files in options.files() {
        let mut remote = Remote::new(files);
        let (_, file) = remote.push(1);
        let (mut ours, mut theirs) = (Series::default(), Series::default());
        for round in 0..options.rounds(5) {
            let (root, copy) = (remote.at("root"), remote.at("copy"));
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    let mut command = program();
                    command.env_clear().args([&format!("--repo={}", remote.url()), "--ref=main", "--link=current"]);
                    command.args([&format!("--root={root}"), "--admin-bind=off", "--one-time"]);
                    let started = Instant::now();
                    let output = command.output().unwrap();
                    ours.add(started.elapsed());
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                    crate::ours::check(&Path::new(&root).join("current"), &file);
                } else {
                    let clone = ["clone", "-q", "--depth", "1", &remote.url(), &copy];
                    theirs.add(git(remote.home(), &clone));
                    crate::ours::check(Path::new(&copy), &file);
                }
            }
            std::fs::remove_dir_all(root).unwrap();
            std::fs::remove_dir_all(copy).unwrap();
        }
        let ratio = ours.median() / theirs.median();
        figures::row(&[files.to_string(), ours.to_string(), theirs.to_string(), format!("{ratio:.2}")]);
    }
}
