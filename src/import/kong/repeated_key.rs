//! A key that stands in an export more than once.

use std::collections::BTreeMap;

/// What all places of a key say together.
#[derive(Default)]
pub struct Together<'n> {
    places: u64,
    owner: &'n str,
    /// When it expires; empty for never.
    pub expires: String,
    /// Why it is left out.
    out: Option<&'static str>,
}

/// By the key.
pub type RepeatedKeys<'n> = BTreeMap<&'n str, Together<'n>>;

impl<'n> Together<'n> {
    /// Adds a place. `expires` is `None` if the key is left out there.
    pub(super) fn join(&mut self, owner: &'n str, expires: Option<String>) {
        self.places = self.places.saturating_add(1);
        if self.places == 1 {
            self.owner = owner;
        } else if self.owner != owner {
            self.out = Some("is a credential of several consumers; issue new keys");
        }
        match expires {
            None => {
                let why = "appears twice, and is left out in one of these places";
                self.out = self.out.or(Some(why));
            }
            Some(expires)
                if self.expires.is_empty() || !expires.is_empty() && expires < self.expires =>
            {
                self.expires = expires;
            }
            Some(_) => {}
        }
    }

    /// Why a key that can be taken over from one of its places is left out.
    pub fn out(&self) -> Option<&'static str> {
        self.out.filter(|_| self.places > 1)
    }
}
