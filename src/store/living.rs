//! Living keys by what they may do: neither revoked nor disabled nor past their end.

use crate::sql::params;

use super::{Tx, column};
use keystile_model::error::Result;

/// Living keys that may do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingKeys {
    /// `live`, `test`.
    pub environment: String,
    /// Whether they may be published.
    pub publishable: bool,
    /// Their scopes.
    pub scopes: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl Tx<'_> {
    /// Passes every group of living keys to `each`. It looks at every key, like a check of a policy,
    /// beside which it is used.
    pub fn each_living_group(&self, now: u64, mut each: impl FnMut(&LivingKeys)) -> Result<()> {
        let sql = "SELECT environment, publishable, scopes, count(*) FROM key
             WHERE revoked IS NULL AND NOT disabled
               AND coalesce(expires > ?1, TRUE) AND coalesce(overlap_end > ?1, TRUE)
             GROUP BY environment, publishable, scopes";
        self.tx.each(sql, params![column::signed(now)], |r| {
            each(&LivingKeys {
                environment: r.get(0)?,
                publishable: r.get(1)?,
                scopes: column::list(r, 2)?,
                count: column::unsigned(r, 3)?,
            });
            Ok(true)
        })
    }
}
