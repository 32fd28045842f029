//! What the properties of a key hold: how it is typed, given, kept and shown.

use std::collections::BTreeMap;

use ipnet::IpNet;
use keystile_core::advice::Advice;
use keystile_core::policy::{Limit, RawLimit, checked_limits};
use serde_json::{Value, json};

use crate::error::{Code, Result, mistaken};
use crate::record::{Labels, limit_words};
use crate::spelling;
use crate::when;
use crate::wire::{self, LimitWords, Range, Span, Time, TimeWords};
use crate::words;

mod texts;

pub use texts::{CertificateIdentity, Origin, Scope, Texts, Word};

type Read<T> = std::result::Result<T, Advice>;
/// With a message for each word that is wrong.
type ReadAll<T> = std::result::Result<T, Vec<Advice>>;

/// What a property can hold.
pub trait Shape {
    /// As the rules of a key keep it.
    type Kept: Clone;
    /// As a request gives it.
    type Given;
    /// As an answer shows it.
    type Shown;

    /// It holds several words.
    const MANY: bool = false;

    /// Checks one word of it.
    ///
    /// # Errors
    /// What to write instead.
    fn check_word(_: &str) -> Read<()> {
        Ok(())
    }

    /// What was typed, as a request gives it; no word at all is nothing.
    ///
    /// # Errors
    /// A word is not valid.
    fn typed(typed: &[String]) -> ReadAll<Self::Given>;

    /// What a request gives, as it is kept.
    ///
    /// # Errors
    /// It is not valid; the message names the property.
    fn keep(name: &str, given: Self::Given, now: u64) -> Result<Self::Kept>;

    /// Changes what is kept.
    fn change(kept: &mut Self::Kept, new: Self::Kept) {
        *kept = new;
    }

    /// Puts what is kept into the one form in which it is compared.
    fn tidy(_: &mut Self::Kept) {}

    /// Checks that it may be kept. What was there before was checked when it was given.
    ///
    /// # Errors
    /// It may not; the message names the property.
    fn check(_: &str, _: &Self::Kept, _: Option<&Self::Kept>) -> Result<()> {
        Ok(())
    }

    /// As an answer shows it.
    fn show(kept: &Self::Kept) -> Self::Shown;

    /// As it could be typed.
    fn words(shown: &Self::Shown) -> Vec<String>;

    /// As people read it.
    fn text(shown: &Self::Shown, _now: u64) -> String {
        Self::words(shown).join(" ")
    }

    /// As the audit log records it; none if there is nothing to record.
    fn audited(kept: &Self::Kept) -> Option<Value>;
}

fn some(list: Vec<String>) -> Option<Value> {
    (!list.is_empty()).then(|| json!(list))
}

/// The one word that was typed, read.
fn one<T>(typed: &[String], read: impl Fn(&str) -> Read<T>) -> ReadAll<Option<T>> {
    let read = typed.first().map(|word| read(word)).transpose();
    read.map_err(|e| vec![e])
}

fn each<T>(typed: &[String], read: impl Fn(&str) -> Read<T>) -> ReadAll<Vec<T>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for word in typed {
        match read(word) {
            Ok(value) => good.push(value),
            Err(e) => bad.push(e),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// Free text of so many bytes.
pub struct Text<const LONGEST: usize>;

impl<const LONGEST: usize> Shape for Text<LONGEST> {
    type Kept = String;
    type Given = String;
    type Shown = String;

    fn typed(typed: &[String]) -> ReadAll<String> {
        Ok(typed.first().cloned().unwrap_or_default())
    }

    fn keep(_: &str, given: String, _: u64) -> Result<String> {
        Ok(given)
    }

    fn check(name: &str, kept: &String, before: Option<&String>) -> Result<()> {
        match before == Some(kept) {
            true => Ok(()),
            false => words::check(name, kept, LONGEST),
        }
    }

    fn show(kept: &String) -> String {
        kept.clone()
    }

    fn words(shown: &String) -> Vec<String> {
        OwnPlan::words(&Some(shown.clone()).filter(|text| !text.is_empty()))
    }

    fn audited(kept: &String) -> Option<Value> {
        (!kept.is_empty()).then(|| json!(kept))
    }
}

/// The name of a plan, or none.
pub struct OwnPlan;

impl Shape for OwnPlan {
    type Kept = Option<String>;
    type Given = Option<String>;
    type Shown = Option<String>;

    fn typed(typed: &[String]) -> ReadAll<Option<String>> {
        Ok(typed.first().cloned())
    }

    fn keep(_: &str, given: Option<String>, _: u64) -> Result<Option<String>> {
        Ok(given)
    }

    fn show(kept: &Option<String>) -> Option<String> {
        kept.clone()
    }

    fn words(shown: &Option<String>) -> Vec<String> {
        shown.iter().cloned().collect()
    }

    fn audited(kept: &Option<String>) -> Option<Value> {
        kept.as_deref()
            .filter(|plan| !plan.is_empty())
            .map(|plan| json!(plan))
    }
}

/// Limits, in the order in which they were given.
pub struct Limits;

impl Shape for Limits {
    type Kept = Vec<Limit>;
    type Given = Vec<LimitWords>;
    type Shown = Vec<String>;
    const MANY: bool = true;

    fn check_word(text: &str) -> Read<()> {
        spelling::limit(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Vec<LimitWords>> {
        each(typed, LimitWords::read)
    }

    fn keep(_: &str, given: Vec<LimitWords>, _: u64) -> Result<Vec<Limit>> {
        let raw: Vec<RawLimit> = given.into_iter().map(|l| l.0).collect();
        checked_limits("limits", &raw).map_err(|all| mistaken(Code::InvalidValue, &all))
    }

    fn show(kept: &Vec<Limit>) -> Vec<String> {
        limit_words(kept)
    }

    fn words(shown: &Vec<String>) -> Vec<String> {
        shown.clone()
    }

    fn audited(kept: &Vec<Limit>) -> Option<Value> {
        some(limit_words(kept))
    }
}

/// A time; in seconds where it is kept.
pub struct Date;

impl Shape for Date {
    type Kept = Option<u64>;
    type Given = Option<TimeWords>;
    type Shown = Option<Time>;

    fn check_word(text: &str) -> Read<()> {
        TimeWords::read(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Option<TimeWords>> {
        one(typed, TimeWords::read)
    }

    fn keep(_: &str, given: Option<TimeWords>, now: u64) -> Result<Option<u64>> {
        Ok(given.map(|w| w.0.at(now)))
    }

    fn show(kept: &Option<u64>) -> Option<Time> {
        kept.map(Time)
    }

    fn words(shown: &Option<Time>) -> Vec<String> {
        shown.iter().map(|t| when::rfc3339(t.0)).collect()
    }

    fn text(shown: &Option<Time>, now: u64) -> String {
        let text = |t: &Time| format!("{} ({})", when::short(t.0), when::relative(t.0, now));
        shown.as_ref().map(text).unwrap_or_default()
    }

    fn audited(kept: &Option<u64>) -> Option<Value> {
        kept.map(|t| json!(when::rfc3339(t)))
    }
}

/// A length of time; in seconds where it is kept.
pub struct Length;

impl Shape for Length {
    type Kept = Option<u64>;
    type Given = Option<Span>;
    type Shown = Option<Span>;

    fn check_word(text: &str) -> Read<()> {
        Span::read(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Option<Span>> {
        one(typed, Span::read)
    }

    fn keep(_: &str, given: Option<Span>, _: u64) -> Result<Option<u64>> {
        Ok(given.map(|s| s.0))
    }

    fn show(kept: &Option<u64>) -> Option<Span> {
        kept.map(Span)
    }

    fn words(shown: &Option<Span>) -> Vec<String> {
        shown.iter().map(|s| when::duration(s.0)).collect()
    }

    fn audited(kept: &Option<u64>) -> Option<Value> {
        kept.map(|s| json!(when::duration(s)))
    }
}

/// Ranges of addresses.
pub struct Ranges;

impl Shape for Ranges {
    type Kept = Vec<IpNet>;
    type Given = Vec<Range>;
    type Shown = Vec<String>;
    const MANY: bool = true;

    fn check_word(text: &str) -> Read<()> {
        spelling::cidr(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Vec<Range>> {
        each(typed, Range::read)
    }

    fn keep(_: &str, given: Vec<Range>, _: u64) -> Result<Vec<IpNet>> {
        Ok(given.into_iter().map(|r| r.0).collect())
    }

    fn tidy(kept: &mut Vec<IpNet>) {
        sort(kept);
    }

    fn show(kept: &Vec<IpNet>) -> Vec<String> {
        crate::record::words(kept)
    }

    fn words(shown: &Vec<String>) -> Vec<String> {
        shown.clone()
    }

    fn audited(kept: &Vec<IpNet>) -> Option<Value> {
        some(crate::record::words(kept))
    }
}

/// Free pairs: a change adds to them.
pub struct Pairs;

impl Shape for Pairs {
    type Kept = Labels;
    type Given = BTreeMap<String, String>;
    type Shown = BTreeMap<String, String>;
    const MANY: bool = true;

    fn check_word(text: &str) -> Read<()> {
        spelling::label(text).map(drop)
    }

    fn typed(typed: &[String]) -> ReadAll<Labels> {
        Ok(each(typed, spelling::label)?.into_iter().collect())
    }

    fn keep(_: &str, given: Labels, _: u64) -> Result<Labels> {
        wire::check_labels(&given)?;
        Ok(given)
    }

    fn change(kept: &mut Labels, new: Labels) {
        kept.extend(new);
    }

    fn check(_: &str, kept: &Labels, before: Option<&Labels>) -> Result<()> {
        words::check_labels(kept, before.unwrap_or(&Labels::new()))
    }

    fn show(kept: &Labels) -> Labels {
        kept.clone()
    }

    fn words(shown: &Labels) -> Vec<String> {
        shown
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    fn audited(kept: &Labels) -> Option<Value> {
        (!kept.is_empty()).then(|| json!(kept))
    }
}
