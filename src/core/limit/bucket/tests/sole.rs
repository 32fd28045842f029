//! Bytes are changed where they stand as the levels would be that are read from them.

use proptest::prelude::*;

use super::*;

/// Rules and lineages by number; instants.
#[derive(Clone, Debug)]
enum Step {
    Set(usize, u64),
    Join(usize, u64),
    Elsewhere(usize, u64, u64),
    Link(u64, u64),
    Unlink(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (rule, lineage, instant) = (0..2usize, 0..3u64, 0..4 * SECOND);
    // Mostly one rule, because that is what this is about.
    let rule = prop_oneof![6 => Just(0), 1 => rule];
    let step = prop_oneof![
        4 => (rule.clone(), instant.clone()).prop_map(|(r, t)| Step::Set(r, t)),
        4 => (rule.clone(), lineage.clone()).prop_map(|(r, l)| Step::Join(r, l)),
        1 => (rule, lineage.clone(), instant.clone()).prop_map(|(r, l, t)| Step::Elsewhere(r, l, t)),
        1 => (lineage.clone(), instant).prop_map(|(l, t)| Step::Link(l, t)),
        1 => lineage.prop_map(Step::Unlink),
    ];
    proptest::collection::vec(step, 0..8)
}

fn levels(steps: Vec<Step>, rules: [Bucket; 2], more: u64) -> Levels {
    let mut levels = Levels::default();
    for step in steps {
        match step {
            Step::Set(rule, at) => _ = levels.set(&rules[rule], at),
            Step::Join(rule, lineage) => levels.join(&rules[rule], lineage),
            Step::Elsewhere(rule, lineage, now) => {
                let bucket = Some(&rules[rule]);
                levels.charge_others(bucket, 1, Some(lineage), |_| false, now);
            }
            Step::Link(lineage, until) => levels.link(lineage, until),
            Step::Unlink(lineage) => levels.unlink(lineage),
        }
    }
    (0..more).for_each(|n| levels.join(&rules[0], 100 + n));
    levels
}

/// What became of it, what was seen, and the bytes afterwards.
type Changed = (Option<bool>, Option<(u64, Members)>, Vec<u8>);

fn in_bytes(levels: &Levels, sole: Sole<'_>, to: Option<u64>) -> Changed {
    let (mut bytes, mut seen) = (levels.to_bytes(), None);
    let changed = sole.change_in(&mut bytes, &mut |alone| {
        seen = Some((alone.stored, alone.served()));
        to
    });
    (changed, seen, bytes)
}

fn in_levels(levels: &Levels, sole: Sole<'_>, to: Option<u64>) -> Changed {
    let (mut levels, mut seen) = (levels.clone(), None);
    let changed = sole.change_of(&mut levels, &mut |alone| {
        seen = Some((alone.stored, alone.served()));
        to
    });
    (changed, seen, levels.to_bytes())
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn bytes_change_as_the_levels_do_that_they_hold(
        steps in steps(),
        // As many as the bucket tells apart, too.
        more in prop_oneof![6 => Just(0u64), 1 => 250..260u64],
        to in proptest::option::of(0..4 * SECOND),
    ) {
        // Two rules that differ in one figure.
        for rules in [[(5, 60, 5), (5, 60, 6)], [(5, 60, 5), (5, 61, 5)], [(5, 60, 5), (6, 60, 5)]] {
            let rules = rules.map(|(requests, per, burst)| bucket(requests, per, burst));
            let levels = levels(steps.clone(), rules, more);
            for bucket in &rules {
                for payer in [None, Some(0), Some(1), Some(2), Some(3)] {
                    let sole = Sole { bucket, payer };
                    let got = in_bytes(&levels, sole, to);
                    prop_assert_eq!(&got, &in_levels(&levels, sole, to));
                    if let (Some(_), Some((_, members))) = (got.0, &got.1) {
                        // A lease serves the same keys, too.
                        prop_assert_eq!(members, &levels.served(bucket, payer));
                    }
                }
            }
        }
    }

    /// What no levels of ours are is never taken for a bucket.
    #[test]
    fn damaged_bytes_are_changed_only_where_they_can_be_read(
        steps in steps(),
        cut in 0..120usize,
        flip in proptest::option::of((0..120usize, any::<u8>())),
    ) {
        let rules = [bucket(5, 60, 5), bucket(6, 60, 5)];
        let mut bytes = levels(steps, rules, 0).to_bytes();
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some((at, by)) = flip
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte ^= by;
        }
        let read = Levels::from_bytes(&bytes);
        let sole = Sole { bucket: &rules[0], payer: None };
        if sole.change_in(&mut bytes, &mut |_| None).is_some() {
            prop_assert!(read.is_some_and(|levels| levels.sole(&rules[0], None).is_some()));
        }
    }
}

/// Without this, the above could hold of nothing.
#[test]
fn a_bucket_under_one_rule_is_changed_where_it_stands() {
    let (rule, other) = (bucket(5, 60, 5), bucket(5, 60, 6));
    let mut levels = Levels::default();
    levels.set(&rule, 7);
    let by_key = Sole {
        bucket: &rule,
        payer: None,
    };
    let (changed, seen, bytes) = in_bytes(&levels, by_key, Some(9));
    assert_eq!((changed, seen), (Some(true), Some((7, Members::default()))));
    assert_eq!(Levels::from_bytes(&bytes).unwrap().get(&rule), Some(9));
    assert_eq!(in_bytes(&levels, by_key, None).0, Some(false));
    let by_client = Sole {
        bucket: &rule,
        payer: Some(3),
    };
    assert_eq!(in_bytes(&levels, by_client, Some(9)).0, None, "a stranger");
    levels.join(&rule, 3);
    assert_eq!(in_bytes(&levels, by_client, Some(9)).0, Some(true));
    levels.link(4, SECOND);
    assert_eq!(
        in_bytes(&levels, by_client, Some(9)).0,
        None,
        "one was elsewhere"
    );
    levels.unlink(4);
    levels.set(&other, 1);
    assert_eq!(in_bytes(&levels, by_client, Some(9)).0, None, "two rules");
}
