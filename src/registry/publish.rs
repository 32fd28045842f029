//! Rows in, signed keyset out.

use keystile_core::keyset::{Built, Content, KeyRow, SigningKeys, build};

use crate as registry;
use crate::signing;
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::world::World;
use keystile_policy::zones;
use keystile_store::{Store, Tx};

/// A keyset and the keys to sign it with.
pub struct Ready {
    /// The keyset.
    pub built: Built,
    /// Every accepted signing key, the active one first: Envoys that know one of them accept the
    /// push, so that rotating a key delays no revocation.
    pub signers: SigningKeys,
}

impl Ready {
    /// The plugin configuration as text.
    pub fn seal(&self, nonce: u64) -> String {
        self.built.seal(&self.signers, nonce)
    }

    /// The plugin configuration as bytes: a quarter smaller, and nothing to decode.
    pub fn seal_raw(&self, nonce: u64) -> Vec<u8> {
        self.built.seal_raw(&self.signers, nonce)
    }
}

/// Builds the present keyset of the store. If the policy limits its age and half of that has
/// passed, it is reissued first, which is a change like any other.
pub fn ready(store: &mut Store, world: &World) -> Result<Ready> {
    if store.read(|tx| is_due(tx, world))? {
        signing::renew(store, world)?;
    }
    store.read(unrenewed)
}

/// Whether the policy limits the keyset's age and half of that has passed.
///
/// # Errors
/// Those of the store.
pub fn is_due(tx: &Tx<'_>, world: &World) -> Result<bool> {
    let age = world.now.seconds().saturating_sub(tx.meta().issued_at);
    let bound = registry::policy(tx)?.policy.not_after;
    Ok(bound.is_some_and(|n| age > n / 2))
}

/// Builds the present keyset of the store.
pub fn unrenewed(tx: &Tx<'_>) -> Result<Ready> {
    let content = content(tx)?;
    let built = build(&content).map_err(|e| {
        refuse(
            Code::PolicyBreaksKeys,
            e,
            keystile_model::next![
                "correct the policy (",
                Act::PolicyCheck,
                " names its mistakes), or the key with ",
                Act::KeyUpdate
            ],
        )
    })?;
    Ok(Ready {
        built,
        signers: signing::accepted(tx)?,
    })
}

/// The content of the store's keyset.
pub fn content(tx: &Tx<'_>) -> Result<Content> {
    content_of(tx, tx.rows()?)
}

/// The same with only these keys.
pub fn content_of(tx: &Tx<'_>, rows: Vec<KeyRow>) -> Result<Content> {
    let meta = tx.meta();
    let policy = registry::policy(tx)?.raw;
    Ok(Content {
        store: meta.store,
        version: meta.version,
        issued_at: meta.issued_at,
        zones: zones::of(&policy, meta.issued_at),
        policy,
        rows,
    })
}

/// A number that makes two pushes of one keyset differ. Below 2^53, because Istio keeps
/// numbers as floats.
pub fn nonce(world: &World) -> Result<u64> {
    let mut bytes = [0; 8];
    (world.entropy)(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes) >> 11)
}
