//! The next step, as a value: words that hold everywhere, operations and fields, which every
//! surface calls by the name that it has there.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::redaction::redacted;

/// What can be done about a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Next {
    pub(super) pieces: Vec<Piece>,
}

impl Next {
    /// The same without full keys: a name that was sent may be one.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        for piece in &mut self.pieces {
            let text = match piece {
                Piece::Say { say } => Some(say),
                Piece::Do(step) => step.of.as_mut(),
                Piece::Field(named) => named.value.as_mut(),
            };
            if let Some(text) = text {
                *text = redacted(text);
            }
        }
        self
    }
}

/// A part of a next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NextPart)]
#[serde(untagged)]
pub enum Piece {
    /// Words that hold everywhere.
    Say {
        /// They.
        say: String,
    },
    /// An operation.
    Do(ActStep),
    /// A field.
    Field(NextField),
}

/// An operation, and what it is done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NextOperation)]
pub struct ActStep {
    /// The operation.
    #[serde(rename = "do")]
    pub act: Act,
    /// A name or an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// A field, and what to write into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NextField)]
pub struct NextField {
    /// As the API calls it.
    #[schema(value_type = String)]
    pub field: Cow<'static, str>,
    /// What to write into it; none if only the field is spoken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A field by its name in the API.
pub fn named(field: impl Into<Cow<'static, str>>) -> NextField {
    NextField {
        field: field.into(),
        value: None,
    }
}

impl NextField {
    /// The field, with what to write into it.
    #[must_use]
    pub fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(value.to_string());
        self
    }
}

macro_rules! acts {
    ($($name:ident $word:tt $command:tt, $route:tt, $page:tt;)*) => {
        /// An operation that a next step can lead to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[schema(as = OperationName)]
        pub enum Act {
            $(
                #[doc = $command]
                #[serde(rename = $word)]
                $name,
            )*
        }

        impl Act {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the API: `key.list`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Its command, behind the program's name.
            pub fn command(self) -> &'static str {
                match self { $(Self::$name => $command,)* }
            }

            /// Method and path of its route; empty for what only a command does.
            pub fn route(self) -> &'static str {
                match self { $(Self::$name => $route,)* }
            }

            /// Where the console does it; empty for what only a command does.
            pub fn page(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

acts! {
    ClientCreate "client.create" "client create", "POST /v1/clients", "New client";
    ClientList "client.list" "client list", "GET /v1/clients", "Clients";
    ClientUpdate "client.update" "client update", "PATCH /v1/clients/{name}", "Clients";
    KeyList "key.list" "key list", "GET /v1/keys", "Keys";
    KeyIssue "key.issue" "key issue", "POST /v1/keys", "Issue a key";
    KeyUpdate "key.update" "key update", "PATCH /v1/keys/{id}", "Keys";
    KeyRotate "key.rotate" "key rotate", "POST /v1/keys/{id}/rotate", "Rotate";
    TokenCreate "token.create" "token create", "POST /v1/tokens", "Tokens";
    TokenList "token.list" "token list", "GET /v1/tokens", "Tokens";
    TokenRevoke "token.revoke" "token revoke", "DELETE /v1/tokens/{id}", "Tokens";
    WebhookList "webhook.list" "webhook list", "GET /v1/webhooks", "Webhooks";
    SessionList "session.list" "session list", "GET /v1/sessions", "Who is signed in";
    NodeList "node.list" "node list", "GET /v1/nodes", "Fleet";
    NodeEnroll "node.enroll" "node enroll", "POST /v1/nodes", "";
    FleetList "fleet.list" "fleet", "GET /v1/fleet", "Fleet";
    SigningKeyList "signing-key.list" "signing-key list", "GET /v1/signing-keys", "Settings";
    SigningKeyCreate "signing-key.create" "signing-key create", "POST /v1/signing-keys", "Settings";
    SigningKeyRotate "signing-key.rotate" "signing-key rotate", "POST /v1/signing-keys/rotate", "Settings";
    PolicyCheck "policy.check" "policy check", "POST /v1/policy/check", "Check and compare";
    PolicyTest "policy.test" "policy test", "", "";
    PolicyApply "policy.apply" "policy apply", "PUT /v1/policy", "Edit the policy";
    PolicyHistory "policy.history" "policy history", "GET /v1/policy/revisions", "History";
    PlanList "plan.list" "plan list", "GET /v1/plans", "Policy";
    KeysetRenew "keyset.renew" "keyset renew", "POST /v1/keyset/renew", "";
    KeysetVersions "keyset.versions" "keyset versions", "GET /v1/keyset/versions", "";
    AuditList "audit.list" "audit list", "GET /v1/audit", "Audit";
    AuditExport "audit.export" "audit export", "GET /v1/audit/export", "";
    AuditVerify "audit.verify" "audit verify", "GET /v1/audit/verify", "Audit";
    Restore "store.restore" "restore", "", "";
    BackupMake "backup.make" "backup", "POST /v1/backups", "";
    Default "policy.default" "policy show --default", "", "";
    Init "init" "init", "", "";
    Serve "serve" "serve", "", "";
}

impl Act {
    /// Done to something.
    pub fn of(self, what: impl fmt::Display) -> ActStep {
        ActStep {
            act: self,
            of: Some(what.to_string()),
        }
    }
}

impl Next {
    /// No next step: the fact says it all.
    pub const NONE: Self = Self { pieces: Vec::new() };

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// A next step of several parts: words, operations, fields.
#[macro_export]
macro_rules! next {
    ($($piece:expr),+ $(,)?) => {
        $crate::refusal::Next::from(vec![$($crate::refusal::Piece::from($piece)),+])
    };
}

impl From<Vec<Piece>> for Next {
    fn from(pieces: Vec<Piece>) -> Self {
        Self { pieces }
    }
}

impl<T: Into<Piece>> From<T> for Next {
    fn from(piece: T) -> Self {
        let piece = piece.into();
        match &piece {
            Piece::Say { say } if say.is_empty() => Self::NONE,
            _ => Self {
                pieces: vec![piece],
            },
        }
    }
}

impl From<&str> for Piece {
    fn from(say: &str) -> Self {
        Self::Say {
            say: say.to_owned(),
        }
    }
}

impl From<String> for Piece {
    fn from(say: String) -> Self {
        Self::Say { say }
    }
}

impl From<fmt::Arguments<'_>> for Piece {
    fn from(say: fmt::Arguments<'_>) -> Self {
        Self::Say {
            say: say.to_string(),
        }
    }
}

impl From<Act> for Piece {
    fn from(act: Act) -> Self {
        Self::Do(ActStep { act, of: None })
    }
}

impl From<ActStep> for Piece {
    fn from(step: ActStep) -> Self {
        Self::Do(step)
    }
}

impl From<NextField> for Piece {
    fn from(named: NextField) -> Self {
        Self::Field(named)
    }
}
