//! Tests share the machine; a test that takes the time wants it for itself.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static MACHINE: RwLock<()> = RwLock::new(());

thread_local! {
    /// How many Envoys this test has, and its one share of the machine.
    static SHARES: RefCell<(usize, Option<RwLockReadGuard<'static, ()>>)> =
        const { RefCell::new((0, None)) };
}

/// Held by each Envoy as long as it runs.
pub struct Share(PhantomData<*const ()>);

impl Share {
    pub fn take() -> Self {
        SHARES.with_borrow_mut(|(count, guard)| {
            *count += 1;
            guard.get_or_insert_with(shared);
        });
        Self(PhantomData)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        SHARES.with_borrow_mut(|(count, guard)| {
            *count -= 1;
            if *count == 0 {
                *guard = None;
            }
        });
    }
}

/// Runs this once no other test has an Envoy, and lets none start meanwhile.
pub fn alone<T>(measure: impl FnOnce() -> T) -> T {
    let shares = SHARES.with_borrow_mut(|(_, guard)| guard.take().is_some());
    let result = {
        let _whole = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        measure()
    };
    if shares {
        SHARES.with_borrow_mut(|(_, guard)| *guard = Some(shared()));
    }
    result
}

fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}
