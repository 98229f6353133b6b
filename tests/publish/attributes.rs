//! `.gitattributes`: the bytes that git's own checkout writes, for every file of random commits.
#![allow(clippy::format_collect, clippy::format_push_string, reason = "said shortly")]

use git2::Oid;
use pushsync::publish::{CheckoutOptions, Prepared, Verdict, Volume};
use pushsync::worker::Cancel;

use super::checkout::checked_out;
use super::fixture::{LONG, Site, listing};
use super::model::{FILE, LINK, Model, commit};
use super::patterns;

const PIECES: [&[u8]; 27] = [
    b"one\n",
    b"two\n",
    b"dos\r\n",
    b"\r",
    b"\n",
    b"\r\r\n",
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x1b\x0c\t",
    b"\x1a",
    b"$Id$",
    b"$Id: 0123 $",
    b"$Id: a b c $",
    b"$Id:$",
    b"$Id:x$",
    b"$Id: cut\n $",
    b"$$Id$",
    b"$Idx$Id: y$",
    b"$Id\0$",
    b"$I",
    b"$Id: unfinished",
    "caf\u{e9}".as_bytes(),
    "\u{20ac}\u{1f980}".as_bytes(),
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"text that is long enough to make a few odd bytes look harmless, which takes one hundred and twenty-eight of them for each one.\n",
];

fn content(random: &mut fastrand::Rng) -> Vec<u8> {
    // Most files are of few kinds of pieces, so that plain text is among them.
    let kinds: Vec<&[u8]> = (0..random.usize(1..4)).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
    (0..random.usize(0..12)).flat_map(|_| kinds[random.usize(..kinds.len())].to_vec()).collect()
}

fn lines(random: &mut fastrand::Rng, top: bool) -> Vec<u8> {
    let mut text = String::new();
    if random.u8(..12) == 0 {
        text.push('\u{feff}');
    }
    for _ in 0..random.usize(1..7) {
        if random.u8(..8) == 0 {
            let name = random.choice(["win", "mine", "binary"]).unwrap();
            text += &format!("[attr]{name} {} {}\n", assignment(random), assignment(random));
            continue;
        }
        let pattern = match random.u8(..5) {
            4 => "*".to_owned(),
            0 => patterns::pattern(random).replace(' ', "?"),
            1 => format!("\"{}\"", patterns::name(random)),
            2 => format!("*{}", random.choice(["", ".txt", ".md", ".c", "f"]).unwrap()),
            _ => random.choice(["*", "f", "/f", "a/**", "**/f", "docs/*", "# f", "a.txt"]).unwrap().to_owned(),
        };
        text += &pattern;
        for _ in 0..random.usize(0..4) {
            text.push_str(random.choice([" ", "\t", "  "]).unwrap());
            text += assignment(random);
        }
        text += random.choice(["\n", "\n", "\r\n", " \n"]).unwrap();
    }
    assert!(top || !text.is_empty());
    text.into_bytes()
}

fn assignment(random: &mut fastrand::Rng) -> &'static str {
    random
        .choice([
            "text",
            "-text",
            "!text",
            "text=auto",
            "text=auto",
            "text=input",
            "eol=crlf",
            "eol=crlf",
            "eol=crlf",
            "eol=lf",
            "!eol",
            "-eol",
            "eol",
            "crlf",
            "-crlf",
            "crlf=input",
            "crlf=auto",
            "ident",
            "ident",
            "-ident",
            "!ident",
            "ident=x",
            "binary",
            "-binary",
            "win",
            "mine",
            "filter=none",
            "filter=lfs",
            "diff=c",
            "bad/name",
            "working-tree-encoding=UTF-16",
            "working-tree-encoding=utf16",
            "working-tree-encoding=UTF-16LE",
            "working-tree-encoding=UTF-16BE",
            "working-tree-encoding=UTF-16LE-BOM",
            "working-tree-encoding=UTF-16BE-BOM",
            "working-tree-encoding=UTF-32",
            "working-tree-encoding=UTF-32LE",
            "working-tree-encoding=UTF-32BE",
            "working-tree-encoding=UTF-8",
            "working-tree-encoding=utf8",
            "working-tree-encoding=latin1",
            "working-tree-encoding=latin-1",
            "working-tree-encoding=ISO-8859-15",
            "working-tree-encoding=CP1252",
            "working-tree-encoding=US-ASCII",
            "working-tree-encoding=no-such",
            "!working-tree-encoding",
        ])
        .unwrap()
}

fn model(random: &mut fastrand::Rng) -> Model {
    let mut model: Model = patterns::paths(random).into_iter().map(|path| (path, (FILE, content(random)))).collect();
    model.insert(".gitattributes".to_owned(), (FILE, lines(random, true)));
    for folder in ["a", "docs", "a/b"] {
        if random.bool() && !model.contains_key(folder) {
            // A link is not followed by git, but its target is read as if it were the file.
            let mode = if random.u8(..8) == 0 { LINK } else { FILE };
            model.insert(format!("{folder}/.gitattributes"), (mode, lines(random, false)));
        }
    }
    model
}

fn compare(site: &Site, volume: &Volume, commit: Oid, model: &Model) -> usize {
    let (ours, gits) = (listing(&site.tree_path(commit)), checked_out(site, commit, None));
    for (path, (mode, content)) in &gits {
        let (our_mode, our_content) = &ours[path];
        let stored =
            path.to_str().and_then(|path| model.get(path)).map(|(_, content)| content.escape_ascii().to_string());
        assert_eq!(our_mode, mode, "{}", path.display());
        assert_eq!(
            our_content.escape_ascii().to_string(),
            content.escape_ascii().to_string(),
            "{} {stored:?}\n{}",
            path.display(),
            model
                .iter()
                .filter(|(path, _)| path.ends_with(".gitattributes"))
                .map(|(path, (_, text))| format!("{path}:\n{}", String::from_utf8_lossy(text)))
                .collect::<String>()
        );
    }
    assert_eq!(ours.len(), gits.len());
    assert_eq!(volume.verify(&site.store(), commit, &Cancel::default()).unwrap(), Verdict::Whole);
    let changed = |(path, (_, content)): &(&std::path::PathBuf, &(u32, Vec<u8>))| {
        model.get(path.to_str().unwrap()).is_some_and(|(_, stored)| stored != content)
    };
    gits.iter().filter(changed).count()
}

#[test]
fn files_are_converted_as_git_converts_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let volume = site.volume();
    // What a top file says of `*` is about all forty files of a commit or none, so their number differs widely: 60 commits
    // had 280 to 574 for 14 seeds. It goes on until there were enough, instead of hoping that there were.
    let (mut converted, mut commits) = (0, 0);
    while commits < 60 || converted < 200 {
        assert!(commits < 180, "{converted} files of {commits} commits were not as they are stored");
        let model = model(&mut random);
        let commit = commit(&site, &model);
        site.put(&volume, commit);
        converted += compare(&site, &volume, commit, &model);
        commits += 1;
    }
    println!("{converted} files of {commits} commits were not as they are stored");
    assert!(converted >= 200);
}

#[test]
fn a_push_that_changes_attributes_changes_every_file_that_they_are_about() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new();
    let volume = site.volume_of(CheckoutOptions::default(), LONG);
    let mut model = model(&mut random);
    let mut incremental = 0;
    for _ in 0..40 {
        for _ in 0..random.usize(1..4) {
            let path = model.keys().nth(random.usize(..model.len())).unwrap().clone();
            if path.ends_with(".gitattributes") {
                if random.bool() {
                    model.insert(path, (FILE, lines(&mut random, true)));
                }
            } else {
                model.insert(path, (FILE, content(&mut random)));
            }
        }
        let commit = commit(&site, &model);
        let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
        volume.publish(commit).unwrap();
        incremental += usize::from(built.standby.is_some());
        compare(&site, &volume, commit, &model);
        assert_eq!(volume.prepare(&site.store(), &[], &Cancel::default()).unwrap(), Prepared::Ready(1));
    }
    println!("{incremental} of 40 trees were brought from the one before");
    assert!(incremental > 12, "{incremental}");
}

/// git does not follow it on the disk, and warns; at checkout it reads the blob, whatever its mode.
#[test]
fn a_link_in_the_place_of_the_file_is_read_as_git_reads_it() {
    let site = Site::new();
    site.write("real", "*.txt eol=crlf\n");
    for path in ["a.txt", "in/a.txt", "plain/a.txt"] {
        site.write(path, "one\ntwo\n");
    }
    std::os::unix::fs::symlink("real", site.work().join(".gitattributes")).unwrap();
    std::os::unix::fs::symlink("*.txt eol=crlf", site.work().join("in/.gitattributes")).unwrap();
    std::os::unix::fs::symlink("../real", site.work().join("plain/.gitattributes")).unwrap();
    let commit = site.commit();
    let volume = site.volume();
    site.put(&volume, commit);
    let (ours, gits) = (listing(&site.tree_path(commit)), checked_out(&site, commit, None));
    assert_eq!(ours, gits);
    assert_eq!(ours[std::path::Path::new("in/a.txt")].1, b"one\r\ntwo\r\n");
    assert_eq!(ours[std::path::Path::new("a.txt")].1, b"one\ntwo\n");
}

#[test]
fn an_edit_of_a_converted_file_is_found() {
    let site = Site::new();
    site.write(".gitattributes", "*.txt eol=crlf\n");
    let commit = site.commit_file("a.txt", "one\ntwo\n");
    let volume = site.volume();
    site.put(&volume, commit);
    let file = site.tree_path(commit).join("a.txt");
    assert_eq!(std::fs::read(&file).unwrap(), b"one\r\ntwo\r\n");
    for edit in [&b"one\ntwo\n"[..], b"one\r\ntwO\r\n", b"one\r\ntwo\r\nmore"] {
        std::fs::write(&file, edit).unwrap();
        let verdict = volume.verify(&site.store(), commit, &Cancel::default()).unwrap();
        assert!(matches!(&verdict, Verdict::Differs(how) if how.starts_with("a.txt ")), "{verdict:?}");
    }
    volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"one\r\ntwo\r\n");
}

#[test]
fn pointers_filters_and_unknown_encodings_are_told() {
    let site = Site::new();
    site.write(".gitattributes", "*.bin filter=lfs -text\n*.x filter=clever\n*.y working-tree-encoding=EBCDIC-IT\n");
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "ab".repeat(32));
    site.git(&["config", "filter.lfs.clean", "cat"]);
    site.write("deep/large.bin", &pointer);
    site.write("other.bin", &pointer);
    site.write("a.x", "x");
    let blob = site.blob(b"y");
    site.git(&["add", "-A"]);
    site.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},b.y")]);
    site.git(&["commit", "-q", "-m", "x"]);
    let commit = Oid::from_str(&site.git(&["rev-parse", "HEAD"])).unwrap();
    let volume = site.volume();
    let built = volume.build(&site.store(), commit, &Cancel::default()).unwrap();
    let said = built.remarks.join("\n");
    assert!(said.contains("2 of the files written are pointers of Git LFS"), "{said}");
    assert!(said.contains("filter=clever") && said.contains("EBCDIC-IT"), "{said}");
    assert_eq!(built.remarks.len(), 3);
    // Pointers are told each time, what does not change only once.
    site.write("more.bin", &pointer);
    let next = site.commit_file("b.x", "x");
    let again = volume.build(&site.store(), next, &Cancel::default()).unwrap().remarks;
    assert!(again.len() == 1 && again[0].contains("pointers of Git LFS"), "{again:?}");
}
