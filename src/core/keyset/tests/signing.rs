//! Signing keys, and what they sign.

use super::*;
use crate::keyset::Algorithm;
use crate::keyset::signing::Domain;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[test]
fn both_signing_keys_are_accepted_while_one_is_rotated() {
    let built = build(&content(vec![row(1)])).unwrap();
    for (kid, byte) in [("old", 1), ("new", 2)] {
        assert!(load(built.seal(&signing_key(kid, byte), 7).as_bytes()).is_ok());
    }
    assert_eq!(
        load(built.seal(&signing_key("gone", 3), 0).as_bytes()).err(),
        Some(KeysetRefusal::UnknownKid("gone".into()))
    );
    assert_eq!(
        load(built.seal(&signing_key("old", 2), 0).as_bytes()).err(),
        Some(KeysetRefusal::Signature)
    );
}

#[test]
fn a_keyset_signed_twice_is_taken_by_who_knows_either_key() {
    let built = build(&content(vec![row(1)])).unwrap();
    let key = |kid, byte| SigningKeys::new(vec![signing_key(kid, byte)]);
    let text = built.seal(
        &SigningKeys::new(vec![signing_key("old", 1), signing_key("new", 2)]),
        0,
    );
    let load =
        |text: &str, keys: &SigningKeys| Keyset::load(&mut text.as_bytes(), keys, |_| {}).err();
    assert_eq!(load(&text, &key("old", 1)), None);
    assert_eq!(load(&text, &key("new", 2)), None);
    assert_eq!(load(&text, &keys()), None);
    assert_eq!(
        load(&text, &key("other", 1)),
        Some(KeysetRefusal::UnknownKid("old,new".into()))
    );
    // A wrong tag of a known key counts, whatever the others say.
    assert_eq!(
        load(
            &text,
            &SigningKeys::new(vec![signing_key("old", 1), signing_key("new", 9)])
        ),
        Some(KeysetRefusal::Signature)
    );
    // Tags cannot change places, and none may be left over.
    assert_eq!(
        load(&text.replace("old,new", "new,old"), &key("old", 1)),
        Some(KeysetRefusal::Signature)
    );
    assert_eq!(
        load(&text.replace("old,new", "old"), &key("old", 1)),
        Some(KeysetRefusal::Base64("hmac"))
    );
    assert_eq!(
        load(&text.replace("old,new", "old,new,more"), &key("old", 1)),
        Some(KeysetRefusal::Base64("hmac"))
    );
}

#[test]
fn a_tag_made_for_something_else_does_not_pass() {
    let key = signing_key("new", 2);
    let built = build(&content(vec![row(1)])).unwrap();
    let mut plain = Hmac::<Sha256>::new_from_slice(&[2; 32]).unwrap();
    plain.update(&built.manifest);
    assert!(!key.verifies(
        Domain::Keyset,
        &built.manifest,
        &plain.finalize().into_bytes()
    ));
}

/// A pair, and its public key as Envoys have it.
fn pair(kid: &str, byte: u8) -> (SigningKey, SigningKey) {
    let pair = SigningKey::ed25519(kid, &[byte; 32]).unwrap();
    let keys = SigningKeys::parse_public(&pair.public_entry().unwrap()).unwrap();
    let keys: &[SigningKey] = keys.as_ref();
    (pair, keys[0].clone())
}

fn loaded(text: &str, keys: &[&SigningKey]) -> Option<KeysetRefusal> {
    let keys = SigningKeys::new(keys.iter().copied().cloned().collect());
    let whole = Keyset::load(&mut text.as_bytes(), &keys, |_| {}).err();
    let open = crate::keyset::Artefact::load(&mut text.as_bytes(), &keys, |_| {}).err();
    assert_eq!(whole, open);
    whole
}

#[test]
fn a_keyset_signed_with_a_pair_is_taken_by_who_has_the_public_key_which_signs_nothing() {
    let built = build(&content(vec![row(1)])).unwrap();
    let (pair_1, public) = pair("p1", 1);
    let text = built.seal(&pair_1, 7);
    assert!(text.starts_with("{\"alg\":\"ed25519\",\"format\":1,\"hmac\":\""));
    assert_eq!(loaded(&text, &[&public]), None);
    assert_eq!(
        loaded(&text, &[&pair_1]),
        None,
        "the companion reads its own"
    );
    let (other, _) = pair("p1", 2);
    assert_eq!(
        loaded(&built.seal(&other, 7), &[&public]),
        Some(KeysetRefusal::Signature)
    );
    let (gone, _) = pair("p0", 1);
    assert_eq!(
        loaded(&built.seal(&gone, 7), &[&public]),
        Some(KeysetRefusal::UnknownKid("p0".into()))
    );
    // A public key makes no signature, and its holder no keyset.
    assert_eq!(
        loaded(&built.seal(&public, 7), &[&public]),
        Some(KeysetRefusal::UnknownKid("".into()))
    );
    assert!(public.tag(Domain::Keyset, &built.manifest).is_empty());
    // A signature is for one kind of artefact.
    let as_overlay = text.replace("\",\"manifest", "\",\"kind\":\"overlay\",\"manifest");
    assert_eq!(
        loaded(&as_overlay, &[&public]),
        Some(KeysetRefusal::Signature)
    );
    // And for one id.
    let renamed = text.replace("\"kid\":\"p1\"", "\"kid\":\"p2\"");
    let (_, namesake) = pair("p2", 1);
    assert_eq!(
        loaded(&renamed, &[&namesake]),
        Some(KeysetRefusal::Signature)
    );
}

#[test]
fn in_a_change_over_either_key_is_enough_and_a_broken_one_of_those_known_is_refused() {
    let built = build(&content(vec![row(1)])).unwrap();
    let secret = signing_key("old", 1);
    let (pair_1, public) = pair("p1", 1);
    let text = built.seal(&SigningKeys::new(vec![secret.clone(), pair_1]), 0);
    assert!(text.starts_with("{\"alg\":\"hmac-sha256,ed25519\","));
    for keys in [
        &[&secret][..],
        &[&public],
        &[&secret, &public],
        &[&public, &secret],
    ] {
        assert_eq!(loaded(&text, keys), None);
    }
    let wrong_secret = signing_key("old", 9);
    let (_, wrong_public) = pair("p1", 9);
    for keys in [[&wrong_secret, &public], [&secret, &wrong_public]] {
        assert_eq!(loaded(&text, &keys), Some(KeysetRefusal::Signature));
    }
    let lists = |from: &str, to: &str, keys: &[&SigningKey]| loaded(&text.replace(from, to), keys);
    let both = [&secret, &public];
    for shorter_or_longer in ["hmac-sha256", "hmac-sha256,ed25519,ed25519"] {
        assert_eq!(
            lists("hmac-sha256,ed25519", shorter_or_longer, &both),
            Some(KeysetRefusal::Algorithms)
        );
    }
    // Another algorithm under an unknown id is one that this filter is too old for.
    assert_eq!(lists("ed25519", "ml-dsa-44", &[&secret]), None);
    assert_eq!(lists("hmac-sha256", "ml-dsa-44", &[&public]), None);
    assert!(matches!(
        lists("ed25519", "ml-dsa-44", &both),
        Some(KeysetRefusal::OtherAlgorithm { kid, is: Algorithm::Ed25519 }) if kid == "p1"
    ));
}

#[test]
fn a_public_key_is_never_taken_for_a_secret_whatever_the_envelope_says() {
    let built = build(&content(vec![row(1)])).unwrap();
    let (pair_1, public) = pair("p1", 1);
    let entry = public.public_entry().unwrap();
    let bytes = URL_SAFE_NO_PAD
        .decode(entry.rsplit_once(':').unwrap().1)
        .unwrap();
    // What everybody knows, used as the secret of the same id.
    let forged = built.seal(&SigningKey::new("p1", bytes.into()).unwrap(), 0);
    let confused = Some(KeysetRefusal::OtherAlgorithm {
        kid: "p1".into(),
        is: Algorithm::Ed25519,
    });
    assert_eq!(loaded(&forged, &[&public]), confused);
    let told = |alg: &str| forged.replacen('{', &format!("{{\"alg\":\"{alg}\","), 1);
    assert_eq!(loaded(&told("hmac-sha256"), &[&public]), confused);
    assert_eq!(loaded(&told("none"), &[&public]), confused);
    assert_eq!(loaded(&told(""), &[&public]), confused);
    assert_eq!(
        loaded(&told("ed25519"), &[&public]),
        Some(KeysetRefusal::Signature)
    );
    // And the other way round: a pair under the id of a secret.
    let secret = signing_key("p1", 1);
    let signed = built.seal(&pair_1, 0);
    assert_eq!(
        loaded(&signed, &[&secret]),
        Some(KeysetRefusal::OtherAlgorithm {
            kid: "p1".into(),
            is: Algorithm::HmacSha256,
        })
    );
    let untold = signed.replace("\"alg\":\"ed25519\",", "");
    assert_eq!(loaded(&untold, &[&secret]), Some(KeysetRefusal::Signature));
}

#[test]
fn messages_are_signed_with_secrets_only() {
    use crate::report::message;
    let (pair_1, public) = pair("p1", 1);
    for key in [&pair_1, &public] {
        let keys = SigningKeys::new(vec![key.clone()]);
        assert!(message::sign(Domain::Report, b"{}".to_vec(), &keys).is_none());
        let tag = URL_SAFE_NO_PAD.encode(pair_1.tag(Domain::Report, b"{}"));
        assert_eq!(
            crate::report::open(b"{}", "p1", &tag, &keys).err(),
            Some(message::MessageError::UnknownKid)
        );
    }
    let keys = SigningKeys::new(vec![public, signing_key("old", 1)]);
    let sealed = message::sign(Domain::Report, b"{}".to_vec(), &keys).unwrap();
    assert_eq!(sealed.kid, "old");
}

#[test]
fn a_nodes_key_is_written_as_it_is_read() {
    let text = format!("eu-1:{}", "A".repeat(43));
    let key = NodeKey::parse(&format!("KEYSTILE_NODE_KEY={text}\n")).unwrap();
    assert_eq!(key.node(), "eu-1");
    assert_eq!(*key.expose_secret(), text);
    assert_eq!(key.signing_key().kid(), NodeKey::KID);
    for bad in ["", "eu-1", ":AAAA", "eu-1:AAAA", "eu-1:!"] {
        assert!(NodeKey::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn signing_keys_are_read_from_the_environment_and_mistakes_named() {
    let good = signing_key("k1", 7).expose_secret().to_string();
    assert!(SigningKeys::parse(&good).is_ok());
    assert!(SigningKeys::parse(&format!("KEYSTILE_SIGNING_KEYS={good}")).is_ok());
    assert!(
        SigningKeys::parse(&format!(
            "{good}, {},",
            *signing_key("k2", 8).expose_secret()
        ))
        .is_ok()
    );
    for (text, error) in [
        ("", SigningKeyError::Empty),
        (" , ", SigningKeyError::Empty),
        ("k1", SigningKeyError::Shape),
        ("k1:***", SigningKeyError::Shape),
        ("k1:AAAA", SigningKeyError::Short),
        (
            ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            SigningKeyError::Kid,
        ),
        (
            "k 1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            SigningKeyError::Kid,
        ),
        (&format!("{good},{good}"), SigningKeyError::Repeated),
    ] {
        assert_eq!(SigningKeys::parse(text).err(), Some(error), "{text}");
    }
}
