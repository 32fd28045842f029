//! Whether the audit log is as it was written.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AUDITORS, Endpoint, Operation};
use keystile_model::audit::Head;
use keystile_model::error::{Code, Result, refuse};
use keystile_model::world::World;
use keystile_registry::audit;
use keystile_store::Store;

/// Checks that no record was changed, removed, inserted or moved, and that the store is intact.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditVerify)]
pub struct Verify {
    /// A head that was noted earlier, `SEQ:HASH`: that record must still be the same.
    #[serde(default)]
    pub expect: Option<String>,
}

/// A log that is intact.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AuditVerified)]
pub struct VerifiedView {
    /// Always true: a log that is not intact is an error.
    pub ok: bool,
    /// How many records it has.
    pub records: u64,
    /// How many records were pruned.
    pub removed: u64,
    /// Its last record, `SEQ:HASH`.
    pub head: String,
    /// The checkpoint that is kept next to the store.
    pub checkpoint: Option<String>,
}

/// Makes a signed checkpoint.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditCheckpoint)]
pub struct MakeCheckpoint {}

/// A signed statement of where the log ends.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = AuditCheckpointed)]
pub struct Checkpointed {
    /// Keep it where those who can write to the store cannot write.
    pub checkpoint: String,
    /// The number of the last record.
    pub records: u64,
}

impl Operation for Verify {
    type Output = VerifiedView;
    const ENDPOINT: Endpoint = Endpoint::get(
        "audit.verify",
        "/v1/audit/verify",
        AUDITORS,
        "Check that no record was changed, removed, inserted or moved",
    );

    fn run(self, store: &mut Store, _: &World) -> Result<VerifiedView> {
        let expect: Option<Head> = self
            .expect
            .map(|text| {
                text.parse().map_err(|e| {
                    refuse(Code::InvalidValue, e, "write it as it was printed").about("expect")
                })
            })
            .transpose()?;
        store.check()?;
        let found = audit::verify(store, expect)?;
        store.check_usage()?;
        Ok(VerifiedView {
            ok: true,
            records: found.head.seq.saturating_sub(found.start.seq),
            removed: found.start.seq,
            head: found.head.to_string(),
            checkpoint: found.kept.map(|k| k.to_string()),
        })
    }
}

impl Operation for MakeCheckpoint {
    type Output = Checkpointed;
    const ENDPOINT: Endpoint = Endpoint::get(
        "audit.checkpoint",
        "/v1/audit/checkpoint",
        AUDITORS,
        "Make a signed checkpoint of the audit log",
    );

    fn run(self, store: &mut Store, _: &World) -> Result<Checkpointed> {
        let made = store.read(|tx| tx.checkpoint())?.ok_or_else(|| {
            refuse(
                Code::AuditEmpty,
                "nothing was done in this store yet",
                "try again after the first change",
            )
        })?;
        Ok(Checkpointed {
            checkpoint: made.to_string(),
            records: made.head.seq,
        })
    }
}
