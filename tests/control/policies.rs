//! Policies before they are in force: drafts, cases and comparisons, as a person runs them.

use std::fs;

use crate::imports::{store, vector};
use crate::support::{Home, text, word};

#[test]
fn a_draft_from_openapi_is_a_policy_that_can_be_applied() {
    for file in ["openapi.yaml", "github-excerpt.json"] {
        let home = store();
        let draft = home.run(&["policy", "from-openapi", &vector(file)]);
        assert!(draft.status.success(), "{}", text(&draft.stderr));
        assert!(text(&draft.stderr).contains("warning: "), "{file}");
        fs::write(home.path("policy.yaml"), &draft.stdout).unwrap();
        home.ok(&["policy", "check", "policy.yaml"]);
        home.ok(&["policy", "apply", "policy.yaml"]);
        let json = home.json(&["policy", "from-openapi", &vector(file)]);
        assert_eq!(word(&json, "policy"), text(&draft.stdout));
        assert!(!json["unsaid"].as_array().unwrap().is_empty());
    }
}

#[test]
fn cases_that_fail_are_a_table_an_exit_code_and_a_report() {
    let home = Home::empty();
    fs::write(
        home.path("policy.yaml"),
        home.ok(&["policy", "show", "--default"]),
    )
    .unwrap();
    let page = include_str!("../../src/book/pages/review.md");
    fs::write(home.path("cases.yaml"), blocks(page, "yaml")[0]).unwrap();
    assert_eq!(
        home.ok(&["policy", "test", "cases.yaml"]),
        "6 cases passed\n"
    );
    let policy = fs::read_to_string(home.path("policy.yaml")).unwrap();
    fs::write(
        home.path("policy.yaml"),
        policy.replace("scopes: [read]", "scopes: [rad]"),
    )
    .unwrap();
    let output = home.run(&["policy", "test", "cases.yaml", "--junit", "report.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let (table, error) = (text(&output.stdout), text(&output.stderr));
    assert!(
        table.contains("GET /v1/orders") && table.contains("insufficient_scope"),
        "{table}"
    );
    assert!(table.contains("lacks `rad`"), "{table}");
    assert!(error.contains("error: 2 of 6 cases failed"), "{error}");
    assert!(
        error.contains("no route of the policy asks for scope `read`"),
        "{error}"
    );
    let report = fs::read_to_string(home.path("report.xml")).unwrap();
    assert!(report.contains("tests=\"6\" failures=\"2\""), "{report}");
}

#[test]
fn a_comparison_fails_on_what_opens_if_it_is_asked_to() {
    let home = Home::empty();
    let policy = |name: &str, scopes: &str| {
        let text = format!(
            "version: 1\nroutes:\n- {{path: \"/v1/users/{{id}}\", methods: [GET], scopes: [{scopes}]}}\n"
        );
        fs::write(home.path(name), text).unwrap();
    };
    policy("a.yaml", "read");
    policy("b.yaml", "read, 'write:users'");
    assert_eq!(
        home.ok(&["policy", "diff", "a.yaml", "b.yaml", "--fail-on", "opens"]),
        "EFFECT  WHERE               CHANGE\ncloses  GET /v1/users/{id}  now also needs `write:users`\n"
    );
    assert_eq!(
        home.ok(&["policy", "diff", "a.yaml", "a.yaml"]),
        "no request gets a different answer\n"
    );
    let words = home.refused(&["policy", "diff", "b.yaml", "a.yaml", "--fail-on", "opens"]);
    assert!(words.contains("1 change of the kind"), "{words}");
}

/// The fenced blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let open = format!("```{language}\n");
    page.split(&open)
        .skip(1)
        .map(|rest| rest.split("```\n").next().unwrap())
        .collect()
}
