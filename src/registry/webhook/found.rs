//! A webhook by its name.

use keystile_model::error::{Act, Code, Error, Result, refuse};
use keystile_model::record::Webhook;
use keystile_store::Tx;

/// The webhook of a name.
pub(super) fn found(tx: &Tx<'_>, name: &str) -> Result<Webhook> {
    let mut all = tx.webhooks()?.into_iter();
    all.find(|w| w.name == name).ok_or_else(|| unknown(name))
}

/// The error that there is none of that name.
pub fn unknown(name: &str) -> Error {
    refuse(
        Code::WebhookNotFound,
        format_args!("there is no webhook `{name}`"),
        keystile_model::next!["see ", Act::WebhookList],
    )
    .about("name")
}
