use super::*;
use proptest::prelude::*;

const ORDERS: &str = include_str!("../../../tests/vectors/imports/openapi.yaml");
const GITHUB: &str = include_str!("../../../tests/vectors/imports/github-excerpt.json");

mod beside;
mod cases;
mod servers;

const ANY_HOST: DraftOptions<'static> = DraftOptions {
    any_host: true,
    beside: None,
};

fn drafted(text: &str, how: DraftOptions<'_>) -> Drafted {
    draft("openapi", text, how).unwrap()
}

fn routes(drafted: &Drafted) -> Vec<&str> {
    drafted
        .policy
        .lines()
        .filter_map(|l| l.strip_prefix("- {path: ")?.strip_suffix('}'))
        .collect()
}

fn said(drafted: &Drafted, place: &str) -> Vec<String> {
    drafted
        .unsaid
        .iter()
        .filter(|u| u.places.iter().any(|p| p == place))
        .map(|u| u.problem.clone())
        .collect()
}

#[test]
fn all_of_a_requirement_and_any_of_several_become_scopes() {
    let orders = drafted(ORDERS, ANY_HOST);
    assert_eq!(
        routes(&orders),
        [
            r#""/health", methods: [GET, HEAD], auth: none"#,
            r#""/v1/files/{path+}", methods: [GET, HEAD], scopes: ["read"]"#,
            r#""/v1/orders", methods: [GET, HEAD], scopes: ["read"]"#,
            r#""/v1/orders", methods: [POST], scopes: ["own", "write"]"#,
            r#""/v1/orders/{order_id}", methods: [DELETE], scopes: ["admin", "write"]"#,
            r#""/v1/orders/{order_id}", methods: [GET, HEAD], any_scope: ["admin", "read"]"#,
            r#""/v1/orders/{order_id}", methods: [PATCH]"#,
            r#""/v1/orders/{id}.json", methods: [GET, HEAD], scopes: ["export"]"#,
            r#""/v1/public", methods: [GET, HEAD], auth: optional"#,
        ]
    );
    // Asked for together with the token: a request has one key.
    assert!(!orders.policy.contains("x-tenant-key"));
    assert!(
        orders
            .policy
            .contains("- {header: authorization, scheme: Bearer}\n")
    );
}

#[test]
fn servers_become_hosts_and_base_paths() {
    let orders = drafted(ORDERS, DraftOptions::default());
    assert!(
        routes(&orders).contains(
            &r#""/v1/orders", methods: [GET, HEAD], hosts: ["*.example.org", "api.example.com"], scopes: ["read"]"#
        ),
        "{}",
        orders.policy
    );
    assert!(routes(&orders).contains(&r#""/health", methods: [GET, HEAD], auth: none"#));
    assert!(orders.policy.contains("realm: \"api.example.com\"\n"));
}

#[test]
fn what_cannot_be_said_is_listed_with_its_place() {
    let orders = drafted(ORDERS, DraftOptions::default());
    for (place, problem) in [
        (
            "DELETE /orders/{order-id}",
            "`audit owner` would also be enough",
        ),
        (
            "PATCH /orders/{order-id}",
            "requires `certificate`, which is not an API key",
        ),
        (
            "security scheme `tenant_key`",
            "is required together with `oauth`",
        ),
        ("GET /public", "the scopes are not required"),
        ("GET /odd/../path", "no request can match segment `..`"),
    ] {
        let said = said(&orders, place);
        assert!(
            said.iter().any(|s| s.contains(problem)),
            "{place}: {said:?}"
        );
    }
}

#[test]
fn silence_about_security_asks_for_a_key() {
    let github = drafted(GITHUB, DraftOptions::default());
    assert_eq!(github.paths, 5);
    assert!(!github.policy.contains("auth:"), "{}", github.policy);
    assert!(said(&github, "GET /advisories")[0].starts_with("has no `security`"));
    assert!(
        routes(&github).contains(
            &r#""/repos/{owner}/{repo}/compare/{base}...{head}", methods: [GET, HEAD], hosts: ["api.github.com"]"#
        ),
        "{}",
        github.policy
    );
}

#[test]
fn a_path_that_takes_more_than_the_document_names_is_not_opened() {
    for path in ["/f?x=1", "/{a}{b}"] {
        let text = format!("openapi: 3.1.0\npaths: {{'{path}': {{get: {{security: []}}}}}}\n");
        let drafted = drafted(&text, DraftOptions::default());
        assert!(!drafted.policy.contains("auth:"), "{}", drafted.policy);
        let said = said(&drafted, &format!("GET {path}"));
        assert!(
            said.iter().any(|s| s.contains("a key is required")),
            "{said:?}"
        );
    }
    // No client sends what follows `#`: it only tells two operations of one path apart.
    let text =
        "openapi: 3.1.0\npaths: {'/f#x': {get: {security: []}}, '/f': {get: {security: []}}}\n";
    let drafted = drafted(text, DraftOptions::default());
    assert!(
        drafted
            .policy
            .contains("path: \"/f\", methods: [GET, HEAD], auth: none"),
        "{}",
        drafted.policy
    );
}

#[test]
fn the_same_document_gives_the_same_draft() {
    let (a, b) = (
        drafted(ORDERS, DraftOptions::default()),
        drafted(ORDERS, DraftOptions::default()),
    );
    assert_eq!((a.policy, a.unsaid), (b.policy, b.unsaid));
}

#[test]
fn scopes_that_no_policy_can_write_get_names_that_it_can() {
    let text = r#"{"openapi":"3.0.0","paths":{"/a":{"get":{"security":[{"o":["a b","c"]}]}}},
        "components":{"securitySchemes":{"o":{"type":"oauth2"}}}}"#;
    let drafted = drafted(text, DraftOptions::default());
    assert_eq!(routes(&drafted).len(), 1);
    assert!(
        routes(&drafted)[0].contains("\"a_b-"),
        "{:?}",
        routes(&drafted)
    );
    assert_eq!(drafted.unsaid.len(), 1);
}

#[test]
fn other_documents_are_refused_with_the_next_step() {
    for (text, words) in [
        (
            "swagger: '2.0'\npaths: {}\n",
            "convert it to OpenAPI 3 first",
        ),
        ("openapi: 2.9.0\n", "is not 3.0, 3.1 or 3.2"),
        ("openapi: 3.0.0\npaths: {}\n", "holds no path"),
        ("[1, 2]\n", "name an OpenAPI 3.0, 3.1 or 3.2 document"),
        ("{\"openapi\": 3}", "`3` is not 3.0, 3.1 or 3.2"),
        ("{\"openapi\": []}", "`openapi`: invalid type"),
    ] {
        let error = draft("d", text, DraftOptions::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Exactness of the translation: whoever meets the demand meets one alternative.
    #[test]
    fn a_draft_never_asks_for_less_than_the_document(
        alternatives in proptest::collection::vec(
            proptest::collection::btree_set("[abcd]", 0..4), 1..4),
    ) {
        let mut notes = Notes::default();
        let list: Vec<String> = alternatives
            .iter()
            .map(|a| format!("{{o: [{}]}}", a.iter().cloned().collect::<Vec<_>>().join(", ")))
            .collect();
        let text = format!(
            "openapi: 3.1.0\npaths: {{/a: {{get: {{security: [{}]}}}}}}\ncomponents: {{securitySchemes: {{o: {{type: oauth2}}}}}}\n",
            list.join(", ")
        );
        let document = read::read("d", &text).unwrap();
        let files = DocumentFiles::new("d", &text, None);
        let all = operations(&document, &files, &mut notes).unwrap();
        let schemes = Schemes::new(&document, &all, &files, &mut notes).unwrap();
        let operation = &all[0].1.operation;
        let demand = security::demand(&document, &schemes, operation, "GET /a", &mut notes);
        let Demand::Key { scopes, any } = demand else { panic!("{demand:?}") };
        let mut exact = true;
        for bits in 0..16u8 {
            let held: BTreeSet<String> = ["a", "b", "c", "d"]
                .iter()
                .enumerate()
                .filter(|(i, _)| bits & (1 << i) != 0)
                .map(|(_, s)| (*s).to_owned())
                .collect();
            let let_in = scopes.is_subset(&held) && (any.is_empty() || !any.is_disjoint(&held));
            let meant = alternatives.iter().any(|a| a.is_subset(&held));
            prop_assert!(!let_in || meant, "{held:?}");
            exact &= let_in == meant;
        }
        // Where it asks for more, it says so.
        prop_assert!(exact || !notes.0.is_empty());
    }

    #[test]
    fn every_draft_passes_the_check(
        paths in proptest::collection::btree_map(
            "(/(a|b|\\{x\\}|\\{y-z\\}|\\{x\\}\\.json|c%20d|\\.\\.|e;f|g\\?h)){1,3}",
            proptest::collection::vec("[ab]", 0..3),
            1..8,
        ),
        server in "(https://(a\\.example|\\{t\\}\\.example|b c)(:80)?)?(/v1|/\\{v\\}|)",
    ) {
        let mut items = serde_json::Map::new();
        for (path, scopes) in &paths {
            items.insert(path.clone(), serde_json::json!({
                "get": {"security": [{"o": scopes}]},
                "put": {},
            }));
        }
        let text = serde_json::json!({
            "openapi": "3.0.3",
            "servers": [{"url": server, "variables": {"t": {"default": "x"}}}],
            "paths": items,
            "components": {"securitySchemes": {"o": {"type": "oauth2"}}},
        });
        // What it hands out has been through the policy's own check.
        if let Err(e) = draft("d", &text.to_string(), DraftOptions::default()) {
            prop_assert!(e.to_string().contains("holds no path"), "{e}");
        }
    }
}

#[test]
fn what_a_policy_opens_beside_a_key_or_does_not_look_at_is_said() {
    let said = |paths: &str, servers: &str| {
        let text = format!(
            "openapi: 3.1.0\nservers: [{servers}]\ncomponents: {{securitySchemes: {{k: {{type: apiKey, in: header, name: x-k}}}}}}\npaths:\n{paths}"
        );
        let drafted = draft("d", &text, DraftOptions::default()).unwrap();
        drafted
            .unsaid
            .into_iter()
            .map(|u| u.problem)
            .collect::<Vec<_>>()
    };
    let me = "  /a/me: {get: {security: [{k: []}]}}\n";
    let open = "  \"/a/{x}\": {post: {security: []}}\n";
    let keyed = "  \"/a/{x}\": {post: {security: [{k: []}]}}\n";
    assert!(said(&format!("{me}{keyed}"), "").is_empty());
    let found = said(&format!("{me}{open}"), "");
    assert!(
        found[0].contains("`/a/{x}` would open it; a key is required"),
        "{found:?}"
    );
    let port = said(me, "{url: 'https://h.example.com:9443'}");
    assert!(port[0].starts_with("names a port"), "{port:?}");
    assert!(said(me, "{url: 'https://h.example.com:443'}").is_empty());
}

#[test]
fn a_path_or_a_scheme_that_stands_twice_is_refused() {
    for text in [
        r#"{"openapi": "3.1.0", "paths": {"/a": {"get": {}}, "/a": {"post": {}}}}"#,
        r#"{"openapi": "3.1.0", "paths": {"/a": {"get": {}}}, "components": {"securitySchemes": {"k": {}, "k": {}}}}"#,
    ] {
        let error = draft("d", text, DraftOptions::default()).err().unwrap();
        assert!(error.to_string().contains("appears here twice"), "{error}");
    }
}
