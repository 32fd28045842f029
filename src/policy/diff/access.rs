//! Who may pass, in a normal form: equal values admit the same callers.

use std::collections::BTreeSet;

use super::effect::Effect;

/// Who may pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nobody.
    Refused,
    /// Holders of a key with all of some scopes, and one of others.
    Key {
        /// All of these.
        all: BTreeSet<String>,
        /// One of these; none or at least two, and none that `all` holds.
        one: BTreeSet<String>,
    },
    /// Everybody except callers with an invalid key.
    Optional,
    /// Everybody.
    Open,
}

impl Access {
    /// Holders of a key with these scopes, normalised: a choice that `all` already satisfies is
    /// dropped, and a choice of one becomes a requirement.
    pub fn key(
        all: impl IntoIterator<Item = String>,
        one: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut all: BTreeSet<String> = all.into_iter().collect();
        let mut one: BTreeSet<String> = one.into_iter().collect();
        if !one.is_disjoint(&all) {
            one.clear();
        }
        if one.len() == 1 {
            all.append(&mut one);
        }
        Self::Key { all, one }
    }

    /// Whether a valid key with these scopes passes.
    pub fn admits(&self, scopes: &BTreeSet<String>) -> bool {
        match self {
            Self::Refused => false,
            Self::Optional | Self::Open => true,
            Self::Key { all, one } => {
                all.is_subset(scopes) && (one.is_empty() || !one.is_disjoint(scopes))
            }
        }
    }

    /// Whether a caller passes with any key, or with none.
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// Whether every request that passes here passes there.
    fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Key { all, one },
                Self::Key {
                    all: there,
                    one: choice,
                },
            ) => {
                there.is_subset(all)
                    && (choice.is_empty()
                        || !choice.is_disjoint(all)
                        || (!one.is_empty() && one.is_subset(choice)))
            }
            (a, b) => a.rank() <= b.rank(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Refused => 0,
            Self::Key { .. } => 1,
            Self::Optional => 2,
            Self::Open => 3,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Refused => "nobody".to_owned(),
            Self::Open => "everybody".to_owned(),
            Self::Optional => "every request without an invalid key".to_owned(),
            Self::Key { all, one } => {
                let mut parts = Vec::new();
                if !all.is_empty() {
                    parts.push(list(all));
                }
                if !one.is_empty() {
                    parts.push(format!("one of {}", list(one)));
                }
                match parts.is_empty() {
                    true => "any key".to_owned(),
                    false => format!("keys with {}", parts.join(" and ")),
                }
            }
        }
    }
}

/// Who may pass, and how often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Admission {
    access: Access,
    cost: u64,
    limit: Option<String>,
}

impl Admission {
    /// Without a key, nothing is charged.
    pub fn new(access: Access, cost: u64, limit: Option<String>) -> Self {
        match access {
            Access::Refused | Access::Open => Self {
                access,
                cost: 1,
                limit: None,
            },
            _ => Self {
                access,
                cost,
                limit,
            },
        }
    }

    /// Who may pass.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What becoming another does.
    pub fn effect(&self, after: &Self) -> Effect {
        let (fewer, more) = (
            after.access.within(&self.access),
            self.access.within(&after.access),
        );
        match (fewer, more) {
            (true, true) => Effect::Alters,
            (true, false) => Effect::Closes,
            (false, true) => Effect::Opens,
            (false, false) => Effect::Moves,
        }
    }

    /// All of it.
    pub fn words(&self) -> String {
        let mut out = self.access.words();
        if self.cost != 1 {
            out.push_str(&format!(", cost {}", self.cost));
        }
        if let Some(limit) = &self.limit {
            out.push_str(&format!(", limit {limit}"));
        }
        out
    }

    /// What becomes different.
    pub fn change(&self, after: &Self) -> String {
        let mut parts = Vec::new();
        match (&self.access, &after.access) {
            (a, b) if a == b => {}
            (
                Access::Key { all, one },
                Access::Key {
                    all: new_all,
                    one: new_one,
                },
            ) => {
                let set = |s: BTreeSet<&String>| list(s.iter().map(|s| s.as_str()));
                let more: BTreeSet<_> = new_all.difference(all).collect();
                let fewer: BTreeSet<_> = all.difference(new_all).collect();
                if !more.is_empty() {
                    parts.push(format!("now also needs {}", set(more)));
                }
                if !fewer.is_empty() {
                    parts.push(format!("no longer needs {}", set(fewer)));
                }
                if one != new_one {
                    parts.push(match (one.is_empty(), new_one.is_empty()) {
                        (_, true) => format!("no longer needs one of {}", list(one)),
                        (true, _) => format!("now also needs one of {}", list(new_one)),
                        _ => format!("now one of {} in place of {}", list(new_one), list(one)),
                    });
                }
            }
            (a, b) => parts.push(format!("was for {}, now for {}", a.words(), b.words())),
        }
        let charged = |o: &Self| matches!(o.access, Access::Key { .. } | Access::Optional);
        if charged(self) && charged(after) {
            if self.cost != after.cost {
                parts.push(format!("cost {} instead of {}", after.cost, self.cost));
            }
            if self.limit != after.limit {
                let word = |l: &Option<String>| l.clone().unwrap_or_else(|| "none".to_owned());
                parts.push(format!(
                    "limit {} instead of {}",
                    word(&after.limit),
                    word(&self.limit)
                ));
            }
        }
        parts.join(", ")
    }
}

fn list(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|w| format!("`{}`", w.as_ref()))
        .collect();
    words.join(", ")
}
