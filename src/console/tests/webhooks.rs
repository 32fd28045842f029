//! A webhook's page: what its buttons do, and for whom they are there.

use super::{Person, Site, forms::Filled};
use keystile_model::caller::Role;
use keystile_registry::webhook;
use keystile_store::Store;
use keystile_system as system;

const PAGE: &str = "/console/webhooks/ops";

async fn with_a_webhook() -> Site {
    let site = Site::new();
    let make = |store: &mut Store| {
        let draft = webhook::WebhookDraft {
            name: "ops".to_owned(),
            url: "https://hooks.example.com/in".to_owned(),
            events: Vec::new(),
            secret: None,
        };
        webhook::create(store, &system::local(), draft).map(drop)
    };
    site.pool.write(make).await.unwrap();
    site
}

async fn press(person: &Person<'_>, verb: &str) -> u16 {
    let page = person.get(PAGE).await.text;
    let button = Filled::find(&page, &format!("{PAGE}/{verb}"));
    button.send(person).await.status
}

#[tokio::test]
async fn a_webhook_is_paused_as_it_was_shown_and_goes_on() {
    let site = with_a_webhook().await;
    let person = site.owner().await;
    let open = Filled::find(&person.get(PAGE).await.text, &format!("{PAGE}/pause"));
    assert_eq!(press(&person, "pause").await, 303);
    // Somebody else's page shows it as it was.
    assert_eq!(open.send(&person).await.status, 412);
    let page = person.get(PAGE).await.text;
    assert!(page.contains("Paused: nothing is sent."), "{page}");
    assert!(!page.contains("/test\""), "a test would only wait");
    assert_eq!(press(&person, "resume").await, 303);
    assert_eq!(press(&person, "test").await, 303);
    let log = site.log().await;
    let actions: Vec<&str> = log.iter().filter_map(|l| l.split(' ').next()).collect();
    let wanted = ["webhook.test", "webhook.resume", "webhook.pause"];
    assert!(wanted.iter().all(|a| actions.contains(a)), "{log:?}");
}

#[tokio::test]
async fn only_an_owner_finds_buttons_and_others_are_refused() {
    let site = with_a_webhook().await;
    for role in [Role::Issuer, Role::Auditor] {
        let (token, _) = site.token(role, false).await;
        let person = site.sign_in(&token).await;
        let page = person.get(PAGE).await;
        assert_eq!(page.status, 200);
        assert!(!page.text.contains(&format!("action=\"{PAGE}")), "{role}");
        for verb in ["test", "pause", "resume", "resend"] {
            let sent = person.post(&format!("{PAGE}/{verb}"), "audit_seq=1").await;
            assert_eq!(sent.status, 403, "{role} {verb}");
        }
    }
    let (token, _) = site.token(Role::Client, false).await;
    let holder = site.sign_in(&token).await;
    assert_eq!(holder.get(PAGE).await.status, 403);
}
