use super::*;
use keystile_api::usage::UsageGroup;
use keystile_registry::usage::Step;

fn group(name: &str, allowed: bool, points: Vec<u64>) -> UsageGroup {
    let requests = points.iter().sum();
    UsageGroup {
        name: Some(name.to_owned()),
        client: None,
        requests,
        allowed: if allowed { requests } else { 0 },
        points,
    }
}

#[test]
fn the_parts_of_each_bar_are_all_of_its_requests() {
    let groups = vec![
        group("ok", true, vec![50, 7]),
        group("rate_limited", false, vec![0, 30]),
        group("unknown_api_key", false, vec![4, 1]),
        group("missing_api_key", false, vec![2, 0]),
        group("expired_api_key", false, vec![0, 1]),
    ];
    let point = |at, requests, allowed| keystile_api::usage::UsagePoint {
        at: Time(at),
        requests,
        allowed,
    };
    let usage = Usage {
        client: None,
        key: None,
        from: Time(0),
        until: Time(7200),
        step: Step::Hour,
        requests: 95,
        allowed: 57,
        refused: 38,
        points: vec![point(0, 56, 50), point(3600, 39, 7)],
        by: Some(Breakdown::Outcome),
        groups,
        others: None,
        counted_since: Some(Time(0)),
        uncounted: None,
    };
    let series = course(&usage, &|from, until| format!("{from} {until}"));
    assert_eq!(
        series.parts,
        [
            "let through",
            "rate_limited",
            "unknown_api_key",
            "other refusals"
        ]
    );
    assert_eq!(series.bars[0].values, [50, 0, 4, 2]);
    assert_eq!(series.bars[1].values, [7, 30, 1, 1]);
    assert_eq!(series.bars[1].label, "1970-01-01 01:00");
    assert_eq!(series.bars[1].short, "01");
    assert_eq!(series.bars[1].target.as_deref(), Some("3600 7200"));
}
