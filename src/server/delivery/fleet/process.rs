//! The Envoy processes behind one node id. Usually there is one; during a hot restart there are
//! two, and if several Envoys were given the same id there are more. What one of them has in force
//! says nothing about another, so each has to prove a version.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::report::{Proof, ReportRefusal};
use keystile_model::world::Moment;
use keystile_store::{KnownDoubt, KnownProcess, KnownProcesses};

/// How many VMs of one process are tracked: as many as the filter counts.
const VMS_MOST: usize = 257;
/// How many processes of one node are tracked.
const PROCESSES_MOST: usize = 16;
/// How many VMs are tracked per number, if the filter does not name its process.
const CLAIMS_MOST: usize = 16;
/// After this time without a report, or three periods if that is longer, a process that was
/// replaced has ended, and doubts about a node no longer count.
pub const QUIET: Duration = Duration::from_secs(60);
/// The longest time for which a process and its replacement report side by side: by default, Envoy
/// ends the old process of a hot restart after fifteen minutes. If they do so for longer, they are
/// two Envoys, and silence does not show that one of them has ended.
const OVERLAP_MOST: Duration = Duration::from_secs(20 * 60);

/// What one VM reported last.
pub struct Vm {
    sent: u64,
    claimed: u64,
    /// VMs that had the number before, with the time of their last report: for filters that do not
    /// name their process.
    former: Vec<(u64, u64)>,
    pub heard: Instant,
    pub at: Moment,
    pub version: u64,
    pub base: u64,
    pub missing_base: bool,
}

/// One Envoy process.
pub struct Process {
    pub vms: BTreeMap<u32, Vm>,
    /// How many VMs it has, according to its last report.
    pub expected: u32,
    first: Instant,
    heard: Instant,
    /// It reported beside another one for longer than a hot restart lasts.
    is_twin: bool,
    /// It has not reported for some periods.
    is_silent: bool,
    /// By how many seconds its clock is off, so that its reports do not count.
    off: Option<u64>,
}

impl Process {
    fn new(at: Instant) -> Self {
        Self {
            vms: BTreeMap::new(),
            expected: 0,
            first: at,
            heard: at,
            is_twin: false,
            is_silent: false,
            off: None,
        }
    }

    /// Whether all of its VMs have reported lately.
    pub fn is_complete(&self) -> bool {
        self.expected > 0 && self.vms.len() >= self.expected as usize
    }

    /// How long two of them reported side by side.
    fn overlap(&self, other: &Self) -> Duration {
        let (from, to) = (self.first.max(other.first), self.heard.min(other.heard));
        to.saturating_duration_since(from)
    }
}

/// All processes that report under one node id.
#[derive(Default)]
pub struct Processes {
    /// By the number that each process gives itself; filters that give none are one.
    all: BTreeMap<Option<u64>, Process>,
    /// Several processes give no number, or there are too many of them.
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy)]
struct Doubt {
    first: Instant,
    last: Instant,
    /// It has not been observed for some periods.
    is_stale: bool,
    /// It was observed for longer than a hot restart lasts, so it does not end by itself.
    lasts: bool,
}

impl Doubt {
    fn since(at: Instant) -> Self {
        Self {
            first: at,
            last: at,
            is_stale: false,
            lasts: false,
        }
    }

    fn renew(&mut self, at: Instant) {
        self.last = at;
        self.is_stale = false;
        self.lasts |= at.saturating_duration_since(self.first) > OVERLAP_MOST;
    }
}

impl Processes {
    /// Takes a report.
    ///
    /// # Errors
    /// If it is older than another one of the same VM, or there are too many.
    pub fn take(&mut self, proof: &Proof, now: Moment, at: Instant) -> Result<(), ReportRefusal> {
        if !self.all.contains_key(&proof.process) && self.all.len() >= PROCESSES_MOST {
            self.doubt(at);
            return Err(ReportRefusal::TooMany);
        }
        let process = self
            .all
            .entry(proof.process)
            .or_insert_with(|| Process::new(at));
        let mut former = Vec::new();
        let mut is_back = false;
        match process.vms.get(&proof.vm) {
            // One process has one clock.
            Some(vm) if proof.process.is_some() || vm.claimed == proof.claimed => {
                if proof.sent < vm.sent {
                    return Err(ReportRefusal::Older);
                }
                former.clone_from(&vm.former);
            }
            Some(vm) => {
                former.clone_from(&vm.former);
                former.push((vm.claimed, vm.sent));
                if let Some(n) = former.iter().position(|f| f.0 == proof.claimed) {
                    if proof.sent < former.remove(n).1 {
                        return Err(ReportRefusal::Older);
                    }
                    // A number goes to a new VM when the old one is dead, and never goes back.
                    is_back = true;
                }
                if former.len() > CLAIMS_MOST {
                    former.remove(0);
                }
            }
            None if process.vms.len() >= VMS_MOST => return Err(ReportRefusal::TooMany),
            None => {}
        }
        process.expected = proof.vms;
        process.heard = at;
        (process.is_silent, process.off) = (false, None);
        let vm = Vm {
            sent: proof.sent,
            claimed: proof.claimed,
            former,
            heard: at,
            at: now,
            version: proof.version,
            base: proof.base,
            missing_base: proof.missing_base,
        };
        process.vms.insert(proof.vm, vm);
        if is_back {
            self.doubt(at);
        }
        self.compare(proof.process);
        Ok(())
    }

    /// A report with a wrong time arrived. It proves nothing, but its process is alive, unless it
    /// is a replay from a process that has reported since.
    pub fn is_off(&mut self, proof: &Proof, off: u64, at: Instant) {
        let is_full = self.all.len() >= PROCESSES_MOST;
        match self.all.get_mut(&proof.process) {
            None if proof.process.is_none() => {}
            None if is_full => self.doubt(at),
            None => {
                let mut process = Process::new(at);
                process.expected = proof.vms;
                process.off = Some(off);
                self.all.insert(proof.process, process);
            }
            Some(process) if process.off.is_some() => {
                process.heard = at;
                (process.is_silent, process.off) = (false, Some(off));
            }
            Some(process) if proof.process.is_none() => {
                let vm = process.vms.get(&proof.vm);
                if vm.is_some_and(|vm| vm.claimed != proof.claimed) {
                    self.doubt(at);
                }
            }
            Some(_) => {}
        }
    }

    /// By how many seconds a clock is off.
    pub fn clock_off(&self) -> Option<u64> {
        let living = self.all.values().filter(|p| !p.is_silent);
        living.filter_map(|p| p.off).max()
    }

    fn doubt(&mut self, at: Instant) {
        self.doubt.get_or_insert(Doubt::since(at)).renew(at);
    }

    /// Finds the other processes beside which this one has reported for too long.
    fn compare(&mut self, id: Option<u64>) {
        let Some(mut process) = self.all.remove(&id) else {
            return;
        };
        for other in self.all.values_mut() {
            if process.overlap(other) > OVERLAP_MOST {
                (process.is_twin, other.is_twin) = (true, true);
            }
        }
        self.all.insert(id, process);
    }

    /// Drops reports of VMs that have been silent for longer than `fresh`, and processes that were
    /// replaced.
    pub fn bury(&mut self, fresh: Duration, at: Instant) {
        let since = |heard: Instant| at.saturating_duration_since(heard);
        for process in self.all.values_mut() {
            process.vms.retain(|_, vm| since(vm.heard) <= fresh);
            process.is_silent = process.vms.is_empty() && since(process.heard) > fresh;
        }
        let quiet = QUIET.max(fresh);
        let living = |p: &Process| !p.vms.is_empty();
        let ended = |p: &Process| {
            let replaced = |other: &Process| living(other) && p.overlap(other) <= OVERLAP_MOST;
            !living(p) && !p.is_twin && since(p.heard) > quiet && self.all.values().any(replaced)
        };
        let gone = self.all.iter().filter(|(_, p)| ended(p));
        let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
        self.all.retain(|id, _| !gone.contains(id));
        if let Some(doubt) = &mut self.doubt {
            doubt.is_stale = since(doubt.last) > fresh;
            if !doubt.lasts && since(doubt.last) > quiet {
                self.doubt = None;
            }
        }
    }

    /// An Envoy has just started: what was proved before does not apply to it. The processes that
    /// proved it may still run, cut off from here, so each has to prove it again until it has been
    /// silent for long enough ([`Self::bury`]).
    pub fn begin_anew(&mut self, at: Instant) {
        for (id, process) in &mut self.all {
            // The new one may not give a number either, and would then be taken for this one.
            let may_live = at.saturating_duration_since(process.heard) <= QUIET;
            if id.is_none() && may_live {
                self.doubt.get_or_insert(Doubt::since(at)).renew(at);
            }
            process.vms.clear();
        }
    }

    /// What a restarted server has to know about them.
    pub fn known(&self) -> KnownProcesses {
        let all = self.all.iter().map(|(number, process)| KnownProcess {
            number: *number,
            is_twin: process.is_twin,
        });
        KnownProcesses {
            all: all.collect(),
            doubt: self.doubt.map(|doubt| match doubt.lasts {
                true => KnownDoubt::Lasting,
                false => KnownDoubt::Passing,
            }),
        }
    }

    /// Adds those that an earlier server knew, as if each of them had just reported but proved
    /// nothing.
    pub fn recall(&mut self, known: &KnownProcesses, at: Instant) {
        for one in &known.all {
            let process = self
                .all
                .entry(one.number)
                .or_insert_with(|| Process::new(at));
            process.is_twin |= one.is_twin;
        }
        if let Some(known) = known.doubt {
            let doubt = self.doubt.get_or_insert(Doubt::since(at));
            doubt.lasts |= known == KnownDoubt::Lasting;
        }
    }

    /// Whether there is something to forget: silent processes, or a doubt that is no longer
    /// observed.
    pub fn is_forgettable(&self) -> bool {
        match self.doubt {
            Some(doubt) => doubt.is_stale,
            None => self.all.len() > 1 && self.silent() > 0,
        }
    }

    /// Forgets all but the live processes. A process that was forgotten but is alive is back with
    /// its next report.
    pub fn forget_silent(&mut self) {
        self.all.retain(|_, p| !p.is_silent);
        self.doubt = None;
    }

    /// Whether several processes give no number, or there are too many.
    pub fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them no longer report.
    pub fn silent(&self) -> usize {
        self.all.values().filter(|p| p.is_silent).count()
    }

    /// Whether those that no longer report are dropped automatically after a while.
    pub fn end_by_themselves(&self) -> bool {
        let lives = self.all.values().any(|p| !p.is_silent);
        lives && self.all.values().all(|p| !p.is_silent || !p.is_twin)
    }

    /// How many of them are distinguished.
    pub fn named(&self) -> usize {
        self.all.keys().filter(|id| id.is_some()).count()
    }

    /// How many VMs there have to be.
    pub fn expected(&self) -> usize {
        let each = self.all.values();
        each.map(|p| p.vms.len().max(p.expected as usize)).sum()
    }

    /// Whether each of them has proved something lately, in every VM.
    pub fn are_complete(&self) -> bool {
        !self.all.is_empty() && self.all.values().all(Process::is_complete)
    }

    /// The VMs of all, and their numbers.
    pub fn vms(&self) -> impl Iterator<Item = (u32, &Vm)> {
        let each = self.all.values().flat_map(|p| &p.vms);
        each.map(|(n, vm)| (*n, vm))
    }
}

#[cfg(test)]
mod tests;
