use super::*;
use crate::file::DEFAULT;
use keystile_system as system;

const POLICY: &str = r#"
version: 1
environments: [live]
plans:
  free: {limits: [{requests: 2, per: 1m}]}
  trial: {quota: {requests: 2, per: month}}
routes:
- {path: /open, auth: none}
- {path: "/v1/users/{id}", methods: [GET], scopes: ["read:users"]}
- {path: "/v1/{*rest}", hosts: [api.example.com], any_scope: [a, b]}
"#;

fn run_text(cases: &str) -> Vec<CaseResult> {
    let file = policy_file::parse("policy.yaml", POLICY.to_owned()).unwrap();
    let cases = file::parse("cases.yaml", cases).unwrap();
    run(&system::at(1_800_000_000), &file, &cases).unwrap()
}

fn refused(cases: &str) -> String {
    file::parse("cases.yaml", cases).err().unwrap().to_string()
}

#[test]
fn every_property_of_a_key_decides_as_in_the_filter() {
    let outcomes = run_text(
        r#"
keys:
  reader: {scopes: ["read:users"]}
cases:
- {request: GET /open, expect: ok}
- {key: none, request: GET /v1/users/7, expect: missing_api_key}
- {key: unknown, request: GET /v1/users/7, expect: unknown_api_key}
- {key: malformed, request: GET /v1/users/7, expect: malformed_api_key}
- {key: reader, request: GET /v1/users/7, expect: {code: ok, route: "/v1/users/{id}"}}
- {key: {}, request: GET /v1/users/7, expect: insufficient_scope}
- {key: reader, request: PUT /v1/users/7, expect: route_denied}
- {key: reader, request: PUT https://api.example.com/v1/users/7, expect: {code: insufficient_scope, route: "/v1/{*rest}"}}
- {key: {scopes: [b]}, request: PUT https://api.example.com/v1/users/7, expect: ok}
- {key: {scopes: ["read:users"], state: expired}, request: GET /v1/users/7, expect: expired_api_key}
- {key: {scopes: ["read:users"], state: pending}, request: GET /v1/users/7, expect: inactive_api_key}
- {key: {scopes: ["read:users"], state: disabled}, request: GET /v1/users/7, expect: disabled_api_key}
- {key: {scopes: ["read:users"], state: revoked}, request: GET /v1/users/7, expect: revoked_api_key}
- {key: {scopes: ["read:users"], state: rotating}, request: GET /v1/users/7, expect: ok}
- {key: {scopes: ["read:users"], environment: test}, request: GET /v1/users/7, expect: environment_denied}
- {key: {scopes: ["read:users"], cidrs: [10.0.0.0/8]}, request: {path: /v1/users/7, ip: 192.0.2.1}, expect: address_denied}
- {key: {scopes: ["read:users"], cidrs: [10.0.0.0/8]}, request: {path: /v1/users/7, ip: 10.1.2.3}, expect: ok}
- {key: {scopes: ["read:users"], type: publishable, origins: ["https://a.example"]}, request: {path: /v1/users/7, origin: "https://b.example"}, expect: origin_denied}
- {key: {scopes: ["read:users"], certificates: ["spiffe://a.example/b"]}, request: GET /v1/users/7, expect: certificate_denied}
- {key: {scopes: ["read:users"], certificates: ["spiffe://a.example/b"]}, request: {path: /v1/users/7, certificates: ["spiffe://a.example/b"]}, expect: ok}
- {key: {scopes: ["read:users"], certificates: ["dns:a.example"]}, request: {path: /v1/users/7, certificates: ["spiffe://a.example/b", "dns:b.example"]}, expect: certificate_denied}
- {key: {scopes: ["read:users"], plan: free}, request: GET /v1/users/7, times: 2, expect: ok}
- {key: {scopes: ["read:users"], plan: free}, request: GET /v1/users/7, times: 3, expect: rate_limited}
- {key: {scopes: ["read:users"], plan: trial}, request: GET /v1/users/7, times: 2, expect: ok}
- {key: {scopes: ["read:users"], plan: trial}, request: GET /v1/users/7, times: 3, expect: quota_exceeded}
- {key: reader, request: GET /v1/users%2f7, expect: ambiguous_path}
"#,
    );
    for o in &outcomes {
        assert!(o.passed, "{}: {} ({})", o.name, o.code, o.because);
    }
}

#[test]
fn a_case_that_comes_out_otherwise_fails_with_the_reason() {
    let outcomes = run_text(
        "cases:\n- {name: a <b>, key: {}, request: GET /v1/users/7, expect: ok}\n- {key: {scopes: ['read:users']}, request: GET /v1/users/7, expect: {code: ok, route: /open}}\n",
    );
    assert!(!outcomes[0].passed && !outcomes[1].passed);
    assert_eq!(outcomes[0].code, "insufficient_scope");
    assert_eq!(outcomes[0].because, "lacks `read:users`");
    assert_eq!(outcomes[1].got(), "ok by /v1/users/{id}");
    let xml = junit(&outcomes);
    assert!(xml.contains("tests=\"2\" failures=\"2\""), "{xml}");
    assert!(
        xml.contains("name=\"a &lt;b&gt;\"") && xml.contains("expected ok, got insufficient_scope")
    );
}

#[test]
fn mistakes_in_a_file_of_cases_are_told_with_their_lines() {
    for (text, words) in [
        ("cases: []\n", "`cases`: is empty"),
        (
            "cases:\n- {request: GET /a, expect: okay}\n",
            "cases.yaml:2: `cases[0]`: `okay` is not a code",
        ),
        (
            "cases:\n- {request: nonsense, expect: ok}\n",
            "`nonsense` is not a request",
        ),
        (
            "keys: {reader: {}}\ncases:\n- {key: raeder, request: GET /a, expect: ok}\n",
            "did you mean `reader`?",
        ),
        (
            "keys: {none: {}}\ncases:\n- {request: GET /a, expect: ok}\n",
            "this name is built in",
        ),
        (
            "cases:\n- {request: GET /a, expect: ok, tiems: 2}\n",
            "did you mean `times`?",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn every_code_of_the_filter_can_be_expected_and_no_other() {
    use keystile_core::decide::Denial;
    let expecting = |code: &str| format!("cases:\n- {{request: GET /a, expect: {code}}}\n");
    for denial in Denial::CODES {
        let cases = file::parse("cases.yaml", &expecting(denial.code())).unwrap();
        assert_eq!(cases.cases[0].expect.code, denial.code());
    }
    let error = refused(&expecting("overdrawn"));
    assert!(
        error.contains("known are ok, ") && error.contains(", quota_exceeded, "),
        "{error}"
    );
    let error = refused(&expecting("quota_exceded"));
    assert!(error.contains("did you mean `quota_exceeded`?"), "{error}");
}

#[test]
fn a_key_that_could_not_be_is_refused() {
    let file = policy_file::parse("policy.yaml", DEFAULT.to_owned()).unwrap();
    let cases = file::parse(
        "cases.yaml",
        "cases:\n- {key: {plan: golf}, request: GET /a, expect: ok}\n",
    )
    .unwrap();
    let error = run(&system::at(1_800_000_000), &file, &cases)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("did you mean `gold`?"),
        "{error}"
    );
}
