//! The way to a node of a YAML tree.
//!
//! It must not know the text.

use super::yaml::{Content, Node};

/// One step to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathStep<'a> {
    Key(&'a str),
    Item(usize),
}

/// The node at the end of a path.
pub(super) fn node_mut<'n>(node: &'n mut Node, path: &[PathStep]) -> Option<&'n mut Node> {
    path.iter().try_fold(node, |node, step| match (step, &mut node.content) {
        (PathStep::Key(key), Content::Mapping { entries, .. }) => {
            entries.iter_mut().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
        }
        (PathStep::Item(index), Content::Sequence { items, .. }) => items.get_mut(*index),
        _ => None,
    })
}

/// Calls `visit` for each scalar that is a value.
pub(super) fn scalars<'n>(
    node: &'n Node,
    path: &mut Vec<PathStep<'n>>,
    visit: &mut dyn FnMut(&[PathStep<'n>], &'n str),
) {
    match &node.content {
        Content::Scalar { text, .. } => visit(path, text),
        // The text that an alias stands for is visited at its anchor.
        Content::Alias(_) => {}
        Content::Sequence { items, .. } => {
            for (index, item) in items.iter().enumerate() {
                path.push(PathStep::Item(index));
                scalars(item, path, visit);
                path.pop();
            }
        }
        Content::Mapping { entries, .. } => {
            for (key, value) in entries {
                // The key itself is not visited: only values are the example's names.
                path.push(PathStep::Key(key.text().unwrap_or_default()));
                scalars(value, path, visit);
                path.pop();
            }
        }
    }
}

/// A step that does not borrow from the tree.
pub(super) enum Owned {
    Key(String),
    Item(usize),
}

impl Owned {
    pub(super) fn step(&self) -> PathStep<'_> {
        match self {
            Self::Key(key) => PathStep::Key(key),
            Self::Item(index) => PathStep::Item(*index),
        }
    }
}

pub(super) fn owned(path: &[PathStep]) -> Vec<Owned> {
    let own = |step: &PathStep| match step {
        PathStep::Key(key) => Owned::Key((*key).to_owned()),
        PathStep::Item(index) => Owned::Item(*index),
    };
    path.iter().map(own).collect()
}

/// The path as a user would write it.
pub(super) fn name(path: &[PathStep]) -> String {
    let part = |step: &PathStep| match step {
        PathStep::Key(key) => format!(".{key}"),
        PathStep::Item(index) => format!("[{index}]"),
    };
    match path.iter().map(part).collect::<Vec<_>>().concat().trim_start_matches('.') {
        "" => "the object".to_owned(),
        name => name.to_owned(),
    }
}
