//! Idempotent operations: a caller that got no answer repeats the request under the same key, and
//! nothing is done a second time.

use keystile_core::key::Parsed;
use serde_json::Value;

use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::webhook::WebhookSecret;
use keystile_model::words;
use keystile_model::world::World;
use keystile_store::{Replay, Store};

/// How long an answer is kept, in seconds.
pub const KEPT: u64 = 24 * 3600;
/// The longest key, in bytes.
const LONGEST: usize = 255;

/// The result of an operation.
pub enum Once<T> {
    /// It was done.
    Done(T),
    /// It was done before: the earlier answer without its secrets, with `"replayed": true` if it is
    /// an object.
    Before(Replay),
}

/// Performs `f`, unless the same caller did so under the same `key` in the last 24 hours. `request`
/// is the SHA-256 of the whole request; `answer` gives the HTTP status and the body to store. What
/// `f` does and the stored answer are one transaction.
///
/// # Errors
/// Those of `f`, of which nothing is stored; or if `key` is invalid, or was used for another
/// request.
pub fn once<T>(
    store: &mut Store,
    world: &World,
    key: &str,
    request: [u8; 32],
    f: impl FnOnce(&mut Store) -> Result<T>,
    answer: impl FnOnce(&T) -> (u16, Value),
) -> Result<Once<T>> {
    check_key(key)?;
    let caller = world.caller.mark();
    let now = world.now.seconds();
    let since = now.saturating_sub(KEPT);
    store.together(|store| {
        if let Some(before) = store.read(|tx| tx.replay(&caller, key, since))? {
            if before.request != request {
                return Err(used_for_another(key));
            }
            return Ok(Once::Before(before));
        }
        let done = f(store)?;
        let (status, body) = answer(&done);
        let memory = Replay {
            request,
            status,
            body: again(body),
            created: now,
        };
        store.write(world, |tx| tx.insert_replay(&caller, key, &memory, since))?;
        Ok(Once::Done(done))
    })
}

/// Checks that this can be an idempotency key.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > LONGEST || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refuse(
            Code::IdempotencyKeyInvalid,
            "the idempotency key is empty, too long, or not printable ASCII",
            format_args!("use a fresh UUID, or up to {LONGEST} characters without spaces"),
        ));
    }
    if words::holds_key(key) {
        return Err(refuse(
            Code::IdempotencyKeyInvalid,
            "the idempotency key holds a key, a token or a secret, which would be stored",
            "use a fresh UUID; if others could have seen it, revoke it",
        ));
    }
    Ok(())
}

/// The error that the key was used for another request.
pub fn used_for_another(key: &str) -> Error {
    refuse(
        Code::IdempotencyKeyReused,
        format_args!("the idempotency key `{key}` was used for another request"),
        "use a fresh one for each request, and the same one only to repeat it",
    )
}

/// An answer for a repeated request: without secrets, and with `"replayed": true`.
pub fn again(mut body: Value) -> Vec<u8> {
    without_secrets(&mut body);
    if let Some(map) = body.as_object_mut() {
        map.insert("replayed".to_owned(), Value::Bool(true));
    }
    body.to_string().into_bytes()
}

/// Replaces every key, token and webhook secret with `null`.
pub fn without_secrets(value: &mut Value) {
    let secret =
        |text: &str| Parsed::parse(text.as_bytes()).is_ok() || WebhookSecret::parse(text).is_ok();
    match value {
        Value::String(text) if secret(text) => *value = Value::Null,
        Value::Array(list) => list.iter_mut().for_each(without_secrets),
        Value::Object(map) => map.values_mut().for_each(without_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use keystile_system as system;
    use serde_json::json;

    fn issue(b: &mut Bench, at: u64, key: &str, request: u8) -> Result<Once<String>> {
        let world = system::at(at);
        once(
            &mut b.store,
            &world,
            key,
            [request; 32],
            |store| {
                let draft = crate::key::KeyDraft::default();
                let (issued, _) = crate::key::issue(store, &world, "acme", draft, 1, |_| {})?;
                Ok(issued[0].text.expose_secret().to_owned())
            },
            |text| {
                (
                    201,
                    json!({"key": text, "nested": [{"token": text}], "id": "x"}),
                )
            },
        )
    }

    #[test]
    fn what_is_asked_for_twice_is_done_once_and_answered_without_the_secret() {
        let mut b = Bench::new();
        let Ok(Once::Done(text)) = issue(&mut b, NOON, "a", 1) else {
            panic!("not done");
        };
        let Ok(Once::Before(again)) = issue(&mut b, NOON + KEPT, "a", 1) else {
            panic!("done again");
        };
        assert_eq!(again.status, 201);
        assert!(!String::from_utf8_lossy(&again.body).contains(&text));
        let body: Value = serde_json::from_slice(&again.body).unwrap();
        let want = json!({"key": null, "nested": [{"token": null}], "id": "x", "replayed": true});
        assert_eq!(body, want);
        assert_eq!(b.store.read(|tx| tx.keys()).unwrap().len(), 1);
    }

    #[test]
    fn the_same_key_for_another_request_is_refused() {
        let mut b = Bench::new();
        assert!(issue(&mut b, NOON, "a", 1).is_ok());
        let error = issue(&mut b, NOON, "a", 2).err().unwrap();
        assert!(
            error.to_string().contains("was used for another request"),
            "{error}"
        );
        assert!(issue(&mut b, NOON, "", 2).is_err());
        assert!(issue(&mut b, NOON, "a b", 2).is_err());
    }

    #[test]
    fn a_key_of_ours_in_the_place_of_an_idempotency_key_is_not_kept() {
        let mut b = Bench::new();
        let Ok(Once::Done(text)) = issue(&mut b, NOON, "a", 1) else {
            panic!("not done");
        };
        let refused = issue(&mut b, NOON, &text, 1).err().unwrap().to_string();
        assert!(refused.contains("holds a key"), "{refused}");
        assert!(!refused.contains(&text), "{refused}");
        assert_eq!(b.store.read(|tx| tx.keys()).unwrap().len(), 1);
    }

    #[test]
    fn an_answer_is_forgotten_after_a_day() {
        let mut b = Bench::new();
        assert!(issue(&mut b, NOON, "a", 1).is_ok());
        let later = issue(&mut b, NOON + KEPT + 1, "a", 1);
        assert!(matches!(later, Ok(Once::Done(_))));
    }

    #[test]
    fn an_operation_that_fails_leaves_neither_trace_nor_memory() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let before = b.store.read(|tx| Ok(tx.meta())).unwrap();
        let failed = once(
            &mut b.store,
            &world,
            "a",
            [1; 32],
            |store| -> Result<()> {
                crate::signing::renew(store, &world)?;
                Err(refuse(Code::InvalidValue, "no", "stop"))
            },
            |()| (200, Value::Null),
        );
        assert!(failed.is_err());
        assert_eq!(b.store.read(|tx| Ok(tx.meta())).unwrap(), before);
        assert!(matches!(issue(&mut b, NOON, "a", 1), Ok(Once::Done(_))));
    }

    #[test]
    fn callers_do_not_share_their_keys() {
        let mut b = Bench::new();
        assert!(issue(&mut b, NOON, "a", 1).is_ok());
        let other = keystile_model::caller::Grant {
            role: keystile_model::caller::Role::Owner,
            ..keystile_model::caller::Grant::nothing()
        };
        let world = system::by(NOON, other);
        let done = once(
            &mut b.store,
            &world,
            "a",
            [2; 32],
            |_| Ok(()),
            |()| (200, Value::Null),
        );
        assert!(matches!(done, Ok(Once::Done(()))));
    }
}
