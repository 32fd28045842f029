//! YAML with positions, for errors that name a line and for changing a value in a file without
//! losing its comments.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::ExternalMessageSource;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter as _, Spanned};

/// A value and where it is.
pub struct YamlNode {
    /// The line, from 1 on.
    pub line: u64,
    /// The bytes of a scalar as written.
    pub bytes: Option<Range<usize>>,
    data: Data,
}

enum Data {
    Scalar(Value),
    List(Vec<YamlNode>),
    /// Name, line of the name, value. A name that appears again keeps its first value.
    Map(Vec<(String, u64, YamlNode)>, Vec<RepeatedName>),
}

/// A name that appears in its mapping again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedName {
    /// It.
    pub name: String,
    /// The line, from 1 on.
    pub line: u64,
}

/// Text that is not YAML.
pub struct SyntaxError {
    /// From 1 on.
    pub line: u64,
    /// What is wrong, in the parser's words, without the line.
    pub problem: String,
    /// What that is about.
    pub mistake: Mistake,
}

/// Mistakes that have advice of their own.
#[derive(Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A name appears twice in a mapping: which one, if it is a text.
    Twice(Option<String>),
    /// Something between braces.
    InBraces,
    /// A tab in the place of spaces.
    Tab,
    /// Any other.
    Other,
}

impl Mistake {
    fn new(e: &serde_saphyr::Error) -> Self {
        let scanned = match e {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                return Self::Twice(key.clone());
            }
            serde_saphyr::Error::ExternalMessage { source, .. } => match &**source {
                ExternalMessageSource::Parser(scanned) => scanned.kind(),
                _ => return Self::Other,
            },
            _ => return Self::Other,
        };
        match scanned {
            ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping
            | ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::FlowMappingValueAdjacentCollection => Self::InBraces,
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar => Self::Tab,
            _ => Self::Other,
        }
    }
}

/// Reads one document.
pub fn parse(text: &str) -> Result<YamlNode, SyntaxError> {
    let root = parse_repeated(text)?;
    match root.repeated().into_iter().next() {
        None => Ok(root),
        Some(RepeatedName { name, line }) => Err(SyntaxError {
            line,
            problem: format!("`{name}` appears here twice"),
            mistake: Mistake::Twice(Some(name)),
        }),
    }
}

/// The same of a document in which names may be repeated: [`YamlNode::repeated`] says which are. If it
/// says none, none is repeated.
pub fn parse_repeated(text: &str) -> Result<YamlNode, SyntaxError> {
    let strict = match read(text, DuplicateKeyPolicy::Error) {
        Ok(root) => return Ok(root),
        Err(e) => e,
    };
    if !matches!(strict.mistake, Mistake::Twice(_)) {
        return Err(strict);
    }
    // Only for telling all of them: what is merged into a mapping is not passed through.
    let root = read(text, DuplicateKeyPolicy::PassThrough)?;
    match root.repeated().is_empty() {
        true => Err(strict),
        false => Ok(root),
    }
}

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<YamlNode, SyntaxError> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        // YAML 1.2: `off`, `no` and `y` are words.
        strict_booleans: true,
        reject_unsupported_tags: true,
    };
    let parsed: Result<Spanned<Data>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map(YamlNode::from).map_err(|e| {
        let e = e.without_snippet();
        SyntaxError {
            line: e.location().map_or(1, |l| l.line()),
            problem: DefaultMessageFormatter.format_message(e).into_owned(),
            mistake: Mistake::new(e),
        }
    })
}

impl YamlNode {
    /// The value at a path such as `routes[3].limit.requests`.
    pub fn at(&self, path: &str) -> Option<&YamlNode> {
        steps(path).try_fold(self, |node, step| node.step(&step).map(|(_, n)| n))
    }

    /// The line of a path; of its nearest parent if there is nothing at it.
    pub fn line_of(&self, path: &str) -> u64 {
        let (mut node, mut line) = (self, self.line);
        for step in steps(path) {
            match node.step(&step) {
                Some((at, next)) => (line, node) = (at, next),
                None => break,
            }
        }
        line
    }

    /// The value as JSON.
    pub fn json(&self) -> Value {
        match &self.data {
            Data::Scalar(v) => v.clone(),
            Data::List(items) => items.iter().map(YamlNode::json).collect(),
            Data::Map(pairs, _) => pairs
                .iter()
                .map(|(k, _, v)| (k.clone(), v.json()))
                .collect(),
        }
    }

    /// Names that appear in their mapping again, in the order of the text.
    pub fn repeated(&self) -> Vec<RepeatedName> {
        let mut out = Vec::new();
        self.collect_repeated(&mut out);
        out.sort_by_key(|r| r.line);
        out
    }

    fn collect_repeated(&self, out: &mut Vec<RepeatedName>) {
        match &self.data {
            Data::Scalar(_) => {}
            Data::List(items) => items.iter().for_each(|n| n.collect_repeated(out)),
            Data::Map(pairs, again) => {
                out.extend_from_slice(again);
                pairs.iter().for_each(|(.., n)| n.collect_repeated(out));
            }
        }
    }

    /// Whether it is empty.
    pub fn is_nothing(&self) -> bool {
        matches!(self.data, Data::Scalar(Value::Null))
    }

    fn step(&self, step: &Step<'_>) -> Option<(u64, &YamlNode)> {
        match (step, &self.data) {
            (Step::Name(name), Data::Map(pairs, _)) => pairs
                .iter()
                .find(|(k, ..)| k == name)
                .map(|(_, line, v)| (*line, v)),
            (Step::Index(i), Data::List(items)) => items.get(*i).map(|n| (n.line, n)),
            _ => None,
        }
    }
}

enum Step<'p> {
    Name(&'p str),
    Index(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let mut pieces = part.split('[');
            let name = pieces.next().filter(|n| !n.is_empty()).map(Step::Name);
            let indices = pieces.filter_map(|p| p.strip_suffix(']')?.parse().ok().map(Step::Index));
            name.into_iter().chain(indices)
        })
}

impl From<Spanned<Data>> for YamlNode {
    fn from(s: Spanned<Data>) -> Self {
        let at: Location = s.referenced;
        let span = at.span();
        let bytes = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, len)| {
                let start = usize::try_from(start).ok()?;
                Some(start..start.checked_add(usize::try_from(len).ok()?)?)
            });
        Self {
            line: at.line(),
            bytes: bytes.filter(|_| matches!(s.value, Data::Scalar(_))),
            data: s.value,
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Data, E> {
        Ok(Data::Scalar(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Data, E> {
        Ok(Data::Scalar(Value::from(v)))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Data, E> {
        Ok(Data::Scalar(Value::from(v)))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Data, E> {
        let number = Number::from_f64(v).ok_or_else(|| E::custom("this is not a finite number"))?;
        Ok(Data::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Data, E> {
        Ok(Data::Scalar(Value::String(v.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Data, D::Error> {
        Data::deserialize(d)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Data>>()? {
            items.push(item.into());
        }
        Ok(Data::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut pairs: Vec<(String, u64, YamlNode)> = Vec::new();
        let mut again = Vec::new();
        while let Some((name, value)) = map.next_entry::<Spanned<String>, Spanned<Data>>()? {
            let line = name.referenced.line();
            let name = name.value;
            match pairs.iter().any(|(k, ..)| *k == name) {
                true => again.push(RepeatedName { name, line }),
                false => pairs.push((name, line, value.into())),
            }
        }
        Ok(Data::Map(pairs, again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
version: 1
plans:
  free: {limits: [{requests: 1}]}
routes:
- path: /a   # a comment
  scopes:
  - one
  - two
";

    #[test]
    fn every_place_has_its_line() {
        let node = parse(SAMPLE).ok().unwrap();
        for (path, line) in [
            ("version", 1),
            ("plans.free.limits[0].requests", 3),
            ("plans.free.limits[7]", 3),
            ("routes", 4),
            ("routes[0]", 5),
            ("routes[0].scopes", 6),
            ("routes[0].scopes[1]", 8),
            ("nothing.here", 1),
        ] {
            assert_eq!(node.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn a_scalar_knows_its_bytes() {
        let node = parse(SAMPLE).ok().unwrap();
        let bytes = node.at("routes[0].path").unwrap().bytes.clone().unwrap();
        assert_eq!(&SAMPLE[bytes], "/a");
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let error = parse("a: 1\nb: [1\nc: 2\n").err().unwrap();
        assert!(error.line >= 2, "{}", error.line);
        let error = parse("a: 1\nb: 2\na: 3\n").err().unwrap();
        assert_eq!(error.line, 3, "{}", error.problem);
    }
}
