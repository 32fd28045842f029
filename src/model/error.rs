//! What goes wrong: one refusal or several, each a value that every surface words for its
//! own readers.

use std::fmt::{self, Display};

use keystile_core::advice::Advice;
use keystile_core::policy::PolicyError;

use crate::redaction::redacted;

pub use crate::refusal::{Act, Code, Fault, Kind, Next, Surface, Trouble, named};

/// One or more refusals, printed by the command line, sent as a problem by the server or
/// shown by the console.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    faults: Vec<Fault>,
    /// How many more there are that are not kept.
    more: usize,
    kind: Kind,
    /// For the log only.
    cause: String,
}

/// The result of every operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Bytes of a fact, which may repeat what somebody has sent.
const FACT: usize = 4096;

/// A fact without its end, if it is very long.
fn shortened(mut fact: String) -> String {
    if fact.len() > FACT {
        fact.truncate(fact.floor_char_boundary(FACT));
        fact.push('…');
    }
    fact
}

/// A refusal: what happened, the fact in words, and the next step.
pub fn refuse(code: Code, fact: impl Display, next: impl Into<Next>) -> Error {
    Error {
        faults: vec![Fault {
            code,
            field: None,
            leans: false,
            place: String::new(),
            line: None,
            // Somebody may have put a key in place of a name.
            fact: shortened(redacted(&fact.to_string())),
            next: next.into().redacted(),
        }],
        more: 0,
        kind: code.kind(),
        cause: String::new(),
    }
}

/// A refusal in the words of a reader that already says what to do, such as that of the
/// policy.
pub fn told(code: Code, words: impl Display) -> Error {
    refuse(code, words, Next::NONE)
}

/// A mistake that the core has found, in its words.
pub fn advised(code: Code, advice: &Advice) -> Error {
    match advice.next.as_str() {
        "" => refuse(code, &advice.fact, Next::NONE),
        next => refuse(code, &advice.fact, next),
    }
}

/// Mistakes in limits or in a policy, each with its field.
pub fn mistaken(code: Code, all: &[PolicyError]) -> Error {
    let one = |e: &PolicyError| advised(code, &e.problem).field(&e.field).into_faults();
    refuse_all(all.iter().flat_map(one).collect())
}

/// A bug of ours.
pub fn defect(fact: impl Display) -> Error {
    refuse(
        Code::Defect,
        fact,
        "please report this: it is a bug in Keystile",
    )
}

/// Several refusals, each complete in itself.
pub fn refuse_all(faults: Vec<Fault>) -> Error {
    Error {
        faults,
        more: 0,
        kind: Kind::default(),
        cause: String::new(),
    }
}

/// Refusals that a file can be full of: those that come first, and how many follow. Mending
/// the first often mends the others, and nobody reads a hundred thousand.
pub fn refuse_first(mut faults: Vec<Fault>) -> Error {
    const SHOWN: usize = 20;
    let more = faults.len().saturating_sub(SHOWN);
    faults.truncate(SHOWN);
    Error {
        more,
        ..refuse_all(faults)
    }
}

/// Collects what is wrong with the lines of a file, so that everything is reported at once.
#[derive(Debug, Default)]
pub struct Complaints {
    faults: Vec<Fault>,
}

impl Complaints {
    /// Adds what is wrong with one line; `place` names it, unless it is empty.
    ///
    /// # Errors
    /// The error itself, if it is not about the line: the work was interrupted, or the store fails.
    /// The following lines must not be tried then.
    pub fn take(&mut self, wrong: Error, place: &str) -> Result<()> {
        match wrong.kind {
            Kind::Unavailable | Kind::Store(_) => return Err(wrong),
            _ if place.is_empty() => self.faults.extend(wrong.faults),
            _ => self.faults.extend(wrong.at(place).faults),
        }
        Ok(())
    }

    /// Succeeds if nothing is wrong.
    ///
    /// # Errors
    /// The first ones, and how many follow.
    pub fn none(self) -> Result<()> {
        match self.faults.is_empty() {
            true => Ok(()),
            false => Err(refuse_first(self.faults)),
        }
    }
}

/// In the words of the command line, as the log has it.
impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(Surface::CommandLine).join("\n"))
    }
}

impl Error {
    /// An error without words: nobody is left to read it.
    pub fn silent() -> Self {
        refuse_all(Vec::new())
    }

    /// The same, of a kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same, with more of them that are not kept.
    #[must_use]
    pub fn and_more(mut self, more: usize) -> Self {
        self.more = self.more.saturating_add(more);
        self
    }

    /// The same refusal, with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: &Self) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// The same, about a field whose name precedes the words.
    #[must_use]
    pub fn field(self, name: impl Display) -> Self {
        self.set_field(name, true)
    }

    /// The same, about a field that the words name or that is obvious.
    #[must_use]
    pub fn about(self, name: impl Display) -> Self {
        self.set_field(name, false)
    }

    fn set_field(mut self, name: impl Display, leans: bool) -> Self {
        let name = redacted(&name.to_string());
        for f in self.faults.iter_mut().filter(|f| f.field.is_none()) {
            f.field = Some(name.clone().into());
            f.leans = leans;
        }
        self
    }

    /// The same with `place: ` before each message.
    #[must_use]
    pub fn at(mut self, place: impl Display) -> Self {
        let place = redacted(&place.to_string());
        for f in &mut self.faults {
            f.place = match f.place.is_empty() {
                true => place.clone(),
                false => format!("{place}: {}", f.place),
            };
        }
        self
    }

    /// The same, in a line of a text, from 1 on.
    #[must_use]
    pub fn line(mut self, line: u64) -> Self {
        for f in &mut self.faults {
            f.line = Some(line);
        }
        self
    }

    /// The cause for the log, if there is one.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What happened first.
    pub fn code(&self) -> Option<Code> {
        self.faults.first().map(|f| f.code)
    }

    /// Whether that is what happened.
    pub fn is(&self, code: Code) -> bool {
        self.code() == Some(code)
    }

    /// The refusals.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The refusals, taken out.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }

    /// The messages in the words of a surface, one a line.
    pub fn words(&self, surface: Surface) -> Vec<String> {
        let all = self.faults.iter().map(|f| f.words(surface));
        let more = (self.more > 0).then(|| format!("… and {} more", self.more));
        all.chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> Error {
        refuse(Code::InvalidValue, "bad", "mend it")
    }

    #[test]
    fn no_key_stands_in_a_refusal_whatever_it_was_sent_as() {
        let name = |n: &str| n.parse().unwrap();
        let fresh =
            keystile_core::key::generate(&name("ks"), &name("live"), |bytes: &mut [u8]| {
                bytes.fill(7);
                Ok::<(), ()>(())
            });
        let fresh = fresh.unwrap();
        let key = fresh.text.expose_secret();
        let e = refuse(
            Code::ClientNotFound,
            format_args!("there is no client `{key}`"),
            crate::next![
                Act::ClientCreate.of(key),
                " or ",
                named("client").value(key)
            ],
        );
        let e = e.field(format_args!("labels.{key}")).at(key);
        let all = format!("{:?} {:?}", e.faults(), e.words(Surface::Rest));
        assert!(!all.contains(&key[20..40]), "{all}");
        assert!(all.contains(&fresh.id.to_string()), "{all}");
    }

    #[test]
    fn of_many_refusals_the_first_twenty_are_shown_and_the_others_counted() {
        let many = |n: usize| -> Vec<Fault> {
            (1..=n)
                .flat_map(|i| bad().at(format_args!("keys.csv:{i}")).into_faults())
                .collect()
        };
        assert_eq!(refuse_first(many(20)), refuse_all(many(20)));
        let error = refuse_first(many(100_000));
        assert_eq!(error.faults(), many(20));
        assert_eq!(error.more(), 99_980);
        let words = error.words(Surface::Rest);
        assert_eq!(words.len(), 21);
        assert_eq!(words.last().unwrap(), "… and 99980 more");
    }

    #[test]
    fn only_what_is_wrong_with_a_line_is_kept_until_the_others_were_tried() {
        let mut complaints = Complaints::default();
        complaints.take(bad(), "a:1").unwrap();
        complaints.take(bad().field("plan"), "").unwrap();
        for code in [Code::Interrupted, Code::StoreFull] {
            let other = || refuse(code, "it ends here", "try again");
            assert_eq!(complaints.take(other(), "a:2"), Err(other()));
        }
        let error = complaints.none().unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.to_string(), "a:1: bad; mend it\n`plan`: bad; mend it");
        assert_eq!(Complaints::default().none(), Ok(()));
    }

    #[test]
    fn the_field_that_was_named_first_stays() {
        let e = bad().field("scopes[0]").about("id").at("f").at("g");
        assert_eq!(e.faults()[0].base_field(), Some("scopes"));
        assert_eq!(e.to_string(), "g: f: `scopes[0]`: bad; mend it");
    }
}
