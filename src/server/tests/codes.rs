//! What is refused, by code and field.

use super::*;

#[tokio::test]
async fn what_is_wrong_with_a_key_is_told_by_code_field_and_a_next_step_of_the_api() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let ask = async |method, path, body| api.ask(&owner, method, path, body).await;
    let told = |e: &Answer| -> Vec<[String; 3]> {
        let all = e.body["errors"].as_array().unwrap().iter();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        all.map(|e| [&e["code"], &e["field"], &e["detail"]].map(text))
            .collect()
    };
    let issue = |wrong: Value| {
        let mut body = json!({"client": "acme", "allow_unknown_scope": true});
        body.as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        ask("POST", "/v1/keys", body)
    };
    for (wrong, code, field, next) in [
        (
            json!({"client": "nobody"}),
            "client_not_found",
            "client",
            "make it with `POST /v1/clients`, or see `GET /v1/clients`",
        ),
        (
            json!({"allow_unknown_scope": false, "scopes": ["odd"]}),
            "unknown_scope",
            "scopes",
            "`allow_unknown_scope` takes it as it is",
        ),
        (
            json!({"expires": "2001-01-01"}),
            "expiry_in_past",
            "expires",
            "give a later `expires`",
        ),
        (
            json!({"expires": "soon"}),
            "invalid_value",
            "expires",
            "write `90d`",
        ),
        (
            json!({"expire": "90d"}),
            "field_unknown",
            "expire",
            "did you mean `expires`?",
        ),
        (
            json!({"type": "publishable"}),
            "origin_missing",
            "origins",
            "`origins: https://www.example.com`",
        ),
        (
            json!({"name": 7}),
            "invalid_value",
            "name",
            "write a string",
        ),
    ] {
        let e = issue(wrong).await;
        let [one] = <[_; 1]>::try_from(told(&e)).unwrap();
        assert_eq!(&one[..2], [code, field], "{}", e.text);
        assert!(
            one[2].contains(next) && !e.text.contains("keystilectl"),
            "{}",
            e.text
        );
    }
}
