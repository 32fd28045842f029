//! One discovery stream: what it was sent, what it answered, what it gets next.
//!
//! Nothing is queued. After every event the stream compares what its Envoy has with what it should
//! have, and at most one push of each resource is in transit: an Envoy that is slow, or never
//! answers, skips versions and holds only the last one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use super::artefact::{Artefact, Kind, Sealed};
use super::fleet::{Member, Standing};
use super::nodes::{self, Revoked};
use super::papers::Papers;
use super::request::{Names, Request, identify};
use super::wire::{Dialect, Message, Push};
use super::{Delivery, Published};
use keystile_registry::publish;
use keystile_system as system;

/// Responses between a session and its connection: one push of each resource, and heartbeats, which
/// are skipped while there is no room.
pub const ROOM: usize = 8;
/// Requests that came too fast, each of which had to wait for its turn.
const FLOOD: u32 = 100;
/// Heartbeats within the lifetime of a resource: two may be lost.
const HEARTBEATS: u32 = 3;

/// One discovery stream.
pub struct Session {
    delivery: Arc<Delivery>,
    dialect: Dialect,
    member: Member,
    out: mpsc::Sender<Result<Message, Status>>,
    published: Option<Arc<Published>>,
    slots: [Option<Slot>; 2],
    /// Responses sent, which makes the next one's nonce.
    sent: u64,
    /// What was sent at all.
    begun: Vec<Kind>,
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
    artefact: Arc<Artefact>,
    sealed: Arc<Sealed>,
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
    mut requests: impl Stream<Item = Result<Request, Status>> + Unpin,
    out: mpsc::Sender<Result<Message, Status>>,
) -> Status {
    if delivery.settings.ttl.is_some() && dialect == Dialect::Sotw {
        // In that dialect, Envoy 1.40 lets a resource expire in spite of heartbeats, or does not
        // let it expire at all. A switch that may not work is worse than none.
        return Status::failed_precondition(
            "this server bounds the time that a keyset lives without it, which needs delta discovery; set `api_type: DELTA_GRPC`",
        );
    }
    let limits = &delivery.settings.limits;
    let first = tokio::time::timeout(limits.first_request, requests.next());
    let mut first = match first.await {
        Ok(Some(Ok(first))) => first,
        Ok(Some(Err(status))) if is_lost(&status) => return Status::ok(""),
        Ok(Some(Err(status))) => return status,
        Ok(None) => return Status::ok(""),
        Err(_) => return Status::deadline_exceeded("the first request did not come in time"),
    };
    let mut nodes = delivery.nodes.changes();
    let mut closing = delivery.closing.subscribe();
    let known = tokio::select! {
        read = nodes.wait_for(Option::is_some) => read.is_ok(),
        _ = closing.wait_for(|closing| *closing) => false,
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

fn not_revoked(nodes: &Revoked, node: &str) -> Result<(), Status> {
    match nodes::is_revoked(nodes, node) {
        false => Ok(()),
        true => Err(Status::permission_denied(
            "this node was revoked; if that was a mistake, enroll it again with `keystilectl node enroll`",
        )),
    }
}

impl Session {
    async fn run(
        &mut self,
        first: Request,
        mut requests: impl Stream<Item = Result<Request, Status>> + Unpin,
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

    /// Handles a request; gives the time before which the next one is not read.
    fn take(&mut self, request: Request) -> Result<Option<Instant>, Status> {
        let answers = !request.nonce.is_empty() && self.owed > 0;
        let mut wait = None;
        if answers {
            self.owed -= 1;
        } else {
            wait = self.allowance.take(system::instant())?;
        }
        if request.is_ours() {
            self.answered(&request);
            // An answer costs nothing, unless it requests the same again.
            for _ in 0..self.subscribe(&request) {
                wait = wait.max(self.repeats.take(system::instant())?);
            }
        }
        Ok(wait)
    }

    /// Handles an acknowledgement or rejection of a push that is in transit.
    fn answered(&mut self, request: &Request) {
        let flies = |slot: &&mut Option<Slot>| {
            let flying = slot.as_ref().and_then(|s| s.flying.as_ref());
            flying.is_some_and(|f| f.nonce == request.nonce)
        };
        let Some(Some(slot)) = self.slots.iter_mut().find(flies) else {
            return;
        };
        let Some(flying) = slot.flying.take() else {
            return;
        };
        let artefact = &flying.artefact;
        let Some(message) = &request.error else {
            self.member.acknowledged(artefact);
            self.delivery.count.acknowledged.add();
            slot.refused = None;
            slot.held = Some(Has {
                content: artefact.content().to_owned(),
                version_info: flying.sealed.version_info.clone(),
            });
            return;
        };
        let times = self.member.refused(artefact, message, system::now());
        self.delivery.count.refused.add();
        let limits = &self.delivery.settings.limits;
        let doubled = 1u32.checked_shl(u32::try_from(times - 1).unwrap_or(u32::MAX));
        let pause = limits.retry_first.checked_mul(doubled.unwrap_or(u32::MAX));
        let pause = pause.unwrap_or(limits.retry_most).min(limits.retry_most);
        tracing::error!(
            node = self.member.node(),
            resource = self.delivery.settings.template.name(artefact.kind()),
            version = artefact.version(),
            envoy_says = message.escape_debug().take(500).collect::<String>(),
            times,
            retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "an Envoy refused a keyset and keeps the former one; see its log, where the filter says why"
        );
        slot.refused = Some(Pause {
            content: artefact.content().to_owned(),
            until: system::instant() + pause,
        });
    }

    /// Gives how many of the requested resources were sent before.
    fn subscribe(&mut self, request: &Request) -> u32 {
        let mut repeated = 0;
        let template = self.delivery.settings.template.clone();
        for kind in Kind::ALL {
            let name = template.name(kind);
            let listed = |list: &[String]| list.iter().any(|n| n == name);
            let (wants, anew) = match &request.names {
                Names::These(names) => (listed(names), false),
                Names::Change { add, remove } => {
                    let had = self.slot(kind).is_some();
                    // If requested again, it has to be sent again: the client dropped it.
                    (listed(add) || had && !listed(remove), listed(add))
                }
            };
            let first = self.sent == 0;
            if !wants {
                if self.slot(kind).take().is_some() {
                    self.member.unsubscribed(kind);
                }
                continue;
            }
            if self.slot(kind).is_some() && !anew {
                continue;
            }
            repeated += u32::from(self.begun.contains(&kind));
            // What the client says that it has counts only when the stream is new.
            let claim = if first { request.held.of(name) } else { "" };
            let claim = part(claim, kind);
            self.member.subscribed(kind, claim.is_none());
            let held = claim.map(|(version_info, version, content)| {
                self.member.holds(kind, version, content);
                self.is_newer(version);
                Has {
                    content: content.to_owned(),
                    version_info: version_info.to_owned(),
                }
            });
            let repairs = self.member.standing().repairs;
            *self.slot(kind) = Some(Slot {
                held,
                repairs,
                ..Slot::default()
            });
        }
        repeated
    }

    /// Logs if an Envoy claims something newer than anything here. It accepts nothing older; only
    /// its signed report helps, because anybody can write a number into a request.
    fn is_newer(&self, version: u64) {
        let newest = self.published.as_ref().map(|p| p.version());
        if newest.is_some_and(|newest| version > newest) {
            tracing::warn!(
                node = self.member.node(),
                its_version = version,
                newest,
                "an Envoy claims a newer version than any published here, and accepts no older one; with `report` in the policy the version is raised above it automatically"
            );
        }
    }

    /// Sends what is due; gives the time at which to check again, if any.
    fn turn(&mut self, now: Instant) -> Result<Option<Instant>, Status> {
        let standing = self.member.standing();
        let mut next: Option<Instant> = None;
        for kind in Kind::ALL {
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
        kind: Kind,
        standing: &Standing,
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
                return Err(Status::aborted("a push was not answered in time"));
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

    fn push(&mut self, want: &Arc<Artefact>, again: bool, now: Instant) -> Result<(), Status> {
        let settings = &self.delivery.settings;
        let attempt = self.member.attempt(want, again);
        let nonce = || publish::nonce(&(settings.world)());
        let sealed = want.sealed(attempt, nonce).map_err(|e| {
            tracing::error!(error = %e, "a keyset cannot be signed");
            Status::unavailable("the server cannot seal a keyset")
        })?;
        self.send(want, &sealed, now)
    }

    fn send(
        &mut self,
        want: &Arc<Artefact>,
        sealed: &Arc<Sealed>,
        now: Instant,
    ) -> Result<(), Status> {
        let settings = &self.delivery.settings;
        let kind = want.kind();
        let stream_version = match self.dialect {
            Dialect::Delta => sealed.version_info.clone(),
            Dialect::Sotw => self.combined(kind, &sealed.version_info),
        };
        self.sent += 1;
        let nonce = self.sent.to_string();
        let message = Push {
            name: settings.template.name(kind),
            version_info: &stream_version,
            nonce: &nonce,
            any: Some(sealed.any.clone()),
            ttl: self.time_to_live(kind),
        }
        .message(self.dialect);
        if self.out.try_send(Ok(message)).is_err() {
            return Err(Status::aborted("responses are not read"));
        }
        self.owed += 1;
        if !self.begun.contains(&kind) {
            self.begun.push(kind);
        }
        self.member.sent(want);
        self.delivery.count.pushes.add();
        let flying = Flying {
            artefact: Arc::clone(want),
            sealed: Arc::clone(sealed),
            nonce,
            since: now,
            lagging: false,
        };
        if let Some(slot) = self.slot(kind) {
            slot.flying = Some(flying);
        }
        Ok(())
    }

    /// The `version_info` of everything that the stream holds once it has this.
    fn combined(&self, kind: Kind, version_info: &str) -> String {
        let parts = Kind::ALL.into_iter().zip(&self.slots).filter_map(|(k, s)| {
            if k == kind {
                return Some(version_info);
            }
            let held = s.as_ref()?.held.as_ref()?;
            Some(held.version_info.as_str())
        });
        parts.collect::<Vec<_>>().join("+")
    }

    /// How long a resource is valid for the peer without confirmation. Only the overlay expires,
    /// because its filter decides; the base beside it can stay until the server is back.
    fn time_to_live(&self, kind: Kind) -> Option<Duration> {
        self.delivery.settings.ttl.filter(|_| kind == Kind::Overlay)
    }

    /// Confirms to the peer what it has.
    fn beat(&mut self, ttl: Duration) {
        // Two places are left for pushes.
        if self.out.capacity() <= 2 {
            return;
        }
        let held = match self.slot(Kind::Overlay) {
            Some(slot) if slot.flying.is_none() => slot.held.as_ref(),
            _ => None,
        };
        let Some(held) = held else { return };
        let version_info = held.version_info.clone();
        self.sent += 1;
        self.owed += 1;
        let message = Push {
            name: self.delivery.settings.template.name(Kind::Overlay),
            version_info: &version_info,
            nonce: &self.sent.to_string(),
            any: None,
            ttl: Some(ttl),
        };
        let _ = self.out.try_send(Ok(message.message(self.dialect)));
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Slot> {
        let [base, overlay] = &mut self.slots;
        match kind {
            Kind::Base => base,
            Kind::Overlay => overlay,
        }
    }
}

/// What a client says that it has of a resource: text, version, content id. State of the world has
/// one text for all; if it has two parts, the base's is the first.
fn part(claim: &str, kind: Kind) -> Option<(&str, u64, &str)> {
    let part = match (claim.split_once('+'), kind) {
        (None, _) => claim,
        (Some((base, _)), Kind::Base) => base,
        (Some((_, overlay)), Kind::Overlay) => overlay,
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
fn may_go(kind: Kind, published: &Published, standing: &Standing) -> bool {
    let [has_base, has_overlay] = standing.subscribed;
    let base = published.get(Kind::Base);
    let overlay = published.get(Kind::Overlay);
    // Sent, not acknowledged: what is in transit will be in force before the base arrives.
    let overlay_first = standing.overlay_sent > base.version();
    match kind {
        Kind::Base if !has_overlay => true,
        Kind::Base if overlay_first => {
            standing.overlay_base.as_deref() == Some(base.content())
                || standing.overlay.as_deref() == Some(overlay.content())
        }
        Kind::Base => !standing.overlay_flying,
        Kind::Overlay => {
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
    Status::unavailable("the server is shutting down")
}

/// A rate limit for requests that answer no push: some at once, then a few a second, then none.
struct Allowance {
    most: u32,
    left: u32,
    filled: Instant,
    waited: u32,
}

impl Allowance {
    fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            left: most,
            filled: now,
            waited: 0,
        }
    }

    /// Takes one; gives the time until which its sender has to wait, if any.
    fn take(&mut self, now: Instant) -> Result<Option<Instant>, Status> {
        let each = Duration::from_secs(10) / self.most.max(1);
        let grown = now.saturating_duration_since(self.filled).as_nanos() / each.as_nanos().max(1);
        let grown = u32::try_from(grown).unwrap_or(u32::MAX).min(self.most);
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(self.most);
            self.filled = now;
        }
        if self.left > 0 {
            self.left -= 1;
            if self.left > self.most / 2 {
                self.waited = 0;
            }
            return Ok(None);
        }
        self.waited += 1;
        if self.waited > FLOOD {
            return Err(Status::resource_exhausted(
                "too many requests on this stream",
            ));
        }
        self.filled = now + each;
        Ok(Some(now + each))
    }
}

#[cfg(test)]
mod tests;
