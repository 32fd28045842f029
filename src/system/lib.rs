//! Clock, randomness, user, host, environment and private files: used only here.
//!
//! Crates above this one are given a time and a source of randomness, in a [`World`]. Never decides
//! anything, and never opens a store.
#![expect(
    clippy::disallowed_methods,
    reason = "clock, randomness, environment and programs are asked here, for all others"
)]

use std::net::IpAddr;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, geteuid, getuid};
use zeroize::Zeroizing;

use keystile_model::caller::{Caller, Grant};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::reach::Reach;
use keystile_model::world::{Actor, Moment, World};

pub mod child;
pub mod file;

/// The real world, for a local caller.
pub fn local() -> World {
    World {
        now: now(),
        actor: actor(),
        caller: Caller::Local,
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The real world, for a request with a token.
pub fn of_request(grant: Grant, address: IpAddr, request: &str) -> World {
    World {
        now: now(),
        actor: remote(
            format!("token {} ({})", grant.name, grant.id),
            address,
            request,
        ),
        caller: Caller::Token(grant),
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The real world, for a request by a person who signed in through an identity provider.
pub fn of_person(name: &str, grant: Grant, address: IpAddr, request: &str) -> World {
    let name = name.chars().filter(|c| !c.is_control()).take(600).collect();
    World {
        now: now(),
        actor: remote(name, address, request),
        caller: Caller::Token(grant),
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The real world, for what a server does on its own.
pub fn of_server() -> World {
    World {
        now: now(),
        actor: Actor {
            user: "keystilectl serve".to_owned(),
            ..actor()
        },
        caller: Caller::Local,
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The real world, for a message that a secret scanner signed.
pub fn of_scanner(address: IpAddr, request: &str) -> World {
    World {
        caller: Caller::Local,
        actor: remote("secret scanner".to_owned(), address, request),
        now: now(),
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The real world, for a caller that presents a key to have it revoked.
pub fn of_holder(address: IpAddr, request: &str) -> World {
    World {
        actor: remote("holder of the key".to_owned(), address, request),
        ..of_scanner(address, request)
    }
}

/// The real world, for a request by an unknown caller: only good for recording its refusal.
pub fn of_stranger(address: IpAddr, request: &str) -> World {
    World {
        now: now(),
        actor: remote("unknown caller".to_owned(), address, request),
        caller: Caller::Token(Grant::nothing()),
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The wall clock.
pub fn now() -> Moment {
    let now = jiff::Timestamp::now().as_millisecond();
    Moment::from_ms(u64::try_from(now).unwrap_or(0))
}

/// The monotonic clock, for deadlines.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn system_entropy(buf: &mut [u8]) -> Result<()> {
    getrandom::fill(buf).map_err(|e| {
        refuse(
            Code::SystemFailed,
            format_args!("the system provides no randomness ({e})"),
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
    Actor {
        uid: Some(uid.as_raw()),
        user: user.chars().filter(|c| !c.is_control()).take(128).collect(),
        host: host(),
        ..Actor::default()
    }
}

fn remote(user: String, address: IpAddr, request: &str) -> Actor {
    Actor {
        uid: None,
        user,
        host: host(),
        address: address.to_canonical().to_string(),
        request: request
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect(),
    }
}

fn host() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|h| h.into_string().ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The monotonic clock, in nanoseconds since the first call.
pub fn nanoseconds() -> u64 {
    static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(instant).elapsed().as_nanos();
    u64::try_from(elapsed).unwrap_or(u64::MAX)
}

/// An environment variable; `None` if it is empty or not UTF-8.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The command line, program name first.
pub fn arguments() -> Vec<std::ffi::OsString> {
    std::env::args_os().collect()
}

/// An environment variable that holds a secret.
pub fn secret_variable(name: &str) -> Option<Zeroizing<String>> {
    variable(name).map(Zeroizing::new)
}

/// The user that this process works as.
pub fn user_id() -> u32 {
    geteuid().as_raw()
}

/// Our own variables that a program we start may see: only locations.
const TOLD: [&str; 4] = [
    "KEYSTILE_HOME",
    "KEYSTILE_SERVER",
    "KEYSTILE_SERVER_CA",
    "KEYSTILE_WEBHOOK_ALLOW",
];

/// A shell command, ready to be started; all programs are started this way. It inherits none of our
/// secrets, neither present ones (master key, token, client secret, signing keys) nor future ones:
/// no variable with our prefix is passed on, nor is `PGPASSWORD`.
pub fn shell(line: &str) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", line]);
    for (name, _) in std::env::vars_os() {
        // That is the password of the store's database.
        let ours = name.as_encoded_bytes().starts_with(b"KEYSTILE_") || name == "PGPASSWORD";
        if ours && !TOLD.iter().any(|told| name == *told) {
            command.env_remove(name);
        }
    }
    command
}

/// Protects the secrets of the process: no core dumps, no debugging by other processes of the same
/// user, and files that nobody else can read by default.
pub fn harden() {
    // Best effort: a sandbox that forbids these calls has made its own rules.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
    umask(Mode::from_bits_truncate(0o077));
}

/// How many of the wanted connections each of some listeners may have, after raising this process's
/// limit of open files as far as the system allows: running out of files for the store would be
/// worse than refusing a connection.
pub fn connections(wanted: usize, listeners: usize) -> usize {
    /// Files for the store, logs, certificates and outgoing connections.
    const OTHERS: u64 = 200;
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(hard, |(soft, _)| soft);
    let each = files.saturating_sub(OTHERS) / listeners.max(1) as u64;
    wanted
        .min(usize::try_from(each).unwrap_or(usize::MAX))
        .max(1)
}

/// The file of this executable.
pub fn executable() -> Option<std::path::PathBuf> {
    std::env::current_exe().ok()
}

/// The folder of this executable.
pub fn executable_folder() -> Option<std::path::PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// A world at a fixed time in seconds; its randomness is real.
pub fn at(seconds: u64) -> World {
    World {
        now: Moment::from_ms(seconds * 1000),
        actor: Actor {
            uid: Some(1000),
            user: "tess".to_owned(),
            host: "bench".to_owned(),
            ..Actor::default()
        },
        caller: Caller::Local,
        entropy: system_entropy,
        reach: Reach::default(),
    }
}

/// The same for the holder of a token.
pub fn by(seconds: u64, grant: Grant) -> World {
    World {
        actor: remote(
            format!("token {} ({})", grant.name, grant.id),
            std::net::Ipv4Addr::LOCALHOST.into(),
            "r-1",
        ),
        caller: Caller::Token(grant),
        ..at(seconds)
    }
}
