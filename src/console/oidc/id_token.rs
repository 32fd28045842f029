//! Identity tokens: JSON Web Signatures in their compact form, checked with the keys that
//! the provider publishes (OpenID Connect Core 1.0, section 3.1.3.7).
//!
//! Pure. The algorithms are a closed list, and each requires a key of its own kind: a token cannot
//! choose a weaker check. Written by hand on `ring`, because libraries for tokens let the token name
//! more than that, and all that is left beside the signature is seven claims.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::CtOutput;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::roles::Claims;

/// How far the clocks of two machines may be apart, in seconds.
const LEEWAY: u64 = 60;
/// The longest subject, as the specification has it.
const SUBJECT: usize = 255;

/// The published keys of a provider that can be used here.
#[derive(Default)]
pub struct ProviderKeys(Vec<Key>);

struct Key {
    id: Option<String>,
    public: Public,
}

enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
}

/// What a token has to contain to be accepted.
pub struct Expected<'a> {
    /// Who issues it.
    pub issuer: &'a str,
    /// Who it is for: our id there.
    pub client: &'a str,
    /// What we gave to this sign-in.
    pub nonce: &'a str,
    /// Seconds.
    pub now: u64,
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntrustedToken {
    /// Not the form of a signed token.
    Malformed,
    /// Not signed, or with an algorithm that is not accepted here.
    Algorithm,
    /// Signed with a key that the provider does not publish.
    UnknownKey,
    /// The signature does not match.
    Signature,
    /// Issued by somebody else.
    Issuer,
    /// Made for somebody else.
    Audience,
    /// Past its end, or it has none.
    Expired,
    /// From the future.
    Early,
    /// Made for another sign-in.
    Nonce,
    /// It names nobody.
    Subject,
}

impl fmt::Display for UntrustedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not a signed token",
            Self::Algorithm => "it is not signed with RS256 or ES256",
            Self::UnknownKey => "it is signed with a key that the provider does not publish",
            Self::Signature => "its signature does not match",
            Self::Issuer => "it was issued by another provider",
            Self::Audience => "it was issued for another application",
            Self::Expired => "it has expired",
            Self::Early => "it was issued in the future",
            Self::Nonce => "it was issued for another sign-in",
            Self::Subject => "it names no person",
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Critical extensions; none are supported.
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl ProviderKeys {
    /// Reads a key set (RFC 7517). Keys of other kinds are ignored.
    ///
    /// # Errors
    /// If it is invalid, or has no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let published: Published =
            serde_json::from_slice(json).map_err(|e| format!("not a set of keys ({e})"))?;
        let keys: Vec<Key> = published.keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err("it has no key for RS256 or ES256".to_owned());
        }
        Ok(Self(keys))
    }

    fn verify(
        &self,
        header: &Header,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), UntrustedToken> {
        let fits = |key: &&Key| match header.alg.as_str() {
            "RS256" => matches!(key.public, Public::Rsa { .. }),
            "ES256" => matches!(key.public, Public::P256(_)),
            _ => false,
        };
        let named = |key: &&Key| header.kid.is_none() || header.kid == key.id;
        let mut candidates = self.0.iter().filter(fits).filter(named);
        // If there are several, it does not guess which one is meant.
        let (Some(key), None) = (candidates.next(), candidates.next()) else {
            return Err(UntrustedToken::UnknownKey);
        };
        let verified = match &key.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
        };
        verified.map_err(|_| UntrustedToken::Signature)
    }
}

fn key(json: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(json).ok()?;
    if jwk
        .purpose
        .as_deref()
        .is_some_and(|purpose| purpose != "sig")
    {
        return None;
    }
    let is_for = |alg: &str| jwk.alg.as_deref().is_none_or(|own| own == alg);
    let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) if is_for("RS256") => Public::Rsa {
            n: number(jwk.n.as_deref()?)?,
            e: number(jwk.e.as_deref()?)?,
        },
        ("EC", Some("P-256")) if is_for("ES256") => {
            let (x, y) = (bytes(jwk.x.as_deref()?)?, bytes(jwk.y.as_deref()?)?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            Public::P256([&[4], x.as_slice(), y.as_slice()].concat())
        }
        _ => return None,
    };
    Some(Key {
        id: jwk.kid,
        public,
    })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Some write a leading zero to mark it as not negative.
fn number(text: &str) -> Option<Vec<u8>> {
    let mut bytes = bytes(text)?;
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

/// Verifies a token, and gives its claims.
///
/// # Errors
/// The first reason to reject it.
pub fn verify(
    token: &str,
    keys: &ProviderKeys,
    expected: &Expected<'_>,
) -> Result<Claims, UntrustedToken> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(tail), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(UntrustedToken::Malformed);
    };
    let decoded = |text: &str| bytes(text).ok_or(UntrustedToken::Malformed);
    let header: Header =
        serde_json::from_slice(&decoded(head)?).map_err(|_| UntrustedToken::Malformed)?;
    if !["RS256", "ES256"].contains(&header.alg.as_str()) || header.crit.is_some() {
        return Err(UntrustedToken::Algorithm);
    }
    let signature = decoded(tail)?;
    keys.verify(&header, format!("{head}.{body}").as_bytes(), &signature)?;
    let claims: Claims =
        serde_json::from_slice(&decoded(body)?).map_err(|_| UntrustedToken::Malformed)?;
    check(&claims, expected)?;
    Ok(claims)
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), UntrustedToken> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(UntrustedToken::Issuer);
    }
    if !is_for(claims, expected.client) {
        return Err(UntrustedToken::Audience);
    }
    let end = date(claims, "exp").ok_or(UntrustedToken::Expired)?;
    if end.saturating_add(LEEWAY) <= expected.now {
        return Err(UntrustedToken::Expired);
    }
    let latest = expected.now.saturating_add(LEEWAY);
    let issued = date(claims, "iat").ok_or(UntrustedToken::Early)?;
    let begins = match claims.contains_key("nbf") {
        true => date(claims, "nbf").ok_or(UntrustedToken::Early)?,
        false => 0,
    };
    if issued > latest || begins > latest {
        return Err(UntrustedToken::Early);
    }
    let nonce = text("nonce").ok_or(UntrustedToken::Nonce)?;
    if !is_same(nonce, expected.nonce) {
        return Err(UntrustedToken::Nonce);
    }
    match text("sub") {
        Some(subject) if (1..=SUBJECT).contains(&subject.len()) => Ok(()),
        _ => Err(UntrustedToken::Subject),
    }
}

/// Whether the token is for us; if it has several audiences, we must also be the authorised party.
fn is_for(claims: &Claims, client: &str) -> bool {
    let (one, several) = match claims.get("aud") {
        Some(Value::String(audience)) => (audience == client, false),
        Some(Value::Array(all)) => (
            all.iter().any(|a| a.as_str() == Some(client)),
            all.len() > 1,
        ),
        _ => (false, false),
    };
    match claims.get("azp") {
        Some(party) => one && party.as_str() == Some(client),
        None => one && !several,
    }
}

/// Seconds; the specification allows fractions.
fn date(claims: &Claims, name: &str) -> Option<u64> {
    let value = claims.get(name)?;
    let whole = || {
        let seconds = value.as_f64()?;
        (0.0..1e12).contains(&seconds).then_some(seconds as u64)
    };
    value.as_u64().or_else(whole)
}

/// Compares in constant time.
pub fn is_same(a: &str, b: &str) -> bool {
    let digest = |text: &str| CtOutput::<Sha256>::new(Sha256::digest(text.as_bytes()));
    digest(a) == digest(b)
}

#[cfg(test)]
mod tests;
