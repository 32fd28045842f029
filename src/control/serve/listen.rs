//! Connections: accepted, bounded, ended. Serves any router, in clear or over TLS, HTTP/1
//! and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::tls::Certificates;
use crate::error::{Result, refuse};
use crate::world;

/// Connections at once; more are closed as they come.
const MOST: usize = 4096;
/// A handshake that takes longer is not one.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// So are headers; a kept-alive connection may be silent for as long.
const HEADERS: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 connection is asked whether it lives, and how long it may
/// take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// How long requests may go on after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Where a request comes from; in its extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Whether it is over TLS.
    pub tls: bool,
    /// The certificate that it showed and whose authority was checked, DER.
    pub certificate: Option<Arc<[u8]>>,
}

impl Peer {
    /// SHA-256 of the certificate, in hexadecimal.
    pub fn fingerprint(&self) -> Option<String> {
        let digest = Sha256::digest(self.certificate.as_ref()?);
        Some(digest.iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// A bound address.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
}

impl Listener {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr, certificates: Option<Certificates>) -> Result<Self> {
        let cannot = |e: std::io::Error| {
            refuse(
                format_args!("`{address}` cannot be listened on ({e})"),
                "name an address of this machine and a port that is free",
            )
        };
        let socket = TcpListener::bind(address).await.map_err(cannot)?;
        let address = socket.local_addr().map_err(cannot)?;
        Ok(Self {
            socket,
            address,
            certificates: certificates.map(Arc::new),
        })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` says so, and then until what has begun is done, 10 s at most.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let turns = Arc::new(Semaphore::new(MOST));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors, or the peer was quicker: neither ends us.
                    tracing::warn!(error = %e, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
                tracing::warn!(%address, "closed at once: {MOST} connections are open");
                continue;
            };
            let router = router.clone();
            let watcher = graceful.watcher();
            let certificates = self.certificates.clone();
            tokio::spawn(async move {
                connection(stream, address, certificates, router, watcher).await;
                drop(turn);
            });
        }
        drop(self.socket);
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                "requests were still open {} s after the signal to stop",
                DRAIN.as_secs()
            );
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    certificates: Option<Arc<Certificates>>,
    router: Router,
    watcher: Watcher,
) {
    // An answer is one write: there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let mut peer = Peer {
        address,
        tls: certificates.is_some(),
        certificate: None,
    };
    let Some(certificates) = certificates else {
        return http(stream, peer, router, watcher).await;
    };
    let acceptor = TlsAcceptor::from(certificates.current(world::instant()));
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            peer.certificate = session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|c| Arc::from(c.as_ref()));
            http(stream, peer, router, watcher).await;
        }
        Ok(Err(e)) => tracing::debug!(%address, error = %e, "no TLS handshake"),
        Err(_) => tracing::debug!(%address, "no TLS handshake in time"),
    }
}

/// A connection whose first bytes have to come in time: which version of HTTP it speaks is
/// found out from them, and nothing else bounds that.
struct Opening<S> {
    stream: S,
    /// Bytes still to come: HTTP/2 begins with so many, and HTTP/1 has its own limit.
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Opening<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            left: 24,
            deadline: Box::pin(sleep(HEADERS)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.left == 0 {
            return read;
        }
        if read.is_ready() {
            let more = buf.filled().len().saturating_sub(before);
            self.left = self.left.saturating_sub(more);
            return read;
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

async fn http<S>(stream: S, peer: Peer, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_header_list_size(64 << 10)
        .max_concurrent_streams(256);
    let connection = builder
        .serve_connection(TokioIo::new(Opening::new(stream)), service)
        .into_owned();
    if let Err(e) = watcher.watch(connection).await {
        tracing::debug!(error = %e, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_sent_away() {
        let (mut silent, end) = tokio::io::duplex(64);
        let mut opening = Opening {
            deadline: Box::pin(sleep(Duration::from_millis(1))),
            ..Opening::new(end)
        };
        // A part of the first bytes is not enough.
        silent.write_all(b"PRI * HTTP").await.unwrap();
        let mut read = [0; 10];
        opening.read_exact(&mut read).await.unwrap();
        let e = opening.read(&mut read).await.unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_has_spoken_may_be_silent() {
        let (mut speaker, end) = tokio::io::duplex(64);
        let mut opening = Opening {
            deadline: Box::pin(sleep(Duration::ZERO)),
            ..Opening::new(end)
        };
        speaker.write_all(&[0; 24]).await.unwrap();
        let mut read = [0; 24];
        opening.read_exact(&mut read).await.unwrap();
        let later = tokio::spawn(async move { opening.read_exact(&mut read).await });
        tokio::task::yield_now().await;
        speaker.write_all(&[1; 24]).await.unwrap();
        later.await.unwrap().unwrap();
    }
}
