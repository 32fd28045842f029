//! The door and the walls, without a socket: who gets in, what he may, what every page
//! carries.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use tower::ServiceExt as _;

use super::{Console, Envoys, Settings, router};
use keystile_api::fleet::Fleet;
use keystile_api::fleet::NodeView;
use keystile_model::caller::Role;
use keystile_policy::file as policy_file;
use keystile_registry::audit;
use keystile_registry::key;
use keystile_registry::token;
use keystile_server::desk::{self, Desk};
use keystile_server::http::{self, App};
use keystile_server::limits::Limits;
use keystile_server::listen::Peer;
use keystile_store::Query;
use keystile_system as system;

mod acts;
mod forms;
mod lists;
mod sessions;

const HOST: &str = "keystile.example.com";

struct Site {
    router: Router,
    desk: Arc<Desk>,
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

fn node(id: &str, connected: bool) -> NodeView {
    let state = if connected {
        "connected"
    } else {
        "disconnected"
    };
    let since = |is: bool| is.then(|| "2026-11-28T12:00:00Z".to_owned());
    NodeView {
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

    fn with_envoys(nodes: Vec<NodeView>) -> Self {
        let (folder, desk) = desk::bench::desk(policy_file::DEFAULT, &["acme", "other"]);
        let app = App::new(Arc::clone(&desk), Limits::new(100_000), Vec::new());
        let envoys = Envoys {
            list: Arc::new(move || Fleet {
                version: 0,
                nodes: nodes.clone(),
                next: None,
            }),
            forget: Arc::new(|_, _| Box::pin(async { Ok(()) })),
        };
        let console = Console::new(app.clone(), Settings::default(), envoys);
        let live = console.live();
        Self {
            router: http::router(app, router(console).merge(live)),
            desk,
            folder,
        }
    }

    async fn token(&self, role: Role, invitation: bool) -> (String, keystile_core::key::KeyId) {
        let draft = token::Draft {
            invitation,
            ..token::Draft::plain(format!("{role}-{invitation}"), role)
        };
        let (text, record) = self
            .desk
            .write(move |store| token::create(store, &system::local(), draft))
            .await
            .unwrap();
        (text.expose_secret().to_owned(), record.grant.id)
    }

    async fn key(&self, client: &'static str) -> String {
        let (issued, _) = self
            .desk
            .write(move |store| {
                key::issue(
                    store,
                    &system::local(),
                    client,
                    key::Draft::default(),
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
        request
            .extensions_mut()
            .insert(Peer::direct(SocketAddr::from(([192, 0, 2, 7], 4711)), tls));
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

    /// Actions and outcomes of the log, the latest first.
    async fn log(&self) -> Vec<String> {
        self.desk
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

const PAGES: [&str; 18] = [
    "/console",
    "/console/clients",
    "/console/clients/new",
    "/console/clients/acme",
    "/console/clients/acme/issue",
    "/console/keys",
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
];

#[tokio::test]
async fn who_is_not_signed_in_is_led_to_the_door_and_then_back() {
    let site = Site::new();
    for page in PAGES {
        let answer = site.send(get(page, "")).await;
        assert_eq!(answer.status, 303, "{page}");
        assert!(
            answer.header("location").starts_with("/console/sign-in"),
            "{page}"
        );
        assert!(answer.text.is_empty());
    }
    let answer = site.send(get("/console/keys?client=acme", "")).await;
    assert_eq!(
        answer.header("location"),
        "/console/sign-in?next=%2Fconsole%2Fkeys%3Fclient%3Dacme"
    );
    let (owner, _) = site.token(Role::Owner, false).await;
    let form = format!("token={owner}&next=%2Fconsole%2Fkeys%3Fclient%3Dacme");
    let answer = site.send(post("/console/sign-in", "", &form)).await;
    assert_eq!(answer.header("location"), "/console/keys?client=acme");
    let answer = site.send(get("/", "")).await;
    assert_eq!(answer.header("location"), "/console");
}

#[tokio::test]
async fn every_page_carries_the_headers_that_keep_others_out() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let person = site.sign_in(&owner).await;
    for page in PAGES
        .iter()
        .chain(&["/console/sign-in", "/console/nowhere", "/console/style.css"])
    {
        let answer = person.get(page).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{page}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{page}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{page}");
        if !page.ends_with(".css") {
            assert_eq!(answer.header("cache-control"), "no-store", "{page}");
            // Nothing inline that the policy would have to allow.
            for bad in [" style=", "<style", " onclick=", "<script>", "javascript:"] {
                assert!(!answer.text.contains(bad), "{page} holds `{bad}`");
            }
        }
    }
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_for_scripts_other_sites_and_other_hosts() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let form = format!("token={owner}");
    let answer = site.send(post("/console/sign-in", "", &form)).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-keystile="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    // In clear, on this machine, there is no TLS that `Secure` could ask for.
    let plain = post_from("/console/sign-in", "", &form, &format!("http://{HOST}"));
    let answer = site.from(plain, false).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("keystile="), "{cookie}");
    assert!(
        !cookie.contains("Secure") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    // Behind something that speaks TLS for us it is as strict.
    let mut behind = post("/console/sign-in", "", &form);
    behind
        .headers_mut()
        .insert("x-forwarded-proto", "https".parse().unwrap());
    let answer = site.from(behind, false).await;
    assert!(answer.header("set-cookie").starts_with("__Host-keystile="));
}

#[tokio::test]
async fn a_form_that_another_site_sends_does_nothing() {
    let site = Site::new();
    let (owner, _) = site.token(Role::Owner, false).await;
    let person = site.sign_in(&owner).await;
    let form = format!("csrf={}&name=planted", person.form_token);
    for origin in [
        "https://evil.example",
        "null",
        "https://keystile.example.com.evil.example",
        "",
    ] {
        let sent = post_from("/console/clients", &person.cookie, &form, origin);
        assert_eq!(site.send(sent).await.status, 403, "{origin}");
        let sent = post_from("/console/sign-in", "", &format!("token={owner}"), origin);
        assert_eq!(site.send(sent).await.status, 403, "{origin}");
    }
    let mut without = post("/console/clients", &person.cookie, &form);
    without.headers_mut().remove("origin");
    assert_eq!(site.send(without).await.status, 403);
    for wrong in ["csrf=wrong&name=planted", "name=planted"] {
        let sent = post("/console/clients", &person.cookie, wrong);
        assert_eq!(site.send(sent).await.status, 403, "{wrong}");
    }
    assert!(
        !person
            .get("/console/clients")
            .await
            .text
            .contains("planted")
    );
    assert!(site.log().await[0].starts_with("console.form refused"));
    // The same form from our own page does.
    let sent = post("/console/clients", &person.cookie, &form);
    assert_eq!(site.send(sent).await.status, 303);
    assert!(
        person
            .get("/console/clients")
            .await
            .text
            .contains("planted")
    );
}

#[tokio::test]
async fn guessing_at_the_door_is_slowed_down() {
    let site = Site::new();
    let mut seen = Vec::new();
    for _ in 0..15 {
        let answer = site
            .send(post("/console/sign-in", "", "token=kst_owner_wrong"))
            .await;
        seen.push(answer.status);
        assert!(!answer.text.contains("kst_owner_wrong"));
    }
    assert_eq!(seen[0], 401);
    assert_eq!(seen.last(), Some(&429));
    let (owner, _) = site.token(Role::Owner, false).await;
    let answer = site
        .send(post("/console/sign-in", "", &format!("token={owner}")))
        .await;
    assert_eq!(answer.status, 303, "a good one is never refused for it");
    let invited = site
        .send(post("/console/invitation", "", "code=kst_invite_wrong"))
        .await;
    assert_eq!(invited.status, 429);
}

#[test]
fn a_next_step_leads_to_a_page_or_a_button_that_there_is() {
    let folder = std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let sources: String = folder
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "rs") && !p.ends_with("tests.rs"))
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    for act in keystile_model::error::Act::ALL {
        let page = act.page();
        assert!(
            page.is_empty() || sources.contains(&format!("\"{page}\"")),
            "{page}"
        );
    }
}
