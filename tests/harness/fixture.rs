//! Keysets as the companion makes them, from the same library, without its store.

use crate::proxy::{Envoy, Push, Setup, Upstream, eventually, shell};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::key::{self, Digest, KeyId};
use keystile_core::keyset::{
    Base, Built, Content, KeyRow, SigningKey, SigningKeys, StoreId, build, build_overlay,
};
use keystile_core::policy::RawPolicy;
use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clients, keys and a policy, and the signing key that Envoy is told.
pub struct Keys {
    pub content: Content,
    signing: SigningKey,
    nonce: u64,
    /// What overlays are built against, and the keys that changed since.
    base: Option<(Base, Built)>,
    changed: HashSet<KeyId>,
}

impl Keys {
    /// From the text of a `policy.yaml`, with no key yet.
    pub fn new(policy: &str) -> Self {
        let secret = random::<32>().to_vec();
        Self {
            content: Content {
                store: StoreId(random()),
                version: 1,
                issued_at: now(),
                policy: parsed(policy),
                zones: Default::default(),
                rows: Vec::new(),
            },
            signing: SigningKey::new("test", secret.into()).unwrap(),
            nonce: 0,
            base: None,
            changed: HashSet::new(),
        }
    }

    /// The same store, under another policy.
    pub fn set_policy(&mut self, policy: &str) {
        self.content.policy = parsed(policy);
        self.content.version += 1;
    }

    /// The same store once more, for a filter with another policy.
    pub fn with_policy(&self, policy: &str) -> Self {
        Self {
            content: Content {
                store: self.content.store,
                version: self.content.version,
                issued_at: self.content.issued_at,
                policy: parsed(policy),
                zones: Default::default(),
                rows: self.content.rows.clone(),
            },
            signing: self.signing.clone(),
            nonce: 0,
            base: None,
            changed: HashSet::new(),
        }
    }

    /// A key for production that may do nothing that asks for a scope.
    pub fn issue(&mut self, client: &str) -> String {
        self.issue_with(client, |_| {})
    }

    /// A key on this plan.
    pub fn issue_on(&mut self, client: &str, plan: &str) -> String {
        self.issue_with(client, |row| row.plan = Some(plan.to_owned()))
    }

    /// A key of which the test says what is special.
    pub fn issue_with(&mut self, client: &str, special: impl FnOnce(&mut KeyRow)) -> String {
        self.issue_in("live", client, special)
    }

    pub fn issue_in(
        &mut self,
        environment: &str,
        client: &str,
        special: impl FnOnce(&mut KeyRow),
    ) -> String {
        let environment = environment.parse().unwrap();
        let brand = self.content.policy.brand.parse().unwrap();
        let fresh = key::generate(&brand, &environment, getrandom::fill).unwrap();
        let mut row = row(fresh.id, fresh.digest, self.number_of(client), client);
        row.environment = environment;
        special(&mut row);
        self.changed.insert(row.id);
        self.content.rows.push(row);
        self.content.version += 1;
        fresh.text.expose_secret().to_owned()
    }

    /// Keys that nobody holds, for their weight.
    pub fn fill(&mut self, count: usize) {
        let number = self.number_of("filler");
        self.content.rows.extend((0..count).map(|_| {
            let id = KeyId::random(getrandom::fill).unwrap();
            row(id, Digest(random()), number, "filler")
        }));
        self.content.version += 1;
    }

    /// The row of this key, to be changed: the version rises.
    pub fn change(&mut self, key: &str) -> &mut KeyRow {
        self.content.version += 1;
        let id = id(key);
        self.changed.insert(id);
        let rows = self.content.rows.iter_mut();
        rows.into_iter().find(|row| row.id == id).unwrap()
    }

    pub fn revoke(&mut self, key: &str) {
        self.change(key).revoked = true;
    }

    pub fn built(&self) -> Built {
        build(&self.content).unwrap()
    }

    /// The plugin configuration, with a nonce that no push had before.
    pub fn sealed(&mut self) -> String {
        let built = self.built();
        self.seal(&built)
    }

    pub fn seal(&mut self, built: &Built) -> String {
        self.nonce += 1;
        built.seal(&self.signing, self.nonce)
    }

    /// Makes what is there the base of overlays from here on.
    pub fn compact(&mut self) {
        let built = self.built();
        self.base = Some((Base::from_built(&built).unwrap(), built));
        self.changed.clear();
    }

    /// The base as it was made, with a nonce that no push had before.
    pub fn sealed_base(&mut self) -> Vec<u8> {
        self.nonce += 1;
        let (_, built) = self.base.as_ref().unwrap();
        built.seal_raw(&self.signing, self.nonce)
    }

    /// What changed since.
    pub fn sealed_overlay(&mut self) -> Vec<u8> {
        self.nonce += 1;
        let (base, _) = self.base.as_ref().unwrap();
        let mut rows = self.content.rows.iter();
        let rows = rows.by_ref().filter(|row| self.changed.contains(&row.id));
        let content = Content {
            policy: self.content.policy.clone(),
            zones: self.content.zones.clone(),
            rows: rows.cloned().collect(),
            ..self.content
        };
        let built = build_overlay(&content, base).unwrap();
        built.seal_raw(&self.signing, self.nonce)
    }

    /// What reports and usage are verified with, and receipts signed.
    pub fn accepted(&self) -> SigningKeys {
        SigningKeys::new(vec![self.signing.clone()])
    }

    /// The same secret under another id.
    pub fn rename_signing_key(&mut self, kid: &str) {
        let secret = self.signing_keys();
        let secret = URL_SAFE_NO_PAD.decode(secret.split_once(':').unwrap().1);
        self.signing = SigningKey::new(kid, secret.unwrap().into()).unwrap();
    }

    /// From now on signed with another store's secret, under this id.
    pub fn sign_as(&mut self, other: &Self, kid: &str) {
        self.signing = other.signing.clone();
        self.rename_signing_key(kid);
    }

    /// What Envoy's environment has to hold.
    pub fn signing_keys(&self) -> String {
        self.signing.expose_secret().to_string()
    }

    /// An Envoy on `ecds-file.yaml` that has this keyset from its start on.
    pub fn start(&mut self, upstream: &Upstream) -> Envoy {
        self.start_on(Setup::ecds(upstream))
    }

    pub fn start_on(&mut self, setup: Setup) -> Envoy {
        setup.ecds_file().configure(&self.sealed());
        Envoy::start(setup.signing_keys(&self.signing_keys()))
    }

    /// Pushes and waits until every VM shows this version.
    pub fn push(&mut self, envoy: &Envoy) {
        let sealed = self.sealed();
        assert_eq!(envoy.push(|file| file.configure(&sealed)), Push::Applied);
        in_force(envoy, self.content.version);
    }

    fn number_of(&self, client: &str) -> u32 {
        let mut rows = self.content.rows.iter();
        match rows.find(|row| row.client == client) {
            Some(row) => row.client_number,
            None => self.content.rows.len() as u32 + 1,
        }
    }
}

/// Waits until the VMs of both workers and of the main thread show this version.
pub fn in_force(envoy: &Envoy, version: u64) {
    eventually("every VM to have the keyset in force", || {
        let shown = envoy.versions();
        (shown.len() == shell::gauges() && shown.iter().all(|shown| *shown == version))
            .then_some(())
    });
}

/// The public id in a key's text.
pub fn id(key: &str) -> KeyId {
    key::Parsed::parse(key.as_bytes()).ok().unwrap().id()
}

/// The same key with its last character changed: a typing error.
pub fn mistyped(key: &str) -> String {
    let (start, last) = key.split_at(key.len() - 1);
    format!("{start}{}", if last == "0" { "1" } else { "0" })
}

/// The part of a key's text that only its holder knows, checksum included.
pub fn secret_of(key: &str) -> &str {
    let body = key.rsplit('_').next().unwrap();
    &body[10..]
}

/// Wall-clock seconds.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The one number that a signing key's entry hides, as it would be leaked.
pub fn signing_secrets(signing_keys: &str) -> [String; 3] {
    let (_, encoded) = signing_keys.split_once(':').unwrap();
    let secret = URL_SAFE_NO_PAD.decode(encoded).unwrap();
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    [encoded.to_owned(), hex, standard]
}

fn row(id: KeyId, digest: Digest, client_number: u32, client: &str) -> KeyRow {
    KeyRow {
        id,
        digest,
        foreign: false,
        client: client.to_owned(),
        client_number,
        environment: "live".parse().unwrap(),
        publishable: false,
        scopes: Vec::new(),
        plan: None,
        limits: Vec::new(),
        expires: None,
        not_before: None,
        overlap_end: None,
        disabled: false,
        revoked: false,
        lineage: id,
        allow: Vec::new(),
        deny: Vec::new(),
        origins: Vec::new(),
        certificates: Vec::new(),
    }
}

fn parsed(policy: &str) -> RawPolicy {
    serde_saphyr::from_str(policy).unwrap_or_else(|error| panic!("{error} in\n{policy}"))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
