//! A connection as its requests see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::budget::{Account, Reservation};
use super::in_progress::{Flights, InFlight};
use super::seats::{Rank, Seat};

/// A connection as its requests see it. Without one, as in tests of handlers, nothing is
/// counted.
#[derive(Clone, Default)]
pub struct Presence(Option<Arc<Present>>);

struct Present {
    connection: Arc<Connection>,
    charge: Arc<Reservation>,
}

impl Presence {
    /// The request had valid credentials: a token, or an Envoy's signature.
    pub fn recognise(&self) {
        let Some(present) = &self.0 else { return };
        present.charge.recognise();
        // One caller's credentials say nothing about others behind the same proxy.
        if matches!(present.connection.seat.rank(), Rank::Stranger(_)) {
            present.connection.known.store(true, Ordering::Relaxed);
            present.connection.seat.recognise();
        }
    }

    /// Whether the connection has had valid credentials before.
    pub fn is_known(&self) -> bool {
        let known = |p: &Arc<Present>| p.connection.known.load(Ordering::Relaxed);
        self.0.as_ref().is_some_and(known)
    }
}

/// What a connection is busy with.
pub struct Connection {
    pub(super) seat: Seat,
    account: Account,
    known: AtomicBool,
    pub(super) flights: Arc<Flights>,
}

impl Connection {
    /// That has just begun.
    pub fn new(seat: Seat, account: Account) -> Arc<Self> {
        Arc::new(Self {
            seat,
            account,
            known: AtomicBool::new(false),
            flights: Flights::new(),
        })
    }

    pub(super) fn begin(&self) -> InFlight {
        self.flights.begin()
    }

    pub(super) fn present(self: &Arc<Self>, place: IpAddr) -> (Presence, Arc<Reservation>) {
        let charge = Arc::new(self.account.charge(place));
        let present = Present {
            connection: Arc::clone(self),
            charge: Arc::clone(&charge),
        };
        (Presence(Some(Arc::new(present))), charge)
    }
}
