//! Documents in `tests/vectors/openapi`, each with what its draft does.

use super::*;
use crate::diff::classes::route_of;
use keystile_core::policy::Auth;
use serde_json::Value;
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/openapi")
}

fn read_beside(folder: &Path, file: &str) -> std::result::Result<String, String> {
    std::fs::read_to_string(folder.join(file)).map_err(|e| e.to_string())
}

/// What a request gets, as `cases.json` writes it.
fn outcome(policy: &keystile_core::policy::Policy, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (host, path) = target.split_once('/').unwrap();
    let found = route_of(policy, host, method, &format!("/{path}"));
    let Some(route) = found.map(|at| &policy.routes[at]) else {
        return "none".to_owned();
    };
    match route.auth {
        Auth::None => "open".to_owned(),
        Auth::Optional => "optional".to_owned(),
        Auth::Required => {
            let all = route.scopes.iter().chain(&route.any_scope);
            all.fold("key".to_owned(), |out, scope| {
                out + " " + &policy.scopes[usize::from(*scope)]
            })
        }
    }
}

#[test]
fn drafts_do_what_their_documents_say() {
    let all: Value = serde_json::from_str(&read_beside(&folder(), "cases.json").unwrap()).unwrap();
    for case in all["cases"].as_array().unwrap() {
        let name = case["document"].as_str().unwrap();
        let text = read_beside(&folder(), name).unwrap();
        let home = folder().join(name).parent().unwrap().to_owned();
        let beside = |file: &str| read_beside(&home, file);
        let how = DraftOptions {
            any_host: false,
            beside: Some(&beside),
        };
        let drafted = draft(name, &text, how).unwrap();
        let policy = policy_file::parse("p", drafted.policy.clone())
            .unwrap()
            .policy;
        let requests = case["requests"].as_object().unwrap();
        for (request, want) in requests {
            assert_eq!(
                outcome(&policy, request),
                want.as_str().unwrap(),
                "{name}: {request}\n{}",
                drafted.policy
            );
        }
        let places: Vec<&str> = drafted
            .policy
            .lines()
            .filter_map(|l| l.strip_prefix("- ").filter(|l| !l.starts_with("{path")))
            .collect();
        let mut want: Vec<&str> = case["credentials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap())
            .collect();
        want.sort_unstable();
        let mut have = places.clone();
        have.sort_unstable();
        assert_eq!(have, want, "{name}");
        let said: Vec<String> = drafted
            .unsaid
            .iter()
            .flat_map(|u| u.places.iter().map(|p| format!("{p}: {}", u.problem)))
            .collect();
        for want in case["said"].as_array().unwrap() {
            let want = want.as_str().unwrap();
            assert!(
                said.iter().any(|s| s.starts_with(want)),
                "{name}: {want}: {said:#?}"
            );
        }
    }
}

#[test]
fn references_are_followed_or_refused_and_never_passed_over() {
    let document = |reference: &str| {
        format!(
            "openapi: 3.1.0\npaths: {{/a: {{get: {{$ref: '{reference}'}}}}, /b: {{$ref: '#/components/pathItems/b'}}}}\n\
             components: {{pathItems: {{b: {{get: {{}}}}}}}}\nx: {{one: {{$ref: '#/x/two'}}, two: {{$ref: '#/x/one'}}, list: [1]}}\n"
        )
    };
    let beside = |file: &str| match file {
        "there.yaml" => Ok("security: []".to_owned()),
        "odd.yaml" => Ok("security: 7".to_owned()),
        _ => Err("it is not there".to_owned()),
    };
    let how = DraftOptions {
        any_host: false,
        beside: Some(&beside),
    };
    let ok = draft("d", &document("./there.yaml"), how).unwrap();
    assert!(
        ok.policy
            .contains("{path: \"/a\", methods: [GET, HEAD], auth: none}")
    );
    for (reference, words) in [
        (
            "missing.yaml",
            "`$ref: missing.yaml` cannot be followed: it is not there",
        ),
        ("there.yaml#/nothing", "leads to nothing"),
        ("#/nothing", "leads to nothing"),
        ("#/x/list/0", "leads to something else"),
        ("odd.yaml", "leads to something else: security"),
        ("#/x/one", "form a cycle"),
        ("../up.yaml", "leads out of the folder"),
        ("a/../../up.yaml", "leads out of the folder"),
        ("/etc/hosts", "leads out of the folder"),
        ("https://example.com/a.yaml", "leads out of the folder"),
        ("%2e%2e/up.yaml", "leads out of the folder"),
    ] {
        let error = draft("d", &document(reference), how)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(words) && error.contains("`paths./a`"),
            "{reference}: {error}"
        );
    }
    let alone = draft("d", &document("there.yaml"), DraftOptions::default())
        .err()
        .unwrap();
    assert!(
        alone
            .to_string()
            .contains("bundle the document into one file"),
        "{alone}"
    );
}
