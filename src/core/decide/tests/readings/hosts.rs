//! Hosts in all their spellings.

use super::*;

const CORP: &str = r#"[{"path":"/{*rest}","hosts":["*.corp.example.com"],"scopes":["read"]},{"path":"/{*rest}","auth":"none"}]"#;

const WWW: &str =
    r#"[{"path":"/{*rest}","hosts":["www.example.com"],"auth":"none"},{"path":"/{*rest}"}]"#;

#[test]
fn no_spelling_of_a_host_passes_by_the_rules_of_a_virtual_host() {
    let w = routes(CORP);
    assert_eq!(code(&w, "other", "GET", "/x"), "ok");
    assert_eq!(
        code(&w, "a.corp.example.com", "GET", "/x"),
        "missing_api_key"
    );
    for host in [
        "x:1.corp.example.com",
        "[x].corp.example.com",
        "x:80@a.corp.example.com",
        "a.corp.example.com:80",
        "a.corp.example.com.",
        "a.corp.example.com.:80",
        "other,a.corp.example.com",
        "other:80x",
        ".corp.example.com",
    ] {
        assert_eq!(code(&w, host, "GET", "/x"), "ambiguous_host", "{host}");
    }
    assert_eq!(
        code(&w, "other:80", "GET", "/x"),
        "ok",
        "one rule either way"
    );
    assert_eq!(code(&w, "other.", "GET", "/x"), "ok", "one rule either way");
}

#[test]
fn an_open_host_is_open_in_no_other_spelling() {
    let w = routes(WWW);
    assert_eq!(code(&w, "www.example.com", "GET", "/"), "ok");
    assert_eq!(code(&w, "WWW.example.com", "GET", "/"), "ok");
    for host in [
        "www.example.com:81",
        "www.example.com.",
        "[www.example.com]",
        "www.example.com:x",
        "x@www.example.com",
    ] {
        assert_eq!(code(&w, host, "GET", "/"), "ambiguous_host", "{host}");
    }
    assert_eq!(code(&w, "", "GET", "/"), "ambiguous_host");
    for path in ["//h/x", "/\\h/x", "/%2Fh/x", "//x"] {
        let code = code(&w, "www.example.com", "GET", path);
        assert_eq!(code, "ambiguous_path", "{path} names a host of its own");
    }
    assert_eq!(code(&w, "[::1]:80", "GET", "/"), "missing_api_key");
}

#[test]
fn a_port_is_ignored_where_the_policy_says_that_envoy_does() {
    let policy = format!(r#"{{"version":1,"host_ports":"ignore","routes":{WWW}}}"#);
    let w = world_with(&policy, |_| {});
    assert_eq!(code(&w, "www.example.com:81", "GET", "/"), "ok");
    assert_eq!(code(&w, "www.example.com.", "GET", "/"), "ambiguous_host");
    assert_eq!(code(&w, "www.example.com:x", "GET", "/"), "ambiguous_host");
    let policy = format!(r#"{{"version":1,"routes":{WWW}}}"#);
    let w = world_with(&policy, |_| {});
    let mut c = call("GET", "/");
    c.pairs[2].1 = b"www.example.com:81".to_vec();
    let denial = c.verdict(&w).unwrap_err();
    assert!(
        denial.answer().detail.contains("`host_ports: ignore`"),
        "the refusal names the setting"
    );
}

#[test]
fn a_rule_may_name_a_port() {
    let w =
        routes(r#"[{"path":"/{*rest}","hosts":["h","h:81"],"auth":"none"},{"path":"/{*rest}"}]"#);
    assert_eq!(code(&w, "h", "GET", "/"), "ok");
    assert_eq!(code(&w, "h:81", "GET", "/"), "ok");
    assert_eq!(code(&w, "h:82", "GET", "/"), "ambiguous_host");
}

/// A reader that minds the slash may be one that minds the port as well.
#[test]
fn an_open_path_is_open_with_its_slash_at_every_reading_of_the_host() {
    let w = routes(
        r#"[{"path":"/a","hosts":["h"],"auth":"none"},{"path":"/a/","hosts":["h:81"],"auth":"none"},
            {"path":"/{id}","hosts":["h:81"]}]"#,
    );
    assert_eq!(code(&w, "h", "GET", "/a"), "ok");
    assert_eq!(code(&w, "h:81", "GET", "/a"), "ambiguous_path");
}

#[test]
fn two_hosts_in_one_request_are_refused() {
    let w = routes(WWW);
    let with = |name: &str, value: &str| {
        let mut c = call("GET", "/");
        c.pairs[2].1 = b"www.example.com".to_vec();
        c.with(name, value).code(&w)
    };
    assert_eq!(with("host", "www.example.com"), "ok");
    assert_eq!(with("host", "other"), "ambiguous_host");
    assert_eq!(with("host", ""), "ambiguous_host");
}

#[test]
fn a_rule_of_a_virtual_host_asks_envoy_and_nobody_else() {
    let w = routes(
        r#"[{"path":"/{*rest}","virtual_hosts":["corp"]},{"path":"/{*rest}","auth":"none"}]"#,
    );
    let ask = |virtual_host: Option<&'static str>, host: &str| {
        let mut c = call("GET", "/x");
        c.pairs[2].1 = host.as_bytes().to_vec();
        c.virtual_host = virtual_host;
        c.code(&w)
    };
    assert_eq!(ask(Some("corp"), "whatever"), "missing_api_key");
    assert_eq!(ask(Some("corp"), "whatever:81"), "missing_api_key");
    assert_eq!(ask(Some("pub"), "a.corp.example.com"), "ok");
    assert_eq!(ask(Some(""), "whatever"), "ambiguous_host");
    assert_eq!(ask(None, "whatever"), "ambiguous_host");
}

#[test]
fn a_header_that_names_a_host_with_another_rule_is_seen() {
    let w = routes(CORP);
    let seen = |host: &str, name: &str, value: &str| {
        let mut c = call("GET", "/x");
        c.pairs[2].1 = host.as_bytes().to_vec();
        c.pairs.push((name.to_owned(), value.as_bytes().to_vec()));
        let mut buckets = MemoryBuckets::default();
        let decision = c.decide(&w, &mut buckets);
        (decision.code(), decision.another_host)
    };
    let corp = "a.corp.example.com";
    for (name, value) in [
        ("x-forwarded-host", corp),
        ("X_Forwarded_Host", corp),
        ("x-forwarded-host", "other, a.corp.example.com"),
        ("x-forwarded-host", "A.corp.example.com:80"),
        ("forwarded", "for=1.2.3.4;host=a.corp.example.com"),
        ("forwarded", "for=1.2.3.4, Host=\"a.corp.example.com\""),
        ("forwarded", "for=1.1.1.1;host = a.corp.example.com"),
        ("forwarded", "host=other;host\t=\t\"a.corp.example.com\""),
        ("forwarded", "HOST =a.corp.example.com ;proto=http"),
        (
            "forwarded",
            "host=other, for=1; host= a.corp.example.com:443",
        ),
        ("forwarded", "for=\"_x,y;host=a.corp.example.com\""),
        ("forwarded", "host=\"a\\.corp.example.com\""),
        ("forwarded", "host=\"other,a.corp.example.com\""),
        ("forwarded", "host=\"other\"a.corp.example.com"),
        ("forwarded", "xhost=a.corp.example.com"),
        ("forwarded", "host=\"a.corp.example.com"),
        ("forwarded", "host="),
        ("forwarded", "host==other"),
        ("x-original-host", corp),
        ("x-forwarded-host", "a b"),
    ] {
        assert_eq!(seen("other", name, value), ("ok", true), "{name}: {value}");
    }
    for (name, value) in [
        ("x-forwarded-host", "other"),
        ("x-forwarded-host", "example.com"),
        ("forwarded", "for=1.2.3.4;by=a.corp.example.com"),
        (
            "forwarded",
            "for=ghost;proto=https; Host = \"other:443\" , for=_host;host=other",
        ),
        ("forwarded", "host"),
        ("x-forwarded-proto", corp),
    ] {
        assert_eq!(seen("other", name, value), ("ok", false), "{name}: {value}");
    }
    assert!(!seen(corp, "x-forwarded-host", "b.corp.example.com").1);
    assert!(seen(corp, "x-forwarded-host", "other").1);
}
