//! An audit log made long: records of updates, every key once and then again, chained and
//! written as the companion does it, but by a writer of our own. That the companion finds
//! the chain whole shows that they are alike.

use std::fmt::Write as _;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use super::support::Home;

/// Records of one transaction, and of one statement.
const BATCH: i64 = 250_000;
const MANY: usize = 50;
/// Values of a record that differ.
const OWN: usize = 7;

const HOST: &str = "bench";
const USER: &str = "token pipeline";
const ADDRESS: &str = "192.0.2.7";
const ACTION: &str = "key.update";
const CLIENT: &str = "acme";

/// The number that an id's ten digits spell, by which the store sorts.
pub fn number(id: &str) -> u64 {
    id.bytes().fold(0, |n, b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'A'..=b'Z' => b - b'A' + 10,
            _ => b - b'a' + 36,
        };
        n * 62 + u64::from(digit)
    })
}

/// Adds records about `ids`, in this order, until there are `records`.
pub fn fill(home: &Home, ids: &[String], records: usize) {
    let mut db = open(home);
    let (mut seq, mut hash, mut at): (i64, [u8; 32], i64) = db
        .query_row(
            "SELECT audit_seq, audit_hash, max(at_ms) FROM meta, audit",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .unwrap();
    let mut subjects = ids.iter().cycle();
    while seq < records as i64 {
        let tx = db.transaction().unwrap();
        let end = (seq + BATCH).min(records as i64);
        while seq < end {
            let rows = MANY.min((end - seq) as usize);
            let mut insert = tx.prepare_cached(&statement(rows)).unwrap();
            for value in 0..rows {
                let id = subjects.next().unwrap();
                let text = |name: &str| {
                    format!(
                        r#"{{"client":"{CLIENT}","environment":"live","name":"{name} of {id}","scopes":["read:users"],"type":"secret"}}"#
                    )
                };
                let (before, after) = (text("first name"), text("second name"));
                (seq, at) = (seq + 1, at + 1);
                let record = Record {
                    seq,
                    at,
                    subject: id,
                    before: &before,
                    after: &after,
                };
                let next = record.hash(&hash);
                let mut bind = |n: usize, v: &dyn rusqlite::ToSql| {
                    insert.raw_bind_parameter(value * OWN + n, v).unwrap();
                };
                bind(1, &seq);
                bind(2, &at);
                bind(3, id);
                bind(4, &before);
                bind(5, &after);
                bind(6, &hash);
                bind(7, &next);
                hash = next;
            }
            insert.raw_execute().unwrap();
        }
        let last = params![seq, hash];
        tx.execute("UPDATE meta SET audit_seq = ?, audit_hash = ?", last)
            .unwrap();
        tx.commit().unwrap();
    }
}

fn statement(rows: usize) -> String {
    let mut sql =
        "INSERT INTO audit (seq, at_ms, subject, before, after, prev, hash, uid, user, host,
        action, format, address, request, client, outcome, reason) VALUES "
            .to_owned();
    for n in 0..rows {
        let comma = if n == 0 { "" } else { ", " };
        write!(
            sql,
            "{comma}(?, ?, ?, ?, ?, ?, ?, -1, '{USER}', '{HOST}', '{ACTION}', 2, '{ADDRESS}', '', '{CLIENT}', 'done', '')"
        )
        .unwrap();
    }
    sql
}

fn open(home: &Home) -> Connection {
    let text = fs::read_to_string(home.path("home/master.key")).unwrap();
    let key = URL_SAFE_NO_PAD.decode(text.trim()).unwrap();
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let db = Connection::open(home.store()).unwrap();
    db.pragma_update(None, "key", format!("x'{hex}'")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -131072;")
        .unwrap();
    db
}

/// What differs between records.
struct Record<'t> {
    seq: i64,
    at: i64,
    subject: &'t str,
    before: &'t str,
    after: &'t str,
}

impl Record<'_> {
    /// Its link in the chain, format 2.
    fn hash(&self, prev: &[u8; 32]) -> [u8; 32] {
        let mut bytes = b"keystile audit v2\n".to_vec();
        bytes.extend(prev);
        for n in [self.seq, self.at, -1] {
            bytes.extend(n.to_be_bytes());
        }
        for text in [
            USER,
            HOST,
            ACTION,
            self.subject,
            self.before,
            self.after,
            ADDRESS,
            "",
            CLIENT,
            "",
            "done",
        ] {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        Sha256::digest(bytes).into()
    }
}
