//! Envoys that sign their reports with a secret of their own, so that nobody else can report in
//! their name.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use keystile_core::keyset::{NodeKey, SigningKeys};
use keystile_core::report::message;
use serde_json::json;
use zeroize::Zeroizing;

use keystile_model::error::{Act, Code, Result, defect, refuse};
use keystile_model::when;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{EnrolledNode, Store, Tx};

const SECRET: usize = 32;
/// Bytes of a node id.
const NAME: usize = 256;

/// The nodes whose messages are accepted, and their secrets.
#[derive(Clone, Default)]
pub struct Nodes {
    /// By node id; a revoked node has no key.
    keys: HashMap<String, Option<NodeKey>>,
    /// Messages signed with the shared secret are not accepted.
    enrolled_only: bool,
}

impl Nodes {
    /// Reads them, and whether others may report.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(tx: &Tx<'_>, only: &EnrolledOnly) -> Result<Self> {
        let enrolled_only = only.holds(tx)?;
        let all = tx.enrolled_nodes()?.into_iter();
        let keys = all.map(|n| {
            let key = n.secret.and_then(|s| NodeKey::new(&n.node, s).ok());
            (n.node, key)
        });
        Ok(Self {
            keys: keys.collect(),
            enrolled_only,
        })
    }

    /// Nodes that were revoked and not enrolled again.
    pub fn revoked(&self) -> BTreeSet<String> {
        let revoked = self.keys.iter().filter(|(_, key)| key.is_none());
        revoked.map(|(node, _)| node.clone()).collect()
    }

    /// Whether it has, or had, a secret of its own.
    pub fn is_known(&self, node: &str) -> bool {
        self.keys.contains_key(node)
    }

    /// Whether it is enrolled, and not revoked.
    pub fn is_enrolled(&self, node: &str) -> bool {
        matches!(self.keys.get(node), Some(Some(_)))
    }

    /// The keys to verify a message with: the secret of the node that it names, if it is signed
    /// with one, or the shared ones.
    pub fn keys(&self, kid: &str, body: &[u8], shared: &SigningKeys) -> SigningKeys {
        if kid != NodeKey::KID {
            return shared.clone();
        }
        let node = message::node_of(body).unwrap_or_default();
        let key = self.keys.get(&node).and_then(Option::as_ref);
        SigningKeys::new(key.map(NodeKey::signing_key).into_iter().collect())
    }

    /// Whether a verified message counts for a node: with the shared secret, any Envoy could have
    /// signed it.
    ///
    /// # Errors
    /// If it does not, why.
    pub fn admit(&self, kid: &str, node: &str) -> Result<()> {
        if kid == NodeKey::KID {
            return Ok(());
        }
        let (fact, next) = match self.keys.get(node) {
            Some(Some(_)) => (
                "its node is enrolled, but it is not signed with that node's secret",
                keystile_model::next![
                    "give the Envoy the KEYSTILE_NODE_KEY that ",
                    Act::NodeEnroll,
                    " gave"
                ],
            ),
            Some(None) => (
                "its node was revoked",
                keystile_model::next![
                    "if that was a mistake, enroll it again with ",
                    Act::NodeEnroll
                ],
            ),
            None if self.enrolled_only => (
                "its node is not enrolled",
                keystile_model::next!["enroll it with ", Act::NodeEnroll],
            ),
            None => return Ok(()),
        };
        Err(refuse(Code::NodeUntrusted, fact, next))
    }
}

/// Whether reports of Envoys that are not enrolled are refused: because the server was started so,
/// or because the policy asks for it.
#[derive(Default)]
pub struct EnrolledOnly {
    always: bool,
    /// What the policy says, and its revision: a policy is large, and read for each change of the
    /// store otherwise.
    policy: Mutex<Option<(u64, bool)>>,
}

impl EnrolledOnly {
    /// Whatever the policy says, if `always`.
    pub fn new(always: bool) -> Self {
        Self {
            always,
            policy: Mutex::default(),
        }
    }

    fn holds(&self, tx: &Tx<'_>) -> Result<bool> {
        if self.always {
            return Ok(true);
        }
        let revision = tx.policy()?.revision;
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, says)) = *policy
            && known == revision
        {
            return Ok(says);
        }
        let says = crate::policy(tx)?.policy.require_enrolment;
        *policy = Some((revision, says));
        Ok(says)
    }
}

/// Gives a node a secret of its own, which replaces any earlier one.
///
/// # Errors
/// The caller is not an owner; `node` is not a node id.
pub fn enroll(store: &mut Store, world: &World, node: &str) -> Result<NodeKey> {
    world.caller.owner("enroll Envoys")?;
    let is_name = (1..=NAME).contains(&node.len())
        && !node.chars().any(|c| c.is_control() || c.is_whitespace());
    if !is_name {
        return Err(refuse(
            Code::InvalidName,
            "`node` is not a node id",
            format_args!("write Envoy's `node.id`: 1 to {NAME} bytes without spaces"),
        )
        .about("node"));
    }
    words::check("node", node, NAME)?;
    let mut secret = Zeroizing::new(vec![0; SECRET]);
    (world.entropy)(secret.as_mut_slice())?;
    let key = NodeKey::new(node, secret.clone())
        .map_err(|e| defect(format_args!("the new secret {e}")))?;
    store.write(world, |tx| {
        let before = tx.enrolled_node(node)?.map(|n| shown(&n));
        let enrolled = EnrolledNode {
            node: node.to_owned(),
            secret: Some(secret),
            enrolled: world.now.seconds(),
            revoked: None,
        };
        tx.keep_enrolled_node(&enrolled)?;
        let after = shown(&enrolled);
        tx.audit(world, "node.enroll", node, before.as_ref(), Some(&after))
    })?;
    Ok(key)
}

/// Revokes a node's secret: from then on no report in its name counts.
///
/// # Errors
/// The caller is not an owner; the node was never enrolled.
pub fn revoke(store: &mut Store, world: &World, node: &str) -> Result<()> {
    world.caller.owner("revoke the secrets of Envoys")?;
    store.write(world, |tx| {
        let Some(found) = tx.enrolled_node(node)? else {
            return Err(refuse(
                Code::NodeNotFound,
                format_args!("node `{node}` is not enrolled"),
                keystile_model::next!["see ", Act::NodeList],
            )
            .about("node"));
        };
        if found.revoked.is_some() {
            return Ok(());
        }
        let before = shown(&found);
        let revoked = EnrolledNode {
            secret: None,
            revoked: Some(world.now.seconds()),
            ..found
        };
        tx.keep_enrolled_node(&revoked)?;
        let after = shown(&revoked);
        tx.audit(world, "node.revoke", node, Some(&before), Some(&after))
    })
}

/// Those that were enrolled, by node id, after this one, until `each` has enough.
///
/// # Errors
/// The caller is bound to a client.
pub fn each(
    store: &mut Store,
    world: &World,
    after: &str,
    each: impl FnMut(EnrolledNode) -> bool,
) -> Result<()> {
    world.caller.unbound("read the fleet")?;
    store.read(|tx| tx.enrolled_nodes_after(after, each))
}

/// Without the secret.
fn shown(node: &EnrolledNode) -> serde_json::Value {
    json!({
        "enrolled": when::rfc3339(node.enrolled),
        "revoked": node.revoked.map(when::rfc3339),
    })
}
