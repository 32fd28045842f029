//! Writes, one at a time, those that are urgent first.

use keystile_api::Pace;
use keystile_model::error::{Kind, Result};
use keystile_model::world::World;
use keystile_store::Store;
use std::sync::Arc;

use super::turns::{Share, WriteTurn};
use super::{StorePool, blocking, closed, locked, spared};

impl StorePool {
    /// Changes. `f` opens its own transactions, as the functions of [`keystile_registry`] do.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_at(Pace::Usual, f).await
    }

    /// The same with another priority.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write_at<T: Send + 'static>(
        self: &Arc<Self>,
        pace: Pace,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turn.take(pace, None).await.ok_or_else(closed)?;
        self.write_in(turn, f).await.0
    }

    /// The same for a caller, within its share. A long change gives way: it is interrupted, and
    /// started again with the next `f` that `begin` makes.
    ///
    /// # Errors
    /// Those of `f`, and of the store.
    pub async fn write_for<T, F>(
        self: &Arc<Self>,
        world: &World,
        pace: Pace,
        mut begin: impl FnMut() -> Result<F>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T> + Send + 'static,
    {
        let _share = self.share(world, pace).await;
        let mut breaks = 0;
        loop {
            let spared = spared(world, pace, breaks)?;
            let f = begin()?;
            let turn = self.turn.take(pace, spared).await.ok_or_else(closed)?;
            let (done, hurried) = self.write_in(turn, f).await;
            if done.is_ok() || !hurried {
                return done;
            }
            breaks += 1;
        }
    }

    /// The same for operations that act only on the store: while somebody writes, an urgent change
    /// that has nothing to write (already done, or refused) is answered by a reader, so that
    /// repeating it interrupts nobody.
    ///
    /// # Errors
    /// Those of [`StorePool::write_for`].
    pub async fn write_unless_done<T, F>(
        self: &Arc<Self>,
        world: &World,
        pace: Pace,
        mut begin: impl FnMut() -> Result<F>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T> + Send + 'static,
    {
        if pace == Pace::Urgent && self.turn.is_taken() {
            let f = begin()?;
            match self.look_at(move |store| store.glance(f)).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                // The writer tries nevertheless.
                Err(e) if matches!(e.kind(), Kind::Store(_) | Kind::Unavailable) => {}
                Err(e) => return Err(e),
            }
        }
        self.write_for(world, pace, begin).await
    }

    /// A share of the writer's turns. Urgent changes do not wait for other changes of the same
    /// caller.
    async fn share(&self, world: &World, pace: Pace) -> Option<Share> {
        match pace {
            Pace::Urgent => None,
            _ => Some(self.writing.take(world.caller.number()).await),
        }
    }

    /// Gives the result of `f`, and whether it was asked to stop meanwhile.
    async fn write_in<T: Send + 'static>(
        self: &Arc<Self>,
        turn: WriteTurn,
        f: impl FnOnce(&mut Store) -> Result<T> + Send + 'static,
    ) -> (Result<T>, bool) {
        let pool = Arc::clone(self);
        let write = move |pool: &StorePool, turn: &WriteTurn| {
            let mut store = locked(&pool.writer);
            pool.is_in_place()?;
            if !store.is_readable() {
                *store = pool.open_again()?;
                store.break_off_when(pool.turn.hurry());
            }
            pool.is_on_time(&mut store)?;
            let out = f(&mut store);
            let hurried = turn.is_hurried();
            pool.health.heed_beside(store.take_unnoted());
            // Whoever made a change is told so, even if the store cannot be read just after it.
            let _ = pool.heeded(pool.look(&mut store));
            Ok((out, hurried))
        };
        let done = blocking(move || {
            // Held until it is done, even if nobody is waiting for it any more.
            let turn = turn;
            let (out, hurried) = write(&pool, &turn).unwrap_or_else(|e| (Err(e), false));
            Ok((pool.heeded(out), hurried))
        });
        done.await.unwrap_or_else(|e| (Err(e), false))
    }

    /// Whether anyone writes.
    #[cfg(test)]
    pub fn is_writing(&self) -> bool {
        self.turn.is_taken()
    }

    /// How many changes of this priority wait for their turn.
    #[cfg(test)]
    pub fn waiting(&self, pace: Pace) -> usize {
        self.turn.waiting(pace)
    }

    /// Whether the one that writes is told to break off.
    #[cfg(test)]
    pub fn is_hurried(&self) -> bool {
        self.turn.hurry().load(std::sync::atomic::Ordering::Relaxed)
    }
}
