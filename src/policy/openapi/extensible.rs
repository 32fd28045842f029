//! Objects that may be extended with fields whose names begin with `x-`.

use core::fmt;
use core::marker::PhantomData;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, UnitDeserializer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A map without what begins with `x-`.
pub struct Extensible<T>(pub(super) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Extensible<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A map whose names are the author's, and may begin with `x-` as those of extensions do. Such an
/// entry is left out if its value has another form than those of the map.
#[derive(Clone, Debug)]
pub struct NamedEntries<T>(BTreeMap<String, T>);

impl<T> Default for NamedEntries<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Deref for NamedEntries<T> {
    type Target = BTreeMap<String, T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + EntryForm> Deserialize<'de> for NamedEntries<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (named, _) = d.deserialize_map(NamedFields(PhantomData))?;
        Ok(Self(named))
    }
}

/// The scopes of a scheme; nothing is no scopes.
#[derive(Clone, Debug)]
struct Scopes(Vec<String>);

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ScopesVisitor)
    }
}

struct ScopesVisitor;

impl<'de> Visitor<'de> for ScopesVisitor {
    type Value = Scopes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of scopes")
    }

    fn visit_unit<E>(self) -> Result<Scopes, E> {
        Ok(Scopes(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scopes, A::Error> {
        let mut out = Vec::new();
        while let Some(scope) = seq.next_element()? {
            out.push(scope);
        }
        Ok(Scopes(out))
    }
}

/// What an operation requires: all of these schemes, each with scopes.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    schemes: BTreeMap<String, Scopes>,
    /// Names beginning with `x-` whose values are no lists of scopes.
    odd: BTreeSet<String>,
}

impl Requirement {
    /// Whether it is `{}`: the security is optional (OpenAPI 3.1, section 4.8.30).
    pub fn allows_anyone(&self) -> bool {
        self.schemes.is_empty() && self.odd.is_empty()
    }

    /// The names of schemes, and the scopes asked of each. An extension is none, unless there is a
    /// scheme of its name.
    pub fn schemes(&self, is_scheme: impl Fn(&str) -> bool) -> BTreeMap<&String, &[String]> {
        let all = self.schemes.iter();
        let odd = self.odd.iter().filter(|name| is_scheme(name));
        all.map(|(name, scopes)| (name, scopes.0.as_slice()))
            .chain(odd.map(|name| (name, &[][..])))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let (schemes, odd) = d.deserialize_map(NamedFields(PhantomData))?;
        Ok(Self { schemes, odd })
    }
}

/// A value of a map, or something else. Values are either objects or lists.
enum Lenient<T> {
    Is(T),
    Other,
}

struct LenientVisitor<T>(PhantomData<T>);

/// Which of the two a value is.
pub trait EntryForm {
    /// It is an object, not a list.
    const IS_OBJECT: bool;
}

impl EntryForm for Scopes {
    const IS_OBJECT: bool = false;
}

impl<'de, T: Deserialize<'de> + EntryForm> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(LenientVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + EntryForm> Visitor<'de> for LenientVisitor<T> {
    type Value = Lenient<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Lenient<T>, A::Error> {
        let map = MapAccessDeserializer::new(map);
        match T::IS_OBJECT {
            true => T::deserialize(map).map(Lenient::Is),
            false => IgnoredAny::deserialize(map).map(|_| Lenient::Other),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Lenient<T>, A::Error> {
        let seq = SeqAccessDeserializer::new(seq);
        match T::IS_OBJECT {
            true => IgnoredAny::deserialize(seq).map(|_| Lenient::Other),
            false => T::deserialize(seq).map(Lenient::Is),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Lenient<T>, E> {
        match T::IS_OBJECT {
            true => Ok(Lenient::Other),
            false => T::deserialize(UnitDeserializer::new()).map(Lenient::Is),
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Lenient<T>, E> {
        Ok(Lenient::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Lenient<T>, E> {
        Ok(Lenient::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Lenient<T>, E> {
        Ok(Lenient::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Lenient<T>, E> {
        Ok(Lenient::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Lenient<T>, E> {
        Ok(Lenient::Other)
    }
}

struct NamedFields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + EntryForm> Visitor<'de> for NamedFields<T> {
    type Value = (BTreeMap<String, T>, BTreeSet<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut out, mut odd) = Self::Value::default();
        while let Some(name) = map.next_key::<String>()? {
            if out.contains_key(&name) {
                return Err(twice(&name));
            }
            if !name.starts_with("x-") {
                out.insert(name, map.next_value()?);
                continue;
            }
            match map.next_value()? {
                Lenient::Is(value) => {
                    out.insert(name, value);
                }
                Lenient::Other => {
                    odd.insert(name);
                }
            }
        }
        Ok((out, odd))
    }
}

/// A text, or a number or a flag as it is written.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_string(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, v: &str) -> Result<Scalar, E> {
        Ok(Scalar(v.to_owned()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Scalar, E> {
        Ok(Scalar(v.to_string()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Scalar, E> {
        Ok(Scalar(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Scalar, E> {
        Ok(Scalar(v.to_string()))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Scalar, E> {
        Ok(Scalar(v.to_string()))
    }
}

/// A text.
pub fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(Scalar::deserialize(d)?.0)
}

/// Texts.
pub fn texts<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let all: Vec<Scalar> = Vec::deserialize(d)?;
    Ok(all.into_iter().map(|scalar| scalar.0).collect())
}

/// Readers differ in which of two counts.
fn twice<E: Error>(name: &str) -> E {
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    E::custom(format_args!("`{name}` appears here twice"))
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
                continue;
            }
            match out.entry(name) {
                Entry::Vacant(free) => free.insert(map.next_value()?),
                Entry::Occupied(there) => return Err(twice(there.key())),
            };
        }
        Ok(out)
    }
}
