//! Refused attempts, as the audit log records them.

use keystile_model::words::redacted;
use keystile_model::world::World;
use keystile_registry::audit;
use keystile_system as system;
use std::net::IpAddr;

use super::super::app::App;
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
        .pool()
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
        .pool()
        .write(move |store| audit::refused(store, &world, "server.refused", "", "", &words))
        .await;
    if let Err(e) = written {
        tracing::error!(error = %e, "refused attempts are not in the audit log");
    }
}
