//! The last versions that were published, for people who ask what changed and when. In memory only:
//! earlier changes are in the audit log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use keystile_core::key::KeyId;
use keystile_core::keyset;
use serde_json::Value;

use super::artefact::SignableArtefact;
use super::published::Published;
use keystile_model::error::{Act, Code, Error, Result, defect, refuse};
use keystile_registry::inspect::{self, Difference, Opened};

/// How many versions are kept. An overlay has at most some 60 KiB, usually a few hundred bytes.
const VERSIONS: usize = 200;
/// How many bases are kept: the one in force and the one before, for the difference. Each takes
/// some 60 bytes per key.
const BASES: usize = 2;

/// A version that Envoys were sent.
#[derive(Clone)]
pub struct SentVersion {
    pub(super) published: Arc<Published>,
    /// When the store last changed, in seconds.
    pub issued_at: u64,
    /// Number of the audit log's last record then.
    pub audit_seq: u64,
    /// The same for the previous version; `None` for the first after a start.
    pub since: Option<u64>,
}

impl SentVersion {
    /// Its number.
    pub fn version(&self) -> u64 {
        self.published.version()
    }

    /// That of its base.
    pub fn base(&self) -> u64 {
        self.published.base.version()
    }

    /// Keys in its base, and keys that changed since that was made.
    pub fn keys(&self) -> (usize, usize) {
        let of = |artefact: &SignableArtefact| artefact.built().keys;
        (of(&self.published.base), of(&self.published.overlay))
    }

    /// Opens it. Takes some milliseconds for 100,000 keys, so do not call this on a serving thread.
    ///
    /// # Errors
    /// If it cannot be read back, which is a mistake in keystilectl.
    pub fn open(&self) -> Result<VersionContent> {
        let broken = |e: keystile_core::keyset::KeysetRefusal| {
            defect(format_args!(
                "version {} cannot be read back ({e})",
                self.version()
            ))
        };
        let (base, overlay) = (&self.published.base, &self.published.overlay);
        let sealed = |a: &SignableArtefact| a.built().seal_raw(a.signers(), 0);
        let opened = inspect::open(&sealed(base), base.signers()).map_err(broken)?;
        let bytes = sealed(overlay);
        let loaded = keyset::Artefact::load(&mut &bytes[..], overlay.signers(), |_| {});
        match loaded.map_err(broken)? {
            keyset::Artefact::Overlay(overlay) => Ok(VersionContent {
                base: opened,
                overlay,
            }),
            keyset::Artefact::Keyset(_) => {
                Err(broken(keystile_core::keyset::KeysetRefusal::Overlay))
            }
        }
    }
}

/// What is in a version.
pub struct VersionContent {
    /// Its base.
    pub base: Opened,
    overlay: Arc<keyset::Overlay>,
}

impl VersionContent {
    /// Keys that changed since the base was made, in their present state.
    pub fn changed(&self) -> BTreeMap<KeyId, Value> {
        let entries = self.overlay.entries();
        // Numbers in them are positions in the base's tables.
        let json = |(_, e): (_, keyset::Entry<'_>)| (e.id, self.base.entry_json(&e));
        entries.map(json).collect()
    }

    /// Every key that `wanted` selects, in its present state.
    fn keys(&self, wanted: impl Fn(KeyId) -> bool) -> BTreeMap<KeyId, Value> {
        let entries = self.base.entries().filter(|(_, e)| wanted(e.id));
        let mut all: BTreeMap<_, _> = entries
            .map(|(_, e)| (e.id, self.base.entry_json(&e)))
            .collect();
        all.extend(self.changed().into_iter().filter(|(id, _)| wanted(*id)));
        all
    }

    /// The difference between this and `after`.
    pub fn difference(&self, after: &Self) -> Difference {
        let policies = (&self.base.manifest.policy, &after.base.manifest.policy);
        if self.overlay.base != after.overlay.base {
            let all = |content: &Self| content.keys(|_| true);
            return Difference::between_entries(all(self), all(after), policies);
        }
        let (old, new) = (self.changed(), after.changed());
        let wanted = |id| old.contains_key(&id) || new.contains_key(&id);
        Difference::between_entries(self.keys(wanted), after.keys(wanted), policies)
    }
}

/// The last versions.
#[derive(Default)]
pub struct VersionHistory(Mutex<VecDeque<SentVersion>>);

impl VersionHistory {
    /// Adds what was just published.
    pub(super) fn add(&self, published: Arc<Published>, issued_at: u64, audit_seq: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The same changes over another base are not a different version for anybody.
        if all
            .back()
            .is_some_and(|v| v.version() == published.version())
        {
            all.pop_back();
        }
        let since = all.back().map(|v| v.audit_seq);
        all.push_back(SentVersion {
            published,
            issued_at,
            audit_seq,
            since,
        });
        let bases = |all: &VecDeque<SentVersion>| {
            let mut bases: Vec<u64> = all.iter().map(SentVersion::base).collect();
            bases.dedup();
            bases.len()
        };
        while all.len() > VERSIONS || bases(&all) > BASES {
            all.pop_front();
        }
    }

    /// All of them, newest first.
    pub fn all(&self) -> Vec<SentVersion> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().cloned().collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// If it never existed, or is too old.
    pub fn get(&self, version: u64) -> Result<SentVersion> {
        let found = self.all().into_iter().find(|v| v.version() == version);
        found.ok_or_else(|| unknown(version))
    }
}

fn unknown(version: u64) -> Error {
    refuse(
        Code::VersionNotFound,
        format_args!("this server does not remember version {version}"),
        keystile_model::next![
            "see ",
            Act::KeysetVersions,
            "; earlier changes are in the audit log"
        ],
    )
    .about("version")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::artefact::{ResourceKind as Part, ResourceTemplate};
    use keystile_core::keyset::{ArtefactKind as Sort, Built, SigningKeys};

    fn published(base: u64, version: u64) -> Arc<Published> {
        let signers = SigningKeys::parse(&format!("test:{}", "A".repeat(43))).unwrap();
        let artefact = |part, kind, version| {
            let built = Built {
                kind,
                manifest: Vec::new(),
                pages: Vec::new(),
                keys: 0,
                version,
            };
            let template = ResourceTemplate {
                wasm: "keystile.wasm".into(),
                overlay: "keystile".to_owned(),
                base: "keystile-base".to_owned(),
            };
            Arc::new(SignableArtefact::new(
                part,
                built,
                signers.clone(),
                template,
                1,
            ))
        };
        Arc::new(Published {
            base: artefact(Part::Base, Sort::Keyset, base),
            overlay: artefact(Part::Overlay, Sort::Overlay, version),
        })
    }

    fn versions(history: &VersionHistory) -> Vec<u64> {
        history.all().iter().map(SentVersion::version).collect()
    }

    #[test]
    fn memory_is_bounded_by_versions_and_by_bases() {
        let history = VersionHistory::default();
        for version in 1..=VERSIONS as u64 + 5 {
            history.add(published(1, version), 0, version);
        }
        assert_eq!(versions(&history).len(), VERSIONS);
        assert_eq!(versions(&history).last(), Some(&6));
        assert!(history.get(5).is_err());
        for base in [300, 400] {
            history.add(published(base, base), 0, base);
            history.add(published(base, base + 1), 0, base + 1);
        }
        assert_eq!(versions(&history), [401, 400, 301, 300]);
    }

    #[test]
    fn changes_that_moved_to_another_base_are_one_version() {
        let history = VersionHistory::default();
        history.add(published(1, 1), 0, 10);
        history.add(published(1, 7), 0, 17);
        history.add(published(7, 7), 0, 17);
        assert_eq!(versions(&history), [7, 1]);
        let newest = history.get(7).ok().unwrap();
        assert_eq!((newest.base(), newest.since), (7, Some(10)));
    }
}
