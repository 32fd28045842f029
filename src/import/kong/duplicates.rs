//! Credentials that stand in an export more than once: of two states, the stricter counts.

use super::person::{Person, expires};
use super::repeated_key::Keys;
use crate::found::Found;
use keystile_model::error::Result;

/// Reads the state of all credentials.
pub fn keys<'n>(people: &'n [Person<'n>], found: &mut Found) -> Result<Keys<'n>> {
    let mut out = Keys::new();
    for person in people {
        for (n, credential) in person.credentials.iter().enumerate() {
            let Some(key) = credential.text("key")? else {
                continue;
            };
            let place = person.key_place(n);
            let closed = credential.closed().is_some() || person.closed.is_some();
            let ends = expires(credential, &place, found)?.filter(|_| !closed);
            let state = out.entry(key).or_default();
            state.join(&person.original, ends);
        }
    }
    Ok(out)
}
