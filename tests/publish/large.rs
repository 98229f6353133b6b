//! Files larger than what is read as a whole: written piece by piece out of blobs and deltas, byte for byte.

use std::fs;
use std::os::unix::fs::MetadataExt;

use pushsync::publish::Verdict;
use pushsync::worker::Cancel;

use super::fixture::Site;

/// Bytes that do not compress, the same each time.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes
}

#[test]
fn a_large_file_is_written_as_it_is_whether_blob_or_chain_of_deltas() {
    let site = Site::new();
    let volume = site.volume();
    // Three versions that differ in places, so that git makes deltas of them when it is told to.
    let mut content = noise(12 << 20, 1);
    let mut versions = vec![content.clone()];
    for round in 0..2_usize {
        content.splice((3 << 20) + round..(3 << 20) + round, noise(500, 7 + round as u64));
        content.truncate(content.len() - 100);
        versions.push(content.clone());
    }
    let commit = |content: &Vec<u8>| {
        site.write("large.bin", content);
        site.commit()
    };
    let commits: Vec<_> = versions.iter().map(commit).collect();
    site.git(&["-c", "pack.window=10", "-c", "core.bigFileThreshold=1g", "repack", "-adfq"]);
    let objects =
        site.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectsize) %(deltabase)"]);
    let none = "0".repeat(40);
    let large = objects.lines().filter(|line| line.starts_with("blob 12"));
    let (whole, deltas): (Vec<_>, Vec<_>) = large.partition(|line| line.ends_with(&none));
    assert_eq!((whole.len(), deltas.len()), (1, 2), "the store should hold a chain of deltas: {objects}");
    for (commit, content) in commits.iter().zip(&versions) {
        volume.build(&site.store(), *commit, &Cancel::default()).unwrap();
        let file = site.tree_path(*commit).join("large.bin");
        assert!(fs::read(&file).unwrap() == *content, "{commit}");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
        assert_eq!(volume.verify(&site.store(), *commit, &Cancel::default()).unwrap(), Verdict::Whole);
        assert!(
            !fs::read_dir(site.store())
                .unwrap()
                .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("tmp_large") })
        );
    }
}

#[test]
fn a_large_file_whose_pack_is_damaged_is_an_error_and_no_file() {
    let site = Site::new();
    let volume = site.volume();
    site.write("large.bin", noise(12 << 20, 3));
    let commit = site.commit();
    site.git(&["-c", "core.bigFileThreshold=1", "repack", "-adfq"]);
    let pack = fs::read_dir(site.store().join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let error = volume.build(&site.store(), commit, &Cancel::default()).unwrap_err();
    assert!(error.store_is_damaged(), "{error}");
    assert!(!site.tree_path(commit).exists());
}
