//! Rows in, signed artefact out. Deterministic: the same content gives the same bytes.

mod error;
mod row;
mod tables;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Algorithm, ArtefactKind, Manifest, SigningKey, StoreId};
use crate::key::{Name, Prefix};
use crate::limit::quota::{Quota, Zones};
use crate::policy::{Policy, RawPolicy};
pub use error::BuildError;
pub use row::KeyRow;
pub(super) use tables::{Lack, Packed, Tables};

/// Expired keys are kept this long, in seconds, so that their holders are told `expired_api_key`
/// and not `unknown_api_key`.
pub const EXPIRED_KEPT: u64 = 30 * 86_400;

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
    pub rows: Vec<KeyRow>,
}

/// A keyset or an overlay that is not signed yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Built {
    /// Which of the two.
    pub kind: ArtefactKind,
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
        policy: content.policy.for_filters(),
        zones: zones(content)?,
    };
    Ok(Built {
        kind: ArtefactKind::Keyset,
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
        let tag = |k: &&SigningKey| URL_SAFE_NO_PAD.encode(k.tag(self.kind.into(), &self.manifest));
        let signers: Vec<&SigningKey> = signers.iter().filter(|k| k.signs()).collect();
        let tags: Vec<String> = signers.iter().map(tag).collect();
        let kids: Vec<&str> = signers.iter().map(|k| k.kid()).collect();
        let algorithms: Vec<Algorithm> = signers.iter().map(|k| k.algorithm()).collect();
        let mut out = String::with_capacity(encoded + more + 256 + 140 * signers.len());
        out.push('{');
        // Left out where it says nothing, because older filters do not know it.
        if algorithms.contains(&Algorithm::Ed25519) {
            let names: Vec<&str> = algorithms.iter().map(|a| a.as_str()).collect();
            out.push_str("\"alg\":\"");
            out.push_str(&names.join(","));
            out.push_str("\",");
        }
        out.push_str("\"format\":1,\"hmac\":\"");
        out.push_str(&tags.join(","));
        out.push_str("\",\"kid\":\"");
        out.push_str(&kids.join(","));
        if self.kind == ArtefactKind::Overlay {
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
fn is_kept(row: &KeyRow, issued_at: u64) -> bool {
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
    rows: impl IntoIterator<Item = &'r KeyRow>,
) -> Result<Vec<(Prefix, &'r KeyRow)>, BuildError> {
    let mut rows: Vec<(Prefix, &KeyRow)> =
        rows.into_iter().map(|r| (r.digest.prefix(), r)).collect();
    rows.sort_unstable_by_key(|(prefix, _)| *prefix);
    match rows.array_windows().find(|[(a, _), (b, _)]| a == b) {
        Some([(_, a), (_, b)]) => Err(BuildError::SameDigest(a.id, b.id)),
        None => Ok(rows),
    }
}
