//! Levels as shared data holds them.

use super::super::Bucket;
use super::level::Level;
use super::{LEVEL_BYTES, Levels, Link, MAX_MEMBERS, MAX_RULES, Members};

impl Levels {
    /// Reads what [`Levels::to_bytes`] wrote; `None` if the bytes are from elsewhere.
    #[inline(never)]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (rules, links) = match rest {
            [] => (bytes.len() / LEVEL_BYTES, None),
            [rules] => (usize::from(*rules), None),
            [rules, links] => (usize::from(*rules), Some(usize::from(*links))),
            _ => return None,
        };
        if rules == 0 || rules > MAX_RULES {
            return None;
        }
        let (levels, mut words) = words.split_at_checked(rules * LEVEL_BYTES / 8)?;
        let read = |level: &[[u8; 8]; LEVEL_BYTES / 8]| {
            let [requests, per, burst, arrival] = level.map(u64::from_be_bytes);
            Some(Level {
                bucket: Bucket::new(requests, per, burst)?,
                arrival,
                members: Members::default(),
                views: Vec::new(),
            })
        };
        let levels = levels.as_chunks().0.iter().map(read);
        let mut levels: Vec<Level> = levels.collect::<Option<_>>()?;
        if !rest.is_empty() {
            for level in &mut levels {
                let (count, after) = words.split_first()?;
                let count = usize::try_from(u64::from_be_bytes(*count)).ok()?;
                let (members, after) = after.split_at_checked(count)?;
                if count > MAX_MEMBERS {
                    return None;
                }
                level.members.0 = members.iter().map(|m| u64::from_be_bytes(*m)).collect();
                words = after;
                if links.is_some() {
                    (level.views, words) = pairs(words, MAX_MEMBERS)?;
                }
            }
        }
        let mut linked = Vec::new();
        if let Some(links) = links {
            let (pairs, after) = words.split_at_checked(links.checked_mul(2)?)?;
            linked.extend(pairs.as_chunks().0.iter().map(|pair| {
                let [lineage, until] = pair.map(u64::from_be_bytes);
                Link { lineage, until }
            }));
            words = after;
        }
        words.is_empty().then_some(Self(levels, linked))
    }

    /// For shared data.
    #[inline(never)]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|level| {
            let Bucket { requests, per, .. } = level.bucket;
            [requests, per, level.bucket.burst(), level.arrival]
        });
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        let is_shared = !self.1.is_empty() || self.0.iter().any(|level| !level.views.is_empty());
        if is_shared || self.0.iter().any(|level| !level.members.0.is_empty()) {
            for Level { members, views, .. } in &self.0 {
                let count = members.0.len() as u64;
                let numbers = core::iter::once(&count).chain(&members.0);
                bytes.extend(numbers.copied().flat_map(u64::to_be_bytes));
                if is_shared {
                    bytes.extend((views.len() as u64).to_be_bytes());
                    let numbers = views.iter().flat_map(|(of, arrival)| [*of, *arrival]);
                    bytes.extend(numbers.flat_map(u64::to_be_bytes));
                }
            }
            let links = self.1.iter().flat_map(|link| [link.lineage, link.until]);
            bytes.extend(links.flat_map(u64::to_be_bytes));
            // At most `MAX_RULES`.
            bytes.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        }
        if is_shared {
            // At most `MAX_LINKS`.
            bytes.push(u8::try_from(self.1.len()).unwrap_or(u8::MAX));
        }
        bytes
    }
}

type Pairs = Vec<(u64, u64)>;

/// Pairs of numbers, after their number.
fn pairs(words: &[[u8; 8]], most: usize) -> Option<(Pairs, &[[u8; 8]])> {
    let (count, after) = words.split_first()?;
    let count = usize::try_from(u64::from_be_bytes(*count)).ok()?;
    if count > most {
        return None;
    }
    let (numbers, after) = after.split_at_checked(count.checked_mul(2)?)?;
    let pairs = numbers.as_chunks().0.iter().map(|pair| {
        let [first, second] = pair.map(u64::from_be_bytes);
        (first, second)
    });
    Some((pairs.collect(), after))
}
