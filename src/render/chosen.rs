//! What differs between users, as a resource has it: not a value but the place of one among the
//! settings, so that one description serves two writers. [`crate::kubernetes::resolved`] puts a
//! user's settings in; [`crate::kubernetes::template`] leaves that to Helm.

use serde::Serialize;
use serde_json::Value;

/// Something in a resource that may depend on a setting. A setting is named by its path, as in
/// `store.size`; [`NAMESPACE`] is the namespace of the whole.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Chosen<T> {
    /// The same for everybody.
    Fixed(T),
    /// The setting itself.
    Setting {
        #[serde(rename = "$setting")]
        path: &'static str,
    },
    /// A text that ends with the setting.
    Ending {
        #[serde(rename = "$before")]
        before: &'static str,
        #[serde(rename = "$setting")]
        path: &'static str,
    },
    /// Left out, with its name, if the setting is empty.
    If {
        #[serde(rename = "$if")]
        path: &'static str,
        #[serde(rename = "$then")]
        then: Box<Chosen<T>>,
    },
    /// Left out unless the setting is empty.
    Unless {
        #[serde(rename = "$unless")]
        path: &'static str,
        #[serde(rename = "$then")]
        then: Box<Chosen<T>>,
    },
    /// In a list: each item of the setting.
    Items {
        #[serde(rename = "$items")]
        path: &'static str,
    },
    /// In a list: for each item of the setting a text that ends with it.
    Each {
        #[serde(rename = "$before")]
        before: &'static str,
        #[serde(rename = "$items")]
        path: &'static str,
    },
}

/// The namespace, which Helm is told apart from its values.
pub const NAMESPACE: &str = "namespace";

impl<T> Chosen<T> {
    /// The setting, or nothing at all if it is empty.
    pub fn if_given(path: &'static str) -> Self {
        let then = Box::new(Self::Setting { path });
        Self::If { path, then }
    }

    /// This, if the setting is not empty.
    pub fn only_with(path: &'static str, then: Self) -> Self {
        let then = Box::new(then);
        Self::If { path, then }
    }
}

impl<T> From<T> for Chosen<T> {
    fn from(value: T) -> Self {
        Self::Fixed(value)
    }
}

/// A [`Chosen`] in what was serialized.
#[derive(Clone, Copy)]
pub enum Dependent<'a> {
    /// The setting, after a text.
    Setting {
        before: Option<&'a str>,
        path: &'a str,
    },
    /// Something that is there depending on whether a setting is empty.
    When {
        path: &'a str,
        given: bool,
        then: &'a Value,
    },
    /// Items of a list, each after a text.
    Items {
        before: Option<&'a str>,
        path: &'a str,
    },
}

impl<'a> Dependent<'a> {
    /// None for what is the same for everybody.
    pub fn read(value: &'a Value) -> Option<Self> {
        let text = |name| value.get(name).and_then(Value::as_str);
        let before = text("$before");
        if let Some(path) = text("$setting") {
            return Some(Self::Setting { before, path });
        }
        if let Some(path) = text("$items") {
            return Some(Self::Items { before, path });
        }
        let (path, given) = match (text("$if"), text("$unless")) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return None,
        };
        let then = value.get("$then")?;
        Some(Self::When { path, given, then })
    }
}
