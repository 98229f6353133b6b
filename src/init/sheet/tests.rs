//! Edits of texts in every notation: what is added is there, and everything else keeps its bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::PathStep::{Item, Key};
use super::*;

const PATH: [PathStep<'static>; 2] = [Key("spec"), Key("volumes")];
const ITEM: &str = "- name: git\n  # why\n  emptyDir:\n    sizeLimit: 1Gi\n";

fn appended(text: &str) -> Result<String, EditRefusal> {
    let mut sheet = Sheet::new(text)?;
    sheet.append(0, &PATH, ITEM)?;
    sheet.finish()
}

/// The lines of `before` are those of `after` in the same order, but for the ones that were added.
fn keeps_lines(before: &str, after: &str) -> bool {
    let mut after = after.lines();
    before.lines().all(|line| after.any(|other| other == line))
}

#[test]
fn an_item_is_added_to_a_block_sequence_and_the_rest_is_kept() {
    for text in [
        "# head\nspec:\n  a: 1 # one\n  volumes:\n    # first\n    - name: x   # right\n\n    # behind\n  b: 'q'\n",
        "spec:\n  volumes:\n  - name: x\n  - name: y\n    text: |\n      - no item\n\n        # no comment\n\n  b: 1\n",
        "spec:\n  b: 1\n  volumes:\n    - name: x",
        "spec:\n    volumes:\n          - {name: x}\n---\nother: {}\n",
        "spec:\n  # none yet\n  b: [1, 2]\n  # end\n",
        "spec:\n  b: 1\n...\n---\nc: 1\n",
        "spec:\n  volumes: []\n  b: 1\n",
        "spec:\n  volumes: [] # none\n",
        "spec:\n  volumes:\n  b: 1\n",
        "spec:\n  volumes: null\n",
        "spec:\r\n  volumes:\r\n    - name: x\r\n  b: 1\r\n",
        // A byte order mark is no part of the first key (YAML 1.2, section 5.2).
        "\u{feff}spec:\n  volumes:\n    - name: ü\n",
    ] {
        let after = appended(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let mut expected = parse(text).unwrap()[0].json();
        let volumes = expected["spec"].as_object_mut().unwrap().entry("volumes").or_insert(json!([]));
        if volumes.is_null() {
            *volumes = json!([]);
        }
        volumes.as_array_mut().unwrap().push(json!({"name": "git", "emptyDir": {"sizeLimit": "1Gi"}}));
        let documents = parse(&after).unwrap();
        assert_eq!(documents[0].json(), expected, "{after}");
        assert_eq!(documents[1..], parse(text).unwrap()[1..], "{after}");
        assert!(after.contains("# why"), "{after}");
        let replaced = text.contains("[]") || text.contains("null");
        assert!(replaced || keeps_lines(text, &after), "{after}");
        assert_eq!(after.matches("\r\n").count(), if text.contains('\r') { after.lines().count() } else { 0 });
    }
}

#[test]
fn an_item_is_added_in_flow_notation() {
    for text in [
        "{\"spec\": {\"volumes\": [{\"name\": \"x\"}], \"b\": 1}}\n",
        "{\"spec\": {\"volumes\": [], \"b\": {\"c\": {}}}}",
        "{\"spec\": {\"b\": {\"c\": {}}}}\n",
        "spec:\n  volumes: [{name: x}, ] # right\n  b: 1\n",
        "spec: {b: 1}\n",
    ] {
        let after = appended(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
        let volumes = parse(&after).unwrap()[0].at(&["spec", "volumes"]).unwrap().json();
        let last = volumes.as_array().unwrap().last().unwrap();
        assert_eq!(*last, json!({"name": "git", "emptyDir": {"sizeLimit": "1Gi"}}), "{after}");
        assert_eq!(after.lines().count(), text.lines().count(), "{after}");
    }
}

#[test]
fn shared_nodes_and_unexpected_forms_are_refused() {
    let shared =
        |text: &str| assert!(matches!(appended(text), Err(EditRefusal::Shared(_))), "{text}: {:?}", appended(text));
    shared("x: &v [a]\nspec:\n  volumes: *v\n");
    shared("spec:\n  volumes: &v\n    - a\nx: *v\n");
    shared("d: &d {volumes: [a]}\nspec:\n  <<: *d\n  b: 1\n");
    for text in [
        "spec:\n  volumes: many\n",
        "spec:\n  volumes: {a: 1}\n",
        "spec: word\n",
        // An item that begins below its dash: the column of the dash is not on the item's line.
        "spec:\n  volumes:\n    -\n      name: x\n",
    ] {
        assert!(matches!(appended(text), Err(EditRefusal::Form(_))), "{text}: {:?}", appended(text));
    }
    // Its empty lines at the end are its content, and a line that is added before them would cut them off.
    let kept = "spec:\n  volumes:\n    - x\n    - |+\n      a\n\n  b: 1\n";
    assert_eq!(appended(kept), Err(EditRefusal::Uncertain));
}

#[test]
fn scalars_and_mappings_are_replaced_and_entries_added_and_removed() {
    let text = "a: site # right\nb:\n  c: site\n  d: no site\ne:\n  - f: 1\n    g: 2\n  - site\n";
    let mut sheet = Sheet::new(text).unwrap();
    sheet.replace(&|text| (text == "site").then(|| json!("x: y"))).unwrap();
    sheet.add(0, &[Key("b")], Some("c"), "n: 5").unwrap();
    sheet.remove(0, &[Key("e"), Item(0), Key("g")]).unwrap();
    let expected = "a: \"x: y\" # right\nb:\n  c: \"x: y\"\n  n: 5\n  d: no site\ne:\n  - f: 1\n  - \"x: y\"\n";
    assert_eq!(sheet.finish().unwrap(), expected);

    let mut sheet = Sheet::new(text).unwrap();
    sheet.set(0, &[Key("b")], &json!({"k": "v", "l": "1"})).unwrap();
    sheet.remove(0, &[Key("e"), Item(0)]).unwrap();
    assert_eq!(sheet.finish().unwrap(), "a: site # right\nb:\n  k: v\n  l: \"1\"\ne:\n  - site\n");
}

proptest! {
    /// Manifests in any notation: the lines of the text are kept, and the objects differ by the addition only.
    #[test]
    fn any_manifest_keeps_everything_else(
        words in vec("[a-z]{1,3}|'[ -&(-~]{0,6}'|[0-9]{1,4}|\\|\n {8}x\n\n {10}# y", 1..5),
        comments in vec("( *# ?[a-z:-]{0,8})?", 5),
        step in 1_usize..5,
        list in 0_usize..4,
        blank in any::<bool>(),
    ) {
        let (one, two) = (" ".repeat(step), " ".repeat(2 * step));
        // The content of a block scalar is further in than every key here.
        let keys = words.iter().enumerate().map(|(number, word)| format!("{one}k{number}: {word}\n"));
        let keys = keys.collect::<Vec<_>>().concat();
        let items = (0..list).map(|number| format!("{one}- name: v{number}{}\n", lead(&comments[3])));
        let items = items.collect::<Vec<_>>().concat();
        let volumes = format!("{one}volumes:{}\n{items}{two}{}\n", lead(&comments[2]), comments[4].trim_start());
        let text = format!(
            "a: 1{}\nspec:{}\n{keys}{}{}{one}last: [x]\n---\nb: 2\n",
            lead(&comments[0]),
            lead(&comments[1]),
            if blank { "\n" } else { "" },
            if list > 0 { volumes.as_str() } else { "" },
        );
        let after = appended(&text).unwrap();
        prop_assert!(keeps_lines(&text, &after), "{text}\n{after}");
        let mut expected: Vec<_> = parse(&text).unwrap().iter().map(Node::json).collect();
        let spec = expected[0]["spec"].as_object_mut().unwrap();
        let volumes = spec.entry("volumes").or_insert(json!([])).as_array_mut().unwrap();
        volumes.push(json!({"name": "git", "emptyDir": {"sizeLimit": "1Gi"}}));
        let found: Vec<_> = parse(&after).unwrap().iter().map(Node::json).collect();
        prop_assert_eq!(found, expected);
    }
}

/// A comment needs a blank before it.
fn lead(comment: &str) -> String {
    if comment.is_empty() { String::new() } else { format!(" {comment}") }
}
