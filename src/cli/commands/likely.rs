//! Why an Envoy refuses what is pushed to it, as far as can be said from outside: Envoy's own message
//! does not have the reason.

use keystile_api::signing_key::SigningAlgorithm;

/// What an Envoy needs in its environment to take what is signed in this way, with the key `kid` if that
/// is known.
pub fn variable(algorithm: SigningAlgorithm, kid: Option<&str>) -> String {
    let kid = kid.map_or(String::new(), |kid| format!(" `{kid}`"));
    match algorithm {
        SigningAlgorithm::Ed25519 => format!(
            "the public key{kid}: set KEYSTILE_VERIFY_KEYS to what `keystilectl signing-key export --public` prints, and restart it"
        ),
        SigningAlgorithm::HmacSha256 => format!(
            "the signing key{kid}: set KEYSTILE_SIGNING_KEYS to what `keystilectl signing-key export` prints, and restart it"
        ),
    }
}

/// Why it refuses, if it needs `variable`.
pub fn cause(variable: &str) -> String {
    format!(
        "most likely its environment lacks {variable}; if the policy has a new field, its filter may be too old"
    )
}
