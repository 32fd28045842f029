//! Objects that may be extended with fields whose names begin with `x-`, and maps whose names
//! the author of a document chooses, which may begin with `x-` as well.

use core::fmt;
use core::marker::PhantomData;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::document::{Operation, PathItem};

/// Names for the operation of all methods without one of their own: AWS's, Yandex's.
const ANY_METHOD: [&str; 2] = [
    "x-amazon-apigateway-any-method",
    "x-yc-apigateway-any-method",
];
const METHODS: [&str; 9] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace", "query",
];

/// A map without what begins with `x-`.
#[derive(Clone, Debug)]
pub struct Extensible<T>(BTreeMap<String, T>);

impl<T> Default for Extensible<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Deref for Extensible<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Extensible<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// The same of path items, which several may refer to.
pub fn shared<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Rc<PathItem>>, D::Error> {
    let all: Extensible<PathItem> = Extensible::deserialize(d)?;
    Ok(all.0.into_iter().map(|(k, v)| (k, Rc::new(v))).collect())
}

/// A map by names that the author chose: security schemes, variables, methods. Under a name that
/// begins with `x-`, only what cannot be read as a value is taken for an extension.
#[derive(Clone, Debug)]
pub struct Named<T>(BTreeMap<String, T>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Deref for Named<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Entries(PhantomData)).map(Self)
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Entries<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if !name.starts_with("x-") {
                out.insert(name, map.next_value()?);
                continue;
            }
            let mut value: Value = map.next_value()?;
            let read = T::deserialize(&value).or_else(|_| {
                as_texts(&mut value);
                T::deserialize(&value)
            });
            out.extend(read.ok().map(|value| (name, value)));
        }
        Ok(out)
    }
}

/// Numbers as texts, as YAML reads them where a text belongs.
fn as_texts(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Array(all) => all.iter_mut().for_each(as_texts),
        Value::Object(all) => all.values_mut().for_each(as_texts),
        _ => {}
    }
}

/// [`shared`] for a map by names that the author chose.
pub fn named_and_shared<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, Rc<PathItem>>, D::Error> {
    let all: Named<PathItem> = Named::deserialize(d)?;
    Ok(all.0.into_iter().map(|(k, v)| (k, Rc::new(v))).collect())
}

/// What an operation requires.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// All of these schemes, each with scopes.
    pub schemes: BTreeMap<String, Option<Vec<String>>>,
    /// It has fields that cannot be schemes.
    has_extensions: bool,
}

impl Requirement {
    /// Whether it is `{}`: the security is optional (OpenAPI 3.1, section 4.8.30).
    pub fn allows_anyone(&self) -> bool {
        self.schemes.is_empty() && !self.has_extensions
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Asked)
    }
}

struct Asked;

impl<'de> Visitor<'de> for Asked {
    type Value = Requirement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Requirement, A::Error> {
        let mut out = Requirement::default();
        while let Some(name) = map.next_key::<String>()? {
            if !name.starts_with("x-") {
                out.schemes.insert(name, map.next_value()?);
                continue;
            }
            let value: Value = map.next_value()?;
            match Deserialize::deserialize(value) {
                Ok(scopes) => {
                    out.schemes.insert(name, scopes);
                }
                Err(_) => out.has_extensions = true,
            }
        }
        Ok(out)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.starts_with("x-") {
                map.next_value::<IgnoredAny>()?;
            } else {
                out.insert(name, map.next_value()?);
            }
        }
        Ok(out)
    }
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
                    let more: Option<Named<Operation>> = map.next_value()?;
                    let more = more.unwrap_or_default().0.into_iter();
                    out.operations
                        .extend(more.map(|(name, o)| (Some(name), Rc::new(o))));
                }
                any if ANY_METHOD.contains(&any) => {
                    let any: Option<Operation> = map.next_value()?;
                    out.operations.extend(any.map(|o| (None, Rc::new(o))));
                }
                method if METHODS.contains(&method) => {
                    let operation: Option<Operation> = map.next_value()?;
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
