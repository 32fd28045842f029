//! Searching the log: so many records are looked at for one page, and no more.

use rusqlite::types::Value;
use rusqlite::{CachedStatement, OptionalExtension as _, params_from_iter};

use super::{COLUMNS, Query, read};
use crate::audit::{Outcome, Record};
use crate::error::Result;
use crate::store::{Tx, column};

/// Records that were found.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are wanted.
    pub records: Vec<Record>,
    /// The number of the record after which the search goes on; none if there are no more.
    pub next: Option<u64>,
}

/// Conditions and their arguments.
#[derive(Default)]
struct Terms {
    sql: Vec<&'static str>,
    values: Vec<Value>,
}

impl Terms {
    fn and(&mut self, sql: &'static str, values: impl IntoIterator<Item = Value>) {
        self.sql.push(sql);
        self.values.extend(values);
    }

    fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    /// As an expression.
    fn text(&self) -> String {
        match self.sql.as_slice() {
            [] => "TRUE".to_owned(),
            all => all.join(" AND "),
        }
    }
}

impl Query {
    /// The condition whose index is followed, and those that each of its records is looked at
    /// for.
    fn terms(&self) -> (Terms, Terms) {
        let (mut index, mut rest) = (Terms::default(), Terms::default());
        // Those that are met by the fewest records come first.
        let mut add = |sql, value: &Option<String>| {
            if let Some(value) = value {
                let terms = if index.is_empty() {
                    &mut index
                } else {
                    &mut rest
                };
                terms.and(sql, [value.clone().into()]);
            }
        };
        add("subject = ?", &self.subject);
        let prefix = self.action.as_ref().filter(|a| a.ends_with('.'));
        add("client <> '' AND client = ?", &self.client);
        if prefix.is_none() {
            add("action = ?", &self.action);
        }
        add("user = ?", &self.actor);
        match self.outcome {
            // Word for word the condition of the index.
            Some(Outcome::Refused) if index.is_empty() => index.and("outcome = 'refused'", []),
            Some(Outcome::Refused) => rest.and("outcome = 'refused'", []),
            Some(Outcome::Done) => rest.and("outcome = 'done'", []),
            None => {}
        }
        if let Some(prefix) = prefix.filter(|_| !index.is_empty()) {
            // Actions are ASCII, so those that begin with a text lie before its end in `~`.
            let bounds = [prefix.clone().into(), format!("{prefix}~").into()];
            rest.and("action >= ? AND action < ?", bounds);
        }
        if let Some(since) = self.since {
            rest.and("at_ms >= ?", [column::signed(since).into()]);
        }
        if let Some(until) = self.until {
            rest.and("at_ms < ?", [column::signed(until).into()]);
        }
        (index, rest)
    }
}

impl Tx<'_> {
    /// The last records that are wanted, the latest first: `most` of them at most, and `look`
    /// records are looked at for them at most.
    pub fn audit_back(&self, query: &Query, most: u32, look: u32) -> Result<Found> {
        self.walk(query, true, most, look)
    }

    /// The same, the oldest first.
    pub fn audit_forth(&self, query: &Query, most: u32, look: u32) -> Result<Found> {
        self.walk(query, false, most, look)
    }

    fn walk(&self, query: &Query, back: bool, most: u32, look: u32) -> Result<Found> {
        self.write_audit()?;
        let (index, rest) = query.terms();
        let (sql, values) = self.candidates(query, index, back)?;
        let mut candidates = self.tx.prepare_cached(&sql)?;
        let mut candidates = candidates.query(params_from_iter(values))?;
        let sql = format!(
            "SELECT {COLUMNS} FROM audit WHERE {} AND seq = ?",
            rest.text()
        );
        let mut wanted = self.tx.prepare_cached(&sql)?;
        let mut found = Found::default();
        let (mut looked, mut last) = (0, None);
        while let Some(row) = candidates.next()? {
            if looked == look || found.records.len() >= most as usize {
                found.next = last;
                break;
            }
            looked += 1;
            let seq: i64 = row.get(0)?;
            last = u64::try_from(seq).ok();
            found.records.extend(record(&mut wanted, &rest, seq)?);
        }
        Ok(found)
    }

    /// A query for the numbers of the records to look at, and its arguments.
    fn candidates(&self, query: &Query, index: Terms, back: bool) -> Result<(String, Vec<Value>)> {
        let place = "seq > ? AND seq < ?";
        let bound = |seq: Option<u64>, other| Value::from(seq.map_or(other, column::signed));
        let bounds = [bound(query.after, -1), bound(query.before, i64::MAX)];
        let order = if back {
            "ORDER BY seq DESC"
        } else {
            "ORDER BY seq"
        };
        let prefix = query.action.as_ref().filter(|a| a.ends_with('.'));
        let (Some(prefix), true) = (prefix, index.is_empty()) else {
            let sql = format!(
                "SELECT seq FROM audit WHERE {} AND {place} {order}",
                index.text()
            );
            return Ok((sql, index.values.into_iter().chain(bounds).collect()));
        };
        // Of each such action the records in order, merged: no more is read than is looked at.
        let actions = self.actions(prefix)?;
        if actions.is_empty() {
            return Ok(("SELECT seq FROM audit WHERE FALSE".to_owned(), Vec::new()));
        }
        let each = format!("SELECT seq FROM audit WHERE action = ? AND {place}");
        let sql = vec![each; actions.len()].join(" UNION ALL ");
        let values = actions
            .into_iter()
            .flat_map(|action| [action.into()].into_iter().chain(bounds.clone()));
        Ok((format!("{sql} {order}"), values.collect()))
    }

    /// The actions in the log that begin so; a jump in the index for each.
    fn actions(&self, prefix: &str) -> Result<Vec<String>> {
        let mut statement = self.tx.prepare_cached(
            "WITH RECURSIVE found(action) AS (
               SELECT min(action) FROM audit WHERE action >= ?1 AND action < ?2
               UNION ALL
               SELECT (SELECT min(action) FROM audit WHERE action > found.action AND action < ?2)
               FROM found WHERE found.action IS NOT NULL
             ) SELECT action FROM found WHERE action IS NOT NULL",
        )?;
        let rows = statement.query_map([prefix, &format!("{prefix}~")], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The last records that are wanted, however many must be looked at.
    #[cfg(test)]
    pub fn last_audit(&self, query: &Query, most: u32) -> Result<Vec<Record>> {
        Ok(self.audit_back(query, most, u32::MAX)?.records)
    }
}

fn record(wanted: &mut CachedStatement<'_>, rest: &Terms, seq: i64) -> Result<Option<Record>> {
    let values = rest.values.iter().cloned().chain([seq.into()]);
    let record = wanted.query_row(params_from_iter(values), read).optional();
    Ok(record?)
}

#[cfg(test)]
impl crate::store::Store {
    /// How the database finds the records to look at.
    pub fn audit_plan(&mut self, query: &Query) -> String {
        let (sql, values) = self
            .read(|tx| tx.candidates(query, query.terms().0, true))
            .unwrap();
        let values: Vec<&dyn rusqlite::ToSql> = values.iter().map(|v| v as _).collect();
        crate::store::bench::plan(&self.db, &sql, &values)
    }
}
