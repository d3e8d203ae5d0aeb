//! Parses bytes into a tree in which every node has its position.
//!
//! The tree is built from the events of the YAML parser, without serde: every scalar keeps its spelling, tags and
//! anchors are visible, and all messages are Ephyr's own. Duplicate keys and merge keys stay in the tree, so that the
//! checker reports them with all other findings. Anchors, aliases, tags and second documents refuse the file, so the
//! position of a node is the position where it takes effect.

mod node;
mod scalar;
mod words;

use std::borrow::Cow;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

pub(crate) use self::node::{Key, Node, ReadsAs, Value};
pub(crate) use self::scalar::{NumberFault, number_fault};
use crate::diagnostic::{Findings, Place};
use crate::text::shorten;

/// Maximum size of a policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// Maximum nesting depth of mappings and lists.
const MAX_DEPTH: usize = 32;

/// Maximum number of keys and values.
const MAX_NODES: usize = 200_000;

/// The position of findings about the whole file.
const START: Place = Place { line: 1, column: 1 };

/// Parses the file. On errors, adds them to `findings` and returns `None`.
pub(crate) fn parse(bytes: &[u8], findings: &mut Findings) -> Option<Node> {
    if bytes.len() > MAX_POLICY_BYTES {
        let message = format!(
            "the file has {} bytes; the limit is {MAX_POLICY_BYTES}",
            bytes.len()
        );
        findings.add("E-TOO-BIG", START, "", message);
        return None;
    }
    let text = text(bytes, findings)?;
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
    };
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        findings,
        nodes: 0,
        refused: false,
    };
    match reader.document() {
        Ok(_) if reader.refused => None,
        Ok(Some(node)) if !matches!(node.value, Value::Null(_)) => Some(node),
        Ok(_) => {
            let message = "the policy is empty; it needs at least `agents`";
            findings.add("E-EMPTY", START, "", message);
            None
        }
        Err(Stopped) => None,
    }
}

/// Returns the file as text: UTF-8 without control characters.
fn text<'b>(bytes: &'b [u8], findings: &mut Findings) -> Option<&'b str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = place_of_byte(bytes, error.valid_up_to());
            let message = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                "the file is UTF-16 text; save it as UTF-8"
            } else {
                "not UTF-8 text; save the file as UTF-8"
            };
            findings.add("E-NOT-UTF8", at, "", message);
            return None;
        }
    };
    if let Some((index, message)) = words::unprintable(text) {
        findings.add("E-YAML-SYNTAX", place_of_byte(bytes, index), "", message);
        return None;
    }
    Some(text)
}

/// Parsing cannot continue; the findings have the reason.
struct Stopped;

struct Reader<'t, 'f> {
    events: Parser<'t, StrInput<'t>>,
    findings: &'f mut Findings,
    nodes: usize,
    /// Whether an error was found that refuses the file but does not end parsing.
    refused: bool,
}

impl<'t> Reader<'t, '_> {
    /// Returns the only document; `None` if there is none.
    fn document(&mut self) -> Result<Option<Node>, Stopped> {
        self.next()?;
        let (event, at) = self.next()?;
        if !matches!(event, Event::DocumentStart(..)) {
            return match event {
                Event::StreamEnd => Ok(None),
                _ => Err(self.stop("E-YAML-SYNTAX", place(at.start), words::BROKEN)),
            };
        }
        let (event, span) = self.next()?;
        let node = self.node(event, span, 1)?;
        self.next()?;
        match self.next()? {
            (Event::StreamEnd, _) => Ok(Some(node)),
            (_, span) => Err(self.stop("E-YAML-DOCUMENTS", place(span.start), words::DOCUMENTS)),
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stopped> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let (code, message) = words::parser_error(error.kind());
                Err(self.stop(code, place(*error.marker()), message))
            }
            None => Err(self.stop("E-YAML-SYNTAX", START, words::BROKEN)),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stopped> {
        let at = place(span.start);
        self.count(at, depth)?;
        let mut plain = false;
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_deref(), at);
                plain = style == ScalarStyle::Plain;
                if plain {
                    scalar::resolve(written(&text, span))
                } else {
                    Value::Text(text.into_owned())
                }
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_deref(), at);
                self.list(depth)?
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_deref(), at);
                self.map(depth)?
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse("E-YAML-ANCHOR", at, words::ANCHORS);
                Value::Null(String::new())
            }
            _ => return Err(self.stop("E-YAML-SYNTAX", at, words::BROKEN)),
        };
        Ok(Node { at, plain, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stopped> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(list)),
                (event, span) => list.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stopped> {
        let mut map = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(map));
            }
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            map.push((key, self.node(event, span, depth + 1)?));
        }
    }

    fn key(&mut self, event: Event<'t>, span: Span) -> Result<Key, Stopped> {
        let at = place(span.start);
        self.count(at, 0)?;
        match event {
            Event::Scalar(name, style, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_deref(), at);
                let reads_as = (style == ScalarStyle::Plain)
                    .then(|| scalar::reads_as(written(&name, span)))
                    .flatten();
                Ok(Key {
                    at,
                    name: written(&name, span).to_owned(),
                    reads_as,
                })
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                Err(self.stop("E-YAML-ANCHOR", at, words::ANCHORS))
            }
            _ => Err(self.stop("E-YAML-SYNTAX", at, words::KEY)),
        }
    }

    fn count(&mut self, at: Place, depth: usize) -> Result<(), Stopped> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(self.stop("E-YAML-LIMIT", at, words::LIMIT));
        }
        Ok(())
    }

    fn refuse_properties(&mut self, anchor: usize, tag: Option<&Tag>, at: Place) {
        if anchor != 0 {
            self.refuse("E-YAML-ANCHOR", at, words::ANCHORS);
        }
        if let Some(tag) = tag {
            let tag = shorten(&tag.original());
            let message = format!("the tag `{tag}` is not allowed; write the plain value");
            self.refuse("E-YAML-TAG", at, message);
        }
    }

    fn refuse(&mut self, code: &'static str, at: Place, message: impl Into<Cow<'static, str>>) {
        self.refused = true;
        self.findings.add(code, at, "", message.into());
    }

    fn stop(
        &mut self,
        code: &'static str,
        at: Place,
        message: impl Into<Cow<'static, str>>,
    ) -> Stopped {
        self.refuse(code, at, message);
        Stopped
    }
}

/// Returns a scalar's spelling. The parser reports an empty scalar as `~`.
fn written(text: &str, span: Span) -> &str {
    if span.is_empty() && text == "~" {
        ""
    } else {
        text
    }
}

fn place(marker: Marker) -> Place {
    Place {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
    }
}

/// Returns the position of a byte. All bytes before it must be valid UTF-8.
fn place_of_byte(bytes: &[u8], at: usize) -> Place {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count());
    Place {
        line: u32::try_from(line + 1).unwrap_or(u32::MAX),
        column: u32::try_from(column + 1).unwrap_or(u32::MAX),
    }
}
