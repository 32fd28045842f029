//! Leaked keys.

use keystile_core::key::{Digest, Parsed};
use serde_json::json;
use zeroize::Zeroizing;

use super::key;
use keystile_model::error::Result;
use keystile_model::record::Key;
use keystile_model::scanning::Alert;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

/// What to do with a leaked key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LeakPolicy {
    /// Revoke it
    #[default]
    Revoke,
    /// Disable it until somebody has investigated
    Disable,
    /// Only report it; it goes on working
    Report,
}

/// What is known about a token that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It is one of ours.
    Ours,
    /// It never existed, or was removed long ago.
    Unknown,
}

/// Looks up each token by its digest, and does what `policy` says. Several alerts about one key
/// count as one.
///
/// # Errors
/// Those of the store: nothing was done then, and the scanner will try again.
pub fn found(
    store: &mut Store,
    world: &World,
    alerts: &[Alert],
    policy: LeakPolicy,
) -> Result<Vec<Ownership>> {
    let known = store.read(|tx| {
        alerts
            .iter()
            .map(|a| lookup(tx, a))
            .collect::<Result<Vec<_>>>()
    })?;
    if known.iter().any(Option::is_some) {
        store.write(world, |tx| {
            for alert in alerts {
                if let Some(key) = lookup(tx, alert)? {
                    act(tx, world, &key, alert, policy)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(known
        .iter()
        .map(|k| {
            if k.is_some() {
                Ownership::Ours
            } else {
                Ownership::Unknown
            }
        })
        .collect())
}

/// Only by the digest: knowing a key's id does not mean having the key.
fn lookup(tx: &Tx<'_>, alert: &Alert) -> Result<Option<Key>> {
    let text = alert.token.as_bytes();
    if let Ok(parsed) = Parsed::parse(text)
        && let Some(key) = tx.key_of_digest(&parsed.digest())?
    {
        return Ok(Some(key));
    }
    tx.key_of_digest(&Digest::of_foreign(text))
}

/// Revokes the key with this text, if there is one, for the caller that presents it. Not a
/// publishable key: everybody who opens its page holds it.
///
/// # Errors
/// Those of the store.
pub fn given_up(store: &mut Store, world: &World, text: &str) -> Result<()> {
    let alert = Alert {
        token: Zeroizing::new(text.to_owned()),
        kind: String::new(),
        url: String::new(),
        source: String::new(),
    };
    let found = store.read(|tx| lookup(tx, &alert))?;
    let may_go = |key: &Key| key.revoked.is_none() && !key.rules.publishable;
    if !found.is_some_and(|key| may_go(&key)) {
        return Ok(());
    }
    store.write(world, |tx| match lookup(tx, &alert)? {
        Some(key) if may_go(&key) => {
            key::revoke_in(tx, world, key, "revoked by its holder").map(drop)
        }
        _ => Ok(()),
    })
}

fn act(
    tx: &mut Tx<'_>,
    world: &World,
    found: &Key,
    alert: &Alert,
    policy: LeakPolicy,
) -> Result<()> {
    let place =
        |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(500).collect() };
    let leak = json!({
        "client": found.client,
        "name": found.rules.name,
        "source": place(&alert.source),
        "url": place(&alert.url),
    });
    // The location may contain the key itself, for example in the query of a URL.
    let leak = match leak.to_string().contains(alert.token.as_str()) {
        true => json!({"client": found.client, "name": found.rules.name}),
        false => leak,
    };
    tx.audit(world, "key.leak", &found.id.to_string(), None, Some(&leak))?;
    carry_out(tx, world, found, policy, "found by a secret scanner")
}

/// Does to a key that others may have what `policy` says, unless it is done already.
///
/// # Errors
/// Those of the store.
pub(crate) fn carry_out(
    tx: &mut Tx<'_>,
    world: &World,
    found: &Key,
    policy: LeakPolicy,
    reason: &str,
) -> Result<()> {
    if found.revoked.is_some() {
        return Ok(());
    }
    match policy {
        LeakPolicy::Report => Ok(()),
        LeakPolicy::Disable if found.disabled => Ok(()),
        LeakPolicy::Disable => {
            let mut after = found.clone();
            after.disabled = true;
            key::change(tx, world, "key.disable", found, after).map(drop)
        }
        LeakPolicy::Revoke => key::revoke_in(tx, world, found.clone(), reason).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, NOON};
    use keystile_model::record::Status;
    use keystile_store::Query;
    use keystile_system as system;

    fn alert(token: &str) -> Alert {
        Alert {
            token: Zeroizing::new(token.to_owned()),
            kind: "keystile".to_owned(),
            url: format!("https://example.com/?leaked={token}"),
            source: "commit".to_owned(),
        }
    }

    #[test]
    fn a_found_key_is_revoked_and_nothing_of_its_text_is_kept() {
        let mut b = Bench::new();
        let issued = b.issue(&system::at(NOON), 2);
        let text = issued[0].text.expose_secret().to_owned();
        let alerts = [alert(&text), alert("no key at all"), alert(&text)];
        let world = system::at(NOON + 9);
        let answers = found(&mut b.store, &world, &alerts, LeakPolicy::Revoke).unwrap();
        assert_eq!(
            answers,
            [Ownership::Ours, Ownership::Unknown, Ownership::Ours]
        );
        let status = |b: &mut Bench, id| {
            let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
            key.status(NOON + 10)
        };
        assert_eq!(status(&mut b, issued[0].key.id), Status::Revoked);
        assert_eq!(status(&mut b, issued[1].key.id), Status::Active);
        let log = b
            .store
            .read(|tx| tx.last_audit(&Query::default(), 100))
            .unwrap();
        assert!(log.iter().any(|r| r.action == "key.leak"));
        assert!(log.iter().all(|r| !r.after.contains(&text)));
    }

    #[test]
    fn a_key_that_is_in_a_page_is_not_revoked_by_who_reads_the_page() {
        let mut b = Bench::new();
        let world = system::at(NOON);
        let draft = key::KeyDraft {
            publishable: true,
            origins: vec!["https://example.com".to_owned()],
            ..key::KeyDraft::default()
        };
        let (issued, _) = key::issue(&mut b.store, &world, "acme", draft, 1, |_| {})
            .ok()
            .unwrap();
        let text = issued[0].text.expose_secret().to_owned();
        given_up(&mut b.store, &system::at(NOON + 9), &text).unwrap();
        let id = issued[0].key.id;
        let key = b.store.read(|tx| tx.key(id)).unwrap().unwrap();
        assert!(key.revoked.is_none());
    }

    #[test]
    fn a_holder_revokes_the_key_that_they_hold_and_no_other() {
        let mut b = Bench::new();
        let issued = b.issue(&system::at(NOON), 2);
        let text = issued[0].text.expose_secret().to_owned();
        let forged = format!("{}{}", &text[..text.len() - 20], "A".repeat(20));
        let id = issued[0].key.id.to_string();
        let before = b.version();
        for nothing in ["", "nonsense", &forged, &id] {
            given_up(&mut b.store, &system::at(NOON + 9), nothing).unwrap();
        }
        assert_eq!(b.version(), before);
        for _ in 0..2 {
            given_up(&mut b.store, &system::at(NOON + 9), &text).unwrap();
        }
        let mut key = |n: usize| {
            b.store
                .read(|tx| tx.key(issued[n].key.id))
                .unwrap()
                .unwrap()
        };
        assert_eq!(key(0).status(NOON + 10), Status::Revoked);
        assert_eq!(key(0).reason, "revoked by its holder");
        assert_eq!(key(1).status(NOON + 10), Status::Active);
        let log = b
            .store
            .read(|tx| tx.last_audit(&Query::default(), 100))
            .unwrap();
        assert_eq!(log.iter().filter(|r| r.action == "key.revoke").count(), 1);
        assert!(log.iter().all(|r| !r.after.contains(&text)));
    }

    #[test]
    fn a_key_with_another_secret_was_not_found() {
        let mut b = Bench::new();
        let issued = b.issue(&system::at(NOON), 1);
        // The id is public: who sends it with a secret of his own has found nothing.
        let text = issued[0].text.expose_secret();
        let forged = format!("{}{}", &text[..text.len() - 20], "A".repeat(20));
        let answers = found(
            &mut b.store,
            &system::at(NOON + 9),
            &[alert(&forged)],
            LeakPolicy::Revoke,
        );
        assert_eq!(answers.unwrap(), [Ownership::Unknown]);
    }

    #[test]
    fn the_policy_says_what_happens_to_it() {
        for (policy, want) in [
            (LeakPolicy::Disable, Status::Disabled),
            (LeakPolicy::Report, Status::Active),
        ] {
            let mut b = Bench::new();
            let issued = b.issue(&system::at(NOON), 1);
            let alerts = [alert(issued[0].text.expose_secret())];
            found(&mut b.store, &system::at(NOON + 9), &alerts, policy).unwrap();
            let key = b
                .store
                .read(|tx| tx.key(issued[0].key.id))
                .unwrap()
                .unwrap();
            assert_eq!(key.status(NOON + 10), want);
        }
    }
}
