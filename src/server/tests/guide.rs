//! How the guide is served, whatever is in it.

use super::*;
use crate::guide::{ServedFile, routes};

fn find(name: &str) -> Option<ServedFile> {
    let file = |kind, tag, lasts, bytes| ServedFile {
        kind,
        tag,
        lasts,
        bytes,
    };
    let html = "text/html; charset=utf-8";
    Some(match name {
        "" | "index.html" => file(html, "\"1\"", false, &b"<h1>First</h1>"[..]),
        "404.html" => file(html, "\"2\"", false, b"<h1>Lost</h1>"),
        "theme/guide-1.css" => file("text/css; charset=utf-8", "\"3\"", true, b"p {}"),
        "a.svg" => file("image/svg+xml", "\"4\"", false, b"<svg/>"),
        _ => return None,
    })
}

fn api() -> Api {
    let (folder, pool) = pool::bench::pool(policy_file::DEFAULT, &["acme"]);
    let app = App::new(Arc::clone(&pool), RateLimits::new(100_000), Vec::new());
    Api {
        router: http::router(app, routes(find)),
        pool,
        folder,
    }
}

async fn get(path: &str, headers: &[(&str, &str)]) -> Answer {
    api().with("", "GET", path, Value::Null, headers).await
}

#[tokio::test]
async fn a_file_of_the_guide_is_served_to_anybody_as_what_it_is() {
    for (name, lasts) in [
        ("index.html", false),
        ("theme/guide-1.css", true),
        ("a.svg", false),
    ] {
        let answer = get(&format!("/docs/guide/{name}"), &[]).await;
        let file = find(name).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, "content-type"), file.kind);
        assert_eq!(answer.text.as_bytes(), file.bytes);
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        let caching = header(&answer, "cache-control");
        assert_eq!(caching.contains("immutable"), lasts, "{name}: {caching}");
        let policy = header(&answer, "content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        // A picture runs nothing and is in no page, whatever its styles.
        let is_picture = policy.ends_with("sandbox") && name == "a.svg";
        assert!(is_picture || !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn the_folder_of_the_guide_is_its_first_page() {
    let answer = get("/docs/guide", &[]).await;
    // Relative, for proxies that put something in front of the path.
    assert_eq!(
        (answer.status, header(&answer, "location")),
        (303, "guide/")
    );
    assert_eq!(get("/docs/guide/", &[]).await.text, "<h1>First</h1>");
}

#[tokio::test]
async fn a_page_of_the_guide_that_a_browser_has_is_not_sent_again() {
    for known in ["\"1\"", "W/\"1\"", "\"x\", \"1\"", "*"] {
        let again = get("/docs/guide/", &[("if-none-match", known)]).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{known}");
        assert_eq!(header(&again, "etag"), "\"1\"");
        assert_eq!(header(&again, "cache-control"), "no-cache");
    }
    let other = get("/docs/guide/", &[("if-none-match", "\"2\"")]).await;
    assert_eq!((other.status, other.text.as_str()), (200, "<h1>First</h1>"));
}

#[tokio::test]
async fn a_page_that_the_guide_does_not_have_is_not_found_in_its_own_frame() {
    let lost = get("/docs/guide/nothing.html", &[]).await;
    assert_eq!((lost.status, lost.text.as_str()), (404, "<h1>Lost</h1>"));
    assert!(lost.headers.get("etag").is_none());
    for path in [
        "/docs/guide/a/b.html",
        "/docs/guide/../../etc/passwd",
        "/docs/guide/theme/",
    ] {
        let lost = get(path, &[]).await;
        assert_eq!(
            (lost.status, &lost.body["errors"][0]["code"]),
            (404, &json!("path_not_found")),
            "{path}"
        );
    }
}
