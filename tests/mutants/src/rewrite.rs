//! Writes a file with its mutants in it, each behind a question whether it is switched on.
//!
//! A copy of an expression with a mutant in it holds no other mutants, since only one is switched
//! on at a time: the file grows by the number of mutants, and not by their combinations.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::list::{Genre, Mutant};
use crate::syntax::{Fixed, Guard, Places};

/// Text of one mutant, or of several.
type Piece = (Option<usize>, String);

/// Text to be put around a part of the file.
struct Wrap {
    range: Range<usize>,
    /// Of those around the same part, those with lower ranks are outside.
    rank: usize,
    before: Vec<Piece>,
    after: Vec<Piece>,
    numbers: Vec<usize>,
}

/// Part of a written file, and the mutants that a complaint about it means.
#[derive(Debug)]
pub struct Region {
    /// Bytes of the written file.
    pub range: Range<usize>,
    /// Indices in the list.
    pub numbers: Vec<usize>,
    /// Whether it is what a mutant writes, rather than all around.
    pub is_own: bool,
}

/// A file with mutants in it.
pub struct Written {
    /// The new text.
    pub text: String,
    /// Which part comes from which mutant.
    pub regions: Vec<Region>,
}

impl Written {
    fn push(&mut self, pieces: Vec<Piece>) {
        for (number, piece) in pieces {
            let start = self.text.len();
            self.text.push_str(&piece);
            self.regions.extend(number.map(|number| Region {
                range: start..self.text.len(),
                numbers: vec![number],
                is_own: true,
            }));
        }
    }
}

/// A mutant and its index in the list.
type Numbered<'m> = (usize, &'m Mutant);

/// How a mutant is written.
enum Part {
    /// At the beginning of this function.
    Body(Range<usize>),
    /// In a copy of this expression.
    Copy(Range<usize>),
    /// By a question of its own.
    Asks(Wrap),
    /// Not at all.
    Fixed(Fixed),
}

/// Writes `mutants` into `source`. Those that cannot be switched are returned with the reason.
pub fn rewrite(
    source: &str,
    mutants: &[Numbered<'_>],
) -> crate::Result<(Written, Vec<(usize, Fixed)>)> {
    let places = Places::of(source)?;
    let (mut wraps, mut fixed) = (Vec::new(), Vec::new());
    let mut bodies: BTreeMap<(usize, usize), Vec<Numbered<'_>>> = BTreeMap::new();
    let mut copies = bodies.clone();
    for (number, mutant) in mutants {
        let (map, range) = match part(*number, mutant, &places, source) {
            None => return Err(format!("`{}` is nowhere", mutant.name).into()),
            Some(Part::Asks(wrap)) => {
                wraps.push(wrap);
                continue;
            }
            Some(Part::Fixed(why)) => {
                fixed.push((*number, why));
                continue;
            }
            Some(Part::Body(range)) => (&mut bodies, range),
            Some(Part::Copy(range)) => (&mut copies, range),
        };
        let same = map.entry((range.start, range.end)).or_default();
        same.push((*number, mutant));
    }
    for ((start, end), of) in bodies {
        wraps.extend(values(start..end, &of));
    }
    for ((start, end), of) in copies {
        wraps.push(copy(source, start..end, &of));
    }
    Ok((apply(source, wraps), fixed))
}

fn part(number: usize, mutant: &Mutant, places: &Places, source: &str) -> Option<Part> {
    let range = mutant.range(source);
    let start = &range.start;
    Some(match mutant.genre {
        Genre::FnValue => Part::Body(places.body(&range)?),
        Genre::StructField => Part::Copy(places.fields.get(start)?.clone()),
        Genre::BinaryOperator | Genre::UnaryOperator => {
            match places.operators.get(start)?.clone() {
                Ok(whole) => Part::Copy(whole),
                Err(why) => Part::Fixed(why),
            }
        }
        Genre::MatchArm => {
            let (end, guard) = places.arms.get(start)?;
            Part::Asks(without_arm(number, *end, guard.as_ref()))
        }
        Genre::MatchArmGuard => {
            let guard = places.guards.get(start)?;
            match guarded(number, guard, &mutant.replacement) {
                Some(wrap) => Part::Asks(wrap),
                None => Part::Fixed(Fixed::Binding),
            }
        }
    })
}

fn on(number: usize) -> String {
    format!("crate::mutant::on({number})")
}

/// Returns at once what the mutants say. A function of some unnamed iterator returns the one or the
/// other as one type.
fn values(body: Range<usize>, mutants: &[Numbered<'_>]) -> Vec<Wrap> {
    let (iterators, plain): (Vec<_>, Vec<_>) = mutants.iter().partition(|(_, m)| m.is_iterator());
    let mut wraps = Vec::new();
    if !plain.is_empty() {
        let before = plain.iter().map(|(n, m)| {
            (
                Some(*n),
                format!(" if {} {{ return {}; }} ", on(*n), m.replacement),
            )
        });
        wraps.push(Wrap {
            range: body.clone(),
            rank: 0,
            before: before.collect(),
            after: Vec::new(),
            numbers: plain.iter().map(|(n, _)| *n).collect(),
        });
    }
    if !iterators.is_empty() {
        let none: Vec<String> = iterators.iter().map(|(n, _)| on(*n)).collect();
        let mut after = vec![(None, "})}).into_iter().flatten()".to_owned())];
        // An empty one needs nothing more.
        let values = iterators
            .iter()
            .filter(|(_, m)| m.replacement != "::std::iter::empty()");
        for (n, m) in values {
            let (on, value) = (on(*n), &m.replacement);
            let chained = format!(".chain({on}.then(|| {value}).into_iter().flatten())");
            after.push((Some(*n), chained));
        }
        wraps.push(Wrap {
            range: body,
            rank: 1,
            before: vec![(
                None,
                format!(" (if {} {{ None }} else {{ Some({{ ", none.join(" || ")),
            )],
            after,
            numbers: iterators.iter().map(|(n, _)| *n).collect(),
        });
    }
    wraps
}

/// The expression once for each mutant, and as it is. It ends in one with all other mutants in it.
fn copy(source: &str, whole: Range<usize>, mutants: &[Numbered<'_>]) -> Wrap {
    let mut before = vec![(None, "(".to_owned())];
    for (number, mutant) in mutants {
        let place = mutant.range(source);
        let (head, tail) = (
            &source[whole.start..place.start],
            &source[place.end..whole.end],
        );
        before.push((None, format!("if {} {{ ", on(*number))));
        before.push((Some(*number), format!("{head}{}{tail}", mutant.replacement)));
        before.push((None, " } else ".to_owned()));
    }
    before.push((None, "{ ".to_owned()));
    Wrap {
        range: whole,
        rank: 5,
        before,
        after: vec![(None, " })".to_owned())],
        numbers: mutants.iter().map(|(n, _)| *n).collect(),
    }
}

/// The arm does not match while its mutant is switched on.
fn without_arm(number: usize, pattern_end: usize, guard: Option<&Guard>) -> Wrap {
    let Some(guard) = guard else {
        return Wrap {
            range: pattern_end..pattern_end,
            rank: 0,
            before: vec![(Some(number), format!(" if !{}", on(number)))],
            after: Vec::new(),
            numbers: vec![number],
        };
    };
    around(number, guard, 2, format!("!{} && ", on(number)))
}

/// The condition holds, or does not hold, while its mutant is switched on.
fn guarded(number: usize, guard: &Guard, replacement: &str) -> Option<Wrap> {
    match replacement {
        "false" => Some(around(number, guard, 3, format!("!{} && ", on(number)))),
        _ if guard.has_let => None,
        _ => Some(around(number, guard, 4, format!("{} || ", on(number)))),
    }
}

fn around(number: usize, guard: &Guard, rank: usize, before: String) -> Wrap {
    let (open, close) = if guard.has_let { ("", "") } else { ("(", ")") };
    Wrap {
        range: guard.range.clone(),
        rank,
        before: vec![(Some(number), format!("{open}{before}{open}"))],
        after: vec![(None, format!("{close}{close}"))],
        numbers: vec![number],
    }
}

/// What opens at a place stands behind what closes there, and wider parts are around narrower ones.
fn apply(source: &str, mut wraps: Vec<Wrap>) -> Written {
    wraps.sort_by_key(|w| (w.range.start, usize::MAX - w.range.end, w.rank));
    let mut written = Written {
        text: String::new(),
        regions: Vec::new(),
    };
    let mut open: Vec<(Wrap, usize)> = Vec::new();
    let mut done = 0;
    for mut wrap in wraps {
        close(source, &mut written, &mut open, &mut done, wrap.range.start);
        written.text.push_str(&source[done..wrap.range.start]);
        done = wrap.range.start;
        let start = written.text.len();
        written.push(std::mem::take(&mut wrap.before));
        open.push((wrap, start));
    }
    close(source, &mut written, &mut open, &mut done, usize::MAX);
    written.text.push_str(&source[done..]);
    written
}

/// Closes whatever ends before `until`, or there.
fn close(
    source: &str,
    written: &mut Written,
    open: &mut Vec<(Wrap, usize)>,
    done: &mut usize,
    until: usize,
) {
    while let Some((wrap, start)) = open.pop_if(|(w, _)| w.range.end <= until) {
        written.text.push_str(&source[*done..wrap.range.end]);
        *done = wrap.range.end;
        written.push(wrap.after);
        let range = start..written.text.len();
        written.regions.push(Region {
            range,
            numbers: wrap.numbers,
            is_own: false,
        });
    }
}
