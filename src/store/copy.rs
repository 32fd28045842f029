//! Copying everything in a store into an empty one, of the same kind or the other.
//!
//! Rows are copied as they are, table by table, and secrets sealed anew. A table or column that is
//! not listed here would be lost: a test compares the lists with the schemas.

use keystile_model::error::Result;

use crate::rows::{self, Values};
use crate::sql::postgres::Part;
use crate::sql::{Connection, Kind, Row, Value, params};
use crate::{Store, Tx};

/// A table, and its columns in the order in which they are read and written.
struct Table {
    name: &'static str,
    /// Names with the kind of each: `i` a number, `b` true or false, `t` a text, `x` bytes.
    columns: &'static str,
    /// The columns that order its rows.
    order: &'static str,
    /// The column with a secret and the column that names its row, if it has one.
    secret: Option<(&'static str, &'static str)>,
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
    secret: (&'static str, &'static str),
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
const META: Table = with_secret(
    "meta",
    "one",
    ("audit_secret", ""),
    "one i, store x, version i, issued_at i, audit_seq i, audit_hash x, audit_secret x, audit_start i,
     audit_start_hash x, audit_start_tag x, timeline x, began i, base x",
);

/// The other tables of a store; one that another refers to comes first.
const STORE: [Table; 15] = [
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
        ("secret", "kid"),
        "kid t, secret x, state t, created i, retired i",
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
        ("secret", "name"),
        "number i, name t, url t, secret x, events t, cursor i, created i",
    ),
    table("message", "webhook, seq", "webhook i, seq i, failures i, next i"),
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
        ("secret", "node"),
        "node t, secret x, enrolled i, revoked i",
    ),
    table("lost_key", "id", "id i, client t, revoked b"),
];

/// The tables of usage.
const USAGE: [Table; 16] = [
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
const NUMBERED: [&str; 4] = ["source", "route", "outcome", "key"];

/// How far a copy is: the table, and how many of its rows were copied.
pub type Progress<'p> = &'p mut dyn FnMut(&str, u64);

impl Store {
    /// Puts everything that is in `from` into this store, which is being made and empty.
    ///
    /// # Errors
    /// Those of either store.
    pub fn copy_from(&mut self, from: &mut Self, progress: Progress<'_>) -> Result<()> {
        from.read(|tx| {
            self.copied(tx, &META, progress)?;
            for table in &STORE {
                self.copied(tx, table, progress)?;
            }
            self.numbers(tx)
        })?;
        if !from.has_usage() {
            return Ok(());
        }
        from.with_made_usage(|_, usage| {
            usage.read(|tx| {
                match self.db.server() {
                    // In the same transaction.
                    Some(server) => {
                        let address = server.address();
                        let to = |part| {
                            let schema = address.schema(part);
                            self.db.batch(&format!("SET LOCAL search_path TO {schema}"))
                        };
                        to(Part::Usage)?;
                        fill(&tx.tx, &self.db, progress)?;
                        for table in NUMBERED {
                            self.db.batch(&format!(
                                "SELECT setval(pg_get_serial_sequence('{table}', 'number'),
                                   (SELECT max(number) FROM {table})) FROM {table} LIMIT 1"
                            ))?;
                        }
                        to(Part::Store)
                    }
                    None => self
                        .with_made_usage(|_, mine| mine.write(|to| fill(&tx.tx, &to.tx, progress))),
                }
            })
        })
    }

    fn copied(&self, from: &Tx<'_>, table: &Table, progress: Progress<'_>) -> Result<()> {
        let (at, named) = table.places();
        let seal = self.seal.as_deref();
        copy(&from.tx, &self.db, table, progress, |values| {
            let Some(secret) = at else { return Ok(()) };
            let name = match named.and_then(|n| values.get(n)) {
                Some(Value::Text(name)) => name.clone().into_owned(),
                _ => String::new(),
            };
            let place = match name.as_str() {
                "" => format!("{}.audit_secret", table.name),
                name => format!("{}.secret {name}", table.name),
            };
            if let Some(Value::Bytes(kept)) = values.get_mut(secret)
                && !kept.is_empty()
            {
                let open = from.revealed(&place, kept.to_vec())?;
                *kept = match seal {
                    Some(seal) => seal.close(&place, &open)?.into(),
                    None => open.to_vec().into(),
                };
            }
            Ok(())
        })
    }

    /// The last numbers that were given to clients and the like, even to those that are gone.
    fn numbers(&self, from: &Tx<'_>) -> Result<()> {
        let sql =
            "SELECT name, seq FROM sqlite_sequence WHERE name IN ('client', 'policy', 'webhook')";
        from.tx.each(sql, &[], |r| {
            let (name, seq): (String, i64) = (r.get(0)?, r.get(1)?);
            self.db
                .execute("DELETE FROM sqlite_sequence WHERE name = ?", params![name])?;
            self.db.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
                params![name, seq],
            )?;
            Ok(true)
        })
    }
}

/// Replaces usage.
fn fill(from: &Connection, to: &Connection, progress: Progress<'_>) -> Result<()> {
    for table in &USAGE {
        copy(from, to, table, progress, |_| Ok(()))?;
    }
    Ok(())
}

/// Replaces what is in a table; `change` may change the values of each row.
fn copy(
    from: &Connection,
    to: &Connection,
    table: &Table,
    progress: Progress<'_>,
    change: impl Fn(&mut [Value<'static>]) -> Result<()>,
) -> Result<()> {
    let columns = table.columns();
    let names: Vec<String> = columns
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let (name, names) = (table.name, names.join(", "));
    let rows = format!("({})", vec!["#"; columns.len()].join(", "));
    let head = match name {
        // Made with the store: everything of it but its data key is another one's.
        "meta" => return copy_meta(from, to, &names, &change),
        _ => format!("INSERT INTO {name} ({names}) VALUES "),
    };
    to.execute(&format!("DELETE FROM {name}"), &[])?;
    let insert = rows::Sql {
        head: &head,
        shared: 0,
        row: &rows,
        tail: "",
    };
    let (mut some, mut copied) = (Vec::new(), 0);
    let sql = format!("SELECT {names} FROM {name} ORDER BY {}", table.order);
    from.each(&sql, &[], |r| {
        let mut values = values(r, &columns)?;
        change(&mut values)?;
        some.push(values);
        copied += 1;
        if some.len() == 16 * rows::MANY {
            write(to, &insert, &mut some)?;
            progress(name, copied);
        }
        Ok(true)
    })?;
    write(to, &insert, &mut some)?;
    progress(name, copied);
    Ok(())
}

/// Writes rows, and forgets them.
fn write(
    to: &Connection,
    insert: &rows::Sql<'_>,
    some: &mut Vec<Vec<Value<'static>>>,
) -> Result<()> {
    rows::write(
        to,
        insert,
        some,
        |_| {},
        |v: &mut Values<'_>, row| row.iter().for_each(|value| v.give(value.clone())),
    )?;
    some.clear();
    Ok(())
}

fn copy_meta(
    from: &Connection,
    to: &Connection,
    names: &str,
    change: &impl Fn(&mut [Value<'static>]) -> Result<()>,
) -> Result<()> {
    let columns = META.columns();
    let mut values = from.one(&format!("SELECT {names} FROM meta"), &[], |r| {
        values(r, &columns)
    })?;
    change(&mut values)?;
    let set: Vec<String> = columns
        .iter()
        .map(|(name, _)| format!("{name} = ?"))
        .collect();
    to.execute(&format!("UPDATE meta SET {}", set.join(", ")), &values)?;
    Ok(())
}

fn values(row: &Row<'_>, columns: &[(&str, Kind)]) -> Result<Vec<Value<'static>>> {
    let read = |(at, (_, kind)): (usize, &(&str, Kind))| {
        let value = match kind {
            Kind::Integer => row.get::<Option<i64>>(at)?.map(Value::Integer),
            Kind::Boolean => row.get::<Option<bool>>(at)?.map(Value::Boolean),
            Kind::Text => row.get::<Option<String>>(at)?.map(Value::from),
            Kind::Bytes => row.get::<Option<Vec<u8>>>(at)?.map(Value::from),
        };
        Ok(value.unwrap_or(Value::Null(*kind)))
    };
    columns.iter().enumerate().map(read).collect()
}

impl Table {
    /// Its columns and their kinds.
    fn columns(&self) -> Vec<(&'static str, Kind)> {
        let one = |column: &'static str| {
            let (name, kind) = column.trim().split_once(' ')?;
            let kind = match kind {
                "i" => Kind::Integer,
                "b" => Kind::Boolean,
                "t" => Kind::Text,
                _ => Kind::Bytes,
            };
            Some((name, kind))
        };
        self.columns.split(',').filter_map(one).collect()
    }

    /// Where its secret stands, and the name of its row.
    fn places(&self) -> (Option<usize>, Option<usize>) {
        let columns = self.columns();
        let at = |wanted: &str| columns.iter().position(|(name, _)| *name == wanted);
        match self.secret {
            Some((secret, name)) => (at(secret), at(name)),
            None => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The columns of every table of SQLite's schema, without what a kind of database has of its own.
    fn columns_of(scripts: &[&str]) -> BTreeMap<String, Vec<String>> {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for script in scripts {
            db.execute_batch(script).unwrap();
        }
        let sql = "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c
            WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY 1, 2";
        let mut found = BTreeMap::<String, Vec<String>>::new();
        let mut statement = db.prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let column = row.get(1).unwrap();
            found.entry(row.get(0).unwrap()).or_default().push(column);
        }
        found
    }

    fn listed<'t>(tables: impl Iterator<Item = &'t Table>) -> BTreeMap<String, Vec<String>> {
        let sorted = |table: &Table| {
            let mut columns: Vec<_> = table.columns().iter().map(|c| c.0.to_owned()).collect();
            columns.sort();
            (table.name.to_owned(), columns)
        };
        tables.map(sorted).collect()
    }

    #[test]
    fn every_table_and_column_is_copied() {
        let store = STORE.iter().chain([&META]);
        assert_eq!(listed(store), columns_of(crate::SCRIPTS.sqlite));
        let usage = USAGE.iter();
        assert_eq!(listed(usage), columns_of(crate::usage::SCRIPTS.sqlite));
    }
}
