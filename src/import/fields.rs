//! What importers know about the fields of a source, and the reader that enforces it: a field is
//! carried over, listed as not carried over, or known to have no effect. Any other field is listed
//! as unknown.

use keystile_model::error::Result;

use super::closing::closes;
use super::found::Found;
use super::node::{Data, ExportDocument, Node, same_name, shown_name, wrong_form};

/// What happens to a field.
#[derive(Clone, Copy)]
pub enum Fate {
    /// It is carried over: what it becomes.
    Becomes(&'static str),
    /// It is not, and listed: what to do about it.
    Lost(&'static str),
    /// It does not affect who may call what, and how often.
    NoEffect,
}

/// Fields with the same fate.
#[derive(Clone, Copy)]
pub struct FieldFate {
    pub names: &'static [&'static str],
    pub fate: Fate,
}

/// A kind of object in an export, and all of its fields.
pub struct ObjectKind {
    /// Its name in the documentation.
    pub name: &'static str,
    pub fields: &'static [FieldFate],
}

pub const fn becomes(names: &'static [&'static str], what: &'static str) -> FieldFate {
    let fate = Fate::Becomes(what);
    FieldFate { names, fate }
}

pub const fn lost(names: &'static [&'static str], next: &'static str) -> FieldFate {
    let fate = Fate::Lost(next);
    FieldFate { names, fate }
}

pub const fn no_effect(names: &'static [&'static str]) -> FieldFate {
    let fate = Fate::NoEffect;
    FieldFate { names, fate }
}

impl ObjectKind {
    fn fate(&self, name: &str) -> Option<Fate> {
        let known = |field: &&FieldFate| {
            field.names.iter().any(|n| match n.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => same_name(n, name),
            })
        };
        self.fields.iter().find(known).map(|f| f.fate)
    }
}

/// An object of a known kind.
pub struct Object<'n> {
    pub node: &'n Node,
    kind: &'static ObjectKind,
    /// For messages.
    pub place: String,
    /// Why it must be left out: an unknown field that, by its name and value, disables it.
    closed_by: Option<String>,
    /// The first unknown field that is not empty.
    unknown: Option<String>,
}

impl<'n> Object<'n> {
    /// Opens it, and lists fields that are not carried over or not known.
    pub fn open(
        node: &'n Node,
        kind: &'static ObjectKind,
        place: impl Into<String>,
        found: &mut Found,
    ) -> Result<Self> {
        let place = place.into();
        let Some(pairs) = node.pairs() else {
            return Err(wrong_form(&place, kind.name, "an object with fields"));
        };
        let (mut closed_by, mut unknown) = (None, None);
        for (i, (name, value)) in pairs.enumerate() {
            match kind.fate(name) {
                Some(Fate::Becomes(_)) => {
                    let before = node.pairs().into_iter().flatten().take(i);
                    let mut again = before.filter(|(n, v)| same_name(n, name) && has_items(v));
                    if has_items(value) && again.next().is_some() {
                        let name = node.shown_name(i, name);
                        closed_by.get_or_insert_with(|| {
                            format!("`{name}` appears here in two spellings, and it is unclear which counts")
                        });
                    }
                }
                Some(Fate::NoEffect) => value.pass(),
                Some(Fate::Lost(next)) => {
                    value.pass();
                    if !value.is_empty() && !matches!(value.data, Data::Bool(false)) {
                        found.leave(&place, format!("`{}`: {next}", shown_name(name)));
                    }
                }
                None => {
                    value.pass();
                    if closes(name, value) {
                        let name = node.shown_name(i, name);
                        closed_by.get_or_insert_with(|| {
                            format!("field `{name}` is not known to this importer and may switch this off; if it does not, issue a key by hand")
                        });
                    }
                    if !value.is_empty() {
                        let name = node.shown_name(i, name);
                        unknown.get_or_insert_with(|| name.clone());
                        found.leave(
                            &place,
                            format!(
                                "field `{name}` is not known: look up whether it restricts anything"
                            ),
                        );
                    }
                }
            }
        }
        Ok(Self {
            node,
            kind,
            place,
            closed_by,
            unknown,
        })
    }

    /// Why the object must be left out, if a field says so.
    pub fn closed(&self) -> Option<String> {
        self.closed_by.clone()
    }

    /// Why the object must be left out if any field of it is unknown, because most of its fields
    /// restrict something.
    pub fn strange(&self) -> Option<String> {
        let name = self.unknown.as_ref()?;
        Some(format!(
            "field `{name}` is not known to this importer and may restrict it; if it does not, issue a key by hand"
        ))
    }

    /// The root of a document.
    pub fn root(
        document: &'n ExportDocument,
        kind: &'static ObjectKind,
        found: &mut Found,
    ) -> Result<Self> {
        Self::open(&document.root, kind, document.file.clone(), found)
    }

    /// A field; none if it is missing or null.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(
            matches!(self.kind.fate(name), Some(Fate::Becomes(_))),
            "the table of `{}` does not say what `{name}` becomes",
            self.kind.name
        );
        let Data::Map(pairs) = &self.node.data else {
            return None;
        };
        let mut found = None;
        for (n, node) in pairs {
            // If it is spelled in two ways, the exact name counts, unless it holds nothing.
            if same_name(n, name) {
                node.see();
                let better =
                    |there: &Node| there.is_empty() || n.as_str() == name && !node.is_empty();
                if !node.is_null() && found.is_none_or(better) {
                    found = Some(node);
                }
            }
        }
        found
    }

    /// A field in all of its spellings, where it is not null.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'n Node> {
        self.get(name);
        let pairs: &[_] = match &self.node.data {
            Data::Map(pairs) => pairs,
            _ => &[],
        };
        let same = pairs.iter().filter(move |(n, _)| same_name(n, name));
        same.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&'n str>> {
        self.read(name, "a text", Node::text)
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        self.read(name, "a whole number", Node::number)
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false", Node::flag)
    }

    pub fn list(&self, name: &str) -> Result<&'n [Node]> {
        Ok(self.read(name, "a list", Node::list)?.unwrap_or_default())
    }

    pub fn words(&self, name: &str) -> Result<Vec<&'n str>> {
        Ok(self
            .read(name, "a list of texts", Node::words)?
            .unwrap_or_default())
    }

    /// The pairs of a mapping whose names are the user's.
    pub fn entries(&self, name: &str) -> Result<Vec<(&'n str, &'n Node)>> {
        let read = |node: &'n Node| node.pairs().map(Iterator::collect);
        Ok(self.read(name, "a mapping", read)?.unwrap_or_default())
    }

    /// Puts the line in front of a place, if it is known.
    pub fn at(file: &str, node: &Node, what: impl std::fmt::Display) -> String {
        match node.line {
            0 => format!("{file}: {what}"),
            line => format!("{file}:{line}: {what}"),
        }
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'n Node) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(node) = self.get(name) else {
            return Ok(None);
        };
        match read(node) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong_form(&self.place, name, expected)),
        }
    }
}

fn has_items(node: &Node) -> bool {
    matches!(node.data, Data::List(_) | Data::Map(_)) && !node.is_empty()
}

/// Lists what no importer has read: the final check that nothing is silently dropped.
pub fn list_unread(document: &ExportDocument, found: &mut Found) {
    unread(&document.root, &document.file, "", found);
}

fn unread(node: &Node, file: &str, path: &str, found: &mut Found) {
    match &node.data {
        _ if node.is_empty() => {}
        _ if !node.is_seen() => found.leave(
            &Object::at(file, node, format_args!("`{path}`")),
            "was not read, and is not carried over",
        ),
        Data::List(items) => {
            for (i, item) in items.iter().enumerate() {
                unread(item, file, &format!("{path}[{i}]"), found);
            }
        }
        Data::Map(pairs) => {
            for (i, (name, value)) in pairs.iter().enumerate() {
                let dot = if path.is_empty() { "" } else { "." };
                let name = node.shown_name(i, name);
                unread(value, file, &format!("{path}{dot}{name}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: ObjectKind = ObjectKind {
        name: "thing",
        fields: &[
            becomes(&["used", "forgotten", "list"], "something"),
            lost(&["heavy"], "leave it there"),
            no_effect(&["colour", "x-*"]),
        ],
    };

    #[test]
    fn what_an_importer_forgets_is_listed_too() {
        let text = "used: 1\nforgotten: {a: 1}\nlist: [{b: 2}]\nheavy: 3\nHeavy: false\ncolour: red\nx-any: {c: 4}\nodd: 5\nempty: []\n";
        let documents = crate::node::parse("file", text, "a file").unwrap();
        let document = documents.first().unwrap();
        let mut found = Found::default();
        let object = Object::root(document, &KIND, &mut found).unwrap();
        assert_eq!(object.number("used").unwrap(), Some(1));
        assert_eq!(object.list("list").unwrap().len(), 1);
        list_unread(document, &mut found);
        let lines: Vec<String> = found
            .left
            .iter()
            .flat_map(|(problem, places)| places.iter().map(move |p| format!("{p}: {problem}")))
            .collect();
        assert_eq!(
            lines,
            [
                "file: `heavy`: leave it there",
                "file: field `odd` is not known: look up whether it restricts anything",
                "file:2: `forgotten`: was not read, and is not carried over",
                "file:3: `list[0]`: was not read, and is not carried over",
            ]
        );
    }
}
