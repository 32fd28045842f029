//! The audit log: a chain of records, each bound to the one before by its hash.
//!
//! The chain shows that a record was changed, removed or put in. A checkpoint, signed with
//! a secret of the store's and kept beside it, shows that the tail was cut off. Whoever
//! holds the master key can write a whole new chain; against that, keep the head
//! (`audit verify` prints it) somewhere else and compare with `audit verify --expect`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::when;
use crate::world::{Actor, Moment, World};

mod checkpoint;

pub use checkpoint::{Checkpoint, Secret};

/// SHA-256 of a record and of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub [u8; 32]);

impl Link {
    /// Stands before the first record.
    pub const GENESIS: Self = Self([0; 32]);
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Where the chain ends: `<seq>:<hash>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last record; 0 if there is none.
    pub seq: u64,
    /// Its hash.
    pub link: Link,
}

impl Head {
    /// Before the first record.
    pub const NOTHING: Self = Self {
        seq: 0,
        link: Link::GENESIS,
    };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.link)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("`{s}` is not `<number>:<hash>` as `audit verify` prints it");
        let (seq, hex) = s.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| wrong())?,
            link: Link(unhex(hex).ok_or_else(wrong)?),
        })
    }
}

/// 32 bytes from 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, and changed nothing.
    Refused,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The outcome that a word says.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Done, Self::Refused]
            .into_iter()
            .find(|o| o.as_str() == word)
    }
}

/// The form of a record, which says what its hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Knows no network: neither address nor request, and nothing refused.
    One,
    /// Covers every field.
    Two,
}

/// One thing that was done, or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the hash covers.
    pub format: Format,
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// Who.
    pub actor: Actor,
    /// What: `key.revoke`.
    pub action: String,
    /// To whom or what: a client, a key id.
    pub subject: String,
    /// The client that it concerns, or nothing.
    pub client: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused, or nothing.
    pub reason: String,
    /// How it was: JSON, or nothing.
    pub before: String,
    /// How it is: JSON, or nothing.
    pub after: String,
    /// Hash of the record before.
    pub prev: Link,
    /// Hash of this one.
    pub hash: Link,
}

impl Record {
    /// One with who and when in it, and nothing else.
    pub fn new(world: &World) -> Self {
        Self {
            format: Format::Two,
            seq: 0,
            at: world.now,
            actor: world.actor.clone(),
            action: String::new(),
            subject: String::new(),
            client: String::new(),
            outcome: Outcome::Done,
            reason: String::new(),
            before: String::new(),
            after: String::new(),
            prev: Link::GENESIS,
            hash: Link::GENESIS,
        }
    }

    /// About what it takes in memory and in an answer.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.actor.user,
            &self.actor.host,
            &self.actor.address,
            &self.actor.request,
            &self.action,
            &self.subject,
            &self.client,
            &self.reason,
            &self.before,
            &self.after,
        ];
        // Hashes, numbers and names of fields.
        texts
            .iter()
            .fold(500, |sum: usize, text| sum.saturating_add(text.len()))
    }

    /// The same at the end of a chain.
    #[must_use]
    pub fn after(mut self, head: Head) -> Self {
        self.seq = head.seq.saturating_add(1);
        self.prev = head.link;
        self.hash = self.expected();
        self
    }

    /// Where a chain ends that ends with it.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            link: self.hash,
        }
    }

    /// The hash that this record should have. Every field is preceded by its length, so
    /// that no two records have the same encoding.
    pub fn expected(&self) -> Link {
        let actor = &self.actor;
        let mut h = Sha256::new();
        h.update(match self.format {
            Format::One => b"keystile audit v1\n",
            Format::Two => b"keystile audit v2\n",
        });
        h.update(self.prev.0);
        for n in [
            self.seq,
            self.at.ms(),
            actor.uid.map_or(u64::MAX, u64::from),
        ] {
            h.update(n.to_be_bytes());
        }
        let mut text = |text: &str| {
            h.update((text.len() as u64).to_be_bytes());
            h.update(text.as_bytes());
        };
        for t in [
            &actor.user,
            &actor.host,
            &self.action,
            &self.subject,
            &self.before,
            &self.after,
        ] {
            text(t);
        }
        if self.format == Format::Two {
            for t in [&actor.address, &actor.request, &self.client, &self.reason] {
                text(t);
            }
            text(self.outcome.as_str());
        }
        Link(h.finalize().into())
    }

    /// Whether it is as it was written.
    fn is_sound(&self) -> bool {
        let has_no_more = || {
            self.actor.address.is_empty()
                && self.actor.request.is_empty()
                && self.reason.is_empty()
                && self.outcome == Outcome::Done
        };
        self.expected() == self.hash && (self.format == Format::Two || has_no_more())
    }

    /// As JSON, one line of `audit export`.
    pub fn json(&self) -> Value {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        json!({
            "seq": self.seq,
            "at": when::rfc3339_ms(self.at.ms()),
            "uid": self.actor.uid,
            "user": self.actor.user,
            "host": self.actor.host,
            "address": self.actor.address,
            "request": self.actor.request,
            "action": self.action,
            "subject": self.subject,
            "client": self.client,
            "outcome": self.outcome.as_str(),
            "reason": self.reason,
            "before": parsed(&self.before),
            "after": parsed(&self.after),
            "prev": self.prev.to_string(),
            "hash": self.hash.to_string(),
        })
    }
}

/// Where a chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The record is not the one that was written.
    Changed(u64),
    /// There is no such record, though later ones are there.
    Missing(u64),
    /// The record does not follow the one before it.
    Unlinked(u64),
    /// The chain should go on to this record.
    CutOff(u64),
    /// The chain should end before this record.
    Beyond(u64),
    /// The last record is not the one that the store remembers.
    OtherHead(u64),
    /// The first records were removed, and not by `audit prune`.
    Start(u64),
    /// The checkpoint beside the store names a record that the log does not hold.
    Kept(u64),
    /// The checkpoint beside the store was not signed by this store.
    ForgedKept,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(n) => write!(
                f,
                "audit record {n} was changed: its hash does not match what it says"
            ),
            Self::Missing(n) => write!(
                f,
                "audit record {n} was removed: the records around it are there"
            ),
            Self::Unlinked(n) => write!(
                f,
                "audit record {n} does not follow the record before it: one of the two was exchanged"
            ),
            Self::CutOff(n) => write!(
                f,
                "audit record {n} was removed: the log should end with it"
            ),
            Self::Beyond(n) => write!(
                f,
                "audit record {n} was put in: the log should end before it"
            ),
            Self::OtherHead(n) => write!(
                f,
                "audit record {n} was exchanged: the store remembers another one as the last"
            ),
            Self::Start(n) => write!(
                f,
                "audit records up to {n} were removed, and not by pruning the log"
            ),
            Self::Kept(n) => write!(
                f,
                "audit record {n} was removed or exchanged: the checkpoint in `audit.head` names it"
            ),
            Self::ForgedKept => write!(
                f,
                "the checkpoint in `audit.head` was not signed by this store"
            ),
        }
    }
}

/// Follows a chain, record by record.
pub struct Chain {
    at: Head,
}

impl Chain {
    /// Before the first record that follows `start`.
    pub fn new(start: Head) -> Self {
        Self { at: start }
    }

    /// Checks the next record in the order of their numbers.
    pub fn follow(&mut self, record: &Record) -> Result<(), Broken> {
        let next = self.at.seq + 1;
        if record.seq != next {
            return Err(Broken::Missing(next));
        }
        if !record.is_sound() {
            return Err(Broken::Changed(record.seq));
        }
        if record.prev != self.at.link {
            return Err(Broken::Unlinked(record.seq));
        }
        self.at = record.head();
        Ok(())
    }

    /// Compares the end with what the store remembers.
    pub fn end(&self, head: Head) -> Result<(), Broken> {
        if self.at.seq < head.seq {
            return Err(Broken::CutOff(self.at.seq + 1));
        }
        if self.at.seq > head.seq {
            return Err(Broken::Beyond(head.seq + 1));
        }
        if self.at.link != head.link {
            return Err(Broken::OtherHead(head.seq));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;
    use crate::reach::Reach;
    use proptest::prelude::*;

    fn record(action: &str, subject: &str) -> Record {
        let record = Record {
            action: action.to_owned(),
            subject: subject.to_owned(),
            ..Record::new(&World {
                now: Moment::from_ms(1_000),
                actor: Actor::default(),
                caller: Caller::Local,
                entropy: |_| Ok(()),
                reach: Reach::default(),
            })
        };
        record.after(Head {
            seq: 0,
            link: Link::GENESIS,
        })
    }

    #[test]
    fn a_head_reads_back_what_it_prints() {
        let head = Head {
            seq: 7,
            link: record("a", "b").expected(),
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        assert!("7:zz".parse::<Head>().is_err());
        assert!(format!("7:{}", "é".repeat(32)).parse::<Head>().is_err());
    }

    proptest! {
        #[test]
        fn moving_text_between_fields_changes_the_hash(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}") {
            prop_assume!(!b.is_empty());
            let one = record(&format!("{a}{b}"), &c);
            let two = record(&a, &format!("{b}{c}"));
            prop_assert_ne!(one.expected(), two.expected());
        }
    }
}
