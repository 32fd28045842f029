//! What a token that somebody presents is good for.

use std::fmt;
use std::net::IpAddr;

use hmac::digest::CtOutput;
use keystile_core::key::{Digest, KeyId, Parsed};
use sha2::Sha256;

use keystile_model::caller::{Grant, Role};
use keystile_model::error::Result;
use keystile_model::token_record::TokenRecord;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

/// What every token begins with: `kst_<role>_…`, in the form of a key.
pub const BRAND: &str = "kst";

/// The precision with which the last use is stored, in seconds.
const LAST_USED_STEP: u64 = 60;
/// Why a token is invalid. Anything more than `Unknown` is revealed only to a caller that presents
/// the full secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Not the text of a token.
    Malformed,
    /// It does not exist.
    Unknown,
    /// Expired.
    Expired,
    /// Revoked, or bound to a client that was deleted.
    Revoked,
    /// Not to be used from this address.
    Network,
    /// The store did not answer.
    Store,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not a token",
            Self::Unknown => "there is no such token",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
            Self::Network => "the token may not be used from this address",
            Self::Store => "the store cannot be read",
        })
    }
}

/// What a token allows that is presented from an address, at a time in seconds.
///
/// # Errors
/// If it is invalid, with the reason.
pub fn authenticate(
    tx: &Tx<'_>,
    presented: &str,
    address: IpAddr,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let (token, word) = find(tx, presented)?;
    if token.invitation || word != token.grant.role.as_str() {
        return Err(TokenError::Unknown);
    }
    alive(&token, Some(address), now)
}

/// What a token allows, by its id, if its text was presented earlier.
///
/// # Errors
/// If it is no longer valid, with the reason.
pub fn still_good(
    tx: &Tx<'_>,
    id: KeyId,
    address: IpAddr,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let found = tx.token(id).map_err(|_| TokenError::Store)?;
    let token = found.filter(|t| !t.invitation).ok_or(TokenError::Unknown)?;
    alive(&token, Some(address), now)
}

/// The record for a text, and the word in its middle.
pub(super) fn find(
    tx: &Tx<'_>,
    presented: &str,
) -> std::result::Result<(TokenRecord, String), TokenError> {
    let text = Parsed::parse(presented.as_bytes()).map_err(|_| TokenError::Malformed)?;
    if text.brand != BRAND {
        return Err(TokenError::Malformed);
    }
    let found = tx.token(text.id()).map_err(|_| TokenError::Store)?;
    let token = found.ok_or(TokenError::Unknown)?;
    if !same(&token.digest, &text.digest()) {
        return Err(TokenError::Unknown);
    }
    Ok((token, text.environment.to_owned()))
}

pub(super) fn alive(
    token: &TokenRecord,
    address: Option<IpAddr>,
    now: u64,
) -> std::result::Result<Grant, TokenError> {
    let orphan = token.grant.role == Role::Client && token.grant.client.is_none();
    if token.revoked.is_some() || orphan {
        return Err(TokenError::Revoked);
    }
    if token.expires <= now {
        return Err(TokenError::Expired);
    }
    let near = address.map_or(token.grant.networks.is_empty(), |a| token.grant.admits(a));
    if !near {
        return Err(TokenError::Network);
    }
    Ok(token.grant.clone())
}

/// Compares in constant time.
fn same(a: &Digest, b: &Digest) -> bool {
    CtOutput::<Sha256>::new(a.0.into()) == CtOutput::new(b.0.into())
}

/// Whether the use of a token at a time, in seconds, is to be stored: at most one per minute.
pub fn is_use_due(grant: &Grant, now: u64) -> bool {
    grant
        .last_used
        .is_none_or(|t| t.saturating_add(LAST_USED_STEP) <= now)
}

/// Stores that a token was used.
///
/// # Errors
/// Those of the store.
pub fn used(store: &mut Store, world: &World, id: KeyId) -> Result<()> {
    store.write(world, |tx| tx.token_used(id, world.now.seconds()))
}
