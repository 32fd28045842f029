//! The tables of a store, as they are copied.

use std::borrow::Cow;

use crate::sql::{SqlKind, Value};

/// A table, and its columns in the order in which they are read and written.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Names with the kind of each: `i` a number, `b` true or false, `t` a text, `x` bytes.
    columns: &'static str,
    /// The columns that order its rows.
    pub(super) order: &'static str,
    /// The column with a secret, if it has one, and the columns that name its place.
    secret: Option<(&'static str, &'static [&'static str])>,
}

const fn table(name: &'static str, order: &'static str, columns: &'static str) -> Table {
    Table {
        name,
        columns,
        order,
        secret: None,
    }
}

const fn with_secret(
    name: &'static str,
    order: &'static str,
    secret: (&'static str, &'static [&'static str]),
    columns: &'static str,
) -> Table {
    Table {
        name,
        columns,
        order,
        secret: Some(secret),
    }
}

/// What a store has of itself, but for the master key.
pub(super) const META: Table = with_secret(
    "meta",
    "one",
    ("audit_secret", &[]),
    "one i, store x, version i, issued_at i, audit_seq i, audit_hash x, audit_secret x, audit_start i,
     audit_start_hash x, audit_start_tag x, timeline x, began i, base x",
);

/// What servers of a store in a database note for one another; a file's server notes it beside it.
pub(super) const MARK: Table = table("mark", "name", "name t, text t");

/// The other tables of a store; one that another refers to comes first.
pub(super) const STORE: [Table; 16] = [
    table(
        "client",
        "number",
        "number i, name t, plan t, description t, labels t, created i, deleted i, revision i, changed i",
    ),
    table(
        "key",
        "id",
        "id i, client i, digest x, imported b, name t, environment t, publishable b, scopes t, plan t,
         limits t, expires i, not_before i, overlap_end i, disabled b, revoked i, reason t, lineage i,
         rotated_from i, allow t, deny t, origins t, labels t, created i, changed i, rotate_every i,
         grace i, certificates t",
    ),
    table("policy", "revision", "revision i, text t, applied i"),
    with_secret(
        "signing_key",
        "created, rowid",
        ("secret", &["kid", "algorithm"]),
        "kid t, algorithm t, secret x, state t, created i, retired i",
    ),
    table(
        "audit",
        "seq",
        "seq i, at_ms i, uid i, user t, host t, action t, subject t, before t, after t, prev x, hash x,
         format i, address t, request t, client t, outcome t, reason t",
    ),
    table("audit_day", "day", "day i, done i, refused i"),
    table(
        "token",
        "id",
        "id i, digest x, name t, role t, client i, scopes t, plans t, max_expiry i, max_keys i,
         networks t, created i, created_by t, expires i, last_used i, revoked i, invitation b",
    ),
    table(
        "replay",
        "caller, key",
        "caller t, key t, request x, status i, body x, created i",
    ),
    with_secret(
        "webhook",
        "number",
        ("secret", &["name"]),
        "number i, name t, url t, secret x, events t, cursor i, created i, paused i",
    ),
    table("message", "webhook, seq", "webhook i, seq i, failures i, next i"),
    table(
        "delivery",
        "webhook, number",
        "webhook i, number i, seq i, action t, attempt i, at i, took_ms i, status i, failure t",
    ),
    table("warning", "key", "key i, deadline i, days i"),
    table("handover", "key", "key i, since i, fetched i"),
    table(
        "envoy",
        "node",
        "node t, cluster t, version t, address t, gone i, proved b, processes t",
    ),
    with_secret(
        "node",
        "node",
        ("secret", &["node"]),
        "node t, secret x, enrolled i, revoked i",
    ),
    table("lost_key", "id", "id i, client t, revoked b"),
];

/// The tables of usage.
pub(super) const USAGE: [Table; 16] = [
    table("about", "one", "one i, began i, settings t"),
    table("source", "number", "number i, node t, epoch i, seen i"),
    table(
        "vm",
        "source, vm, claimed",
        "source i, vm i, claimed i, seq i, before i, seen i",
    ),
    table("route", "number", "number i, name t"),
    table("outcome", "number", "number i, name t"),
    table(
        "key",
        "number",
        "number i, id i, client i, first_used i, last_used i, first_address t, last_address t, agent t",
    ),
    counts("client_minute", "t i, client i, route i, outcome i, n i"),
    counts("client_hour", "t i, client i, route i, outcome i, n i"),
    counts("client_day", "t i, client i, route i, outcome i, n i"),
    counts(
        "key_minute",
        "t i, client i, key i, route i, outcome i, n i",
    ),
    counts("key_hour", "t i, client i, key i, route i, outcome i, n i"),
    counts("key_day", "t i, client i, key i, route i, outcome i, n i"),
    table("lost", "t", "t i, dropped i, late i"),
    table(
        "network",
        "key, network",
        "key i, network t, first i, last i",
    ),
    table(
        "quota",
        "lineage, \"window\", source",
        "lineage i, window i, source i, n i",
    ),
    table(
        "anomaly",
        "day, key, rule",
        "day i, key i, rule t, at i, detail t, told b",
    ),
];

const fn counts(name: &'static str, columns: &'static str) -> Table {
    table(name, "t", columns)
}

/// Tables whose rows are numbered by the database, with the column.
pub(super) const NUMBERED: [&str; 4] = ["source", "route", "outcome", "key"];

impl Table {
    /// Its columns and their kinds.
    pub(super) fn columns(&self) -> Vec<(&'static str, SqlKind)> {
        let one = |column: &'static str| {
            let (name, kind) = column.trim().split_once(' ')?;
            let kind = match kind {
                "i" => SqlKind::Integer,
                "b" => SqlKind::Boolean,
                "t" => SqlKind::Text,
                _ => SqlKind::Bytes,
            };
            Some((name, kind))
        };
        self.columns.split(',').filter_map(one).collect()
    }

    fn at(&self, wanted: &str) -> Option<usize> {
        self.columns().iter().position(|(name, _)| *name == wanted)
    }

    /// Where the secret of a row is kept, as the queries for it name the place.
    pub(super) fn place(&self, values: &[Value<'_>]) -> String {
        let Some((secret, names)) = self.secret else {
            return String::new();
        };
        let mut place = format!("{}.{secret}", self.name);
        for name in names {
            if let Some(Value::Text(name)) = self.at(name).and_then(|at| values.get(at)) {
                place.push(' ');
                place.push_str(name);
            }
        }
        place
    }

    /// The secret of a row, unless it has none.
    pub(super) fn secret<'r>(
        &self,
        values: &'r mut [Value<'static>],
    ) -> Option<&'r mut Cow<'static, [u8]>> {
        match values.get_mut(self.at(self.secret?.0)?)? {
            Value::Bytes(secret) if !secret.is_empty() => Some(secret),
            _ => None,
        }
    }
}
