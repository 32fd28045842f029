//! Rows in, signed artefact out. Deterministic: the same content gives the same bytes.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::entry::{RECORD, Record, flag};
use super::{Manifest, PAGE, SigningKey, StoreId};
use crate::key::{Digest, KeyId, Name, Prefix};
use crate::policy::{By, Limit, Policy, PolicyError, RawPolicy};

/// Expired keys stay this long, so that their holders are told `expired_api_key` and
/// not `unknown_api_key`; in seconds.
pub const EXPIRED_KEPT: u64 = 30 * 86_400;

/// An address range: the network and the length of its prefix in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The network's address; bits behind the prefix are not looked at.
    pub address: IpAddr,
    /// At most 32 for IPv4, 128 for IPv6.
    pub prefix_len: u8,
}

/// A key as the store holds it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Public id.
    pub id: KeyId,
    /// Its digest.
    pub digest: Digest,
    /// Imported: the digest is that of the whole text.
    pub foreign: bool,
    /// Name of the client.
    pub client: String,
    /// Number of the client: stable, never used again.
    pub client_number: u32,
    /// Environment.
    pub environment: Name,
    /// Bound to browser origins.
    pub publishable: bool,
    /// Scopes, in any order.
    pub scopes: Vec<String>,
    /// Name of its plan.
    pub plan: Option<String>,
    /// Limits of its own.
    pub limits: Vec<Limit>,
    /// Wall-clock seconds.
    pub expires: Option<u64>,
    /// Wall-clock seconds.
    pub not_before: Option<u64>,
    /// Wall-clock seconds.
    pub overlap_end: Option<u64>,
    /// Switched off for now.
    pub disabled: bool,
    /// Switched off for good.
    pub revoked: bool,
    /// First key in its line of rotations.
    pub lineage: KeyId,
    /// Ranges that it may be used from.
    pub allow: Vec<Network>,
    /// Ranges that it may not be used from.
    pub deny: Vec<Network>,
    /// Browser origins that it may be used from.
    pub origins: Vec<String>,
}

/// All that a keyset holds.
#[derive(Clone, Debug)]
pub struct Content {
    /// Which store it comes from.
    pub store: StoreId,
    /// Rises with every change.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// The policy as written.
    pub policy: RawPolicy,
    /// The keys.
    pub rows: Vec<Row>,
}

/// Why content cannot become a keyset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The policy does not hold.
    Policy(Vec<PolicyError>),
    /// A key's plan is not in the policy.
    UnknownPlan {
        /// The key.
        key: KeyId,
        /// The plan that it asks for.
        plan: String,
    },
    /// Two keys have the same digest.
    SameDigest(KeyId, KeyId),
    /// A key's rules take more than 65,535 bytes.
    TooManyRules(KeyId),
    /// More than four gigabytes, or more environments than one byte counts.
    TooLarge,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(errors) => {
                for (i, e) in errors.iter().enumerate() {
                    write!(f, "{}{e}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::UnknownPlan { key, plan } => write!(
                f,
                "key {key} is on plan `{plan}`, which the policy does not have; add the plan or update the key"
            ),
            Self::SameDigest(a, b) => write!(f, "keys {a} and {b} have the same digest"),
            Self::TooManyRules(id) => write!(
                f,
                "key {id} has more address ranges and origins than fit; use wider ranges"
            ),
            Self::TooLarge => f.write_str("the keyset is larger than its format can say"),
        }
    }
}

impl std::error::Error for BuildError {}

/// A keyset that is not signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Built {
    /// The manifest's bytes: what is signed.
    pub manifest: Vec<u8>,
    /// Directory, index and heap.
    pub pages: Vec<u8>,
    /// Keys in it.
    pub keys: usize,
    /// Its version.
    pub version: u64,
}

/// Packs content into a manifest and pages.
///
/// # Errors
/// [`BuildError`], naming the key or the field.
pub fn build(content: &Content) -> Result<Built, BuildError> {
    let held = content
        .rows
        .iter()
        .flat_map(|r| r.scopes.iter().map(String::as_str));
    let held: BTreeSet<&str> = held.collect();
    let policy = Policy::new(&content.policy, held.iter().copied()).map_err(BuildError::Policy)?;

    let mut rows: Vec<(Prefix, &Row)> = content
        .rows
        .iter()
        .filter(|r| is_kept(r, content.issued_at))
        .map(|r| (r.digest.prefix(), r))
        .collect();
    rows.sort_unstable_by_key(|(prefix, _)| *prefix);
    if let Some([(_, a), (_, b)]) = rows.array_windows().find(|[(a, _), (b, _)]| a == b) {
        return Err(BuildError::SameDigest(a.id, b.id));
    }

    let environments: BTreeSet<&str> = rows
        .iter()
        .map(|(_, r)| r.environment.as_str())
        .chain(policy.environments.iter().map(Name::as_str))
        .collect();
    if environments.len() > 255 {
        return Err(BuildError::TooLarge);
    }
    let tables = Tables {
        environments: environments.iter().copied().zip(0u8..).collect(),
        plans: policy
            .plans
            .keys()
            .map(String::as_str)
            .zip(0u16..)
            .collect(),
        policy: &policy,
    };

    let mut index = Vec::with_capacity(rows.len() * RECORD);
    let mut heap = Vec::new();
    // Only looked up, never walked: its order does not reach the bytes.
    let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
    for (prefix, row) in &rows {
        let profile = tables.profile(row)?;
        let offset = match known.get(&profile) {
            Some(&offset) => offset,
            None => {
                let offset = u32::try_from(heap.len()).map_err(|_| BuildError::TooLarge)?;
                let len =
                    u16::try_from(profile.len()).map_err(|_| BuildError::TooManyRules(row.id))?;
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
    let directory: [u8; 32] = Sha256::digest(&pages).into();
    pages.reserve_exact(index.len() + heap.len());
    pages.extend_from_slice(&index);
    pages.extend_from_slice(&heap);

    let manifest = Manifest {
        format: super::FORMAT,
        store: content.store.to_string(),
        version: content.version,
        issued_at: content.issued_at,
        not_after: policy
            .not_after
            .map(|s| content.issued_at.saturating_add(s)),
        keys: u32::try_from(rows.len()).map_err(|_| BuildError::TooLarge)?,
        heap: u32::try_from(heap.len()).map_err(|_| BuildError::TooLarge)?,
        directory: URL_SAFE_NO_PAD.encode(directory),
        foreign: rows.iter().any(|(_, r)| r.foreign),
        addresses: rows
            .iter()
            .any(|(_, r)| !r.allow.is_empty() || !r.deny.is_empty()),
        environments: environments.iter().map(|&e| e.to_owned()).collect(),
        scopes: policy.scopes.clone(),
        policy: content.policy.clone(),
    };
    Ok(Built {
        manifest: serde_json::to_vec(&manifest).map_err(|_| BuildError::TooLarge)?,
        pages,
        keys: rows.len(),
        version: content.version,
    })
}

impl Built {
    /// Signs it: the plugin configuration, as Envoy's StringValue takes it.
    ///
    /// Signed with every key given: while a signing key is being rotated, Envoys that know
    /// only the old one and Envoys that know only the new one both take every push.
    ///
    /// `nonce` is not signed and decides nothing. It makes two pushes of the same
    /// keyset differ, because Envoy takes a configuration that it refused once, and
    /// that has not changed since, for accepted.
    pub fn seal(&self, signers: &impl AsRef<[SigningKey]>, nonce: u64) -> String {
        let mut out = self.head(signers.as_ref(), nonce, self.pages.len().div_ceil(3) * 4);
        out.push_str(",\"pages\":\"");
        URL_SAFE_NO_PAD.encode_string(&self.pages, &mut out);
        out.push_str("\"}");
        out
    }

    /// The same as bytes, for Envoy's BytesValue: the pages follow raw.
    pub fn seal_raw(&self, signers: &impl AsRef<[SigningKey]>, nonce: u64) -> Vec<u8> {
        let mut out = self
            .head(signers.as_ref(), nonce, self.pages.len())
            .into_bytes();
        out.extend_from_slice(b"}\n");
        out.extend_from_slice(&self.pages);
        out
    }

    fn head(&self, signers: &[SigningKey], nonce: u64, more: usize) -> String {
        let encoded = self.manifest.len().div_ceil(3) * 4;
        let tag = |k: &SigningKey| URL_SAFE_NO_PAD.encode(k.tag(&self.manifest));
        let tags: Vec<String> = signers.iter().map(tag).collect();
        let kids: Vec<&str> = signers.iter().map(SigningKey::kid).collect();
        let mut out = String::with_capacity(encoded + more + 256 + 80 * signers.len());
        out.push_str("{\"format\":1,\"hmac\":\"");
        out.push_str(&tags.join(","));
        out.push_str("\",\"kid\":\"");
        out.push_str(&kids.join(","));
        out.push_str("\",\"manifest\":\"");
        URL_SAFE_NO_PAD.encode_string(&self.manifest, &mut out);
        out.push_str("\",\"nonce\":");
        out.push_str(&nonce.to_string());
        out
    }
}

/// Whether a key is still worth telling its holder about.
fn is_kept(row: &Row, issued_at: u64) -> bool {
    if row.revoked {
        return row.expires.is_none_or(|e| e > issued_at);
    }
    let end = match (row.expires, row.overlap_end) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    end.is_none_or(|e| e.saturating_add(EXPIRED_KEPT) > issued_at)
}

struct Tables<'a> {
    environments: BTreeMap<&'a str, u8>,
    plans: BTreeMap<&'a str, u16>,
    policy: &'a Policy,
}

impl Tables<'_> {
    fn profile(&self, row: &Row) -> Result<Vec<u8>, BuildError> {
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

        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(&u16::to_le_bytes(flags));
        let environment = self.environments.get(row.environment.as_str());
        out.push(environment.copied().unwrap_or(u8::MAX));
        varint(&mut out, u64::from(row.client_number));
        section(&mut out, row.client.as_bytes());
        let scopes: BTreeSet<u16> = row
            .scopes
            .iter()
            .filter_map(|s| self.policy.scope_number(s))
            .collect();
        section(&mut out, &numbers(scopes.into_iter().map(u64::from)));
        for time in [row.not_before, row.overlap_end].into_iter().flatten() {
            section(&mut out, &numbers([time]));
        }
        if row.lineage != row.id {
            section(&mut out, &numbers([row.lineage.as_u64()]));
        }
        if let Some(plan) = &row.plan {
            let number = self
                .plans
                .get(plan.as_str())
                .ok_or_else(|| BuildError::UnknownPlan {
                    key: row.id,
                    plan: plan.clone(),
                })?;
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
        let mut origins = Vec::new();
        for origin in row.origins.iter().collect::<BTreeSet<_>>() {
            section(&mut origins, origin.as_bytes());
        }
        if !origins.is_empty() {
            section(&mut out, &origins);
        }
        Ok(out)
    }
}

fn ranges(networks: &[Network]) -> Vec<u8> {
    let mut out = Vec::new();
    for network in networks.iter().collect::<BTreeSet<_>>() {
        match network.address {
            IpAddr::V4(a) => {
                out.push(network.prefix_len.min(32));
                out.extend_from_slice(&a.octets());
            }
            IpAddr::V6(a) => {
                out.push(64 + network.prefix_len.min(128));
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
