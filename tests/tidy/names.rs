//! One meaning a name: a type that all may use has a name that no other has.

use std::collections::BTreeMap;

use crate::*;

/// Where names are somebody else's: Kubernetes', Istio's and Envoy's objects, and the two ABIs of
/// Envoy, which both have levels, metrics and statuses.
const FOREIGN: [&str; 4] = [
    "/types.rs",
    "src/render/proto/",
    "src/filter/host/abi.rs",
    "src/module/abi",
];

/// Names that stand for one idea in several places.
const ALIKE: [(&str, &str); 1] = [(
    "PresentedCertificate",
    "each shell reads it through its own interface of Envoy, and may use nothing of the other",
)];

/// Types that are a verb of an object: operations of the API, and the arguments of their commands.
/// Their code reads `key::Revoke` and `token::Revoke`: the module is the object.
fn verbs() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("src/api/operations.rs")).unwrap();
    let listed = text
        .lines()
        .filter_map(|l| l.trim().strip_prefix("$crate::"));
    let listed = listed.filter_map(|l| l.trim_end_matches(',').rsplit("::").next());
    listed.map(str::to_owned).collect()
}

/// The type that a line declares for everybody.
fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
    // A macro may leave the name to its caller.
    words.next().filter(|name| !name.is_empty())
}

#[test]
fn a_type_has_a_name_of_its_own() {
    let verbs = verbs();
    assert!(verbs.len() > 10 && verbs.contains("Revoke"), "{verbs:?}");
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in files("src") {
        let is_foreign = FOREIGN.iter().any(|part| name.contains(part));
        if is_test(&name) || is_foreign || !name.ends_with(".rs") {
            continue;
        }
        for ty in code(&text).lines().filter_map(declared) {
            let is_verb = verbs.contains(ty);
            let is_module = name.starts_with("src/api/") || name.starts_with("src/cli/commands/");
            // `model` declares the requests for keys, which `api` offers under its own name.
            let is_request =
                name.starts_with("src/model/key/") || name.ends_with("import_lines.rs");
            if !(is_verb && (is_module || is_request)) {
                places
                    .entry(ty.to_owned())
                    .or_default()
                    .insert(name.clone());
            }
        }
    }
    for (name, why) in ALIKE {
        let places = places.remove(name).unwrap_or_default();
        assert!(places.len() > 1, "`{name}` ({why}) stands in {places:?}");
    }
    places.retain(|_, places| places.len() > 1);
    assert!(
        places.is_empty(),
        "types that share a name: say in the name what sets each apart, or make them one: {places:#?}"
    );
}

/// A function is called by what it does: `X::from_record(…)`, `for_key(…)`. What is left reads as
/// English with the name in front of it: a zone of, a moment of, an act of.
#[test]
fn no_function_is_called_of() {
    let read_as_english = [
        "src/import/moment.rs",
        "src/model/refusal/next.rs",
        "src/policy/zones.rs",
    ];
    let found = hits("src", &["fn of(", "fn of<"], |name| {
        read_as_english.contains(&name)
    });
    assert_eq!(found, [""; 0]);
}
