//! Forms that were overtaken: what changed while a page was open is not undone by it.

use super::{Answer, Person, Site};
use keystile_model::record::Key;
use keystile_registry::client;
use keystile_registry::key;
use keystile_registry::key::KeyPatch;
use keystile_registry::webhook;
use keystile_system as system;

/// What a browser sends of a form of a page that nobody typed into.
pub(super) struct Filled {
    action: String,
    fields: Vec<(String, String)>,
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescaped(rest.split_once('"')?.0))
}

impl Filled {
    pub(super) fn find(page: &str, action: &str) -> Self {
        let start = format!("method=\"post\" action=\"{action}\"");
        let (_, rest) = page
            .split_once(&start)
            .unwrap_or_else(|| panic!("no form {action} in {page}"));
        let (form, _) = rest.split_once("</form>").unwrap();
        let mut fields = Vec::new();
        for tag in form.split('<').filter(|t| t.starts_with("input ")) {
            let unchecked = tag.contains("checkbox") && !tag.contains(" checked");
            if let Some(name) = attribute(tag, "name").filter(|_| !unchecked) {
                fields.push((name, attribute(tag, "value").unwrap_or_default()));
            }
        }
        for select in form.split("<select ").skip(1) {
            let (select, _) = select.split_once("</select>").unwrap();
            let name = attribute(&format!(" {select}"), "name").unwrap();
            let all: Vec<&str> = select.split("<option ").skip(1).collect();
            let chosen = all.iter().find(|o| o.contains(" selected")).or(all.first());
            let value = chosen.and_then(|o| attribute(&format!(" {o}"), "value"));
            fields.push((name, value.unwrap_or_default()));
        }
        for area in form.split("<textarea ").skip(1) {
            let name = attribute(&format!(" {area}"), "name").unwrap();
            let (_, text) = area.split_once('>').unwrap();
            let text = text.split_once("</textarea>").unwrap().0;
            // As browsers do with a line break right behind the tag.
            fields.push((name, unescaped(text.strip_prefix('\n').unwrap_or(text))));
        }
        Self {
            action: action.to_owned(),
            fields,
        }
    }

    fn value(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(n, _)| n == name);
        &field.unwrap_or_else(|| panic!("no `{name}`")).1
    }

    fn typed(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|(n, _)| n == name);
        value.clone_into(&mut field.unwrap_or_else(|| panic!("no `{name}`")).1);
        self
    }

    pub(super) async fn send(&self, person: &Person<'_>) -> Answer {
        let words = self.fields.iter().filter(|(name, _)| name != "csrf");
        let words: Vec<String> = words
            .map(|(name, value)| format!("{name}={}", keystile_api::encoded(value)))
            .collect();
        person.post(&self.action, &words.join("&")).await
    }
}

impl Site {
    async fn change(&self, id: &str, patch: KeyPatch) -> Key {
        let id = id.parse().unwrap();
        self.pool
            .write(move |store| key::update(store, &system::local(), id, patch))
            .await
            .unwrap()
    }

    async fn held(&self, id: &str) -> Key {
        let id = id.parse().unwrap();
        let key = self.pool.read(move |tx| tx.key(id)).await.unwrap();
        key.unwrap()
    }

    async fn records(&self) -> u64 {
        self.pool.read(|tx| Ok(tx.meta().head.seq)).await.unwrap()
    }
}

#[tokio::test]
async fn a_page_left_open_undoes_no_lock_down_of_a_key() {
    let site = Site::new();
    let id = site.key("acme").await;
    let wide = KeyPatch {
        scopes: Some(vec!["read".to_owned(), "write".to_owned()]),
        ..KeyPatch::default()
    };
    site.change(&id, wide).await;
    let person = site.owner().await;
    let path = format!("/console/keys/{id}");
    let open = Filled::find(&person.get(&path).await.text, &path);

    let end = system::local().now.seconds() + 86_400;
    let locked = KeyPatch {
        remove_scopes: vec!["write".to_owned()],
        expires: Some(Some(end)),
        cidrs: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..KeyPatch::default()
    };
    let locked = site.change(&id, locked).await;
    let late = open.typed("name", "billing").send(&person).await;
    assert_eq!(late.status, 412);
    assert_eq!(site.held(&id).await.audit_text(), locked.audit_text());
    for changed in ["scopes", "expires", "cidrs"] {
        assert!(
            late.text.contains(&format!("id=\"f-{changed}-fault\"")),
            "{changed}: {}",
            late.text
        );
    }
    // What was typed is there, the rest is how it stands, and to save it again is deliberate.
    let again = Filled::find(&late.text, &path);
    assert_eq!(again.value("name"), "billing");
    assert_eq!(again.value("scopes"), "read");
    assert_eq!(again.value("cidrs"), "10.0.0.0/8");
    assert_eq!(again.send(&person).await.status, 303);
    let renamed = site.held(&id).await;
    assert_eq!(renamed.rules.name, "billing");
    assert_eq!(renamed.rules.scopes, locked.rules.scopes);
    assert_eq!(renamed.rules.expires, Some(end));
    assert_eq!(renamed.rules.cidrs, locked.rules.cidrs);
}

#[tokio::test]
async fn a_page_left_open_gives_nothing_back_that_was_taken_meanwhile() {
    let site = Site::new();
    let id = site.key("acme").await;
    let person = site.owner().await;
    let path = format!("/console/keys/{id}");
    let off = |site: &Site, disabled: bool| {
        let (pool, id) = (std::sync::Arc::clone(&site.pool), id.parse().unwrap());
        async move {
            let set = move |store: &mut _| key::set_disabled(store, &system::local(), id, disabled);
            pool.write(set).await.unwrap();
        }
    };
    off(&site, true).await;
    let page = person.get(&path).await.text;
    let enable = Filled::find(&page, &format!("{path}/enable"));
    let rotate = Filled::find(&page, &format!("{path}/rotate"));
    let narrow = KeyPatch {
        cidrs: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..KeyPatch::default()
    };
    site.change(&id, narrow).await;
    for form in [&enable, &rotate] {
        assert_eq!(form.send(&person).await.status, 412, "{}", form.action);
    }
    assert!(site.held(&id).await.disabled);
    let bare = person.post(&format!("{path}/enable"), "").await;
    assert_eq!(bare.status, 412, "a form that says nothing is none of ours");
    let page = person.get(&path).await.text;
    let enable = Filled::find(&page, &format!("{path}/enable"));
    assert_eq!(enable.send(&person).await.status, 303);
    // To take away is never too late.
    let page = person.get(&path).await.text;
    let disable = Filled::find(&page, &format!("{path}/disable"));
    site.change(
        &id,
        KeyPatch {
            name: Some("x".to_owned()),
            ..KeyPatch::default()
        },
    )
    .await;
    assert_eq!(disable.send(&person).await.status, 303);
    assert!(site.held(&id).await.disabled);
}

#[tokio::test]
async fn a_client_and_a_webhook_are_changed_as_they_were_shown() {
    let site = Site::new();
    let person = site.owner().await;
    let open = Filled::find(
        &person.get("/console/clients/acme").await.text,
        "/console/clients/acme",
    );
    site.pool
        .write(|store| {
            let patch = client::ClientPatch {
                labels: [("tier".to_owned(), "locked".to_owned())].into(),
                ..client::ClientPatch::default()
            };
            client::update(store, &system::local(), "acme", patch)
        })
        .await
        .unwrap();
    let late = open.typed("description", "mine").send(&person).await;
    assert_eq!(late.status, 412);
    let again = Filled::find(&late.text, "/console/clients/acme");
    assert_eq!(again.value("description"), "mine");
    assert_eq!(again.value("labels"), "tier=locked");
    assert_eq!(again.send(&person).await.status, 303);

    let hook = |url: &'static str| {
        let pool = std::sync::Arc::clone(&site.pool);
        async move {
            let make = move |store: &mut keystile_store::Store| {
                let draft = webhook::WebhookDraft {
                    name: "ops".to_owned(),
                    url: url.to_owned(),
                    events: Vec::new(),
                    secret: None,
                };
                webhook::create(store, &system::local(), draft).map(drop)
            };
            pool.write(make).await.unwrap();
        }
    };
    hook("https://one.example/hook").await;
    let remove = "/console/webhooks/ops/delete";
    let open = Filled::find(&person.get("/console/webhooks").await.text, remove);
    site.pool
        .write(|store| webhook::delete(store, &system::local(), "ops"))
        .await
        .unwrap();
    hook("https://two.example/hook").await;
    let asked = open.send(&person).await;
    assert_eq!(asked.status, 200, "asks first");
    let sure = Filled::find(&asked.text, remove);
    assert_eq!(sure.send(&person).await.status, 412);
    let page = person.get("/console/webhooks").await.text;
    assert!(page.contains("https://two.example/hook"));
    let asked = Filled::find(&page, remove).send(&person).await.text;
    assert_eq!(Filled::find(&asked, remove).send(&person).await.status, 303);
}

#[tokio::test]
async fn a_policy_is_changed_and_rolled_back_as_it_was_shown() {
    let site = Site::new();
    let person = site.owner().await;
    let apply = |revision: u32, realm: &str| {
        format!(
            "do=apply&opens=true&revision={revision}&text=version%3A%201%0D%0Arealm%3A%20{realm}"
        )
    };
    person.post("/console/policy/edit", &apply(1, "one")).await;
    let history = person.get("/console/policy/history").await.text;
    let back = Filled::find(&history, "/console/policy/rollback");
    person.post("/console/policy/edit", &apply(2, "two")).await;
    let asked = back.send(&person).await;
    assert!(asked.text.contains("Changes for callers"), "{}", asked.text);
    let sure = Filled::find(&asked.text, "/console/policy/rollback");
    assert_eq!(sure.send(&person).await.status, 412);
    // The editor keeps the text, and can go on from the policy that is in force now.
    let late = person
        .post("/console/policy/edit", &apply(2, "three"))
        .await;
    assert_eq!(late.status, 412);
    let again = Filled::find(&late.text, "/console/policy/edit");
    assert_eq!(again.value("revision"), "3");
    assert!(again.value("text").contains("realm: three"));
    assert!(
        late.text.contains("id=\"meaning\""),
        "what it would change is shown"
    );
}

#[tokio::test]
async fn a_form_that_nobody_typed_into_changes_nothing() {
    let site = Site::new();
    let id = site.key("acme").await;
    let odd: keystile_model::record::Labels = [
        ("owner".to_owned(), "Jane Doe, team=b".to_owned()),
        ("path".to_owned(), "C:\\x \"y\"".to_owned()),
    ]
    .into();
    let patch = KeyPatch {
        labels: Some(odd.clone()),
        ..KeyPatch::default()
    };
    let before = site.change(&id, patch).await;
    let labels = odd.clone();
    site.pool
        .write(move |store| {
            let patch = client::ClientPatch {
                labels,
                ..client::ClientPatch::default()
            };
            client::update(store, &system::local(), "acme", patch)
        })
        .await
        .unwrap();
    let person = site.owner().await;
    let key = format!("/console/keys/{id}");
    let records = site.records().await;
    for path in [key.as_str(), "/console/clients/acme", "/console/settings"] {
        let form = Filled::find(&person.get(path).await.text, path);
        assert_eq!(form.send(&person).await.status, 303, "{path}");
    }
    assert_eq!(site.held(&id).await.audit_text(), before.audit_text());
    assert_eq!(site.records().await, records);
    // One label more leaves the others whole.
    let form = Filled::find(&person.get(&key).await.text, &key);
    let more = format!("{} team=web", form.value("labels"));
    assert_eq!(form.typed("labels", &more).send(&person).await.status, 303);
    let mut all = odd;
    all.insert("team".to_owned(), "web".to_owned());
    assert_eq!(site.held(&id).await.rules.labels, all);
}

#[tokio::test]
async fn a_setting_that_was_changed_meanwhile_is_not_overwritten() {
    let site = Site::new();
    let person = site.owner().await;
    let path = "/console/settings";
    let page = || async { Filled::find(&person.get(path).await.text, path) };
    let (open, other) = (page().await, page().await);
    let other = other.typed("scope_denials", "5");
    assert_eq!(other.send(&person).await.status, 303);
    let late = open.typed("scope_denials", "7").send(&person).await;
    assert_eq!(late.status, 412);
    assert_eq!(page().await.value("scope_denials"), "5");
    let again = Filled::find(&late.text, path);
    assert_eq!(again.value("scope_denials"), "7");
    assert_eq!(again.send(&person).await.status, 303);
    assert_eq!(page().await.value("scope_denials"), "7");
}
