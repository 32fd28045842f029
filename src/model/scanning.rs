//! Alerts of secret scanners, in the form of GitHub's secret scanning partner program:
//! a list of found tokens, signed with ECDSA over NIST P-256
//! (<https://docs.github.com/code-security/secret-scanning/secret-scanning-partner-program>).
//!
//! Pure: reads keys and alerts, checks signatures. What happens to a key that was found
//! is decided in the registry's `leak`.

use keystile_core::hex;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Alerts in one message at most.
const MOST: usize = 10_000;
/// The bytes before the point in the DER of every P-256 public key (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The public keys of a scanner, as it publishes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannerKeys {
    keys: Vec<(String, Vec<u8>)>,
}

#[derive(Deserialize)]
struct Published {
    public_keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    key_identifier: String,
    key: String,
}

/// One token that was found.
#[derive(Deserialize)]
pub struct Alert {
    /// The token. A secret: it may be live.
    #[serde(deserialize_with = "wiped")]
    pub token: Zeroizing<String>,
    /// The scanner's name for its type.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Where it was found; may be empty.
    #[serde(default)]
    pub url: String,
    /// The kind of place in which it was found: `commit`, `issue_body`, …
    #[serde(default)]
    pub source: String,
}

impl Alert {
    /// SHA-256 of the token in hexadecimal digits, which identifies it to the scanner without
    /// revealing it.
    pub fn token_hash(&self) -> String {
        hex::text(Sha256::digest(self.token.as_bytes()))
    }
}

/// Why a message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntrustedReport {
    /// A header is missing or malformed.
    Header(&'static str),
    /// Signed with a key that the scanner does not publish.
    UnknownKey,
    /// The scanner's public keys are currently unavailable, so the signature cannot be checked.
    NoKeys,
    /// The signature does not match.
    Signature,
    /// Signed, but not a list of alerts.
    Body,
    /// More alerts than `MOST`.
    TooMany,
}

impl fmt::Display for UntrustedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header `{name}` is missing or malformed"),
            Self::UnknownKey => f.write_str("signed with a key that the scanner does not publish"),
            Self::NoKeys => f.write_str("the scanner's public keys cannot be fetched at present"),
            Self::Signature => f.write_str("the signature does not match"),
            Self::Body => f.write_str("the body is not a list of alerts"),
            Self::TooMany => write!(f, "there are more than {MOST} alerts; send them in parts"),
        }
    }
}

impl std::error::Error for UntrustedReport {}

impl ScannerKeys {
    /// Reads `{"public_keys": [{"key_identifier": …, "key": "-----BEGIN PUBLIC KEY-----…"}]}`.
    ///
    /// # Errors
    /// What is wrong, without a next step, which the caller adds.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let published: Published =
            serde_json::from_slice(json).map_err(|e| format!("not a list of public keys ({e})"))?;
        let mut keys = Vec::new();
        for key in published.public_keys {
            let point = point(&key.key)
                .ok_or_else(|| format!("key `{}` is not a P-256 key in PEM", key.key_identifier))?;
            keys.push((key.key_identifier, point));
        }
        if keys.is_empty() {
            return Err("no public key in it".to_owned());
        }
        Ok(Self { keys })
    }

    /// Checks a message and reads its alerts.
    ///
    /// # Errors
    /// [`UntrustedReport`]; for a wrong signature always the same, whatever the body.
    pub fn open(
        &self,
        body: &[u8],
        key: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Vec<Alert>, UntrustedReport> {
        let key = key.ok_or(UntrustedReport::Header("github-public-key-identifier"))?;
        let signature = signature
            .and_then(|s| STANDARD.decode(s.trim()).ok())
            .ok_or(UntrustedReport::Header("github-public-key-signature"))?;
        let (_, point) = self
            .keys
            .iter()
            .find(|(id, _)| id == key)
            .ok_or(UntrustedReport::UnknownKey)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(body, &signature)
            .map_err(|_| UntrustedReport::Signature)?;
        let alerts: Vec<Alert> = serde_json::from_slice(body).map_err(|_| UntrustedReport::Body)?;
        if alerts.len() > MOST {
            return Err(UntrustedReport::TooMany);
        }
        Ok(alerts)
    }
}

fn wiped<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// The point of a public key in PEM.
fn point(pem: &str) -> Option<Vec<u8>> {
    let text: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    let der = STANDARD.decode(text).ok()?;
    let point = der.strip_prefix(&SPKI)?;
    (point.len() == 65 && point.first() == Some(&4)).then(|| point.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    struct Scanner {
        pair: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Scanner {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
            Self { pair, random }
        }

        fn published(&self) -> ScannerKeys {
            let der = [&SPKI[..], self.pair.public_key().as_ref()].concat();
            let pem = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                STANDARD.encode(der)
            );
            let json = serde_json::json!({"public_keys": [
                {"key_identifier": "one", "key": pem, "is_current": true},
            ]});
            ScannerKeys::parse(json.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, body: &[u8]) -> String {
            STANDARD.encode(self.pair.sign(&self.random, body).unwrap())
        }
    }

    const BODY: &[u8] = br#"[{"token":"ks_live_x","type":"keystile","url":"https://example.com/f","source":"commit"}]"#;

    #[test]
    fn a_signed_message_gives_its_alerts() {
        let scanner = Scanner::new();
        let alerts = scanner
            .published()
            .open(BODY, Some("one"), Some(&scanner.sign(BODY)))
            .ok()
            .unwrap();
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].token.as_str(), "ks_live_x");
        assert_eq!(alerts[0].source, "commit");
        assert_eq!(alerts[0].token_hash().len(), 64);
    }

    #[test]
    fn what_is_not_signed_by_a_published_key_is_not_believed() {
        let (scanner, other) = (Scanner::new(), Scanner::new());
        let keys = scanner.published();
        let good = scanner.sign(BODY);
        let open = |body: &[u8], key: Option<&str>, signature: Option<&str>| {
            keys.open(body, key, signature).map(drop)
        };
        assert_eq!(open(BODY, Some("one"), Some(&good)), Ok(()));
        assert_eq!(
            open(BODY, Some("two"), Some(&good)),
            Err(UntrustedReport::UnknownKey)
        );
        assert_eq!(
            open(BODY, Some("one"), Some(&other.sign(BODY))),
            Err(UntrustedReport::Signature)
        );
        let mut changed = BODY.to_vec();
        changed[12] ^= 1;
        assert_eq!(
            open(&changed, Some("one"), Some(&good)),
            Err(UntrustedReport::Signature)
        );
        let header = |name| Err(UntrustedReport::Header(name));
        assert_eq!(
            open(BODY, None, Some(&good)),
            header("github-public-key-identifier")
        );
        assert_eq!(
            open(BODY, Some("one"), None),
            header("github-public-key-signature")
        );
        assert_eq!(
            open(BODY, Some("one"), Some("no base64!")),
            header("github-public-key-signature")
        );
        assert_eq!(
            open(b"{}", Some("one"), Some(&scanner.sign(b"{}"))),
            Err(UntrustedReport::Body)
        );
    }

    /// The example of GitHub's documentation.
    #[test]
    fn the_published_example_verifies() {
        let key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n";
        let id = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c";
        let json = serde_json::json!({"public_keys": [{"key_identifier": id, "key": key}]});
        let keys = ScannerKeys::parse(json.to_string().as_bytes()).unwrap();
        let body = br#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#;
        let signature = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";
        assert!(keys.open(body, Some(id), Some(signature)).is_ok());
        let blank = [&body[..], b" "].concat();
        assert_eq!(
            keys.open(&blank, Some(id), Some(signature)).map(drop),
            Err(UntrustedReport::Signature)
        );
    }

    #[test]
    fn keys_that_are_not_p256_are_refused_by_name() {
        let json = br#"{"public_keys":[{"key_identifier":"odd","key":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"}]}"#;
        assert!(ScannerKeys::parse(json).unwrap_err().contains("`odd`"));
        assert!(ScannerKeys::parse(br#"{"public_keys":[]}"#).is_err());
        assert!(ScannerKeys::parse(b"[]").is_err());
    }
}
