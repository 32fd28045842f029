//! Values on the wire: text in transit, types on both ends.

use std::borrow::Cow;
use std::fmt::Display;

use ipnet::IpNet;
use keystile_core::advice::Advice;
use keystile_core::key::{KeyId, Name};
use keystile_core::policy::RawLimit;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use zeroize::Zeroizing;

use crate::error::{Code, Fault, refuse};
use crate::record::{Labels, Status};
use crate::room::Room;
use crate::spelling;
use crate::when::{self, When};

/// The most of anything on one page.
pub const PAGE: u32 = 10_000;

/// A newtype that is one word on the wire.
macro_rules! word {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty), $read:expr, $write:expr, $format:expr, $example:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl $name {
            /// Reads the word.
            pub fn read(text: &str) -> std::result::Result<Self, Advice> {
                let read: fn(&str) -> std::result::Result<$inner, Advice> = $read;
                read(text).map(Self)
            }
        }

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Advice;

            fn from_str(text: &str) -> std::result::Result<Self, Advice> {
                Self::read(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                let write: fn(&$inner) -> String = $write;
                s.serialize_str(&write(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(d)?;
                Self::read(&text).map_err(de::Error::custom)
            }
        }

        text_schema!($name, concat!($($doc),*), $format, $example);
    };
}

macro_rules! text_schema {
    ($name:ident, $doc:expr, $format:expr, $example:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let format: Option<SchemaFormat> = $format;
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .format(format)
                    .description(Some($doc.trim()))
                    .examples([serde_json::Value::from($example)])
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

fn shown(value: &impl Display) -> String {
    value.to_string()
}

fn parsed<T: std::str::FromStr<Err: Into<Advice>>>(text: &str) -> std::result::Result<T, Advice> {
    text.parse().map_err(Into::into)
}

word!(
    /// The public id of a key.
    Id(KeyId), parsed, shown, None, "0Ab3dEfGh1"
);
word!(
    /// An environment in which keys work.
    Environment(Name), parsed, shown, None, "live"
);
word!(
    /// A range of addresses.
    Range(IpNet), spelling::cidr, shown, None, "10.0.0.0/8"
);
word!(
    /// A limit: 100/1m, 100/1m:20 with a burst, 100/1m@client for all keys of the client together.
    LimitWords(RawLimit), spelling::limit, spelling::limit_word, None, "100/1m:20"
);
word!(
    /// A time, as RFC 3339 writes it.
    Time(u64), seconds, |t| when::rfc3339(*t), Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)),
    "2027-01-31T12:00:00Z"
);
word!(
    /// A time: `90d` or `24h` from now, `2027-01-31` (midnight, UTC), or RFC 3339.
    TimeWords(When), parsed, when_word, None, "90d"
);
word!(
    /// A duration: `24h`, `7d`, `30m`, or `0`.
    Span(u64), when::span, |s| if *s == 0 { "0".to_owned() } else { when::duration(*s) }, None, "24h"
);
word!(
    /// The present status of a key.
    KeyStatus(Status), status, shown, None, "active"
);

fn seconds(text: &str) -> std::result::Result<u64, Advice> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|t| u64::try_from(t.as_second()).ok())
        .ok_or_else(|| {
            Advice::new(
                format!("`{text}` is not a time"),
                "write `2027-01-31T12:00:00Z`",
            )
        })
}

fn when_word(when: &When) -> String {
    match when {
        When::After(s) => when::duration(*s),
        When::At(t) => when::rfc3339(*t),
    }
}

fn status(text: &str) -> std::result::Result<Status, Advice> {
    use clap::ValueEnum as _;
    Status::from_str(text, false).map_err(|_| {
        let all: Vec<&str> = Status::value_variants()
            .iter()
            .map(|s| s.as_str())
            .collect();
        Advice::new(
            format!("`{text}` is not a status"),
            format!("there are {}", all.join(", ")),
        )
    })
}

/// A secret on the wire: shown once, wiped when dropped. No `Debug`, no `Display`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The secret text, to be shown once and then forgotten.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(self.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d).map(|text| Self(Zeroizing::new(text)))
    }
}

text_schema!(
    Secret,
    "A secret: shown once, stored nowhere.",
    Some(SchemaFormat::KnownFormat(KnownFormat::Password)),
    "(shown once)"
);

/// A field that is present, even if it is null.
///
/// # Errors
/// Those of the value.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// A value that a change may give.
pub trait Said: Sized {
    /// Reads it; none if it is null and null says nothing about it.
    ///
    /// # Errors
    /// Those of the value.
    fn said<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Self>, D::Error>;
}

/// Null empties it.
impl<T: de::DeserializeOwned> Said for Option<T> {
    fn said<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Self>, D::Error> {
        present(d)
    }
}

impl Said for String {
    fn said<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Self>, D::Error> {
        Option::deserialize(d)
    }
}

impl<T: de::DeserializeOwned> Said for Vec<T> {
    fn said<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Self>, D::Error> {
        Option::deserialize(d)
    }
}

impl Said for Labels {
    fn said<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<Self>, D::Error> {
        Option::deserialize(d)
    }
}

/// A field of a change.
///
/// # Errors
/// Those of the value.
pub fn said<'de, T: Said, D: Deserializer<'de>>(d: D) -> std::result::Result<Option<T>, D::Error> {
    T::said(d)
}

/// Whether a field could as well be left out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads `name=value` pairs.
///
/// # Errors
/// One error per malformed label.
pub fn labels(words: &[String]) -> crate::error::Result<Vec<(String, String)>> {
    read_list("labels", words, spelling::label)
}

/// Checks that labels can be written as `name=value`.
///
/// # Errors
/// One error per label that cannot.
pub fn check_labels(pairs: &Labels) -> crate::error::Result<()> {
    let words: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let read = labels(&words)?;
    let bad: Vec<Fault> = pairs
        .iter()
        .zip(&read)
        .filter(|((k, v), (name, value))| *k != name || *v != value)
        .flat_map(|((k, _), _)| {
            refuse(
                Code::InvalidName,
                format_args!("`{k}` is not the name of a label"),
                "write `team`, without `=` and spaces",
            )
            .field("labels")
            .into_faults()
        })
        .collect();
    all_good((), bad)
}

/// Reads words, each by itself.
///
/// # Errors
/// One error per word that cannot be read, with the field's name in front.
pub fn read_list<T>(
    field: &str,
    words: &[String],
    read: impl Fn(&str) -> std::result::Result<T, Advice>,
) -> crate::error::Result<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for word in words {
        match read(word) {
            Ok(value) => good.push(value),
            Err(e) => bad.extend(
                crate::error::advised(crate::error::Code::InvalidValue, &e)
                    .field(field)
                    .into_faults(),
            ),
        }
    }
    all_good(good, bad)
}

/// The valid values, if there are no errors.
///
/// # Errors
/// The errors.
pub fn all_good<T>(good: T, bad: Vec<crate::error::Fault>) -> crate::error::Result<T> {
    if bad.is_empty() {
        Ok(good)
    } else {
        Err(crate::error::refuse_all(bad))
    }
}

/// The room of one page: as many items as requested or by default, and the usual number of bytes.
///
/// # Errors
/// If it is zero, or more than [`PAGE`]; `next` names the parameter for the next page.
pub fn page(asked: Option<u32>, usual: u32, next: &str) -> crate::error::Result<Room> {
    let most = asked.unwrap_or(usual);
    if asked.is_some() && !(1..=PAGE).contains(&most) {
        return Err(crate::error::refuse(
            crate::error::Code::OutOfRange,
            format_args!("{most} is not in 1..={PAGE}"),
            format_args!("ask for less, and for the next page with {next}"),
        )
        .field("limit"));
    }
    Ok(most.into())
}

/// The wire word of an enum of the policy.
pub fn word_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_what_they_write() {
        fn same<T: Serialize + serde::de::DeserializeOwned>(text: &str) {
            let value: T = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&value).unwrap(), text);
        }
        same::<Id>("0Ab3dEfGh1");
        same::<Environment>("live");
        same::<Range>("10.0.0.0/8");
        same::<LimitWords>("100/1m");
        same::<LimitWords>("100/1m:20@client");
        same::<Time>("2027-01-31T12:00:00Z");
        same::<TimeWords>("90d");
        same::<TimeWords>("2027-01-31T12:00:00Z");
        same::<Span>("0");
        same::<Span>("7d");
        same::<KeyStatus>("rotating");
    }

    #[test]
    fn a_word_that_is_none_says_what_to_write() {
        let wrong = serde_json::from_value::<KeyStatus>("asleep".into()).unwrap_err();
        assert!(wrong.to_string().contains("active"), "{wrong}");
        assert!(serde_json::from_value::<Range>("10.1.2.3/8".into()).is_err());
    }
}
