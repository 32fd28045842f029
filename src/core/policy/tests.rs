use super::*;

mod page;
mod together;

fn parse(json: &str) -> Result<Policy, Vec<(String, String)>> {
    let raw: RawPolicy = serde_json::from_str(json).unwrap();
    Policy::new(&raw, []).map_err(|e| {
        e.into_iter()
            .map(|e| (e.field, e.problem.to_string()))
            .collect()
    })
}

/// A policy with one field replaced.
fn with(fields: &str) -> Result<Policy, Vec<(String, String)>> {
    parse(&format!("{{\"version\":1,{fields}}}"))
}

#[test]
fn the_shortest_policy_has_the_defaults_of_the_design() {
    let p = parse(r#"{"version":1}"#).unwrap();
    assert_eq!(p.brand.as_str(), "ks");
    assert_eq!(p.mode, Mode::Enforce);
    assert_eq!(p.unmatched, Unmatched::Deny);
    assert_eq!(p.environments, ["live".parse().unwrap()]);
    assert_eq!(
        p.credentials,
        [
            Credential::Header {
                name: "authorization".into(),
                scheme: Some("Bearer".into())
            },
            Credential::Header {
                name: "x-api-key".into(),
                scheme: None
            },
        ]
    );
    assert!(!p.forward_credential && !p.require_tls);
    assert_eq!(p.identity.client, "x-keystile-client");
}

#[test]
fn reports_are_sent_where_the_policy_says_every_ten_seconds_unless_it_says_otherwise() {
    assert_eq!(parse(r#"{"version":1}"#).unwrap().report, None);
    let report = |fields: &str| with(&format!("\"report\":{{{fields}}}")).unwrap().report;
    let told = |fields: &str| report(fields).map(|r| (r.cluster, r.every));
    let control = "outbound|80||control.svc".to_owned();
    let cluster = format!("\"cluster\":\"{control}\"");
    assert_eq!(told(&cluster), Some((control.clone(), 10)));
    let both = format!("{cluster},\"every\":\"5m\"");
    assert_eq!(told(&both), Some((control, 300)));
    assert_eq!(report(&cluster).unwrap().authority(), "keystile");
    assert_eq!(
        report("\"cluster\":\"c.d-1\"").unwrap().authority(),
        "c.d-1"
    );
    let more = r#"{"version":1,"report":{"cluster":"a","to":"b"}}"#;
    assert!(serde_json::from_str::<RawPolicy>(more).is_err());
}

#[test]
fn usage_goes_with_reports_and_addresses_are_truncated_unless_the_policy_says_otherwise() {
    let report = |fields: &str| {
        let fields = format!("\"report\":{{\"cluster\":\"c\"{fields}}}");
        let r = with(&fields).unwrap().report.unwrap();
        (r.usage, r.address, r.agent)
    };
    assert_eq!(report(""), (true, Address::Truncated, false));
    let all = r#","usage":false,"address":"full","agent":true"#;
    assert_eq!(report(all), (false, Address::Full, true));
    for (kept, v4, v6) in [
        (Address::None, None, None),
        (Address::Truncated, Some("192.0.2.0"), Some("2001:db8:1::")),
        (Address::Full, Some("192.0.2.77"), Some("2001:db8:1:2::3")),
    ] {
        let of = |text: &str| kept.kept(text.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(of("192.0.2.77").as_deref(), v4);
        assert_eq!(of("::ffff:192.0.2.77").as_deref(), v4);
        assert_eq!(of("2001:db8:1:2::3").as_deref(), v6);
    }
    // What has its default is not written: a filter of another version reads it.
    let raw: RawPolicy = serde_json::from_str(
        r#"{"version":1,"report":{"cluster":"c"},"plans":{"p":{"quota":{"requests":5,"per":"day"}}}}"#,
    )
    .unwrap();
    let written = serde_json::to_value(&raw).unwrap();
    assert_eq!(
        written["report"],
        serde_json::json!({"cluster": "c", "every": "10s"})
    );
    let quota = serde_json::json!({"requests": 5, "per": "day"});
    assert_eq!(written["plans"]["p"]["quota"], quota);
}

#[test]
fn a_quota_that_could_not_be_counted_is_refused_with_its_field() {
    let field = |quota: &str| {
        let plans = format!(r#""plans":{{"p":{{"quota":{{"requests":5,{quota}}}}}}}"#);
        with(&plans)
            .map_err(|e| e.into_iter().map(|(f, _)| f).collect::<Vec<_>>())
            .err()
    };
    let zone = "plans.p.quota.time_zone".to_owned();
    let day = "plans.p.quota.rolls_over.day".to_owned();
    let hour = "plans.p.quota.rolls_over.hour".to_owned();
    for (quota, fields) in [
        (r#""per":"day""#, None),
        (r#""per":"day","rolls_over":{"hour":23}"#, None),
        (
            r#""per":"month","time_zone":"Europe/Berlin","rolls_over":{"day":28}"#,
            None,
        ),
        (r#""per":"day","time_zone":"""#, Some(vec![zone.clone()])),
        (r#""per":"day","time_zone":"so what""#, Some(vec![zone])),
        (
            r#""per":"month","rolls_over":{"day":0}"#,
            Some(vec![day.clone()]),
        ),
        (
            r#""per":"month","rolls_over":{"day":29}"#,
            Some(vec![day.clone()]),
        ),
        (r#""per":"day","rolls_over":{"day":2}"#, Some(vec![day])),
        (r#""per":"day","rolls_over":{"hour":24}"#, Some(vec![hour])),
    ] {
        assert_eq!(field(quota), fields, "{quota}");
    }
}

#[test]
fn every_route_has_a_name_that_says_what_it_matches() {
    let routes = r#""routes":[{"path":"/a"},{"path":"/a","methods":["GET","HEAD"]},
        {"path":"/a/{id}","hosts":["x.example","*.y.example"],"methods":["PUT"]}]"#;
    let policy = with(routes).unwrap();
    let names: Vec<&str> = policy.routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        ["/a", "GET,HEAD /a", "PUT x.example,*.y.example/a/{id}"]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_mistake_is_refused_with_its_field() {
    let long = "x".repeat(65);
    let many = [r#"{"requests":1,"per":"1s"}"#; 9].join(",");
    let cases = [
        (r#""realm":"a\"b""#.to_owned(), "realm"),
        (r#""realm":"""#.into(), "realm"),
        (r#""brand":"My Brand""#.into(), "brand"),
        (r#""brand":"seventeencharacte""#.into(), "brand"),
        (r#""environments":[]"#.into(), "environments"),
        (
            r#""environments":["live","Test"]"#.into(),
            "environments[1]",
        ),
        (r#""report":{"cluster":""}"#.into(), "report.cluster"),
        (r#""report":{"cluster":"a b"}"#.into(), "report.cluster"),
        (
            r#""report":{"cluster":"a","every":"6m"}"#.into(),
            "report.every",
        ),
        (
            r#""report":{"cluster":"a","every":"0s"}"#.into(),
            "report.every",
        ),
        (r#""credentials":[]"#.into(), "credentials"),
        (r#""credentials":[{}]"#.into(), "credentials[0]"),
        (
            r#""credentials":[{"header":"a","query":"b"}]"#.into(),
            "credentials[0]",
        ),
        (
            r#""credentials":[{"header":"a b"}]"#.into(),
            "credentials[0].header",
        ),
        (
            r#""credentials":[{"header":"Host"}]"#.into(),
            "credentials[0].header",
        ),
        (
            r#""credentials":[{"header":"connection","scheme":"Bearer"}]"#.into(),
            "credentials[0].header",
        ),
        (
            r#""credentials":[{"header":"a","scheme":"x y"}]"#.into(),
            "credentials[0].scheme",
        ),
        (
            r#""credentials":[{"query":"a","scheme":"Bearer"}]"#.into(),
            "credentials[0].scheme",
        ),
        (
            r#""credentials":[{"query":"a&b"}]"#.into(),
            "credentials[0]",
        ),
        (
            r#""credentials":[{"header":"A"},{"header":"a"}]"#.into(),
            "credentials[1]",
        ),
        (r#""identity":{"client":"host"}"#.into(), "identity.client"),
        (
            r#""identity":{"client":"x-api-key"}"#.into(),
            "identity.client",
        ),
        (
            r#""identity":{"client":"x","key":"X"}"#.into(),
            "identity.key",
        ),
        (
            r#""publishable":{"scopes":["a b"]}"#.into(),
            "publishable.scopes[0]",
        ),
        (r#""not_after":"5"#.to_owned() + "\"", "not_after"),
        (r#""not_after":"30s""#.into(), "not_after"),
        (r#""plans":{"Gold":{}}"#.into(), "plans.Gold"),
        (
            r#""plans":{"g":{"quota":{"requests":0,"per":"day"}}}"#.into(),
            "plans.g.quota.requests",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":0,"per":"1s"}]}}"#.into(),
            "plans.g.limits[0].requests",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":1,"per":"1s","burst":0}]}}"#.into(),
            "plans.g.limits[0].burst",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":1,"per":"1 s"}]}}"#.into(),
            "plans.g.limits[0].per",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":1,"per":"0s"}]}}"#.into(),
            "plans.g.limits[0].per",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":1,"per":"1s"},{"requests":9,"per":"1s"}]}}"#
                .into(),
            "plans.g.limits[1].per",
        ),
        (
            r#""plans":{"g":{"limits":[{"requests":5000000000,"per":"1s"}]}}"#.into(),
            "plans.g.limits[0].requests",
        ),
        (
            format!(r#""plans":{{"g":{{"limits":[{many}]}}}}"#),
            "plans.g.limits",
        ),
        (r#""routes":[{"path":"x"}]"#.into(), "routes[0].path"),
        (r#""routes":[{"path":"/{*a}/b"}]"#.into(), "routes[0].path"),
        (
            r#""routes":[{"path":"/","hosts":["a b"]}]"#.into(),
            "routes[0].hosts[0]",
        ),
        (
            r#""routes":[{"path":"/","methods":["get"]}]"#.into(),
            "routes[0].methods[0]",
        ),
        (
            r#""routes":[{"path":"/","methods":["G T"]}]"#.into(),
            "routes[0].methods[0]",
        ),
        (
            r#""routes":[{"path":"/","auth":"none","scopes":["a"]}]"#.into(),
            "routes[0].auth",
        ),
        (
            r#""routes":[{"path":"/","auth":"optional","any_scope":["a"]}]"#.into(),
            "routes[0].auth",
        ),
        (
            r#""routes":[{"path":"/","auth":"none","cost":2}]"#.into(),
            "routes[0].auth",
        ),
        (
            r#""routes":[{"path":"/","cost":0}]"#.into(),
            "routes[0].cost",
        ),
        (
            r#""routes":[{"path":"/","cost":3,"limit":{"requests":2,"per":"1s"}}]"#.into(),
            "routes[0].cost",
        ),
        (
            r#""routes":[{"path":"/","limit":{"requests":0,"per":"1s"}}]"#.into(),
            "routes[0].limit.requests",
        ),
        (
            format!(r#""routes":[{{"path":"/","scopes":["{long}"]}}]"#),
            "routes[0].scopes[0]",
        ),
        (
            r#""routes":[{"path":"/u/{a}"},{"path":"/x"},{"path":"/u/{b}/"}]"#.into(),
            "routes[2]",
        ),
    ];
    for (fields, field) in cases {
        let errors = with(&fields).unwrap_err();
        assert_eq!(errors[0].0, field, "{fields}");
        assert!(errors[0].1.len() > 10, "{fields}");
    }
    assert_eq!(parse(r#"{"version":2}"#).unwrap_err()[0].0, "version");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let errors = with(r#""brand":"X","routes":[{"path":"x"},{"path":"/","cost":0}]"#).unwrap_err();
    let fields: Vec<_> = errors.iter().map(|(f, _)| f.as_str()).collect();
    assert_eq!(fields, ["brand", "routes[0].path", "routes[1].cost"]);
}

#[test]
fn unknown_fields_are_refused() {
    for json in [
        r#"{"version":1,"rotues":[]}"#,
        r#"{"version":1,"routes":[{"path":"/","scope":["a"]}]}"#,
        r#"{"version":1,"plans":{"g":{"limit":[]}}}"#,
    ] {
        assert!(serde_json::from_str::<RawPolicy>(json).is_err(), "{json}");
    }
}

#[test]
fn the_name_of_a_route_does_not_depend_on_its_place() {
    let a = with(r#""routes":[{"path":"/a/{x}","methods":["PUT","GET"],"hosts":["B.example","a.example"]},{"path":"/b"}]"#).unwrap();
    let b = with(r#""routes":[{"path":"/b"},{"path":"/a/{y}/","methods":["GET","PUT"],"hosts":["a.example","b.example"]}]"#).unwrap();
    assert_eq!(a.routes[0].stable_id, b.routes[1].stable_id);
    assert_ne!(a.routes[0].stable_id, a.routes[1].stable_id);
}

/// The guide says which edits of a route let its limit start anew.
#[test]
fn a_route_keeps_its_buckets_unless_its_path_hosts_or_methods_change() {
    let id = |fields: &str| {
        let policy = with(&format!("\"routes\":[{{{fields}}}]"));
        policy.unwrap().routes[0].stable_id
    };
    let limit = r#""limit":{"requests":10,"per":"1d"}"#;
    let first = id(&format!(r#""path":"/a/{{x}}",{limit}"#));
    for same in [
        r#""path":"/a/{y}/""#,
        r#""path":"/a/{x}","cost":3"#,
        r#""path":"/a/{x}","limit":{"requests":5,"per":"1h","by":"client"}"#,
    ] {
        assert_eq!(id(same), first, "{same}");
    }
    for other in [
        r#""path":"/b/{x}""#,
        r#""path":"/a/{*x}""#,
        r#""path":"/a/{x}","methods":["GET"]"#,
        r#""path":"/a/{x}","hosts":["a.example"]"#,
        r#""path":"/a/{x}","virtual_hosts":["a"]"#,
    ] {
        assert_ne!(id(other), first, "{other}");
    }
}

#[test]
fn durations_have_one_unit() {
    for (text, want) in [
        ("1s", Some(1)),
        ("90s", Some(90)),
        ("15m", Some(900)),
        ("24h", Some(86_400)),
        ("7d", Some(604_800)),
        ("2w", Some(1_209_600)),
        ("", None),
        ("s", None),
        ("0s", None),
        ("1", None),
        ("-1s", None),
        ("1.5h", None),
        ("1h30m", None),
        ("99999999999999999999s", None),
        ("40000d", None),
        ("1é", None),
    ] {
        assert_eq!(seconds(text), want, "{text}");
    }
}
