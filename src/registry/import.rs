//! Keys from elsewhere, known by their SHA-256 digest: all keys of a file, or none.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystile_core::key::{Digest, KeyId, Name, NameError};
use keystile_core::policy::Policy;

use super::client::ClientDraft;
use super::key::{KeyDraft, check_lifetime, checked};
use super::policy;
use keystile_model::error::{Code, Complaints, Next, Result, advised, named, refuse};
use keystile_model::key::PROPERTIES;
use keystile_model::nearest::nearest;
use keystile_model::record::{Client, Key};
use keystile_model::rules;
use keystile_model::world::World;
use keystile_store::{Store, Tx};

mod ground;
mod lines;
pub mod whole;

use ground::Ground;

pub use lines::{COLUMNS, Line, Lines, read};

/// The result of an import, or of a dry run.
pub struct Imported {
    /// The keys.
    pub keys: Vec<Key>,
    /// Clients that were created for them.
    pub clients: Vec<String>,
}

/// How to import.
#[derive(Clone, Copy)]
pub struct ImportOptions {
    /// Create missing clients.
    pub create_clients: bool,
    /// Accept scopes that no route asks for.
    pub any_scope: bool,
    /// Check everything and change nothing.
    pub dry_run: bool,
}

/// Imports all lines, or none.
pub fn import(
    store: &mut Store,
    world: &World,
    lines: Lines,
    how: ImportOptions,
) -> Result<Imported> {
    Ground::run(store, world, how.dry_run, |ground| {
        import_in(ground, world, lines, how)
    })
}

fn import_in(
    mut tx: Ground<'_, '_>,
    world: &World,
    lines: Lines,
    how: ImportOptions,
) -> Result<Imported> {
    world.caller.unbound("import keys")?;
    let policy = policy(&tx)?.policy;
    let mut clients = tx.clients_by_name()?;
    let mut digests: HashMap<[u8; 32], String> = HashMap::new();
    let mut bad = Complaints::default();
    let mut out = Imported {
        keys: Vec::new(),
        clients: Vec::new(),
    };
    for (place, line) in lines {
        tx.go_on()?;
        let mut one = || -> Result<Key> {
            if !clients.contains_key(&line.client) {
                let client = missing_client(&mut tx, world, &line.client, how, clients.keys())?;
                out.clients.push(client.name.clone());
                clients.insert(client.name.clone(), client);
            }
            let client = clients.get(&line.client).ok_or_else(|| {
                refuse(Code::FieldMissing, "no client", "name one").about("client")
            })?;
            let digest = digest(&line.sha256)?;
            if let Some(first) = digests.insert(digest.0, place.clone()) {
                return Err(refuse(
                    Code::KeyExists,
                    format_args!("the same digest is at {first}"),
                    "remove one of the two",
                )
                .about("sha256"));
            }
            if let Some(known) = tx.key_of_digest(&digest)? {
                return Err(refuse(
                    Code::KeyExists,
                    format_args!("this key is in the store already, as {}", known.id),
                    "remove the line",
                )
                .about("sha256"));
            }
            let key = key(&tx, world, &policy, client, digest, &line, how)?;
            tx.add_key(world, &key)?;
            Ok(key)
        };
        match one() {
            Ok(key) => out.keys.push(key),
            Err(e) => bad.take(e, &place)?,
        }
    }
    bad.none()?;
    if !out.keys.is_empty() {
        tx.keyset_changed();
    }
    Ok(out)
}

fn missing_client<'a>(
    tx: &mut Ground<'_, '_>,
    world: &World,
    name: &str,
    how: ImportOptions,
    known: impl Iterator<Item = &'a String>,
) -> Result<Client> {
    if name.is_empty() {
        return Err(refuse(
            Code::FieldMissing,
            "is empty",
            "name the client that the key belongs to",
        )
        .field("client"));
    }
    if !how.create_clients {
        let next: Next = match nearest(name, known.map(String::as_str)) {
            Some(near) => format_args!("did you mean `{near}`?").into(),
            None => keystile_model::next!["create it first, or give ", named("create_clients")],
        };
        return Err(refuse(
            Code::ClientNotFound,
            format_args!("there is no client `{name}`"),
            next,
        )
        .about("client"));
    }
    let draft = ClientDraft {
        name: name.to_owned(),
        ..ClientDraft::default()
    };
    tx.add_client(world, draft)
}

fn key(
    tx: &Tx<'_>,
    world: &World,
    policy: &Policy,
    client: &Client,
    digest: Digest,
    line: &Line,
    how: ImportOptions,
) -> Result<Key> {
    let now = world.now.seconds();
    let mut draft = KeyDraft {
        environment: environment(&line.environment)?,
        publishable: match line.kind.as_str() {
            "" | "secret" => false,
            "publishable" => true,
            other => {
                return Err(refuse(
                    Code::InvalidValue,
                    format_args!("`{other}` is not a type"),
                    "write `secret` or `publishable`",
                )
                .field("type"));
            }
        },
        any_scope: how.any_scope,
        ..KeyDraft::default()
    };
    for property in PROPERTIES {
        if let Some(typed) = line.properties.get(property.name) {
            draft.set(property.name, typed, now)?;
        }
    }
    let rules = checked(draft, policy, now, |_| Ok(()))?;
    check_lifetime(policy, &rules, client.plan.as_deref(), now)?;
    let mut id = KeyId::random(world.entropy)?;
    while tx.has_key(id)? {
        id = KeyId::random(world.entropy)?;
    }
    Ok(Key {
        id,
        digest,
        imported: true,
        client_number: client.number,
        client: client.name.clone(),
        client_plan: client.plan.clone(),
        rules,
        overlap_end: None,
        disabled: false,
        revoked: None,
        reason: String::new(),
        lineage: id,
        rotated_from: None,
        created: now,
    })
}

fn environment(text: &str) -> Result<Option<Name>> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = text.parse().map(Some);
    name.map_err(|e: NameError| advised(Code::InvalidValue, &e.advice()).field("environment"))
}

/// Reads a digest: 64 hexadecimal digits, or 43 characters of base64url.
fn digest(text: &str) -> Result<Digest> {
    let wrong = || {
        refuse(Code::InvalidValue, format_args!(
                "{} characters that are not a digest",
                text.chars().count()
            ), "write the SHA-256 of the whole key as 64 hexadecimal digits, as in `printf %s KEY | sha256sum`").field("sha256")
    };
    if let Some(digest) = rules::hex_digest(text) {
        return Ok(digest);
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| wrong())?;
    bytes.try_into().map(Digest).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::bench::{Bench, NOON};
    use keystile_model::error::Kind;
    use keystile_model::import_lines::{Import, KeyLine};
    use keystile_system as system;

    const LINES: u32 = 200;
    /// The line at which something urgent comes.
    const BROKEN_OFF_AT: u32 = 5;

    thread_local! {
        static BEGUN: Cell<u32> = const { Cell::new(0) };
        static STOP: Arc<AtomicBool> = Arc::default();
    }

    /// Each key draws its id once.
    fn counting(id: &mut [u8]) -> Result<()> {
        let begun = BEGUN.get() + 1;
        BEGUN.set(begun);
        if begun == BROKEN_OFF_AT {
            STOP.with(|stop| stop.store(true, Ordering::Relaxed));
        }
        (system::at(NOON).entropy)(id)
    }

    /// How many lines were begun, and what became of it.
    fn broken_off(f: impl FnOnce(&mut Store, &World) -> Result<()>) -> (u32, Kind) {
        let mut b = Bench::new();
        BEGUN.set(0);
        STOP.with(|stop| {
            stop.store(false, Ordering::Relaxed);
            b.store.break_off_when(Arc::clone(stop));
        });
        let world = World {
            entropy: counting,
            ..system::at(NOON)
        };
        let refused = f(&mut b.store, &world).unwrap_err();
        let words = refused.to_string();
        assert!(words.starts_with("it was interrupted"), "{words}");
        (BEGUN.get(), refused.kind())
    }

    #[test]
    fn an_import_that_is_broken_off_begins_no_further_line() {
        let how = ImportOptions {
            create_clients: true,
            any_scope: false,
            dry_run: false,
        };
        let lines = (0..LINES).map(|n| {
            let line = Line {
                client: "acme".to_owned(),
                sha256: format!("{n:064x}"),
                ..Line::default()
            };
            (format!("keys.csv:{n}"), line)
        });
        let done = broken_off(|store, world| import(store, world, lines.collect(), how).map(drop));
        assert_eq!(done, (BROKEN_OFF_AT, Kind::Unavailable));

        let keys = (0..LINES).map(|n| KeyLine {
            place: format!("keys[{n}]"),
            client: "acme".to_owned(),
            sha256: format!("{n:064x}"),
            ..KeyLine::default()
        });
        let whole = Import {
            clients: Vec::new(),
            keys: keys.collect(),
            plans: BTreeMap::new(),
            quotas: BTreeMap::new(),
            add_plans: false,
            allow_unknown_scope: false,
            dry_run: false,
        };
        let done = broken_off(|store, world| whole::take(store, world, whole).map(drop));
        assert_eq!(done, (BROKEN_OFF_AT, Kind::Unavailable));
    }

    #[test]
    fn lines_that_write_nothing_are_broken_off_too() {
        let mut b = Bench::new();
        b.store.break_off_when(Arc::new(AtomicBool::new(true)));
        let how = ImportOptions {
            create_clients: false,
            any_scope: false,
            dry_run: false,
        };
        let line = || ("keys.csv:2".to_owned(), Line::default());
        let lines = std::iter::repeat_with(line).take(3).collect();
        let refused = import(&mut b.store, &system::at(NOON), lines, how);
        assert_eq!(refused.map(drop).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn a_digest_is_read_as_hex_and_as_base64url() {
        let want = Digest::of_foreign(b"abc");
        let hex = keystile_core::hex::text(want.0);
        assert_eq!(digest(&hex).ok(), Some(want));
        assert_eq!(digest(&hex.to_ascii_uppercase()).ok(), Some(want));
        assert_eq!(digest(&URL_SAFE_NO_PAD.encode(want.0)).ok(), Some(want));
        for bad in [
            "",
            "abc",
            &hex[1..],
            &format!("+{}", &hex[1..]),
            &"é".repeat(32),
        ] {
            assert!(digest(bad).is_err(), "{bad}");
        }
    }
}
