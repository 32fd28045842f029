//! A table with a header: full keys, or their digests. This includes tables of API gateways: AWS
//! API Gateway's key file, and Gravitee's subscriptions.

use csv::StringRecord;
use keystile_core::key::Digest;

use super::found::Found;
use super::node::{flag_word, same_name};
use super::{How, moment, printable};
use keystile_model::error::{Code, Error, Result, named, refuse};
use keystile_model::rules;

/// The fields that a column can hold, and other names that its header may have.
const FIELDS: [(&str, &[&str]); 18] = [
    ("client", &["application", "application_name"]),
    ("key", &["api_key", "api_key_value"]),
    ("sha256", &[]),
    ("name", &[]),
    ("environment", &[]),
    ("type", &[]),
    ("scopes", &[]),
    ("plan", &[]),
    ("limits", &[]),
    (
        "expires",
        &[
            "expires_at",
            "expiration",
            "expiry",
            "end_date",
            "ending_at",
            "valid_until",
        ],
    ),
    ("not_before", &["start_date", "starting_at", "valid_from"]),
    ("cidrs", &[]),
    ("deny_cidrs", &[]),
    ("origins", &[]),
    ("certificates", &[]),
    (
        "disabled",
        &[
            "inactive",
            "is_inactive",
            "suspended",
            "blocked",
            "paused",
            "revoked",
            "deleted",
        ],
    ),
    ("enabled", &["active", "is_active"]),
    ("status", &["state", "subscription_status"]),
];

/// Columns that disable a key: each of them counts, however many there are.
const SWITCHES: [&str; 3] = ["disabled", "enabled", "status"];

struct Table<'h> {
    name: &'h str,
    /// For each column, the field that it holds.
    columns: Vec<Option<&'static str>>,
    how: &'h How,
}

pub fn read(name: &str, text: &str, how: &How, found: &mut Found) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| unreadable(name, 1))?.clone();
    let table = Table::of(name, &header, how, found)?;
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

/// The separator of columns: a comma or, if the header has none, `;` or a tab.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let of = |c: &&u8| header.as_bytes().contains(c);
    [b',', b';', b'\t'].iter().find(of).copied().unwrap_or(b',')
}

impl<'h> Table<'h> {
    fn of(name: &'h str, header: &StringRecord, how: &'h How, found: &mut Found) -> Result<Self> {
        let known = |field: &str| FIELDS.iter().any(|(f, _)| *f == field);
        if let Some(field) = how.columns.keys().find(|f| !known(f)) {
            let fields: Vec<&str> = FIELDS.iter().map(|(f, _)| *f).collect();
            return Err(refuse(
                Code::FieldUnknown,
                format_args!("there is no field `{field}`"),
                format_args!("known are {}", fields.join(", ")),
            ));
        }
        let mut columns: Vec<Option<&'static str>> = vec![None; header.len()];
        for (field, others) in FIELDS {
            let is = |title: &str| match how.columns.get(field) {
                Some(wanted) => title.eq_ignore_ascii_case(wanted),
                None => same_name(title, field),
            };
            let free = |columns: &[Option<&str>], i: usize| columns.get(i) == Some(&None);
            let exact = header.iter().position(is);
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
            for i in exact.into_iter().chain(also.into_iter().take(most)) {
                if let Some(column) = columns.get_mut(i) {
                    column.get_or_insert(field);
                }
            }
        }
        for (title, _) in header.iter().zip(&columns).filter(|(_, c)| c.is_none()) {
            found.leave(
                &format!("{name}: column `{}`", printable(title, 80)),
                "is none that is known; name it with `--column FIELD=HEADER`",
            );
        }
        let table = Self { name, columns, how };
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
        let words = |field: &'static str| -> Vec<String> {
            let split = get(field).unwrap_or_default().split([' ', ';', ',']);
            split.filter(|w| !w.is_empty()).map(str::to_owned).collect()
        };
        // A restriction without content must not become no restriction.
        let restrictions = ["cidrs", "deny_cidrs", "origins", "certificates"];
        let is_void = |f: &&'static str| get(f).is_some() && words(f).is_empty();
        if let Some(field) = restrictions.iter().find(|f| is_void(f)) {
            found.leave(&place, format!("`{field}` holds separators alone"));
            return Ok(());
        }
        let Some(disabled) = self.is_disabled(record, &place, found) else {
            return Ok(());
        };
        let Some(owner) = get("client").or(self.how.client.as_deref()) else {
            found.leave(&place, "names no client; name one with `--client`");
            return Ok(());
        };
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
            line.expires = time(get("expires"));
            line.not_before = time(get("not_before"));
            line.cidrs = words("cidrs");
            line.deny_cidrs = words("deny_cidrs");
            line.origins = words("origins");
            line.certificates = words("certificates");
            line.disabled = disabled;
        }
        Ok(())
    }

    /// Whether a key is disabled; `None` if it is left out.
    fn is_disabled(&self, record: &StringRecord, place: &str, found: &mut Found) -> Option<bool> {
        match self.switch(record) {
            Switch::On => Some(false),
            Switch::Off => Some(true),
            Switch::Unsaid => {
                found.note(
                    place,
                    "does not say whether it is enabled, so it is disabled",
                );
                Some(true)
            }
            Switch::Out(word) => {
                let word = printable(&word, 40);
                found.leave(place, format!("is left out: its status is `{word}`"));
                None
            }
        }
    }

    /// Whether a key is enabled: every column about that must agree.
    fn switch(&self, record: &StringRecord) -> Switch {
        let words = ["false", "no", "0", "n", "f"];
        let is_no = |cell: &str| words.contains(&cell.to_ascii_lowercase().as_str());
        let mut out = Switch::On;
        if self.cells(record, "disabled").any(|cell| !is_no(cell)) {
            out = Switch::Off;
        }
        let enabled = record.iter().zip(&self.columns);
        for (cell, _) in enabled.filter(|(_, c)| **c == Some("enabled")) {
            match flag_word(cell) {
                Some(true) => {}
                Some(false) => out = Switch::Off,
                None if cell.is_empty() => out = out.or(Switch::Unsaid),
                None => return Switch::Out(cell.to_owned()),
            }
        }
        let status = record.iter().zip(&self.columns);
        for (cell, _) in status.filter(|(_, c)| **c == Some("status")) {
            match cell.to_ascii_lowercase().as_str() {
                "accepted" | "active" | "enabled" | "approved" | "valid" | "live" | "ok" => {}
                "pending" | "paused" | "disabled" | "inactive" | "suspended" | "blocked" => {
                    out = Switch::Off;
                }
                "" => out = out.or(Switch::Unsaid),
                _ => return Switch::Out(cell.to_owned()),
            }
        }
        out
    }
}

enum Switch {
    On,
    Off,
    /// There is a column for it, but its cell is empty.
    Unsaid,
    /// A word that may mean that the key has expired.
    Out(String),
}

impl Switch {
    fn or(self, other: Self) -> Self {
        match self {
            Self::On => other,
            _ => self,
        }
    }
}

/// A time in any unit, or in the form of the command line: `90d`.
fn time(cell: Option<&str>) -> String {
    let cell = cell.unwrap_or_default();
    if cell.eq_ignore_ascii_case("never") {
        return String::new();
    }
    moment::of_text(cell).map_or_else(|| cell.to_owned(), moment::line)
}
