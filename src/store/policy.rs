//! Policies and signing keys in the store.

use crate::sql::{SqlRow, params};
use keystile_core::keyset::SigningKey;

use super::{Tx, column};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::record::{Revision, SigningRecord, SigningState};

fn revision(row: &SqlRow<'_>) -> Result<Revision> {
    Ok(Revision {
        revision: column::unsigned(row, 0)?,
        text: column::text(row, 1)?.to_owned(),
        applied: column::unsigned(row, 2)?,
    })
}

/// Where the secret of a signing key is kept.
fn place(kid: &str) -> String {
    format!("signing_key.secret {kid}")
}

impl Tx<'_> {
    /// The policy in force.
    pub fn policy(&self) -> Result<Revision> {
        let sql = "SELECT revision, text, applied FROM policy ORDER BY revision DESC LIMIT 1";
        self.tx.one(sql, &[], revision)
    }

    /// An earlier policy.
    pub fn policy_revision(&self, number: u64) -> Result<Option<Revision>> {
        let sql = "SELECT revision, text, applied FROM policy WHERE revision = ?";
        self.tx
            .optional(sql, params![column::signed(number)], revision)
    }

    /// Passes every policy ever applied to `each`, oldest first: together they may be too large for
    /// memory.
    pub fn each_policy(&self, mut each: impl FnMut(Revision)) -> Result<()> {
        let sql = "SELECT revision, text, applied FROM policy ORDER BY revision";
        self.tx.each(sql, &[], |row| {
            each(revision(row)?);
            Ok(true)
        })
    }

    /// Puts a policy in force; gives its number.
    pub fn insert_policy(&mut self, text: &str, now: u64) -> Result<u64> {
        self.tx.one(
            "INSERT INTO policy (text, applied) VALUES (?, ?) RETURNING revision",
            params![text, column::signed(now)],
            |r| column::unsigned(r, 0),
        )
    }

    /// Signing keys, the oldest first.
    pub fn signing_keys(&self) -> Result<Vec<SigningRecord>> {
        let sql =
            "SELECT kid, secret, state, created, retired FROM signing_key ORDER BY created, rowid";
        self.tx.all(sql, &[], |r| {
            let kid: String = r.get(0)?;
            let kept: Vec<u8> = r.get(1)?;
            let state: String = r.get(2)?;
            let state = SigningState::from_word(&state).unwrap_or(SigningState::Retired);
            let key = match state {
                SigningState::Retired => None,
                _ => Some(
                    SigningKey::new(&kid, self.revealed(&place(&kid), kept)?).map_err(|e| {
                        refuse(
                            Code::StoreDamaged,
                            format_args!("signing key `{kid}` {e}"),
                            "restore the folder from a backup",
                        )
                    })?,
                ),
            };
            Ok(SigningRecord {
                kid,
                state,
                key,
                created: column::unsigned(r, 3)?,
                retired: column::optional(r, 4)?,
            })
        })
    }

    /// Adds a signing key.
    pub fn insert_signing_key(&mut self, kid: &str, secret: &[u8], now: u64) -> Result<()> {
        self.tx.execute(
            "INSERT INTO signing_key (kid, secret, state, created) VALUES (?, ?, 'active', ?)",
            params![kid, self.sealed(&place(kid), secret)?, column::signed(now)],
        )?;
        Ok(())
    }

    /// Makes the active key no longer active.
    pub fn demote_signing_key(&mut self) -> Result<()> {
        self.tx.execute(
            "UPDATE signing_key SET state = 'accepted' WHERE state = 'active'",
            &[],
        )?;
        Ok(())
    }

    /// Erases the secret of a signing key.
    pub fn retire_signing_key(&mut self, kid: &str, now: u64) -> Result<()> {
        self.tx.execute(
            "UPDATE signing_key SET state = 'retired', secret = ?, retired = ? WHERE kid = ?",
            params![[0_u8; 0], column::signed(now), kid],
        )?;
        Ok(())
    }
}
