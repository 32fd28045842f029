//! What Envoys are sent: a signed keyset, as the bytes of a discovery resource.
//!
//! The bytes are made once and shared by all streams, so that a base of megabytes goes
//! to a thousand Envoys without a thousand copies of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use keystile_core::hex;
use keystile_core::keyset::{Built, SigningKey, SigningKeys};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use keystile_render::ecds;
use keystile_render::proto::google::Any;

/// The two resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// The full keyset, which is sent rarely.
    Base,
    /// What changed since, which is sent at once.
    Overlay,
}

impl ResourceKind {
    /// Both, in the order in which an Envoy that starts needs them.
    pub const ALL: [Self; 2] = [Self::Base, Self::Overlay];
}

/// How resources are written for Envoy.
#[derive(Clone, Debug)]
pub struct ResourceTemplate {
    /// Where Envoy finds the filter's code, on its own machine.
    pub wasm: PathBuf,
    /// Name of the resource with the overlay: of the filter in Envoy's configuration.
    pub overlay: String,
    /// Name of the resource with the base: of the disabled filter beside it.
    pub base: String,
}

impl ResourceTemplate {
    /// The name of a resource.
    pub fn name(&self, kind: ResourceKind) -> &str {
        match kind {
            ResourceKind::Base => &self.base,
            ResourceKind::Overlay => &self.overlay,
        }
    }
}

/// A base or an overlay, with the keys to sign it.
pub struct SignableArtefact {
    kind: ResourceKind,
    content: String,
    /// The content id of the base that an overlay belongs to.
    over: Option<String>,
    built: Built,
    signers: SigningKeys,
    template: ResourceTemplate,
    first: Arc<SealedArtefact>,
    /// Seals that were made because an Envoy rejected earlier ones, while a stream holds them.
    again: Mutex<BTreeMap<u32, Weak<SealedArtefact>>>,
}

/// An artefact under one nonce.
pub struct SealedArtefact {
    /// `<version>-<content>-<nonce>`: Envoy shows it, and sends it when it reconnects.
    pub version_info: String,
    /// The `Any` with the TypedExtensionConfig, encoded.
    pub any: Bytes,
}

impl SignableArtefact {
    /// Seals what was built. `nonce` is a fresh one, or that of a seal read from disk.
    pub fn new(
        kind: ResourceKind,
        built: Built,
        signers: SigningKeys,
        template: ResourceTemplate,
        nonce: u64,
    ) -> Self {
        let content = content(&built, &signers, &template);
        let first = Arc::new(seal(kind, &built, &content, &signers, &template, nonce));
        Self {
            kind,
            content,
            over: None,
            built,
            signers,
            template,
            first,
            again: Mutex::default(),
        }
    }

    /// The same as the overlay of a base.
    #[must_use]
    pub fn over(mut self, base: &Self) -> Self {
        self.over = Some(base.content.clone());
        self
    }

    /// The same under other signing keys.
    pub fn resigned(&self, signers: SigningKeys, nonce: u64) -> Self {
        Self::new(
            self.kind,
            self.built.clone(),
            signers,
            self.template.clone(),
            nonce,
        )
    }

    /// Base or overlay.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// The keyset's version.
    pub fn version(&self) -> u64 {
        self.built.version
    }

    /// Identifies what is signed and by which keys, whatever the nonce.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The content id of the base that an overlay belongs to.
    pub fn base(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// What was built.
    pub fn built(&self) -> &Built {
        &self.built
    }

    /// What it is signed with.
    pub fn signers(&self) -> &SigningKeys {
        &self.signers
    }

    /// Whether it is signed with just these keys.
    pub fn is_signed_with(&self, signers: &SigningKeys) -> bool {
        kids(&self.signers).eq(kids(signers))
    }

    /// The seal for the n-th attempt: an Envoy that gets rejected bytes again unchanged treats them
    /// as accepted, so each attempt has a nonce of its own. Envoys at the same attempt share one.
    ///
    /// # Errors
    /// Those of `nonce`.
    pub fn sealed<E>(
        &self,
        attempt: u32,
        nonce: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Arc<SealedArtefact>, E> {
        if attempt == 0 {
            return Ok(Arc::clone(&self.first));
        }
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = again.get(&attempt).and_then(Weak::upgrade) {
            return Ok(sealed);
        }
        again.retain(|_, sealed| sealed.strong_count() > 0);
        let sealed = Arc::new(seal(
            self.kind,
            &self.built,
            &self.content,
            &self.signers,
            &self.template,
            nonce()?,
        ));
        again.insert(attempt, Arc::downgrade(&sealed));
        Ok(sealed)
    }
}

fn kids(signers: &SigningKeys) -> impl Iterator<Item = &str> {
    let keys: &[SigningKey] = signers.as_ref();
    keys.iter().map(SigningKey::kid)
}

/// The signing keys are part of it: Envoys get the content again when they change, so that an Envoy
/// that knows none of the new ones is noticed while the old ones still count. So is everything
/// around a keyset: base and overlay share a VM only if it is the same.
fn content(built: &Built, signers: &SigningKeys, template: &ResourceTemplate) -> String {
    let mut hash = Sha256::new();
    hash.update(ecds::filter("", &template.wasm, Vec::new()).encode_to_vec());
    hash.update(&built.manifest);
    for kid in kids(signers) {
        hash.update(b"\n");
        hash.update(kid.as_bytes());
    }
    hex::start(hash.finalize(), 4)
}

fn seal(
    kind: ResourceKind,
    built: &Built,
    content: &str,
    signers: &SigningKeys,
    template: &ResourceTemplate,
    nonce: u64,
) -> SealedArtefact {
    let configuration = built.seal_raw(signers, nonce);
    let filter = ecds::filter(template.name(kind), &template.wasm, configuration);
    SealedArtefact {
        version_info: format!("{}-{content}-{nonce:x}", built.version),
        any: Any::pack(&filter).encode_to_vec().into(),
    }
}
