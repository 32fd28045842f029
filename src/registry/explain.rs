//! A request explained on the keyset of the store.

use keystile_core::key::{self, Digest, KeyId, KeyText, MAX_KEY_BYTES, Parsed};
use keystile_core::keyset::KeyRow;
use keystile_core::policy::Policy;
use keystile_core::request::credential;
use keystile_core::request::headers::Headers;

use super::publish;
use super::signing;
use crate as registry;
use keystile_model::error::{Act, Code, Result, refuse};
use keystile_model::world::World;
use keystile_policy::explain::{FilterAnswer, PresentedKey, Question, ask, encode, hint, load};
use keystile_policy::file::PolicyFile;
use keystile_policy::wrong_key::{self, WrongKey};
use keystile_store::{Store, Tx};

/// Explains a request.
pub fn explain(store: &mut Store, world: &World, mut question: Question) -> Result<FilterAnswer> {
    store.read(|tx| {
        let PolicyFile { raw, policy, .. } = registry::policy(tx)?;
        let mut rows = Vec::new();
        if let PresentedKey::Id(id) = question.key {
            let (row, text) = stand_in(tx, &policy, world, id)?;
            rows.push(row);
            question.key = PresentedKey::Text(text);
        }
        let carried = encode(&policy, &question);
        find(tx, &policy, &carried, &mut rows)?;
        let keyset = load(
            &publish::content_of(tx, rows.clone())?,
            signing::active(tx)?,
        )?;
        let mut answer = ask(&keyset, &policy, &question);
        answer.hint = match answer.code {
            // The key is not looked at where no route matches.
            "route_denied" => {
                let both = [
                    hint(&raw, &policy, &question),
                    wrong(tx, &policy, &carried, &rows)?,
                ];
                let known: Vec<String> = both.into_iter().flatten().collect();
                (!known.is_empty()).then(|| known.join("; "))
            }
            "environment_denied" => {
                let row = rows.iter().find(|r| answer.is_about(r.id));
                row.and_then(|r| wrong_key::environment(&policy, r.environment.as_str()))
            }
            "malformed_api_key" | "unknown_api_key" => wrong(tx, &policy, &carried, &rows)?,
            _ => None,
        };
        Ok(answer)
    })
}

/// What is wrong with a key, unless it is that of one of the rows.
fn wrong(tx: &Tx<'_>, policy: &Policy, headers: &[u8], rows: &[KeyRow]) -> Result<Option<String>> {
    let presented = credential::find(&policy.credentials, Headers::new(headers)).key;
    let text = presented.unwrap_or_default();
    let ours = Parsed::parse(&text).ok().map(|k| k.digest());
    let imported = Digest::of_foreign(&text);
    let mut digests = rows.iter().map(|row| row.digest);
    if digests.any(|digest| Some(digest) == ours || digest == imported) {
        return Ok(None);
    }
    let found = WrongKey::new(policy, &text);
    if let Some(id) = found.whole
        && tx.key(id)?.is_some()
    {
        return Ok(Some(format!(
            "the key's checksum is right, and `{id}` is a key of this store, but with another secret: it was forged, or issued before a restore"
        )));
    }
    Ok(found.words)
}

/// Substitutes a temporary key for one that is known only by its id, so that the whole decision
/// runs, from finding the key to charging the buckets.
fn stand_in(tx: &Tx<'_>, policy: &Policy, world: &World, id: KeyId) -> Result<(KeyRow, KeyText)> {
    let mut row = tx.row(id)?.ok_or_else(|| {
        refuse(
            Code::KeyNotFound,
            format_args!("there is no key `{id}`"),
            keystile_model::next!["see ", Act::KeyList, " for the ids"],
        )
        .about("key")
    })?;
    let fresh = key::generate(&policy.brand, &row.environment, world.entropy)?;
    row.digest = fresh.digest;
    row.foreign = false;
    Ok((row, fresh.text))
}

/// Adds the part of the keyset that a decision about a request with these headers can reach. A
/// keyset of a million keys would take seconds to build, but only one key is needed.
fn find(tx: &Tx<'_>, policy: &Policy, headers: &[u8], rows: &mut Vec<KeyRow>) -> Result<()> {
    let presented = credential::find(&policy.credentials, Headers::new(headers)).key;
    let text = presented.unwrap_or_default();
    let ours = Parsed::parse(&text).ok().map(|k| k.digest());
    let imported = (text.len() <= MAX_KEY_BYTES).then(|| Digest::of_foreign(&text));
    for digest in ours.iter().chain(&imported) {
        let found = tx.row_of_digest(digest)?;
        rows.extend(found.filter(|f| rows.iter().all(|r| r.id != f.id)));
    }
    // If there are imported keys, anything that does not have our format may be one.
    let other = tx.imported_row(tx.meta().issued_at)?;
    rows.extend(other.filter(|o| rows.iter().all(|r| r.id != o.id)));
    Ok(())
}

/// Distinguishes an id from a full key: it has the form of an id, and is one in the store.
pub fn shown(store: &mut Store, text: String) -> Result<PresentedKey> {
    if Parsed::parse(text.as_bytes()).is_err()
        && let Ok(id) = text.parse::<KeyId>()
        && store.read(|tx| tx.key(id))?.is_some()
    {
        return Ok(PresentedKey::Id(id));
    }
    Ok(PresentedKey::Text(KeyText::from_input(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use crate::import::{ImportOptions, import, read};
    use crate::key::revoke_all;
    use keystile_system as system;

    const DAY: u64 = 86_400;

    fn import_one(b: &mut Bench, now: u64, text: &str, expires: &str) {
        let digest = Digest::of_foreign(text.as_bytes());
        let digest = keystile_core::hex::text(digest.0);
        let file = format!("client,sha256,expires\nacme,{digest},{expires}\n");
        let how = ImportOptions {
            create_clients: false,
            any_scope: false,
            dry_run: false,
        };
        let lines = read("keys.csv", &file, || Ok(())).unwrap();
        import(&mut b.store, &system::at(now), lines, how)
            .ok()
            .unwrap();
    }

    /// By the whole keyset, as the filter decides.
    fn by_all(b: &mut Bench, q: &Question) -> FilterAnswer {
        b.store
            .read(|tx| {
                let policy = registry::policy(tx)?.policy;
                let keyset = load(&publish::content(tx)?, signing::active(tx)?)?;
                Ok(ask(&keyset, &policy, q))
            })
            .unwrap()
    }

    #[test]
    fn the_few_keys_that_matter_give_the_answer_of_the_whole_keyset() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let issued = b.issue(&world, 3);
        revoke_all(&mut b.store, &world, &[issued[1].key.id], "").unwrap();
        let ours: Vec<&str> = issued.iter().map(|i| i.text.expose_secret()).collect();
        let stranger = Bench::new().issue(&world, 1);
        let broken = format!("{}x", &ours[0][..ours[0].len() - 1]);
        let texts = [
            ours[0],
            ours[1],
            stranger[0].text.expose_secret(),
            &broken,
            "from-elsewhere",
            "old",
            "",
        ];
        let ask_all = |b: &mut Bench, now: u64| {
            texts.map(|text| {
                let question = || Question {
                    certificate: None,
                    key: match text {
                        "" => PresentedKey::Nothing,
                        text => PresentedKey::Text(KeyText::from_input(text.to_owned())),
                    },
                    method: "GET".into(),
                    path: "/v1/users".into(),
                    host: "localhost".into(),
                    virtual_host: None,
                    address: None,
                    headers: Vec::new(),
                    tls: false,
                    at: now,
                };
                let few = explain(&mut b.store, &system::at(now), question()).unwrap();
                let all = by_all(b, &question());
                assert_eq!((few.code, &few.notes), (all.code, &all.notes), "{text}");
                assert_eq!(
                    (few.caller, few.version),
                    (all.caller, all.version),
                    "{text}"
                );
                few.code
            })
        };
        let none = ask_all(&mut b, NOON);
        assert_eq!(
            none[4..],
            ["malformed_api_key", "malformed_api_key", "missing_api_key"]
        );

        // One that has ended is told so for a while, and changes what others are told.
        import_one(&mut b, NOON, "old", "1d");
        let old = ask_all(&mut b, NOON + 2 * DAY);
        assert_eq!(old[4..6], ["unknown_api_key", "expired_api_key"]);
        // Nothing is left of it in a keyset that is made much later.
        registry::signing::renew(&mut b.store, &system::at(NOON + 40 * DAY)).unwrap();
        let later = ask_all(&mut b, NOON + 40 * DAY);
        assert_eq!(later[4..6], ["malformed_api_key", "malformed_api_key"]);
        import_one(&mut b, NOON + 40 * DAY, "from-elsewhere", "");
        let known = ask_all(&mut b, NOON + 40 * DAY);
        assert_eq!(known[4..6], ["insufficient_scope", "unknown_api_key"]);
    }

    #[test]
    fn of_a_key_that_the_store_does_not_have_its_form_and_the_store_tell_what_it_is() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let issued = b.issue(&world, 1);
        let ours = issued[0].text.expose_secret().to_owned();
        let stranger = Bench::new().issue(&world, 1);
        let stranger = stranger[0].text.expose_secret().to_owned();
        let brand = "ks".parse().unwrap();
        let live = "live".parse().unwrap();
        let forged = key::generate_as(issued[0].key.id, &brand, &live, |bytes: &mut [u8]| {
            bytes.fill(9);
            Ok::<(), ()>(())
        });
        let forged = forged.unwrap().text.expose_secret().to_owned();
        let id = issued[0].key.id;
        let mut hint = |text: &str, path: &str| {
            let question = Question {
                certificate: None,
                key: match text {
                    "" => PresentedKey::Id(id),
                    text => PresentedKey::Text(KeyText::from_input(text.to_owned())),
                },
                method: "GET".into(),
                path: path.into(),
                host: "localhost".into(),
                virtual_host: None,
                address: None,
                headers: Vec::new(),
                tls: false,
                at: NOON,
            };
            let answer = explain(&mut b.store, &world, question).unwrap();
            answer.hint.unwrap_or_default()
        };
        assert_eq!(hint(&ours, "/v1/users"), "");
        assert!(
            hint(&ours[..ours.len() - 9], "/v1/users").contains("9 of 59 characters are missing")
        );
        assert!(hint(&stranger, "/v1/users").contains("none like it"));
        assert!(hint(&stranger, "/nowhere").contains("none like it"));
        for known in [&ours, ""] {
            assert!(!hint(known, "/nowhere").contains("none like it"));
        }
        let says = hint(&forged, "/v1/users");
        assert!(
            says.contains("is a key of this store, but with another secret"),
            "{says}"
        );
    }
}
