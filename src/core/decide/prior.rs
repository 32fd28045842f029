//! What one pass over a request leaves for the next: an internal redirect runs the filter chain
//! again, with the key already removed.
//!
//! It is kept in filter state, which callers cannot set. A chain may contain several of our
//! filters, so it is bound to the store and the policy that decided: a filter with another store or
//! policy finds a mark that is not its own.

use super::denial::{Denial, Unavailable};
use crate::hex;
use crate::key::{Malformed, Prefix};
use crate::keyset::{PolicyId, StoreId};

/// The caller, as an earlier pass over the same request determined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prior {
    /// The key with this digest was let in, and the request counted.
    Admitted(Prefix),
    /// The key with this digest was presented on a route that does not check keys. It was removed
    /// from the request without being judged.
    Presented(Prefix),
    /// A text that looked like one of our keys was presented on such a route. It was removed; a
    /// route that checks keys would have refused it with this denial.
    Refused(Denial),
}

/// The prefix of every mark, whichever filter left it: guards ask for that alone.
pub const MARK: &str = "keystile:";

/// The mark of a request that is let in and about which a later pass has nothing to know.
pub const NOBODY: &str = "keystile:-";

/// A mark as text. Every request that is let in leaves one, so it is not allocated.
#[derive(Clone, Copy)]
pub struct Mark {
    bytes: [u8; MARK_BYTES],
    used: usize,
}

/// What [`Prior`] needs at most.
const MARK_BYTES: usize = MARK.len() + 2 * (8 + 8) + 1 + 2 * 16;

impl Default for Mark {
    fn default() -> Self {
        Self {
            bytes: [0; MARK_BYTES],
            used: 0,
        }
    }
}

impl Mark {
    /// The bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn push(&mut self, part: &[u8]) {
        let end = self.used + part.len();
        if let Some(place) = self.bytes.get_mut(self.used..end) {
            place.copy_from_slice(part);
            self.used = end;
        }
    }
}

impl Prior {
    /// As text; `None` for a denial that no text presented on an open route can meet.
    pub fn to_text(self, store: StoreId, policy: PolicyId) -> Option<Mark> {
        let mut text = Mark::default();
        text.push(MARK.as_bytes());
        push_hex(&mut text, &store.0);
        push_hex(&mut text, &policy.0);
        let (letter, prefix) = match self {
            Self::Admitted(prefix) => (b'a', Some(prefix)),
            Self::Presented(prefix) => (b'p', Some(prefix)),
            Self::Refused(denial) => (REFUSED.iter().find(|(_, d)| *d == denial)?.0, None),
        };
        text.push(&[letter]);
        if let Some(prefix) = prefix {
            push_hex(&mut text, &prefix);
        }
        Some(text)
    }

    /// From text; `None` if it is not a mark, or that of another store or policy.
    pub fn from_text(store: StoreId, policy: PolicyId, text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(MARK.as_bytes())?;
        let (whose, rest) = rest.split_at_checked(2 * store.0.len())?;
        let (of, rest) = rest.split_at_checked(2 * policy.0.len())?;
        if hex::read::<8>(whose)? != store.0 || hex::read::<8>(of)? != policy.0 {
            return None;
        }
        let (letter, rest) = rest.split_first()?;
        match (letter, rest) {
            (b'a', prefix) => hex::read(prefix).map(Self::Admitted),
            (b'p', prefix) => hex::read(prefix).map(Self::Presented),
            (letter, []) => {
                let found = REFUSED.iter().find(|(l, _)| l == letter);
                found.map(|(_, denial)| Self::Refused(*denial))
            }
            _ => None,
        }
    }
}

const REFUSED: [(u8, Denial); 6] = [
    (b'l', Denial::MalformedKey(Malformed::Length)),
    (b's', Denial::MalformedKey(Malformed::Shape)),
    (b'c', Denial::MalformedKey(Malformed::Checksum)),
    (b'm', Denial::MultipleKeys),
    (b'u', Denial::UnknownKey),
    (b'x', Denial::KeysetUnavailable(Unavailable::CorruptPage)),
];

/// Every request that is let in leaves a mark, so this takes no detour over characters.
fn push_hex<const N: usize>(text: &mut Mark, bytes: &[u8; N]) {
    let mut digits = [[0; 2]; N];
    for (pair, byte) in digits.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 15].map(|n| n + if n < 10 { b'0' } else { b'a' - 10 });
    }
    text.push(digits.as_flattened());
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: (StoreId, PolicyId) = (StoreId([7; 8]), PolicyId([1; 8]));

    #[test]
    fn a_mark_is_read_back_by_its_own_store_and_policy_alone() {
        let (store, policy) = MINE;
        let prefix = [0xA7; 16];
        let refused = REFUSED.map(|(_, denial)| Prior::Refused(denial));
        let all = [Prior::Admitted(prefix), Prior::Presented(prefix)];
        for prior in all.into_iter().chain(refused) {
            let text = prior.to_text(store, policy).unwrap();
            let text = text.as_bytes();
            assert!(text.starts_with(MARK.as_bytes()));
            assert_eq!(Prior::from_text(store, policy, text), Some(prior));
            assert_eq!(Prior::from_text(store, PolicyId([2; 8]), text), None);
            assert_eq!(Prior::from_text(StoreId([2; 8]), policy, text), None);
            for end in 0..text.len() {
                assert_eq!(Prior::from_text(store, policy, &text[..end]), None);
            }
            let longer = [text, b"0"].concat();
            assert_eq!(Prior::from_text(store, policy, &longer), None);
        }
    }

    #[test]
    fn the_mark_of_nobody_tells_a_later_pass_nothing() {
        let (store, policy) = MINE;
        assert!(NOBODY.starts_with(MARK));
        assert_eq!(Prior::from_text(store, policy, NOBODY.as_bytes()), None);
    }

    #[test]
    fn what_no_open_route_can_find_has_no_mark() {
        let (store, policy) = MINE;
        let revoked = Prior::Refused(Denial::RevokedKey);
        assert!(revoked.to_text(store, policy).is_none());
    }
}
