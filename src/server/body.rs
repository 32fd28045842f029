//! Request and answer bodies: each has a deadline, and request bodies have a budget.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::budget::Reservation;
use super::in_progress::InFlight;
use http_body_util::LengthLimitError;

use super::problem::Problem;
use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;

/// Answers are sent in pieces of this size, so that a peer that reads slowly is noticed.
const PIECE: usize = 16 << 10;

/// How fast a body has to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyPace {
    /// Until its first bytes, plus a margin for delays.
    pub grace: Duration,
    /// Bytes a second after that.
    pub rate: u32,
    /// In all.
    pub most: Duration,
}

impl Default for BodyPace {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            rate: 16 << 10,
            most: Duration::from_secs(120),
        }
    }
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Slow,
    NoRoom,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "the body arrived too slowly",
            Self::NoRoom => "there is not enough memory for the body",
        })
    }
}

impl std::error::Error for Cut {}

/// A request body that is cut off if it arrives too slowly or takes too much memory.
pub struct Incoming {
    inner: Body,
    charge: Arc<Reservation>,
    pace: BodyPace,
    began: Instant,
    received: u64,
    deadline: Pin<Box<Sleep>>,
}

impl Incoming {
    /// A body that begins now.
    pub fn new(inner: Body, charge: Arc<Reservation>, pace: BodyPace) -> Self {
        let began = system::instant();
        Self {
            inner,
            charge,
            pace,
            began,
            received: 0,
            deadline: Box::pin(sleep_until(began + pace.grace)),
        }
    }

    /// The more has arrived, the longer the rest may take.
    fn arrived(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
        let earned = self.received * 1000 / u64::from(self.pace.rate.max(1));
        let allowed = self.pace.grace + Duration::from_millis(earned);
        let deadline = self.began + allowed.min(self.pace.most);
        self.deadline.as_mut().reset(deadline);
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(axum::Error::new(Cut::Slow))));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.len();
            if !self.charge.take(bytes) {
                return Poll::Ready(Some(Err(axum::Error::new(Cut::NoRoom))));
            }
            self.arrived(bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A whole body of at most this many bytes.
///
/// # Errors
/// 413, 408 if it arrived too slowly, 503 if there is no memory for it, 400 if it was cut off.
pub async fn whole(body: Body, most: usize) -> Result<Bytes, Problem> {
    to_bytes(body, most).await.map_err(|e| match cause(&e) {
        Some(Cut::Slow) => refuse(
            Code::BodyTooSlow,
            "the body arrived too slowly",
            "send it again",
        )
        .into(),
        Some(Cut::NoRoom) => Problem::from(refuse(
            Code::ServerBusy,
            "too many request bodies are being received already",
            "try again in a moment",
        ))
        .after(1),
        None if is_too_long(&e) => too_large(most),
        None => refuse(
            Code::BodyIncomplete,
            "the body was cut short",
            "send all of it again",
        )
        .into(),
    })
}

/// 413.
pub fn too_large(most: usize) -> Problem {
    let fact = format_args!("the body is larger than {most} bytes");
    refuse(Code::BodyTooLarge, fact, "send less at once").into()
}

fn cause(e: &axum::Error) -> Option<Cut> {
    causes(e).find_map(|e| e.downcast_ref::<Cut>()).copied()
}

fn is_too_long(e: &axum::Error) -> bool {
    causes(e).any(|e| e.is::<LengthLimitError>())
}

/// An error, what caused it, what caused that, and so on.
fn causes<'a>(
    e: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let mut next = Some(e);
    std::iter::from_fn(move || {
        let e = next?;
        next = e.source();
        Some(e)
    })
}

/// An answer's body, in pieces; its connection is busy until the last piece is taken.
pub struct Outgoing {
    inner: Body,
    rest: Bytes,
    flight: Option<InFlight>,
    /// Whether it is cut in pieces and watched.
    watched: bool,
}

impl Outgoing {
    /// Of an answer to a request.
    pub fn new(inner: Body, flight: InFlight, watched: bool) -> Self {
        Self {
            flight: (!inner.is_end_stream()).then_some(flight),
            inner,
            rest: Bytes::new(),
            watched,
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let most = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(most);
        if let Some(flight) = &self.flight {
            // Until the next piece is requested, the connection is waiting for the peer.
            flight.waits_for_peer(true);
        }
        Frame::data(piece)
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(flight) = &self.flight {
            flight.waits_for_peer(false);
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match frame {
            Some(Ok(frame)) if self.watched && frame.is_data() => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    Poll::Ready(Some(Ok(self.piece())))
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            None => {
                self.flight = None;
                Poll::Ready(None)
            }
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Account, Budget, Most};

    fn charge(most: Most) -> Arc<Reservation> {
        let account = Account::new(&Budget::new(most));
        Arc::new(account.charge([192, 0, 2, 1].into()))
    }

    fn slow(first: usize, pace: BodyPace) -> Body {
        // The sender exists, but sends nothing more.
        let pending = tokio_stream::StreamExt::chain(
            tokio_stream::iter([Ok::<_, std::io::Error>("x".repeat(first))]),
            tokio_stream::pending(),
        );
        let charge = charge(Most::default());
        Body::new(Incoming::new(Body::from_stream(pending), charge, pace))
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_cut_off() {
        let pace = BodyPace {
            grace: Duration::from_millis(50),
            rate: 100_000,
            most: Duration::from_millis(400),
        };
        for (first, allowed) in [(1, 50), (20_000, 250), (900_000, 400)] {
            let began = system::instant();
            let problem = whole(slow(first, pace), 1 << 20).await.unwrap_err();
            assert_eq!(problem.status, 408);
            assert!(began.elapsed().as_millis() >= allowed, "{first}");
        }
    }

    #[tokio::test]
    async fn every_way_to_end_early_has_its_answer() {
        let most = Most {
            strangers: 0,
            ..Most::default()
        };
        let of = |text: &str, most| {
            let body = Body::from(text.to_owned());
            Body::new(Incoming::new(body, charge(most), BodyPace::default()))
        };
        let long = "x".repeat(10_000);
        let status = async |body, bytes| whole(body, bytes).await.map_err(|p| p.status);
        assert_eq!(status(of(&long, most), 1 << 20).await, Err(503));
        let usual = Most::default();
        assert_eq!(status(of(&long, usual), 100).await, Err(413));
        assert_eq!(status(of(&long, usual), 10_000).await, Ok(long.into()));
        let broken = tokio_stream::iter([Err::<&str, _>(std::io::Error::other("gone"))]);
        assert_eq!(status(Body::from_stream(broken), 100).await, Err(400));
    }
}
