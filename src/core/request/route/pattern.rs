//! Text around parameters in one segment: `{id}.json`, `{base}...{head}`, `{id}:cancel`.

use core::cmp::{Ordering, Reverse};
use core::fmt;

use super::comparison::Comparison;

/// The form of a segment: text, with a parameter between two texts, which takes one or more
/// characters. An escape is one character: no text begins inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Up to the first parameter; may be empty.
    pub(super) before: String,
    /// Between two parameters; none of them is empty.
    pub(super) between: Vec<String>,
    /// Behind the last parameter; may be empty.
    pub(super) after: String,
}

impl Pattern {
    /// Whether a segment looks like this. Segments are in the normal form of paths.
    pub fn fits(&self, segment: &str, comparison: Comparison) -> bool {
        let least = usize::from(!comparison.takes_nothing());
        let same = |a: &[u8], b: &str| match comparison.ignores_case() {
            true => a.eq_ignore_ascii_case(b.as_bytes()),
            false => a == b.as_bytes(),
        };
        let bytes = segment.as_bytes();
        let Some(end) = bytes.len().checked_sub(self.after.len()) else {
            return false;
        };
        let ends_so = bytes.get(end..).is_some_and(|b| same(b, &self.after));
        let starts_so = bytes
            .get(..self.before.len())
            .is_some_and(|b| same(b, &self.before));
        if !ends_so || !starts_so || !is_between_characters(bytes, end) {
            return false;
        }
        // Match each text at its first occurrence, which leaves the most room for what follows.
        let mut at = self.before.len();
        for text in &self.between {
            let is_here = |from: &usize| {
                let part = bytes.get(*from..from.saturating_add(text.len()));
                part.is_some_and(|part| same(part, text)) && is_between_characters(bytes, *from)
            };
            let last = end.saturating_sub(text.len());
            match (at.saturating_add(least)..=last).find(is_here) {
                Some(from) => at = from.saturating_add(text.len()),
                None => return false,
            }
        }
        at.saturating_add(least) <= end
    }

    /// Its texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let ends = [self.before.as_str(), self.after.as_str()];
        ends.into_iter()
            .chain(self.between.iter().map(String::as_str))
    }

    /// Reads the shape of a segment, such as `{}.json`; `None` for one without parameters.
    pub fn of_shape(text: &str) -> Option<Self> {
        let mut texts = text.split("{}").map(str::to_owned);
        let before = texts.next()?;
        let mut between: Vec<String> = texts.collect();
        let after = between.pop()?;
        Some(Self {
            before,
            between,
            after,
        })
    }

    /// A segment that looks like this.
    pub fn filled(&self, parameter: &str) -> String {
        self.to_string().replace("{}", parameter)
    }

    /// A pattern for some of the segments that match both; `None` if there are none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let longer = |a: &str, b: &str| if a.len() < b.len() { b } else { a }.to_owned();
        let starts =
            self.before.starts_with(&other.before) || other.before.starts_with(&self.before);
        let ends = self.after.ends_with(&other.after) || other.after.ends_with(&self.after);
        (starts && ends).then(|| Self {
            before: longer(&self.before, &other.before),
            between: [&self.between[..], &other.between[..]].concat(),
            after: longer(&self.after, &other.after),
        })
    }

    /// Whether another looks the same to a reader that ignores case.
    pub fn is_alike(&self, other: &Self) -> bool {
        let folded = |p: &Self| p.to_string().to_ascii_lowercase();
        folded(self) == folded(other)
    }

    /// The more specific of two first. If all segments that match one also match the other, the
    /// former has more text.
    pub fn by_specificity(&self, other: &Self) -> Ordering {
        let rank = |p: &Self| {
            let text: usize = p.texts().map(str::len).sum();
            Reverse((text, p.before.len(), p.after.len()))
        };
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.to_string().cmp(&other.to_string()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.before)?;
        for text in self.between.iter().chain([&self.after]) {
            write!(f, "{{}}{text}")?;
        }
        Ok(())
    }
}

/// Whether no escape is cut at this place.
fn is_between_characters(segment: &[u8], at: usize) -> bool {
    let is_percent = |back| {
        let at = usize::checked_sub(at, back);
        at.and_then(|at| segment.get(at)) == Some(&b'%')
    };
    !is_percent(1) && !is_percent(2)
}
