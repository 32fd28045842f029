//! Reads JSON into types with little code.
//!
//! `serde_json` would be compiled anew into the reader of every type, a third of the filter's code,
//! all of which Envoy compiles before its first request. Here it reads a [`Tree`], once for all
//! types, and what is left to do for each of them is short.

use core::fmt;
use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads a value.
///
/// # Errors
/// [`Error`] if the text is not JSON, or not of this type.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    T::deserialize(&parse(text)?)
}

#[inline(never)]
fn parse(text: &[u8]) -> Result<Tree<'_>, Error> {
    serde_json::from_slice(text).map_err(Error::custom)
}

/// Why a text could not be read. Holds no value of it but names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    #[cold]
    #[inline(never)]
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }

    // Not as usual, with the value: it may be a secret, and the code that prints numbers with a
    // fraction is long.
    #[cold]
    #[inline(never)]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) => "a number",
            Unexpected::Signed(_) => "a negative number",
            Unexpected::Str(_) => "a text",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "null",
        };
        Self(format!("{found} instead of {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// JSON with whole numbers. Fields stay in the order in which they were written, repeated ones
/// included, so that types can refuse them.
enum Tree<'t> {
    Null,
    Bool(bool),
    Number(u64),
    Negative(i64),
    Text(Cow<'t, str>),
    List(Vec<Self>),
    Object(Vec<(Cow<'t, str>, Self)>),
}

impl<'t> Deserialize<'t> for Tree<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Grow)
    }
}

/// A text of its own only where the JSON has escapes in it.
struct Words<'t>(Cow<'t, str>);

impl<'t> Deserialize<'t> for Words<'t> {
    fn deserialize<D: Deserializer<'t>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_str(Grow)? {
            Tree::Text(text) => Ok(Self(text)),
            other => Err(D::Error::invalid_type(other.kind(), &"a name")),
        }
    }
}

struct Grow;

impl<'t> Visitor<'t> for Grow {
    type Value = Tree<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with whole numbers")
    }

    fn visit_unit<E>(self) -> Result<Tree<'t>, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<'t>, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<'t>, E> {
        Ok(Tree::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<'t>, E> {
        Ok(Tree::Negative(value))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Tree<'t>, E> {
        Err(E::custom("a number that is not whole, or too large"))
    }

    fn visit_borrowed_str<E>(self, value: &'t str) -> Result<Tree<'t>, E> {
        Ok(Tree::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree<'t>, E> {
        Ok(Tree::Text(Cow::Owned(value.to_owned())))
    }

    #[inline(never)]
    fn visit_seq<A: SeqAccess<'t>>(self, mut from: A) -> Result<Tree<'t>, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = from.next_element()? {
            all.push(element);
        }
        Ok(Tree::List(all))
    }

    #[inline(never)]
    fn visit_map<A: MapAccess<'t>>(self, mut from: A) -> Result<Tree<'t>, A::Error> {
        let mut all = Vec::new();
        while let Some(Words(name)) = from.next_key()? {
            all.push((name, from.next_value()?));
        }
        Ok(Tree::Object(all))
    }
}

impl Tree<'_> {
    /// In messages.
    fn kind(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Number(value) => Unexpected::Unsigned(*value),
            Self::Negative(value) => Unexpected::Signed(*value),
            Self::Text(value) => Unexpected::Str(value),
            Self::List(_) => Unexpected::Seq,
            Self::Object(_) => Unexpected::Map,
        }
    }

    #[cold]
    #[inline(never)]
    fn is_not(&self, expected: &dyn Expected) -> Error {
        Error::invalid_type(self.kind(), expected)
    }
}

impl<'t> Deserializer<'t> for &'t Tree<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Null => to.visit_unit(),
            Tree::Bool(value) => to.visit_bool(*value),
            Tree::Number(value) => to.visit_u64(*value),
            Tree::Negative(value) => to.visit_i64(*value),
            Tree::Text(value) => to.visit_borrowed_str(value),
            Tree::List(_) => self.deserialize_seq(to),
            Tree::Object(_) => self.deserialize_map(to),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Bool(value) => to.visit_bool(*value),
            _ => Err(self.is_not(&to)),
        }
    }

    fn deserialize_u64<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Number(value) => to.visit_u64(*value),
            Tree::Negative(value) => to.visit_i64(*value),
            _ => Err(self.is_not(&to)),
        }
    }

    fn deserialize_u8<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_u64(to)
    }

    fn deserialize_u16<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_u64(to)
    }

    fn deserialize_u32<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_u64(to)
    }

    fn deserialize_i32<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_u64(to)
    }

    fn deserialize_i64<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_u64(to)
    }

    fn deserialize_str<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Text(value) => to.visit_borrowed_str(value),
            _ => Err(self.is_not(&to)),
        }
    }

    fn deserialize_string<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_str(to)
    }

    fn deserialize_option<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Null => to.visit_none(),
            _ => to.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        to: V,
    ) -> Result<V::Value, Error> {
        to.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        let Tree::List(all) = self else {
            return Err(self.is_not(&to));
        };
        let mut left = Elements(all.iter());
        let value = to.visit_seq(&mut left)?;
        match left.0.len() {
            0 => Ok(value),
            _ => Err(too_many(all.len())),
        }
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, _: usize, to: V) -> Result<V::Value, Error> {
        self.deserialize_seq(to)
    }

    fn deserialize_map<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        match self {
            Tree::Object(all) => to.visit_map(Fields {
                left: all.iter(),
                value: &Tree::Null,
            }),
            _ => Err(self.is_not(&to)),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(to)
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        to: V,
    ) -> Result<V::Value, Error> {
        // None of ours has anything in its variants.
        match self {
            Tree::Text(name) => to.visit_enum(StrDeserializer::new(name)),
            _ => Err(self.is_not(&to)),
        }
    }

    fn deserialize_identifier<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        self.deserialize_str(to)
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, to: V) -> Result<V::Value, Error> {
        to.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'t>>
        i8 i16 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct
    }
}

#[cold]
#[inline(never)]
fn too_many(elements: usize) -> Error {
    Error::invalid_length(elements, &"fewer elements")
}

struct Elements<'t, 'v>(core::slice::Iter<'t, Tree<'v>>);

impl<'t> SeqAccess<'t> for Elements<'t, '_> {
    type Error = Error;

    #[inline(never)]
    fn next_element_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.0.next().map(|next| seed.deserialize(next)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields<'t, 'v> {
    left: core::slice::Iter<'t, (Cow<'v, str>, Tree<'v>)>,
    /// Of the field whose name was read last.
    value: &'t Tree<'v>,
}

impl<'t> MapAccess<'t> for Fields<'t, '_> {
    type Error = Error;

    #[inline(never)]
    fn next_key_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((name, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = value;
        let name = BorrowedStrDeserializer::new(name);
        seed.deserialize(name).map(Some)
    }

    #[inline(never)]
    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.value)
    }
}

#[cfg(test)]
mod tests;
