//! The API without a socket: the table walked, and what HTTP promises.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::http::{self, App};
use super::limits::RateLimits;
use super::listen::HttpPeer;
use super::{backups, envoys};
use crate::delivery::{self, Delivery};
use crate::pool::{self, StorePool};
use keystile_api::{Endpoint, Operation, session};
use keystile_model::caller::Role;
use keystile_policy::file as policy_file;
use keystile_registry::token;
use keystile_system as system;

mod codes;
mod conditions;
mod documents;
mod events;
mod guide;
mod interrupted;
mod logged;
mod paced;
mod pages;
mod refusals;
mod repeated;
mod trouble;
mod turns;

struct Api {
    router: axum::Router,
    pool: Arc<StorePool>,
    folder: tempfile::TempDir,
}

/// For routes that a running server answers; no Envoy ever connects.
fn nowhere() -> delivery::DeliverySettings {
    delivery::DeliverySettings {
        template: delivery::ResourceTemplate {
            wasm: "keystile.wasm".into(),
            overlay: "keystile".to_owned(),
            base: "keystile-base".to_owned(),
        },
        ttl: None,
        limits: delivery::PeerLimits::default(),
        world: system::local,
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

impl Api {
    fn new() -> Self {
        Self::limited(RateLimits::new(100_000))
    }

    fn limited(limits: RateLimits) -> Self {
        let (folder, pool) = pool::bench::pool(policy_file::DEFAULT, &["acme", "other"]);
        Self::over(folder, pool, limits)
    }

    fn over(folder: tempfile::TempDir, pool: Arc<StorePool>, limits: RateLimits) -> Self {
        let app = App::new(Arc::clone(&pool), limits, Vec::new());
        let delivery = Delivery::new(Arc::clone(&pool), nowhere());
        let live = envoys::routes(&app, &delivery)
            .merge(backups::routes(&app))
            .merge(sessions(&app));
        Self {
            router: http::router(app, live),
            pool,
            folder,
        }
    }

    async fn token(&self, role: Role) -> String {
        let draft = token::TokenDraft::plain(role.to_string(), role);
        let made = self
            .pool
            .write(move |store| token::create(store, &system::local(), draft))
            .await
            .unwrap();
        made.0.expose_secret().to_owned()
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        let peer = HttpPeer::direct(SocketAddr::from(([192, 0, 2, 7], 4711)), true);
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        self.with(token, method, path, body, &[]).await
    }

    async fn with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }
}

/// The console's own routes, of a console that nobody is signed in to.
fn sessions(app: &App) -> axum::Router {
    http::live(app, |_: session::List, _| async {
        Ok(session::SessionViews {
            sessions: Vec::new(),
        })
    })
    .merge(http::live(app, |asked: session::End, _| async move {
        Err(session::none(&asked.id))
    }))
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).unwrap().to_str().unwrap()
}

fn routes() -> Vec<Endpoint> {
    macro_rules! all {
        ($($operation:ty,)*) => { vec![$(<$operation>::ENDPOINT,)*] };
    }
    keystile_api::for_each_operation!(all)
}

/// Its path with things that are not there in the place of its fields.
fn somewhere(route: &Endpoint) -> String {
    route
        .path
        .replace("{id}", "0000000000")
        .replace("{name}", "nobody")
        .replace("{kid}", "none")
        .replace("{version}", "1")
}

#[tokio::test]
async fn every_route_admits_the_roles_of_the_table_and_no_others() {
    let api = Api::new();
    let mut tokens = vec![(None, String::new())];
    for role in Role::ALL {
        tokens.push((Some(role), api.token(role).await));
    }
    let routes = routes();
    assert!(routes.iter().any(|r| r.live));
    for route in routes {
        for (role, token) in &tokens {
            let method = route.method.as_str();
            let answer = api
                .ask(token, method, &somewhere(&route), Value::Null)
                .await;
            let who = format!("{method} {} by {role:?}: {}", route.path, answer.text);
            match role {
                None => {
                    assert_eq!(answer.status, 401, "{who}");
                    assert!(header(&answer, "www-authenticate").starts_with("Bearer"));
                }
                Some(role) if route.roles.contains(role) => {
                    assert!(![401, 403, 405].contains(&answer.status), "{who}");
                }
                Some(_) => assert_eq!(answer.status, 403, "{who}"),
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_one_client_meets_no_other() {
    let api = Api::new();
    let (owner, client) = (api.token(Role::Owner).await, api.token(Role::Client).await);
    let issue = |client: &str| json!({"client": client});
    let theirs = api.ask(&owner, "POST", "/v1/keys", issue("other")).await;
    let ours = api.ask(&client, "POST", "/v1/keys", issue("acme")).await;
    assert_eq!((theirs.status, ours.status), (201, 201), "{}", ours.text);
    let id = |a: &Answer| a.body["id"].as_str().unwrap().to_owned();

    let path = format!("/v1/keys/{}", id(&theirs));
    for (method, path) in [
        ("GET", path.clone()),
        ("PATCH", path.clone()),
        ("POST", format!("{path}/revoke")),
        ("POST", format!("{path}/rotate")),
        ("GET", "/v1/clients/other".to_owned()),
        ("GET", "/v1/keys?client=other".to_owned()),
    ] {
        let answer = api.ask(&client, method, &path, Value::Null).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
    let refused = api.ask(&client, "POST", "/v1/keys", issue("other")).await;
    assert_eq!(refused.status, 404);

    let seen = api.ask(&client, "GET", "/v1/keys", Value::Null).await;
    let seen: Vec<&str> = seen.body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, [id(&ours)]);
    let all = api.ask(&owner, "GET", "/v1/keys", Value::Null).await;
    assert_eq!(all.body["keys"].as_array().unwrap().len(), 2);
    let clients = api.ask(&client, "GET", "/v1/clients", Value::Null).await;
    assert_eq!(clients.body["clients"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_refused_is_a_problem_with_codes_and_fields() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let ask = async |method, path, body| api.ask(&owner, method, path, body).await;

    let e = ask("GET", "/v1/clients/amce", Value::Null).await;
    assert_eq!(e.status, 404);
    assert_eq!(header(&e, "content-type"), "application/problem+json");
    assert_eq!(
        e.body["detail"],
        "there is no client `amce`; did you mean `acme`?"
    );
    assert_eq!(e.body["code"], "not_found");
    assert_eq!(e.body["type"], "urn:keystile:problem:not_found");
    assert_eq!(e.body["status"], 404);
    assert_eq!(e.body["errors"][0]["code"], "client_not_found");

    let e = ask("POST", "/v1/clients", json!({"name": "acme"})).await;
    assert_eq!(e.status, 409, "{}", e.text);
    let e = ask("POST", "/v1/clients", json!({"name": "a b"})).await;
    assert_eq!(e.status, 422, "{}", e.text);
    let e = ask("POST", "/v1/clients", json!({"nome": "x"})).await;
    assert_eq!(e.status, 422);
    assert!(e.text.contains("`nome`"), "{}", e.text);
    let e = ask("POST", "/v1/clients", json!([1])).await;
    assert_eq!(e.status, 400, "{}", e.text);
    let e = ask("GET", "/v1/keys?limit=0", Value::Null).await;
    assert_eq!(e.status, 422);
    let e = ask("GET", "/v1/keys?limit=%zz", Value::Null).await;
    assert_eq!(e.status, 400);
    let e = ask("GET", "/v1/nowhere", Value::Null).await;
    assert_eq!(e.status, 404);
    let e = ask("PUT", "/v1/clients", json!({})).await;
    assert_eq!(
        (e.status, e.body["code"].as_str()),
        (405, Some("method_not_allowed"))
    );
    let policy =
        "version: 1\nplans: {a: {limits: [{requests: 0, per: 1m}]}}\nroutez: []\nmodus: x\n";
    let e = ask(
        "POST",
        "/v1/policy/check",
        json!({"name": "p.yaml", "text": policy}),
    )
    .await;
    assert_eq!(e.status, 422, "{}", e.text);
    assert!(e.body["errors"].as_array().unwrap().len() > 1, "{}", e.text);

    let request = Request::builder()
        .method("POST")
        .uri("/v1/clients")
        .header("authorization", format!("Bearer {owner}"));
    let e = api.send(request.body(Body::from("name=x")).unwrap()).await;
    assert_eq!(e.status, 415, "{}", e.text);
}

#[tokio::test]
async fn a_body_has_a_largest_size_which_an_import_may_exceed() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let long = "x".repeat(2 << 20);
    let body = json!({"name": "big", "description": long});
    let e = api.ask(&owner, "POST", "/v1/clients", body.clone()).await;
    assert_eq!(
        (e.status, e.body["code"].as_str()),
        (413, Some("too_large"))
    );
    // Without a length, too.
    let request = Request::builder()
        .method("POST")
        .uri("/v1/clients")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {owner}"));
    let stream = tokio_stream::iter([Ok::<_, std::io::Error>(body.to_string())]);
    let e = api
        .send(request.body(Body::from_stream(stream)).unwrap())
        .await;
    assert_eq!(e.status, 413, "{}", e.text);
    // One line: as many as fit would each be read and refused.
    let text = format!("client,sha256\n{}", " ".repeat(2 << 20));
    let e = api
        .ask(&owner, "POST", "/v1/keys/import", json!({"text": text}))
        .await;
    assert_ne!(e.status, 413);
}

#[tokio::test]
async fn pages_of_keys_follow_each_other_without_a_gap() {
    let api = Api::new();
    let owner = api.token(Role::Owner).await;
    let body = json!({"client": "acme", "count": 25});
    let issued = api.ask(&owner, "POST", "/v1/keys", body).await;
    assert_eq!(issued.body.as_array().unwrap().len(), 25);
    let mut seen = Vec::new();
    let mut path = "/v1/keys?limit=10".to_owned();
    loop {
        let page = api.ask(&owner, "GET", &path, Value::Null).await;
        let keys = page.body["keys"].as_array().unwrap();
        seen.extend(keys.iter().map(|k| k["id"].as_str().unwrap().to_owned()));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/v1/keys?limit=10&cursor={next}"),
            None => break,
        }
    }
    let mut wanted: Vec<String> = issued
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["id"].as_str().unwrap().to_owned())
        .collect();
    wanted.sort();
    assert_eq!(seen, wanted);
}
