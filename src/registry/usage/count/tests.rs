use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::usage::seeded())]

    #[test]
    fn a_number_is_new_once_in_whatever_order_they_come(
        order in proptest::collection::vec(1u64..60, 1..200)
    ) {
        let (mut counted, mut seen) = (None, std::collections::HashSet::new());
        for seq in order {
            let new = after(counted, seq);
            prop_assert_eq!(new.is_some(), seen.insert(seq), "{}", seq);
            counted = new.or(counted);
        }
    }
}

#[test]
fn a_number_far_behind_was_counted_and_one_far_ahead_is_new() {
    assert_eq!(after(Some((100, 0)), 35), None);
    assert_eq!(after(Some((100, 0)), 36), Some((100, 1 << 63)));
    assert_eq!(after(Some((100, u64::MAX)), 164), Some((164, 1 << 63)));
    assert_eq!(after(Some((100, u64::MAX)), u64::MAX), Some((u64::MAX, 0)));
    assert_eq!(after(Some((0, 0)), 0), None);
}

#[test]
fn a_network_is_that_of_its_address_written_in_whatever_way() {
    let of = |a: &str| network(a.parse().unwrap()).unwrap().to_string();
    assert_eq!(of("192.0.2.77"), "192.0.2.0/24");
    assert_eq!(of("::ffff:192.0.2.77"), "192.0.2.0/24");
    assert_eq!(of("2001:db8:1:2::3"), "2001:db8:1::/48");
}
