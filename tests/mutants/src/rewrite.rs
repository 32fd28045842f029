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

/// Writes `mutants` (with their indices in the list) into `source`. Those that cannot be switched
/// are returned with the reason.
pub fn rewrite(
    source: &str,
    mutants: &[(usize, &Mutant)],
) -> crate::Result<(Written, Vec<(usize, Fixed)>)> {
    let places = Places::of(source)?;
    let mut fixed = Vec::new();
    let mut bodies: BTreeMap<(usize, usize), Vec<(usize, &Mutant)>> = BTreeMap::new();
    let mut copies: BTreeMap<(usize, usize), Vec<(usize, &Mutant)>> = BTreeMap::new();
    let mut wraps = Vec::new();
    for (number, mutant) in mutants {
        let (range, unknown) = (mutant.range(source), || {
            format!("`{}` is nowhere", mutant.name)
        });
        let copied = match mutant.genre {
            Genre::FnValue => {
                let body = places.body(&range).ok_or_else(unknown)?;
                bodies
                    .entry((body.start, body.end))
                    .or_default()
                    .push((*number, mutant));
                continue;
            }
            Genre::MatchArm => {
                let (end, guard) = places.arms.get(&range.start).ok_or_else(unknown)?;
                wraps.push(without_arm(*number, *end, guard.as_ref()));
                continue;
            }
            Genre::MatchArmGuard => {
                let guard = places.guards.get(&range.start).ok_or_else(unknown)?;
                match guarded(*number, guard, &mutant.replacement) {
                    Some(wrap) => wraps.push(wrap),
                    None => fixed.push((*number, Fixed::LetChain)),
                }
                continue;
            }
            Genre::BinaryOperator | Genre::UnaryOperator => places
                .operators
                .get(&range.start)
                .ok_or_else(unknown)?
                .clone(),
            Genre::StructField => Ok(places.fields.get(&range.start).ok_or_else(unknown)?.clone()),
        };
        match copied {
            Ok(whole) => copies
                .entry((whole.start, whole.end))
                .or_default()
                .push((*number, mutant)),
            Err(why) => fixed.push((*number, why)),
        }
    }
    wraps.extend(
        bodies
            .into_iter()
            .flat_map(|((start, end), of)| values(start..end, &of)),
    );
    wraps.extend(
        copies
            .into_iter()
            .map(|((start, end), of)| copy(source, start..end, &of)),
    );
    Ok((apply(source, wraps), fixed))
}

fn on(number: usize) -> String {
    format!("crate::mutant::on({number})")
}

/// Returns at once what the mutants say. A function of some unnamed iterator returns the one or the
/// other as one type.
fn values(body: Range<usize>, mutants: &[(usize, &Mutant)]) -> Vec<Wrap> {
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
        for (n, m) in &iterators {
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
fn copy(source: &str, whole: Range<usize>, mutants: &[(usize, &Mutant)]) -> Wrap {
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
