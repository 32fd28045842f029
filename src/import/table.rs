//! A table with a header: full keys, or their digests. This includes tables of API gateways: AWS
//! API Gateway's key file, and Gravitee's subscriptions.

use csv::StringRecord;
use keystile_core::key::Digest;

use super::found::Found;
use super::node::same_name;
use super::{How, printable};

use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_model::rules;

mod columns;
mod state;

use columns::COLUMNS;
pub use columns::described;

/// Columns that disable or end a key: each of them counts, however many there are.
const SWITCHES: [&str; 5] = ["disabled", "enabled", "status", "expires", "not_before"];

struct Table<'h> {
    name: &'h str,
    /// For each column, the field that it holds.
    columns: Vec<Option<&'static str>>,
    header: StringRecord,
    how: &'h How,
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| unreadable(name, 1))?.clone();
    let table = Table::from_header(name, &header, how, found)?;
    let mut rows = 0_u64;
    for record in reader.records() {
        let record =
            record.map_err(|e| unreadable(name, e.position().map_or(0, csv::Position::line)))?;
        table.row(&record, found)?;
        rows += 1;
    }
    if rows == 0 {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("{name}: holds no rows"),
            "write a line for each key below the names of the columns",
        ));
    }
    Ok(())
}

fn unreadable(name: &str, line: u64) -> Error {
    refuse(
        Code::FileInvalid,
        format_args!("{name}:{line}: cannot be read as a row of the table"),
        "write UTF-8, with as many columns as the first line has",
    )
}

fn twice_named(name: &str, one: &str, other: &str) -> Error {
    let (one, other) = (printable(one, 80), printable(other, 80));
    refuse(
        Code::FileInvalid,
        format_args!("{name}:1: columns `{one}` and `{other}` have the same name"),
        "join them into one column, or rename one of them",
    )
}

/// The separator of columns: a comma or, if the header has none, `;` or a tab.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let of = |c: &&u8| header.as_bytes().contains(c);
    [b',', b';', b'\t'].iter().find(of).copied().unwrap_or(b',')
}

/// The field that each column holds.
fn columns(name: &str, header: &StringRecord, how: &How) -> Result<Vec<Option<&'static str>>> {
    let mut columns: Vec<Option<&'static str>> = vec![None; header.len()];
    for column in &COLUMNS {
        let (field, others) = (column.name, column.also);
        let is = |title: &str| match how.columns.get(field) {
            Some(wanted) => title.eq_ignore_ascii_case(wanted),
            None => same_name(title, field),
        };
        let free = |columns: &[Option<&str>], i: usize| columns.get(i) == Some(&None);
        let mut same = header.iter().enumerate().filter(|(_, title)| is(title));
        let exact = same.next().map(|(i, _)| i);
        let again: Vec<(usize, &str)> = same.collect();
        if let (Some(i), Some((_, other)), false) =
            (exact, again.first(), SWITCHES.contains(&field))
        {
            return Err(twice_named(name, header.get(i).unwrap_or_default(), other));
        }
        if exact.is_none()
            && let Some(wanted) = how.columns.get(field)
        {
            return Err(refuse(
                Code::FieldUnknown,
                format_args!("{name}:1: there is no column `{}`", printable(wanted, 80)),
                keystile_model::next!["name one of its first line with ", named("column")],
            ));
        }
        let also: Vec<usize> = (0..header.len())
            .filter(|i| {
                header
                    .get(*i)
                    .is_some_and(|t| others.iter().any(|o| same_name(t, o)))
            })
            .filter(|i| free(&columns, *i) && Some(*i) != exact)
            .collect();
        let several = SWITCHES.contains(&field);
        let most = if several {
            also.len()
        } else {
            usize::from(exact.is_none())
        };
        let again = again.into_iter().map(|(i, _)| i);
        for i in exact
            .into_iter()
            .chain(again)
            .chain(also.into_iter().take(most))
        {
            if let Some(column) = columns.get_mut(i) {
                column.get_or_insert(field);
            }
        }
    }
    Ok(columns)
}

impl<'h> Table<'h> {
    fn from_header(
        name: &'h str,
        header: &StringRecord,
        how: &'h How,
        found: &mut Found,
    ) -> Result<Self> {
        let known = |field: &str| COLUMNS.iter().any(|c| c.name == field);
        if let Some(field) = how.columns.keys().find(|f| !known(f)) {
            let fields: Vec<&str> = COLUMNS.iter().map(|c| c.name).collect();
            return Err(refuse(
                Code::FieldUnknown,
                format_args!("there is no field `{field}`"),
                format_args!("known are {}", fields.join(", ")),
            ));
        }
        let columns = columns(name, header, how)?;
        for (title, _) in header.iter().zip(&columns).filter(|(_, c)| c.is_none()) {
            found.leave(
                &format!("{name}: column `{}`", printable(title, 80)),
                "is not known; name it with `--column FIELD=HEADER`",
            );
        }
        let table = Self {
            name,
            columns,
            header: header.clone(),
            how,
        };
        if !table.has("key") && !table.has("sha256") {
            return Err(refuse(
                Code::FieldMissing,
                format_args!("{name}:1: there is neither a column `key` nor `sha256`"),
                keystile_model::next!["name it with ", named("column").value("key=HEADER")],
            ));
        }
        Ok(table)
    }

    fn has(&self, field: &str) -> bool {
        self.columns.contains(&Some(field))
    }

    /// The non-empty cells of a field.
    fn cells<'r>(
        &'r self,
        record: &'r StringRecord,
        field: &'static str,
    ) -> impl Iterator<Item = &'r str> {
        let cells = record.iter().zip(&self.columns);
        cells
            .filter(move |(cell, column)| **column == Some(field) && !cell.is_empty())
            .map(|(cell, _)| cell)
    }

    fn row(&self, record: &StringRecord, found: &mut Found) -> Result<()> {
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("{}:{line}", self.name);
        let get = |field: &'static str| self.cells(record, field).next();
        let words = |field| self.words(record, field);
        self.refuse_keys(record, &place)?;
        let Some(state) = self.state(record, &place, found) else {
            if let Some(digest) = self.digest(record) {
                found.dead(&place, digest);
            }
            return Ok(());
        };
        let Some(owner) = get("client").or(self.how.client.as_deref()) else {
            found.leave(&place, "names no client; name one with `--client`");
            if let Some(digest) = self.digest(record).filter(|_| state.disabled) {
                found.dead(&place, digest);
            }
            return Ok(());
        };
        if let Some(why) = self.disagrees(record) {
            found.leave(&place, why);
            for digest in self.digest(record).into_iter().chain(self.of_key(record)) {
                found.dead(&place, digest);
            }
            return Ok(());
        }
        let client = found.client(owner);
        let scopes: Vec<String> = words("scopes")
            .iter()
            .filter_map(|s| found.scope(s, &place))
            .collect();
        let line = match (get("sha256"), get("key")) {
            (Some(hex), _) => match rules::hex_digest(hex) {
                Some(digest) => found.key(&place, &client, Digest(digest.0), self.how),
                None => {
                    found.leave(&place, "`sha256` is not 64 hexadecimal digits");
                    None
                }
            },
            (None, Some(key)) => found.plain_key(&place, &client, key, self.how),
            (None, None) => {
                found.leave(&place, "holds neither a key nor a digest");
                None
            }
        };
        let text = |field: &'static str| get(field).unwrap_or_default().to_owned();
        if let Some(line) = line {
            line.name = text("name");
            if let Some(environment) = get("environment") {
                environment.clone_into(&mut line.environment);
            }
            line.kind = text("type");
            line.scopes = scopes;
            line.plan = text("plan");
            line.limits = words("limits");
            line.expires = state.expires;
            line.not_before = state.not_before;
            line.cidrs = words("cidrs");
            line.deny_cidrs = words("deny_cidrs");
            line.origins = words("origins");
            line.certificates = words("certificates");
            line.disabled = state.disabled;
        }
        Ok(())
    }

    fn words(&self, record: &StringRecord, field: &'static str) -> Vec<String> {
        let cell = self.cells(record, field).next().unwrap_or_default();
        let split = cell.split([' ', ';', ',']);
        split.filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }

    /// Refuses a cell in which a key stands where none can: later, messages would hold it.
    fn refuse_keys(&self, record: &StringRecord, place: &str) -> Result<()> {
        const NONE: [&str; 7] = [
            "environment",
            "type",
            "limits",
            "cidrs",
            "deny_cidrs",
            "expires",
            "not_before",
        ];
        let holds = |field: &&&'static str| self.words(record, field).iter().any(|w| is_key(w, 1));
        let field = NONE.iter().find(holds).copied();
        let plan = self.words(record, "plan").iter().any(|w| is_key(w, 6));
        match field.or(plan.then_some("plan")) {
            None => Ok(()),
            Some(field) => Err(refuse(
                Code::InvalidValue,
                format_args!("{place}: `{field}` holds what may be a key"),
                keystile_model::next!["look at the columns, and name each with ", named("column")],
            )
            .field(field)),
        }
    }

    /// Why a row is left out that has both a key and a digest.
    fn disagrees(&self, record: &StringRecord) -> Option<&'static str> {
        let (key, hex) = (self.of_key(record)?, self.cells(record, "sha256").next()?);
        let digest = rules::hex_digest(hex)?;
        (digest.0 != key.0).then_some("`sha256` is the digest of another key than `key`")
    }

    fn of_key(&self, record: &StringRecord) -> Option<Digest> {
        let key = self.cells(record, "key").next()?;
        Some(Digest::of_foreign(key.as_bytes()))
    }

    fn digest(&self, record: &StringRecord) -> Option<Digest> {
        match self.cells(record, "sha256").next() {
            Some(hex) => rules::hex_digest(hex).map(|digest| Digest(digest.0)),
            None => self.of_key(record),
        }
    }
}

/// Whether a word may be a key: long, of letters and at least some digits.
fn is_key(word: &str, digits: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
    word.len() >= 16
        && word.bytes().all(plain)
        && count(u8::is_ascii_alphabetic) >= 4
        && count(u8::is_ascii_digit) >= digits
}
