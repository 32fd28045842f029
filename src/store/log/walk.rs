//! Searching the log, with a limit on the records examined per page.

use super::{COLUMNS, Query, read};
use crate::sql::{Value, params};
use crate::{Tx, column};
use keystile_model::audit::{Outcome, Record};
use keystile_model::error::Result;
use keystile_model::room::Room;

/// The most texts whose records are merged: SQLite merges up to 500, and more takes longer than
/// examining all records.
const MERGED: usize = 100;

/// Records that were found.
#[derive(Debug, Default)]
pub struct FoundRecords {
    /// The matching records.
    pub records: Vec<Record>,
    /// The number of the record after which the search goes on; none if there are no more.
    pub next: Option<u64>,
}

/// Conditions and their arguments.
#[derive(Default)]
struct Terms {
    sql: Vec<&'static str>,
    values: Vec<Value<'static>>,
}

impl Terms {
    fn and(&mut self, sql: &'static str, values: impl IntoIterator<Item = Value<'static>>) {
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

/// A column whose texts lie in a range, and an index on it.
struct Each {
    column: &'static str,
    from: String,
    to: String,
}

/// How a query is answered.
struct Plan {
    /// The condition whose index is followed.
    index: Terms,
    /// Without one: the records with each of these texts are merged.
    each: Option<Each>,
    /// The conditions that each record is checked for.
    rest: Terms,
}

impl Plan {
    /// Requires a column to equal something. Call this first for conditions that match the fewest
    /// records.
    fn equals(&mut self, sql: &'static str, value: Option<&String>) {
        let Some(value) = value else { return };
        let terms = match self.is_free() {
            true => &mut self.index,
            false => &mut self.rest,
        };
        terms.and(sql, [value.clone().into()]);
    }

    /// Requires a column to be in a range without its end; `sql` says the same.
    fn lies(&mut self, sql: &'static str, each: Each) {
        self.rest
            .and(sql, [each.from.clone().into(), each.to.clone().into()]);
        if self.is_free() {
            self.each = Some(each);
        }
    }

    /// Whether no index is followed yet.
    fn is_free(&self) -> bool {
        self.index.is_empty() && self.each.is_none()
    }
}

impl Query {
    fn plan(&self) -> Plan {
        let mut plan = Plan {
            index: Terms::default(),
            each: None,
            rest: Terms::default(),
        };
        plan.equals("subject = ?", self.subject.as_ref());
        plan.equals("client <> '' AND client = ?", self.client.as_ref());
        let prefix = self.action.as_ref().filter(|a| a.ends_with('.'));
        if prefix.is_none() {
            plan.equals("action = ?", self.action.as_ref());
        }
        match (&self.actor, self.token_users()) {
            (Some(from), Some(to)) => plan.lies(
                "\"user\" >= ? AND \"user\" < ?",
                Each {
                    column: "\"user\"",
                    from: from.clone(),
                    to,
                },
            ),
            (actor, _) => plan.equals("\"user\" = ?", actor.as_ref()),
        }
        match self.outcome {
            // Word for word the condition of the index.
            Some(Outcome::Refused) if plan.is_free() => plan.index.and("outcome = 'refused'", []),
            Some(Outcome::Refused) => plan.rest.and("outcome = 'refused'", []),
            Some(Outcome::Done) => plan.rest.and("outcome = 'done'", []),
            None => {}
        }
        if let Some(prefix) = prefix {
            plan.lies(
                "action >= ? AND action < ?",
                Each {
                    column: "action",
                    from: prefix.clone(),
                    // Actions are ASCII, so those with a prefix sort before this.
                    to: format!("{prefix}~"),
                },
            );
        }
        let rest = &mut plan.rest;
        if let Some(since) = self.since {
            rest.and("at_ms >= ?", [column::signed(since).into()]);
        }
        if let Some(until) = self.until {
            rest.and("at_ms < ?", [column::signed(until).into()]);
        }
        plan
    }
}

impl Tx<'_> {
    /// The latest matching records, latest first: as many as there is room for, examining at most
    /// `look` records.
    pub fn audit_back(
        &self,
        query: &Query,
        room: impl Into<Room>,
        look: u32,
    ) -> Result<FoundRecords> {
        self.walk(query, true, room.into(), look)
    }

    /// The same, oldest first.
    pub fn audit_forth(
        &self,
        query: &Query,
        room: impl Into<Room>,
        look: u32,
    ) -> Result<FoundRecords> {
        self.walk(query, false, room.into(), look)
    }

    fn walk(&self, query: &Query, back: bool, mut room: Room, look: u32) -> Result<FoundRecords> {
        self.write_audit()?;
        let Plan { index, each, rest } = query.plan();
        let (sql, values) = self.candidates(query, index, each, back)?;
        let wanted = format!(
            "SELECT {COLUMNS} FROM audit WHERE {} AND seq = ?",
            rest.text()
        );
        let mut found = FoundRecords::default();
        let (mut looked, mut last) = (0, None);
        self.tx.each(&sql, &values, |row| {
            if looked == look || room.is_full() {
                found.next = last;
                return Ok(false);
            }
            looked += 1;
            let seq: i64 = row.get(0)?;
            let values: Vec<_> = rest.values.iter().cloned().chain([seq.into()]).collect();
            if let Some(record) = self.tx.optional(&wanted, &values, read)? {
                if !room.takes_bytes(record.bytes()) {
                    found.next = last;
                    return Ok(false);
                }
                found.records.push(record);
            }
            last = u64::try_from(seq).ok();
            Ok(true)
        })?;
        Ok(found)
    }

    /// A query for the numbers of the records to examine, and its arguments.
    fn candidates(
        &self,
        query: &Query,
        index: Terms,
        each: Option<Each>,
        back: bool,
    ) -> Result<(String, Vec<Value<'static>>)> {
        let place = "seq > ? AND seq < ?";
        let bound = |seq: Option<u64>, other| Value::from(seq.map_or(other, column::signed));
        let bounds = [bound(query.after, -1), bound(query.before, i64::MAX)];
        let order = if back {
            "ORDER BY seq DESC"
        } else {
            "ORDER BY seq"
        };
        let texts = each.as_ref().map(|e| self.texts(e)).transpose()?;
        let (Some(each), Some(texts)) = (each, texts.filter(|t| t.len() <= MERGED)) else {
            let sql = format!(
                "SELECT seq FROM audit WHERE {} AND {place} {order}",
                index.text()
            );
            return Ok((sql, index.values.into_iter().chain(bounds).collect()));
        };
        if texts.is_empty() {
            return Ok(("SELECT seq FROM audit WHERE FALSE".to_owned(), Vec::new()));
        }
        // For each such text the records in order, merged: no more are read than are examined.
        let one = format!(
            "SELECT seq FROM audit WHERE {} = ? AND {place}",
            each.column
        );
        let sql = vec![one; texts.len()].join(" UNION ALL ");
        let values = texts
            .into_iter()
            .flat_map(|text| [text.into()].into_iter().chain(bounds.clone()));
        Ok((format!("{sql} {order}"), values.collect()))
    }

    /// The distinct values of a column of the log in a range, at most [`MERGED`] and one more; one
    /// index seek for each.
    fn texts(&self, each: &Each) -> Result<Vec<String>> {
        let column = each.column;
        let sql = format!(
            "WITH RECURSIVE found(one) AS (
               SELECT min({column}) FROM audit WHERE {column} >= ?1 AND {column} < ?2
               UNION ALL
               SELECT (SELECT min({column}) FROM audit WHERE {column} > found.one AND {column} < ?2)
               FROM found WHERE found.one IS NOT NULL
             ) SELECT one FROM found WHERE one IS NOT NULL LIMIT ?3"
        );
        let most = MERGED as i64 + 1;
        self.tx
            .all(&sql, params![each.from, each.to, most], |r| r.get(0))
    }

    /// The last records that are wanted, however many must be looked at.
    #[doc(hidden)]
    pub fn last_audit(&self, query: &Query, most: u32) -> Result<Vec<Record>> {
        let room = Room::new(most, usize::MAX);
        Ok(self.audit_back(query, room, u32::MAX)?.records)
    }
}

/// For tests.
#[doc(hidden)]
#[allow(clippy::unwrap_used)]
impl crate::Store {
    /// How the database finds the records to look at.
    pub fn audit_plan(&mut self, query: &Query) -> String {
        let (sql, values) = self
            .read(|tx| {
                let way = query.plan();
                tx.candidates(query, way.index, way.each, true)
            })
            .unwrap();
        crate::bench::plan(&self.db, &sql, &values)
    }
}
