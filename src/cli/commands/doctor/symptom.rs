//! What was found, and whether something is wrong.

use serde::Serialize;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Symptom {
    /// Something does not work, or lets in what it should not; otherwise it is worth knowing.
    pub wrong: bool,
    /// What it is about: `store`, `fleet`, or the address of an Envoy.
    pub about: String,
    /// The fact and the next step.
    pub says: String,
}

/// What was found about one thing.
#[derive(Default)]
pub(super) struct Symptoms {
    about: String,
    pub all: Vec<Symptom>,
}

impl Symptoms {
    pub(super) fn about(about: impl Into<String>) -> Self {
        Self {
            about: about.into(),
            all: Vec::new(),
        }
    }

    pub(super) fn wrong(&mut self, says: impl Into<String>) {
        self.add(true, says.into());
    }

    pub(super) fn note(&mut self, says: impl Into<String>) {
        self.add(false, says.into());
    }

    fn add(&mut self, wrong: bool, says: String) {
        let about = self.about.clone();
        self.all.push(Symptom { wrong, about, says });
    }
}
