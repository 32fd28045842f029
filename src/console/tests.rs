//! The door and the walls, without a socket: who gets in, what he may, what every page
//! carries.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use tower::ServiceExt as _;

use super::{Console, ConsoleSettings, Envoys, router};
use keystile_api::fleet::FleetNode;
use keystile_api::fleet::FleetView;
use keystile_model::caller::Role;
use keystile_policy::file as policy_file;
use keystile_registry::audit;
use keystile_registry::key;
use keystile_registry::token;
use keystile_server::http::{self, App};
use keystile_server::limits::RateLimits;
use keystile_server::listen::HttpPeer;
use keystile_server::pool::{self, StorePool};
use keystile_store::Query;
use keystile_system as system;

mod acts;
mod forms;
mod keys;
mod lists;
mod sessions;
mod walls;
mod webhooks;

const HOST: &str = "keystile.example.com";

struct Site {
    router: Router,
    pool: Arc<StorePool>,
    folder: tempfile::TempDir,
}

/// Who is signed in.
struct Person<'s> {
    site: &'s Site,
    cookie: String,
    form_token: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }
}

/// What a field of a page holds.
fn held<'t>(text: &'t str, name: &str) -> &'t str {
    let (_, rest) = text
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no `{name}` in {text}"));
    rest.split_once('"').unwrap().0
}

fn node(id: &str, connected: bool) -> FleetNode {
    let state = if connected {
        "connected"
    } else {
        "disconnected"
    };
    let since = |is: bool| is.then(|| "2026-11-28T12:00:00Z".to_owned());
    FleetNode {
        enrolled: true,
        report_refused: None,
        id: id.to_owned(),
        cluster: String::new(),
        envoy: String::new(),
        address: None,
        state: state.to_owned(),
        connected_since: since(connected),
        disconnected_since: since(!connected),
        streams: connected.into(),
        in_force: None,
        resources: Vec::new(),
        vms: Vec::new(),
    }
}

impl Site {
    fn new() -> Self {
        Self::with_envoys(vec![node("edge-7", false), node("edge-8", true)])
    }

    fn with_envoys(nodes: Vec<FleetNode>) -> Self {
        let (folder, pool) = pool::bench::pool(policy_file::DEFAULT, &["acme", "other"]);
        let app = App::new(Arc::clone(&pool), RateLimits::new(100_000), Vec::new());
        let envoys = Envoys {
            list: Arc::new(move || FleetView {
                signed_with: vec!["hmac-sha256".to_owned()],
                version: 0,
                nodes: nodes.clone(),
                next: None,
            }),
            forget: Arc::new(|_, _| Box::pin(async { Ok(()) })),
            wait: Arc::new(|_| Box::pin(async { (1, 1) })),
        };
        let console = Console::new(app.clone(), ConsoleSettings::default(), envoys);
        let live = console.live();
        Self {
            router: http::router(app, router(console).merge(live)),
            pool,
            folder,
        }
    }

    async fn token(&self, role: Role, invitation: bool) -> (String, keystile_core::key::KeyId) {
        let draft = token::TokenDraft {
            invitation,
            ..token::TokenDraft::plain(format!("{role}-{invitation}"), role)
        };
        let (text, record) = self
            .pool
            .write(move |store| token::create(store, &system::local(), draft))
            .await
            .unwrap();
        (text.expose_secret().to_owned(), record.grant.id)
    }

    async fn key(&self, client: &'static str) -> String {
        let (issued, _) = self
            .pool
            .write(move |store| {
                key::issue(
                    store,
                    &system::local(),
                    client,
                    key::KeyDraft::default(),
                    1,
                    |_| {},
                )
            })
            .await
            .unwrap();
        issued[0].key.id.to_string()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        self.from(request, true).await
    }

    async fn from(&self, mut request: Request<Body>, tls: bool) -> Answer {
        request.extensions_mut().insert(HttpPeer::direct(
            SocketAddr::from(([192, 0, 2, 7], 4711)),
            tls,
        ));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn sign_in(&self, token: &str) -> Person<'_> {
        let answer = self
            .send(post("/console/sign-in", "", &format!("token={token}")))
            .await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        let cookie = answer.header("set-cookie").to_owned();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let page = self.send(get("/console", &cookie)).await;
        let form_token = held(&page.text, "csrf").to_owned();
        Person {
            site: self,
            cookie,
            form_token,
        }
    }

    /// An owner who is signed in.
    async fn owner(&self) -> Person<'_> {
        let (owner, _) = self.token(Role::Owner, false).await;
        self.sign_in(&owner).await
    }

    /// Actions and outcomes of the log, the latest first.
    async fn log(&self) -> Vec<String> {
        self.pool
            .read(|tx| audit::page(tx, &system::local().caller, Query::default(), true, 50))
            .await
            .unwrap()
            .records
            .iter()
            .map(|r| format!("{} {} {}", r.action, r.outcome.as_str(), r.reason))
            .collect()
    }
}

impl Person<'_> {
    async fn get(&self, path: &str) -> Answer {
        self.site.send(get(path, &self.cookie)).await
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        let form = format!("csrf={}&{form}", self.form_token);
        self.site.send(post(path, &self.cookie, &form)).await
    }
}

fn get(path: &str, cookie: &str) -> Request<Body> {
    Request::get(path)
        .header("host", HOST)
        .header("cookie", cookie)
        .body(Body::empty())
        .unwrap()
}

fn post(path: &str, cookie: &str, form: &str) -> Request<Body> {
    post_from(path, cookie, form, &format!("https://{HOST}"))
}

fn post_from(path: &str, cookie: &str, form: &str, origin: &str) -> Request<Body> {
    Request::post(path)
        .header("host", HOST)
        .header("origin", origin)
        .header("cookie", cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap()
}

const PAGES: [&str; 21] = [
    "/console",
    "/console/clients",
    "/console/clients/new",
    "/console/clients/acme",
    "/console/clients/acme/issue",
    "/console/keys",
    "/console/keys/new",
    "/console/posture",
    "/console/policy",
    "/console/policy/edit",
    "/console/policy/history",
    "/console/explain",
    "/console/audit",
    "/console/fleet",
    "/console/lost-keys",
    "/console/sessions",
    "/console/tokens",
    "/console/webhooks",
    "/console/settings",
    "/console/guide",
    "/console/go",
];

#[test]
fn a_next_step_leads_to_a_page_or_a_button_that_there_is() {
    let (mut sources, mut folders) = (String::new(), vec![env!("CARGO_MANIFEST_DIR").into()]);
    while let Some(folder) = folders.pop() {
        let folder: std::path::PathBuf = folder;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_source = path.extension().is_some_and(|e| e == "rs");
            match path.is_dir() {
                true if !path.ends_with("tests") => folders.push(path),
                false if is_source && !path.ends_with("tests.rs") => {
                    sources += &std::fs::read_to_string(path).unwrap();
                }
                _ => {}
            }
        }
    }
    for act in keystile_model::error::Act::ALL {
        let page = act.page();
        assert!(
            page.is_empty() || sources.contains(&format!("\"{page}\"")),
            "{page}"
        );
    }
}
