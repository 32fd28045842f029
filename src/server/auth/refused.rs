//! Attempts that were refused, as the audit log tells them.

use keystile_core::key::Parsed;
use keystile_model::words;
use keystile_model::world::World;
use keystile_registry::audit;
use keystile_system as system;
use std::net::IpAddr;

use super::super::http::App;
use super::super::limits::subscriber;

/// Writes a refused attempt to the audit log: a limited number per address and minute, so that
/// nobody can fill the disk by being refused. The others are counted and reported together.
pub async fn write_down(
    app: &App,
    world: World,
    action: &'static str,
    subject: &str,
    reason: &str,
) {
    let place = world
        .actor
        .address
        .parse()
        .map_or(IpAddr::from([0, 0, 0, 0]), subscriber);
    if app
        .limits()
        .records
        .take(place, system::nanoseconds())
        .is_err()
    {
        count_refused(app, place);
        return;
    }
    let reason: String = redacted(reason).chars().take(500).collect();
    let subject: String = redacted(subject).chars().take(100).collect();
    let written = app
        .desk()
        .write(move |store| audit::refused(store, &world, action, &subject, "", &reason))
        .await;
    if let Err(e) = written {
        tracing::error!(error = %e, "a refused attempt is not in the audit log");
    }
}

fn count_refused(app: &App, place: IpAddr) {
    let unrecorded = &app.limits().unrecorded;
    if unrecorded.count(place) {
        let (app, every) = (app.clone(), unrecorded.every);
        tokio::spawn(async move {
            tokio::time::sleep(every).await;
            tell_refused(&app).await;
        });
    }
}

/// Writes one record of all refused attempts that were only counted, if there are any.
pub async fn tell_refused(app: &App) {
    let Some(words) = app.limits().unrecorded.take().words() else {
        return;
    };
    let world = system::of_server();
    let written = app
        .desk()
        .write(move |store| audit::refused(store, &world, "server.refused", "", "", &words))
        .await;
    if let Err(e) = written {
        tracing::error!(error = %e, "refused attempts are not in the audit log");
    }
}

/// The replacement for what looks like a key.
const LEFT_OUT: &str = "(left out: it looks like a key)";

/// Text in which full keys and tokens are replaced by their ids, and anything that looks like one
/// is removed: somebody may have pasted it in place of a name.
pub(super) fn redacted(text: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match Parsed::parse(word.as_bytes()) {
            Ok(key) => out.push_str(&key.id().to_string()),
            // Damaged, or with something stuck to it.
            Err(_) if words::holds_secret(word) => out.push_str(LEFT_OUT),
            Err(_) => out.push_str(word),
        }
        let mut chars = after.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    match words::holds_secret(&out) {
        true => LEFT_OUT.to_owned(),
        false => out,
    }
}
