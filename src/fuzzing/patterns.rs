//! Targets for pattern files: sparse checkout and attributes (see src/fuzzing.rs).

use crate::attributes::{AttributeState, Rules, look_up};
use crate::sparse::{Sparse, Wanted};

/// Returns the first line as a path that is valid in a tree, and the rest.
fn path_and_file(data: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (first, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let names = first.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && !name.contains(&0)).take(20);
    let path: Vec<&[u8]> = names.map(|name| &name[..name.len().min(60)]).collect();
    let path = path.join(&b'/');
    (if path.is_empty() { b"a/b".to_vec() } else { path }, file)
}

/// A path always has the same attributes. Comments have no effect, the last line has the highest precedence in a
/// file, a nearer file has precedence over it, and only the file of the top folder defines macros.
pub(super) fn attributes(data: &[u8]) {
    let (path, file) = path_and_file(data);
    // Bytes after a zero byte are not read.
    let file = file.split(|byte| *byte == 0).next().unwrap_or_default();
    let get = |files: &[(&[u8], &Rules)], name: &str| look_up(files, &path).get(name).clone();
    let built_in = Rules::built_in();
    let rules = Rules::parse(file, true);
    let all = |rules: &Rules, name: &str| get(&[(b"", &built_in), (b"", rules)], name);
    let names = ["text", "eol", "ident", "filter", "working-tree-encoding", "binary", "diff", "x"];
    let with = |line: &str| Rules::parse(&[file, b"\n", line.as_bytes(), b"\n"].concat(), true);
    let (comment, last, negative) = (with("# * x"), with("* x=last -text"), with("!* x=negative"));
    for name in names {
        let value_before = all(&rules, name);
        assert_eq!(all(&rules, name), value_before, "{name}, twice");
        assert_eq!(all(&comment, name), value_before, "{name}, with a comment");
        assert_eq!(all(&negative, name), value_before, "{name}, with a negative pattern, which git ignores");
        if let AttributeState::Value(value) = value_before {
            assert!(!value.iter().any(|byte| b" \t\r\n".contains(byte)), "{value:?}");
        }
    }
    assert_eq!(all(&last, "x"), AttributeState::Value(b"last".to_vec()), "the last line counts");
    assert_eq!(all(&last, "text"), AttributeState::Unset);
    let nearer = Rules::parse(b"* x=nearer", false);
    let files: [(&[u8], &Rules); 3] = [(b"", &built_in), (b"", &rules), (b"", &nearer)];
    assert_eq!(get(&files, "x"), AttributeState::Value(b"nearer".to_vec()));
    // Without macros, a file has the same effect in every folder.
    if !file.windows(6).any(|part| part == b"[attr]") {
        let below = Rules::parse(file, false);
        for name in names {
            assert_eq!(all(&below, name), all(&rules, name), "{name}");
        }
    }
    let _ = rules.mentions(|name, state| {
        assert!(!name.is_empty() && name.is_ascii());
        *state == AttributeState::Set
    });
}

/// The decision about a folder holds for everything below it. Comments and empty lines have no effect. Patterns for
/// everything and for nothing have that effect.
pub(super) fn sparse_file(data: &[u8]) {
    let (path, file) = path_and_file(data);
    let sparse = Sparse::parse(file);
    assert_eq!(sparse.text(), file);
    let (wanted, as_module) = (sparse.file(&path), sparse.submodule(&path));
    assert_eq!((sparse.file(&path), sparse.submodule(&path)), (wanted, as_module), "twice");
    let folders = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut decided = None;
    for end in [0].into_iter().chain(folders) {
        let said = sparse.folder(&path[..end]);
        if let Some(before) = decided {
            assert_eq!(said, before, "a folder of a folder that was decided");
        }
        match said {
            Wanted::All => assert!(wanted && as_module, "all below {end} of {path:?}"),
            Wanted::Nothing => assert!(!wanted && !as_module, "nothing below {end} of {path:?}"),
            Wanted::Some => continue,
        }
        decided = Some(said);
    }
    let with = |lines: &[u8]| {
        let text = [file, b"\n", lines].concat();
        let sparse = Sparse::parse(&text);
        (sparse.file(&path), sparse.submodule(&path))
    };
    assert_eq!(with(b"# a comment\n\n\n"), (wanted, as_module));
    let everything = Sparse::parse(b"/*\n");
    assert!(everything.file(&path) && everything.folder(b"") == Wanted::All);
    // An empty file is cone mode without folders.
    assert_eq!(Sparse::parse(b"").file(&path), !path.contains(&b'/'));
}
