use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::read;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct All {
    text: String,
    yes: bool,
    small: u8,
    big: u64,
    below: i64,
    maybe: Option<u32>,
    list: Vec<Kind>,
    names: BTreeMap<String, (u32, String)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    First,
    Second,
}

fn refused(text: &str) -> String {
    read::<All>(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_serde_json_writes_is_read_again() {
    let names = [
        ("ä\n\"".to_owned(), (1, "\u{1F511}".to_owned())),
        (String::new(), (u32::MAX, String::new())),
    ];
    let value = All {
        text: "tab\t and \\ and \u{0}".to_owned(),
        yes: true,
        small: 255,
        big: u64::MAX,
        below: i64::MIN,
        maybe: Some(7),
        list: vec![Kind::Second, Kind::First],
        names: names.into(),
    };
    let text = serde_json::to_vec(&value).unwrap();
    assert_eq!(read::<All>(&text), Ok(value));
    let text = serde_json::to_vec(&All::default()).unwrap();
    assert_eq!(read::<All>(&text), Ok(All::default()));
}

#[test]
fn what_is_not_of_the_type_is_refused_by_name() {
    for (text, why) in [
        (r#"{"other": 1}"#, "unknown field `other`"),
        (r#"{"yes": true, "yes": true}"#, "duplicate field `yes`"),
        (r#"{"yes": 1}"#, "a number instead of a boolean"),
        (r#"{"small": 256}"#, "a number instead of u8"),
        (r#"{"big": -1}"#, "a negative number instead of u64"),
        (r#"{"big": 1.5}"#, "a number that is not whole"),
        (r#"{"list": ["third"]}"#, "unknown variant `third`"),
        (r#"{"list": {}}"#, "an object instead of a sequence"),
        (r#"{"names": {"a": [1, "b", 2]}}"#, "invalid length 3"),
        (r#"{"names": {"a": [1]}}"#, "invalid length 1"),
        (r#"{"text": null}"#, "null instead of a string"),
        ("[]", "a list instead of struct All"),
        ("{} {}", "trailing characters"),
        ("{", "EOF"),
    ] {
        assert!(refused(text).contains(why), "{text}: {}", refused(text));
    }
}

#[test]
fn no_value_of_a_text_is_in_a_message() {
    let message = refused(r#"{"big": "hunter2"}"#);
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let text = "[".repeat(100_000);
    assert!(refused(&text).contains("recursion"));
}

#[test]
fn it_reads_what_serde_json_reads() {
    let mut value = json!({"text": "a", "yes": false, "list": ["first"], "names": {"x": [1, "y"]}});
    for damage in [
        json!(null),
        json!(3),
        json!("a"),
        json!([]),
        json!({}),
        json!(true),
    ] {
        for name in [
            "text", "yes", "small", "big", "below", "maybe", "list", "names",
        ] {
            let kept = value.clone();
            value[name] = damage.clone();
            let text = serde_json::to_vec(&value).unwrap();
            let theirs = serde_json::from_slice::<All>(&text).ok();
            assert_eq!(read::<All>(&text).ok(), theirs, "{name}: {damage}");
            value = kept;
        }
    }
    assert!(read::<All>(&serde_json::to_vec::<Value>(&value).unwrap()).is_ok());
}
