use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
const STORE: StoreId = StoreId([7; 8]);

/// A table that nobody else uses, with room made as it is needed.
#[derive(Default)]
pub(crate) struct Table(pub(crate) BTreeMap<u16, AttemptsSet>);

impl Attempts for Table {
    fn update_set(
        &mut self,
        set: u16,
        f: &mut dyn FnMut(&mut AttemptsSet) -> bool,
    ) -> Result<(), Contended> {
        let mut changed = self.0.get(&set).copied().unwrap_or_default();
        if f(&mut changed) {
            self.0.insert(set, changed);
        }
        Ok(())
    }
}

/// Four at once, and one every ten seconds.
fn rule() -> Bucket {
    Bucket::new(6, 60, 4).unwrap()
}

fn place(address: &str) -> AttemptsPlace {
    AttemptsPlace::new(STORE, &rule(), address.parse().unwrap())
}

/// A bucket that is filled as time passes. It shares no code, and has room for every address.
#[derive(Clone, Copy)]
struct Marbles {
    /// One for each tenth of a second: a hundred are one attempt.
    level: u64,
    at: u64,
}

#[derive(Default)]
struct Model(BTreeMap<String, Marbles>);

impl Model {
    fn admits(&mut self, network: &str, tenths: u64) -> bool {
        let full = Marbles {
            level: 400,
            at: tenths,
        };
        let jar = self.0.entry(network.to_owned()).or_insert(full);
        jar.level = (jar.level + tenths - jar.at).min(400);
        jar.at = tenths;
        let enough = jar.level >= 100;
        if enough {
            jar.level -= 100;
        }
        enough
    }
}

#[test]
fn an_address_has_its_burst_and_then_one_attempt_in_each_interval() {
    let mut table = Table::default();
    let here = place("192.0.2.1");
    let mut at = |seconds: u64| attempt(&mut table, here, &rule(), seconds * SECOND);
    assert_eq!([at(100), at(100), at(100), at(100)], [Ok(()); 4]);
    assert_eq!(at(100), Err(10));
    assert_eq!(at(103), Err(7));
    assert_eq!(at(110), Ok(()));
    assert_eq!(at(110), Err(10));
    let mut other = |address| attempt(&mut table, place(address), &rule(), 110 * SECOND);
    assert_eq!(other("192.0.2.2"), Ok(()));
    assert_eq!(other("::ffff:192.0.2.1"), Err(10));
}

#[test]
fn addresses_of_ipv6_count_by_their_64_and_rules_apart() {
    assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1"));
    assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
    assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
    let address = "192.0.2.1".parse().unwrap();
    let other = Bucket::new(6, 60, 5).unwrap();
    assert_ne!(
        place("192.0.2.1"),
        AttemptsPlace::new(STORE, &other, address)
    );
    let store = StoreId([8; 8]);
    assert_ne!(
        place("192.0.2.1"),
        AttemptsPlace::new(store, &rule(), address)
    );
}

#[test]
fn a_million_addresses_take_no_more_room_than_the_table_has() {
    let mut table = Table::default();
    for n in 0..1_000_000u32 {
        let address = IpAddr::from(core::net::Ipv4Addr::from_bits(
            n.wrapping_mul(2_654_435_761),
        ));
        let place = AttemptsPlace::new(STORE, &rule(), address);
        assert!(place.set < SETS);
        assert_eq!(attempt(&mut table, place, &rule(), SECOND), Ok(()));
    }
    assert_eq!(
        table.0.len(),
        usize::from(SETS),
        "addresses spread over all sets"
    );
}

#[test]
fn a_new_address_takes_the_place_of_the_one_that_has_tried_least() {
    let mut table = Table::default();
    let meet = |name: u64| AttemptsPlace { set: 5, name };
    let mut tries = |name, times| -> Vec<bool> {
        let one = |_| attempt(&mut table, meet(name), &rule(), 9 * SECOND).is_ok();
        (0..times).map(one).collect()
    };
    for name in 1..=8 {
        assert_eq!(tries(name, 4), [true; 4]);
    }
    // Full: the ninth takes the place of one of the eight, and a flood of others that of the ninth.
    for name in 9..2_000 {
        assert_eq!(tries(name, 1), [true]);
    }
    let forgotten = (1..=8).filter(|name| tries(*name, 1) == [true]).count();
    assert_eq!(forgotten, 1);
}

#[test]
fn a_set_that_somebody_else_wrote_is_none() {
    let set = AttemptsSet::default();
    assert_eq!(AttemptsSet::from_bytes(set.as_bytes()), Some(set));
    assert_eq!(AttemptsSet::from_bytes(&set.as_bytes()[1..]), None);
    assert_eq!(AttemptsSet::from_bytes(&[]), None);
}

/// Callers, and the tenths of seconds between them.
fn callers(most: u16) -> impl Strategy<Value = Vec<(u16, u64)>> {
    proptest::collection::vec((0..most, 0..60u64), 1..300)
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn few_addresses_are_counted_as_with_marbles(callers in callers(8)) {
        let (mut table, mut model) = (Table::default(), Model::default());
        let mut tenths = 1_000;
        for (n, pause) in callers {
            tenths += pause;
            let address = format!("198.51.100.{n}");
            let now = tenths * SECOND / 10;
            let admitted = attempt(&mut table, place(&address), &rule(), now).is_ok();
            prop_assert_eq!(admitted, model.admits(&address, tenths));
        }
    }

    #[test]
    fn addresses_that_push_one_another_out_are_never_refused_too_early(callers in callers(40)) {
        let (mut table, mut model) = (Table::default(), Model::default());
        let mut tenths = 1_000;
        for (n, pause) in callers {
            tenths += pause;
            let meet = AttemptsPlace { set: 0, name: u64::from(n) + 1 };
            let now = tenths * SECOND / 10;
            let admitted = attempt(&mut table, meet, &rule(), now).is_ok();
            prop_assert!(!model.admits(&n.to_string(), tenths) || admitted);
        }
    }
}
