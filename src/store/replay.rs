//! Answers to requests that may be repeated.

use super::{Tx, column};
use crate::sql::params;
use keystile_model::error::Result;

/// An answer that was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// SHA-256 of the request that it answers.
    pub request: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The body, without secrets.
    pub body: Vec<u8>,
    /// Seconds.
    pub created: u64,
}

impl Tx<'_> {
    /// The answer to a caller's request with this `key`, unless it was before `since`, in seconds.
    pub fn replay(&self, caller: &str, key: &str, since: u64) -> Result<Option<Replay>> {
        self.tx.optional(
            "SELECT request, status, body, created FROM replay
                 WHERE caller = ? AND key = ? AND created >= ?",
            params![caller, key, column::signed(since)],
            |r| {
                Ok(Replay {
                    request: r.get(0)?,
                    status: r.get(1)?,
                    body: r.get(2)?,
                    created: column::unsigned(r, 3)?,
                })
            },
        )
    }

    /// Stores an answer, and deletes those from before `since`.
    pub fn insert_replay(
        &mut self,
        caller: &str,
        key: &str,
        answer: &Replay,
        since: u64,
    ) -> Result<()> {
        self.tx.execute(
            "DELETE FROM replay WHERE created < ?",
            params![column::signed(since)],
        )?;
        self.tx.execute(
            "INSERT INTO replay (caller, key, request, status, body, created)
             VALUES (?, ?, ?, ?, ?, ?)",
            params![
                caller,
                key,
                answer.request,
                answer.status,
                answer.body,
                column::signed(answer.created)
            ],
        )?;
        Ok(())
    }
}
