//! How much goes into one page, batch or answer.

use std::io;

use serde::Serialize;

/// The most bytes of one page, unless its first item alone has more.
pub const PAGE_BYTES: usize = 4 << 20;

/// What is left of a page: a number of items, and a number of bytes. Some items are a thousand
/// times as large as others (the audit record of a policy holds two policies), so their number
/// alone is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    things: u32,
    bytes: usize,
    is_empty: bool,
}

impl Room {
    /// Room for this many items and this many bytes.
    pub const fn new(things: u32, bytes: usize) -> Self {
        Self {
            things,
            bytes,
            is_empty: true,
        }
    }

    /// How many items there is room for.
    pub const fn things(&self) -> u32 {
        self.things
    }

    /// Whether any further item would be refused, however small.
    pub const fn is_full(&self) -> bool {
        self.things == 0
    }

    /// Takes an item of this size, if there is room. The first item always fits, so that every page
    /// makes progress. After one that does not fit, there is no room for any.
    pub fn takes_bytes(&mut self, bytes: usize) -> bool {
        let fits = self.is_empty || bytes <= self.bytes;
        if self.things == 0 || !fits {
            self.things = 0;
            return false;
        }
        self.is_empty = false;
        self.things -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }

    /// The same for an item by its size as JSON.
    pub fn takes(&mut self, thing: &impl Serialize) -> bool {
        !self.is_full() && self.takes_bytes(json_bytes(thing))
    }

    /// As many of `things`, from the first on, as fit.
    pub fn fill<T: Serialize>(mut self, things: impl IntoIterator<Item = T>) -> Vec<T> {
        things.into_iter().take_while(|t| self.takes(t)).collect()
    }
}

/// This many items, and the usual number of bytes.
impl From<u32> for Room {
    fn from(things: u32) -> Self {
        Self::new(things, PAGE_BYTES)
    }
}

/// The size of an item as JSON. An item that cannot be written counts as empty; writing it reports
/// the error.
fn json_bytes(thing: &impl Serialize) -> usize {
    struct Counted(usize);

    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut counted = Counted(0);
    let written = serde_json::to_writer(&mut counted, thing);
    written.map_or(0, |()| counted.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_after_so_many_things_or_so_many_bytes_but_is_never_empty() {
        // As JSON each of these has two bytes more.
        let fill = |room: Room, things: &[&str]| room.fill(things.to_vec()).len();
        assert_eq!(fill(Room::new(2, 100), &["a", "b", "c"]), 2);
        assert_eq!(fill(Room::new(9, 10), &["aa", "bb", "cc"]), 2);
        assert_eq!(fill(Room::new(9, 12), &["aa", "bb", "cc"]), 3);
        assert_eq!(fill(Room::new(9, 3), &["too large", "b"]), 1);
        assert_eq!(fill(Room::new(9, 8), &["a", "too large", "b"]), 1);
        assert_eq!(fill(Room::new(0, 8), &["a"]), 0);
        let mut room = Room::new(9, 8);
        assert!(room.takes_bytes(5) && !room.takes_bytes(4) && room.is_full());
        assert!(!room.takes_bytes(1), "what comes later would leave a gap");
    }
}
