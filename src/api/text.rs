//! Paths and queries: fields as text, encoded according to RFC 3986.

use std::collections::BTreeMap;

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::Value;

use keystile_model::error::{Code, Result, refuse};
use keystile_model::reading::Wrong;
use keystile_model::url;

/// A value as text for a path or a query.
pub fn unquoted(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The pairs of a query, by name.
///
/// # Errors
/// [`Kind::Malformed`] if something in it is not encoded as it should be.
pub fn pairs(query: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (url::decode_form(name), url::decode_form(value)) {
            (Some(name), Some(value)) => out.entry(name).or_default().push(value),
            _ => {
                return Err(refuse(
                    Code::MalformedQuery,
                    "the query is not percent-encoded UTF-8",
                    "encode it as RFC 3986 says",
                ));
            }
        }
    }
    Ok(out)
}

/// Text fields, read as whichever type the operation has.
pub struct Fields(
    MapDeserializer<'static, std::collections::btree_map::IntoIter<String, Words>, Wrong>,
);

impl Fields {
    /// From names and values.
    pub fn new(pairs: BTreeMap<String, Vec<String>>) -> Self {
        let pairs: BTreeMap<String, Words> =
            pairs.into_iter().map(|(n, v)| (n, Words(v))).collect();
        Self(MapDeserializer::new(pairs.into_iter()))
    }
}

impl<'de> Deserializer<'de> for Fields {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        visitor.visit_map(self.0)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

/// The values of one field.
#[derive(Clone)]
struct Words(Vec<String>);

impl Words {
    fn one(self) -> std::result::Result<String, Wrong> {
        let [one] = <[String; 1]>::try_from(self.0).map_err(|all| Wrong::Repeated(all.len()))?;
        Ok(one)
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Words {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($read:ident $visit:ident $what:literal)*) => {$(
        fn $read<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
            let text = self.one()?;
            let value = text.parse().map_err(|_| Wrong::Told(format!("`{text}` is not {}", $what)))?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Words {
    type Error = Wrong;

    parsed! {
        deserialize_bool visit_bool "`true` or `false`"
        deserialize_u8 visit_u8 "a number that fits"
        deserialize_u16 visit_u16 "a number that fits"
        deserialize_u32 visit_u32 "a number that fits"
        deserialize_u64 visit_u64 "a number that fits"
        deserialize_i64 visit_i64 "a number that fits"
        deserialize_f64 visit_f64 "a number"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        visitor.visit_string(self.one()?)
    }

    fn deserialize_option<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> std::result::Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Wrong> {
        let each = self.0.into_iter().map(|word| Words(vec![word]));
        visitor.visit_seq(SeqDeserializer::new(each))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Wrong> {
        let text: StringDeserializer<Wrong> = self.one()?.into_deserializer();
        visitor.visit_enum(text)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}
