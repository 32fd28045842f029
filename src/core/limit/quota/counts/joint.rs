//! One request that counts in the windows of several rules at once.

use super::{Counts, Tally};
use crate::limit::quota::Window;

impl Counts {
    /// One request was taken in each of these windows, which exist: it counts once in each of them,
    /// and once in every other window that overlaps any of them. The last one here is the one that
    /// counted last.
    pub(in crate::limit::quota) fn took_together(&mut self, of: &[(u64, Window)]) {
        for (rule, window) in of {
            let is_it = |t: &Tally| t.rule == *rule && t.window == *window;
            if let Some(at) = self.0.iter().position(is_it) {
                let mut tally = self.0.remove(at);
                tally.own = tally.own.saturating_add(1);
                self.0.push(tally);
            }
        }
        let counted = |t: &Tally| of.contains(&(t.rule, t.window));
        let shares = |t: &Tally| of.iter().any(|(_, window)| t.overlaps(*window));
        for other in self.0.iter_mut().filter(|t| !counted(t) && shares(t)) {
            other.beside = other.beside.saturating_add(1);
        }
    }

    /// Gives back a request that was taken like this. Other windows keep what they counted, which
    /// is the safe side. Gives whether anything was given back.
    pub(in crate::limit::quota) fn give_back_together(&mut self, of: &[(u64, Window)]) -> bool {
        let mut any = false;
        let all = self.0.iter_mut();
        // What also counts in an earlier window stays counted in both.
        for tally in all.filter(|t| of.contains(&(t.rule, t.window)) && t.own > t.carried) {
            tally.own = tally.own.saturating_sub(1);
            any = true;
        }
        any
    }
}
