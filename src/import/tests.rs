use super::found::{client_name, plan_name};
use super::*;
use keystile_core::key::Digest;
use keystile_core::policy::is_client_name;
use keystile_model::import_lines::KeyLine;

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/vectors/imports/",
            $name
        ))
    };
}

mod apisix;
mod closing;
mod closing_names;
mod gateways;
mod higress;
mod kong;
mod kong_apart;
mod others;
mod tyk;

fn files(text: &str) -> Vec<ExportFile> {
    vec![ExportFile {
        name: "file".to_owned(),
        text: Zeroizing::new(text.to_owned()),
    }]
}

fn found(system: System, text: &str, how: &How) -> Found {
    read(system, &files(text), how).unwrap()
}

fn sha(key: &str) -> String {
    let digest = Digest::of_foreign(key.as_bytes());
    keystile_core::hex::text(digest.0)
}

fn key<'f>(found: &'f Found, key: &str) -> &'f KeyLine {
    let wanted = sha(key);
    found.keys.iter().find(|k| k.sha256 == wanted).unwrap()
}

fn left(found: &Found, place: &str, problem: &str) -> bool {
    found
        .left
        .iter()
        .any(|(p, at)| p.contains(problem) && at.iter().any(|a| a.contains(place)))
}

#[test]
fn kongs_consumers_groups_and_limits_are_carried_over() {
    let found = found(System::Kong, vector!("kong.yaml"), &How::default());
    assert_eq!(found.keys.len(), 2);
    let acme = key(&found, "kong-acme-0123456789abcdef");
    assert_eq!(acme.client, "acme");
    assert_eq!(acme.scopes, ["partners"]);
    let plan = found.clients["acme"].plan.clone().unwrap();
    assert!(plan.starts_with("gold-tier-"), "{plan}");
    assert_eq!(found.plans[&plan].limits[0].requests, 100);
    let jane = key(&found, "kong-jane-0123456789abcdef");
    assert!(jane.client.starts_with("Jane-Doe-"), "{}", jane.client);
    assert_eq!(jane.limits, ["5/1m@client", "100/1h@client"]);
    for (place, problem) in [
        ("`Jane Doe`", "`basicauth_credentials`"),
        ("`Jane Doe`", "plugin `request-transformer`"),
        ("`acme`, key 2", "its end is unknown"),
        ("`acme`, key 3", "shorter than 16"),
        ("`acme`, key 4", "refers to a secret that is kept elsewhere"),
        ("keyauth_credentials[1]", "names no consumer"),
        ("`orders-route`", "allows partners"),
        ("`orders`", "reads apikey"),
    ] {
        assert!(
            left(&found, place, problem),
            "{place}: {problem}: {:?}",
            found.left
        );
    }
}

#[test]
fn kongs_export_of_its_database_names_everything_by_id() {
    let text = r#"
_format_version: "3.0"
consumers: [{id: c-1, username: acme}]
consumer_groups: [{id: g-1, name: gold}]
consumer_group_consumers: [{consumer: c-1, consumer_group: g-1}]
consumer_group_plugins:
- {name: rate-limiting-advanced, consumer_group: g-1, config: {limit: [9], window_size: [1]}}
keyauth_credentials: [{consumer: c-1, key: kong-acme-0123456789abcdef, ttl: 60, created_at: 1700000000}]
acls: [{consumer: {id: c-1}, group: partners}]
"#;
    let found = found(System::Kong, text, &How::default());
    assert_eq!(found.clients["acme"].plan.as_deref(), Some("gold"));
    assert_eq!(found.plans["gold"].limits[0].requests, 9);
    let key = key(&found, "kong-acme-0123456789abcdef");
    assert_eq!(
        (key.scopes.as_slice(), key.expires.as_str()),
        (&["partners".to_owned()][..], "2023-11-14T22:14:20Z")
    );
    assert!(found.left.is_empty(), "{:?}", found.left);
    let mut found = found;
    found.leave_ended(1_700_000_059);
    assert_eq!(found.keys.len(), 1);
    found.leave_ended(1_700_000_060);
    assert!(found.keys.is_empty() && left(&found, "`acme`, key 1", "has expired"));
}

#[test]
fn apisixs_consumers_are_read_from_a_file_and_from_the_admin_api() {
    let file = found(System::Apisix, vector!("apisix.yaml"), &How::default());
    assert_eq!(file.keys.len(), 2);
    assert_eq!(file.clients["jack"].plan.as_deref(), Some("company_a"));
    assert_eq!(
        (
            file.plans["company_a"].limits[0].requests,
            file.plans["company_a"].limits[0].per.as_str()
        ),
        (200, "1m")
    );
    let rose = key(&file, "apisix-rose-0123456789abcdef");
    assert_eq!(
        (rose.name.as_str(), rose.limits.as_slice()),
        ("primary", &["2/1s:5@client".to_owned()][..])
    );
    assert!(left(&file, "`token`", "only key-auth credentials"));
    assert_eq!(rose.cidrs, ["10.0.0.0/8"]);
    assert!(left(&file, "`rose`", "counted by something else"));
    assert!(left(&file, "`env`", "refers to a secret"));
    let admin = found(
        System::Apisix,
        vector!("apisix-admin.json"),
        &How::default(),
    );
    assert_eq!(key(&admin, "apisix-jack-0123456789abcdef").client, "jack");
    assert_eq!(admin.clients["jack"].plan.as_deref(), Some("g1"));
}

#[test]
fn envoy_gateways_secrets_are_read_as_far_as_policies_name_them() {
    let found = found(
        System::EnvoyGateway,
        vector!("envoy-gateway.yaml"),
        &How::default(),
    );
    assert_eq!(found.keys.len(), 3);
    for client in ["client4", "client5"] {
        assert!(left(&found, client, "no header carries unchanged"));
    }
    assert_eq!(key(&found, "eg-client3-0123456789abcdef").client, "client3");
    assert_eq!(key(&found, "eg-client1-0123456789abcdef").client, "client1");
    assert_eq!(key(&found, "eg-client2-0123456789abcdef").client, "client2");
    assert!(left(&found, "Secret shop/database", "no `apiKeyAuth`"));
    assert!(left(&found, "shop/apikey-auth", "header x-api-key"));
    assert!(left(&found, "shop/apikey-auth", "`cors`"));
}

#[test]
fn unkeys_keys_are_known_by_hash_or_plaintext() {
    let found = found(System::Unkey, vector!("unkey.json"), &How::default());
    assert_eq!(found.keys.len(), 3);
    let hashed = key(&found, "unkey-hashed-0123456789");
    assert_eq!(hashed.client, "user_1");
    assert_eq!(hashed.scopes, ["documents.read", "documents.write"]);
    assert_eq!(hashed.limits, ["100/1m"]);
    assert_eq!(hashed.expires, "2100-01-01T00:00:00Z");
    assert!(key(&found, "hello").disabled);
    assert_eq!(key(&found, "unkey-0123456789abcdef").client, "user_2");
    assert!(left(&found, "`key_4`", "neither `hash` nor `plaintext`"));
    assert!(left(&found, "`key_5`", "belongs to no identity"));
    assert!(left(&found, "`key_1`", "credits"));
}

#[test]
fn a_table_is_read_by_the_names_that_its_columns_have() {
    let how = How {
        columns: [("client", "owner"), ("key", "apikey")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        ..How::default()
    };
    let found = found(System::Csv, vector!("keys.csv"), &how);
    assert_eq!(found.keys.len(), 2);
    assert_eq!(
        key(&found, "csv-acme-0123456789abcdef").scopes,
        ["read", "write"]
    );
    assert!(key(&found, "csv-globex-0123456789abcdef").disabled);
    assert!(left(&found, "file:4", "is the same key as file:2"));
    assert!(left(&found, "file:5", "names no client"));
    assert!(left(&found, "column `colour`", "is not known"));
}

#[test]
fn restrictions_of_keys_are_columns_of_a_table() {
    let table = "\
client,key,cidrs,origins,Certificates
acme,csv-acme-0123456789abcdef,10.0.0.0/8;192.0.2.0/24,,spiffe://example.org/billing dns:api.example.com
globex,csv-globex-0123456789abcdef,,,
initech,csv-initech-0123456789abcdef,,,;
umbrella,csv-umbrella-0123456789abcdef, ; ,,
";
    let found = found(System::Csv, table, &How::default());
    let acme = key(&found, "csv-acme-0123456789abcdef");
    assert_eq!(acme.cidrs, ["10.0.0.0/8", "192.0.2.0/24"]);
    assert_eq!(
        acme.certificates,
        ["spiffe://example.org/billing", "dns:api.example.com"]
    );
    let globex = key(&found, "csv-globex-0123456789abcdef");
    assert!(globex.certificates.is_empty() && globex.cidrs.is_empty());
    assert_eq!(found.keys.len(), 2, "none is freed of what restricts it");
    assert!(left(&found, "file:4", "`certificates` holds separators"));
    assert!(left(&found, "file:5", "`cidrs` holds separators"));
}

#[test]
fn a_server_that_knows_no_certificates_is_asked_only_where_there_are_some() {
    let mut line = KeyLine::default();
    let has = |line: &KeyLine| {
        let json = serde_json::to_value(line).unwrap();
        json.get("certificates").is_some()
    };
    assert!(!has(&line));
    line.certificates = vec!["dns:a.example".to_owned()];
    assert!(has(&line));
}

#[test]
fn no_message_about_a_broken_export_holds_what_stands_in_it() {
    for (system, text) in [
        (System::Kong, "consumers: {key: very-secret-0123456789}\n"),
        (
            System::Kong,
            "consumers:\n- username: a\n  keyauth_credentials: very-secret-0123456789\n",
        ),
        (
            System::Apisix,
            "{\"consumers\": \"very-secret-0123456789\"}",
        ),
        (
            System::EnvoyGateway,
            "kind: Secret\ndata: very-secret-0123456789\n",
        ),
        (
            System::Unkey,
            "{\"data\": [{\"externalId\": \"a\", \"hash\": 5, \"plaintext\": [\"very-secret-0123456789\"]}]}",
        ),
        (System::Csv, "client,key\na,very-secret-0123456789,b\n"),
    ] {
        let error = read(system, &files(text), &How::default())
            .err()
            .unwrap_or_else(|| panic!("{system:?}"));
        assert!(!error.to_string().contains("very-secret"), "{error}");
    }
}

#[test]
fn names_that_fit_stay_and_others_stay_apart() {
    assert_eq!(client_name("acme.eu"), "acme.eu");
    assert_ne!(client_name("a b"), client_name("a-b"));
    assert_ne!(client_name("a b"), client_name("a/b"));
    assert_eq!(client_name("a b"), client_name("a b"));
    assert!(
        is_client_name(&client_name("")) && is_client_name(&client_name("é".repeat(99).as_str()))
    );
    assert!(keystile_core::policy::is_plan_name(&plan_name(
        "Ä very long name of a plan that goes on"
    )));
}
