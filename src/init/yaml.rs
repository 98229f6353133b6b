//! YAML as a tree whose nodes know their places in the text, so that a text can be edited without losing its comments.
//!
//! It must not know what a manifest is.

use std::collections::HashSet;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::Value;

use super::scalar;

/// Why a text is not YAML that can be edited.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct BadYaml {
    pub line: usize,
    pub what: String,
}

/// A value and its place. Two nodes are equal if they mean the same, however they are written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub content: Content,
    /// The first byte. That of a block collection is its first key, or the value of its first item.
    pub start: usize,
    /// The byte behind the last one that belongs to the value itself.
    pub end: usize,
    pub is_anchored: bool,
    tag: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar {
        text: String,
        plain: bool,
    },
    /// The number of an anchor.
    Alias(usize),
    Sequence {
        items: Vec<Node>,
        flow: bool,
    },
    Mapping {
        entries: Vec<(Node, Node)>,
        flow: bool,
    },
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.content, &other.content) {
            (Content::Scalar { text: one, plain: a }, Content::Scalar { text: two, plain: b }) => {
                // Quotes make a difference only where the plain text would be a number or a truth value.
                one == two && scalar::is_string(one, *a) == scalar::is_string(two, *b)
            }
            (Content::Alias(one), Content::Alias(two)) => one == two,
            (Content::Sequence { items: one, .. }, Content::Sequence { items: two, .. }) => one == two,
            (Content::Mapping { entries: one, .. }, Content::Mapping { entries: two, .. }) => one == two,
            _ => false,
        };
        same && self.tag == other.tag && self.is_anchored == other.is_anchored
    }
}

impl Node {
    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }

    pub(super) fn entries(&self) -> &[(Self, Self)] {
        if let Content::Mapping { entries, .. } = &self.content { entries } else { &[] }
    }

    pub(super) fn items(&self) -> &[Self] {
        if let Content::Sequence { items, .. } = &self.content { items } else { &[] }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Content::Scalar { text, .. } = &self.content { Some(text) } else { None }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    pub(super) fn is_alias(&self) -> bool {
        matches!(self.content, Content::Alias(_))
    }

    /// The node at the end of some keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The value as JSON. Numbers and truth values that YAML knows stay such.
    pub(super) fn json(&self) -> Value {
        match &self.content {
            Content::Scalar { text, plain } if scalar::is_string(text, *plain) => Value::String(text.clone()),
            Content::Scalar { text, .. } if self.is_null() => serde_json::from_str(text).unwrap_or(Value::Null),
            Content::Scalar { text, .. } => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
            Content::Alias(_) => Value::Null,
            Content::Sequence { items, .. } => items.iter().map(Self::json).collect(),
            Content::Mapping { entries, .. } => {
                Value::Object(entries.iter().filter_map(|(k, v)| Some((k.text()?.to_owned(), v.json()))).collect())
            }
        }
    }

    /// The value as JSON on one line, with its keys in their order.
    pub(super) fn flow(&self) -> String {
        match &self.content {
            Content::Sequence { items, .. } => {
                format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", "))
            }
            Content::Mapping { entries, .. } => format!("{{{}}}", Self::flow_entries(entries)),
            _ => self.json().to_string(),
        }
    }

    /// The entries of a mapping without the braces around them.
    pub(super) fn flow_entries(entries: &[(Self, Self)]) -> String {
        let entry = |(key, value): &(Self, Self)| format!("{}: {}", key.json(), value.flow());
        entries.iter().map(entry).collect::<Vec<_>>().join(", ")
    }
}

/// Reads all documents of a text.
///
/// # Errors
/// For a text that is not YAML, a key that appears twice, and a key that is not a word.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, BadYaml> {
    let options = granit_parser::options! { emit_comments: false };
    let mut events = Parser::new_from_str_with_options(text, options);
    let mut documents = Vec::new();
    while let Some((event, span)) = next(&mut events)? {
        if is_node(&event) {
            documents.push(node(event, span, &mut events)?);
        }
    }
    Ok(documents)
}

type Events<'a> = Parser<'a, granit_parser::StrInput<'a>>;

fn next<'a>(events: &mut Events<'a>) -> Result<Option<(Event<'a>, Span)>, BadYaml> {
    events.next().transpose().map_err(|error| BadYaml {
        line: error.marker().line(),
        what: error.info().lines().next().unwrap_or("").to_owned(),
    })
}

fn is_node(event: &Event) -> bool {
    matches!(event, Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..))
}

/// Builds the node that begins with this event. The parser limits the depth.
fn node<'a>(event: Event<'a>, span: Span, events: &mut Events<'a>) -> Result<Node, BadYaml> {
    let place = span.byte_range().unwrap_or_default();
    let (mut end, start) = (place.end, place.start);
    let (content, anchor, tag) = match event {
        Event::Scalar(text, style, anchor, tag) => {
            let plain = matches!(style, ScalarStyle::Plain);
            (Content::Scalar { text: text.into_owned(), plain }, anchor, tag)
        }
        Event::SequenceStart(style, anchor, tag) => {
            let mut items = Vec::new();
            while let Some((event, span)) = next(events)? {
                if matches!(event, Event::SequenceEnd) {
                    end = span.byte_range().unwrap_or_default().end;
                    break;
                }
                items.push(node(event, span, events)?);
            }
            (Content::Sequence { items, flow: style == StructureStyle::Flow }, anchor, tag)
        }
        Event::MappingStart(style, anchor, tag) => {
            let mut entries: Vec<(Node, Node)> = Vec::new();
            let mut names = HashSet::new();
            while let Some((event, span)) = next(events)? {
                if matches!(event, Event::MappingEnd) {
                    end = span.byte_range().unwrap_or_default().end;
                    break;
                }
                let line = span.start.line();
                let key = node(event, span, events)?;
                // A sequence or mapping as a key has no form in JSON, which the API takes.
                let Some(name) = key.text() else {
                    return Err(BadYaml { line, what: "a key is not a word".to_owned() });
                };
                // Keys are unique (YAML 1.2, section 3.2.1.1), but many readers take the last of two. Then it is not
                // known which one an edit should change.
                if !names.insert(name.to_owned()) {
                    let what = format!("the key `{}` appears twice", name.escape_debug());
                    return Err(BadYaml { line, what });
                }
                let Some((event, span)) = next(events)? else { break };
                let value = node(event, span, events)?;
                entries.push((key, value));
            }
            (Content::Mapping { entries, flow: style == StructureStyle::Flow }, anchor, tag)
        }
        Event::Alias(number) => (Content::Alias(number), 0, None),
        // The parser never begins a node with anything else.
        _ => (Content::Scalar { text: String::new(), plain: true }, 0, None),
    };
    Ok(Node { content, start, end, is_anchored: anchor != 0, tag: tag.map(|tag| tag.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_values_are_those_of_the_text() {
        let text = "# head\na: 'x'\nlist:\n- one: 1\n  two: |\n    b\n\n- [c]\n---\n{\"n\": null}\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        let a = documents[0].get("a").unwrap();
        assert_eq!((&text[a.start..a.end], a.text()), ("'x'", Some("x")));
        assert_eq!(documents[0].json(), serde_json::json!({"a": "x", "list": [{"one": 1, "two": "b\n"}, ["c"]]}));
        assert_eq!(documents[1].json(), serde_json::json!({"n": null}));
        assert_eq!(parse("a: {b: [1, x]}").unwrap(), parse("\"a\":\n  b:\n    - 1\n    - \"x\"\n").unwrap());
        assert_ne!(parse("a: 1").unwrap(), parse("a: '1'").unwrap(), "a number is no text");
        assert_ne!(parse("a: !x b").unwrap(), parse("a: b").unwrap());
    }

    #[test]
    fn ambiguous_yaml_is_refused_with_its_line() {
        for (text, line) in [("a: 1\nb: {{ .Values.x }}\n", 2), ("a: 1\na: 2\n", 2), ("a: [1\n", 1), ("a:\n\t- b\n", 2)]
        {
            let wrong = parse(text).unwrap_err();
            assert_eq!(wrong.line, line, "{text:?}: {wrong}");
        }
    }
}
