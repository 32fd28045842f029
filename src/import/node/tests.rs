use super::*;

fn one(text: &str) -> Node {
    parse("file", text, "a file").unwrap().remove(0).root
}

#[test]
fn values_know_their_lines_and_numbers_how_they_are_written() {
    let yaml = one("a: &x\n- 0123456789012345\n- 1e3\nb: *x\nc: off\nd: null\n");
    let a = yaml.peek("a").unwrap();
    assert_eq!(a.list().unwrap()[0].line, 2);
    assert_eq!(a.words().unwrap(), ["0123456789012345", "1e3"]);
    assert_eq!(yaml.peek("b").unwrap().words(), a.words());
    assert_eq!(yaml.peek("C").unwrap().flag(), Some(false));
    assert!(yaml.peek("d").is_none());
    let json = one(r#"{"a": [18446744073709551615, 2.0, "3", true, -1], "external_id": "é"}"#);
    let a = json.peek("a").unwrap().list().unwrap();
    assert_eq!(
        a.iter().map(Node::number).collect::<Vec<_>>(),
        [Some(u64::MAX), Some(2), Some(3), None, None]
    );
    assert_eq!(json.peek("externalId").unwrap().text(), Some("é"));
}

#[test]
fn a_file_may_hold_several_documents() {
    let many = parse("f", "---\na: 1\n---\n---\nb: 2\n", "a file").unwrap();
    assert_eq!(many.len(), 2);
    assert_eq!(
        parse("f", "{\"a\":1}\n{\"b\":2}\n", "a file")
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn what_stands_twice_and_what_is_no_yaml_is_refused_without_being_shown() {
    for text in [
        "a: secret-1\na: secret-2\n",
        "{\"a\":\"secret\",\"a\":2}",
        "a: [secret",
        "{\"secret\"",
    ] {
        let error = parse("f", text, "a file").err().unwrap().to_string();
        assert!(
            error.starts_with("f:") && !error.contains("secret"),
            "{error}"
        );
    }
}
