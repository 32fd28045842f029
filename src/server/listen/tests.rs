//! Deadlines of milliseconds, over real sockets.

use axum::Router;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::budget::Most;
use crate::connection::Bounds;

const PATIENCE: Duration = Duration::from_secs(30);
const HEAD: Duration = Duration::from_millis(500);

/// A listener whose connections are closed by the deadline of their head or, in this test's time,
/// not at all.
struct Listening {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Listening {
    async fn start() -> Self {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).await;
        let listener = listener.unwrap();
        let address = listener.address();
        let (stop, stopped) = watch::channel(false);
        let bounds = Bounds {
            head: HEAD,
            idle: 4 * PATIENCE,
            ..Bounds::of_requests()
        };
        let terms = Terms {
            room: Seats::new(8, 8),
            budget: Budget::new(Most::default()),
            service: Service {
                router: Router::new().route("/", post(async |body: String| body)),
                proxies: Arc::default(),
                bounds,
                away: None,
            },
        };
        tokio::spawn(listener.serve(terms, stopped));
        Self {
            address,
            _stop: stop,
        }
    }

    /// Connects and says this, and then a byte now and then.
    async fn closes_after(&self, said: &str, dribble: bool) {
        let began = system::instant();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(said.as_bytes()).await.unwrap();
        let dribbling = tokio::spawn(async move {
            while dribble && writing.write_all(b"a").await.is_ok() {
                sleep(HEAD / 10).await;
            }
            // Until the other end hangs up.
            std::future::pending::<()>().await;
            drop(writing);
        });
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, reading.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{said:?} keeps its connection");
        assert!(began.elapsed() >= HEAD, "{said:?}: {:?}", began.elapsed());
        dribbling.abort();
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_of_what_it_has_to_is_closed() {
    let listening = Listening::start().await;
    for (said, dribble) in [
        ("", false),
        // Too little to tell which version of HTTP it is.
        ("PRI * HTTP", false),
        // A head without an end, and one that grows for ever.
        ("POST / HTTP/1.1\r\nhost: example.com\r\nx-long: ", false),
        ("POST / HTTP/1.1\r\nhost: example.com\r\nx-long: ", true),
    ] {
        listening.closes_after(said, dribble).await;
    }
}

#[tokio::test]
async fn what_follows_a_head_may_take_longer() {
    let listening = Listening::start().await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in b"body" {
        sleep(HEAD / 2).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("body"),
        "{answer}"
    );
}
