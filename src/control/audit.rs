//! The audit log: a chain of records, each bound to the one before by its hash.
//!
//! The chain shows that a record was changed, removed or put in. Whoever holds the
//! master key can write a whole new chain; against that, keep the head (`audit verify`
//! prints it) somewhere else and compare with `audit verify --expect`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::when;
use crate::world::{Actor, Moment};

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
        let mut link = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (i, byte) in link.iter_mut().enumerate() {
            let pair = hex.get(2 * i..2 * i + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self {
            seq: seq.parse().map_err(|_| wrong())?,
            link: Link(link),
        })
    }
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
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
    /// The hash that this record should have. Every field is preceded by its length, so
    /// that no two records have the same encoding.
    pub fn expected(&self) -> Link {
        let mut h = Sha256::new();
        h.update(b"keystile audit v1\n");
        h.update(self.prev.0);
        for n in [self.seq, self.at.ms(), u64::from(self.actor.uid)] {
            h.update(n.to_be_bytes());
        }
        for text in [
            &self.actor.user,
            &self.actor.host,
            &self.action,
            &self.subject,
            &self.before,
            &self.after,
        ] {
            h.update((text.len() as u64).to_be_bytes());
            h.update(text.as_bytes());
        }
        Link(h.finalize().into())
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
            "action": self.action,
            "subject": self.subject,
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
        }
    }
}

/// Follows a chain, record by record.
pub struct Chain {
    at: Head,
}

impl Chain {
    /// Before the first record.
    pub fn new() -> Self {
        Self {
            at: Head {
                seq: 0,
                link: Link::GENESIS,
            },
        }
    }

    /// Checks the next record in the order of their numbers.
    pub fn follow(&mut self, record: &Record) -> Result<(), Broken> {
        let next = self.at.seq + 1;
        if record.seq != next {
            return Err(Broken::Missing(next));
        }
        if record.expected() != record.hash {
            return Err(Broken::Changed(record.seq));
        }
        if record.prev != self.at.link {
            return Err(Broken::Unlinked(record.seq));
        }
        self.at = Head {
            seq: record.seq,
            link: record.hash,
        };
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
    use proptest::prelude::*;

    fn record(action: &str, subject: &str) -> Record {
        Record {
            seq: 1,
            at: Moment::from_ms(1),
            actor: Actor {
                uid: 0,
                user: "root".to_owned(),
                host: "here".to_owned(),
            },
            action: action.to_owned(),
            subject: subject.to_owned(),
            before: String::new(),
            after: String::new(),
            prev: Link::GENESIS,
            hash: Link::GENESIS,
        }
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
