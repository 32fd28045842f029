//! Request trailers, in HTTP/1.1 and HTTP/2: no identity and no key in them reaches the upstream.

use crate::fixture::Keys;
use crate::support::{Envoy, raw::Raw};

const POLICY: &str = r#"
version: 1
credentials:
  - { header: authorization, scheme: Bearer }
  - { header: x-api-key }
routes:
  - { path: /open, auth: none }
  - { path: "/v1/{*rest}" }
"#;

const SMUGGLED: [(&str, &str); 6] = [
    ("x-keystile-client", "root"),
    ("x-keystile-scopes", "root"),
    ("authorization", "Bearer root"),
    ("x-api-key", "root"),
    ("x-original-url", "/root"),
    ("x-checksum", "kept"),
];

#[test]
fn trailers_bring_nothing_that_headers_would_not() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    for path in ["/v1/a", "/open"] {
        over_http_1(&envoy, path, &key);
        over_http_2(&envoy, path, &key);
    }
    let seen = upstream.seen();
    let trailers: Vec<_> = seen.iter().filter(|s| s.starts_with("trailers:")).collect();
    assert_eq!(trailers.len(), 4, "{seen:?}");
    for block in trailers {
        assert_eq!(block, "trailers:\r\nx-checksum: kept\r\n");
    }
    let log = envoy.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn over_http_1(envoy: &Envoy, path: &str, key: &str) {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer {key}\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
    );
    for (name, value) in SMUGGLED {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut client = envoy.client();
    client.write(bytes.as_bytes()).unwrap();
    assert_eq!(client.read("POST").unwrap().status, 200, "{path}");
}

fn over_http_2(envoy: &Envoy, path: &str, key: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(envoy.address())
            .await
            .unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("http://api.example.com{path}"))
            .header("authorization", format!("Bearer {key}"))
            .body(())
            .unwrap();
        let mut client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data("body".into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        for (name, value) in SMUGGLED {
            trailers.insert(name, value.parse().unwrap());
        }
        body.send_trailers(trailers).unwrap();
        assert_eq!(response.await.unwrap().status(), 200, "{path}");
        connection.abort();
    });
}
