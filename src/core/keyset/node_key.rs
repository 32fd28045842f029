//! The secret of one Envoy.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::refusal::SigningKeyError;
use super::signing::SigningKey;

/// A secret that only one Envoy has, for its reports. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct NodeKey {
    node: String,
    key: SigningKey,
}

impl NodeKey {
    /// The key id of messages signed with a node secret; the message itself names the node. No
    /// signing key of a store has this id.
    pub const KID: &str = "node";

    /// A node's secret.
    ///
    /// # Errors
    /// [`SigningKeyError`] if there is no node, or the secret is short.
    #[inline(never)]
    pub fn new(node: &str, secret: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        if node.is_empty() {
            return Err(SigningKeyError::Shape);
        }
        Ok(Self {
            node: node.to_owned(),
            key: SigningKey::new(Self::KID, secret)?,
        })
    }

    /// Reads `<node>:<base64url>`, as `KEYSTILE_NODE_KEY` holds it; the name of the variable
    /// may stand before it.
    ///
    /// # Errors
    /// [`SigningKeyError`].
    #[inline(never)]
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        let text = text.trim();
        let text = text.strip_prefix("KEYSTILE_NODE_KEY=").unwrap_or(text);
        let (node, secret) = text.rsplit_once(':').ok_or(SigningKeyError::Shape)?;
        let secret = URL_SAFE_NO_PAD
            .decode(secret.trim_end_matches('='))
            .map_err(|_| SigningKeyError::Shape)?;
        Self::new(node, Zeroizing::new(secret))
    }

    /// The value of `KEYSTILE_NODE_KEY`. A secret.
    pub fn expose_secret(&self) -> Zeroizing<String> {
        let entry = self.key.expose_secret();
        let secret = entry.split_once(':').map_or("", |(_, secret)| secret);
        Zeroizing::new(format!("{}:{secret}", self.node))
    }

    /// Whose it is.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What messages are signed with.
    pub fn signing_key(&self) -> SigningKey {
        self.key.clone()
    }
}
