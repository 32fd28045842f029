//! Pages end by their bytes, too.

use keystile_model::record::{Client, Labels};
use keystile_model::room::PAGE_BYTES;
use keystile_model::wire::PAGE;
use keystile_registry::bench::{Bench, NOON};
use keystile_registry::key as making;
use keystile_system as system;

use crate::{Operation, audit, client, key};

/// The bytes of a thing; ten of them make two pages and a half.
const LARGE: usize = PAGE_BYTES / 4;
const MANY: usize = 10;

/// All pages of a list: `next` asks for the one behind a page and gives the number of its things.
fn pages<O: Operation>(
    b: &mut Bench,
    mut asked: O,
    next: impl Fn(&O::Output) -> (usize, Option<O>),
) -> Vec<usize> {
    let mut all = Vec::new();
    loop {
        let page = asked.run(&mut b.store, &system::at(NOON)).unwrap();
        let size = serde_json::to_vec(&page).unwrap().len();
        assert!(size < PAGE_BYTES + LARGE / 2, "a page of {size} bytes");
        let (things, behind) = next(&page);
        all.push(things);
        match behind {
            Some(behind) => asked = behind,
            None => return all,
        }
    }
}

#[test]
fn a_page_of_the_log_ends_by_its_bytes() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let policy = serde_json::json!({"policy": "x".repeat(LARGE)});
    for _ in 0..MANY {
        let add = |tx: &mut keystile_store::Tx<'_>| {
            tx.audit(&world, "policy.apply", "2", None, Some(&policy))
        };
        b.store.write(&world, add).unwrap();
    }
    let head = b.store.read(|tx| Ok(tx.meta().head.seq)).unwrap();
    let list = |before| audit::List {
        before,
        limit: Some(PAGE),
        ..audit::List::default()
    };
    let sizes = pages(&mut b, list(None), |page| {
        (page.records.len(), page.next.map(|next| list(Some(next))))
    });
    assert_eq!(sizes.iter().sum::<usize>() as u64, head, "{sizes:?}");
    let export = |after| audit::Export {
        after,
        limit: Some(PAGE),
        ..audit::Export::default()
    };
    let sizes = pages(&mut b, export(None), |page| {
        (page.records.len(), page.next.map(|next| export(Some(next))))
    });
    assert_eq!(sizes.iter().sum::<usize>() as u64, head, "{sizes:?}");
}

#[test]
fn pages_of_clients_and_keys_end_by_their_bytes() {
    let mut b = Bench::new();
    let world = system::at(NOON);
    let large = || "x".repeat(LARGE);
    let acme = b.store.read(|tx| tx.client("acme")).unwrap().unwrap();
    let draft = making::KeyDraft::default();
    making::issue(&mut b.store, &world, "acme", draft, MANY as u32, |_| {}).unwrap();
    b.store
        .write(&world, |tx| {
            for n in 0..MANY {
                tx.insert_client(&Client {
                    number: 0,
                    name: format!("client-{n}"),
                    description: large(),
                    ..acme.clone()
                })?;
            }
            for mut key in tx.keys()? {
                key.rules.labels = Labels::from([("a".to_owned(), large())]);
                tx.update_key(&key)?;
            }
            Ok(())
        })
        .unwrap();
    let clients = |cursor| client::List {
        cursor,
        limit: Some(PAGE),
        ..client::List::default()
    };
    let sizes = pages(&mut b, clients(None), |page| {
        let next = page.next.clone();
        (page.clients.len(), next.map(|next| clients(Some(next))))
    });
    assert_eq!(sizes.iter().sum::<usize>(), MANY + 1, "{sizes:?}");
    let keys = |cursor| key::List {
        cursor,
        limit: Some(PAGE),
        ..key::List::default()
    };
    let sizes = pages(&mut b, keys(None), |page| {
        let next = page.next.clone();
        (page.keys.len(), next.map(|next| keys(Some(next))))
    });
    assert_eq!(sizes.iter().sum::<usize>(), MANY, "{sizes:?}");
}
