//! Copying everything in a store into an empty one, of the same kind or the other.
//!
//! Rows are copied as they are, table by table, and secrets sealed anew. A table or column that is
//! not listed here would be lost: a test compares the lists with the schemas.

use std::collections::BTreeMap;

use keystile_model::error::Result;

mod tables;

use crate::rows::{self, Values};
use crate::sql::postgres::Part;
use crate::sql::{Database, SqlKind, SqlRow, Value, params};
use crate::{SCRIPTS, Store, THE_STORE, Tx, schema, usage};
use tables::{MARK, META, NUMBERED, STORE, Table, USAGE};

/// How far a copy is: the table, and how many of its rows were copied.
pub type CopyProgress<'p> = &'p mut dyn FnMut(&str, u64);

impl Store {
    /// Puts everything that is in `from` into this store, which is being made and empty.
    ///
    /// # Errors
    /// Those of either store; if `from` has a newer schema, parts of which this process does not know.
    pub fn copy_from(&mut self, from: &mut Self, progress: CopyProgress<'_>) -> Result<()> {
        from.read(|tx| {
            schema::is_all_known(&tx.tx, THE_STORE, &SCRIPTS)?;
            self.copied(tx, &META, progress)?;
            for table in &STORE {
                self.copied(tx, table, progress)?;
            }
            if self.db.server().is_some() && tx.is_shared() {
                self.copied(tx, &MARK, progress)?;
            }
            self.numbers(tx)
        })?;
        if !from.has_usage() {
            return Ok(());
        }
        from.with_made_usage(|_, usage| {
            usage.read(|tx| {
                schema::is_all_known(&tx.tx, usage::USAGE, &usage::SCRIPTS)?;
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
                                   greatest(max(number), 1), max(number) > 0)
                                 FROM {table} HAVING max(number) IS NOT NULL"
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

    /// All rows but those of the master key, by table, with open secrets: for tests.
    #[doc(hidden)]
    pub fn dump(&mut self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut dump = BTreeMap::new();
        self.read(|tx| {
            for table in [&META].into_iter().chain(&STORE) {
                let rows = rows_of(&tx.tx, table, |values| open(tx, table, values))?;
                dump.insert(table.name.to_owned(), rows);
            }
            Ok(())
        })?;
        self.with_made_usage(|_, usage| {
            usage.read(|tx| {
                for table in &USAGE {
                    let rows = rows_of(&tx.tx, table, |_| Ok(()))?;
                    dump.insert(format!("usage.{}", table.name), rows);
                }
                Ok(())
            })
        })?;
        Ok(dump)
    }

    fn copied(&self, from: &Tx<'_>, table: &Table, progress: CopyProgress<'_>) -> Result<()> {
        copy(&from.tx, &self.db, table, progress, |values| {
            open(from, table, values)?;
            let place = table.place(values);
            if let (Some(seal), Some(secret)) = (&self.seal, table.secret(values)) {
                *secret = seal.close(&place, secret)?.into();
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

/// Opens the secret of a row, if it has one.
fn open(tx: &Tx<'_>, table: &Table, values: &mut [Value<'static>]) -> Result<()> {
    let place = table.place(values);
    if let Some(secret) = table.secret(values) {
        *secret = tx.revealed(&place, secret.to_vec())?.to_vec().into();
    }
    Ok(())
}

fn rows_of(
    db: &Database,
    table: &Table,
    open: impl Fn(&mut [Value<'static>]) -> Result<()>,
) -> Result<Vec<String>> {
    let columns = table.columns();
    let names: Vec<String> = columns.iter().map(|(n, _)| format!("\"{n}\"")).collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}",
        names.join(", "),
        table.name,
        table.order
    );
    db.all(&sql, &[], |r| {
        let mut values = values(r, &columns)?;
        open(&mut values)?;
        Ok(format!("{values:?}"))
    })
}

/// Replaces usage.
fn fill(from: &Database, to: &Database, progress: CopyProgress<'_>) -> Result<()> {
    for table in &USAGE {
        copy(from, to, table, progress, |_| Ok(()))?;
    }
    Ok(())
}

/// Replaces what is in a table; `change` may change the values of each row.
fn copy(
    from: &Database,
    to: &Database,
    table: &Table,
    progress: CopyProgress<'_>,
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
fn write(to: &Database, insert: &rows::Sql<'_>, some: &mut Vec<Vec<Value<'static>>>) -> Result<()> {
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
    from: &Database,
    to: &Database,
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

fn values(row: &SqlRow<'_>, columns: &[(&str, SqlKind)]) -> Result<Vec<Value<'static>>> {
    let read = |(at, (_, kind)): (usize, &(&str, SqlKind))| {
        let value = match kind {
            SqlKind::Integer => row.get::<Option<i64>>(at)?.map(Value::Integer),
            SqlKind::Boolean => row.get::<Option<bool>>(at)?.map(Value::Boolean),
            SqlKind::Text => row.get::<Option<String>>(at)?.map(Value::from),
            SqlKind::Bytes => row.get::<Option<Vec<u8>>>(at)?.map(Value::from),
        };
        Ok(value.unwrap_or(Value::Null(*kind)))
    };
    columns.iter().enumerate().map(read).collect()
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
