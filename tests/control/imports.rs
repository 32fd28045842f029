//! Imports from other systems, as a person runs them.

use std::fs;
use std::path::Path;

use crate::server::{Server, token};
use crate::support::{Home, text, word};

pub fn vector(name: &str) -> String {
    let folder =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/vectors/imports");
    folder.join(name).to_str().unwrap().to_owned()
}

pub fn store() -> Home {
    let home = Home::empty();
    home.ok(&["init"]);
    home
}

fn import_kong<'a>(file: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    [&["import", "kong", file, "--allow-unknown-scope"], flags].concat()
}

const ACME: &str = "kong-acme-0123456789abcdef";

#[test]
fn an_import_says_what_it_would_do_and_does_it_once() {
    let home = store();
    let file = vector("kong.yaml");

    let dry = home.run(&import_kong(&file, &[]));
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    let words = text(&dry.stdout);
    assert!(words.starts_with("2 clients would be created\n2 keys would be imported\n1 plan would be added to the policy\n"), "{words}");
    assert!(
        words.contains("{limits: [{requests: 100, per: 1m, by: client}]}"),
        "{words}"
    );
    assert!(text(&dry.stderr).contains("`basicauth_credentials`"));
    assert_eq!(home.json(&["client", "list"]), serde_json::json!([]));

    // The policy is another person's to change, unless it is said.
    let refused = home.refused(&import_kong(&file, &["--apply"]));
    assert!(refused.contains("the policy has no plan"), "{refused}");
    assert!(home.ids().is_empty());

    let done = home.json(&import_kong(&file, &["--apply", "--add-plans"]));
    assert_eq!(done["done"]["keys_imported"], 2);
    assert!(
        home.ok(&["policy", "show"])
            .contains("# Named bundles of limits"),
        "comments stay"
    );
    let again = home.json(&import_kong(&file, &["--apply", "--add-plans"]));
    assert_eq!(
        (
            &again["done"]["keys_imported"],
            &again["done"]["keys_known"],
            &again["done"]["clients_known"]
        ),
        (&0.into(), &2.into(), &2.into())
    );
    assert_eq!(home.ids().len(), 2);
    assert_eq!(
        home.json(&["policy", "history"]).as_array().unwrap().len(),
        2
    );
}

#[test]
fn an_imported_key_opens_what_it_opened_and_stands_nowhere_in_full() {
    let home = store();
    let file = vector("kong.yaml");
    let args = [
        "import",
        "kong",
        &file,
        "--allow-unknown-scope",
        "--add-plans",
        "--apply",
    ];
    let done = home.run(&args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let explained = home.json(&["explain", "--key", ACME, "--path", "/v1/x"]);
    assert_eq!(word(&explained, "client"), "acme");
    assert_eq!(word(&explained, "code"), "insufficient_scope");
    let outputs = [
        text(&done.stdout),
        text(&done.stderr),
        home.ok(&["audit", "export"]),
        home.ok(&["key", "list", "--output", "json"]),
        explained.to_string(),
    ];
    for output in outputs {
        for secret in [ACME, "kong-jane-0123456789abcdef", "not-carried-over\n"] {
            assert!(!output.contains(secret), "{output}");
        }
    }
    assert!(
        !fs::read(home.store())
            .unwrap()
            .windows(ACME.len())
            .any(|w| w == ACME.as_bytes())
    );
}

#[test]
fn an_import_works_through_a_server_with_digests_only() {
    let home = store();
    let server = Server::start(&home, &[]);
    let token = token(&home, "owner");
    let output = home
        .command(&[
            "import",
            "apisix",
            &vector("apisix.yaml"),
            "--apply",
            "--add-plans",
        ])
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", token)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let explained = home.json(&[
        "explain",
        "--key",
        "apisix-jack-0123456789abcdef",
        "--path",
        "/v1/x",
    ]);
    assert_eq!(word(&explained, "client"), "jack");
    assert!(server.stop());
}

#[test]
fn a_month_of_kong_becomes_a_quota_of_the_policy_here_and_through_a_server() {
    let file = vector("kong/month.yaml");
    let args = import_kong(&file, &["--apply", "--add-plans"]);
    let quota = "quota: {requests: 20000, per: month}";
    let home = store();
    home.ok(&args);
    let policy = home.ok(&["policy", "show"]);
    assert!(policy.contains(quota), "{policy}");
    let remote = store();
    let server = Server::start(&remote, &[]);
    let output = remote
        .command(&args)
        .env("KEYSTILE_SERVER", server.url())
        .env("KEYSTILE_TOKEN", token(&remote, "owner"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(server.stop());
    let policy = remote.ok(&["policy", "show"]);
    assert!(policy.contains(quota), "{policy}");
}

#[test]
fn a_plan_of_the_policy_keeps_its_limits_and_those_of_the_export_are_named() {
    let home = store();
    let file = vector("kong.yaml");
    let dry = home.json(&import_kong(&file, &[]));
    let plan = dry["done"]["plans_added"][0].as_str().unwrap().to_owned();
    let policy = format!(
        "version: 1\nplans:\n  {plan}: {{limits: [{{requests: 9000, per: 1s}}]}}\nroutes: []\n"
    );
    let path = home.path("policy.yaml");
    std::fs::write(&path, policy).unwrap();
    home.ok(&["policy", "apply", path.to_str().unwrap()]);
    for flags in [&[][..], &["--apply"]] {
        let told = home.run(&import_kong(&file, flags));
        assert!(told.status.success(), "{}", text(&told.stderr));
        let words = text(&told.stderr);
        let line = words
            .lines()
            .find(|l| l.contains("limits of plan"))
            .unwrap();
        assert!(
            line.contains("not carried over: ") && line.contains("kong.yaml:"),
            "{line}"
        );
        assert!(line.contains(&format!("`{plan}`")), "{line}");
        let both = words
            .lines()
            .find(|l| l.contains("of the policy stays"))
            .unwrap();
        assert!(
            both.contains("requests: 9000") && both.contains("requests: 100"),
            "{both}"
        );
    }
}

#[test]
fn a_file_of_another_kind_is_refused_and_a_client_that_is_denied_stays_out() {
    let home = store();
    let refused = home.refused(&["import", "kong", &vector("openapi.yaml")]);
    assert!(refused.contains("holds nothing to import"), "{refused}");
    let file = vector("kong/denied.yaml");
    let done = home.run(&import_kong(&file, &["--apply"]));
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("`mallory` and its keys are left out"));
    let clients = home.json(&["client", "list"]).to_string();
    assert!(
        clients.contains("hooli") && !clients.contains("mallory"),
        "{clients}"
    );
}

#[test]
fn every_system_s_export_can_be_applied() {
    for (system, file, more) in [
        ("apisix", "apisix-admin.json", &[][..]),
        ("envoy-gateway", "envoy-gateway.yaml", &[]),
        ("unkey", "unkey.json", &["--client", "others"]),
        ("unkey", "unkey-v1.json", &[]),
        ("kong", "kong/db-export.yaml", &[]),
        ("kong", "kong/shared-configs.yaml", &[]),
        ("kong", "kong/denied.yaml", &[]),
        ("apisix", "apisix-v2.json", &[]),
        ("apisix", "adc.yaml", &[]),
        ("envoy-gateway", "envoy-gateway-several.yaml", &[]),
        ("higress", "higress.yaml", &[]),
        ("tyk", "tyk.json", &[]),
        ("csv", "aws-api-keys.csv", &["--column", "client=Name"]),
        ("csv", "gravitee.csv", &[]),
        (
            "csv",
            "keys.csv",
            &["--column", "client=owner", "--column", "key=apikey"],
        ),
    ] {
        let home = store();
        let file = vector(file);
        let args = [
            &[
                "import",
                system,
                &file,
                "--apply",
                "--add-plans",
                "--allow-unknown-scope",
            ],
            more,
        ]
        .concat();
        let done = home.json(&args);
        assert!(
            done["done"]["keys_imported"].as_u64().unwrap() > 0,
            "{system}: {done}"
        );
        assert!(!home.ids().is_empty(), "{system}");
        home.ok(&[
            "push",
            "--ecds-file",
            "ecds.json",
            "--wasm",
            "keystile.wasm",
        ]);
    }
}

#[test]
fn a_key_that_another_client_holds_stops_the_whole_import() {
    let home = store();
    let table = |client: &str, more: &str| {
        let text = format!("client,key\n{more}{client},csv-key-0123456789abcdef\n");
        fs::write(home.path("keys.csv"), text).unwrap();
    };
    table("acme", "");
    home.ok(&["import", "csv", "keys.csv", "--apply"]);
    table("globex", "initech,csv-other-0123456789abcdef\n");
    for apply in [&[][..], &["--apply"]] {
        let words = home.refused(&[&["import", "csv", "keys.csv"], apply].concat());
        assert!(
            words.contains("keys.csv:3: this key is in the store already"),
            "{words}"
        );
        assert!(!words.contains("csv-key-"), "{words}");
    }
    assert_eq!(home.ids().len(), 1);
    assert_eq!(home.json(&["client", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_table_binds_keys_to_client_certificates() {
    let home = store();
    let table = |certificates: &str| {
        let text =
            format!("client,key,scopes,mtls\nacme,csv-key-0123456789abcdef,read,{certificates}\n");
        fs::write(home.path("keys.csv"), text).unwrap();
    };
    let import = [
        "import",
        "csv",
        "keys.csv",
        "--column",
        "certificates=mtls",
        "--apply",
    ];
    for (certificates, words) in [
        (
            "billing.example.com",
            "keys.csv:2: `certificates`: `billing.example.com` is not an identity of a certificate",
        ),
        ("dns:a.example;dns:*.example.com", "without `*`"),
        ("spiffe://Example.org/billing", "write a SPIFFE id"),
        (";", "not carried over: keys.csv:2: `certificates` holds"),
    ] {
        table(certificates);
        let output = home.run(&import);
        let told = text(&output.stderr);
        assert!(told.contains(words), "{told}");
        assert!(!told.contains("csv-key-"), "{told}");
        assert!(home.ids().is_empty(), "{certificates}");
    }

    table("dns:Billing.Example.com spiffe://example.org/billing");
    home.ok(&import);
    let [id] = &home.ids()[..] else {
        panic!("one key")
    };
    let expected = ["dns:billing.example.com", "spiffe://example.org/billing"];
    let shown = home.json(&["key", "show", id]);
    assert_eq!(shown["certificates"], serde_json::json!(expected));
    let code = |certificate: &[&str]| {
        let key = ["explain", "--key", "csv-key-0123456789abcdef"];
        let args = [&key[..], &["--path", "/v1/x"], certificate].concat();
        word(&home.json(&args), "code")
    };
    assert_eq!(code(&[]), "certificate_denied");
    let other = ["--certificate", "dns:other.example.com"];
    assert_eq!(code(&other), "certificate_denied");
    assert_eq!(code(&["--certificate", expected[1]]), "ok");
}
