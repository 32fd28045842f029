//! Paths by the set of templates that match them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keystile_core::request::route::{Comparison, Pattern};

use super::example::{Example, fresh};

/// The most sets of places that are visited.
const MOST: usize = 200_000;
/// The most examples of segments that match several patterns of one place.
const MOST_COMBINED: usize = 256;

/// A place in the templates of both policies.
#[derive(Default)]
struct Place {
    literals: BTreeMap<String, usize>,
    patterns: BTreeMap<String, (Pattern, usize)>,
    parameter: Option<usize>,
    /// A template ends here.
    ends: bool,
    /// A template takes one segment or more of what follows.
    some: bool,
    /// A template takes any number of further segments.
    any: bool,
}

/// Where a path may be, and the places passed that match everything that follows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    places: BTreeSet<usize>,
    /// With whether these take nothing as well.
    tails: BTreeSet<(usize, bool)>,
}

/// A segment, and how a template writes those like it.
struct Step {
    segment: String,
    shown: String,
}

/// All places, and a word that is the text of none.
struct Map {
    places: Vec<Place>,
    other: String,
}

/// An example of each set of templates that match a path; none if there are too many.
pub fn paths<S: AsRef<[String]>>(shapes: &[S]) -> Option<Vec<Example>> {
    let map = Map::new(shapes);
    let start = map.state([0].into(), BTreeSet::new());
    let mut seen = BTreeSet::from([start.clone()]);
    let mut classes = BTreeSet::new();
    let mut queue = VecDeque::from([(start, String::new(), String::new())]);
    let mut out = Vec::new();
    while let Some((at, path, pattern)) = queue.pop_front() {
        let ends: BTreeSet<usize> = at
            .places
            .iter()
            .filter(|p| map.here(p).is_some_and(|p| p.ends))
            .copied()
            .collect();
        if classes.insert((ends, at.tails.clone())) {
            let or_root = |text: &str| match text {
                "" => "/".to_owned(),
                text => text.to_owned(),
            };
            out.push(Example {
                text: or_root(&path),
                words: or_root(&pattern),
            });
        }
        if at.places.is_empty() {
            continue;
        }
        for Step { segment, shown } in map.steps(&at) {
            let next = map.next(&at, &segment);
            if seen.insert(next.clone()) {
                if seen.len() > MOST {
                    return None;
                }
                let (path, pattern) = (format!("{path}/{segment}"), format!("{pattern}/{shown}"));
                queue.push_back((next, path, pattern));
            }
        }
    }
    Some(out)
}

impl Map {
    fn new<S: AsRef<[String]>>(shapes: &[S]) -> Self {
        let mut places = vec![Place::default()];
        for shape in shapes {
            insert(&mut places, shape.as_ref());
        }
        let patterns = places.iter().flat_map(|p| p.patterns.values());
        let texts: BTreeSet<&str> = patterns.flat_map(|(p, _)| p.texts()).collect();
        let literals = places.iter().flat_map(|p| p.literals.keys());
        let literals: BTreeSet<&str> = literals.map(String::as_str).collect();
        // Preferably a word in which no pattern finds its text.
        let letters = ('a'..='z')
            .chain('0'..='9')
            .map(|c| c.to_string().repeat(5));
        let mut words = core::iter::once("other".to_owned()).chain(letters);
        let is_free = |word: &String| {
            let holds = |text: &&str| !text.is_empty() && word.contains(text);
            !literals.contains(word.as_str()) && !texts.iter().any(holds)
        };
        let word = words.find(is_free);
        let other = word.unwrap_or_else(|| fresh(&literals, str::to_owned));
        Self { places, other }
    }

    fn here(&self, place: &usize) -> Option<&Place> {
        self.places.get(*place)
    }

    fn state(&self, places: BTreeSet<usize>, mut tails: BTreeSet<(usize, bool)>) -> State {
        let any = places
            .iter()
            .filter(|p| self.here(p).is_some_and(|p| p.any));
        tails.extend(any.map(|p| (*p, true)));
        State { places, tails }
    }

    fn next(&self, at: &State, segment: &str) -> State {
        let mut tails = at.tails.clone();
        let some = at
            .places
            .iter()
            .filter(|p| self.here(p).is_some_and(|p| p.some));
        tails.extend(some.map(|p| (*p, false)));
        let all = at.places.iter().filter_map(|p| self.here(p));
        let next = all.flat_map(|place| {
            let patterns = place.patterns.values();
            let fitting = patterns
                .filter(|(p, _)| p.fits(segment, Comparison::Usual))
                .map(|(_, at)| *at);
            let literal = place.literals.get(segment).copied();
            literal.into_iter().chain(fitting).chain(place.parameter)
        });
        self.state(next.collect(), tails)
    }

    /// A segment for each literal, one for each pattern, and one for anything else.
    fn steps(&self, at: &State) -> Vec<Step> {
        let all = || at.places.iter().filter_map(|p| self.here(p));
        let words: BTreeSet<&String> = all().flat_map(|p| p.literals.keys()).collect();
        let patterns: BTreeMap<String, Pattern> = all()
            .flat_map(|p| {
                p.patterns
                    .iter()
                    .map(|(shape, (p, _))| (shape.clone(), p.clone()))
            })
            .collect();
        let words = words.into_iter().map(|word| Step {
            segment: word.clone(),
            shown: word.clone(),
        });
        let patterns = combined(patterns).into_iter().map(|(shape, pattern)| Step {
            segment: pattern.filled(&self.other),
            shown: shape,
        });
        let other = Step {
            segment: self.other.clone(),
            shown: "{}".to_owned(),
        };
        words.chain(patterns).chain([other]).collect()
    }
}

/// Patterns, and segments that match several of them.
fn combined(mut patterns: BTreeMap<String, Pattern>) -> BTreeMap<String, Pattern> {
    let own: Vec<Pattern> = patterns.values().cloned().collect();
    let mut queue: VecDeque<Pattern> = own.iter().cloned().collect();
    let most = patterns.len().saturating_add(MOST_COMBINED);
    while let Some(one) = queue.pop_front() {
        for both in own.iter().filter_map(|other| one.and(other)) {
            if patterns.len() < most && patterns.insert(both.to_string(), both.clone()).is_none() {
                queue.push_back(both);
            }
        }
    }
    patterns
}

fn insert(places: &mut Vec<Place>, shape: &[String]) {
    let mut at = 0;
    let mut tail = None;
    for segment in shape {
        if matches!(segment.as_str(), "{*}" | "{+}") {
            tail = Some(segment.as_str());
            break;
        }
        let fresh = places.len();
        let Some(place) = places.get_mut(at) else {
            break;
        };
        at = match (segment.as_str(), Pattern::of_shape(segment)) {
            ("{}", _) => *place.parameter.get_or_insert(fresh),
            (_, Some(pattern)) => {
                let entry = place.patterns.entry(segment.clone());
                entry.or_insert((pattern, fresh)).1
            }
            _ => *place.literals.entry(segment.clone()).or_insert(fresh),
        };
        if at == fresh {
            places.push(Place::default());
        }
    }
    if let Some(place) = places.get_mut(at) {
        place.any |= tail == Some("{*}");
        place.some |= tail == Some("{+}");
        place.ends |= tail.is_none();
    }
}
