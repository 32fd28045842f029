//! One discovery stream: what it was sent, what it answered, what it gets next.
//!
//! Nothing is queued. After every event the stream compares what its Envoy has with what it should
//! have, and at most one push of each resource is in transit: an Envoy that is slow, or never
//! answers, skips versions and holds only the last one.

mod allowance;
mod asked;
mod push;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use super::Delivery;
use super::artefact::{ResourceKind, SealedArtefact, SignableArtefact};
use super::denied::denied;
use super::fleet::{Member, NodeStanding};
use super::node_identity::Papers;
use super::nodes::{self, RevokedNodes};
use super::published::Published;
use super::request::{StreamRequest, identify};
use super::wire::{Dialect, GrpcFrame};
use allowance::Allowance;
use keystile_model::error::{self, Act, refuse};
use keystile_model::next;
use keystile_system as system;

/// Responses between a session and its connection: one push of each resource, and heartbeats, which
/// are skipped while there is no room.
pub const ROOM: usize = 8;
/// Heartbeats within the lifetime of a resource: two may be lost.
const HEARTBEATS: u32 = 3;

/// One discovery stream.
pub struct Session {
    delivery: Arc<Delivery>,
    dialect: Dialect,
    member: Member,
    out: mpsc::Sender<Result<GrpcFrame, Status>>,
    published: Option<Arc<Published>>,
    slots: [Option<Slot>; 2],
    /// Responses sent, which makes the next one's nonce.
    sent: u64,
    /// What was sent at all.
    begun: Vec<ResourceKind>,
    /// Responses that the peer may still answer.
    owed: u64,
    allowance: Allowance,
    /// For resources that are requested again: each is sent again.
    repeats: Allowance,
    heartbeat: Option<Instant>,
}

/// A resource that the stream subscribes to.
#[derive(Default)]
struct Slot {
    held: Option<Has>,
    flying: Option<Flying>,
    refused: Option<Pause>,
    /// Repairs of the node that this slot has handled.
    repairs: u64,
    /// Since when it waits for the node's other resource.
    waiting: Option<Instant>,
}

/// What the peer has acknowledged, on this stream or a former one.
struct Has {
    content: String,
    version_info: String,
}

struct Flying {
    artefact: Arc<SignableArtefact>,
    sealed: Arc<SealedArtefact>,
    nonce: String,
    since: Instant,
    lagging: bool,
}

/// After a refusal.
struct Pause {
    content: String,
    until: Instant,
}

/// Serves a stream until it ends; gives the status for the peer.
pub async fn serve(
    delivery: Arc<Delivery>,
    dialect: Dialect,
    mut member: Member,
    papers: Option<Papers>,
    mut requests: impl Stream<Item = Result<StreamRequest, Status>> + Unpin,
    out: mpsc::Sender<Result<GrpcFrame, Status>>,
) -> Status {
    if delivery.settings.ttl.is_some() && dialect == Dialect::Sotw {
        // In that dialect, Envoy 1.40 lets a resource expire in spite of heartbeats, or does not
        // let it expire at all. A switch that may not work is worse than none.
        let refusal = refuse(
            error::Code::SettingInvalid,
            "this server limits how long a keyset is used without it, which requires delta discovery",
            "set `api_type: DELTA_GRPC`",
        );
        return denied(tonic::Code::FailedPrecondition, &refusal);
    }
    let limits = &delivery.settings.limits;
    let first = tokio::time::timeout(limits.first_request, requests.next());
    let mut first = match first.await {
        Ok(Some(Ok(first))) => first,
        Ok(Some(Err(status))) if is_lost(&status) => return Status::ok(""),
        Ok(Some(Err(status))) => return status,
        Ok(None) => return Status::ok(""),
        Err(_) => {
            let refusal = refuse(
                error::Code::StreamSilent,
                "the first request did not arrive in time",
                "check the network between this Envoy and the server",
            );
            return denied(tonic::Code::DeadlineExceeded, &refusal);
        }
    };
    let mut nodes = delivery.nodes.changes();
    let mut closing = delivery.closing.subscribe();
    let known = tokio::select! {
        // Both may be ready, and then nobody is admitted.
        biased;
        _ = closing.wait_for(|closing| *closing) => false,
        read = nodes.wait_for(Option::is_some) => read.is_ok(),
    };
    if !known {
        return leaving();
    }
    // A revoked node must not become known: `--wait` would wait for it as long as it connects.
    let identified = identify(first.node.take(), papers.as_ref(), limits)
        .and_then(|identity| not_revoked(&nodes.borrow(), &identity.id).map(|()| identity))
        .and_then(|identity| member.identify(&identity, limits, system::now()));
    let wake = match identified {
        Ok(wake) => wake,
        Err(status) => return status,
    };
    let mut session = Session {
        allowance: Allowance::new(limits.requests, system::instant()),
        repeats: Allowance::new(limits.repeats, system::instant()),
        dialect,
        member,
        out,
        published: None,
        slots: [None, None],
        sent: 0,
        begun: Vec::new(),
        owed: 0,
        heartbeat: None,
        delivery,
    };
    let status = match session.run(first, requests, wake).await {
        Ok(()) => Status::ok(""),
        Err(status) => status,
    };
    session.member.leave(system::now());
    status
}

fn not_revoked(nodes: &RevokedNodes, node: &str) -> Result<(), Status> {
    match nodes::is_revoked(nodes, node) {
        false => Ok(()),
        true => {
            let refusal = refuse(
                error::Code::NodeRevoked,
                "this node was revoked",
                next![
                    "if that was a mistake, enroll it again with ",
                    Act::NodeEnroll
                ],
            );
            Err(denied(tonic::Code::PermissionDenied, &refusal))
        }
    }
}

impl Session {
    async fn run(
        &mut self,
        first: StreamRequest,
        mut requests: impl Stream<Item = Result<StreamRequest, Status>> + Unpin,
        mut wake: watch::Receiver<u64>,
    ) -> Result<(), Status> {
        let mut published = self.delivery.published.subscribe();
        let mut closing = self.delivery.closing.subscribe();
        let mut nodes = self.delivery.nodes.changes();
        self.published.clone_from(&published.borrow());
        self.take(first)?;
        self.delivery.fleet.until_kept(self.member.node()).await;
        let mut read_after = None;
        loop {
            let now = system::instant();
            if self.delivery.sends_away() {
                return Err(leaving());
            }
            // Before anything is sent, so that open streams of a revoked node end, too.
            not_revoked(&nodes.borrow_and_update(), self.member.node())?;
            // Not what was published when this stream last checked: another stream of the node may
            // have sent a newer base since.
            self.published.clone_from(&published.borrow_and_update());
            let next = self.turn(now)?;
            let reading = read_after.is_none_or(|at| at <= now);
            let next = [next, read_after.filter(|_| !reading)];
            let next = next.into_iter().flatten().min();
            let timer = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = published.changed() => {
                    if changed.is_err() {
                        return Err(leaving());
                    }
                }
                _ = closing.wait_for(|closing| *closing) => return Err(leaving()),
                _ = wake.changed() => {}
                _ = nodes.changed() => {}
                request = requests.next(), if reading => match request {
                    None => return Ok(()),
                    Some(Err(status)) if is_lost(&status) => return Ok(()),
                    Some(request) => read_after = self.take(request?)?,
                },
                () = timer => {}
                // The connection is gone, so nobody reads what is sent.
                () = self.out.closed() => return Ok(()),
            }
        }
    }

    /// Sends what is due; gives the time at which to check again, if any.
    fn turn(&mut self, now: Instant) -> Result<Option<Instant>, Status> {
        let standing = self.member.standing();
        let mut next: Option<Instant> = None;
        for kind in ResourceKind::ALL {
            let at = self.turn_of(kind, &standing, now)?;
            next = [next, at].into_iter().flatten().min();
        }
        if let Some(ttl) = self.delivery.settings.ttl {
            let every = ttl / HEARTBEATS;
            let due = *self.heartbeat.get_or_insert(now + every);
            if now >= due {
                self.beat(ttl);
                self.heartbeat = Some(now + every);
            }
            next = [next, self.heartbeat].into_iter().flatten().min();
        }
        Ok(next)
    }

    fn turn_of(
        &mut self,
        kind: ResourceKind,
        standing: &NodeStanding,
        now: Instant,
    ) -> Result<Option<Instant>, Status> {
        let limits = self.delivery.settings.limits.clone();
        let Some(published) = self.published.clone() else {
            return Ok(None);
        };
        let want = published.get(kind);
        let Some(slot) = self.slot(kind) else {
            return Ok(None);
        };
        if let Some(flying) = &mut slot.flying {
            let (lag, drop) = (flying.since + limits.lag, flying.since + limits.drop);
            if now >= drop {
                let refusal = refuse(
                    error::Code::StreamSilent,
                    "a push was not answered in time",
                    "see the log of this Envoy",
                );
                return Err(denied(tonic::Code::Aborted, &refusal));
            }
            if now >= lag && !flying.lagging {
                flying.lagging = true;
                self.member.lags(kind);
                tracing::warn!(
                    node = self.member.node(),
                    resource = self.delivery.settings.template.name(kind),
                    "an Envoy has not answered a push in time"
                );
            }
            return Ok(Some(if now >= lag { drop } else { lag }));
        }
        let has = slot.held.as_ref().map(|h| h.content.as_str());
        let repair = slot.repairs < standing.repairs;
        if has == Some(want.content()) && !repair {
            slot.waiting = None;
            return Ok(None);
        }
        if let Some(pause) = &slot.refused
            && pause.content == want.content()
            && now < pause.until
        {
            return Ok(Some(pause.until));
        }
        if !repair && !may_go(kind, &published, standing) {
            let until = *slot.waiting.get_or_insert(now) + limits.order;
            if now < until {
                return Ok(Some(until));
            }
        }
        slot.waiting = None;
        slot.repairs = standing.repairs;
        let again = repair && has == Some(want.content());
        self.push(want, again, now)?;
        Ok(Some(now + limits.lag))
    }

    fn slot(&mut self, kind: ResourceKind) -> &mut Option<Slot> {
        let [base, overlay] = &mut self.slots;
        match kind {
            ResourceKind::Base => base,
            ResourceKind::Overlay => overlay,
        }
    }
}

/// What a client says that it has of a resource: text, version, content id. State of the world has
/// one text for all; if it has two parts, the base's is the first.
fn part(claim: &str, kind: ResourceKind) -> Option<(&str, u64, &str)> {
    let part = match (claim.split_once('+'), kind) {
        (None, _) => claim,
        (Some((base, _)), ResourceKind::Base) => base,
        (Some((_, overlay)), ResourceKind::Overlay) => overlay,
    };
    let mut fields = part.splitn(3, '-');
    let version = fields.next()?.parse().ok()?;
    let content = fields.next().filter(|c| c.len() <= 64)?;
    fields.next().filter(|nonce| nonce.len() <= 16)?;
    Some((part, version, content))
}

/// Whether a resource may go before the node's other one.
///
/// The filter accepts an overlay only with its base, so the base goes first. But a base that is
/// older than the overlay in force would undo revocations, and the filter accepts it only together
/// with an overlay of its own: then the overlay goes first and waits. And an overlay of the
/// previous base that is still in transit would arrive after a newer base and be older than it: so
/// the base waits until that overlay was answered.
fn may_go(kind: ResourceKind, published: &Published, standing: &NodeStanding) -> bool {
    let [has_base, has_overlay] = standing.subscribed;
    let base = published.get(ResourceKind::Base);
    let overlay = published.get(ResourceKind::Overlay);
    // Sent, not acknowledged: what is in transit will be in force before the base arrives.
    let overlay_first = standing.overlay_sent > base.version();
    match kind {
        ResourceKind::Base if !has_overlay => true,
        ResourceKind::Base if overlay_first => {
            standing.overlay_base.as_deref() == Some(base.content())
                || standing.overlay.as_deref() == Some(overlay.content())
        }
        ResourceKind::Base => !standing.overlay_flying,
        ResourceKind::Overlay => {
            overlay_first || !has_base || standing.base.as_deref() == Some(base.content())
        }
    }
}

/// Whether the connection was simply lost, which is not the peer's fault.
fn is_lost(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unknown | Code::Cancelled | Code::Unavailable
    )
}

fn leaving() -> Status {
    let refusal = refuse(
        error::Code::ShuttingDown,
        "the server is shutting down",
        "this Envoy connects again by itself",
    );
    denied(tonic::Code::Unavailable, &refusal)
}

#[cfg(test)]
mod tests;
