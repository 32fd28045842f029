//! Connections with deadlines of milliseconds.

use std::net::SocketAddr;

use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use super::*;
use crate::body::whole;
use crate::budget::{Account, Budget, Most};
use crate::seats::{Rank, Seat, Seats};

const PATIENCE: Duration = Duration::from_secs(30);

struct Served {
    client: DuplexStream,
    room: Arc<Seats>,
    stop: watch::Sender<bool>,
    done: tokio::task::JoinHandle<()>,
}

fn bounds() -> Bounds {
    Bounds {
        head: Duration::from_secs(40),
        idle: Duration::from_millis(200),
        linger: Duration::from_millis(100),
        streams: 8,
        bodies: Some(Bodies {
            pace: BodyPace {
                grace: Duration::from_millis(200),
                ..BodyPace::default()
            },
            stall: Duration::from_millis(200),
        }),
    }
}

fn serve(bounds: Bounds, proxies: Proxies) -> Served {
    let router = Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/large", get(|| async { "x".repeat(4 << 20) }))
        .route("/address", get(address))
        .route("/body", post(body));
    let room = Seats::new(8, 8);
    let peer = HttpPeer::direct(SocketAddr::from(([10, 0, 0, 1], 1)), false);
    let seat = room.enter(Rank::Stranger(peer.address.ip()));
    let connection = Connection::new(seat, Account::new(&Budget::new(Most::default())));
    let service = Service {
        router,
        proxies: Arc::new(proxies),
        bounds,
        away: None,
    };
    let (client, end) = tokio::io::duplex(16 << 10);
    let (stop, stopped) = watch::channel(false);
    let done = tokio::spawn(service.serve(end, peer, connection, stopped));
    Served {
        client,
        room,
        stop,
        done,
    }
}

async fn body(body: Body) -> Response {
    match whole(body, 1 << 20).await {
        Ok(body) => body.len().to_string().into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn address(axum::Extension(peer): axum::Extension<HttpPeer>) -> String {
    format!("{} {}", peer.address.ip(), peer.proxied)
}

impl Served {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    async fn rest(&mut self) -> String {
        let mut out = Vec::new();
        let read = timeout(PATIENCE, self.client.read_to_end(&mut out)).await;
        let _ = read.expect("the connection is closed");
        String::from_utf8_lossy(&out).into_owned()
    }

    async fn ended(self) {
        let ended = timeout(PATIENCE, self.done).await;
        ended.expect("the connection is closed").unwrap();
        assert_eq!(self.room.taken(), 0);
    }
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let mut served = serve(bounds(), Proxies::default());
    served.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(served.rest().await.ends_with("ok"));
    served.ended().await;
}

#[tokio::test]
async fn an_http2_connection_that_only_answers_pings_is_closed() {
    let served = serve(bounds(), Proxies::default());
    let (client, mut connection) = h2::client::handshake(served.client).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driven = tokio::spawn(connection);
    let answering = async { while pings.ping(h2::Ping::opaque()).await.is_ok() {} };
    timeout(PATIENCE, answering)
        .await
        .expect("the connection is closed");
    timeout(PATIENCE, driven).await.unwrap().unwrap().ok();
    drop(client);
    timeout(PATIENCE, served.done).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_body_is_answered_and_its_connection_closed() {
    let mut served = serve(bounds(), Proxies::default());
    served
        .send("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx")
        .await;
    let answer = served.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    served.ended().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_dropped() {
    // Longer than the test has patience: only the stall can end it.
    let bounds = Bounds {
        idle: Duration::from_secs(40),
        ..bounds()
    };
    let mut served = serve(bounds, Proxies::default());
    served.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    served.ended().await;
}

#[tokio::test]
async fn an_http2_peer_that_grants_no_window_is_dropped() {
    let bounds = Bounds {
        idle: Duration::from_secs(40),
        ..bounds()
    };
    let served = serve(bounds, Proxies::default());
    let (mut client, connection) = h2::client::handshake(served.client).await.unwrap();
    let driven = tokio::spawn(connection);
    let request = Request::get("http://a/large").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    // What comes is not taken: no window is granted anew.
    let _unread = response.await.unwrap();
    timeout(PATIENCE, served.done).await.unwrap().unwrap();
    let _ = driven.await;
}

#[tokio::test]
async fn an_answer_that_is_read_is_whole() {
    let mut served = serve(bounds(), Proxies::default());
    served.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = served.rest().await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 4 << 20);
    assert!(answer.contains("content-length: 4194304"));
}

#[tokio::test]
async fn a_connection_whose_seat_is_needed_is_closed() {
    let served = serve(bounds(), Proxies::default());
    let others: Vec<Seat> = (0..8)
        .map(|_| served.room.enter(Rank::Stranger([10, 0, 0, 1].into())))
        .collect();
    timeout(PATIENCE, served.done).await.unwrap().unwrap();
    assert_eq!(served.room.taken(), 8);
    drop(others);
}

#[tokio::test]
async fn the_signal_to_stop_ends_what_is_idle_at_once() {
    let bounds = Bounds {
        idle: Duration::from_secs(40),
        ..bounds()
    };
    let mut served = serve(bounds, Proxies::default());
    served.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut begun = [0; 12];
    served.client.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    served.stop.send_replace(true);
    assert!(served.rest().await.ends_with("ok"));
    served.ended().await;
}

#[tokio::test]
async fn a_request_comes_from_whom_a_trusted_proxy_names() {
    let trusted = |range: &str| Proxies {
        trusted: vec![range.parse().unwrap()],
        protocol: false,
    };
    for (proxies, header, expected) in [
        (
            Proxies::default(),
            "x-forwarded-for: 192.0.2.1\r\n",
            "10.0.0.1 false",
        ),
        (
            trusted("10.0.0.0/8"),
            "x-forwarded-for: 192.0.2.1\r\n",
            "192.0.2.1 true",
        ),
        (trusted("10.0.0.0/8"), "", "10.0.0.1 true"),
        (trusted("10.0.0.0/8"), "x-forwarded-for: nobody\r\n", "400"),
    ] {
        let mut served = serve(bounds(), proxies);
        served
            .send(&format!("GET /address HTTP/1.1\r\nhost: a\r\n{header}\r\n"))
            .await;
        let answer = served.rest().await;
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
}
