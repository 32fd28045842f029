//! Who asks for something, and how far his reach goes.
//!
//! Which role may ask for which operation is a table of the server. What is decided here
//! holds for every operation alike: a token that is bound to a client sees the keys of
//! that client and no others, and makes none beyond its ceilings.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use keystile_core::key::KeyId;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, named, refuse};
use crate::record::{self, Rules};
use crate::when;

/// What kind of caller a token makes; each may do what those before it may, but that
/// `client` is bound to its client.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Manages the keys of one client, within ceilings
    Client,
    /// Reads everything
    Auditor,
    /// Manages clients and keys
    Issuer,
    /// Everything
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Client, Self::Auditor, Self::Issuer, Self::Owner];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Auditor => "auditor",
            Self::Issuer => "issuer",
            Self::Owner => "owner",
        }
    }

    /// The role that a word says.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Who can read the store and its master key on this machine. May do everything.
    Local,
    /// Who holds a token.
    Token(Grant),
}

/// What a good token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Public id of the token.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// What kind of caller it makes.
    pub role: Role,
    /// The client that it is bound to; of the role `client` only.
    pub client: Option<String>,
    /// What it may make; of the role `client` only.
    pub ceilings: Ceilings,
    /// Ranges that it may be used from; any if there are none.
    pub networks: Vec<IpNet>,
    /// Seconds; to the minute.
    pub last_used: Option<u64>,
}

impl Grant {
    /// Of whom nobody knows: sees nothing and may do nothing.
    pub fn nothing() -> Self {
        let Ok(id) = KeyId::random(|digits: &mut [u8]| {
            digits.fill(0);
            Ok::<(), Infallible>(())
        });
        Self {
            id,
            name: String::new(),
            role: Role::Client,
            client: None,
            ceilings: Ceilings::default(),
            networks: Vec::new(),
            last_used: None,
        }
    }

    /// Whether it may be used from an address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter().copied().map(record::network);
        self.networks.is_empty() || networks.any(|n| n.allows(address))
    }
}

/// The most that keys may have which a client makes for itself. The default admits keys
/// without scopes and plans of their own, as many and as long as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// The scopes that they may hold.
    pub scopes: Vec<String>,
    /// The plans that they may have, their client's included where they have none of their own.
    /// None named: their client's, and no other.
    pub plans: Vec<String>,
    /// Seconds from now that they must end within.
    pub max_expiry: Option<u64>,
    /// How many may live at once.
    pub max_keys: Option<u32>,
}

impl Caller {
    /// The ceilings of a caller that is bound to a client.
    pub fn bound(&self) -> Option<&Ceilings> {
        match self {
            Self::Token(g) if g.role == Role::Client => Some(&g.ceilings),
            Self::Local | Self::Token(_) => None,
        }
    }

    /// Its token's role; that of the owner for who is on this machine.
    pub fn role(&self) -> Role {
        match self {
            Self::Local => Role::Owner,
            Self::Token(g) => g.role,
        }
    }

    /// Tells callers apart: `local`, or the id of the token.
    pub fn mark(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Token(g) => g.id.to_string(),
        }
    }

    /// The same as a number.
    pub fn number(&self) -> u64 {
        match self {
            Self::Local => u64::MAX,
            Self::Token(g) => g.id.as_u64(),
        }
    }

    /// Whether it may know of a client.
    pub fn sees(&self, client: &str) -> bool {
        match self {
            Self::Token(g) if g.role == Role::Client => g.client.as_deref() == Some(client),
            Self::Local | Self::Token(_) => true,
        }
    }

    /// The client that a listing is narrowed to: its own, or the one that is asked for.
    pub fn narrowed<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match self {
            // Of no client: a name that no client can have.
            Self::Token(g) if g.role == Role::Client => Some(g.client.as_deref().unwrap_or("")),
            Self::Local | Self::Token(_) => asked,
        }
    }

    /// That it is not bound to a client, for what concerns more than one.
    ///
    /// # Errors
    /// It is bound; the caller's `what` (`change clients`) says to what end.
    pub fn unbound(&self, what: &str) -> Result<()> {
        match self.bound() {
            None => Ok(()),
            Some(_) => Err(forbidden(format_args!(
                "a token of the role `client` may not {what}"
            ))),
        }
    }

    /// That it may do what only an owner may.
    ///
    /// # Errors
    /// It is not an owner.
    pub fn owner(&self, what: &str) -> Result<()> {
        match self.role() {
            Role::Owner => Ok(()),
            role => Err(forbidden(format_args!(
                "a token of the role `{role}` may not {what}"
            ))),
        }
    }
}

impl Ceilings {
    /// That a new key of a client with that plan keeps within them.
    ///
    /// # Errors
    /// The first ceiling that it exceeds.
    pub fn admit(&self, rules: &Rules, client_plan: Option<&str>, now: u64) -> Result<()> {
        if let Some(scope) = rules.scopes.iter().find(|s| !self.scopes.contains(s)) {
            return Err(exceeded(
                format_args!("this token may not give a key scope `{scope}`"),
                "scopes",
                &self.scopes,
            )
            .about("scopes"));
        }
        self.admit_plan(rules.plan.as_deref(), client_plan)?;
        if !rules.limits.is_empty() {
            return Err(
                forbidden("this token may not give a key limits of its own").about("limits")
            );
        }
        self.admit_expiry(rules.expires, now)
    }

    fn admit_plan(&self, own: Option<&str>, client_plan: Option<&str>) -> Result<()> {
        let within = |plan: &str| self.plans.iter().any(|p| p == plan);
        let fact = match (own, client_plan) {
            (Some(own), _) if within(own) => return Ok(()),
            (Some(own), _) => format!("this token may not give a key plan `{own}`"),
            (None, _) if self.plans.is_empty() => return Ok(()),
            (None, Some(plan)) if within(plan) => return Ok(()),
            (None, Some(plan)) => format!(
                "without a plan of its own the key would be on its client's plan `{plan}`, which this token may not give"
            ),
            (None, None) => "without a plan the key would have no limits".to_owned(),
        };
        Err(exceeded(fact, "plans", &self.plans).about("plan"))
    }

    /// That the successor of a key may hold what that one holds: its scopes and its plan.
    /// Limits of its own go on, for both draw on the same buckets.
    ///
    /// # Errors
    /// Those of [`Ceilings::admit`].
    pub fn admit_successor(
        &self,
        rules: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        let rules = Rules {
            limits: Vec::new(),
            ..rules.clone()
        };
        self.admit(&rules, client_plan, now)
    }

    /// The latest end that a key may have which takes the place of one that ends at `expires`.
    pub fn nearest_end(&self, expires: Option<u64>, now: u64) -> Option<u64> {
        let most = self.max_expiry.map(|most| now.saturating_add(most));
        match (expires, most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// That an end is near enough.
    ///
    /// # Errors
    /// It is not.
    pub fn admit_expiry(&self, expires: Option<u64>, now: u64) -> Result<()> {
        let Some(most) = self.max_expiry else {
            return Ok(());
        };
        if expires.is_some_and(|t| t <= now.saturating_add(most)) {
            return Ok(());
        }
        let most = when::duration(most);
        Err(refuse(
            Code::BeyondCeiling,
            format_args!("keys that this token makes end within {most}"),
            crate::next!["give ", named("expires").value(&most), " or less"],
        )
        .about("expires"))
    }

    /// That a change of rules keeps within them. What was given by others beyond them may
    /// stay, but such a key is not widened: neither its rights nor its end.
    ///
    /// # Errors
    /// It does not.
    pub fn admit_change(
        &self,
        before: &Rules,
        after: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        if self.admit(after, client_plan, now).is_ok() && self.admit_rights(before, client_plan) {
            return Ok(());
        }
        let named = Rules {
            name: before.name.clone(),
            labels: before.labels.clone(),
            expires: before.expires,
            ..after.clone()
        };
        let ends_later = match (before.expires, after.expires) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(after)) => after > before,
        };
        if named == *before && !ends_later {
            return Ok(());
        }
        self.admit(after, client_plan, now)?;
        Err(beyond())
    }

    /// That a key may go on as another one, which ends at `expires`.
    ///
    /// # Errors
    /// Those of [`Ceilings::admit_change`].
    pub fn admit_rotation(
        &self,
        before: &Rules,
        after: &Rules,
        client_plan: Option<&str>,
        now: u64,
    ) -> Result<()> {
        self.admit_change(before, after, client_plan, now)?;
        self.admit_expiry(after.expires, now)
    }

    /// Whether rights that were given before could have been given under them.
    fn admit_rights(&self, rules: &Rules, client_plan: Option<&str>) -> bool {
        let endless = Self {
            max_expiry: None,
            ..self.clone()
        };
        endless.admit(rules, client_plan, 0).is_ok()
    }
}

/// A refusal for want of rights.
pub fn forbidden(fact: impl fmt::Display) -> Error {
    refuse(Code::NotPermitted, fact, "ask somebody whose token may")
}

fn beyond() -> Error {
    forbidden(
        "the key holds more than this token may give, so only its name and labels can be changed and its end be brought nearer",
    )
}

fn exceeded(fact: impl fmt::Display, what: &str, those: &[String]) -> Error {
    if those.is_empty() {
        refuse(
            Code::BeyondCeiling,
            fact,
            format_args!("it may give no {what}; ask somebody whose token may"),
        )
    } else {
        refuse(
            Code::BeyondCeiling,
            fact,
            format_args!("it may give {}", those.join(", ")),
        )
    }
}
