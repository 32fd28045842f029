//! For tests: a message with one place damaged.

use proptest::prelude::*;
use proptest::sample::Index;

/// What happens to one place.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Double(Index),
}

/// Bytes that mean something in JSON are as likely as all others together.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        prop::sample::select(b" \"\\{}[],:-.0123456789etnAZ_=".to_vec()),
        any::<u8>(),
    ];
    let place = any::<Index>;
    prop_oneof![
        4 => (place(), byte.clone()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (place(), byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => place().prop_map(Damage::Remove),
        1 => place().prop_map(Damage::Cut),
        1 => place().prop_map(Damage::Double),
    ]
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let (Self::Set(at, _)
        | Self::Insert(at, _)
        | Self::Remove(at)
        | Self::Cut(at)
        | Self::Double(at)) = self;
        let at = at.index(bytes.len());
        match self {
            Self::Set(_, byte) => bytes[at] = *byte,
            Self::Insert(_, byte) => bytes.insert(at, *byte),
            Self::Remove(_) => drop(bytes.remove(at)),
            Self::Cut(_) => bytes.truncate(at),
            Self::Double(_) => bytes.extend_from_within(at..),
        }
        bytes
    }

    pub(crate) fn of_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.apply(text.as_bytes())).into_owned()
    }
}
