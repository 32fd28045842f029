//! What is broken, and how it is mended: nothing else is done to recover.

use std::time::{Duration, Instant};

use keystile_tests::door::Door;

use crate::bed::Bed;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::network::{Network, Trouble};
use crate::program::signal;

const DAY: i64 = 86_400;
/// How long everything may take to recover.
const RECOVERS: Duration = Duration::from_secs(30);
/// An Envoy that was started again counts twice until its former process has been silent for a minute
/// (the chapter about PostgreSQL): until then, no server calls anything proved.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What is broken. A number names a server or an Envoy.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillServer(usize),
    StopServer(usize),
    ServerLink(usize, Trouble),
    ServerClock(usize, i64),
    FullDisk,
    KillEnvoy(usize),
    StopEnvoy(usize),
    EnvoyLink(usize, Trouble),
    /// Every process of the database stands still.
    StopDatabase,
    /// A process of the database is killed: the others drop all connections, and recover.
    KillBackend,
    /// The database dies for good, and its standby takes its place.
    FailOver,
}

/// What can be broken.
pub struct Site {
    pub network: Network,
    pub disk: Option<Disk>,
    /// One for each server.
    pub clocks: Vec<Option<Clock>>,
    /// Where servers reach the database.
    pub door: Option<Door>,
    /// Whether the standby has taken the database's place.
    pub has_failed_over: bool,
    /// For each Envoy, when it was started again.
    pub restarts: Vec<Vec<Instant>>,
}

impl Fault {
    /// All that there are on this site.
    pub fn all(bed: &Bed, site: &Site) -> Vec<Self> {
        let links = [
            Trouble::CutOff,
            Trouble::Gone,
            Trouble::Deaf,
            Trouble::Lossy,
            Trouble::Slow,
        ];
        let mut all = Vec::new();
        for n in 0..bed.controls.len() {
            all.extend([Self::KillServer(n), Self::StopServer(n)]);
            all.extend(links.map(|trouble| Self::ServerLink(n, trouble)));
            if site.clocks[n].is_some() {
                all.extend([DAY, -DAY].map(|by| Self::ServerClock(n, by)));
            }
        }
        for n in 0..bed.edges.len() {
            all.extend([Self::KillEnvoy(n), Self::StopEnvoy(n)]);
            all.extend(links.map(|trouble| Self::EnvoyLink(n, trouble)));
        }
        if site.disk.is_some() {
            all.push(Self::FullDisk);
        }
        if bed.database.is_some() {
            all.extend([Self::StopDatabase, Self::KillBackend]);
            all.extend((!site.has_failed_over).then_some(Self::FailOver));
        }
        all
    }

    /// As the command line and the report name it.
    pub fn name(&self, bed: &Bed) -> String {
        let server = |n: usize| &bed.controls[n].host.name;
        let envoy = |n: usize| &bed.edges[n].host.name;
        match self {
            Self::KillServer(n) => format!("kill:{}", server(*n)),
            Self::StopServer(n) => format!("stop:{}", server(*n)),
            Self::ServerLink(n, trouble) => format!("{}:{}", word(*trouble), server(*n)),
            Self::ServerClock(n, by) if *by > 0 => format!("clock-fast:{}", server(*n)),
            Self::ServerClock(n, _) => format!("clock-slow:{}", server(*n)),
            Self::FullDisk => format!("full-disk:{}", server(0)),
            Self::KillEnvoy(n) => format!("kill:{}", envoy(*n)),
            Self::StopEnvoy(n) => format!("stop:{}", envoy(*n)),
            Self::EnvoyLink(n, trouble) => format!("{}:{}", word(*trouble), envoy(*n)),
            Self::StopDatabase => "stop:postgres".to_owned(),
            Self::KillBackend => "kill:postgres-backend".to_owned(),
            Self::FailOver => "fail-over:postgres".to_owned(),
        }
    }

    /// How long everything may take to recover.
    pub fn bound(&self) -> Duration {
        match self {
            Self::KillEnvoy(_) => FORGOTTEN + RECOVERS,
            _ => RECOVERS,
        }
    }

    /// Breaks it.
    pub fn begin(&self, bed: &Bed, site: &mut Site) {
        match self {
            Self::KillServer(n) => bed.controls[*n].program.kill(),
            Self::StopServer(n) => bed.controls[*n].program.signal("STOP"),
            Self::ServerLink(n, trouble) => {
                site.network.break_link(&bed.controls[*n].host, *trouble);
            }
            Self::ServerClock(n, by) => set(site, *n, *by),
            Self::FullDisk => site.disk.iter().for_each(Disk::fill),
            Self::KillEnvoy(n) => bed.edges[*n].program.kill(),
            Self::StopEnvoy(n) => bed.edges[*n].program.signal("STOP"),
            Self::EnvoyLink(n, trouble) => site.network.break_link(&bed.edges[*n].host, *trouble),
            Self::StopDatabase => database(bed, site, "STOP"),
            Self::KillBackend => {
                let killed = backends(bed, site).into_iter().next_back();
                killed.into_iter().for_each(|pid| signal(pid, "KILL"));
            }
            Self::FailOver if site.has_failed_over => {}
            Self::FailOver => {
                site.has_failed_over = true;
                let places = bed.database.iter().map(|database| {
                    database.fail_over();
                    database.standby_socket()
                });
                let places = places.collect();
                site.door
                    .iter()
                    .for_each(|door| door.lead(Clone::clone(&places)));
            }
        }
    }

    /// Mends it.
    pub fn end(&self, bed: &Bed, site: &mut Site) {
        match self {
            Self::KillServer(n) => bed.controls[*n].program.restart(),
            Self::StopServer(n) => bed.controls[*n].program.signal("CONT"),
            Self::ServerLink(n, _) => site.network.heal(&bed.controls[*n].host),
            Self::ServerClock(n, _) => set(site, *n, 0),
            Self::FullDisk => site.disk.iter().for_each(Disk::empty),
            Self::KillEnvoy(n) => {
                site.restarts[*n].push(Instant::now());
                bed.edges[*n].program.restart();
            }
            Self::StopEnvoy(n) => bed.edges[*n].program.signal("CONT"),
            Self::EnvoyLink(n, _) => site.network.heal(&bed.edges[*n].host),
            Self::StopDatabase => database(bed, site, "CONT"),
            Self::KillBackend | Self::FailOver => {}
        }
    }
}

fn word(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::CutOff => "cut-off",
        Trouble::Gone => "gone",
        Trouble::Deaf => "deaf",
        Trouble::Lossy => "lossy",
        Trouble::Slow => "slow",
    }
}

fn set(site: &Site, server: usize, seconds: i64) {
    site.clocks[server].iter().for_each(|c| c.set(seconds));
}

/// The process of the database that all others come from.
fn first(bed: &Bed, site: &Site) -> Option<u32> {
    let database = bed.database.as_ref()?;
    match site.has_failed_over {
        true => database.standby_pid(),
        false => Some(database.pid()),
    }
}

/// Those others.
fn backends(bed: &Bed, site: &Site) -> Vec<u32> {
    let children = first(bed, site)
        .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok());
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

fn database(bed: &Bed, site: &Site, name: &str) {
    let all = backends(bed, site).into_iter().chain(first(bed, site));
    all.for_each(|pid| signal(pid, name));
}
