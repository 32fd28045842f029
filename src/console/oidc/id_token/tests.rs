use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

const NOW: u64 = 1_800_000_000;

struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn jwk(&self, id: &str) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn good() -> Value {
    json!({
        "iss": "https://id.example.com", "aud": "keystile", "sub": "u-1", "nonce": "n",
        "exp": NOW + 300, "iat": NOW,
    })
}

fn keys(all: &[Value]) -> ProviderKeys {
    ProviderKeys::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap()
}

fn judged(token: &str, keys: &ProviderKeys) -> Result<(), UntrustedToken> {
    let expected = Expected {
        issuer: "https://id.example.com",
        client: "keystile",
        nonce: "n",
        now: NOW,
    };
    verify(token, keys, &expected).map(drop)
}

#[test]
fn every_claim_that_is_not_as_it_should_be_is_refused() {
    let signer = Signer::new();
    let keys = keys(&[signer.jwk("a")]);
    let after = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        judged(
            &signer.sign(&json!({"alg": "ES256", "kid": "a"}), &claims),
            &keys,
        )
    };
    assert_eq!(after("other", json!(1)), Ok(()));
    assert_eq!(after("aud", json!(["keystile"])), Ok(()));
    assert_eq!(after("exp", json!(NOW - 59)), Ok(()));
    assert_eq!(after("iat", json!(NOW as f64 + 0.5)), Ok(()));
    for (name, value, why) in [
        (
            "iss",
            json!("https://id.example.com/"),
            UntrustedToken::Issuer,
        ),
        ("iss", json!(null), UntrustedToken::Issuer),
        ("aud", json!("other"), UntrustedToken::Audience),
        ("aud", json!([]), UntrustedToken::Audience),
        (
            "aud",
            json!(["keystile", "other"]),
            UntrustedToken::Audience,
        ),
        ("aud", json!({"keystile": 1}), UntrustedToken::Audience),
        ("azp", json!("other"), UntrustedToken::Audience),
        ("azp", json!(["keystile"]), UntrustedToken::Audience),
        ("exp", json!(NOW - 60), UntrustedToken::Expired),
        (
            "exp",
            json!((NOW + 300).to_string()),
            UntrustedToken::Expired,
        ),
        ("exp", json!(null), UntrustedToken::Expired),
        ("exp", json!(-1), UntrustedToken::Expired),
        ("iat", json!(NOW + 61), UntrustedToken::Early),
        ("iat", json!("x"), UntrustedToken::Early),
        ("nbf", json!(NOW + 61), UntrustedToken::Early),
        ("nbf", json!("x"), UntrustedToken::Early),
        ("nonce", json!("m"), UntrustedToken::Nonce),
        ("nonce", json!(null), UntrustedToken::Nonce),
        ("sub", json!(""), UntrustedToken::Subject),
        ("sub", json!(7), UntrustedToken::Subject),
        ("sub", json!("x".repeat(256)), UntrustedToken::Subject),
    ] {
        assert_eq!(after(name, value.clone()), Err(why), "{name}: {value}");
    }
    let mut several = good();
    several["aud"] = json!(["keystile", "other"]);
    several["azp"] = json!("keystile");
    let token = signer.sign(&json!({"alg": "ES256"}), &several);
    assert_eq!(judged(&token, &keys), Ok(()));
}

#[test]
fn a_token_does_not_choose_how_it_is_checked() {
    let (signer, other) = (Signer::new(), Signer::new());
    let keys = keys(&[signer.jwk("a")]);
    let with = |header: Value| judged(&signer.sign(&header, &good()), &keys);
    assert_eq!(with(json!({"alg": "ES256"})), Ok(()));
    for alg in ["none", "None", "", "HS256", "RS384", "PS256", "es256"] {
        assert_eq!(
            with(json!({ "alg": alg })),
            Err(UntrustedToken::Algorithm),
            "{alg}"
        );
    }
    // A key is for its own kind alone.
    assert_eq!(
        with(json!({"alg": "RS256"})),
        Err(UntrustedToken::UnknownKey)
    );
    assert_eq!(
        with(json!({"alg": "ES256", "kid": "b"})),
        Err(UntrustedToken::UnknownKey)
    );
    assert_eq!(
        with(json!({"alg": "ES256", "crit": ["b64"], "b64": false})),
        Err(UntrustedToken::Algorithm)
    );
    assert_eq!(with(json!({"kid": "a"})), Err(UntrustedToken::Malformed));
    // A key that comes with the token is not a reason to trust it.
    let header = json!({"alg": "ES256", "kid": "a", "jwk": other.jwk("a")});
    assert_eq!(
        judged(&other.sign(&header, &good()), &keys),
        Err(UntrustedToken::Signature)
    );
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let signer = Signer::new();
    let keys = keys(&[signer.jwk("a")]);
    let token = signer.sign(&json!({"alg": "ES256", "kid": "a"}), &good());
    assert_eq!(judged(&token, &keys), Ok(()));
    let parts: Vec<&str> = token.split('.').collect();
    for bad in [
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(judged(&bad, &keys).is_err(), "{bad}");
    }
    for at in (0..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(judged(&changed, &keys).is_err(), "{at}");
    }
}

#[test]
fn which_key_is_meant_is_not_guessed_and_those_of_others_are_passed_over() {
    let (one, two) = (Signer::new(), Signer::new());
    let both = keys(&[
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}),
        json!("no key"),
        one.jwk("1"),
        two.jwk("2"),
    ]);
    assert_eq!(both.0.len(), 2);
    let unnamed = one.sign(&json!({"alg": "ES256"}), &good());
    assert_eq!(judged(&unnamed, &both), Err(UntrustedToken::UnknownKey));
    let named = two.sign(&json!({"alg": "ES256", "kid": "2"}), &good());
    assert_eq!(judged(&named, &both), Ok(()));
    let crossed = two.sign(&json!({"alg": "ES256", "kid": "1"}), &good());
    assert_eq!(judged(&crossed, &both), Err(UntrustedToken::Signature));
    assert!(ProviderKeys::parse(b"{\"keys\": []}").is_err());
    assert!(ProviderKeys::parse(b"[]").is_err());
}
