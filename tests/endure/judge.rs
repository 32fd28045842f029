//! What has to hold of a single answer. Knows nothing of how Keystile decides.

use std::time::{Duration, Instant};

use crate::ledger::Held;

/// What did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// Somebody without a good key was let in.
    LetIn,
    /// A key was let in after every Envoy had proved that it was revoked or had expired.
    AfterProof,
    /// A good key was refused, although every Envoy had proved that it had it.
    Refused,
    /// The upstream was told of another caller.
    Mistaken,
    /// A request got no answer.
    Unanswered,
    /// More was let through than a limit allows.
    Beyond,
    /// Usage does not add up to what was answered.
    Miscounted,
    /// An acknowledged change is gone.
    Lost,
    /// It took more than half a minute to recover.
    Slow,
    /// A change, a proof or a page failed, although nothing was broken.
    Failed,
    /// A process grew.
    Grew,
}

/// Whether faults may be under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing is broken: every good request is let in.
    Fair,
    /// Something may be broken: Envoys may be gone or have no keyset, but may not err.
    Foul,
}

/// What is sent.
pub enum Asked<'h> {
    /// A request with a key that the route lets in.
    With(&'h Held),
    /// One with a key that lacks the scope.
    WithoutScope(&'h Held),
    /// One with a key that has a limit.
    Limited(&'h Held),
    /// Without a key, or with none that there ever was.
    Nobody,
    /// To a route that is open to everybody.
    Open,
}

/// An answer.
pub struct Answered<'a> {
    pub sent: Instant,
    pub done: Instant,
    pub status: u16,
    /// What the upstream was told of the caller's key.
    pub caller: &'a str,
}

/// What did not hold of it.
pub fn judge(asked: &Asked, answer: &Answered, weather: Weather) -> Option<Breach> {
    // A server that is gone cannot be told from an Envoy that refuses for lack of one.
    let excused = weather == Weather::Foul && answer.status == 503;
    let is_let_in = answer.status == 200;
    match asked {
        Asked::Nobody => is_let_in.then_some(Breach::LetIn),
        Asked::WithoutScope(_) if is_let_in => Some(Breach::LetIn),
        Asked::WithoutScope(_) => (answer.status != 403 && !excused).then_some(Breach::Refused),
        Asked::Open => (!is_let_in && !excused).then_some(Breach::Refused),
        Asked::With(held) | Asked::Limited(held) if is_let_in => {
            let is_late = held.shut.get().is_some_and(|at| *at <= answer.sent);
            let is_other = answer.caller != held.id;
            match (is_late, is_other) {
                (true, _) => Some(Breach::AfterProof),
                (false, true) => Some(Breach::Mistaken),
                (false, false) => None,
            }
        }
        Asked::With(held) | Asked::Limited(held) => {
            let is_open = held.open.get().is_some_and(|at| *at <= answer.sent);
            let is_doubtful = held.doubtful.get().is_some_and(|at| *at <= answer.done);
            let is_limited = matches!(asked, Asked::Limited(_)) && answer.status == 429;
            (is_open && !is_doubtful && !is_limited && !excused).then_some(Breach::Refused)
        }
    }
}

/// Each breach of an answer is found, before any run: a recorder that sees nothing is worth nothing.
pub fn can_fail() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let held = |open: bool, shut: bool| {
        let held = Held::new("key", "id");
        if open {
            held.open.set(now).unwrap();
        }
        if shut {
            held.doubtful.set(now).unwrap();
            held.shut.set(now).unwrap();
        }
        held
    };
    let (fresh, good, dead) = (held(false, false), held(true, false), held(true, true));
    let (ok, none) = (200, 401);
    let cases = [
        (Asked::Nobody, ok, "", Some(Breach::LetIn)),
        (Asked::Nobody, none, "", None),
        (Asked::WithoutScope(&good), ok, "id", Some(Breach::LetIn)),
        (Asked::WithoutScope(&good), none, "", Some(Breach::Refused)),
        (Asked::Open, 404, "", Some(Breach::Refused)),
        (Asked::With(&fresh), none, "", None),
        (Asked::With(&good), none, "", Some(Breach::Refused)),
        (Asked::With(&good), 429, "", Some(Breach::Refused)),
        (Asked::With(&good), ok, "other", Some(Breach::Mistaken)),
        (Asked::With(&good), ok, "id", None),
        (Asked::With(&dead), ok, "id", Some(Breach::AfterProof)),
        (Asked::With(&dead), none, "", None),
        (Asked::Limited(&good), 429, "", None),
        (Asked::Limited(&good), none, "", Some(Breach::Refused)),
    ];
    for (n, (asked, status, caller, found)) in cases.iter().enumerate() {
        let (sent, done, status) = (later, later, *status);
        let answer = Answered {
            sent,
            done,
            status,
            caller,
        };
        for weather in [Weather::Fair, Weather::Foul] {
            assert_eq!(judge(asked, &answer, weather), *found, "case {n}");
        }
    }
}
