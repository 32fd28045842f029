//! Rows in, signed artefact out. Deterministic: the same content gives the same bytes.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::entry::{RECORD, Record, flag};
use super::network::Network;
use super::{Kind, Manifest, PAGE, SigningKey, StoreId};
use crate::key::{Digest, KeyId, Name, Prefix};
use crate::limit::quota::{Quota, Zones};
use crate::policy::{By, Limit, Policy, PolicyError, RawPolicy};

/// Expired keys are kept this long, in seconds, so that their holders are told `expired_api_key`
/// and not `unknown_api_key`.
pub const EXPIRED_KEPT: u64 = 30 * 86_400;

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
    /// Number of the client: stable, never reused.
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
    /// Disabled.
    pub disabled: bool,
    /// Revoked.
    pub revoked: bool,
    /// First key in its chain of rotations.
    pub lineage: KeyId,
    /// Address ranges from which it may be used.
    pub allow: Vec<Network>,
    /// Address ranges from which it may not be used.
    pub deny: Vec<Network>,
    /// Web origins from which it may be used.
    pub origins: Vec<String>,
    /// Identities of client certificates that it is bound to, as
    /// [`crate::request::certificate::identity`] reads them.
    pub certificates: Vec<String>,
}

impl Row {
    pub(super) fn is_bound_to_addresses(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    pub(super) fn is_bound_to_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }
}

/// The whole content of a keyset.
#[derive(Clone, Debug)]
pub struct Content {
    /// Which store it comes from.
    pub store: StoreId,
    /// Increases with every change.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// The policy as written.
    pub policy: RawPolicy,
    /// The clocks of the time zones that its quotas name; others may be among them.
    pub zones: Zones,
    /// The keys.
    pub rows: Vec<Row>,
}

/// Why a keyset cannot be built from the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The policy has mistakes.
    Policy(Vec<PolicyError>),
    /// A key's plan is not in the policy.
    UnknownPlan {
        /// The key.
        key: KeyId,
        /// The plan that it asks for.
        plan: String,
    },
    /// The clocks of a plan's time zone are not known.
    UnknownZone {
        /// The plan.
        plan: String,
        /// The time zone of its quota.
        zone: String,
    },
    /// Two keys have the same digest.
    SameDigest(KeyId, KeyId),
    /// A key's rules take more than 65,535 bytes.
    TooManyRules(KeyId),
    /// More than four gigabytes, or more environments than one byte counts.
    TooLarge,
    /// A changed key refers to something that the base's tables lack, so a new base is needed.
    NeedsBase {
        /// The key.
        key: KeyId,
        /// What is missing: scope, environment or plan, and its name.
        lacks: String,
    },
    /// The base is of another store, has another policy or a later version.
    OtherBase(&'static str),
    /// Not a base: an overlay, or something else.
    NotABase,
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
            Self::UnknownZone { plan, zone } => write!(
                f,
                "the quota of plan `{plan}` follows time zone `{zone}`, which is not known; write one such as `Europe/Berlin`"
            ),
            Self::SameDigest(a, b) => write!(f, "keys {a} and {b} have the same digest"),
            Self::TooManyRules(id) => write!(
                f,
                "key {id} has more address ranges, origins and certificates than fit; use wider ranges"
            ),
            Self::TooLarge => f.write_str("the keyset is larger than its format can say"),
            Self::NeedsBase { key, lacks } => write!(
                f,
                "key {key} needs {lacks}, which the base does not have; build a new base"
            ),
            Self::OtherBase(what) => {
                write!(
                    f,
                    "the base has another {what} than the changes; build a new base"
                )
            }
            Self::NotABase => f.write_str("an overlay needs a keyset as its base; build one"),
        }
    }
}

impl std::error::Error for BuildError {}

/// A keyset or an overlay that is not signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Built {
    /// Which of the two.
    pub kind: Kind,
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

    let kept = content
        .rows
        .iter()
        .filter(|r| is_kept(r, content.issued_at));
    let rows = sorted(kept)?;
    let environments: BTreeSet<&str> = rows
        .iter()
        .map(|(_, r)| r.environment.as_str())
        .chain(policy.environments.iter().map(Name::as_str))
        .collect();
    let environments: Vec<String> = environments.into_iter().map(str::to_owned).collect();
    let plans: Vec<String> = policy.plans.keys().cloned().collect();
    let tables = Tables::new(&environments, &policy.scopes, &plans)?;
    // Environments and scopes come from the rows; a plan has to be in the policy.
    let packed = Packed::new(&rows, &tables, |lack| BuildError::UnknownPlan {
        key: lack.key,
        plan: lack.name.to_owned(),
    })?;
    let manifest = Manifest {
        format: super::FORMAT,
        store: content.store.to_string(),
        version: content.version,
        issued_at: content.issued_at,
        not_after: policy
            .not_after
            .map(|s| content.issued_at.saturating_add(s)),
        keys: packed.keys,
        heap: packed.heap,
        directory: URL_SAFE_NO_PAD.encode(packed.directory),
        foreign: rows.iter().any(|(_, r)| r.foreign),
        addresses: rows.iter().any(|(_, r)| r.is_bound_to_addresses()),
        certificates: rows.iter().any(|(_, r)| r.is_bound_to_certificates()),
        environments,
        scopes: policy.scopes.clone(),
        policy: content.policy.clone(),
        zones: zones(content)?,
    };
    Ok(Built {
        kind: Kind::Keyset,
        manifest: serde_json::to_vec(&manifest).map_err(|_| BuildError::TooLarge)?,
        pages: packed.pages,
        keys: rows.len(),
        version: content.version,
    })
}

impl Built {
    /// Signs it and gives the plugin configuration, for Envoy's StringValue.
    ///
    /// Signed with every given key: while a signing key is being rotated, Envoys that know only the
    /// old key and Envoys that know only the new one both accept every push.
    ///
    /// `nonce` is not signed and has no meaning. It makes two pushes of the same keyset differ,
    /// because Envoy treats a configuration that it once rejected as accepted if it has not changed
    /// since.
    pub fn seal(&self, signers: &impl AsRef<[SigningKey]>, nonce: u64) -> String {
        let more = base64::encoded_len(self.pages.len(), false).unwrap_or_default();
        let mut out = self.head(signers.as_ref(), nonce, more);
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
        let encoded = base64::encoded_len(self.manifest.len(), false).unwrap_or_default();
        let tag = |k: &SigningKey| URL_SAFE_NO_PAD.encode(k.tag(self.kind.into(), &self.manifest));
        let tags: Vec<String> = signers.iter().map(tag).collect();
        let kids: Vec<&str> = signers.iter().map(SigningKey::kid).collect();
        let mut out = String::with_capacity(encoded + more + 256 + 80 * signers.len());
        out.push_str("{\"format\":1,\"hmac\":\"");
        out.push_str(&tags.join(","));
        out.push_str("\",\"kid\":\"");
        out.push_str(&kids.join(","));
        if self.kind == Kind::Overlay {
            out.push_str("\",\"kind\":\"overlay");
        }
        out.push_str("\",\"manifest\":\"");
        URL_SAFE_NO_PAD.encode_string(&self.manifest, &mut out);
        out.push_str("\",\"nonce\":");
        out.push_str(&nonce.to_string());
        out
    }
}

/// The time zones that quotas name, and no other.
fn zones(content: &Content) -> Result<Zones, BuildError> {
    let mut out = Zones::new();
    for (plan, raw) in &content.policy.plans {
        let Some(raw) = &raw.quota else {
            continue;
        };
        if Quota::new(raw, &content.zones).is_none() {
            return Err(BuildError::UnknownZone {
                plan: plan.clone(),
                zone: raw.time_zone.clone(),
            });
        }
        if let Some(zone) = content.zones.get(&raw.time_zone) {
            out.insert(raw.time_zone.clone(), zone.clone());
        }
    }
    Ok(out)
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

/// Rows by rising digest.
pub(super) fn sorted<'r>(
    rows: impl IntoIterator<Item = &'r Row>,
) -> Result<Vec<(Prefix, &'r Row)>, BuildError> {
    let mut rows: Vec<(Prefix, &Row)> = rows.into_iter().map(|r| (r.digest.prefix(), r)).collect();
    rows.sort_unstable_by_key(|(prefix, _)| *prefix);
    match rows.array_windows().find(|[(a, _), (b, _)]| a == b) {
        Some([(_, a), (_, b)]) => Err(BuildError::SameDigest(a.id, b.id)),
        None => Ok(rows),
    }
}

/// Directory, index and heap.
pub(super) struct Packed {
    pub keys: u32,
    pub heap: u32,
    pub directory: [u8; 32],
    pub pages: Vec<u8>,
}

impl Packed {
    pub fn new<'r>(
        rows: &[(Prefix, &'r Row)],
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
pub(super) struct Lack<'r> {
    pub key: KeyId,
    pub table: &'static str,
    pub name: &'r str,
}

/// Names to numbers, which are positions in the tables of a keyset.
pub(super) struct Tables<'a> {
    environments: BTreeMap<&'a str, u8>,
    scopes: BTreeMap<&'a str, u16>,
    plans: BTreeMap<&'a str, u16>,
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

    fn profile<'r>(&self, row: &'r Row) -> Result<Vec<u8>, Lack<'r>> {
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
