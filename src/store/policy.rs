//! Policies and signing keys in the store.

use crate::sql::{SqlRow, params};
use keystile_core::keyset::{Algorithm, SigningKey, SigningKeyError};
use zeroize::Zeroizing;

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

/// Where the secret of a signing key is kept. With its algorithm: a private key that was taken for a
/// shared secret would be handed to Envoys.
fn place(kid: &str, algorithm: &str) -> String {
    format!("signing_key.secret {kid} {algorithm}")
}

/// A signing key, from what the store has of it.
fn key(
    algorithm: Algorithm,
    kid: &str,
    secret: Zeroizing<Vec<u8>>,
) -> std::result::Result<SigningKey, SigningKeyError> {
    match algorithm {
        Algorithm::HmacSha256 => SigningKey::new(kid, secret),
        Algorithm::Ed25519 => SigningKey::ed25519(kid, &secret),
    }
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
        let sql = "SELECT kid, secret, state, created, retired, algorithm FROM signing_key
             ORDER BY created, rowid";
        self.tx.all(sql, &[], |r| {
            let kid: String = r.get(0)?;
            let kept: Vec<u8> = r.get(1)?;
            let state: String = r.get(2)?;
            let word: String = r.get(5)?;
            let algorithm = Algorithm::from_word(&word).unwrap_or(Algorithm::HmacSha256);
            let state = SigningState::from_word(&state).unwrap_or(SigningState::Retired);
            let key = match state {
                SigningState::Retired => None,
                _ => {
                    let secret = self.revealed(&place(&kid, &word), kept)?;
                    Some(key(algorithm, &kid, secret).map_err(|e| {
                        refuse(
                            Code::StoreDamaged,
                            format_args!("signing key `{kid}` {e}"),
                            "restore the store from a backup",
                        )
                    })?)
                }
            };
            Ok(SigningRecord {
                kid,
                algorithm,
                state,
                key,
                created: column::unsigned(r, 3)?,
                retired: column::optional(r, 4)?,
            })
        })
    }

    /// Adds a signing key.
    pub fn insert_signing_key(
        &mut self,
        kid: &str,
        algorithm: Algorithm,
        secret: &[u8],
        now: u64,
    ) -> Result<()> {
        let secret = self.sealed(&place(kid, algorithm.as_str()), secret)?;
        self.tx.execute(
            "INSERT INTO signing_key (kid, algorithm, secret, state, created)
             VALUES (?, ?, ?, 'active', ?)",
            params![kid, algorithm.as_str(), secret, column::signed(now)],
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
