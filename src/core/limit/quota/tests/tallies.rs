//! What was taken, window by window.

use super::*;

#[test]
fn what_others_took_counts_in_its_own_window_and_never_less() {
    let w = window(100, 200);
    let mut counts = Counts::default();
    counts.open(DAY_RULE, w).unwrap().0.own = 1;
    let mut left = |start, others| {
        let is_news = counts.hear(start, others, 0);
        (is_news, counts.open(DAY_RULE, w).unwrap().0.remaining(5))
    };
    assert_eq!(left(100, 2), (true, 2));
    assert_eq!(left(100, 2), (false, 2), "the same receipt again");
    assert_eq!(left(100, 1), (false, 2), "an old receipt");
    assert_eq!(left(0, 9), (false, 2), "another window");
    assert_eq!(left(200, 9), (false, 2), "another window");
    let (next, carried) = counts.open(DAY_RULE, window(200, 300)).unwrap();
    assert_eq!((next.used(), carried), (0, false));
}

#[test]
fn what_was_given_back_can_be_taken_again_once_whatever_order_receipts_come_in() {
    let w = window(100, 200);
    let mut counts = Counts::default();
    counts.open(DAY_RULE, w).unwrap().0.own = 5;
    let mut left = |others, given_back| {
        let is_news = counts.hear(100, others, given_back);
        (is_news, counts.open(DAY_RULE, w).unwrap().0.remaining(5))
    };
    assert_eq!(left(2, 0), (true, 0));
    assert_eq!(left(2, 7), (true, 5));
    assert_eq!(left(2, 0), (false, 5), "an old receipt");
    assert_eq!(left(2, 7), (false, 5));
    assert_eq!(left(4, 7), (true, 3));
    assert_eq!(Counts::from_bytes(&counts.to_bytes()), Some(counts));
}

#[test]
fn tallies_of_a_former_version_are_read_with_nothing_given_back() {
    let numbers = [7u64, 100, 200, 3, 2, 1];
    let former: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    let mut counts = Counts::from_bytes(&former).unwrap();
    let (tally, _) = counts.open(7, window(100, 200)).unwrap();
    assert_eq!((tally.used(), tally.carried, tally.given_back), (5, 1, 0));
}

#[test]
fn rules_that_differ_count_apart() {
    let mut tallies = MemoryBuckets::default();
    // 5 in a month and 1000 in a day, one line of keys that alternates between them.
    let (mut by_month, mut by_day) = (0, 0);
    let month = window(0, 3000);
    for round in 0..3 {
        by_month += taken(&mut tallies, MONTH_RULE, month, 5);
        let day = window(round * 100, round * 100 + 100);
        by_day += taken(&mut tallies, DAY_RULE, day, 1000);
    }
    assert_eq!((by_month, by_day), (5, 995 + 1000 + 1000));
}

#[test]
fn a_rule_that_is_new_begins_with_what_was_taken_in_windows_that_share_a_moment() {
    for (old, new, left) in [
        (window(100, 200), window(0, 1000), 2),
        (window(0, 1000), window(100, 200), 2),
        (window(100, 200), window(101, 201), 2),
        (window(100, 200), window(200, 300), 5),
        (window(200, 300), window(100, 200), 5),
    ] {
        let mut tallies = MemoryBuckets::default();
        assert_eq!(taken(&mut tallies, DAY_RULE, old, 3), 3);
        assert_eq!(taken(&mut tallies, MONTH_RULE, new, 5), left, "{new:?}");
        assert_eq!(taken(&mut tallies, DAY_RULE, old, 3), 0);
    }
}

#[test]
fn a_clock_that_steps_forward_and_back_gives_no_window_anew() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    for ahead in [
        vec![8],
        vec![365],
        vec![365, 366, 367, 368, 369],
        vec![9, 30, 400],
    ] {
        let mut tallies = MemoryBuckets::default();
        assert_eq!(taken(&mut tallies, DAY_RULE, day(7), 3), 3);
        for n in &ahead {
            assert_eq!(taken(&mut tallies, DAY_RULE, day(*n), 3), 3);
        }
        for n in ahead.iter().chain(&[7]) {
            assert_eq!(taken(&mut tallies, DAY_RULE, day(*n), 3), 0, "{n}");
        }
        // Refused until the window ends that the clock shows.
        let refused = draw(DAY_RULE, day(7), 3).take(&mut tallies);
        assert_eq!(refused, Err(NotDrawn::UsedUp(day(7).end)));
    }
}

#[test]
fn what_was_taken_ahead_counts_today_and_not_tomorrow_again() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut tallies = MemoryBuckets::default();
    assert_eq!(taken(&mut tallies, DAY_RULE, day(365), 3), 3);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(7), 3), 0);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(8), 3), 3);
    assert_eq!(taken(&mut tallies, DAY_RULE, day(365), 3), 0);
}

#[test]
fn windows_kept_are_few_and_the_past_gives_nothing_back() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut counts = Counts::default();
    for n in 0..400 {
        let (tally, _) = counts.open(DAY_RULE, day(n)).unwrap();
        assert_eq!(tally.used(), 0, "{n}");
        tally.own = 3;
        assert!(counts.to_bytes().len() <= 8 + 4 * 64);
    }
    for n in 0..400 {
        let (tally, _) = counts
            .clone()
            .open(DAY_RULE, day(n))
            .map(|(t, c)| (*t, c))
            .unwrap();
        assert!(tally.used() >= 3, "{n}");
    }
    // Rules are few, too: of others, windows that are past make room; else there is none.
    for rule in 2..200 {
        counts.open(rule, day(399 + rule)).unwrap();
        assert!(counts.to_bytes().len() <= 8 + MAX_TALLIES * 64);
    }
    let mut full = Counts::default();
    (0..32).for_each(|rule| assert!(full.open(rule, day(9)).is_some()));
    assert!(full.open(32, day(9)).is_none());
    let bytes = full.to_bytes();
    assert_eq!(Counts::from_bytes(&bytes).as_ref(), Some(&full));
    assert_eq!(
        Counts::from_bytes(&[&bytes[..], &bytes[8..72]].concat()),
        None
    );
    assert!(full.open(32, day(10)).is_some());
}

#[test]
fn three_windows_are_kept_beside_the_present_each_with_its_own_count() {
    let day = |n: u64| window(n * 100, n * 100 + 100);
    let mut counts = Counts::default();
    for (n, kept) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 4)] {
        counts.open(DAY_RULE, day(n)).unwrap().0.own = n;
        assert_eq!(counts.to_bytes().len(), 8 + kept * 64, "{n}");
    }
}

#[test]
fn what_counts_in_an_earlier_window_as_well_is_not_given_back() {
    let (today, ahead) = (window(100, 200), window(900, 1000));
    let mut counts = Counts::default();
    counts.open(DAY_RULE, ahead).unwrap().0.own = 2;
    // The clock is set back: both count today, too.
    let (tally, carried) = counts.open(DAY_RULE, today).unwrap();
    assert_eq!((tally.own, carried), (2, true));
    assert!(!counts.give_back(DAY_RULE, ahead));
    counts.open(DAY_RULE, ahead).unwrap().0.own = 3;
    assert!(counts.give_back(DAY_RULE, ahead));
    assert!(!counts.give_back(DAY_RULE, ahead));
    assert_eq!(counts.open(DAY_RULE, ahead).unwrap().0.own, 2);
}

#[test]
fn what_is_given_back_after_the_window_ended_is_not_given_to_the_next() {
    let mut counts = Counts::default();
    counts.open(DAY_RULE, window(100, 200)).unwrap().0.own = 5;
    let before = counts.clone();
    assert!(!counts.give_back(DAY_RULE, window(0, 100)));
    assert!(!counts.give_back(MONTH_RULE, window(100, 200)));
    assert_eq!(counts, before);
    assert!(counts.give_back(DAY_RULE, window(100, 200)));
    let (tally, _) = counts.open(DAY_RULE, window(100, 200)).unwrap();
    assert_eq!(tally.own, 4);
}

#[test]
fn a_rule_is_period_time_zone_and_roll_over_but_not_the_number() {
    let rule = |change: fn(&mut RawQuota)| {
        let mut raw = raw(QuotaPeriod::Month, 1, 0);
        change(&mut raw);
        super::rule(&raw)
    };
    let same = rule(|_| {});
    assert_eq!(quota(QuotaPeriod::Month, 1, 0).rule(), same);
    assert_eq!(rule(|raw| raw.requests = 9), same);
    let others: [fn(&mut RawQuota); 4] = [
        |raw| raw.per = QuotaPeriod::Day,
        |raw| raw.time_zone = "Europe/Berlin".into(),
        |raw| raw.rolls_over.day = 2,
        |raw| raw.rolls_over.hour = 2,
    ];
    others
        .iter()
        .for_each(|change| assert_ne!(rule(*change), same));
}

#[test]
fn what_is_taken_counts_beside_in_every_window_that_shares_a_moment() {
    let day = window(100, 200);
    let mut counts = Counts::default();
    // Another rule with the same window, another window of the same rule, and neither.
    let others = [
        (MONTH_RULE, day),
        (DAY_RULE, window(150, 250)),
        (9, window(0, 150)),
    ];
    let apart = (MONTH_RULE, window(200, 300));
    for (rule, window) in others.into_iter().chain([apart, (DAY_RULE, day)]) {
        counts.open(rule, window).unwrap();
    }
    counts.took(DAY_RULE, day);
    for (rule, window) in others {
        assert_eq!(counts.open(rule, window).unwrap().0.used(), 1, "{rule}");
    }
    assert_eq!(counts.open(apart.0, apart.1).unwrap().0.used(), 0);
}

#[test]
fn what_also_counts_in_an_earlier_window_is_not_given_back() {
    let [today, tomorrow] = [window(100, 200), window(200, 300)];
    let mut counts = Counts::default();
    counts.open(DAY_RULE, tomorrow).unwrap();
    counts.took(DAY_RULE, tomorrow);
    assert!(counts.clone().give_back(DAY_RULE, tomorrow));
    // The clock is set back.
    assert_eq!(counts.open(DAY_RULE, today).unwrap().0.used(), 1);
    assert!(!counts.give_back(DAY_RULE, tomorrow));
    assert_eq!(counts.open(DAY_RULE, tomorrow).unwrap().0.used(), 1);
    let both = [(DAY_RULE, tomorrow)];
    assert!(!counts.give_back_together(&both));
    // What another rule took is not this one's to give back.
    let mut others = Counts::default();
    others.open(DAY_RULE, tomorrow).unwrap();
    others.open(MONTH_RULE, tomorrow).unwrap();
    others.took(MONTH_RULE, tomorrow);
    assert!(!others.give_back(DAY_RULE, tomorrow));
    assert_eq!(counts.open(DAY_RULE, tomorrow).unwrap().0.used(), 1);
}

#[test]
fn of_windows_together_each_is_given_back_and_no_other() {
    let both = [(MONTH_RULE, window(0, 1000)), (DAY_RULE, window(100, 200))];
    let mut counts = Counts::default();
    for (rule, window) in both {
        counts.open(rule, window).unwrap();
    }
    assert!(!counts.give_back_together(&both), "nothing was taken");
    counts.took_together(&both);
    let other = [(9, window(0, 1000))];
    assert!(!counts.give_back_together(&other));
    let used = |counts: &mut Counts| both.map(|(rule, w)| counts.open(rule, w).unwrap().0.used());
    assert_eq!(used(&mut counts), [1, 1]);
    assert!(counts.give_back_together(&both));
    assert_eq!(used(&mut counts), [0, 0]);
    assert!(!counts.give_back_together(&both));
}

#[test]
fn draws_together_look_take_and_give_back_as_one() {
    let key = TallyKey::new([7; 8], 1);
    let draw = |rule, window, requests| Draw {
        key,
        rule,
        window,
        requests,
    };
    let draws = vec![
        draw(MONTH_RULE, window(0, 1000), 5),
        draw(DAY_RULE, window(100, 200), 2),
    ];
    let joint = Joint::new(draws).unwrap();
    let mut tallies = MemoryBuckets::default();
    for left in [1, 0] {
        assert_eq!(joint.look(&mut tallies), Ok(()));
        let drawn = joint.take(&mut tallies).unwrap();
        assert_eq!(drawn[1].1.remaining, left);
    }
    let used_up = NotDrawn::UsedUp(200);
    assert_eq!(joint.look(&mut tallies), Err(used_up));
    assert_eq!(joint.take(&mut tallies), Err(used_up));
    joint.give_back(&mut tallies, &Vec::new());
    assert_eq!(joint.look(&mut tallies), Ok(()));
    assert_eq!(joint.take(&mut tallies).unwrap()[1].1.remaining, 0);
}
