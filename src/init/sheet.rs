//! Careful edits of a YAML text: everything that is not changed keeps its bytes, comments and order included.
//!
//! Each edit is made twice, in the text and in the tree. At the end the text is parsed again and must be that tree. It
//! must not know what a manifest is.

use serde_json::Value;

use super::path::{Owned, name, node_mut, owned, scalars};
use super::scalar;
use super::yaml::{BadYaml, Content, Node, parse};

pub(super) use super::path::PathStep;

/// Why a text cannot be edited safely.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditRefusal {
    #[error(transparent)]
    Bad(#[from] BadYaml),
    #[error("`{0}` is shared by an anchor, an alias or a merge key, so a change there would change other places, too")]
    Shared(String),
    #[error("`{0}` is not of the expected form")]
    Form(String),
    #[error("the change would alter other parts of the text")]
    Uncertain,
}

struct Edit {
    at: usize,
    until: usize,
    insert: String,
    /// Of two insertions at one place the deeper one is first.
    depth: usize,
}

/// A text that is being edited.
pub(super) struct Sheet<'a> {
    text: &'a str,
    /// The documents as they are.
    documents: Vec<Node>,
    /// The documents as they will be.
    expected: Vec<Node>,
    edits: Vec<Edit>,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, EditRefusal> {
        let documents = parse(text)?;
        Ok(Self { text, expected: documents.clone(), documents, edits: Vec::new() })
    }

    pub(super) fn documents(&self) -> &[Node] {
        &self.documents
    }

    /// Replaces a scalar, or a mapping of scalars, by a value.
    pub(super) fn set(&mut self, document: usize, path: &[PathStep], value: &Value) -> Result<(), EditRefusal> {
        let node = self.find(document, path)?.ok_or_else(|| EditRefusal::Form(name(path)))?;
        let (at, until) = (node.start, last_byte(self.text, node));
        let column = self.column(at);
        let insert = match value {
            Value::Object(fields) => {
                let line = |(key, value): (&String, &Value)| {
                    format!("{}: {}", scalar::write(&Value::String(key.clone())), scalar::write(value))
                };
                fields.iter().map(line).collect::<Vec<_>>().join(&format!("\n{}", " ".repeat(column)))
            }
            other => scalar::write(other),
        };
        *node_mut(&mut self.expected[document], path).ok_or(EditRefusal::Uncertain)? = one(&insert, column)?;
        self.edits.push(Edit { at, until, insert, depth: column });
        Ok(())
    }

    /// Replaces every scalar for which there is a replacement.
    pub(super) fn replace(&mut self, replacement: &dyn Fn(&str) -> Option<Value>) -> Result<(), EditRefusal> {
        let mut found = Vec::new();
        for (number, document) in self.documents.iter().enumerate() {
            scalars(document, &mut Vec::new(), &mut |path, text| {
                if let Some(value) = replacement(text) {
                    found.push((number, path.to_vec(), value));
                }
            });
        }
        // The paths borrow from the documents, which `set` must be able to read as well.
        let found: Vec<_> = found.into_iter().map(|(number, path, value)| (number, owned(&path), value)).collect();
        for (number, path, value) in found {
            let path: Vec<PathStep> = path.iter().map(Owned::step).collect();
            self.set(number, &path, &value)?;
        }
        Ok(())
    }

    /// Adds an entry to a mapping: behind the one with the key `after`, or behind the last one.
    pub(super) fn add(
        &mut self,
        document: usize,
        path: &[PathStep],
        after: Option<&str>,
        entry: &str,
    ) -> Result<(), EditRefusal> {
        let node = self.find(document, path)?.ok_or_else(|| EditRefusal::Form(name(path)))?;
        let Content::Mapping { entries, flow } = &node.content else { return Err(EditRefusal::Form(name(path))) };
        let position = after.and_then(|after| entries.iter().position(|(key, _)| key.text() == Some(after)));
        let position = position.unwrap_or(entries.len().saturating_sub(1));
        let Some((_, before)) = entries.get(position) else { return Err(EditRefusal::Form(name(path))) };
        let (first, behind) = (entries[0].0.start, last_byte(self.text, before));
        let added = one(entry, 0)?;
        let Content::Mapping { entries: new, .. } = &added.content else { return Err(EditRefusal::Form(name(path))) };
        let edit = if *flow {
            let insert = format!(", {}", Node::flow_entries(new));
            Edit { at: behind, until: behind, insert, depth: 0 }
        } else {
            let column = self.column(first);
            self.line(behind, &indent(entry, column), column)
        };
        let target = node_mut(&mut self.expected[document], path).ok_or(EditRefusal::Uncertain)?;
        let Content::Mapping { entries, .. } = &mut target.content else { return Err(EditRefusal::Uncertain) };
        // Earlier additions stand behind the same entry.
        let at = (position + 1).min(entries.len());
        let at = if after.is_some() { at } else { entries.len() };
        entries.splice(at..at, new.clone());
        self.edits.push(edit);
        Ok(())
    }

    /// Adds items, written as a block sequence in the first column, to the end of a sequence. One that is missing or
    /// empty is made.
    pub(super) fn append(&mut self, document: usize, path: &[PathStep], items: &str) -> Result<(), EditRefusal> {
        let items = items.trim_end_matches('\n');
        let Some((PathStep::Key(key), parent)) = path.split_last() else { return Err(EditRefusal::Form(name(path))) };
        let Some(node) = self.find(document, path)? else {
            return self.add(document, parent, None, &format!("{key}:\n{}", indent(items, 2)));
        };
        let added = one(items, 0)?;
        let edit = match &node.content {
            Content::Sequence { items: existing, flow } => match (existing.last(), flow) {
                (Some(last), false) => {
                    let column = self.dash(existing[0].start).ok_or_else(|| EditRefusal::Form(name(path)))?;
                    self.line(last_byte(self.text, last), &indent(items, column), column + 1)
                }
                (Some(last), true) => {
                    let behind = last_byte(self.text, last);
                    let insert =
                        added.items().iter().map(|item| format!(", {}", item.flow())).collect::<Vec<_>>().concat();
                    Edit { at: behind, until: behind, insert, depth: 0 }
                }
                (None, _) => self.fill(document, parent, node, items, &added)?,
            },
            Content::Scalar { .. } if node.is_null() => self.fill(document, parent, node, items, &added)?,
            _ => return Err(EditRefusal::Form(name(path))),
        };
        let target = node_mut(&mut self.expected[document], path).ok_or(EditRefusal::Uncertain)?;
        if let Content::Sequence { items, .. } = &mut target.content {
            items.extend(added.items().iter().cloned());
        } else {
            *target = added;
        }
        self.edits.push(edit);
        Ok(())
    }

    /// Removes an item of a block sequence or an entry of a block mapping, with its lines.
    pub(super) fn remove(&mut self, document: usize, path: &[PathStep]) -> Result<(), EditRefusal> {
        let refusal = || EditRefusal::Form(name(path));
        let node = self.find(document, path)?.ok_or_else(refusal)?;
        // The value of an entry may begin below its key. The check at the end would find that.
        let (at, until) = (self.line_start(node.start), self.line_end(last_byte(self.text, node)));
        let (last, parent) = path.split_last().ok_or_else(refusal)?;
        let target = node_mut(&mut self.expected[document], parent).ok_or(EditRefusal::Uncertain)?;
        match (last, &mut target.content) {
            (PathStep::Item(index), Content::Sequence { items, flow: false }) => drop(items.remove(*index)),
            (PathStep::Key(key), Content::Mapping { entries, flow: false }) => {
                entries.retain(|(name, _)| name.text() != Some(key));
            }
            _ => return Err(refusal()),
        }
        self.edits.push(Edit { at, until, insert: String::new(), depth: 0 });
        Ok(())
    }

    /// The lines of an item of a block sequence, with the comments between them, moved to the first column.
    pub(super) fn item(&self, document: usize, path: &[PathStep], index: usize) -> Result<String, EditRefusal> {
        let node = self.find(document, path)?.ok_or_else(|| EditRefusal::Form(name(path)))?;
        let item = node.items().get(index).ok_or_else(|| EditRefusal::Form(name(path)))?;
        let column = self.dash(item.start).ok_or_else(|| EditRefusal::Form(name(path)))?;
        let lines = &self.text[self.line_start(item.start)..self.line_end(last_byte(self.text, item))];
        let lines = lines.lines().map(|line| format!("{}\n", line.get(column..).unwrap_or("")));
        Ok(lines.collect::<Vec<_>>().concat())
    }

    /// The edited text.
    ///
    /// # Errors
    /// If the text does not mean what was to be.
    pub(super) fn finish(mut self) -> Result<String, EditRefusal> {
        self.edits.sort_by_key(|edit| (edit.at, std::cmp::Reverse(edit.depth)));
        let newline = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut edited = String::with_capacity(self.text.len());
        let mut copied = 0;
        for edit in &self.edits {
            // Two edits overlap, so one of them would be lost.
            if edit.at < copied {
                return Err(EditRefusal::Uncertain);
            }
            edited.push_str(&self.text[copied..edit.at]);
            // The last line of a text may lack its end.
            if edit.at == self.text.len() && edit.insert.ends_with('\n') && !edited.ends_with('\n') {
                edited.push_str(newline);
            }
            edited.push_str(&edit.insert.replace('\n', newline));
            copied = edit.until;
        }
        edited.push_str(&self.text[copied..]);
        if parse(&edited).ok().as_ref() == Some(&self.expected) { Ok(edited) } else { Err(EditRefusal::Uncertain) }
    }

    /// Writes items in place of an empty sequence or of nothing.
    fn fill(
        &self,
        document: usize,
        parent: &[PathStep],
        node: &Node,
        items: &str,
        added: &Node,
    ) -> Result<Edit, EditRefusal> {
        let parent_node = self.find(document, parent)?.ok_or_else(|| EditRefusal::Form(name(parent)))?;
        let (first, flow) = match &parent_node.content {
            Content::Mapping { entries, flow } if !entries.is_empty() => (entries[0].0.start, *flow),
            _ => return Err(EditRefusal::Form(name(parent))),
        };
        if flow {
            return Ok(Edit { at: node.start, until: node.end, insert: added.flow(), depth: 0 });
        }
        let column = self.column(first) + 2;
        // The parser finds an empty value before the colon of its key.
        let value = &self.text[node.start..];
        let start = node.start + usize::from(value.starts_with(':'));
        let at = self.text[..start].trim_end_matches(' ').len();
        Ok(Edit { at, until: node.end.max(at), insert: format!("\n{}", indent(items, column)), depth: column })
    }

    /// An insertion of lines below the line of `offset`.
    fn line(&self, offset: usize, lines: &str, depth: usize) -> Edit {
        let at = self.line_end(offset);
        Edit { at, until: at, insert: format!("{lines}\n"), depth }
    }

    /// The node at a path; `None` if only its last key is missing.
    fn find(&self, document: usize, path: &[PathStep]) -> Result<Option<&Node>, EditRefusal> {
        let mut node = self.documents.get(document).ok_or_else(|| EditRefusal::Form(name(path)))?;
        for (at, step) in path.iter().enumerate() {
            // A merge key (`<<`, YAML 1.1) takes entries from another place, so this one does not show all of the
            // mapping.
            let shared = node.is_anchored || matches!(node.content, Content::Alias(_)) || node.get("<<").is_some();
            if shared {
                return Err(EditRefusal::Shared(name(&path[..at])));
            }
            let next = match step {
                PathStep::Key(key) if matches!(node.content, Content::Mapping { .. }) => node.get(key),
                PathStep::Item(index) => node.items().get(*index),
                PathStep::Key(_) => None,
            };
            match next {
                Some(next) => node = next,
                None if at + 1 == path.len() => return Ok(None),
                None => return Err(EditRefusal::Form(name(&path[..=at]))),
            }
        }
        if node.is_anchored || matches!(node.content, Content::Alias(_)) {
            return Err(EditRefusal::Shared(name(path)));
        }
        Ok(Some(node))
    }

    fn line_start(&self, offset: usize) -> usize {
        self.text[..offset].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self, offset: usize) -> usize {
        self.text[offset..].find('\n').map_or(self.text.len(), |at| offset + at + 1)
    }

    fn column(&self, offset: usize) -> usize {
        offset - self.line_start(offset)
    }

    /// The column of the dash of an item that begins on the dash's line.
    fn dash(&self, item: usize) -> Option<usize> {
        let line = &self.text[self.line_start(item)..item];
        let column = line.len() - line.trim_start_matches(' ').len();
        line[column..].starts_with('-').then_some(column)
    }
}

/// The byte behind the last one of a node, without the blank lines and comments that may follow it.
fn last_byte(text: &str, node: &Node) -> usize {
    let last = match &node.content {
        Content::Sequence { items, flow: false } => items.last(),
        Content::Mapping { entries, flow: false } => entries.last().map(|(_, value)| value),
        _ => None,
    };
    match last {
        Some(last) => last_byte(text, last),
        // A block scalar ends where the next token begins.
        None => node.start + text[node.start..node.end].trim_end().len(),
    }
}

/// The only document of a text that is written at a column.
fn one(text: &str, column: usize) -> Result<Node, EditRefusal> {
    parse(&format!("{}{text}\n", " ".repeat(column)))?.pop().ok_or(EditRefusal::Uncertain)
}

/// Moves every line that is not empty to the right.
pub(super) fn indent(text: &str, columns: usize) -> String {
    let shift = |line: &str| if line.is_empty() { String::new() } else { format!("{}{line}", " ".repeat(columns)) };
    text.lines().map(shift).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
