//! Connections: accepting, limiting and ending them. Serves any router, with or without TLS, over
//! HTTP/1 and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::budget::{Account, Budget};
use super::connection::Service;
use super::limits::{Limiter, subscriber};
pub use super::peer::HttpPeer;
use super::proxy::{self, Proxies};
use super::request_connection::Connection;
use super::seats::{Rank, Seat, Seats};
use super::tls::Certificates;
use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests may go on after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// New connections a second of an address that holds half of its share already.
const ARRIVALS: u64 = 50;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// How much of unread answers the system buffers per connection.
const UNREAD: u32 = 128 << 10;

/// What the connections of a listener share.
pub struct Terms {
    /// Seats.
    pub room: Arc<Seats>,
    /// Memory for bodies.
    pub budget: Arc<Budget>,
    /// What they are served with.
    pub service: Service,
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
    /// If the address is unavailable.
    pub async fn bind(address: SocketAddr, certificates: Option<Certificates>) -> Result<Self> {
        let cannot = |e: std::io::Error| {
            refuse(
                Code::SettingInvalid,
                format_args!("the server cannot listen on `{address}` ({e})"),
                "name an address of this machine and a free port",
            )
        };
        let socket = bound(address).map_err(cannot)?;
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

    /// Serves until `stop`, and then until what has begun is done, at most 10 s.
    pub async fn serve(self, terms: Terms, mut stop: watch::Receiver<bool>) {
        let mut all = JoinSet::new();
        let mut watching = JoinSet::new();
        if let Some(certificates) = self.certificates.clone() {
            watching.spawn(async move { certificates.watch().await });
        }
        let arrivals = Limiter::new(ARRIVALS, 1, 2 * ARRIVALS);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = all.join_next() => continue,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors, or the peer has already gone: neither is fatal.
                    tracing::warn!(error = %e, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let place = subscriber(address.ip());
            let rank = match terms.service.proxies.trusts(address.ip()) {
                true => Rank::Proxy(place),
                false => Rank::Stranger(place),
            };
            let now = system::nanoseconds();
            if terms.room.is_crowded(rank) && arrivals.take(place, now).is_err() {
                // Each takes the seat of an earlier one, and a handshake is expensive.
                continue;
            }
            let connecting = Connecting {
                seat: terms.room.enter(rank),
                room: Arc::clone(&terms.room),
                account: Account::new(&terms.budget),
                service: terms.service.clone(),
                certificates: self.certificates.clone(),
                stop: stop.clone(),
            };
            all.spawn(connecting.connect(stream, address));
        }
        drop(self.socket);
        let drained = timeout(DRAIN, async { while all.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(
                "requests were still open {} s after the signal to stop",
                DRAIN.as_secs()
            );
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted server takes over the port of its predecessor.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(UNREAD)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection before its first request.
struct Connecting {
    seat: Seat,
    room: Arc<Seats>,
    account: Account,
    service: Service,
    certificates: Option<Arc<Certificates>>,
    stop: watch::Receiver<bool>,
}

impl Connecting {
    async fn connect(mut self, mut stream: TcpStream, address: SocketAddr) {
        // An answer is one write: there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let mut peer = HttpPeer::direct(address, self.certificates.is_some());
        let proxies: &Proxies = &self.service.proxies;
        if proxies.protocol && proxies.trusts(address.ip()) {
            match self.kept(proxy::header(&mut stream)).await {
                Some(Ok(Some(source))) => {
                    peer.address = source;
                    self.seat = match self.service.proxies.trusts(source.ip()) {
                        true => self.room.enter(Rank::Proxy(subscriber(source.ip()))),
                        false => self.room.enter(Rank::Stranger(subscriber(source.ip()))),
                    };
                }
                Some(Ok(None)) => {}
                Some(Err(e)) => {
                    return tracing::warn!(%address, error = %e, "a trusted proxy did not send the PROXY protocol; enable it there, or leave out `--proxy-protocol`");
                }
                None => return tracing::debug!(%address, "no PROXY protocol in time"),
            }
            peer.proxied = true;
        }
        let Some(certificates) = self.certificates.take() else {
            return self.serve(stream, peer).await;
        };
        let acceptor = TlsAcceptor::from(certificates.current(system::instant()));
        match self.kept(acceptor.accept(stream)).await {
            Some(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let Some(chain) = session.peer_certificates() else {
                    return self.serve(stream, peer).await;
                };
                let chain: Vec<_> = chain.iter().map(|c| c.clone().into_owned()).collect();
                peer.certificate = chain.first().map(|c| Arc::from(c.as_ref()));
                // It is trusted as long as its certificate is.
                self.seat.recognise();
                tokio::select! {
                    () = self.serve(stream, peer) => {}
                    () = certificates.distrusts(&chain) => {
                        tracing::warn!(%address, "a connection was closed: its certificate is no longer trusted");
                    }
                }
            }
            Some(Err(e)) => tracing::debug!(%address, error = %e, "no TLS handshake"),
            None => tracing::debug!(%address, "no TLS handshake in time"),
        }
    }

    /// A step of setting up, unless it takes too long or the seat is needed.
    async fn kept<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = timeout(HANDSHAKE, step) => done.ok(),
            () = self.seat.asked_to_leave() => None,
        }
    }

    async fn serve<S>(self, stream: S, peer: HttpPeer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection::new(self.seat, self.account);
        let stream = Opening::new(stream, self.service.bounds.head);
        self.service
            .serve(stream, peer, connection, self.stop)
            .await;
    }
}

/// A connection whose first bytes have to arrive in time: they determine the HTTP version, and
/// nothing else limits that.
struct Opening<S> {
    stream: S,
    /// Bytes still to come: HTTP/2 begins with so many, and HTTP/1 has its own limit.
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Opening<S> {
    fn new(stream: S, head: Duration) -> Self {
        Self {
            stream,
            left: 24,
            deadline: Box::pin(sleep(head)),
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

#[cfg(test)]
mod tests;
