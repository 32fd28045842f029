//! The store or server: signing keys, policy, enrolment, and the Envoys that a server knows.

use keystile_api::fleet::{self, FleetNode};
use keystile_api::signing_key::{self, SigningAlgorithm};
use keystile_api::{node, policy};
use keystile_core::policy::{Mode, RawPolicy};
use keystile_model::error::{Result, defect};
use keystile_model::wire::PAGE;

use keystile_system::file;

use super::super::{Context, likely};
use super::symptom::{Symptom, Symptoms};

/// What the control plane says of itself.
pub(super) struct Plane {
    /// The policy in force.
    pub policy: RawPolicy,
    /// The key that signs: its id, and how it does.
    pub signer: Option<(String, SigningAlgorithm)>,
    /// The keys that Envoys may still need beside it.
    accepted: Vec<String>,
    /// The version that Envoys should have; zero if there is none yet.
    pub version: u64,
    /// The Envoys that a server knows; none without a server.
    nodes: Option<Vec<FleetNode>>,
    /// Node ids that are enrolled.
    pub enrolled: Vec<String>,
    /// Bytes that are left where the store is; unknown through a server.
    room: Option<u64>,
}

/// Less than this is said: a back-up or a bulk issue may need it.
const LITTLE_ROOM: u64 = 256 << 20;

impl Plane {
    pub(super) fn read(cx: &Context) -> Result<Self> {
        let shown = cx.perform(policy::Show { revision: None })?;
        let policy = serde_json::from_value(shown.policy);
        let policy =
            policy.map_err(|e| defect(format_args!("the policy in force cannot be read ({e})")))?;
        let keys = cx.perform(signing_key::List {})?.signing_keys;
        let signer = keys.iter().find(|k| k.state == "active");
        let signer = signer.map(|k| (k.kid.clone(), k.algorithm));
        let accepted = keys.iter().filter(|k| k.state == "accepted");
        let accepted = accepted.map(|k| k.kid.clone()).collect();
        let (version, nodes) = match &cx.server {
            None => (cx.store_as_it_is()?.read(|tx| Ok(tx.meta().version))?, None),
            Some(_) => {
                let (version, nodes) = known(cx)?;
                (version, Some(nodes))
            }
        };
        Ok(Self {
            policy,
            signer,
            accepted,
            version,
            nodes,
            enrolled: enrolled(cx)?,
            room: match cx.server {
                None => file::room(cx.home.folder()),
                Some(_) => None,
            },
        })
    }

    #[cfg(test)]
    pub(super) fn for_tests(
        policy: RawPolicy,
        signer: (String, SigningAlgorithm),
        version: u64,
    ) -> Self {
        Self {
            policy,
            signer: Some(signer),
            accepted: Vec::new(),
            version,
            nodes: None,
            enrolled: Vec::new(),
            room: None,
        }
    }

    pub(super) fn look(&self) -> Vec<Symptom> {
        let mut store = Symptoms::about("store");
        self.keys(&mut store);
        self.rules(&mut store);
        if let Some(room) = self.room.filter(|r| *r < LITTLE_ROOM) {
            store.wrong(format!(
                "the disk of the store has {} MiB left, and changes fail without any: make room",
                room >> 20
            ));
        }
        let mut fleet = Symptoms::about("fleet");
        for node in self.nodes.iter().flatten() {
            self.node(node, &mut fleet);
        }
        [store.all, fleet.all].concat()
    }

    fn keys(&self, found: &mut Symptoms) {
        match &self.signer {
            None => found.wrong(
                "no signing key is active, so no keyset can be made: run `keystilectl signing-key rotate`",
            ),
            Some((kid, SigningAlgorithm::HmacSha256)) => found.note(format!(
                "keysets are signed with the secret `{kid}`, which every Envoy has and could sign with: see \"From HMAC to Ed25519\" in the guide"
            )),
            Some((_, SigningAlgorithm::Ed25519)) => {}
        }
        if !self.accepted.is_empty() {
            found.note(format!(
                "every push is also signed with the earlier {}: once no Envoy needs them, run `keystilectl signing-key retire ID` for each",
                self.accepted.join(", ")
            ));
        }
    }

    pub(super) fn rules(&self, found: &mut Symptoms) {
        let policy = &self.policy;
        if policy.mode == Mode::Shadow {
            found.note(
                "the policy has `mode: shadow`, so every request passes, with a key or without: write `mode: enforce` once the log shows no refusal that surprises you",
            );
        }
        match &policy.report {
            None => found.note(
                "the policy has no `report`, so nobody knows which Envoy has which keyset, and nothing is counted: add it",
            ),
            Some(report) if !report.usage => found.note(
                "the policy has `usage: false`, so neither requests nor exposed keys are reported: leave it out if that is not meant",
            ),
            Some(_) => {}
        }
        if policy.require_enrolment && self.enrolled.is_empty() {
            found.wrong(
                "the policy has `require_enrolment`, and no Envoy is enrolled, so every report is refused: run `keystilectl node enroll` for each",
            );
        }
    }

    fn node(&self, node: &FleetNode, found: &mut Symptoms) {
        let id = &node.id;
        if self.policy.require_enrolment && !node.enrolled {
            found.wrong(format!(
                "`{id}` is not enrolled, so its reports are refused: run `keystilectl node enroll {id}`"
            ));
        }
        if let (Some(at), []) = (&node.report_refused, &node.vms[..]) {
            let next = match node.enrolled {
                true => format!(
                    "set its KEYSTILE_NODE_KEY to what `keystilectl node enroll {id}` printed last, or enroll it again, and restart it"
                ),
                false => format!("set {}", self.variable()),
            };
            found.wrong(format!(
                "reports of `{id}` are refused, as at {at}, so nothing proves what it has in force: {next}"
            ));
        }
        let refused = node.resources.iter().find_map(|r| r.refused.as_ref());
        if let Some(refused) = refused {
            found.wrong(format!(
                "`{id}` refuses version {} ({}): {}",
                refused.version,
                refused.message,
                self.likely(),
            ));
        } else if node.state == "lagging" {
            found.wrong(format!(
                "`{id}` has not answered a push in time: look at its log and its load"
            ));
        } else if node.state == "disconnected" && !node.resources.is_empty() {
            found.wrong(format!(
                "`{id}` is not connected, so revocations do not reach it: start it, or run `keystilectl fleet forget {id}`"
            ));
        }
    }

    /// Why an Envoy refuses what is pushed, as far as can be said from here.
    pub(super) fn likely(&self) -> String {
        likely::cause(&self.variable())
    }

    /// What an Envoy needs in its environment to take what is signed now.
    pub(super) fn variable(&self) -> String {
        match &self.signer {
            Some((kid, algorithm)) => likely::variable(*algorithm, Some(kid)),
            None => "a signing key: run `keystilectl signing-key rotate` first".to_owned(),
        }
    }

    /// The name of that variable.
    pub(super) fn variable_name(&self) -> &'static str {
        match &self.signer {
            Some((_, SigningAlgorithm::Ed25519)) => keystile_render::ecds::VERIFY_KEYS,
            _ => keystile_render::ecds::SIGNING_KEYS,
        }
    }
}

fn known(cx: &Context) -> Result<(u64, Vec<FleetNode>)> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let limit = Some(PAGE);
        let found = cx.perform(fleet::List { limit, cursor })?;
        all.extend(found.nodes);
        cursor = found.next;
        if cursor.is_none() {
            return Ok((found.version, all));
        }
    }
}

fn enrolled(cx: &Context) -> Result<Vec<String>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let limit = Some(PAGE);
        let found = cx.perform(node::List { limit, cursor })?;
        let living = found.nodes.into_iter().filter(|n| n.revoked.is_none());
        all.extend(living.map(|n| n.node));
        cursor = found.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}
