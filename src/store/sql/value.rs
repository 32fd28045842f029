//! Values for statements.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// A value for a statement. One that is missing has a type too: a database may need it to
/// understand the statement.
#[derive(Clone, PartialEq)]
pub enum Value<'v> {
    /// Nothing, where a value of this kind could be.
    Null(SqlKind),
    /// A number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A text.
    Text(Cow<'v, str>),
    /// Bytes.
    Bytes(Cow<'v, [u8]>),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlKind {
    /// A number.
    Integer,
    /// True or false.
    Boolean,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

/// The kind alone: values may be secrets.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind())
    }
}

impl Value<'_> {
    /// What it is, or would be.
    pub fn kind(&self) -> SqlKind {
        match self {
            Self::Null(kind) => *kind,
            Self::Integer(_) => SqlKind::Integer,
            Self::Boolean(_) => SqlKind::Boolean,
            Self::Text(_) => SqlKind::Text,
            Self::Bytes(_) => SqlKind::Bytes,
        }
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(n: Option<i64>) -> Self {
        n.map_or(Self::Null(SqlKind::Integer), Self::Integer)
    }
}

/// What can be given to a statement.
pub trait ToValue {
    /// What it is.
    const KIND: SqlKind;

    /// As a value.
    fn to_value(&self) -> Value<'_>;
}

/// Types that fit into the database's numbers.
macro_rules! integers {
    ($($t:ty),*) => {$(
        impl ToValue for $t {
            const KIND: SqlKind = SqlKind::Integer;
            fn to_value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        }
    )*};
}
integers!(i64, u32, u16, u8);

/// Types that borrow as a text or as bytes.
macro_rules! borrowed {
    ($kind:ident: $($t:ty),*) => {$(
        impl ToValue for $t {
            const KIND: SqlKind = SqlKind::$kind;
            fn to_value(&self) -> Value<'_> {
                Value::$kind(Cow::Borrowed(self))
            }
        }
    )*};
}
borrowed!(Text: str, String);
borrowed!(Bytes: [u8], Vec<u8>, Zeroizing<Vec<u8>>);

impl ToValue for bool {
    const KIND: SqlKind = SqlKind::Boolean;
    fn to_value(&self) -> Value<'_> {
        Value::Boolean(*self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    const KIND: SqlKind = SqlKind::Bytes;
    fn to_value(&self) -> Value<'_> {
        Value::Bytes(Cow::Borrowed(self))
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    const KIND: SqlKind = T::KIND;
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    const KIND: SqlKind = T::KIND;
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null(T::KIND), T::to_value)
    }
}

/// The values of a statement: `params![name, number]`.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::ToValue::to_value(&$value)),*]
    };
}
pub(crate) use params;
