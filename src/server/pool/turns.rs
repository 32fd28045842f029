//! The queue of writers, and how many turns one caller may take.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use keystile_api::Pace;
use keystile_system as system;

const PACES: usize = 5;

/// The queue of writers: one at a time.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
    /// The current writer has to stop.
    hurry: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Turns that were given.
    given: u64,
    waiting: [VecDeque<Waiting>; PACES],
}

#[derive(Clone, Copy)]
struct Current {
    number: u64,
    pace: Pace,
    /// From when on it may be asked to stop; never, if its work cannot be started again.
    breakable: Option<Instant>,
}

struct Waiting {
    spared: Option<Duration>,
    come: oneshot::Sender<WriteTurn>,
}

impl State {
    fn begin(&mut self, pace: Pace, spared: Option<Duration>) {
        self.given += 1;
        self.current = Some(Current {
            number: self.given,
            pace,
            breakable: spared.map(|spared| system::instant() + spared),
        });
    }
}

/// The right to write, until it is dropped.
pub struct WriteTurn {
    turns: Option<Arc<Turns>>,
}

impl Turns {
    /// The flag that asks a writer to stop.
    pub fn hurry(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.hurry)
    }

    /// Waits for a turn. With `spared`, it is asked to stop when something urgent arrives, but not
    /// before it has had this long.
    pub async fn take(self: &Arc<Self>, pace: Pace, spared: Option<Duration>) -> Option<WriteTurn> {
        let (mut come, disturbs) = {
            let mut state = self.locked();
            let Some(current) = state.current else {
                state.begin(pace, spared);
                return Some(self.turn());
            };
            let (come, comes) = oneshot::channel();
            if let Some(queue) = state.waiting.get_mut(pace as usize) {
                queue.push_back(Waiting { spared, come });
            }
            let disturbs = pace < Pace::Usual && pace < current.pace;
            let from = current.breakable.filter(|_| disturbs);
            (comes, from.map(|from| (current.number, from)))
        };
        let Some((number, from)) = disturbs else {
            return come.await.ok();
        };
        if from > system::instant() {
            tokio::select! {
                biased;
                turn = &mut come => return turn.ok(),
                () = tokio::time::sleep_until(from) => {}
            }
        }
        self.break_off(number);
        come.await.ok()
    }

    fn break_off(&self, number: u64) {
        let state = self.locked();
        if state.current.is_some_and(|c| c.number == number) {
            self.hurry.store(true, Ordering::Relaxed);
        }
    }

    /// Whether anyone has it.
    pub fn is_taken(&self) -> bool {
        self.locked().current.is_some()
    }

    /// How many wait for a turn of this priority.
    #[cfg(test)]
    pub fn waiting(&self, pace: Pace) -> usize {
        let state = self.locked();
        state.waiting.get(pace as usize).map_or(0, VecDeque::len)
    }

    fn turn(self: &Arc<Self>) -> WriteTurn {
        WriteTurn {
            turns: Some(Arc::clone(self)),
        }
    }

    fn pass_on(self: &Arc<Self>) {
        let mut state = self.locked();
        self.hurry.store(false, Ordering::Relaxed);
        state.current = None;
        let paces = [
            Pace::Urgent,
            Pace::Sweep,
            Pace::Parts,
            Pace::Usual,
            Pace::Long,
        ];
        for pace in paces {
            while let Some(next) = state
                .waiting
                .get_mut(pace as usize)
                .and_then(VecDeque::pop_front)
            {
                match next.come.send(self.turn()) {
                    Ok(()) => {
                        state.begin(pace, next.spared);
                        return;
                    }
                    // The wait was abandoned meanwhile, so it is not passed on from here.
                    Err(mut turn) => turn.turns = None,
                }
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteTurn {
    /// Whether its holder was told to break off.
    pub fn is_hurried(&self) -> bool {
        let hurry = |t: &Arc<Turns>| t.hurry.load(Ordering::Relaxed);
        self.turns.as_ref().is_some_and(hurry)
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on();
        }
    }
}

/// A limit on how many each caller may have at once, whatever others do.
pub struct Shares {
    each: usize,
    callers: Mutex<HashMap<u64, Caller>>,
}

struct Caller {
    free: Arc<Semaphore>,
    /// Of those that wait or have one.
    users: usize,
}

/// A caller's place; given back when it is dropped.
pub struct Share {
    shares: Arc<Shares>,
    caller: u64,
    place: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// With this many for each.
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self {
            each,
            callers: Mutex::default(),
        })
    }

    /// Waits for one of a caller's own places.
    pub async fn take(self: &Arc<Self>, caller: u64) -> Share {
        let free = {
            let mut callers = self.locked();
            let caller = callers.entry(caller).or_insert_with(|| Caller {
                free: Arc::new(Semaphore::new(self.each)),
                users: 0,
            });
            caller.users += 1;
            Arc::clone(&caller.free)
        };
        let mut share = Share {
            shares: Arc::clone(self),
            caller,
            place: None,
        };
        share.place = free.acquire_owned().await.ok();
        share
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Caller>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.place = None;
        let mut callers = self.shares.locked();
        if let Some(caller) = callers.get_mut(&self.caller) {
            caller.users -= 1;
            if caller.users == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether something is ready without waiting.
    async fn now<T>(f: impl Future<Output = T>) -> Option<T> {
        let mut f = std::pin::pin!(f);
        std::future::poll_fn(|cx| {
            let ready = f.as_mut().poll(cx);
            std::task::Poll::Ready(match ready {
                std::task::Poll::Ready(t) => Some(t),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn what_is_urgent_comes_first_and_what_takes_long_last() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(Pace::Usual, None).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        let paces = [
            Pace::Long,
            Pace::Usual,
            Pace::Parts,
            Pace::Urgent,
            Pace::Sweep,
        ];
        for pace in paces {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.spawn(async move {
                let _turn = turns.take(pace, None).await;
                order.lock().unwrap().push(pace);
            });
        }
        let all_wait = || turns.locked().waiting.iter().all(|q| q.len() == 1);
        while !all_wait() {
            tokio::task::yield_now().await;
        }
        drop(first);
        waiting.join_all().await;
        let mut sorted = order.lock().unwrap().clone();
        sorted.sort();
        assert_eq!(*order.lock().unwrap(), sorted);
        assert!(turns.locked().current.is_none());
    }

    #[tokio::test]
    async fn only_what_takes_long_and_can_begin_again_is_told_to_break_off() {
        for (current, again, next, want) in [
            (Pace::Long, true, Pace::Urgent, true),
            (Pace::Long, true, Pace::Sweep, true),
            (Pace::Sweep, true, Pace::Urgent, true),
            (Pace::Sweep, true, Pace::Sweep, false),
            (Pace::Parts, true, Pace::Urgent, true),
            (Pace::Parts, true, Pace::Usual, false),
            (Pace::Long, false, Pace::Urgent, false),
            (Pace::Long, true, Pace::Usual, false),
            (Pace::Urgent, true, Pace::Urgent, false),
        ] {
            let turns = Arc::new(Turns::default());
            let spared = again.then_some(Duration::ZERO);
            let turn = turns.take(current, spared).await.unwrap();
            let waits = turns.take(next, None);
            assert!(now(waits).await.is_none());
            assert_eq!(turn.is_hurried(), want, "{next:?} behind {current:?}");
            drop(turn);
            let next = turns.take(Pace::Long, Some(Duration::ZERO)).await.unwrap();
            assert!(!next.is_hurried(), "the one after is not");
        }
    }

    #[tokio::test]
    async fn what_is_spared_is_told_to_break_off_when_its_time_is_over() {
        let turns = Arc::new(Turns::default());
        let spared = Duration::from_millis(300);
        let began = system::instant();
        let long = turns.take(Pace::Long, Some(spared)).await.unwrap();
        let urgent = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(Pace::Urgent, None).await }
        });
        while !long.is_hurried() {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() >= spared);
        drop(long);
        assert!(!urgent.await.unwrap().unwrap().is_hurried());
    }

    #[tokio::test]
    async fn who_no_longer_waits_is_passed_over() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(Pace::Usual, None).await.unwrap();
        assert!(now(turns.take(Pace::Usual, None)).await.is_none());
        drop(first);
        assert!(now(turns.take(Pace::Usual, None)).await.is_some());
    }

    #[tokio::test]
    async fn one_caller_never_has_more_than_its_share() {
        let shares = Shares::new(2);
        let (a, b) = (shares.take(1).await, shares.take(1).await);
        assert!(now(shares.take(1)).await.is_none());
        let other = now(shares.take(2)).await.unwrap();
        drop(a);
        assert!(now(shares.take(1)).await.is_some());
        drop((b, other));
        assert!(shares.locked().is_empty(), "nothing is left behind");
    }
}
