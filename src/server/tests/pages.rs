//! Lists have pages.

use super::*;
use keystile_model::record::Labels;
use keystile_registry::client::{self, ClientDraft};
use keystile_system as system;

fn names(page: &Value) -> Vec<String> {
    let clients = page["clients"].as_array().unwrap().iter();
    let names = clients.map(|c| c["client"].as_str().unwrap().to_owned());
    names.collect()
}

fn many(of: impl Fn(usize) -> bool) -> Vec<String> {
    let numbers = (0..1_001).filter(|n| of(*n));
    numbers.map(|n| format!("many-{n:04}")).collect()
}

/// `acme`, 1,001 clients and `other`.
async fn crowded() -> Api {
    let api = Api::new();
    let made = api.pool.write(|store| {
        for (n, name) in many(|_| true).into_iter().enumerate() {
            let label = ("n".to_owned(), (n % 2).to_string());
            let draft = ClientDraft {
                labels: Labels::from([label]),
                description: if n % 500 == 0 { "The Few" } else { "" }.to_owned(),
                ..ClientDraft::named(&name)
            };
            client::create(store, &system::local(), draft)?;
        }
        Ok(())
    });
    made.await.unwrap();
    api
}

#[tokio::test]
async fn clients_are_listed_page_by_page_and_each_once() {
    let api = crowded().await;
    let (owner, bound) = (api.token(Role::Owner).await, api.token(Role::Client).await);
    let list = async |token: &str, query: &str| {
        let path = format!("/v1/clients{query}");
        let answer = api.ask(token, "GET", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.body
    };
    // Without a word about it, a page is a page.
    let first = list(&owner, "").await;
    assert_eq!(names(&first).len(), 1_000);
    assert_eq!(first["next"], "many-0998");
    let second = list(&owner, "?cursor=many-0998").await;
    assert_eq!(names(&second), ["many-0999", "many-1000", "other"]);
    assert_eq!(second["next"], Value::Null);

    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = list(&owner, &format!("?limit=97&label=n=1{cursor}")).await;
        assert!(names(&page).len() <= 97);
        found.extend(names(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, many(|n| n % 2 == 1));

    let few = list(&owner, "?search=the%20FEW&limit=2").await;
    assert_eq!(names(&few), ["many-0000", "many-0500"]);
    let rest = list(&owner, "?search=the%20FEW&limit=2&cursor=many-0500").await;
    assert_eq!(names(&rest), ["many-1000"]);
    assert_eq!(rest["next"], Value::Null);

    // A caller that sees one client sees it on the first page, and nothing behind it.
    let own = list(&bound, "?limit=1").await;
    assert_eq!(names(&own), ["acme"]);
    assert_eq!(own["next"], Value::Null);
    assert!(names(&list(&bound, "?cursor=acme").await).is_empty());

    for bad in ["0", "10001"] {
        let path = format!("/v1/clients?limit={bad}");
        let refused = api.ask(&owner, "GET", &path, Value::Null).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
    }
}

#[tokio::test]
async fn tokens_are_listed_page_by_page_and_each_once() {
    let api = Api::new();
    let (owner, issuer) = (api.token(Role::Owner).await, api.token(Role::Issuer).await);
    let made = api.pool.write(|store| {
        for n in 0..1_003 {
            let role = if n % 2 == 0 {
                Role::Client
            } else {
                Role::Auditor
            };
            let draft = token::TokenDraft::plain(format!("many-{n}"), role);
            let (_, made) = token::create(store, &system::local(), draft)?;
            if n % 3 == 0 {
                token::revoke(store, &system::local(), made.grant.id)?;
            }
        }
        Ok(())
    });
    made.await.unwrap();
    let list = async |token: &str, query: &str| {
        let path = format!("/v1/tokens{query}");
        let answer = api.ask(token, "GET", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer.body
    };
    let all = async |token: &str, query: &str| {
        let mut names = std::collections::BTreeSet::new();
        let (mut shown, mut cursor) = (0, String::new());
        loop {
            let page = list(token, &format!("?limit=100{query}{cursor}")).await;
            let tokens = page["tokens"].as_array().unwrap();
            assert!(tokens.len() <= 100);
            shown += tokens.len();
            names.extend(tokens.iter().map(|t| t["name"].to_string()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(names.len(), shown, "each once");
        shown
    };
    let first = list(&owner, "").await;
    assert_eq!(first["tokens"].as_array().unwrap().len(), 1_000);
    assert!(first["next"].is_string());
    let before = 2;
    assert_eq!(all(&owner, "").await, 1_003 + before);
    assert_eq!(all(&owner, "&living=true").await, 1_003 - 335 + before);
    // An issuer sees those of clients alone.
    assert_eq!(all(&issuer, "").await, 502);
}

#[tokio::test]
async fn enrolled_envoys_are_listed_page_by_page_and_each_once() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    for n in 0..5 {
        let body = json!({"node": format!("edge-{n}")});
        let enrolled = api.ask(&owner, "POST", "/v1/nodes", body).await;
        assert_eq!(enrolled.status, 200, "{}", enrolled.text);
    }
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/v1/nodes?limit=2{cursor}");
        let page = api.ask(&owner, "GET", &path, Value::Null).await;
        let nodes = page.body["nodes"].as_array().unwrap();
        found.extend(nodes.iter().map(|n| n["node"].as_str().unwrap().to_owned()));
        pages += 1;
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["edge-0", "edge-1", "edge-2", "edge-3", "edge-4"]);
    assert_eq!(pages, 3);
    let refused = api.ask(&owner, "GET", "/v1/nodes?limit=0", Value::Null);
    assert_eq!(refused.await.status, 422);
}

#[tokio::test]
async fn a_clients_token_learns_of_no_others_from_the_plans() {
    let api = Api::new();
    let (owner, client) = (api.token(Role::Owner).await, api.token(Role::Client).await);
    let bulk = |name: &str, count: u32| json!({"client": name, "count": count, "plan": "gold"});
    for (name, count) in [("acme", 3), ("other", 5)] {
        let issued = api.ask(&owner, "POST", "/v1/keys", bulk(name, count)).await;
        assert_eq!(issued.status, 201, "{}", issued.text);
    }
    let gold = async |token: &str| {
        let plans = api.ask(token, "GET", "/v1/plans", Value::Null).await;
        let mut plans = plans.body["plans"].as_array().unwrap().clone();
        let gold = plans.iter_mut().find(|p| p["plan"] == "gold").unwrap();
        gold["keys"].take()
    };
    assert_eq!(gold(&owner).await, json!(8));
    assert_eq!(gold(&client).await, json!(3));
}
