//! How many may be connected at once.
//!
//! A new connection always gets a seat. If all are taken, or all that one address may have, the
//! oldest connection of the address with the most is closed for it: however many connections
//! somebody opens, those of others stay. Connections with valid credentials (a token, a report
//! signed by an Envoy) are closed only after all others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a connection counts as when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Of an unknown caller at this address; closed first.
    Stranger(IpAddr),
    /// Of a trusted proxy. It carries the requests of many, so the share of one address does not
    /// limit it.
    Proxy(IpAddr),
}

/// The seats of a listener.
pub struct Seats {
    most: usize,
    share: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    seats: HashMap<u64, Held>,
    places: BTreeMap<IpAddr, Place>,
    known: usize,
}

struct Held {
    place: IpAddr,
    known: bool,
    leave: Arc<Notify>,
}

/// Seats of one address by age.
#[derive(Default)]
struct Place {
    strangers: BTreeSet<u64>,
    known: BTreeSet<u64>,
}

impl Place {
    fn len(&self) -> usize {
        self.strangers.len() + self.known.len()
    }

    fn oldest(&self) -> Option<u64> {
        let first = |seats: &BTreeSet<u64>| seats.first().copied();
        first(&self.strangers).or_else(|| first(&self.known))
    }
}

/// A connection's seat, given back when it is dropped.
pub struct Seat {
    room: Arc<Seats>,
    id: u64,
    rank: Rank,
    leave: Arc<Notify>,
}

impl Seats {
    /// So many seats in all, and so many for one address.
    pub fn new(most: usize, share: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            share: share.clamp(1, most.max(1)),
            state: Mutex::default(),
        })
    }

    /// Takes a seat. If there was none left, another connection is asked to close.
    pub fn enter(self: &Arc<Self>, rank: Rank) -> Seat {
        let (Rank::Stranger(place) | Rank::Proxy(place)) = rank;
        let mut state = self.locked();
        let holds = state.places.get(&place).map_or(0, Place::len);
        if matches!(rank, Rank::Stranger(_)) && holds >= self.share {
            let oldest = state.places.get(&place).and_then(Place::oldest);
            state.dismiss(oldest);
        } else if state.seats.len() >= self.most {
            let chosen = state.of_the_greediest();
            state.dismiss(chosen);
        }
        let id = state.next;
        state.next += 1;
        let known = matches!(rank, Rank::Proxy(_));
        let leave = Arc::new(Notify::new());
        let seats = state.places.entry(place).or_default();
        match known {
            true => seats.known.insert(id),
            false => seats.strangers.insert(id),
        };
        state.known += usize::from(known);
        let held = Held {
            place,
            known,
            leave: Arc::clone(&leave),
        };
        state.seats.insert(id, held);
        drop(state);
        Seat {
            room: Arc::clone(self),
            id,
            rank,
            leave,
        }
    }

    /// Whether an address holds half of its share already.
    pub fn is_crowded(&self, rank: Rank) -> bool {
        let Rank::Stranger(place) = rank else {
            return false;
        };
        let state = self.locked();
        let holds = state.places.get(&place).map_or(0, Place::len);
        holds >= self.share.div_ceil(2)
    }

    /// Seats that are taken.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.locked().seats.len()
    }

    /// Every change under the lock is complete in itself.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The oldest stranger of the address that has the most; if there are none, the oldest seat of
    /// the address that has the most.
    fn of_the_greediest(&self) -> Option<u64> {
        let places = || self.places.values();
        places()
            .filter(|p| !p.strangers.is_empty())
            .max_by_key(|p| p.strangers.len())
            .or_else(|| places().max_by_key(|p| p.len()))
            .and_then(Place::oldest)
    }

    fn dismiss(&mut self, id: Option<u64>) {
        if let Some(leave) = id.and_then(|id| self.remove(id)) {
            leave.notify_one();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Notify>> {
        let held = self.seats.remove(&id)?;
        self.known -= usize::from(held.known);
        if let Some(place) = self.places.get_mut(&held.place) {
            place.strangers.remove(&id);
            place.known.remove(&id);
            if place.len() == 0 {
                self.places.remove(&held.place);
            }
        }
        Some(held.leave)
    }
}

impl Seat {
    /// Completes when the seat is needed for another connection.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// What the connection counted as when it began.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The connection has valid credentials. A quarter of all seats, and half of an address's,
    /// remain for those that have not presented any yet.
    pub fn recognise(&self) {
        let mut state = self.room.locked();
        let known_most = self.room.most - self.room.most.div_ceil(4);
        let Some(held) = state.seats.get(&self.id).filter(|held| !held.known) else {
            return;
        };
        let place = held.place;
        let near = state.places.get(&place).map_or(0, |p| p.known.len());
        if state.known >= known_most || near >= self.room.share.div_ceil(2) {
            return;
        }
        state.known += 1;
        if let Some(held) = state.seats.get_mut(&self.id) {
            held.known = true;
        }
        if let Some(place) = state.places.get_mut(&place) {
            place.strangers.remove(&self.id);
            place.known.insert(self.id);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.locked().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> Rank {
        Rank::Stranger(IpAddr::from([127, 0, 0, n]))
    }

    fn leaves(seat: &Seat) -> bool {
        use std::future::Future as _;
        let mut leave = std::pin::pin!(seat.asked_to_leave());
        let waker = std::task::Waker::noop();
        let mut cx = std::task::Context::from_waker(waker);
        leave.as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn a_newcomer_takes_the_seat_of_whoever_holds_most() {
        let room = Seats::new(6, 6);
        let honest = room.enter(at(1));
        let two: Vec<Seat> = (0..2).map(|_| room.enter(at(2))).collect();
        let three: Vec<Seat> = (0..3).map(|_| room.enter(at(3))).collect();
        let newcomer = room.enter(at(4));
        assert_eq!(room.taken(), 6);
        assert!(leaves(&three[0]));
        assert!(!leaves(&three[1]) && !leaves(&honest) && !leaves(&newcomer));
        assert!(!two.iter().any(leaves));
    }

    #[test]
    fn an_address_beyond_its_share_only_displaces_itself() {
        let room = Seats::new(100, 2);
        let other = room.enter(at(1));
        let all: Vec<Seat> = (0..3).map(|_| room.enter(at(2))).collect();
        assert_eq!(room.taken(), 3);
        assert!(leaves(&all[0]) && !leaves(&all[1]) && !leaves(&other));
    }

    #[test]
    fn whoever_showed_something_good_stays_while_there_are_strangers() {
        let room = Seats::new(4, 4);
        let known: Vec<Seat> = (0..2).map(|_| room.enter(at(1))).collect();
        known.iter().for_each(Seat::recognise);
        let strangers: Vec<Seat> = (0..2).map(|_| room.enter(at(2))).collect();
        let _more: Vec<Seat> = (0..5).map(|_| room.enter(at(3))).collect();
        assert!(leaves(&strangers[0]));
        assert!(!known.iter().any(leaves));
    }

    #[test]
    fn the_good_cannot_take_all_seats_either() {
        let room = Seats::new(8, 8);
        let all: Vec<Seat> = (0..8).map(|_| room.enter(at(1))).collect();
        all.iter().for_each(Seat::recognise);
        assert_eq!(room.locked().known, 4, "half of what an address may have");
        for n in 2..5 {
            let others: Vec<Seat> = (0..2).map(|_| room.enter(at(n))).collect();
            others.iter().for_each(Seat::recognise);
            assert!(room.locked().known <= 6, "a quarter stays for strangers");
        }
    }

    #[test]
    fn a_trusted_proxy_has_no_share_and_gives_way_last() {
        let room = Seats::new(4, 2);
        let proxy = Rank::Proxy(IpAddr::from([10, 0, 0, 1]));
        let proxied: Vec<Seat> = (0..3).map(|_| room.enter(proxy)).collect();
        let stranger = room.enter(at(1));
        let _other = room.enter(at(2));
        assert!(leaves(&stranger) && !proxied.iter().any(leaves));
    }

    #[test]
    fn a_seat_that_is_given_back_leaves_nothing_behind() {
        let room = Seats::new(4, 4);
        let seats: Vec<Seat> = (0..6).map(|n| room.enter(at(n))).collect();
        seats.iter().for_each(Seat::recognise);
        drop(seats);
        let state = room.locked();
        assert!(state.seats.is_empty() && state.places.is_empty());
        assert_eq!(state.known, 0);
    }
}
