use super::*;
use keystile_system as system;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use crate::oidc::flow::Flows;

/// A provider that gives these answers to the requests for a path, one after the other, and 503
/// after the last. Its documents may be made of its own address.
fn provider(answers: impl Fn(&str, &str) -> Vec<serde_json::Value>) -> Result<Provider> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let mut left = ["/.well-known/openid-configuration", "/keys"]
        .map(|path| (path, answers(path, &issuer).into_iter()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(std::result::Result::ok) {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut lines = lines.map_while(std::result::Result::ok);
            let first = lines.next().unwrap();
            lines.take_while(|l| !l.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap();
            let mut of_path = left.iter_mut().filter(|(p, _)| *p == path);
            let (status, body) = match of_path.find_map(|(_, answers)| answers.next()) {
                Some(body) => (200, body.to_string()),
                None => (503, "upstream is away".to_owned()),
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}",
                body.len()
            );
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        }
    });
    Provider::new(SignInSettings {
        issuer,
        client: "a b".to_owned(),
        secret: None,
        console: "https://keystile.example.com".to_owned(),
        scopes: vec!["groups".to_owned(), "openid".to_owned()],
        rules: Vec::new(),
        ca: None,
        hosts: vec!["id.example.com".to_owned()],
    })
}

/// Where somebody is sent to sign in at this moment.
fn sent_to(provider: &Provider, at: Instant) -> Result<String> {
    let entropy = system::at(1).entropy;
    let flow = Flows::new(entropy)?.begin("/console", 1, entropy)?;
    provider.address(&flow, at)
}

/// The same with a provider that gives this document.
fn discovered(document: fn(&str) -> serde_json::Value) -> Result<String> {
    let provider = provider(|_, issuer| vec![document(issuer)])?;
    sent_to(&provider, system::instant())
}

fn document(issuer: &str) -> serde_json::Value {
    serde_json::json!({
        "issuer": issuer,
        "authorization_endpoint": "https://id.example.com/authorize?tenant=1",
        "token_endpoint": "https://id.example.com/token",
        "jwks_uri": "https://id.example.com/keys",
    })
}

#[test]
fn somebody_is_sent_where_the_document_says_with_all_that_binds_the_answer() {
    let address = discovered(document).unwrap();
    let (place, query) = address.split_once("&response_type=code&").unwrap();
    assert_eq!(place, "https://id.example.com/authorize?tenant=1");
    for part in [
        "client_id=a%20b",
        "redirect_uri=https%3A%2F%2Fkeystile.example.com%2Fconsole%2Foidc%2Fcallback",
        "scope=openid%20groups",
        "code_challenge_method=S256",
    ] {
        assert!(query.split('&').any(|p| p == part), "{part}: {query}");
    }
    for name in ["state=", "nonce=", "code_challenge="] {
        let mut all = query.split('&').filter_map(|p| p.strip_prefix(name));
        assert_eq!(all.next().map(str::len), Some(43), "{name}: {query}");
    }
}

#[test]
fn a_document_of_somebody_else_or_that_leads_into_the_open_is_refused() {
    type Change = fn(&str) -> serde_json::Value;
    let changes: [(&str, Change); 7] = [
        ("`--oidc-host 127.0.0.2`", |issuer| {
            let mut here = document(issuer);
            here["token_endpoint"] = "https://127.0.0.2:1/token".into();
            here
        }),
        ("`--oidc-host keys.example.net`", |issuer| {
            let mut elsewhere = document(issuer);
            elsewhere["jwks_uri"] = "https://keys.example.net/keys".into();
            elsewhere
        }),
        ("`--oidc-host id.example.com.evil.example`", |issuer| {
            let mut elsewhere = document(issuer);
            elsewhere["authorization_endpoint"] =
                "https://id.example.com.evil.example/authorize".into();
            elsewhere
        }),
        ("it belongs to the issuer", |issuer| {
            let mut other = document(issuer);
            other["issuer"] = format!("{issuer}/").into();
            other
        }),
        ("does not use TLS", |issuer| {
            let mut open = document(issuer);
            open["token_endpoint"] = "http://id.example.com/token".into();
            open
        }),
        ("does not use TLS", |issuer| {
            let mut script = document(issuer);
            script["authorization_endpoint"] = "javascript:alert(1)".into();
            script
        }),
        ("is not valid", |_| "no document".into()),
    ];
    for (words, change) in changes {
        let e = discovered(change).unwrap_err();
        assert!(e.to_string().contains(words), "{words}: {e}");
        assert_eq!(e.kind(), keystile_model::error::Kind::Unavailable);
    }
}

#[test]
fn a_provider_of_the_public_cannot_name_an_address_on_this_machine_and_one_in_house_can() {
    let at = |issuer: &str, hosts: &[&str]| SignInSettings {
        issuer: issuer.to_owned(),
        client: "a".to_owned(),
        secret: None,
        console: "https://keystile.example.com".to_owned(),
        scopes: Vec::new(),
        rules: Vec::new(),
        ca: None,
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
    };
    let takes = |settings: &SignInSettings, address: &str| {
        settings.checked_endpoint("token_endpoint", address).is_ok()
    };
    let public = at("https://id.example.com/tenant", &[]);
    assert!(takes(&public, "https://id.example.com/token"));
    assert!(takes(&public, "https://ID.example.com:8443/token"));
    for bad in [
        "http://127.0.0.1:9/token",
        "http://localhost/token",
        "https://localhost/token",
        "https://[::1]/token",
        "https://10.0.0.1/token",
        "https://token.example.com/",
    ] {
        assert!(!takes(&public, bad), "{bad}");
    }
    let listed = at(
        "https://id.example.com",
        &["oauth2.example.net", "localhost"],
    );
    assert!(takes(&listed, "https://oauth2.example.net/token"));
    assert!(!takes(&listed, "http://localhost/token"), "never in clear");
    let in_house = at("https://10.1.2.3", &[]);
    assert!(takes(&in_house, "https://10.1.2.3/token"));
    let here = at("http://127.0.0.1:5556/dex", &[]);
    assert!(takes(&here, "http://127.0.0.1:5556/dex/token"));
}

#[test]
fn a_document_is_good_for_as_long_as_its_provider_says() {
    for (header, seconds) in [
        ("", 3600),
        ("public", 3600),
        ("max-age=600", 600),
        ("public, MAX-AGE=\"600\", must-revalidate", 600),
        ("max-age=600, stale-if-error=3600", 4200),
        ("no-store", 0),
        ("max-age=0", 0),
        ("max-age=99999999999", 86_400),
        ("max-age=junk", 3600),
    ] {
        assert_eq!(good_for(header), Duration::from_secs(seconds), "{header}");
    }
}

#[test]
fn an_old_document_does_while_it_is_good_and_a_fresh_one_is_not_fetched() {
    let now = system::instant();
    let made = |good| Document::new((), now, Duration::from_secs(good));
    let later = |s| now + Duration::from_secs(s);
    let is = |held: &Document<()>, at| match at_hand(Some(held), at) {
        AtHand::Fresh(_) => "fresh",
        AtHand::Old(Some(_)) => "good",
        AtHand::Old(None) => "gone",
    };
    let held = made(600);
    assert_eq!(is(&held, later(59)), "fresh");
    assert_eq!(is(&held, later(61)), "good");
    assert_eq!(is(&held, later(601)), "gone");
    assert_eq!(is(&made(0), later(61)), "gone");
    assert!(matches!(at_hand::<()>(None, now), AtHand::Old(None)));
}

#[test]
fn an_outage_is_survived_for_as_long_as_the_last_documents_are_good() {
    let n = "AQAB".repeat(64);
    let keys = json!({"keys": [{"kty": "RSA", "alg": "RS256", "n": n, "e": "AQAB"}]});
    let provider = provider(|path, issuer| match path {
        "/keys" => vec![keys.clone()],
        _ => {
            let mut here = document(issuer);
            here["jwks_uri"] = format!("{issuer}/keys").into();
            vec![here]
        }
    });
    let provider = provider.unwrap();
    let now = system::instant();
    let later = |s| now + Duration::from_secs(s);
    let before = sent_to(&provider, now).unwrap();
    let metadata = provider.metadata(now).unwrap();
    provider.keys(&metadata, now).unwrap();

    // From here on it answers 503.
    for seconds in [120, 1800, 3599] {
        let at = later(seconds);
        let place = |url: &str| url.split("state=").next().unwrap().to_owned();
        let sent = sent_to(&provider, at).unwrap();
        assert_eq!(place(&sent), place(&before), "after {seconds} s");
        provider.keys(&metadata, at).unwrap();
    }
    for e in [
        sent_to(&provider, later(3601)).err().unwrap(),
        provider.keys(&metadata, later(3601)).err().unwrap(),
    ] {
        assert!(e.to_string().contains("status 503"), "{e}");
    }
}

#[test]
fn our_secret_is_shown_as_the_provider_wants_it() {
    let wants = |methods: Option<&[&str]>| {
        let mut json = document("https://id.example.com");
        if let Some(methods) = methods {
            json["token_endpoint_auth_methods_supported"] = serde_json::json!(methods);
        }
        serde_json::from_value::<Metadata>(json)
            .unwrap()
            .wants_basic()
    };
    assert!(wants(None));
    assert!(wants(Some(&["client_secret_post", "client_secret_basic"])));
    assert!(wants(Some(&["private_key_jwt"])));
    assert!(!wants(Some(&["client_secret_post"])));
}
