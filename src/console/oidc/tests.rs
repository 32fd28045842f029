use super::*;

#[test]
fn addresses_are_over_tls_or_on_this_machine() {
    for good in [
        "https://id.example.com",
        "https://id.example.com/realms/a?b=c",
        "http://localhost:8081/realms/a",
        "http://127.0.0.1:1",
    ] {
        assert!(checked(good).is_ok(), "{good}");
    }
    for bad in [
        "http://id.example.com",
        "http://localhost.example.com",
        "https://a@b.example.com",
        "https://",
        "id.example.com",
        "javascript:alert(1)",
        "https://a.example.com/#b",
        "https://a.example.com/ b",
        "",
    ] {
        assert!(checked(bad).is_err(), "{bad}");
    }
    let console = |text: &str| checked_console(text).ok();
    assert_eq!(
        console("https://Keystile.example.com:8443/").as_deref(),
        Some("https://keystile.example.com:8443")
    );
    for bad in [
        "https://a.example.com/console",
        "https://a.example.com?x",
        "http://a.b",
    ] {
        assert_eq!(console(bad), None, "{bad}");
    }
}

#[test]
fn people_are_told_apart_by_provider_and_subject() {
    let a = id("https://a.example", "1");
    assert_eq!(a, id("https://a.example", "1"));
    assert_ne!(a, id("https://a.example", "2"));
    assert_ne!(a, id("https://b.example", "1"));
    assert_ne!(id("https://a.example", "1"), id("https://a.example1", ""));
}

#[test]
fn a_subject_cannot_be_made_to_look_like_an_address_that_was_verified() {
    let named = |claims: serde_json::Value| names(claims.as_object().unwrap()).0;
    let email = "boss@example.com";
    let known = named(json!({"sub": "u-1", "email": email, "email_verified": true}));
    assert_eq!(known, "oidc:u-1 (boss@example.com)");
    for forged in [
        "u-1 (boss@example.com)",
        "boss@example.com",
        "u-1\u{a0}(boss@example.com)",
    ] {
        for claims in [
            json!({"sub": forged}),
            json!({"sub": forged, "email": email}),
            json!({"sub": forged, "email": email, "email_verified": false}),
        ] {
            let name = named(claims);
            assert!(!name.contains('@') && !name.contains('('), "{name}");
        }
    }
    // Nor can an email address that the provider lets anybody choose.
    let crooked = "x) (boss@example.com";
    let crooked = named(json!({"sub": "u-2", "email": crooked, "email_verified": true}));
    assert_eq!(crooked, "oidc:u-2 (x%29%20%28boss@example.com)");
    assert_eq!(named(json!({"sub": "auth0|5f7c"})), "oidc:auth0|5f7c");
}
