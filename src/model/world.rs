//! When, by whom and with what randomness something is done.

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

/// Who does something, as the audit log names him.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The real user id; `sudo` leaves its trace in `user`. None of who comes over the
    /// network.
    pub uid: Option<u32>,
    /// The name of the user; of a token, `token <name> (<id>)`: names are used again.
    pub user: String,
    /// The machine that it is done on.
    pub host: String,
    /// The network address that the request came from; empty for local use.
    pub address: String,
    /// The request's id; empty for local use.
    pub request: String,
}

/// Where an operation stands: when, who, and where randomness comes from.
#[derive(Clone)]
pub struct World {
    /// The one instant of this operation.
    pub now: Moment,
    /// Who does it, for the audit log.
    pub actor: Actor,
    /// Who does it, and what he may.
    pub caller: Caller,
    /// Fills a buffer with randomness.
    pub entropy: fn(&mut [u8]) -> Result<()>,
    /// Where messages may be sent.
    pub reach: Reach,
}
