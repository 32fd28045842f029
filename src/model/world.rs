//! The time, the actor and the randomness of an operation.

use crate::caller::Caller;
use crate::error::Result;
use crate::reach::Reach;

/// An instant, read once per operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// From milliseconds since the epoch.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// The actor, as the audit log names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The real user id; `sudo` shows in `user`. None for callers over the network.
    pub uid: Option<u32>,
    /// The name of the user; for a token, `token <name> (<id>)`, because names are reused.
    pub user: String,
    /// The machine on which it is done.
    pub host: String,
    /// The network address that the request came from; empty for local use.
    pub address: String,
    /// The request's id; empty for local use.
    pub request: String,
}

/// The world of an operation: time, actor, and source of randomness.
#[derive(Clone)]
pub struct World {
    /// The time of this operation.
    pub now: Moment,
    /// The actor, for the audit log.
    pub actor: Actor,
    /// The caller, and what they may do.
    pub caller: Caller,
    /// Fills a buffer with randomness.
    pub entropy: fn(&mut [u8]) -> Result<()>,
    /// Where messages may be sent.
    pub reach: Reach,
}
