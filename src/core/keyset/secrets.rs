//! The secrets that reach an Envoy by its environment.

use super::{KeysetRefusal, NodeKey, SigningKeyError, SigningKeys};

/// What the two variables hold.
pub struct Secrets {
    /// `KEYSTILE_SIGNING_KEYS`: keysets are checked with these.
    pub keys: SigningKeys,
    /// `KEYSTILE_NODE_KEY`: what an enrolled node signs with.
    pub node_key: Option<NodeKey>,
}

impl Secrets {
    /// Reads both; the second may be empty.
    ///
    /// # Errors
    /// The variable that is missing or malformed.
    #[inline(never)]
    pub fn parse(keys: &str, node_key: &str) -> Result<Self, KeysetRefusal> {
        let keys = match keys.is_empty() {
            true => Err(SigningKeyError::Empty),
            false => SigningKeys::parse(keys),
        };
        let node_key = match node_key.is_empty() {
            true => None,
            false => Some(NodeKey::parse(node_key).map_err(KeysetRefusal::NodeKey)?),
        };
        Ok(Self {
            keys: keys.map_err(KeysetRefusal::SigningKeys)?,
            node_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_signing_keys_nothing_is_read_and_a_node_key_is_read_whole_or_not_at_all() {
        let keys = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(Secrets::parse(keys, "").unwrap().node_key.is_none());
        let node = "edge-7:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let both = Secrets::parse(keys, node).unwrap();
        assert_eq!(both.node_key.unwrap().node(), "edge-7");
        assert!(matches!(
            Secrets::parse("", node),
            Err(KeysetRefusal::SigningKeys(SigningKeyError::Empty))
        ));
        assert!(matches!(
            Secrets::parse(keys, "edge-7"),
            Err(KeysetRefusal::NodeKey(_))
        ));
    }
}
