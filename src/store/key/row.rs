//! Keys as keysets hold them.

use crate::sql::{SqlRow, Value, params};
use ipnet::IpNet;
use keystile_core::key::{Digest, KeyId};
use keystile_core::keyset::{EXPIRED_KEPT, KeyRow, Network};
use keystile_model::error::Result;
use keystile_model::record;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::{Tx, column};

/// Imported, and in the keyset at a given time according to [`keystile_core::keyset::build`].
pub(crate) const IMPORTED: &str = "imported AND CASE WHEN revoked IS NOT NULL THEN coalesce(expires > ?1, TRUE)
    ELSE coalesce(min(coalesce(expires, overlap_end), coalesce(overlap_end, expires)) + ?2 > ?1, TRUE) END
    LIMIT 1";

/// Changed after a version, either themselves or with their client.
pub(crate) const SINCE: &str =
    "changed > ?1 OR client IN (SELECT number FROM client WHERE client.changed > ?1)";

/// What a row consists of.
const COLUMNS: &str =
    "id, digest, imported, client, environment, publishable, scopes, plan, limits, expires,
     not_before, overlap_end, disabled, revoked IS NOT NULL, lineage, allow, deny, origins, certificates";

/// Name and plan of a client.
type ClientOfRow = (String, Option<String>);
/// Of those that are known, by number.
type ClientsOfRows = HashMap<u32, ClientOfRow>;

impl Tx<'_> {
    /// All keys in the form of the keyset, in no particular order. A separate query, because it
    /// runs for every base, over every key.
    pub fn rows(&self) -> Result<Vec<KeyRow>> {
        let (mut rows, mut clients) = (Vec::new(), self.clients_of_rows()?);
        // In parts: the database's form of all of them would take as much memory again.
        self.tx
            .each(&format!("SELECT {COLUMNS} FROM key"), &[], |r| {
                rows.push(self.read_row(r, &mut clients)?);
                Ok(true)
            })?;
        Ok(rows)
    }

    /// The keys whose rows in the keyset have changed since a version.
    pub fn rows_since(&self, version: u64) -> Result<Vec<KeyRow>> {
        self.rows_where(SINCE, params![column::signed(version)], HashMap::new())
    }

    /// One key in the form of the keyset.
    pub fn row(&self, id: KeyId) -> Result<Option<KeyRow>> {
        let rows = self.rows_where(
            "id = ?",
            params![column::signed(id.as_u64())],
            HashMap::new(),
        );
        Ok(rows?.pop())
    }

    /// The key with a digest, in the form of the keyset.
    pub fn row_of_digest(&self, digest: &Digest) -> Result<Option<KeyRow>> {
        let rows = self.rows_where("digest = ?", params![digest.0], HashMap::new());
        Ok(rows?.pop())
    }

    /// Any imported key that is in the keyset at a time, in seconds.
    pub fn imported_row(&self, issued_at: u64) -> Result<Option<KeyRow>> {
        let rows = self.rows_where(
            IMPORTED,
            params![column::signed(issued_at), column::signed(EXPIRED_KEPT)],
            HashMap::new(),
        );
        Ok(rows?.pop())
    }

    fn rows_where(
        &self,
        condition: &str,
        values: &[Value<'_>],
        mut clients: ClientsOfRows,
    ) -> Result<Vec<KeyRow>> {
        let sql = format!("SELECT {COLUMNS} FROM key WHERE {condition}");
        self.tx
            .all(&sql, values, |r| self.read_row(r, &mut clients))
    }

    fn read_row(&self, r: &SqlRow<'_>, clients: &mut ClientsOfRows) -> Result<KeyRow> {
        let networks = |column| -> Result<Vec<Network>> {
            let nets: Vec<IpNet> = column::list(r, column)?;
            Ok(nets.into_iter().map(record::network).collect())
        };
        let client_number = column::number(r, 3)?;
        let (client, client_plan) = match clients.entry(client_number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.client_of_row(client_number)?),
        };
        let plan: Option<String> = r.get(7)?;
        Ok(KeyRow {
            id: column::id(r, 0)?,
            digest: Digest(r.get(1)?),
            foreign: r.get(2)?,
            client: client.clone(),
            client_number,
            environment: column::parsed(r, 4)?,
            publishable: r.get(5)?,
            scopes: column::list(r, 6)?,
            plan: plan.or_else(|| client_plan.clone()),
            limits: column::limits(r, 8)?,
            expires: column::optional(r, 9)?,
            not_before: column::optional(r, 10)?,
            overlap_end: column::optional(r, 11)?,
            disabled: r.get(12)?,
            revoked: r.get(13)?,
            lineage: column::id(r, 14)?,
            allow: networks(15)?,
            deny: networks(16)?,
            origins: column::list(r, 17)?,
            certificates: column::list(r, 18)?,
        })
    }

    /// Names and plans of all clients, deleted ones too, by number: faster than one by one if all
    /// are needed.
    fn clients_of_rows(&self) -> Result<ClientsOfRows> {
        self.tx
            .all("SELECT number, name, plan FROM client", &[], |r| {
                Ok((column::number(r, 0)?, (r.get(1)?, r.get(2)?)))
            })
    }

    fn client_of_row(&self, number: u32) -> Result<ClientOfRow> {
        let sql = "SELECT name, plan FROM client WHERE number = ?";
        self.tx
            .one(sql, params![number], |r| Ok((r.get(0)?, r.get(1)?)))
    }
}
