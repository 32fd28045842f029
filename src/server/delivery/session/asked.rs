//! What an Envoy says: what it subscribes to, takes and refuses.

use keystile_system as system;
use tokio::time::Instant;
use tonic::Status;

use super::super::artefact::ResourceKind;
use super::super::request::{AskedNames, StreamRequest};
use super::{Has, Pause, Session, Slot, part};

impl Session {
    /// Handles a request; gives the time before which the next one is not read.
    pub(super) fn take(&mut self, request: StreamRequest) -> Result<Option<Instant>, Status> {
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
    fn answered(&mut self, request: &StreamRequest) {
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
            "an Envoy refused a keyset and keeps the previous one; see its log, where the filter says why"
        );
        slot.refused = Some(Pause {
            content: artefact.content().to_owned(),
            until: system::instant() + pause,
        });
    }

    /// Gives how many of the requested resources were sent before.
    pub(super) fn subscribe(&mut self, request: &StreamRequest) -> u32 {
        let mut repeated = 0;
        let template = self.delivery.settings.template.clone();
        for kind in ResourceKind::ALL {
            let name = template.name(kind);
            let listed = |list: &[String]| list.iter().any(|n| n == name);
            let (wants, anew) = match &request.names {
                AskedNames::These(names) => (listed(names), false),
                AskedNames::Change { add, remove } => {
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
            let claim = if first {
                request.held.of_resource(name)
            } else {
                ""
            };
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
}
