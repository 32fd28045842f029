//! Rows packed into pages, and the tables that they share.

use sha2::Digest as _;
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::super::PAGE;
use super::super::entry::{RECORD, Record, flag};
use super::super::network::Network;
use super::error::BuildError;
use super::row::KeyRow;
use crate::key::{KeyId, Prefix};
use crate::policy::By;

/// Directory, index and heap.
pub(crate) struct Packed {
    pub keys: u32,
    pub heap: u32,
    pub directory: [u8; 32],
    pub pages: Vec<u8>,
}

impl Packed {
    pub fn new<'r>(
        rows: &[(Prefix, &'r KeyRow)],
        tables: &Tables<'_>,
        lacks: impl Fn(Lack<'r>) -> BuildError,
    ) -> Result<Self, BuildError> {
        let mut index = Vec::with_capacity(rows.len() * RECORD);
        let mut heap = Vec::new();
        // Only used for lookups, never iterated, so its order does not affect the bytes.
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        for (prefix, row) in rows {
            let profile = tables.profile(row).map_err(&lacks)?;
            let offset = match known.get(&profile) {
                Some(&offset) => offset,
                None => {
                    let offset = u32::try_from(heap.len()).map_err(|_| BuildError::TooLarge)?;
                    let len = u16::try_from(profile.len())
                        .map_err(|_| BuildError::TooManyRules(row.id))?;
                    heap.extend_from_slice(&len.to_le_bytes());
                    heap.extend_from_slice(&profile);
                    known.insert(profile, offset);
                    offset
                }
            };
            Record {
                prefix: *prefix,
                id: row.id.as_u64(),
                expires: row
                    .expires
                    .map_or(0, |e| u32::try_from(e).unwrap_or(u32::MAX).max(1)),
                profile: offset,
            }
            .write(&mut index);
        }

        let mut pages = Vec::new();
        for page in index.chunks(PAGE) {
            pages.extend(page.iter().take(16));
        }
        for page in index.chunks(PAGE).chain(heap.chunks(PAGE)) {
            pages.extend_from_slice(&Sha256::digest(page));
        }
        let directory = Sha256::digest(&pages).into();
        pages.reserve_exact(index.len() + heap.len());
        pages.extend_from_slice(&index);
        pages.extend_from_slice(&heap);
        Ok(Self {
            keys: u32::try_from(rows.len()).map_err(|_| BuildError::TooLarge)?,
            heap: u32::try_from(heap.len()).map_err(|_| BuildError::TooLarge)?,
            directory,
            pages,
        })
    }
}

/// A row refers to something that a table does not have.
pub(crate) struct Lack<'r> {
    pub key: KeyId,
    pub table: &'static str,
    pub name: &'r str,
}

/// Names to numbers, which are positions in the tables of a keyset.
pub(crate) struct Tables<'a> {
    pub(super) environments: BTreeMap<&'a str, u8>,
    pub(super) scopes: BTreeMap<&'a str, u16>,
    pub(super) plans: BTreeMap<&'a str, u16>,
}

impl<'a> Tables<'a> {
    pub fn new(
        environments: &'a [String],
        scopes: &'a [String],
        plans: &'a [String],
    ) -> Result<Self, BuildError> {
        if environments.len() > 255 {
            return Err(BuildError::TooLarge);
        }
        let number = |list: &'a [String]| list.iter().map(String::as_str).zip(0u16..).collect();
        Ok(Self {
            environments: environments.iter().map(String::as_str).zip(0u8..).collect(),
            scopes: number(scopes),
            plans: number(plans),
        })
    }

    fn profile<'r>(&self, row: &'r KeyRow) -> Result<Vec<u8>, Lack<'r>> {
        let lack = |table, name| Lack {
            key: row.id,
            table,
            name,
        };
        let mut flags = 0;
        let mut set = |bit, on: bool| flags |= if on { bit } else { 0 };
        set(flag::DISABLED, row.disabled);
        set(flag::REVOKED, row.revoked);
        set(flag::PUBLISHABLE, row.publishable);
        set(flag::FOREIGN, row.foreign);
        set(flag::NOT_BEFORE, row.not_before.is_some());
        set(flag::OVERLAP_END, row.overlap_end.is_some());
        set(flag::LINEAGE, row.lineage != row.id);
        set(flag::PLAN, row.plan.is_some());
        set(flag::LIMITS, !row.limits.is_empty());
        set(flag::ALLOW, !row.allow.is_empty());
        set(flag::DENY, !row.deny.is_empty());
        set(flag::ORIGINS, !row.origins.is_empty());
        set(flag::CERTIFICATES, row.is_bound_to_certificates());

        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(&u16::to_le_bytes(flags));
        let name = row.environment.as_str();
        let environment = self.environments.get(name);
        out.push(*environment.ok_or_else(|| lack("environment", name))?);
        varint(&mut out, u64::from(row.client_number));
        section(&mut out, row.client.as_bytes());
        let scope = |s: &'r String| {
            let number = self.scopes.get(s.as_str()).copied();
            number.ok_or_else(|| lack("scope", s))
        };
        let scopes: BTreeSet<u16> = row.scopes.iter().map(scope).collect::<Result<_, _>>()?;
        section(&mut out, &numbers(scopes.into_iter().map(u64::from)));
        for time in [row.not_before, row.overlap_end].into_iter().flatten() {
            section(&mut out, &numbers([time]));
        }
        if row.lineage != row.id {
            section(&mut out, &numbers([row.lineage.as_u64()]));
        }
        if let Some(plan) = &row.plan {
            let number = self.plans.get(plan.as_str());
            let number = number.ok_or_else(|| lack("plan", plan))?;
            section(&mut out, &numbers([u64::from(*number)]));
        }
        let mut limits = Vec::new();
        for l in &row.limits {
            limits.extend(numbers([l.requests, l.per, l.burst]));
            limits.push(u8::from(l.by == By::Client));
        }
        for list in [limits, ranges(&row.allow), ranges(&row.deny)] {
            if !list.is_empty() {
                section(&mut out, &list);
            }
        }
        for words in [&row.origins, &row.certificates] {
            let mut list = Vec::new();
            for word in words.iter().collect::<BTreeSet<_>>() {
                section(&mut list, word.as_bytes());
            }
            if !list.is_empty() {
                section(&mut out, &list);
            }
        }
        Ok(out)
    }
}

fn ranges(networks: &[Network]) -> Vec<u8> {
    let mut out = Vec::new();
    for network in networks.iter().collect::<BTreeSet<_>>() {
        let Network {
            address,
            prefix_len,
        } = network.canonical();
        match address {
            IpAddr::V4(a) => {
                out.push(prefix_len.min(32));
                out.extend_from_slice(&a.octets());
            }
            IpAddr::V6(a) => {
                out.push(64 + prefix_len.min(128));
                out.extend_from_slice(&a.octets());
            }
        }
    }
    out
}

fn numbers(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for v in values {
        varint(&mut out, v);
    }
    out
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8 & 0x7F) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn section(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
