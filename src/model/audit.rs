//! The audit log: a chain of records, each bound to the one before by its hash.
//!
//! The chain reveals that a record was changed, removed or inserted. A checkpoint, signed with a
//! secret of the store and kept beside it, reveals that the end was cut off. Anyone with the master
//! key can write a whole new chain; to detect that, keep the head (`audit verify` prints it)
//! elsewhere and compare it with `audit verify --expect`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::when;
use crate::world::{Actor, Moment, World};
use keystile_core::hex::{self, Hex};

mod checkpoint;

pub use checkpoint::{Checkpoint, CheckpointSecret};

/// SHA-256 of a record and of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub [u8; 32]);

impl Link {
    /// The link before the first record.
    pub const GENESIS: Self = Self([0; 32]);
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
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
            link: Link(hex::read(hex).ok_or_else(wrong)?),
        })
    }
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, and changed nothing.
    Refused,
}

impl Outcome {
    /// The outcome, state or kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The outcome with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Refused]
            .into_iter()
            .find(|o| o.as_str() == word)
    }
}

/// The format of a record, which determines what its hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Without network fields: neither address nor request, and no refusals.
    One,
    /// Covers every field.
    Two,
}

/// An action that was done or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the hash covers.
    pub format: Format,
    /// The number, from 1 without gaps.
    pub seq: u64,
    /// The time.
    pub at: Moment,
    /// The actor.
    pub actor: Actor,
    /// The action, such as `key.revoke`.
    pub action: String,
    /// What the action was done to: a client, a key id.
    pub subject: String,
    /// The client concerned, or empty.
    pub client: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// The reason for a refusal, or empty.
    pub reason: String,
    /// The state before, as JSON, or empty.
    pub before: String,
    /// The state after, as JSON, or empty.
    pub after: String,
    /// Hash of the previous record.
    pub prev: Link,
    /// Hash of this record.
    pub hash: Link,
}

impl Record {
    /// A record with only the actor and the time.
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

    /// Its approximate size in memory and in an answer.
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

    /// The head of a chain that ends with this record.
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

    /// Whether it is unchanged.
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
    /// The record was changed.
    Changed(u64),
    /// The record is missing, although there are later ones.
    Missing(u64),
    /// The record does not follow the one before it.
    Unlinked(u64),
    /// The chain should extend to this record.
    CutOff(u64),
    /// The chain should end before this record.
    Beyond(u64),
    /// The last record is not the one that the store has recorded.
    OtherHead(u64),
    /// The first records were removed, but not by `audit prune`.
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
                "audit record {n} does not follow the record before it: one of the two was replaced"
            ),
            Self::CutOff(n) => write!(
                f,
                "audit record {n} was removed: the log should end with it"
            ),
            Self::Beyond(n) => write!(
                f,
                "audit record {n} was inserted: the log should end before it"
            ),
            Self::OtherHead(n) => write!(
                f,
                "audit record {n} was replaced: the store remembers another one as the last"
            ),
            Self::Start(n) => write!(
                f,
                "audit records up to {n} were removed, and not by pruning the log"
            ),
            Self::Kept(n) => write!(
                f,
                "audit record {n} was removed or replaced: the checkpoint in `audit.head` names it"
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
mod tests;
