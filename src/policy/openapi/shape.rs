//! A route under construction.

use std::collections::BTreeMap;

use super::notes::Notes;
use super::security::Demand;

/// For one path shape.
pub struct PathShape {
    pub(super) path: String,
    /// By host (empty for all) and method (empty for all others).
    pub(super) asks: BTreeMap<(String, String), Demand>,
}

impl PathShape {
    pub(super) fn ask(
        &mut self,
        host: String,
        method: &str,
        demand: Demand,
        place: &str,
        notes: &mut Notes,
    ) {
        let key = (host, method.to_owned());
        let merged = match self.asks.get(&key) {
            None => demand,
            Some(before) if *before == demand => return,
            Some(before) => {
                notes.add(
                    place,
                    format!(
                        "matches the same requests as `{}`, which requires something else; both are required",
                        self.path
                    ),
                );
                before.and(&demand)
            }
        };
        self.asks.insert(key, merged);
    }
}
