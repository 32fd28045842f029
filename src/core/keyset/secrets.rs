//! The keys and secrets that reach an Envoy by its environment.

use super::{KeysetRefusal, NodeKey, SigningKeyError, SigningKeys};

/// What the three variables hold.
pub struct Secrets {
    /// `KEYSTILE_SIGNING_KEYS` and `KEYSTILE_VERIFY_KEYS`: keysets are checked with these.
    pub keys: SigningKeys,
    /// `KEYSTILE_NODE_KEY`: what an enrolled node signs with.
    pub node_key: Option<NodeKey>,
}

impl Secrets {
    /// The variables, in the order in which [`Secrets::parse`] takes them.
    pub const VARIABLES: [&str; 3] = [
        "KEYSTILE_SIGNING_KEYS",
        "KEYSTILE_VERIFY_KEYS",
        "KEYSTILE_NODE_KEY",
    ];

    /// Reads all three. One of the first two must be there; the third may be empty.
    ///
    /// # Errors
    /// The variable that is missing or malformed.
    #[inline(never)]
    pub fn parse(shared: &str, public: &str, node_key: &str) -> Result<Self, KeysetRefusal> {
        let shared = match (shared.is_empty(), public.is_empty()) {
            (true, true) => return Err(KeysetRefusal::SigningKeys(SigningKeyError::Empty)),
            (true, false) => SigningKeys::new(Vec::new()),
            (false, _) => SigningKeys::parse(shared).map_err(KeysetRefusal::SigningKeys)?,
        };
        let keys = match public.is_empty() {
            true => shared,
            false => SigningKeys::parse_public(public)
                .and_then(|public| shared.and(public))
                .map_err(KeysetRefusal::VerifyKeys)?,
        };
        let node_key = match node_key.is_empty() {
            true => None,
            false => Some(NodeKey::parse(node_key).map_err(KeysetRefusal::NodeKey)?),
        };
        Ok(Self { keys, node_key })
    }
}

#[cfg(test)]
mod tests {
    use super::super::SigningKey;
    use super::*;

    const SHARED: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const NODE: &str = "edge-7:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn public(kid: &str) -> String {
        let pair = SigningKey::ed25519(kid, &[5; 32]).unwrap();
        pair.public_entry().unwrap()
    }

    #[test]
    fn without_a_key_nothing_is_read_and_a_node_key_is_read_whole_or_not_at_all() {
        assert!(Secrets::parse(SHARED, "", "").unwrap().node_key.is_none());
        let both = Secrets::parse(SHARED, "", NODE).unwrap();
        assert_eq!(both.node_key.unwrap().node(), "edge-7");
        assert!(matches!(
            Secrets::parse("", "", NODE),
            Err(KeysetRefusal::SigningKeys(SigningKeyError::Empty))
        ));
        assert!(matches!(
            Secrets::parse(SHARED, "", "edge-7"),
            Err(KeysetRefusal::NodeKey(_))
        ));
    }

    #[test]
    fn public_keys_are_read_alone_or_beside_secrets_and_mistakes_named() {
        let kids = |shared: &str, public: &str| -> Vec<String> {
            let keys = Secrets::parse(shared, public, NODE).unwrap().keys;
            let keys: &[SigningKey] = keys.as_ref();
            keys.iter().map(|k| k.kid().to_owned()).collect()
        };
        assert_eq!(kids("", &public("p1")), ["p1"]);
        let line = format!("KEYSTILE_VERIFY_KEYS={}, {},\n", public("p1"), public("p2"));
        assert_eq!(kids(SHARED, &line), ["k1", "p1", "p2"]);

        let named = public("p1");
        let bytes = named.rsplit_once(':').unwrap().1;
        for (shared, public, error) in [
            ("", ",", SigningKeyError::Empty),
            ("", "p1", SigningKeyError::Shape),
            ("", "p1:ed25519:*", SigningKeyError::Shape),
            ("", SHARED, SigningKeyError::NoAlgorithm),
            ("", "p1:hmac-sha256:AAAA", SigningKeyError::NoAlgorithm),
            ("", "p1:ed25519:AAAA", SigningKeyError::NoPublicKey),
            ("", "p 1:ed25519:AAAA", SigningKeyError::Kid),
            ("", &format!("{named},{named}"), SigningKeyError::Repeated),
            (
                SHARED,
                &named.replace("p1", "k1"),
                SigningKeyError::Repeated,
            ),
            // The public key as a secret: anybody could sign with it.
            (&format!("k2:{bytes}"), &named, SigningKeyError::PublicKey),
        ] {
            assert_eq!(
                Secrets::parse(shared, public, "").err(),
                Some(KeysetRefusal::VerifyKeys(error)),
                "{shared} {public}"
            );
        }
        assert_eq!(
            Secrets::parse(&named, "", "").err(),
            Some(KeysetRefusal::SigningKeys(SigningKeyError::PublicKey))
        );
    }
}
