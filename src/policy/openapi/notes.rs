//! What a document says and a policy cannot.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Something that could not be expressed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Unsaid {
    /// What, and what was done about it.
    pub problem: String,
    /// Where: operations, servers or security schemes.
    pub places: Vec<String>,
}

/// What could not be expressed so far, by problem.
#[derive(Default)]
pub(super) struct Notes(pub(super) BTreeMap<String, BTreeSet<String>>);

impl Notes {
    pub(super) fn add(&mut self, place: &str, problem: impl Into<String>) {
        self.0
            .entry(problem.into())
            .or_default()
            .insert(place.to_owned());
    }

    pub(super) fn unsaid(self) -> Vec<Unsaid> {
        self.0
            .into_iter()
            .map(|(problem, places)| Unsaid {
                problem,
                places: places.into_iter().collect(),
            })
            .collect()
    }
}
