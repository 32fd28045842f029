//! How often something may be done.

use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

use super::super::denied::denied;
use keystile_model::error::{self, refuse};

/// Requests that came too fast, each of which had to wait for its turn.
const FLOOD: u32 = 100;

/// A rate limit for requests that answer no push: some at once, then a few a second, then none.
pub(super) struct Allowance {
    pub(super) most: u32,
    left: u32,
    filled: Instant,
    waited: u32,
}

impl Allowance {
    pub(super) fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            left: most,
            filled: now,
            waited: 0,
        }
    }

    /// Takes one; gives the time until which its sender has to wait, if any.
    pub(super) fn take(&mut self, now: Instant) -> Result<Option<Instant>, Status> {
        let each = Duration::from_secs(10) / self.most.max(1);
        let grown = now.saturating_duration_since(self.filled).as_nanos() / each.as_nanos().max(1);
        let grown = u32::try_from(grown).unwrap_or(u32::MAX).min(self.most);
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(self.most);
            self.filled = now;
        }
        if self.left > 0 {
            self.left -= 1;
            if self.left > self.most / 2 {
                self.waited = 0;
            }
            return Ok(None);
        }
        self.waited += 1;
        if self.waited > FLOOD {
            let refusal = refuse(
                error::Code::TooManyRequests,
                "too many requests on this stream",
                "see the log of this Envoy",
            );
            return Err(denied(tonic::Code::ResourceExhausted, &refusal));
        }
        self.filled = now + each;
        Ok(Some(now + each))
    }
}
