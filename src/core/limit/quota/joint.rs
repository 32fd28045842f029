//! Draws of one request on quotas that several policies set: it counts once in each.

use super::{Draw, Drawing, Drawn, NotDrawn, Tallies, Window};
use crate::limit::bucket::Contended;
use crate::limit::quota::counts::Counts;
use crate::sort;

/// Draws on the tallies of one lineage, taken together in one atomic step.
#[derive(Clone, Debug)]
pub struct Joint {
    /// The shortest window comes last: a new window of it counts what was taken since it last
    /// counted, and a longer window after it would count all of that again.
    draws: Vec<Draw>,
}

impl Joint {
    /// `None` if there are no draws.
    pub fn new(mut draws: Vec<Draw>) -> Option<Self> {
        let length = |w: Window| w.end.saturating_sub(w.start);
        let whose = |d: &Draw| (d.rule, d.window.start, d.requests);
        sort::few(&mut draws, |a, b| whose(a) < whose(b));
        // Rules that differ only in the number share one tally; the smaller number applies.
        draws.dedup_by_key(|d| (d.rule, d.window.start, d.window.end));
        sort::few(&mut draws, |a, b| length(a.window) > length(b.window));
        (!draws.is_empty()).then_some(Self { draws })
    }

    fn windows(&self) -> Vec<(u64, Window)> {
        self.draws.iter().map(|d| (d.rule, d.window)).collect()
    }

    /// What is left in each window, and whether anything was carried over into one.
    ///
    /// # Errors
    /// [`NotDrawn::UsedUp`] until the last of the windows in which nothing is left ends.
    fn opened(&self, counts: &mut Counts) -> (Result<Vec<u64>, NotDrawn>, bool) {
        let mut carried = false;
        let mut used_up = None;
        let mut left = Vec::new();
        for draw in &self.draws {
            let here = match counts.open(draw.rule, draw.window) {
                Some((tally, was_carried)) => {
                    carried |= was_carried;
                    tally.remaining(draw.requests)
                }
                None => 0,
            };
            if here == 0 {
                used_up = used_up.max(Some(draw.window.end));
            }
            left.push(here);
        }
        match used_up {
            Some(end) => (Err(NotDrawn::UsedUp(end)), carried),
            None => (Ok(left), carried),
        }
    }

    /// All draws are on the tallies of one lineage.
    fn update(
        &self,
        tallies: &mut impl Tallies,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended> {
        let first = self.draws.first().ok_or(Contended)?;
        tallies.update_tally(&first.key, f)
    }
}

impl Drawing for Joint {
    /// By the rule, the longest window first.
    type Drawn = Vec<(u64, Drawn)>;

    fn look(&self, tallies: &mut impl Tallies) -> Result<(), NotDrawn> {
        let mut seen = Err(NotDrawn::Contended);
        let read = self.update(tallies, &mut |counts| {
            seen = self.opened(counts).0.map(|_| ());
            false
        });
        read.map_err(|Contended| NotDrawn::Contended)?;
        seen
    }

    fn take(&self, tallies: &mut impl Tallies) -> Result<Self::Drawn, NotDrawn> {
        let mut result = Err(NotDrawn::Contended);
        let swapped = self.update(tallies, &mut |counts| {
            let (left, carried) = self.opened(counts);
            let left = match left {
                Ok(left) => left,
                Err(why) => {
                    result = Err(why);
                    return carried;
                }
            };
            let drawn = self.draws.iter().zip(left).map(|(draw, left)| {
                let (window, remaining) = (draw.window, left.saturating_sub(1));
                (draw.rule, Drawn { window, remaining })
            });
            result = Ok(drawn.collect());
            counts.took_together(&self.windows());
            true
        });
        swapped.map_err(|Contended| NotDrawn::Contended)?;
        result
    }

    fn give_back(&self, tallies: &mut impl Tallies, _: &Self::Drawn) {
        let _ = self.update(tallies, &mut |counts| {
            counts.give_back_together(&self.windows())
        });
    }
}
