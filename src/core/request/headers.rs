//! Request headers as the host hands them over, read in place: one buffer, or a list of where they
//! lie in Envoy's own memory.
//!
//! The buffer's layout is proxy-wasm's serialised map: a count, the lengths of every name and
//! value (all `u32`, little endian), then names and values, each followed by NUL.
//! Values are bytes; nothing here asks for UTF-8. Names come in lower case, duplicates
//! one by one, pseudo-headers (`:path`) among the rest.

/// A name and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// A borrowed header map.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    lengths: &'a [u8],
    data: &'a [u8],
    pairs: &'a [Pair<'a>],
}

impl<'a> Headers<'a> {
    /// Reads a serialised map; what is not one reads as a map that ends early.
    pub fn new(bytes: &'a [u8]) -> Self {
        let parts = || {
            let (count, rest) = bytes.split_at_checked(4)?;
            let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
            rest.split_at_checked(count.checked_mul(8)?)
        };
        let (lengths, data) = parts().unwrap_or_default();
        Self {
            lengths,
            data,
            pairs: &[],
        }
    }

    /// Of names, in lower case, and values that lie anywhere.
    pub fn from_pairs(pairs: &'a [Pair<'a>]) -> Self {
        Self {
            pairs,
            ..Self::default()
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        let mut data = self.data;
        let of_buffer = self.lengths.chunks_exact(8).map_while(move |pair| {
            let (name, value) = pair.split_at_checked(4)?;
            let mut next = |len: &[u8]| {
                let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
                let (text, rest) = data.split_at_checked(len)?;
                data = rest.get(1..)?;
                Some(text)
            };
            Some((next(name)?, next(value)?))
        });
        self.pairs.iter().copied().chain(of_buffer)
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|(n, v)| (n == name.as_bytes()).then_some(v))
    }

    /// Serialises a map: that of a reply, and those of `explain`, tests and benchmarks. Names are
    /// put into lower case, as Envoy does.
    pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
        let size = |b: &[u8]| u32::try_from(b.len()).unwrap_or(u32::MAX).to_le_bytes();
        let text = pairs
            .iter()
            .map(|(n, v)| n.as_ref().len() + v.as_ref().len());
        let mut out = Vec::with_capacity(4 + 10 * pairs.len() + text.sum::<usize>());
        out.extend(u32::try_from(pairs.len()).unwrap_or(0).to_le_bytes());
        for (n, v) in pairs {
            out.extend(size(n.as_ref()));
            out.extend(size(v.as_ref()));
        }
        for (n, v) in pairs {
            out.extend(n.as_ref().iter().map(u8::to_ascii_lowercase));
            out.push(0);
            out.extend(v.as_ref());
            out.push(0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn maps_round_trip(pairs in proptest::collection::vec(("[a-z:-]{1,9}", proptest::collection::vec(any::<u8>(), 0..9)), 0..9)) {
            let bytes = Headers::encode(&pairs);
            let read: Vec<_> = Headers::new(&bytes).iter().map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.to_vec())).collect();
            prop_assert_eq!(&read, &pairs);
            let lying: Vec<Pair<'_>> = pairs.iter().map(|(n, v)| (n.as_bytes(), &v[..])).collect();
            let listed: Vec<_> = Headers::from_pairs(&lying).iter().map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.to_vec())).collect();
            prop_assert_eq!(listed, pairs);
        }

        /// The oracle reads the layout with a cursor, from the description in the module's head.
        #[test]
        fn any_bytes_read_as_the_pairs_that_are_whole(
            count in 0u32..5,
            lengths in proptest::collection::vec(0u32..6, 0..10),
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = count.to_le_bytes().to_vec();
            lengths.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes.extend(&data);
            let number = |at: usize| {
                let four = bytes.get(at..at + 4)?;
                Some(four.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b)))
            };
            let mut want = Vec::new();
            let mut at = 4 + count as usize * 8;
            if at <= bytes.len() {
                for pair in 0..count as usize {
                    let mut text = |place: usize| {
                        let length = number(4 + pair * 8 + place * 4)?;
                        // The text, and the NUL behind it.
                        let text = bytes.get(at..at + length + 1)?;
                        at += length + 1;
                        Some(text[..length].to_vec())
                    };
                    let (Some(name), Some(value)) = (text(0), text(1)) else { break };
                    want.push((name, value));
                }
            }
            let read: Vec<_> = Headers::new(&bytes).iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, want);
        }
    }

    #[test]
    fn a_map_cut_short_ends_early() {
        let bytes = Headers::encode(&[("a", "1"), ("b", "2")]);
        for n in 0..bytes.len() {
            assert!(Headers::new(&bytes[..n]).iter().count() < 2);
        }
    }
}
