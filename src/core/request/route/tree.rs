//! The routes of one host, by segment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use std::collections::BTreeSet;

use super::comparison::{Comparison, has_capitals};
use super::pattern::Pattern;
use super::table::Table;
use super::template::{Segment, Tail, Template};

/// Two routes that match exactly the same requests: their positions in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route that came first.
    pub first: usize,
    /// The route that it cannot be distinguished from.
    pub second: usize,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) method: &'a [u8],
    pub(super) comparison: Comparison,
    pub(super) slashed: &'a BTreeSet<usize>,
}
use crate::sort;

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// In boxes, so that the table itself is small.
    literals: Table<Box<Tree>>,
    /// Those with capital letters, by their lower-case form.
    capitals: BTreeMap<String, Vec<String>>,
    /// Text around parameters.
    patterns: Option<Box<Patterns>>,
    parameter: Option<Box<Tree>>,
    here: Methods,
    some: Methods,
    any: Methods,
}

impl Tree {
    pub fn insert(
        &mut self,
        route: usize,
        template: &Template,
        methods: &[String],
    ) -> Result<(), Conflict> {
        let mut node = self;
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => {
                    if has_capitals(text) {
                        let alike = node.capitals.entry(text.to_ascii_lowercase()).or_default();
                        if !alike.contains(text) {
                            alike.push(text.clone());
                        }
                    }
                    node.literals.entry(text.clone()).or_default()
                }
                Segment::Pattern(pattern) => node.patterns.get_or_insert_default().at(pattern),
                Segment::Parameter => node.parameter.get_or_insert_default(),
            };
        }
        let table = match template.tail {
            Tail::Nothing => &mut node.here,
            Tail::Some => &mut node.some,
            Tail::Any => &mut node.any,
        };
        table.insert(route, methods)
    }

    /// `path` without its leading slash.
    pub fn find(&self, wanted: Wanted<'_>, path: &str) -> Option<usize> {
        if path.is_empty() {
            // The root has a slash at its end and no other form.
            return self.end(wanted, None);
        }
        // Not `split_once`, which searches for characters: a slash is one byte.
        let slash = path.bytes().position(|b| b == b'/');
        let parts = slash.and_then(|at| path.split_at_checked(at));
        let found = match parts {
            None => self.step(path, |node| node.end(wanted, Some(false)), wanted),
            Some((segment, remainder)) => {
                let further = |node: &Self| match relative(remainder) {
                    "" => node.end(wanted, Some(true)),
                    more => node.find(wanted, more),
                };
                self.step(segment, further, wanted)
            }
        };
        found
            .or_else(|| match path.bytes().all(|b| b == b'/') {
                true => None,
                false => self.some.find(wanted.method),
            })
            .or_else(|| self.any.find(wanted.method))
    }

    /// One segment further, if that leads anywhere.
    fn step(
        &self,
        segment: &str,
        further: impl Fn(&Self) -> Option<usize>,
        wanted: Wanted<'_>,
    ) -> Option<usize> {
        self.literals
            .get(segment)
            .and_then(|node| further(node))
            .or_else(|| match wanted.comparison.ignores_case() {
                true => self.spelled_otherwise(segment).find_map(&further),
                false => None,
            })
            .or_else(|| {
                let patterns = self.patterns.as_ref()?;
                patterns
                    .fitting(segment, wanted.comparison)
                    .into_iter()
                    .find_map(|(_, node)| further(node))
            })
            // A parameter is never empty.
            .or_else(|| match segment {
                "" => None,
                _ => further(self.parameter.as_ref()?),
            })
    }

    /// What a segment leads to if case is ignored.
    #[cold]
    fn spelled_otherwise(&self, segment: &str) -> impl Iterator<Item = &Self> {
        let small = segment.to_ascii_lowercase();
        let alike = self.capitals.get(&small).into_iter().flatten().cloned();
        let all: Vec<String> = core::iter::once(small).chain(alike).collect();
        let others = all.into_iter().filter(move |l| l != segment);
        let found = others.filter_map(|l| self.literals.get(&l).map(Box::as_ref));
        let found: Vec<&Self> = found.collect();
        found.into_iter()
    }

    /// The path ends here, with a slash or without.
    fn end(&self, wanted: Wanted<'_>, slash: Option<bool>) -> Option<usize> {
        let here = self.here.find(wanted.method);
        let is_it = |route: &usize| match slash {
            Some(slash) if wanted.comparison == Comparison::MindsSlash => {
                wanted.slashed.contains(route) == slash
            }
            _ => true,
        };
        let some = || match slash == Some(true) && wanted.comparison.takes_nothing() {
            true => self.some.find(wanted.method),
            false => None,
        };
        here.filter(is_it)
            .or_else(some)
            .or_else(|| self.any.find(wanted.method))
    }
}

type Shapes = BTreeMap<String, Box<(Pattern, Tree)>>;

/// The patterns of one segment, by their ends without capital letters: how many there are does
/// not count, only how many lengths their texts have.
#[derive(Clone, Debug, Default)]
struct Patterns {
    by_before: Table<Table<SameEnds>>,
    /// Lengths of all texts before the first parameter, and behind the last.
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Patterns that begin and end alike, by the text behind their first parameter.
#[derive(Clone, Debug, Default)]
struct SameEnds {
    /// Those of one parameter, which have no such text: they differ by case alone.
    of_one: Shapes,
    by_between: Table<Shapes>,
    /// Lengths of those texts.
    between: Vec<usize>,
}

impl SameEnds {
    fn shapes(&mut self, pattern: &Pattern) -> &mut Shapes {
        match pattern.between.first() {
            None => &mut self.of_one,
            Some(text) => {
                if !self.between.contains(&text.len()) {
                    self.between.push(text.len());
                }
                let text = text.to_ascii_lowercase();
                self.by_between.entry(text).or_default()
            }
        }
    }

    /// All that may fit a segment without capital letters, each once.
    fn candidates<'t>(&'t self, small: &str, out: &mut Vec<&'t (Pattern, Tree)>) {
        out.extend(self.of_one.values().map(Box::as_ref));
        let mut found: Vec<&Shapes> = Vec::new();
        for length in &self.between {
            for from in 0..small.len() {
                let text = small.get(from..from.saturating_add(*length));
                let Some(here) = text.and_then(|text| self.by_between.get(text)) else {
                    continue;
                };
                if !found.iter().any(|before| core::ptr::eq(*before, here)) {
                    found.push(here);
                    out.extend(here.values().map(Box::as_ref));
                }
            }
        }
    }
}

impl Patterns {
    /// What a pattern leads to.
    fn at(&mut self, pattern: &Pattern) -> &mut Tree {
        for (lengths, text) in [
            (&mut self.before, &pattern.before),
            (&mut self.after, &pattern.after),
        ] {
            if !lengths.contains(&text.len()) {
                lengths.push(text.len());
            }
        }
        let start = pattern.before.to_ascii_lowercase();
        let by_after = self.by_before.entry(start).or_default();
        let end = pattern.after.to_ascii_lowercase();
        let by_shape = by_after.entry(end).or_default().shapes(pattern);
        let made = || Box::new((pattern.clone(), Tree::default()));
        &mut by_shape.entry(pattern.to_string()).or_insert_with(made).1
    }

    /// What a segment leads to, the most specific first.
    fn fitting(&self, segment: &str, comparison: Comparison) -> Vec<&(Pattern, Tree)> {
        let small = match has_capitals(segment) {
            true => Cow::Owned(segment.to_ascii_lowercase()),
            false => Cow::Borrowed(segment),
        };
        let starts = self.before.iter().filter_map(|length| small.get(..*length));
        let by_start = starts.filter_map(|start| self.by_before.get(start));
        let ends = || {
            let starts = self
                .after
                .iter()
                .filter_map(|l| small.len().checked_sub(*l));
            starts.filter_map(|from| small.get(from..))
        };
        let by_ends = by_start.flat_map(|by_after| ends().filter_map(|end| by_after.get(end)));
        let mut found: Vec<&(Pattern, Tree)> = Vec::new();
        by_ends.for_each(|same_ends| same_ends.candidates(&small, &mut found));
        found.retain(|(pattern, _)| pattern.fits(segment, comparison));
        if comparison.ignores_case() && found.len() > 1 {
            let as_written = comparison.minding_case();
            let exact: Vec<&Pattern> = found
                .iter()
                .map(|(pattern, _)| pattern)
                .filter(|pattern| pattern.fits(segment, as_written))
                .collect();
            found.retain(|(pattern, _)| {
                pattern.fits(segment, as_written) || !exact.iter().any(|e| e.is_alike(pattern))
            });
        }
        sort::few(&mut found, |(a, _), (b, _)| a.by_specificity(b).is_lt());
        found
    }
}

#[derive(Clone, Debug, Default)]
struct Methods {
    named: Vec<(String, usize)>,
    any: Option<usize>,
}

impl Methods {
    fn insert(&mut self, route: usize, methods: &[String]) -> Result<(), Conflict> {
        let conflict = |first| {
            Err(Conflict {
                first,
                second: route,
            })
        };
        if methods.is_empty() {
            return match self.any.replace(route) {
                Some(first) => conflict(first),
                None => Ok(()),
            };
        }
        for method in methods {
            if let Some((_, first)) = self.named.iter().find(|(m, _)| m == method) {
                return conflict(*first);
            }
            self.named.push((method.clone(), route));
        }
        Ok(())
    }

    fn find(&self, method: &[u8]) -> Option<usize> {
        self.named
            .iter()
            .find_map(|(m, route)| (m.as_bytes() == method).then_some(*route))
            .or(self.any)
    }
}

pub(super) fn relative(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}
