use super::*;
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    each: Vec<Inner>,
    #[serde(default)]
    sort: Option<Sort>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    n: u32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    Big,
    Small(u8),
}

#[test]
fn what_is_right_is_read_as_serde_json_reads_it() {
    for value in [
        json!({"name": "a"}),
        json!({"name": "a", "each": [{"n": 1}], "sort": "big"}),
        json!({"name": "a", "sort": {"small": 7}}),
        json!({"name": "a", "sort": null}),
    ] {
        let other: Sample = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(read::<Sample>(value), Ok(other));
    }
}

#[test]
fn what_is_wrong_is_told_by_code_and_field() {
    let refused = |value: Value| {
        let (path, wrong) = read::<Sample>(value).unwrap_err();
        let e = wrong.refused(&path);
        let field = e.faults()[0].field.clone().unwrap_or_default().into_owned();
        (e.code().unwrap(), field, e.to_string())
    };
    for (value, code, field, words) in [
        (
            json!({"name": "a", "nam": 1}),
            Code::FieldUnknown,
            "nam",
            "there is no field `nam`; did you mean `name`?",
        ),
        (
            json!({}),
            Code::FieldMissing,
            "name",
            "`name` is missing; add it",
        ),
        (
            json!({"name": "a", "each": [{"n": "hidden"}]}),
            Code::InvalidValue,
            "each[0].n",
            "`each[0].n`: this is a text; write a whole number, 0 or more",
        ),
        (
            json!({"name": "a", "sort": "odd"}),
            Code::InvalidValue,
            "sort",
            "`sort`: `odd` is not one of its values; write one of `big`, `small`",
        ),
        (
            json!([]),
            Code::InvalidValue,
            "",
            "this is a list; write an object",
        ),
        (
            json!({"name": "a", "sort": []}),
            Code::InvalidValue,
            "sort",
            "`sort`: this is a list; write one of `big`, `small`",
        ),
        (
            json!({"name": "a", "sort": 7}),
            Code::InvalidValue,
            "sort",
            "`sort`: this is the number `7`; write one of `big`, `small`",
        ),
        (
            json!({"name": "a", "each": [["x"]]}),
            Code::InvalidValue,
            "each[0]",
            "`each[0]`: this is a list; write an object",
        ),
    ] {
        assert_eq!(refused(value), (code, field.to_owned(), words.to_owned()));
    }
}
