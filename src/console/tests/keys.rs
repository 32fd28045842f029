//! Lists of keys, what is done to several at once, and what is asked before.

use super::{Answer, Person, Site};
use keystile_model::caller::Role;
use keystile_model::record::Key;
use keystile_registry::key;
use keystile_registry::key::KeyDraft;
use keystile_system as system;

impl Site {
    async fn stored(&self, id: &str) -> Key {
        let id = id.parse().unwrap();
        self.pool.read(move |tx| tx.key(id)).await.unwrap().unwrap()
    }
}

/// What the form on a page of several keys sends.
fn several(deed: &str, ids: &[&str], rest: &str) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("id={id}")).collect();
    let back = "back=%2Fconsole%2Fkeys%3Fsearch%3Dci";
    format!("do={deed}&{}&{back}{rest}", ids.join("&"))
}

async fn sent(person: &Person<'_>, form: &str) -> Answer {
    person.post("/console/keys", form).await
}

#[tokio::test]
async fn several_keys_are_disabled_once_that_is_confirmed() {
    let site = Site::new();
    let (first, second) = (site.key("acme").await, site.key("other").await);
    let person = site.owner().await;
    let form = several("disable", &[&first, &second], "");
    let asked = sent(&person, &form).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert!(asked.text.contains("Disable 2 keys?") && asked.text.contains(&second));
    assert!(!site.stored(&first).await.disabled);
    let done = sent(&person, &format!("{form}&sure=true")).await;
    assert_eq!(done.status, 303);
    let to = done.header("location");
    assert!(to.starts_with("/console/keys?search=ci&version="), "{to}");
    assert!(to.ends_with("&done=keys-disabled"), "{to}");
    for id in [&first, &second] {
        assert!(site.stored(id).await.disabled, "{id}");
    }
    let log = site.log().await;
    let records = log.iter().filter(|l| l.starts_with("key.disable done"));
    assert_eq!(records.count(), 2, "{log:?}");
    // Nothing is left to do.
    let again = sent(&person, &form).await;
    assert!(again.header("location").ends_with("done=none-chosen"));
}

#[tokio::test]
async fn several_keys_are_revoked_once_their_number_is_typed() {
    let site = Site::new();
    let (first, second) = (site.key("acme").await, site.key("other").await);
    let person = site.owner().await;
    let form = several("revoke", &[&first, &second], "&sure=true");
    for typed in ["", "&confirm=", "&confirm=1", "&confirm=yes"] {
        let refused = sent(&person, &format!("{form}{typed}")).await;
        assert_eq!(refused.status, 422, "{typed}");
        // A form of the page has the field.
        let is_shown = refused.text.contains("id=\"f-confirm-fault\"");
        assert_eq!(is_shown, !typed.is_empty(), "{typed}");
    }
    assert!(site.stored(&first).await.revoked.is_none());
    let done = sent(&person, &format!("{form}&confirm=2&reason=leaked")).await;
    assert_eq!(done.status, 303, "{}", done.text);
    for id in [&first, &second] {
        let key = site.stored(id).await;
        assert_eq!(
            (key.revoked.is_some(), key.reason.as_str()),
            (true, "leaked")
        );
    }
}

#[tokio::test]
async fn what_is_done_to_several_keys_ends_on_a_page_of_ours() {
    let site = Site::new();
    let person = site.owner().await;
    for away in [
        "https://example.com",
        "//example.com",
        "/elsewhere",
        "/console/keys%0aX: y",
    ] {
        let form = format!("do=disable&back={away}");
        let answer = sent(&person, &form).await;
        assert_eq!(
            answer.header("location"),
            "/console/keys?done=none-chosen",
            "{away}"
        );
    }
}

#[tokio::test]
async fn nobody_does_to_several_keys_what_they_may_not_do_to_one() {
    let site = Site::new();
    let (own, foreign) = (site.key("acme").await, site.key("other").await);
    let (client, _) = site.token(Role::Client, false).await;
    let (auditor, _) = site.token(Role::Auditor, false).await;
    for deed in ["disable", "revoke"] {
        let form = several(deed, &[&own, &foreign], "&sure=true&confirm=2");
        let person = site.sign_in(&client).await;
        assert_eq!(sent(&person, &form).await.status, 404, "{deed}");
        let person = site.sign_in(&auditor).await;
        assert_eq!(sent(&person, &form).await.status, 403, "{deed}");
        let list = person.get("/console/keys").await.text;
        assert!(list.contains(&own) && !list.contains("type=\"checkbox\""));
    }
    for id in [&own, &foreign] {
        let key = site.stored(id).await;
        assert!(!key.disabled && key.revoked.is_none());
    }
}

#[tokio::test]
async fn keys_are_listed_newest_first_and_found_by_what_a_person_knows() {
    let site = Site::new();
    let issue = |name: &'static str, at: u64| {
        let draft = KeyDraft {
            name: name.to_owned(),
            ..KeyDraft::default()
        };
        site.pool.write(move |store| {
            let world = system::at(system::local().now.seconds() - at);
            key::issue(store, &world, "acme", draft, 1, |_| {}).map(drop)
        })
    };
    issue("older", 500).await.unwrap();
    issue("newer", 100).await.unwrap();
    issue("oldest", 900).await.unwrap();
    let person = site.owner().await;
    let page = person.get("/console/keys").await.text;
    let place = |name: &str| page.find(&format!(">{name}</a>")).unwrap();
    assert!(place("newer") < place("older") && place("older") < place("oldest"));
    assert!(page.contains("3 keys that are not revoked"));
    let found = person.get("/console/keys?search=OLDE").await.text;
    assert_eq!(found.matches("role=\"rowheader\"").count(), 2);
    let none = person.get("/console/keys?search=nothing").await.text;
    assert!(none.contains("No key matches."));
    // A client of that name is offered beside the keys.
    let other = person.get("/console/keys?search=othe").await.text;
    assert!(other.contains("href=\"/console/clients/other\""));
}

#[tokio::test]
async fn a_key_that_is_pasted_into_the_search_does_not_stay_in_the_address() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    let secret = format!("{id}{}", "a".repeat(49));
    let path = format!("/console/keys?search=ks_live_{secret}&status=active");
    let answer = person.get(&path).await;
    let to = format!("/console/keys?search={id}&status=active");
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, to.as_str())
    );
    let page = person.get(&to).await.text;
    assert!(page.contains(&id) && !page.contains(&secret));
}

#[tokio::test]
async fn empty_lists_say_what_belongs_there() {
    let site = Site::new();
    let person = site.owner().await;
    let keys = person.get("/console/keys").await.text;
    assert!(keys.contains("There are no keys yet.") && keys.contains("Issue the first key"));
    let found = person.get("/console/clients?search=nobody").await.text;
    assert!(found.contains("No client matches."));
    let chosen = person.get("/console/keys/new?client=acme").await;
    assert_eq!(chosen.header("location"), "/console/clients/acme/issue");
}

#[tokio::test]
async fn tokens_and_openings_are_asked_about_first() {
    let site = Site::new();
    let (_, id) = site.token(Role::Issuer, false).await;
    let person = site.owner().await;
    let path = format!("/console/tokens/{id}/revoke");
    let asked = person.post(&path, "").await;
    assert_eq!(asked.status, 200);
    assert!(asked.text.contains("It has not been used so far."));
    let log = site.log().await;
    assert!(
        !log.iter().any(|l| l.starts_with("token.revoke")),
        "{log:?}"
    );
    assert_eq!(person.post(&path, "sure=true").await.status, 303);

    let open = "do=apply&revision=1&text=version%3A%201%0D%0Aroutes%3A%0D%0A-%20%7Bpath%3A%20%2Fopen%2C%20auth%3A%20none%7D";
    let asked = person.post("/console/policy/edit", open).await;
    assert_eq!(asked.status, 200);
    let (_, tick) = asked.text.split_once("name=\"opens\" value=\"").unwrap();
    let tick = tick.split('"').next().unwrap();
    let policy = site.pool.read(|tx| tx.policy()).await.unwrap();
    assert_eq!(policy.revision, 1);
    // The answer for another text is none for this one.
    for not_sure in [
        format!("{open}&opens=true"),
        format!("{}&opens={tick}", open.replace("open", "closed")),
    ] {
        let asked = person.post("/console/policy/edit", &not_sure).await;
        assert_eq!(asked.status, 200, "{not_sure}");
    }
    let sure = format!("{open}&opens={tick}");
    assert_eq!(person.post("/console/policy/edit", &sure).await.status, 303);
}

#[tokio::test]
async fn a_change_of_keys_says_where_it_is_in_force() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    let done = person
        .post(&format!("/console/keys/{id}/disable"), "")
        .await;
    let to = done.header("location").to_owned();
    let version = site.pool.read(|tx| Ok(tx.meta().version)).await.unwrap();
    let path = format!("/console/keys/{id}?version={version}&done=disabled");
    assert_eq!((done.status, to.as_str()), (303, path.as_str()));
    // Neither of the two Envoys has proved anything.
    let page = person.get(&to).await.text;
    assert!(page.contains("In force on 0 of 2 Envoys so far."), "{page}");
    let proof = person
        .get(&format!("/console/proof?version={version}"))
        .await;
    let told: serde_json::Value = serde_json::from_str(&proof.text).unwrap();
    assert_eq!(told["done"], false);
    // A page that nothing was done on says nothing.
    let quiet = person
        .get(&format!("/console/keys?version={version}"))
        .await;
    assert!(!quiet.text.contains("In force on"));
}

#[tokio::test]
async fn what_deserves_a_look_is_counted_and_leads_to_its_keys() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    let page = person.get("/console/posture").await.text;
    let (_, row) = page.split_once("/console/keys?concern=endless").unwrap();
    assert!(row.contains("<strong>1</strong>"), "{row}");
    // It is too new for that.
    assert!(!page.contains("/console/keys?concern=never-used\""));
    for (concern, keys) in [("endless", 1), ("never-used", 0), ("ownerless", 1)] {
        let list = person
            .get(&format!("/console/keys?concern={concern}"))
            .await
            .text;
        assert_eq!(
            list.matches("role=\"rowheader\"").count(),
            keys,
            "{concern}"
        );
    }
    let done = person
        .post(&format!("/console/keys/{id}/disable"), "")
        .await;
    assert_eq!(done.status, 303);
    let page = person.get("/console/posture").await.text;
    assert!(page.contains("Nothing here deserves a look."));
}
