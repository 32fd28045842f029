//! Credentials that stand in an export more than once: of two states, the stricter counts.

use super::person::{Consumer, expires};
use super::repeated_key::RepeatedKeys;
use crate::found::Found;
use keystile_model::error::Result;

/// Reads the state of all credentials.
pub fn keys<'n>(people: &'n [Consumer<'n>], found: &mut Found) -> Result<RepeatedKeys<'n>> {
    let mut out = RepeatedKeys::new();
    for person in people {
        for (n, credential) in person.credentials.iter().enumerate() {
            let Some(key) = credential.text("key")? else {
                continue;
            };
            let place = person.key_place(n);
            let closed = credential.closed().is_some() || person.closed.is_some();
            let expires = expires(credential, &place, found)?.filter(|_| !closed);
            let state = out.entry(key).or_default();
            state.join(&person.original, expires);
        }
    }
    Ok(out)
}
