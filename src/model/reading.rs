//! Reads a type from JSON, and says what is wrong as a value, which serde would put into a
//! sentence.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde_json::Value;

use crate::error::{Code, Error, Next, Result, refuse, told};
use crate::nearest::nearest;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such field.
    Unknown {
        /// Its name.
        field: String,
        /// The fields that there are.
        known: &'static [&'static str],
    },
    /// A field is missing.
    Missing(&'static str),
    /// A word is not one of those that a field can hold.
    Word {
        /// It.
        word: String,
        /// Those.
        known: &'static [&'static str],
    },
    /// Something of another type than is wanted.
    Type {
        /// What is there.
        found: ActualType,
        /// What is wanted, in serde's words.
        expected: String,
    },
    /// A field is given more than once: this often.
    Repeated(usize),
    /// What a type says about a text that it cannot read, with the next step.
    Told(String),
}

/// What is there in place of what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActualType {
    /// A text, which may be a secret in the wrong field.
    Text(String),
    /// A list.
    List,
    /// An object.
    Map,
    /// Nothing, `null`.
    Nothing,
    /// A number or a boolean.
    Other(String),
}

impl ActualType {
    fn from_unexpected(unexpected: Unexpected<'_>) -> Self {
        match unexpected {
            Unexpected::Str(text) => Self::Text(text.to_owned()),
            Unexpected::Seq => Self::List,
            Unexpected::Map => Self::Map,
            Unexpected::Unit | Unexpected::Option => Self::Nothing,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for ActualType {
    /// Without the text, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Map => "an object",
            Self::Nothing => "nothing",
            Self::Other(what) => what,
        })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { field, .. } => write!(f, "there is no field `{field}`"),
            Self::Missing(field) => write!(f, "`{field}` is missing"),
            Self::Word { word, .. } => write!(f, "`{word}` is not one of its values"),
            Self::Type { found, .. } => write!(f, "this is {found}"),
            Self::Repeated(times) => write!(f, "is given {times} times"),
            Self::Told(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::Told(words.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Type {
            found: ActualType::from_unexpected(found),
            expected: expected.to_string(),
        }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::Word {
            word: word.to_owned(),
            known,
        }
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown {
            field: field.to_owned(),
            known,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// `` `a`, `b` ``.
fn listed(known: &[&str]) -> String {
    let all: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
    all.join(", ")
}

impl Wrong {
    /// What happened.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::FieldUnknown,
            Self::Missing(_) => Code::FieldMissing,
            Self::Word { .. } | Self::Type { .. } | Self::Repeated(_) | Self::Told(_) => {
                Code::InvalidValue
            }
        }
    }

    /// The refusal of a request in which this is at a path of fields; empty for the whole request.
    /// A text of the wrong type is not repeated: it may be a secret.
    pub fn refused(&self, path: &str) -> Error {
        let error = match self {
            Self::Told(words) => told(self.code(), words),
            _ => refuse(self.code(), self, self.next()),
        };
        match (self, path) {
            (Self::Unknown { field, .. }, _) => error.about(field),
            (Self::Missing(field), _) => error.about(field),
            (_, "") => error,
            (_, path) => error.field(path),
        }
    }

    fn next(&self) -> Next {
        match self {
            Self::Unknown { field, known } => match nearest(field, known.iter().copied()) {
                Some(near) => format_args!("did you mean `{near}`?").into(),
                None => format_args!("known here: {}", listed(known)).into(),
            },
            Self::Missing(_) => "add it".into(),
            Self::Word { known, .. } => format_args!("write one of {}", listed(known)).into(),
            Self::Type { expected, .. } => format_args!("write {}", wanted(expected)).into(),
            Self::Repeated(_) => "give it once".into(),
            Self::Told(_) => Next::NONE,
        }
    }
}

/// What serde expects, for people.
fn wanted(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "an object",
        other => match other.split_once(' ') {
            Some(("struct", _)) => "an object",
            _ => other,
        },
    }
}

/// JSON to read a type from.
#[derive(Clone, Debug)]
pub struct GivenJson(pub Value);

/// Reads a type; `Err` says at which path of fields, and what is wrong.
///
/// # Errors
/// The first thing that is wrong.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, (String, Wrong)> {
    located(GivenJson(value))
}

/// The same from anything that reports its mistakes like this.
///
/// # Errors
/// The first thing that is wrong.
pub fn located<'de, T, D>(given: D) -> Result<T, (String, Wrong)>
where
    T: serde::Deserialize<'de>,
    D: Deserializer<'de, Error = Wrong>,
{
    serde_path_to_error::deserialize(given).map_err(|e| {
        let path = e.path().to_string();
        let path = if path == "." { String::new() } else { path };
        (path, e.into_inner())
    })
}

impl GivenJson {
    /// What is here is not what is wanted.
    fn mistaken_for(self, expected: &str) -> Wrong {
        let found = match self.0 {
            Value::Null => ActualType::Nothing,
            Value::Bool(flag) => ActualType::from_unexpected(Unexpected::Bool(flag)),
            Value::Number(number) => ActualType::Other(format!("the number `{number}`")),
            Value::String(text) => ActualType::Text(text),
            Value::Array(_) => ActualType::List,
            Value::Object(_) => ActualType::Map,
        };
        Wrong::Type {
            found,
            expected: expected.to_owned(),
        }
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for GivenJson {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for GivenJson {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (None, Some(n)) => visitor.visit_i64(n),
                (None, None) => visitor.visit_f64(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(all) => {
                let mut all = SeqDeserializer::new(all.into_iter().map(GivenJson));
                let out = visitor.visit_seq(&mut all)?;
                all.end().map(|()| out)
            }
            Value::Object(all) => {
                let mut all = MapDeserializer::new(all.into_iter().map(|(k, v)| (k, GivenJson(v))));
                let out = visitor.visit_map(&mut all)?;
                all.end().map(|()| out)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(word) => {
                let word: StringDeserializer<Wrong> = word.into_deserializer();
                visitor.visit_enum(word)
            }
            Value::Object(all) => {
                let all = MapDeserializer::new(all.into_iter().map(|(k, v)| (k, GivenJson(v))));
                visitor.visit_enum(de::value::MapAccessDeserializer::new(all))
            }
            other => Err(GivenJson(other).mistaken_for(&format!("one of {}", listed(known)))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(self.mistaken_for("an object")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
