//! Any plans in any order, against the model.

use super::*;
use std::collections::BTreeMap;

const NS: u128 = 1_000_000_000;

struct Taking {
    at: u128,
    pub(super) line: u64,
    pub(super) cost: u64,
    pub(super) plan: usize,
}

/// When a line of keys began with a rule, with how much, and when it last used it. Levels are in
/// tokens times nanoseconds of the period.
#[derive(Clone, Copy)]
struct Stay {
    at: u128,
    /// How many takings came before.
    after: usize,
    level: u128,
    used: u128,
}

#[derive(Default)]
struct Oracle {
    takings: Vec<Taking>,
    stays: BTreeMap<(u64, Rule), Stay>,
}

fn unit((_, _, per, _): Rule) -> u128 {
    u128::from(per) * NS
}

fn most(rule: Rule) -> u128 {
    u128::from(rule.3) * unit(rule)
}

fn fill(rule: Rule) -> u128 {
    most(rule) / u128::from(rule.1)
}

impl Oracle {
    /// What a rule has left for a line that has been under it, if all that the line took since
    /// counts, and all that others took under it; and whether it was full for as long as it
    /// takes to fill since the line last used it, so that it may be forgotten.
    fn level(&self, line: u64, rule: Rule, now: u128) -> (u128, bool) {
        let stay = self.stays[&(line, rule)];
        let (mut at, mut level) = (stay.at, stay.level);
        // One that was full when a refused request came is as good as new.
        let mut is_stale = level == most(rule);
        let under = |t: &Taking| PLANS[t.plan].contains(&rule);
        let all = self.takings.iter().skip(stay.after);
        let all = all.filter(|t| t.line == line || (rule.0 == 'c' && under(t)));
        let all = all.map(|t| (t.at, t.cost, t.line == line && under(t)));
        for (when, cost, is_use) in all.chain([(now, 0, false)]) {
            let refilled = level + (when - at) * u128::from(rule.1);
            is_stale |= refilled >= most(rule)
                && at + (most(rule) - level) / u128::from(rule.1) + fill(rule) <= when;
            is_stale &= !is_use;
            level = refilled.min(most(rule));
            level = level.saturating_sub(u128::from(cost.min(rule.3)) * unit(rule));
            at = when;
        }
        (level, is_stale)
    }

    /// A line comes to the rules of a plan. One that it has not used for as long as it takes to
    /// fill twice begins with no more than those have left that it was under until now.
    fn come(&mut self, line: u64, plan: usize, now: u128) {
        let last = self.takings.iter().rfind(|t| t.line == line);
        let last = last.map_or(&[][..], |t| PLANS[t.plan]);
        for rule in PLANS[plan] {
            let stay = self.stays.get(&(line, *rule));
            let is_kept =
                |stay: &Stay| now <= stay.used + 2 * fill(*rule) && !self.level(line, *rule, now).1;
            if stay.is_some_and(is_kept) {
                continue;
            }
            let mut level = most(*rule);
            for old in last.iter().filter(|old| !PLANS[plan].contains(old)) {
                let (left, is_stale) = self.level(line, *old, now);
                // The other subject's are remembered for twice that time after the last use,
                // whoever else uses them.
                let used = self.stays[&(line, *old)].used;
                let is_remembered = old.0 == rule.0 || now < used + 2 * fill(*old);
                if is_stale || !is_remembered {
                    continue;
                }
                let tokens = match (old.0, rule.0) {
                    // Others may have used it as well: it lacks what the key took.
                    ('k', 'c') => {
                        let lacks = (most(*old) - left) / unit(*old);
                        u128::from(rule.3).saturating_sub(lacks)
                    }
                    _ => left.div_ceil(unit(*old)),
                };
                level = level.min(tokens * unit(*rule));
            }
            if stay.is_some() {
                // It may be remembered for longer, and has refilled meanwhile.
                level = level.max(self.level(line, *rule, now).0);
            }
            let stay = Stay {
                at: now,
                after: self.takings.len(),
                level,
                used: now,
            };
            self.stays.insert((line, *rule), stay);
        }
    }

    /// Whether it may be let in.
    fn admit(&mut self, taking: Taking) -> bool {
        let Taking {
            at,
            line,
            cost,
            plan,
        } = taking;
        let may = PLANS[plan].iter().all(|rule| {
            let cost = u128::from(cost.min(rule.3)) * unit(*rule);
            self.level(line, *rule, at).0 >= cost
        });
        for rule in PLANS[plan] {
            self.stays.get_mut(&(line, *rule)).unwrap().used = at;
        }
        self.takings.push(taking);
        may
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..crate::seeded() })]

    /// Each line of keys of one client is on a plan of its own, or all are on one.
    #[test]
    fn who_goes_to_and_fro_between_subjects_and_rules_gets_no_more_than_either_gives(
        acts in proptest::collection::vec(
            (0..3u64, 0..PLANS.len(), any::<bool>(), 0..25u64, prop_oneof![4 => 1..4u64, 1 => 4..30u64],
             prop_oneof![3 => 0..3_000u64, 2 => 0..60_000u64, 1 => 0..400_000u64]), 1..25),
    ) {
        let mut buckets = MemoryBuckets::default();
        let mut oracle = Oracle::default();
        let mut plans = [0; 3];
        let mut now = 10_000 * SECOND;
        for (line, plan, all, times, cost, pause) in acts {
            match all {
                true => plans = [plan; 3],
                false => plans[line as usize] = plan,
            }
            now += pause * 1_000_000;
            for line in (0..3).filter(|n| all || *n == line) {
                for _ in 0..times {
                    let plan = plans[line as usize];
                    oracle.come(line, plan, now.into());
                    let outcome = take_all(&mut buckets, &charges(line, plan, cost), now);
                    if matches!(outcome, Some(TakeOutcome::Taken { .. })) {
                        let taking = Taking { at: now.into(), line, cost, plan };
                        prop_assert!(oracle.admit(taking), "{line} on plan {plan} at {now}");
                    }
                    for levels in buckets.buckets.values() {
                        let read = Levels::from_bytes(&levels.to_bytes());
                        prop_assert_eq!(read.as_ref(), Some(levels));
                    }
                }
            }
        }
    }
}
