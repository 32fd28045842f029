//! One key in a keyset: a record of 32 bytes in the index, and a profile, shared by similar keys,
//! in the heap after it. Both are read in place.

use std::net::IpAddr;

use super::Network;
use crate::key::{KeyId, Prefix};
use crate::limit::bucket::Bucket;
use crate::policy::{By, Limit};

/// Bytes of a record: digest prefix, id, expiry, offset of the profile.
pub(super) const RECORD: usize = 32;

/// Which fields a profile has: bits of its first two bytes.
pub(super) mod flag {
    pub const DISABLED: u16 = 1;
    pub const REVOKED: u16 = 1 << 1;
    pub const PUBLISHABLE: u16 = 1 << 2;
    pub const FOREIGN: u16 = 1 << 3;
    pub const NOT_BEFORE: u16 = 1 << 4;
    pub const OVERLAP_END: u16 = 1 << 5;
    pub const LINEAGE: u16 = 1 << 6;
    pub const PLAN: u16 = 1 << 7;
    pub const LIMITS: u16 = 1 << 8;
    pub const ALLOW: u16 = 1 << 9;
    pub const DENY: u16 = 1 << 10;
    pub const ORIGINS: u16 = 1 << 11;
    pub const CERTIFICATES: u16 = 1 << 12;
    /// All known bits. The meaning of any further bit is not known here, so an entry that has one
    /// opens nothing.
    pub const ALL: u16 = (1 << 13) - 1;
}

/// Reads bytes from the front; `None` at the end, never a panic.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    /// Unsigned LEB128 of at most 64 bits.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            value |= u64::from(b & 0x7F).checked_shl(shift)?;
            if b & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A slice behind its length.
    pub fn section(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.varint()?).ok()?;
        self.take(n)
    }
}

/// A record of the index.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub prefix: Prefix,
    pub id: u64,
    pub expires: u32,
    pub profile: u32,
}

impl Record {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader(bytes);
        Some(Self {
            prefix: r.array()?,
            id: u64::from_be_bytes(r.array()?),
            expires: u32::from_be_bytes(r.array()?),
            profile: u32::from_be_bytes(r.array()?),
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.expires.to_be_bytes());
        out.extend_from_slice(&self.profile.to_be_bytes());
    }
}

/// Limits of a key's own, read in place.
#[derive(Clone, Copy)]
pub struct OwnLimits<'a>(&'a [u8]);

impl<'a> OwnLimits<'a> {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In the order in which they were issued.
    pub fn iter(self) -> impl Iterator<Item = Limit> + use<'a> {
        let mut r = Reader(self.0);
        core::iter::from_fn(move || {
            let (requests, per, burst) = (r.varint()?, r.varint()?, r.varint()?);
            let by = if r.byte()? == 1 { By::Client } else { By::Key };
            // A limit that cannot be read admits nothing rather than everything.
            let bucket = Bucket::new(requests, per, burst).or_else(|| Bucket::new(1, 86_400, 1))?;
            Some(Limit {
                bucket,
                requests,
                per,
                burst,
                by,
            })
        })
    }
}

/// A key found in the keyset, borrowed from it.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The public id.
    pub id: KeyId,
    /// Wall-clock seconds at which it expires; `None` for never.
    pub expires: Option<u64>,
    /// Wall-clock seconds before which it is not valid yet; 0 for none.
    pub not_before: u64,
    /// Wall-clock seconds at which it stops working because it was rotated.
    pub overlap_end: Option<u64>,
    /// Disabled.
    pub disabled: bool,
    /// Revoked.
    pub revoked: bool,
    /// Bound to browser origins.
    pub publishable: bool,
    /// Imported: its digest is that of the whole text.
    pub foreign: bool,
    /// Its environment's position in the keyset's list.
    pub environment: u8,
    /// The client's number in the store: stable, names its buckets.
    pub client_number: u32,
    /// The client's name.
    pub client: &'a str,
    /// The id of the first key in its chain of rotations. It names the bucket, so that rotating a
    /// key does not refill it.
    pub lineage: KeyId,
    /// Its plan's position among the policy's plans.
    pub plan: Option<u16>,
    scopes: &'a [u8],
    limits: &'a [u8],
    allow: &'a [u8],
    deny: &'a [u8],
    origins: &'a [u8],
    certificates: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn read(record: &Record, profile: &'a [u8]) -> Option<Self> {
        let mut r = Reader(profile);
        let flags = u16::from_le_bytes(r.array()?);
        if flags & !flag::ALL != 0 {
            return None;
        }
        let has = |bit| flags & bit != 0;
        let id = KeyId::from_u64(record.id)?;
        let environment = r.byte()?;
        let client_number = u32::try_from(r.varint()?).ok()?;
        let client = core::str::from_utf8(r.section()?).ok()?;
        let scopes = r.section()?;
        let mut optional = |bit| if has(bit) { r.section() } else { Some(&[][..]) };
        let not_before = optional(flag::NOT_BEFORE)?;
        let overlap_end = optional(flag::OVERLAP_END)?;
        let lineage = optional(flag::LINEAGE)?;
        let plan = optional(flag::PLAN)?;
        Some(Self {
            id,
            expires: (record.expires != 0).then_some(u64::from(record.expires)),
            not_before: number(not_before)?.unwrap_or(0),
            overlap_end: number(overlap_end)?,
            disabled: has(flag::DISABLED),
            revoked: has(flag::REVOKED),
            publishable: has(flag::PUBLISHABLE),
            foreign: has(flag::FOREIGN),
            environment,
            client_number,
            client,
            lineage: match number(lineage)? {
                Some(n) => KeyId::from_u64(n)?,
                None => id,
            },
            plan: match number(plan)? {
                Some(n) => Some(u16::try_from(n).ok()?),
                None => None,
            },
            scopes,
            limits: optional(flag::LIMITS)?,
            allow: optional(flag::ALLOW)?,
            deny: optional(flag::DENY)?,
            origins: optional(flag::ORIGINS)?,
            certificates: optional(flag::CERTIFICATES)?,
        })
    }

    /// The same entry, minus what a newer entry for the key takes away. Scopes and plan stay,
    /// because the newer entry may number them by another table.
    pub(super) fn lessened(self, newer: &Entry<'_>) -> Self {
        let earlier = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            revoked: self.revoked || newer.revoked,
            disabled: self.disabled || newer.disabled,
            expires: earlier(self.expires, newer.expires),
            overlap_end: earlier(self.overlap_end, newer.overlap_end),
            ..self
        }
    }

    /// Numbers of the scopes that it holds, in rising order.
    pub fn scopes(&self) -> impl Iterator<Item = u16> + 'a {
        let mut r = Reader(self.scopes);
        core::iter::from_fn(move || r.varint().and_then(|n| u16::try_from(n).ok()))
    }

    /// Whether it holds a scope.
    pub fn holds(&self, scope: u16) -> bool {
        self.scopes().any(|s| s == scope)
    }

    /// Limits of its own, which replace those of its plan.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + use<'a> {
        self.own_limits().iter()
    }

    /// The same, to be read later.
    pub fn own_limits(&self) -> OwnLimits<'a> {
        OwnLimits(self.limits)
    }

    /// Whether it is restricted to some addresses.
    pub fn has_networks(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    /// Ranges that it may be used from; none means any.
    pub fn allow(&self) -> impl Iterator<Item = Network> + 'a {
        ranges(self.allow)
    }

    /// Address ranges from which it may not be used.
    pub fn deny(&self) -> impl Iterator<Item = Network> + 'a {
        ranges(self.deny)
    }

    /// Whether it may be used from `address`: in no denied range, and in an allowed one
    /// if there are any.
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.deny().any(|range| range.denies(address))
            && (self.allow.is_empty() || self.allow().any(|range| range.allows(address)))
    }

    /// Origins that it may be used from; none means any, for a secret key.
    pub fn origins(&self) -> impl Iterator<Item = &'a [u8]> {
        sections(self.origins)
    }

    /// Whether it is bound to origins.
    pub fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Identities of client certificates that it may be used with; none means with any,
    /// and without one. Those of [`crate::request::certificate::identity`].
    pub fn certificates(&self) -> impl Iterator<Item = &'a [u8]> {
        sections(self.certificates)
    }

    /// Whether it is bound to client certificates.
    pub fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }
}

fn sections(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut r = Reader(bytes);
    core::iter::from_fn(move || r.section())
}

fn number(section: &[u8]) -> Option<Option<u64>> {
    if section.is_empty() {
        return Some(None);
    }
    Reader(section).varint().map(Some)
}

fn ranges<'a>(bytes: &'a [u8]) -> impl Iterator<Item = Network> + 'a {
    let mut r = Reader(bytes);
    core::iter::from_fn(move || read_range(&mut r))
}

fn read_range(r: &mut Reader<'_>) -> Option<Network> {
    // 0..=32 is an IPv4 prefix length, 64 more than its own an IPv6 one.
    let (address, prefix_len) = match r.byte()? {
        len @ 0..=32 => (IpAddr::from(r.array::<4>()?), len),
        len @ 64..=192 => (IpAddr::from(r.array::<16>()?), len - 64),
        _ => return None,
    };
    Some(Network {
        address,
        prefix_len,
    })
}

/// The result of a lookup.
pub enum Lookup<'a> {
    /// There is such a key.
    Found(Entry<'a>),
    /// There is none.
    Unknown,
    /// It would be in a page that does not match its signed digest.
    Corrupt,
}
