//! Signing keys, and what they sign.

use super::*;
use crate::keyset::signing::Domain;

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
