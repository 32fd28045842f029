use super::with;

#[test]
fn one_mistake_of_a_part_hides_no_other_one_of_it() {
    for (fields, expected) in [
        (
            r#""report":{"cluster":"a b","every":"1h"}"#,
            vec!["report.cluster", "report.every"],
        ),
        (
            r#""brute_force":{"attempts":0,"per":"x","burst":0}"#,
            vec![
                "brute_force.attempts",
                "brute_force.burst",
                "brute_force.per",
            ],
        ),
        (
            r#""credentials":[{"header":"te","scheme":"a b"}]"#,
            vec!["credentials[0].header", "credentials[0].scheme"],
        ),
        (
            r#""routes":[{"path":"a","methods":["get"],"hosts":["b b"],"cost":0}]"#,
            vec![
                "routes[0].path",
                "routes[0].hosts[0]",
                "routes[0].methods[0]",
                "routes[0].cost",
            ],
        ),
        // A host that cannot be read may tell them apart.
        (
            r#""routes":[{"path":"/a"},{"path":"/a","hosts":["b b"]}]"#,
            vec!["routes[1].hosts[0]"],
        ),
    ] {
        let found = with(fields).unwrap_err();
        let found: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(found, expected, "{fields}");
    }
}
