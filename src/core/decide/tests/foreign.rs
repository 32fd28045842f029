//! Imported keys, and keys that are none.

use super::*;

#[test]
fn foreign_keys_are_found_by_their_whole_text_and_ours_by_theirs_alone() {
    let text = "hunter2-correct-horse";
    let w = world(|r| {
        r.foreign = true;
        r.digest = crate::key::Digest::of_foreign(text.as_bytes());
    });
    assert_eq!(
        call("GET", "/users/7").with("x-api-key", text).code(&w),
        "ok"
    );
    assert_eq!(
        call("GET", "/users/7")
            .with("x-api-key", "hunter3")
            .code(&w),
        "unknown_api_key"
    );
    assert_eq!(
        call("GET", "/users/7").keyed(&w).code(&w),
        "unknown_api_key"
    );
    // The part of our key that is hashed is no key by itself, not even as a foreign one.
    let (mut keyset, key) = loaded(POLICY, |_| {});
    keyset.foreign = true;
    let keyset = keyset.into();
    let w = World { keyset, key };
    let body: String = w
        .key
        .text
        .expose_secret()
        .chars()
        .skip(8)
        .take(53)
        .collect();
    assert_eq!(
        call("GET", "/users/7").with("x-api-key", &body).code(&w),
        "unknown_api_key"
    );
    // A whole native key imported by the digest of its text works as a foreign one.
    let whole = world(|r| {
        r.foreign = true;
        r.digest = crate::key::Digest::of_foreign(fresh(1).text.expose_secret().as_bytes());
    });
    assert_eq!(call("GET", "/users/7").keyed(&whole).code(&whole), "ok");
}

#[test]
fn notes_never_hold_the_key() {
    let w = world(|_| {});
    let text = w.key.text.expose_secret();
    let bytes = Headers::encode(
        &call("GET", "/users/7")
            .keyed(&w)
            .with("authorization", &format!("Bearer {text}"))
            .pairs,
    );
    let request = plain(&bytes);
    let mut notes = Vec::new();
    decide(
        Ok(&w.keyset),
        &request,
        Clocks {
            wall: NOW,
            monotonic: 1,
        },
        || None,
        &mut MemoryBuckets::default(),
        &mut notes,
    );
    let all = format!("{notes:?}");
    assert!(
        !all.contains(&text[8..]) && !all.contains(&text[18..40]),
        "{all}"
    );
    assert!(all.contains(&w.key.id.to_string()));
    assert_eq!(KeyId::from_u64(w.key.id.as_u64()), Some(w.key.id));
}
