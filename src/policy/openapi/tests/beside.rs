//! Names that begin with `x-`, and paths that would take the requests of others. What must come out
//! is read from the OpenAPI specification, and asked of the policy, request by request.

use keystile_core::request::route::{HostPattern, Places, Router, Template};

use super::*;

/// What the draft requires of a request: `open`, `optional`, `key`, scopes, or `denied`.
fn asked(drafted: &Drafted, method: &str, host: &str, path: &str) -> String {
    let routes = crate::file::parse("p", drafted.policy.clone())
        .unwrap()
        .raw
        .routes;
    let mut router = Router::default();
    for (n, route) in routes.iter().enumerate() {
        let hosts: Vec<HostPattern> = route
            .hosts
            .iter()
            .map(|h| HostPattern::parse(h).unwrap())
            .collect();
        let places = Places {
            hosts: &hosts,
            ..Places::default()
        };
        let template = Template::parse(&route.path).unwrap();
        router.insert(n, places, &template, &route.methods).unwrap();
    }
    let Some(route) = router.find(host, method.as_bytes(), path) else {
        return "denied".to_owned();
    };
    let text = routes_of(drafted)[route].clone();
    let after = |word: &str| {
        text.split_once(word)
            .map(|(_, rest)| rest.trim_end_matches('}').to_owned())
    };
    match after("auth: ") {
        Some(auth) if auth == "none" => "open".to_owned(),
        Some(auth) => auth,
        None => after("scopes: ").unwrap_or_else(|| "key".to_owned()),
    }
}

fn routes_of(drafted: &Drafted) -> Vec<String> {
    let lines = drafted.policy.lines();
    lines
        .filter(|l| l.starts_with("- {path:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn names_that_begin_with_x_are_names() {
    let text = "
openapi: 3.1.0
security: [{x-api-key: []}]
components:
  securitySchemes:
    x-api-key: {type: apiKey, in: header, name: x-api-key}
    k: {type: apiKey, in: header, name: x-k}
    x-note: any
  pathItems: {x-one: {get: {security: [{k: [one]}]}}}
servers:
- {url: 'https://{x-region}.example.com/{x-base}', variables: {x-region: {default: eu, enum: [eu, us]}, x-base: {default: 1, enum: [1, 2]}, x-more: {y: 1}}}
paths:
  /a: {get: {}}
  /b: {get: {security: [{x-api-key: [s]}]}}
  /c: {get: {security: [{k: [], x-api-key: [s]}]}}
  /d: {get: {security: [{k: []}, {x-api-key: []}]}}
  /e: {$ref: '#/components/pathItems/x-one'}
  /f: {get: {security: [{x-note: true}]}}
  /g: {get: {security: [{x-unknown: []}]}}
  /h: {get: {security: [{k: []}, {x-note: true}]}}
  /j: {get: {security: [{}]}}
";
    let drafted = drafted(text, DraftOptions::default());
    for (path, want) in [
        ("a", "key"),
        ("b", "[\"s\"]"),
        ("c", "[\"s\"]"),
        ("d", "key"),
        ("e", "[\"one\"]"),
        ("f", "key"),
        ("g", "key"),
        ("h", "key"),
        ("j", "open"),
    ] {
        for (host, base) in [("eu", 1), ("us", 2)] {
            let host = format!("{host}.example.com");
            let path = format!("/{base}/{path}");
            assert_eq!(asked(&drafted, "GET", &host, &path), want, "{path}");
        }
        assert_eq!(
            asked(&drafted, "GET", "other.example.com", &format!("/1/{path}")),
            "denied"
        );
    }
    assert!(
        drafted.policy.contains("header: \"x-api-key\""),
        "{}",
        drafted.policy
    );
    assert_eq!(said(&drafted, "security scheme `x-unknown`").len(), 1);
}

#[test]
fn a_path_for_fewer_hosts_opens_nothing_that_a_more_specific_path_protects() {
    let text = "
openapi: 3.1.0
components: {securitySchemes: {k: {type: apiKey, in: header, name: x-k}}}
paths:
  '/a/{x}': {servers: [{url: 'https://eu.example.com'}], get: {security: []}, put: {security: [{k: [w]}]}}
  /a/b: {servers: [{url: 'https://{r}.example.com', variables: {r: {default: us}}}], get: {security: [{k: []}]}, put: {security: [{k: []}]}}
  '/c/{x}': {servers: [{url: 'https://eu.example.com'}], x-amazon-apigateway-any-method: {security: []}}
  /c/b: {get: {security: [{k: [s]}]}, post: {security: [{k: [t]}]}}
  '/d/{x}': {servers: [{url: 'https://eu.example.com'}], get: {security: []}}
  '/d/{x}.json': {servers: [{url: 'https://{r}.example.com', variables: {r: {default: us}}}], get: {security: [{k: [j]}]}}
  '/d/a.json': {get: {security: [{k: [deep]}]}}
  '/d/z': {servers: [{url: 'https://us.example.org'}], get: {security: [{k: [far]}]}}
";
    let drafted = drafted(text, DraftOptions::default());
    for (request, want) in [
        ("GET eu.example.com /a/b", "key"),
        ("HEAD eu.example.com /a/b", "key"),
        ("PUT eu.example.com /a/b", "key"),
        ("PUT eu.example.com /a/x", "[\"w\"]"),
        ("GET eu.example.com /a/x", "open"),
        ("GET us.example.com /a/b", "key"),
        ("GET us.example.com /a/x", "denied"),
        ("GET eu.example.com /c/b", "[\"s\"]"),
        ("POST eu.example.com /c/b", "[\"t\"]"),
        // Documented as a method of `/c/{x}` alone.
        ("PUT eu.example.com /c/b", "key"),
        ("PUT eu.example.com /c/x", "open"),
        ("GET eu.example.com /d/x", "open"),
        ("GET eu.example.com /d/x.json", "[\"j\"]"),
        // Three paths that meet: the most specific counts on the hosts of the others.
        ("GET eu.example.com /d/a.json", "[\"deep\"]"),
        ("GET us.example.com /d/a.json", "[\"deep\"]"),
        ("GET elsewhere.example /d/a.json", "[\"deep\"]"),
        ("GET eu.example.com /d/z", "open"),
    ] {
        let mut words = request.split(' ');
        let [method, host, path] = [(); 3].map(|()| words.next().unwrap());
        let got = asked(&drafted, method, host, path);
        assert_eq!(got, want, "{request}\n{}", drafted.policy);
    }
    assert!(said(&drafted, "GET /a/b")[0].contains("its own requirement is written for them"));
}

#[test]
fn a_method_that_only_a_looser_path_has_opens_no_more_specific_path() {
    let text = "
openapi: 3.1.0
components: {securitySchemes: {k: {type: apiKey, in: header, name: x-k}}}
paths:
  /a/me: {get: {security: [{k: [a]}]}}
  '/a/{x}': {post: {security: []}, x-yc-apigateway-any-method: {security: [{k: []}]}}
  /b/me: {get: {security: [{k: [admin]}]}}
  '/b/{x}': {get: {security: []}, delete: {security: [{}, {k: []}]}, patch: {security: [{k: [p]}]}}
  '/v1/{proxy+}': {x-amazon-apigateway-any-method: {security: []}}
  /v1/admin: {get: {security: [{k: []}]}}
  '/v1/admin/{proxy+}': {get: {security: [{k: []}]}}
  /v1/free: {get: {security: []}}
  '/i/{x}/log': {get: {security: []}, x-yc-apigateway-any-method: {security: []}}
  '/i/all/{y}': {put: {security: [{k: [all]}]}}
";
    let drafted = drafted(text, DraftOptions::default());
    for (request, want) in [
        ("POST /a/me", "key"),
        ("POST /a/x", "open"),
        ("PUT /a/me", "key"),
        ("DELETE /b/me", "key"),
        ("DELETE /b/x", "optional"),
        ("PATCH /b/me", "[\"p\"]"),
        ("GET /b/me", "[\"admin\"]"),
        ("PUT /v1/admin", "key"),
        ("HEAD /v1/admin", "key"),
        ("PUT /v1/admin/x", "key"),
        ("PUT /v1/free", "open"),
        ("PUT /v1/other", "open"),
        ("GET /i/7/log", "open"),
        ("GET /i/all/log", "key"),
        ("POST /i/all/log", "key"),
        ("PUT /i/all/log", "[\"all\"]"),
        ("PUT /i/all/x", "[\"all\"]"),
        ("GET /i/all/x", "denied"),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(
            asked(&drafted, method, "any.example", path),
            want,
            "{request}\n{}",
            drafted.policy
        );
    }
    assert!(said(&drafted, "POST /a/me")[0].contains("`/a/{x}` would open it"));
}

#[test]
fn hosts_that_a_policy_cannot_write_open_nothing() {
    let text = "
openapi: 3.1.0
servers:
- {url: 'https://api-{env}.example.com/v1'}
- {url: 'https://{a}-{b}.example.com/v2'}
- {url: 'https://api.example.com./v3'}
- {url: 'https://a{b}/v4'}
security: []
paths: {/open: {get: {}}}
";
    let drafted = drafted(text, DraftOptions::default());
    for (host, path, want) in [
        ("api-x.example.com", "/v1/open", "key"),
        ("elsewhere.example.net", "/v1/open", "denied"),
        ("x.example.com", "/v2/open", "key"),
        ("api.example.com", "/v3/open", "open"),
        ("elsewhere.example.net", "/v4/open", "key"),
    ] {
        assert_eq!(
            asked(&drafted, "GET", host, path),
            want,
            "{host}{path}\n{}",
            drafted.policy
        );
    }
    let anywhere = super::drafted(
        text,
        DraftOptions {
            any_host: true,
            ..DraftOptions::default()
        },
    );
    assert_eq!(asked(&anywhere, "GET", "any.example", "/v1/open"), "open");
}
