//! WebSockets: a tunnel ends with its key, and brings no identity of the caller's.

use crate::fixture::{Keys, id, now};
use crate::support::{Envoy, PATIENCE, eventually, quiet, raw::Raw};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const POLICY: &str = r#"
version: 1
routes:
  - { path: "/v1/{*rest}" }
"#;

/// What a push may take to reach open tunnels.
const SOON: Duration = Duration::from_secs(1);
/// Envoy keeps an HTTP/1.1 connection for another second after its stream (`delayed_close_timeout`),
/// so that the client can read what was sent last.
const CLOSED: Duration = Duration::from_millis(2500);

#[test]
fn a_websocket_ends_within_a_second_of_the_push_that_ends_its_key() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let [revoked, disabled, expired, other] = [(); 4].map(|()| keys.issue("acme"));
    let envoy = keys.start_on(upstream.behind());
    // On both workers, sooner or later.
    let open = |key: &String| [(); 8].map(|()| WebSocket::open(&envoy, key, ""));
    let mut doomed: Vec<_> = [&revoked, &disabled, &expired]
        .into_iter()
        .flat_map(open)
        .collect();
    let mut others = open(&other);
    for socket in doomed.iter_mut().chain(&mut others) {
        assert!(socket.echoes("hello"));
    }
    keys.revoke(&revoked);
    keys.change(&disabled).disabled = true;
    keys.change(&expired).expires = Some(now());

    let ends = quiet::alone(|| {
        let began = Instant::now();
        std::thread::scope(|scope| {
            let watched = scope.spawn(|| watch(&mut doomed, began));
            keys.push(&envoy);
            watched.join().unwrap()
        })
    });
    for (n, (last_echo, closed)) in ends.into_iter().enumerate() {
        assert!(last_echo < SOON, "{n}: an echo after {last_echo:?}");
        assert!(closed < CLOSED, "{n}: closed after {closed:?}");
    }
    for socket in &mut others {
        assert!(socket.echoes("still here"));
    }
    for (key, code) in [
        (&revoked, "revoked_api_key"),
        (&disabled, "disabled_api_key"),
        (&expired, "expired_api_key"),
    ] {
        let reason = format!("keystile:{code}");
        let line = envoy.access_line(|line| line["reason"] == reason);
        assert_eq!(line["key"], id(key).to_string());
        let ended = format!(r#"keystile_tunnels_ended_total{{outcome="{code}"}}"#);
        assert_eq!(envoy.metric(&ended), Some(8));
    }
}

/// Sends on every tunnel until all are closed: when each echoed last, and when it was closed.
fn watch(sockets: &mut [WebSocket], began: Instant) -> Vec<(Duration, Duration)> {
    let mut ends: Vec<(Duration, Option<Duration>)> = vec![Default::default(); sockets.len()];
    for WebSocket(stream) in sockets.iter() {
        stream.set_nonblocking(true).unwrap();
    }
    while ends.iter().any(|(_, closed)| closed.is_none()) {
        assert!(began.elapsed() < PATIENCE, "{ends:?}");
        for (WebSocket(stream), (last_echo, closed)) in sockets.iter_mut().zip(&mut ends) {
            if closed.is_some() {
                continue;
            }
            let _ = stream.write(&frame("hello"));
            match stream.read(&mut [0; 1024]) {
                Ok(0) => *closed = Some(began.elapsed()),
                Ok(_) => *last_echo = began.elapsed(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => *closed = Some(began.elapsed()),
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let closed = |(last_echo, closed): (_, Option<_>)| (last_echo, closed.unwrap());
    ends.into_iter().map(closed).collect()
}

#[test]
fn a_websocket_may_bring_its_key_in_the_query() {
    let upstream = Raw::start();
    let mut keys = Keys::new(&format!("credentials: [{{query: apikey}}]\n{POLICY}"));
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    let open = |path: &str| WebSocket::open_with(&envoy, path, "", "");
    assert!(open(&format!("/v1/ws?apikey={key}")).is_ok_and(|mut socket| socket.echoes("hello")));
    let head = open("/v1/ws").err().expect("a refusal");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

/// Browsers cannot send `authorization` when they open one.
#[test]
fn a_websocket_may_bring_its_key_among_the_protocols() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    let open = |protocols: String| {
        let header = format!("sec-websocket-protocol: {protocols}\r\n");
        WebSocket::open_with(&envoy, "/v1/ws", &header, "")
    };
    for protocols in [format!("bearer, {key}"), format!("chat,Bearer,{key}")] {
        assert!(open(protocols).is_ok_and(|mut socket| socket.echoes("hello")));
    }
    for protocols in [
        "bearer".to_owned(),
        format!("{key}, bearer"),
        format!("chat, {key}"),
    ] {
        let head = open(protocols).err().expect("a refusal");
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    }
}

#[test]
fn a_websocket_ends_when_its_key_expires() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let (key, other) = (keys.issue("acme"), keys.issue("acme"));
    let envoy = keys.start_on(upstream.behind());
    let mut sockets = [&key, &other].map(|key| WebSocket::open(&envoy, key, ""));
    let end = now() + 3;
    keys.change(&key).expires = Some(end);
    keys.push(&envoy);
    let [expires, lives] = &mut sockets;
    assert!(now() >= end || expires.echoes("hello"));
    expires.ends();
    assert!((end..=end + 2).contains(&now()), "{} {end}", now());
    assert!(lives.echoes("still here"));
}

#[test]
fn an_upgrade_nominates_none_of_our_headers() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    let mut socket = WebSocket::open(&envoy, &key, ", X-Keystile-Client, x_keystile_key, x-other");
    assert!(socket.echoes("hello"));
    let head = upstream.seen().concat();
    assert!(head.contains("\r\nx-keystile-client: acme\r\n"), "{head}");
    let connection = head.lines().find(|line| line.starts_with("connection:"));
    assert_eq!(connection, Some("connection: upgrade, x-other"), "{head}");
}

/// HTTP/2 asks for a WebSocket with an extended `CONNECT` (RFC 8441).
#[test]
fn a_websocket_over_http_2_ends_too() {
    let upstream = Raw::start();
    let mut keys = Keys::new(POLICY);
    let key = keys.issue("acme");
    let envoy = keys.start_on(upstream.behind());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (connection, response, mut sender) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(envoy.address())
            .await
            .unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        while !client.is_extended_connect_protocol_enabled() {
            client = client.ready().await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut request = http::Request::builder()
            .method("CONNECT")
            .uri("http://api.example.com/v1/ws")
            .header("authorization", format!("Bearer {key}"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        let (response, sender) = client.send_request(request, false).unwrap();
        (connection, response.await.unwrap(), sender)
    });
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let echoed = runtime.block_on(async {
        sender.send_data(frame("hello").into(), false).unwrap();
        body.data().await.unwrap().unwrap()
    });
    assert_eq!(&echoed[2..], b"hello");
    keys.revoke(&key);
    keys.push(&envoy);
    let pushed = Instant::now();
    let end = runtime.block_on(async { tokio::time::timeout(PATIENCE, body.data()).await });
    assert!(!matches!(end, Ok(Some(Ok(_))) | Err(_)), "{end:?}");
    assert!(pushed.elapsed() < SOON, "{:?}", pushed.elapsed());
    connection.abort();
}

pub struct WebSocket(TcpStream);

impl WebSocket {
    pub fn open(envoy: &Envoy, key: &str, nominated: &str) -> Self {
        let authorization = format!("authorization: Bearer {key}\r\n");
        Self::open_with(envoy, "/v1/ws", &authorization, nominated)
            .expect("the upgrade is let through")
    }

    /// With headers of its own; the head of the answer if it is no upgrade.
    fn open_with(
        envoy: &Envoy,
        path: &str,
        headers: &str,
        nominated: &str,
    ) -> Result<Self, String> {
        let mut stream = TcpStream::connect(envoy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: api.example.com\r\n{headers}\
             connection: Upgrade{nominated}\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(head);
        }
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Ok(Self(stream))
    }

    pub fn echoes(&mut self, text: &str) -> bool {
        let mut back = vec![0; text.len() + 2];
        self.0.write_all(&frame(text)).is_ok()
            && self.0.read_exact(&mut back).is_ok()
            && back[2..] == *text.as_bytes()
    }

    /// Waits until the other side has closed or reset it.
    pub fn ends(&mut self) {
        eventually("the tunnel to end", || match self.0.read(&mut [0; 16]) {
            Ok(0) => Some(()),
            Ok(_) => None,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                Some(())
            }
        });
    }
}

/// A text frame, masked as those of clients are.
fn frame(text: &str) -> Vec<u8> {
    let mask = [7, 91, 3, 200];
    let size = u8::try_from(text.len()).unwrap();
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(b, m)| b ^ m);
    [0x81, 0x80 | size]
        .into_iter()
        .chain(mask)
        .chain(masked)
        .collect()
}
