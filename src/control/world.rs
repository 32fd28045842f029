//! Clock, randomness, user, host, environment: touched here and nowhere else.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, geteuid, getuid};
use zeroize::Zeroizing;

use crate::error::{Result, refuse};

/// An instant, read once per operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// From milliseconds since the epoch.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// Who does something, as the audit log names him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The real user id; `sudo` leaves its trace in `user`.
    pub uid: u32,
    /// The name of the user.
    pub user: String,
    /// The machine.
    pub host: String,
}

/// Where an operation stands: when, who, and where randomness comes from.
pub struct World {
    /// The one instant of this operation.
    pub now: Moment,
    /// Who does it.
    pub actor: Actor,
    /// Fills a buffer with randomness.
    pub entropy: fn(&mut [u8]) -> Result<()>,
}

impl World {
    /// Reads the real one.
    pub fn read() -> Self {
        let now = jiff::Timestamp::now().as_millisecond();
        Self {
            now: Moment(u64::try_from(now).unwrap_or(0)),
            actor: actor(),
            entropy: system_entropy,
        }
    }
}

fn system_entropy(buf: &mut [u8]) -> Result<()> {
    getrandom::fill(buf).map_err(|e| {
        refuse(
            format_args!("the system gives no randomness ({e})"),
            "nothing was changed; try again",
        )
    })
}

fn actor() -> Actor {
    let uid = getuid();
    let name = User::from_uid(uid).ok().flatten().map(|u| u.name);
    let user = match (name, variable("SUDO_USER")) {
        // Whoever became root by sudo is named too.
        (Some(name), Some(sudo)) if geteuid().is_root() => format!("{sudo} as {name}"),
        (Some(name), _) => name,
        (None, _) => format!("uid {uid}"),
    };
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|h| h.into_string().ok())
        .unwrap_or_else(|| "unknown".to_owned());
    Actor {
        uid: uid.as_raw(),
        user: user.chars().filter(|c| !c.is_control()).take(128).collect(),
        host,
    }
}

/// An environment variable; `None` if it is empty or not UTF-8.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// An environment variable that holds a secret.
pub fn secret_variable(name: &str) -> Option<Zeroizing<String>> {
    variable(name).map(Zeroizing::new)
}

/// Makes the process keep its secrets to itself: no core dump, no debugger of another
/// process of the same user, and files that nobody else can read unless we say so.
pub fn harden() {
    // Best effort: a sandbox that forbids these calls has made its own rules.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
    umask(Mode::from_bits_truncate(0o077));
}

/// The folder of this executable.
pub fn executable_folder() -> Option<std::path::PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

#[cfg(test)]
impl World {
    /// A fixed one, at a number of seconds; its randomness is real.
    pub fn at(seconds: u64) -> Self {
        Self {
            now: Moment(seconds * 1000),
            actor: Actor {
                uid: 1000,
                user: "tess".to_owned(),
                host: "bench".to_owned(),
            },
            entropy: system_entropy,
        }
    }
}
