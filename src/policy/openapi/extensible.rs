//! Objects that may be extended with fields whose names begin with `x-`.

use core::fmt;
use core::marker::PhantomData;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::document::{Operation, PathItem};

/// The API Gateway's name for the operation of all methods without one of their own.
const ANY_METHOD: &str = "x-amazon-apigateway-any-method";
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
                    let more: Option<Extensible<Operation>> = map.next_value()?;
                    let more = more.unwrap_or_default().0.into_iter();
                    out.operations
                        .extend(more.map(|(name, o)| (Some(name), Rc::new(o))));
                }
                ANY_METHOD => {
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
