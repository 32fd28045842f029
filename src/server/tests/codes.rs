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

/// Which plans and scopes there are besides, `GET /v1/policy` does not tell such a token either.
#[tokio::test]
async fn a_client_is_not_told_of_plans_and_scopes_that_it_may_not_give() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let limits = json!({"limits": [{"requests": 1, "per": "1s"}]});
    let policy = json!({
        "version": 1,
        "plans": {"mine": limits, "hidden-plan": limits},
        "routes": [{"path": "/a", "scopes": ["hidden-scope"]}],
    });
    let applied = json!({"name": "p", "text": policy.to_string()});
    let applied = api.ask(&owner, "PUT", "/v1/policy", applied).await;
    assert_eq!(applied.status, 200, "{}", applied.text);
    let token = json!({"name": "c", "role": "client", "client": "acme", "plans": ["mine"]});
    let token = api.ask(&owner, "POST", "/v1/tokens", token).await;
    let token = token.body["token"].as_str().unwrap().to_owned();
    let key = json!({"client": "acme", "plan": "mine"});
    let key = api.ask(&token, "POST", "/v1/keys", key).await;
    let path = format!("/v1/keys/{}", key.body["id"].as_str().unwrap());
    for wrong in [
        json!({"plan": "none-such"}),
        json!({"plan": "hidden-plan"}),
        json!({"plan": "mine", "scopes": ["none-such"]}),
        json!({"plan": "mine", "scopes": ["hidden-scope"]}),
    ] {
        let mut new = wrong.clone();
        new["client"] = json!("acme");
        for (method, path, body) in [("POST", "/v1/keys", new), ("PATCH", &path, wrong)] {
            let e = api.ask(&token, method, path, body.clone()).await;
            assert_eq!(e.body["errors"][0]["code"], "beyond_ceiling", "{}", e.text);
            let asked = body.to_string();
            for hidden in ["hidden-plan", "hidden-scope"] {
                assert!(
                    asked.contains(hidden) || !e.text.contains(hidden),
                    "{}",
                    e.text
                );
            }
        }
    }
}
