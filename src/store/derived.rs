//! Secrets that all servers of a store derive from one of its own.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Tx;
use keystile_model::error::Result;

impl Tx<'_> {
    /// A secret for one purpose, the same for every server of this store; none if nothing was
    /// written to the store yet.
    ///
    /// # Errors
    /// Those of the database.
    pub fn derived(&self, purpose: &str) -> Result<Option<Zeroizing<[u8; 32]>>> {
        let Some(secret) = self.own_secret()? else {
            return Ok(None);
        };
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(
            &Sha256::new()
                .chain_update(b"keystile derived v1\n")
                .chain_update(purpose)
                .chain_update(b"\n")
                .chain_update(secret.as_slice())
                .finalize(),
        );
        Ok(Some(derived))
    }
}
