//! A file of an export as a tree: every value has its line, and whether it was read.
//!
//! Values may be keys: they are wiped when they are dropped, and no message holds one.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use keystile_model::error::{Code, Error, Result, refuse};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A value, and where it stands.
pub struct Node {
    /// From 1 on; 0 where it is not known.
    pub line: u64,
    pub data: Data,
    span: Option<(u64, u64)>,
    seen: Cell<bool>,
    /// In a mapping, whether its names are keys.
    keyed: Cell<bool>,
}

pub enum Data {
    Null,
    Bool(bool),
    /// A number, and how it is written.
    Number(f64, Zeroizing<String>),
    Text(Zeroizing<String>),
    List(Vec<Node>),
    Map(Vec<(Zeroizing<String>, Node)>),
}

/// One document of a file.
pub struct ExportDocument {
    /// What messages call the file.
    pub file: String,
    pub root: Node,
}

/// Reads all documents of a file, YAML or JSON. `what` is what the file should be.
pub fn parse(file: &str, text: &str, what: &str) -> Result<Vec<ExportDocument>> {
    let wrong = |line: u64| {
        refuse(
            Code::FileInvalid,
            format_args!("{file}:{line}: is neither YAML nor JSON"),
            format_args!("name {what}"),
        )
    };
    let mut roots: Vec<Node> = if text.trim_start().starts_with(['{', '[']) {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Data>();
        stream
            .map(|data| data.map(|data| Node::new(data, 0, None)))
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| wrong(u64::try_from(e.line()).unwrap_or(0)))?
    } else {
        let options = serde_saphyr::options! {
            // YAML 1.2: `off`, `no` and `y` are words.
            strict_booleans: true,
            budget: serde_saphyr::budget! {
                max_events: 50_000_000,
                max_nodes: 50_000_000,
                max_total_scalar_bytes: 1 << 30,
            },
        };
        let spanned: Vec<Spanned<Data>> =
            serde_saphyr::from_multiple_with_options(text, options)
                .map_err(|e| wrong(e.without_snippet().location().map_or(1, |l| l.line())))?;
        spanned.into_iter().map(Node::from).collect()
    };
    roots.iter_mut().for_each(|root| root.as_written(text));
    Ok(roots
        .into_iter()
        .filter(|root| !root.is_null())
        .map(|root| ExportDocument {
            file: file.to_owned(),
            root,
        })
        .collect())
}

impl Node {
    fn new(data: Data, line: u64, span: Option<(u64, u64)>) -> Self {
        Self {
            line,
            data,
            span,
            seen: Cell::default(),
            keyed: Cell::default(),
        }
    }

    /// Numbers are kept as they are written, because one may be a key that begins with a zero.
    fn as_written(&mut self, source: &str) {
        let span = self.span;
        match &mut self.data {
            Data::List(items) => items.iter_mut().for_each(|n| n.as_written(source)),
            Data::Map(pairs) => pairs.iter_mut().for_each(|(_, n)| n.as_written(source)),
            Data::Number(number, text) => {
                let written = span.and_then(|(start, length)| {
                    let start = usize::try_from(start).ok()?;
                    let end = start.checked_add(usize::try_from(length).ok()?)?;
                    source.get(start..end)
                });
                if let Some(written) = written
                    && written.parse::<f64>().is_ok_and(|w| w == *number)
                {
                    *text = Zeroizing::new(written.to_owned());
                }
            }
            _ => {}
        }
    }

    /// The cell of a table.
    pub fn of_cell(cell: &str) -> Self {
        let text = Zeroizing::new(cell.to_owned());
        Self::new(Data::Text(text), 0, None)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Whether it is empty: null, an empty text, list or mapping.
    pub fn is_empty(&self) -> bool {
        match &self.data {
            Data::Null => true,
            Data::Text(text) => text.is_empty(),
            Data::List(items) => items.is_empty(),
            Data::Map(pairs) => pairs.is_empty(),
            Data::Bool(_) | Data::Number(..) => false,
        }
    }

    pub fn is_seen(&self) -> bool {
        self.seen.get()
    }

    /// Marks it as read.
    pub fn see(&self) -> &Self {
        self.seen.set(true);
        self
    }

    /// Marks a mapping whose names are keys: no message may hold them.
    pub fn names_are_keys(&self) {
        self.keyed.set(true);
    }

    /// What messages call a field in it, the `i`th: a name that may be a key is shortened.
    pub fn shown_name(&self, i: usize, name: &str) -> String {
        match self.keyed.get() {
            true => format!("entry {}", i.saturating_add(1)),
            false => shown_name(name),
        }
    }

    /// Marks it and everything in it as read, because it is handled as a whole.
    pub fn pass(&self) {
        self.see();
        match &self.data {
            Data::List(items) => items.iter().for_each(Node::pass),
            Data::Map(pairs) => pairs.iter().for_each(|(_, n)| n.pass()),
            _ => {}
        }
    }

    /// A text, or a number as it is written.
    pub fn text(&self) -> Option<&str> {
        match &self.see().data {
            Data::Text(text) | Data::Number(_, text) => Some(text),
            Data::Bool(true) => Some("true"),
            Data::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// A whole number, written as a number or as a text.
    pub fn number(&self) -> Option<u64> {
        match &self.see().data {
            Data::Number(number, text) => text.parse().ok().or_else(|| {
                (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok())?
            }),
            Data::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Yes or no, as a boolean, a word or 1 and 0.
    pub fn flag(&self) -> Option<bool> {
        match &self.see().data {
            Data::Bool(flag) => Some(*flag),
            Data::Text(text) | Data::Number(_, text) => flag_word(text),
            _ => None,
        }
    }

    /// The items of a list; null is an empty one.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.see().data {
            Data::List(items) => Some(items),
            Data::Null => Some(&[]),
            _ => None,
        }
    }

    /// The texts of a list; a text alone is a list of one.
    pub fn words(&self) -> Option<Vec<&str>> {
        match &self.see().data {
            Data::List(items) => items
                .iter()
                .filter(|i| !i.is_null())
                .map(Node::text)
                .collect(),
            Data::Null => Some(Vec::new()),
            Data::Map(_) => None,
            _ => Some(vec![self.text()?]),
        }
    }

    /// The pairs of a mapping; null is an empty one.
    pub fn pairs(&self) -> Option<impl Iterator<Item = (&str, &Node)>> {
        let pairs: &[(Zeroizing<String>, Node)] = match &self.see().data {
            Data::Map(pairs) => pairs,
            Data::Null => &[],
            _ => return None,
        };
        Some(pairs.iter().map(|(name, node)| (name.as_str(), node)))
    }

    /// The value under a name in a mapping, without marking anything.
    pub fn peek(&self, name: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(pairs) => pairs
                .iter()
                .find(|(n, _)| same_name(n, name))
                .map(|(_, node)| node)
                .filter(|node| !node.is_null()),
            _ => None,
        }
    }
}

/// The longest name with a digit in it that is shown in full.
const LONGEST_WITH_DIGITS: usize = 15;

/// A field's name for messages. One that may be a key, because it is long and has digits in it or is
/// longer than words are, is shortened.
pub fn shown_name(name: &str) -> String {
    let length = name.chars().count();
    let has_digit = name.chars().any(|c| c.is_ascii_digit());
    // As Tyk writes keys in Redis.
    let is_key = name.starts_with("apikey-");
    match is_key || length > 40 || has_digit && length > LONGEST_WITH_DIGITS {
        true => format!("{}…", printable(name, 4)),
        false => printable(name, 60),
    }
}

/// `Enabled`, `YES` and `1` mean yes; words other than yes and no mean nothing.
pub fn flag_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// Whether two names are equal except for case, spaces, `-` and `_` inside: exports also spell
/// `external_id` as `externalId`. Kong's `_config` is a different field from `config`.
pub fn same_name(one: &str, other: &str) -> bool {
    let letters = |name: &str| {
        name.chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    one == other || one.starts_with('_') == other.starts_with('_') && letters(one) == letters(other)
}

/// The error for a value of the wrong type.
pub fn wrong_form(place: &str, field: &str, expected: &str) -> Error {
    refuse(
        Code::FileInvalid,
        format_args!("{place}: `{field}` is not {expected}"),
        "export it again, or correct it by hand",
    )
}

impl From<Spanned<Data>> for Node {
    fn from(s: Spanned<Data>) -> Self {
        let span = s.defined.span();
        let span = span.byte_offset().zip(span.byte_len());
        Self::new(s.value, s.referenced.line(), span)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        d.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E>(self, v: bool) -> std::result::Result<Data, E> {
        Ok(Data::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> std::result::Result<Data, E> {
        Ok(number(v))
    }

    fn visit_u64<E>(self, v: u64) -> std::result::Result<Data, E> {
        Ok(number(v))
    }

    fn visit_i128<E>(self, v: i128) -> std::result::Result<Data, E> {
        Ok(number(v))
    }

    fn visit_u128<E>(self, v: u128) -> std::result::Result<Data, E> {
        Ok(number(v))
    }

    fn visit_f64<E>(self, v: f64) -> std::result::Result<Data, E> {
        Ok(number(v))
    }

    fn visit_str<E>(self, v: &str) -> std::result::Result<Data, E> {
        Ok(Data::Text(Zeroizing::new(v.to_owned())))
    }

    fn visit_string<E>(self, v: String) -> std::result::Result<Data, E> {
        Ok(Data::Text(Zeroizing::new(v)))
    }

    fn visit_unit<E>(self) -> std::result::Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Data, D::Error> {
        Data::deserialize(d)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Data>>()? {
            items.push(item.into());
        }
        Ok(Data::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Data, A::Error> {
        let mut pairs: Vec<(Zeroizing<String>, Node)> = Vec::new();
        let mut names: BTreeSet<[u8; 32]> = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let name = Zeroizing::new(name);
            if !names.insert(Sha256::digest(name.as_bytes()).into()) {
                // Readers differ in which of the two counts.
                return Err(A::Error::custom("a field stands here twice"));
            }
            pairs.push((name, map.next_value::<Spanned<Data>>()?.into()));
        }
        Ok(Data::Map(pairs))
    }
}

/// A number as it is shown; YAML's are then taken as they are written.
fn number(v: impl ToString) -> Data {
    let text = Zeroizing::new(v.to_string());
    Data::Number(text.parse().unwrap_or(f64::NAN), text)
}

/// A text for messages: without control characters, and so many characters at most.
pub fn printable(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests;
