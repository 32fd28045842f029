//! Requests that no honest client sends: `CONNECT`, no `:path`, and keys in every place at once. Envoys
//! have ended over such ones (GHSA-47vj-9r25-wv5j); here nothing passes, and all goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::fixture::Keys;
use crate::support::{Envoy, PATIENCE, Setup, Upstream, get};

const POLICY: &str = r#"
version: 1
credentials:
  - { header: authorization, scheme: Bearer }
  - { query: api_key }
  - { cookie: session }
routes:
  - { path: /open, auth: none }
  - { path: "/v1/{*rest}" }
"#;

/// An Envoy as it is shipped, and one that lets clients `CONNECT` to the upstream.
fn setups(upstream: &Upstream) -> [Setup; 2] {
    let connects = "routes:
              - match: {connect_matcher: {}}
                route: {cluster: upstream, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
";
    let plain = Setup::ecds(upstream);
    let manager = "stat_prefix: public
          http2_protocol_options: {allow_connect: true}
          upgrade_configs: [{upgrade_type: CONNECT}]";
    let open = Setup::ecds(upstream)
        .edit("stat_prefix: public", manager)
        .edit("routes:\n", connects);
    [plain, open]
}

/// Sends it; the first line of the answer, if there is one.
fn first_line(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = [0; 1024];
    let length = match stream.read(&mut answer) {
        Ok(length) => length,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "no answer");
            0
        }
    };
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

fn still_decides(envoy: &Envoy, upstream: &Upstream, key: &str) {
    let before = upstream.requests();
    for _ in 0..4 {
        assert_eq!(envoy.send(&get("/v1/a").bearer(key)).status, 200);
        assert_eq!(envoy.send(&get("/v1/a")).status, 401);
    }
    assert_eq!(upstream.requests(), before + 4);
    super::untouched(envoy);
}

#[test]
fn connect_over_http_1_reaches_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    for setup in setups(&upstream) {
        let envoy = keys.start_on(setup);
        let places = [
            String::new(),
            format!("authorization: Bearer {key}\r\n"),
            format!("cookie: session={key}\r\n"),
            format!("authorization: Bearer {key}\r\ncookie: session={key}; session={key}\r\n"),
        ];
        let targets = [
            "api.example.com:443".to_owned(),
            "api.example.com:443?api_key=".to_owned() + &key,
            "/v1/a".to_owned(),
            format!("/v1/a?api_key={key}"),
            "http://api.example.com/open".to_owned(),
        ];
        let before = upstream.requests();
        for target in &targets {
            for headers in &places {
                let request =
                    format!("CONNECT {target} HTTP/1.1\r\nhost: api.example.com\r\n{headers}\r\n");
                let line = first_line(envoy.address(), request.as_bytes());
                assert!(!line.contains(" 200"), "{target} {headers}: {line}");
            }
        }
        assert_eq!(upstream.requests(), before);
        still_decides(&envoy, &upstream, &key);
    }
}

/// Frames of HTTP/2 with these headers, in their literal form.
fn http_2(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend(&(block.len() as u32).to_be_bytes()[1..]);
    // HEADERS, the last of the stream and of the block, of stream 1.
    bytes.extend([1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

/// Reads frames until the stream or the connection has its answer, or is closed: whether it was.
fn is_answered(to: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    loop {
        let mut head = [0; 9];
        if let Err(error) = stream.read_exact(&mut head) {
            return error.kind() != ErrorKind::WouldBlock;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if let Err(error) = stream.read_exact(&mut payload) {
            return error.kind() != ErrorKind::WouldBlock;
        }
        // HEADERS, RST_STREAM, GOAWAY.
        if [1, 3, 7].contains(&head[3]) {
            return true;
        }
    }
}

#[test]
fn a_request_of_http_2_without_path_or_authority_reaches_nothing() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let bearer = format!("Bearer {key}");
    let cookie = format!("session={key}");
    for setup in setups(&upstream) {
        let envoy = keys.start_on(setup);
        let before = upstream.requests();
        let heads: [&[(&str, &str)]; 8] = [
            &[
                (":method", "CONNECT"),
                (":authority", "api.example.com:443"),
            ],
            &[
                (":method", "CONNECT"),
                (":authority", "api.example.com"),
                (":path", "/v1/a"),
            ],
            &[
                (":method", "CONNECT"),
                (":scheme", "http"),
                (":path", "/v1/a"),
                (":protocol", "nonsense"),
                (":authority", "h"),
            ],
            &[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":authority", "h"),
            ],
            &[(":method", "GET"), (":scheme", "http"), (":authority", "h")],
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", ""),
                (":authority", "h"),
            ],
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "*"),
                (":authority", "h"),
            ],
            &[(":method", "GET"), (":path", "/v1/a")],
        ];
        let keys: [&[(&str, &str)]; 3] = [
            &[("cookie", &cookie)],
            &[("authorization", &bearer), ("cookie", &cookie)],
            &[("cookie", &cookie), ("cookie", "session=other")],
        ];
        let all = heads
            .iter()
            .flat_map(|head| keys.map(|with| [head, with].concat()));
        // Side by side, because Envoy takes a second to close a connection.
        std::thread::scope(|scope| {
            for headers in all {
                let to = envoy.address();
                scope.spawn(move || assert!(is_answered(to, &http_2(&headers)), "{headers:?}"));
            }
        });
        assert_eq!(upstream.requests(), before);
        still_decides(&envoy, &upstream, &key);
    }
}

#[test]
fn keys_in_query_and_cookie_at_once_are_one_key_or_none() {
    let upstream = Upstream::start();
    let mut keys = Keys::new(POLICY);
    let (key, other) = (keys.issue("acme"), keys.issue("rival"));
    let envoy = keys.start(&upstream);
    let ask = |path: String, cookie: String| {
        let answer = envoy.send(&get(path).header("cookie", cookie));
        (answer.status, answer.code().unwrap_or_default())
    };
    let both = ask(format!("/v1/a?api_key={key}"), format!("session={key}"));
    assert_eq!(both.0, 200);
    for (in_query, in_cookie) in [(&key, &other), (&other, &key)] {
        let (status, code) = ask(
            format!("/v1/a?api_key={in_query}"),
            format!("a=1; session={in_cookie}; b=2"),
        );
        assert_eq!((status, code.as_str()), (401, "multiple_api_keys"));
    }
    let (status, _) = ask(
        format!("/v1/a?api_key={key}"),
        "session=nonsense".to_owned(),
    );
    assert_ne!(status, 200);
    let (status, _) = ask("/v1/a?api_key=".to_owned(), format!("session={key}"));
    assert!(status == 200 || status == 401, "{status}");
    still_decides(&envoy, &upstream, &key);
}
