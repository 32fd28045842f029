//! Spellings of a protected path. What arrives is read here once more, by no code of the filter's.

use super::{POLICY, untouched};
use crate::fixture::Keys;
use crate::support::{Setup, Upstream, echoed, get};

/// Everything that has no rule of its own stands open.
const OPEN_CATCH_ALL: &str = r#"
version: 1
routes:
  - { path: "/{*rest}", auth: none }
  - { path: "/admin/{*rest}", scopes: [admin] }
"#;

const SPELLINGS: [&str; 38] = [
    "/admin/x",
    "//admin/x",
    "/public/../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2E%2Fadmin/x",
    "/public/..%2fadmin/x",
    "/public/..%5cadmin/x",
    "/public\\..\\admin\\x",
    "/public/..;/admin/x",
    "/public/..;x=1/admin/x",
    "/public/.;/../admin/x",
    "/public/%252e%252e/admin/x",
    "/public/%zz/../../admin/x",
    "/v1/../admin/x",
    "/v1/%2e%2e/%2e%2e/admin/x",
    "/%61dmin/x",
    "/%2561dmin/x",
    "/./admin/x",
    "/.//admin/x",
    "/.;/admin/x",
    "/..;/admin/x",
    "/..%3B/admin/x",
    "/..%3b/admin/x",
    "/%2e%2e%3b/admin/x",
    "/;/admin/x",
    "/;x=1/admin/x",
    "/;a/;b/admin/x",
    "/%3B/admin/x",
    "/admin;/x",
    "/admin;x=1/x",
    "/admin;x=1;y=2/x",
    "/admin%3B/x",
    "/admin%3bx=1/x",
    "/;/admin;x=1/x",
    "/admin%2fx",
    "\\admin\\x",
    "http://api.example.com/admin/x",
    "http://api.example.com/public/..;/admin/x",
];

/// Open under both policies, and as open in any reading.
const HONEST: [&str; 5] = [
    "/public",
    "/public/x",
    "/public/admin/x",
    "/public/a%20b",
    "/public/x?next=/admin/x",
];

#[test]
fn no_spelling_of_a_path_reaches_what_the_key_may_not_reach() {
    tried(POLICY, |setup| setup);
}

#[test]
fn no_spelling_of_a_path_reaches_what_stands_beside_an_open_catch_all() {
    tried(OPEN_CATCH_ALL, |setup| setup);
}

/// Envoy's own default: paths travel as they were sent.
#[test]
fn no_spelling_of_a_path_passes_where_envoy_does_not_normalise() {
    for policy in [POLICY, OPEN_CATCH_ALL] {
        tried(policy, |setup| {
            setup.edit("normalize_path: true", "normalize_path: false")
        });
    }
}

fn tried(policy: &str, special: impl Fn(Setup) -> Setup) {
    let upstream = Upstream::start();
    let mut keys = Keys::new(policy);
    let key = keys.issue("acme");
    let envoy = keys.start_on(special(Setup::ecds(&upstream)));

    for path in SPELLINGS {
        for asking in [get(path), get(path).bearer(&key)] {
            let before = upstream.requests();
            let answer = envoy.send(&asking);
            if upstream.requests() > before {
                let seen = echoed(&answer.json()).path;
                let protected = readings(&seen).into_iter().find(|path| is_admin(path));
                assert_eq!(protected, None, "{path} arrived as {seen}");
            } else {
                let refused = matches!(answer.status, 400 | 401 | 403);
                assert!(refused, "{path}: {}", answer.status);
            }
        }
    }
    for path in HONEST {
        assert_eq!(envoy.send(&get(path)).status, 200, "{path}");
    }
    untouched(&envoy);
}

fn is_admin(path: &str) -> bool {
    path.to_ascii_lowercase().starts_with("/admin/")
}

/// What upstreams would look for: escapes decoded or not, a backslash for a slash or not, parameters
/// cut or not, slashes merged or not, dots resolved or not.
fn readings(sent: &str) -> Vec<String> {
    let path = sent.split(['?', '#']).next().unwrap();
    let steps: [fn(&str) -> String; 5] = [
        decoded,
        |path| path.replace('\\', "/"),
        without_parameters,
        |path| each_segment(path, |segment| !segment.is_empty()),
        resolved,
    ];
    let mut all = vec![path.to_owned()];
    for step in steps {
        let more: Vec<_> = all.iter().map(|path| step(path)).collect();
        all.extend(more);
    }
    all
}

/// Once: what is escaped twice is a name with a percent sign.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut all = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                all.push(byte);
                all.extend(part[2..].bytes());
            }
            _ => all.extend(format!("%{part}").bytes()),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn without_parameters(path: &str) -> String {
    let names: Vec<_> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap())
        .collect();
    names.join("/")
}

fn each_segment(path: &str, stays: impl Fn(&str) -> bool) -> String {
    let names: Vec<_> = path.split('/').filter(|name| stays(name)).collect();
    format!("/{}", names.join("/"))
}

fn resolved(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/').skip(1) {
        match name {
            "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
