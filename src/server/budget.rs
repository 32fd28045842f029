//! Memory for request bodies, limited per connection, per address and per process. Callers with
//! valid credentials have a part of their own, so that strangers cannot use it up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A connection's first bytes do not count: sign-in, reports and small operations have room
/// whatever others do.
const FREE: usize = 4 << 10;

/// How many bytes may be held.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Of all strangers.
    pub strangers: usize,
    /// Of all callers with a good token.
    pub known: usize,
    /// Of strangers at one address.
    pub address: usize,
    /// Of one connection, in all its requests.
    pub connection: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self {
            strangers: 32 << 20,
            // A policy or a table to import may have 64 MiB.
            known: 96 << 20,
            address: 8 << 20,
            connection: 65 << 20,
        }
    }
}

/// What all of a process hold.
pub struct Budget {
    most: Most,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    strangers: usize,
    known: usize,
    places: HashMap<IpAddr, usize>,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(most: Most) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// Bytes currently held, by strangers and by known callers.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize) {
        let held = self.locked();
        (held.strangers, held.known)
    }

    /// Every change under the lock is complete in itself.
    fn locked(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection holds.
#[derive(Clone)]
pub struct Account {
    budget: Arc<Budget>,
    connection: Arc<AtomicUsize>,
}

impl Account {
    /// Of a new connection.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            connection: Arc::default(),
        }
    }

    /// For a request from an address.
    pub fn charge(&self, place: IpAddr) -> Reservation {
        Reservation {
            account: self.clone(),
            place,
            known: AtomicBool::new(false),
            taken: Mutex::default(),
        }
    }
}

/// What one request holds, given back when it is dropped.
pub struct Reservation {
    account: Account,
    place: IpAddr,
    known: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of_place: usize,
    of_strangers: usize,
    of_known: usize,
}

impl Reservation {
    /// The caller has presented valid credentials.
    pub fn recognise(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Takes this many more bytes; gives whether they are available.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let most = self.account.budget.most;
        let before = self.account.connection.fetch_add(bytes, Ordering::Relaxed);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all += bytes;
        if before + bytes > most.connection {
            return false;
        }
        let paid = |bytes: usize| bytes.saturating_sub(FREE);
        let bytes_paid = paid(before + bytes) - paid(before);
        let mut held = self.account.budget.locked();
        if self.known.load(Ordering::Relaxed) {
            if held.known + bytes_paid > most.known {
                return false;
            }
            held.known += bytes_paid;
            taken.of_known += bytes_paid;
            return true;
        }
        let of_place = held.places.get(&self.place).copied().unwrap_or_default();
        if held.strangers + bytes_paid > most.strangers || of_place + bytes > most.address {
            return false;
        }
        held.strangers += bytes_paid;
        held.places.insert(self.place, of_place + bytes);
        taken.of_strangers += bytes_paid;
        taken.of_place += bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let taken = self.taken.get_mut().unwrap_or_else(PoisonError::into_inner);
        let connection = &self.account.connection;
        connection.fetch_sub(taken.all, Ordering::Relaxed);
        if taken.all == 0 {
            return;
        }
        let mut held = self.account.budget.locked();
        held.strangers -= taken.of_strangers;
        held.known -= taken.of_known;
        if let Some(of_place) = held.places.get_mut(&self.place) {
            *of_place -= taken.of_place;
            if *of_place == 0 {
                held.places.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn budget() -> Arc<Budget> {
        Budget::new(Most {
            strangers: 64 << 10,
            known: 64 << 10,
            address: 32 << 10,
            connection: 24 << 10,
        })
    }

    #[test]
    fn connection_address_and_process_each_have_their_bound() {
        let budget = budget();
        let charge = |place| Account::new(&budget).charge(place);
        let one = charge(A);
        assert!(one.take(24 << 10) && !one.take(1), "the connection");
        let two = charge(A);
        assert!(two.take(8 << 10) && !two.take(1), "the address");
        let others: Vec<_> = (0..4u8).map(|n| charge([10, 0, 0, n].into())).collect();
        let all = others.iter().filter(|c| c.take(20 << 10)).count();
        assert_eq!(all, 2, "the process");
    }

    #[test]
    fn strangers_leave_the_room_of_known_callers_and_of_small_bodies() {
        let budget = budget();
        let charge = |place| Account::new(&budget).charge(place);
        let strangers: Vec<_> = (0..9u8).map(|n| charge([10, 0, 0, n].into())).collect();
        let took = strangers.iter().filter(|c| c.take(20 << 10)).count();
        assert_eq!(took, 4);
        assert!(!charge(B).take(20 << 10));
        assert!(charge(B).take(FREE), "a report, or a sign-in");
        let known = charge(A);
        known.recognise();
        assert!(known.take(20 << 10));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = budget();
        for _ in 0..10 {
            let account = Account::new(&budget);
            let (a, b) = (account.charge(A), account.charge(A));
            b.recognise();
            assert!(a.take(10 << 10) && b.take(10 << 10));
            assert!(!a.take(10 << 10));
        }
        assert_eq!(budget.held(), (0, 0));
        assert!(budget.locked().places.is_empty());
    }
}
