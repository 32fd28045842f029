//! What a document says about one path.

use core::fmt;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::extensible::{EntryForm, Extensible, NamedEntries, Requirement, text, texts};

/// Amazon's and Yandex's names for the operation of all methods without one of their own.
const ANY_METHOD: [&str; 2] = [
    "x-amazon-apigateway-any-method",
    "x-yc-apigateway-any-method",
];

const METHODS: [&str; 9] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace", "query",
];

#[derive(Deserialize)]
pub struct Server {
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub variables: NamedEntries<Variable>,
}

#[derive(Default, Deserialize)]
pub struct Variable {
    #[serde(default, deserialize_with = "text")]
    pub default: String,
    #[serde(default, rename = "enum", deserialize_with = "texts")]
    pub values: Vec<String>,
}

/// What is under one path.
#[derive(Default)]
pub struct PathItem {
    pub reference: Option<String>,
    pub servers: Vec<Server>,
    pub parameters: Vec<Parameter>,
    /// With their methods; none for all methods that have no operation of their own.
    pub operations: Vec<(Option<String>, Rc<PathOperation>)>,
    /// Fields that OpenAPI does not know.
    pub unknown: Vec<String>,
}

#[derive(Default, Deserialize)]
pub struct PathOperation {
    #[serde(default, rename = "$ref")]
    pub reference: Option<String>,
    pub security: Option<Vec<Requirement>>,
    #[serde(default)]
    pub servers: Vec<Server>,
    #[serde(default)]
    pub(super) parameters: Vec<Parameter>,
}

#[derive(Clone, Default, Deserialize)]
pub struct Parameter {
    #[serde(default, rename = "$ref")]
    pub reference: Option<String>,
    #[serde(default)]
    pub(super) name: String,
    /// GitHub's notation for a parameter that takes several segments.
    #[serde(default, rename = "x-multi-segment")]
    pub(super) multi_segment: bool,
}

impl EntryForm for Parameter {
    const IS_OBJECT: bool = true;
}

impl EntryForm for Variable {
    const IS_OBJECT: bool = true;
}

/// The same of path items, which several may refer to.
pub fn shared<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Rc<PathItem>>, D::Error> {
    let all: Extensible<PathItem> = Extensible::deserialize(d)?;
    Ok(all.0.into_iter().map(|(k, v)| (k, Rc::new(v))).collect())
}

impl<'de> Deserialize<'de> for PathItem {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(ItemFields)
    }
}

struct ItemFields;

impl<'de> Visitor<'de> for ItemFields {
    type Value = PathItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path item")
    }

    fn visit_unit<E>(self) -> Result<PathItem, E> {
        Ok(PathItem::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PathItem, A::Error> {
        let mut out = PathItem::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "$ref" => out.reference = map.next_value()?,
                "servers" => out.servers = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "parameters" => out.parameters = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "additionalOperations" => {
                    let more: Option<Extensible<PathOperation>> = map.next_value()?;
                    let more = more.map(|more| more.0).unwrap_or_default().into_iter();
                    out.operations
                        .extend(more.map(|(name, o)| (Some(name), Rc::new(o))));
                }
                any if ANY_METHOD.contains(&any) => {
                    let any: Option<PathOperation> = map.next_value()?;
                    out.operations.extend(any.map(|o| (None, Rc::new(o))));
                }
                method if METHODS.contains(&method) => {
                    let operation: Option<PathOperation> = map.next_value()?;
                    let method = method.to_ascii_uppercase();
                    out.operations
                        .extend(operation.map(|o| (Some(method), Rc::new(o))));
                }
                known => {
                    if !known.starts_with("x-") && !matches!(known, "summary" | "description") {
                        out.unknown.push(known.to_owned());
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        out.operations.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(out)
    }
}
