//! Servers as hosts and base paths, each beside what RFC 3986 and the specification make of it.

use super::*;

/// Hosts and paths that a document with these servers and the one path `/x` is drafted to.
fn places(servers: &str) -> (Vec<String>, Drafted) {
    let text = format!("openapi: 3.1.0\nservers: {servers}\npaths: {{/x: {{get: {{}}}}}}\n");
    let drafted = drafted(&text, DraftOptions::default());
    let raw = keystile_policy_of(&drafted);
    let mut out: Vec<String> = raw
        .routes
        .iter()
        .flat_map(|route| {
            let hosts = match route.hosts.as_slice() {
                [] => vec!["*".to_owned()],
                hosts => hosts.to_vec(),
            };
            hosts.into_iter().map(|h| format!("{h} {}", route.path))
        })
        .collect();
    out.sort();
    (out, drafted)
}

fn keystile_policy_of(drafted: &Drafted) -> keystile_core::policy::RawPolicy {
    crate::file::parse("p", drafted.policy.clone()).unwrap().raw
}

#[test]
fn servers_with_variables_are_read_as_their_values() {
    for (servers, want) in [
        // Slashes in a default, in the host and in the path.
        (
            "[{url: 'https://a.example/{base}', variables: {base: {default: api/v1}}}]",
            &["a.example /api/v1/x"][..],
        ),
        (
            "[{url: 'https://a.example{base}', variables: {base: {default: /v1}}}]",
            &["a.example /v1/x"],
        ),
        (
            "[{url: '{all}/v2', variables: {all: {default: 'https://a.example/v1'}}}]",
            &["a.example /v1/v2/x"],
        ),
        (
            "[{url: 'https://{all}', variables: {all: {default: a.example/v1}}}]",
            &["a.example /v1/x"],
        ),
        (
            "[{url: 'https://a.example/{b}', variables: {b: {default: a/b, enum: [a/b, c]}}}]",
            &["a.example /a/b/x", "a.example /c/x"],
        ),
        // An empty one.
        (
            "[{url: 'https://a.example/{b}/v1', variables: {b: {default: ''}}}]",
            &["a.example /v1/x"],
        ),
        // Several, in host and path.
        (
            "[{url: '{s}://{h}.a.example:{port}/{v}', variables: {s: {default: https, enum: [http, https]}, h: {default: eu, enum: [eu, us]}, port: {default: '443'}, v: {default: v1, enum: [v1, v2]}}}]",
            &[
                "eu.a.example /v1/x",
                "eu.a.example /v2/x",
                "us.a.example /v1/x",
                "us.a.example /v2/x",
            ],
        ),
        (
            "[{url: 'https://{t}.a.example/{v}', variables: {t: {default: demo}, v: {default: v1}}}]",
            &["*.a.example /{v}/x"],
        ),
        (
            "[{url: 'https://{t}.{r}.a.example', variables: {t: {default: demo}, r: {default: eu, enum: [eu, us]}}}]",
            &["*.eu.a.example /x", "*.us.a.example /x"],
        ),
        (
            "[{url: 'https://a.example/v{n}', variables: {n: {default: '1'}}}]",
            &["a.example /v{n}/x"],
        ),
        (
            "[{url: 'https://a.example/v{n}', variables: {n: {default: '1', enum: ['1', '2']}}}]",
            &["a.example /v1/x", "a.example /v2/x"],
        ),
        (
            "[{url: 'https://{h}:{p}', variables: {h: {default: a.example}, p: {default: '80'}}}]",
            &["* /x"],
        ),
    ] {
        assert_eq!(places(servers).0, want, "{servers}");
    }
}

#[test]
fn values_are_taken_as_people_write_them() {
    for (servers, want) in [
        // A default that is not among the values.
        (
            "[{url: 'https://a.example/{v}', variables: {v: {default: v3, enum: [v1]}}}]",
            &["a.example /v1/x", "a.example /v3/x"][..],
        ),
        // Numbers, as people write them.
        (
            "[{url: 'https://a.example:{p}/{v}', variables: {p: {default: 8443, enum: [8443, 443]}, v: {default: 2, enum: [2]}}}]",
            &["a.example /2/x"],
        ),
    ] {
        assert_eq!(places(servers).0, want, "{servers}");
    }
}

#[test]
fn relative_servers_are_read_as_rfc_3986_resolves_them() {
    for (servers, want) in [
        ("[{url: /}]", &["* /x"][..]),
        ("[{url: ''}]", &["* /x"]),
        ("[]", &["* /x"]),
        ("[{url: /api/v1/}]", &["* /api/v1/x"]),
        ("[{url: api/v1}]", &["* /api/v1/x"]),
        ("[{url: .}]", &["* /x"]),
        ("[{url: ./v1}]", &["* /v1/x"]),
        ("[{url: ../v1}]", &["* /v1/x"]),
        ("[{url: /a/../v1/./b}]", &["* /v1/b/x"]),
        ("[{url: //a.example/v1}]", &["a.example /v1/x"]),
        (
            "[{url: 'https://A.Example:8443/v1?x=1#y'}]",
            &["a.example /v1/x"],
        ),
        ("[{url: 'https://u:p@a.example'}]", &["a.example /x"]),
        ("[{url: 'https://[::1]:8080/v1'}]", &["[::1] /v1/x"]),
        // Several: every host includes the named ones, with the same path.
        (
            "[{url: 'https://a.example/v1'}, {url: /v1}, {url: 'https://b.example/v2'}]",
            &["* /v1/x", "b.example /v2/x"],
        ),
    ] {
        assert_eq!(places(servers).0, want, "{servers}");
    }
}

#[test]
fn what_a_server_leaves_open_is_said() {
    for (servers, place, problem) in [
        (
            "[{url: ../v1}]",
            "server ../v1",
            "is relative to the document's location; `/v1` is used",
        ),
        (
            "[{url: '{base}/v1'}]",
            "server {base}/v1",
            "`{base}` is not among its `variables`",
        ),
        (
            "[{url: 'https://{t}.{r}.a.example', variables: {t: {default: x}, r: {default: eu}}}]",
            "server https://{t}.{r}.a.example",
            "`{r}` can be anything; `eu` is used",
        ),
    ] {
        let said = said(&places(servers).1, place);
        assert!(
            said.iter().any(|s| s.contains(problem)),
            "{servers}: {said:?}"
        );
    }
}
