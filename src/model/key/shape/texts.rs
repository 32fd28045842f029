//! Lists of words that are text: scopes, origins, certificates.

use std::marker::PhantomData;

use keystile_core::request::certificate;
use serde_json::{Value, json};

use super::{Read, ReadAll, Shape, each, some, sort};
use crate::error::Result;
use crate::spelling;
use crate::wire;
use crate::words;

/// A word of a list.
pub trait Word {
    /// The audit log tells of a list without any too.
    const ALWAYS_AUDITED: bool = false;

    /// Reads it.
    ///
    /// # Errors
    /// What to write instead.
    fn read(text: &str) -> Read<String>;
}

/// A permission. Whether it is one, only the policy knows.
pub struct Scope;

impl Word for Scope {
    const ALWAYS_AUDITED: bool = true;

    fn read(text: &str) -> Read<String> {
        Ok(text.to_owned())
    }
}

/// A browser origin.
pub struct Origin;

impl Word for Origin {
    fn read(text: &str) -> Read<String> {
        spelling::origin(text)
    }
}

/// An identity of a client certificate.
pub struct CertificateIdentity;

impl Word for CertificateIdentity {
    fn read(text: &str) -> Read<String> {
        certificate::identity(text)
    }
}

/// A set of words.
pub struct Texts<W>(PhantomData<W>);

impl<W: Word> Shape for Texts<W> {
    type Kept = Vec<String>;
    type Given = Vec<String>;
    type Shown = Vec<String>;
    const MANY: bool = true;

    fn check_word(text: &str) -> Read<()> {
        W::read(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Vec<String>> {
        each(typed, W::read)
    }

    fn keep(name: &str, given: Vec<String>, _: u64) -> Result<Vec<String>> {
        wire::read_list(name, &given, W::read)
    }

    fn tidy(kept: &mut Vec<String>) {
        sort(kept);
    }

    fn check(name: &str, kept: &Vec<String>, _: Option<&Vec<String>>) -> Result<()> {
        match kept.iter().find(|text| words::holds_secret(text)) {
            Some(text) => words::check(name, text, usize::MAX),
            None => Ok(()),
        }
    }

    fn show(kept: &Vec<String>) -> Vec<String> {
        kept.clone()
    }

    fn words(shown: &Vec<String>) -> Vec<String> {
        shown.clone()
    }

    fn audited(kept: &Vec<String>) -> Option<Value> {
        match W::ALWAYS_AUDITED {
            true => Some(json!(kept)),
            false => some(kept.clone()),
        }
    }
}
