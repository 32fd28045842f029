//! How much memory each process has, and whether it grows.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// What may be told apart from noise: a run of which less than this is left after the warm-up is too
/// short to say whether a process grows by a hundredth an hour.
const LEAST: f64 = 1_200.0;
/// Growth in an hour that is none.
const FLAT: f64 = 1.0;

/// Seconds since the beginning, and megabytes.
pub type Course = Vec<(f64, f64)>;

/// Looks at processes until it is stopped.
pub struct Memory {
    thread: JoinHandle<BTreeMap<String, Course>>,
    stop: Arc<AtomicBool>,
}

/// A process that is looked at: its name, and how its id is found out.
pub type Watched = (String, Box<dyn Fn() -> Option<u32> + Send>);

impl Memory {
    pub fn watch(began: Instant, watched: Vec<Watched>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut courses: BTreeMap<String, Course> = BTreeMap::new();
            for n in 1.. {
                for (name, pid) in &watched {
                    if let Some(megabytes) = pid().and_then(resident) {
                        let course = courses.entry(name.clone()).or_default();
                        course.push((began.elapsed().as_secs_f64(), megabytes));
                    }
                }
                while began.elapsed() < EVERY * n {
                    if of_thread.load(Ordering::Relaxed) {
                        return courses;
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            }
            courses
        });
        Self { thread, stop }
    }

    pub fn stop(self) -> BTreeMap<String, Course> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Megabytes of a process; those that its children share with it, once.
fn resident(pid: u32) -> Option<f64> {
    let kilobytes = |pid: u32, file: &str, field: &str| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix(field))?;
        line.trim().split(' ').next()?.parse().ok()
    };
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let children: Vec<u32> = children
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect();
    if children.is_empty() {
        return Some(kilobytes(pid, "status", "VmRSS:")? / 1024.0);
    }
    let all = children.into_iter().chain([pid]);
    let shares = all.filter_map(|pid| kilobytes(pid, "smaps_rollup", "Pss:"));
    Some(shares.sum::<f64>() / 1024.0)
}

/// What came of a process.
pub struct Growth {
    pub first: f64,
    pub last: f64,
    pub most: f64,
    /// In hundredths an hour, after the warm-up; none if that was too short a time.
    pub an_hour: Option<f64>,
}

impl Growth {
    /// Of its course. The warm-up is the first third, at most a quarter of an hour.
    pub fn of_course(course: &Course) -> Option<Self> {
        let (first, last) = (course.first()?, course.last()?);
        let warm = first.0 + ((last.0 - first.0) / 3.0).min(900.0);
        let after: Course = course
            .iter()
            .copied()
            .filter(|(at, _)| *at >= warm)
            .collect();
        let spans = after.first()?.0 + LEAST <= last.0;
        Some(Self {
            first: first.1,
            last: last.1,
            most: course.iter().map(|(_, mb)| *mb).fold(0.0, f64::max),
            an_hour: spans.then(|| slope(&after)),
        })
    }

    /// Whether it grew by more than is none.
    pub fn is_growing(&self) -> bool {
        self.an_hour.is_some_and(|growth| growth > FLAT)
    }
}

/// The median of all slopes between two points (Theil and Sen), which no single step moves, in
/// hundredths of the median an hour.
fn slope(course: &Course) -> f64 {
    let sparse: Course = course
        .iter()
        .copied()
        .step_by(1 + course.len() / 400)
        .collect();
    let pairs = sparse.iter().enumerate().flat_map(|(at, from)| {
        let later = &sparse[at + 1..];
        later
            .iter()
            .map(move |to| (to.1 - from.1) / (to.0 - from.0))
    });
    let a_second = median(pairs.collect());
    let usual = median(sparse.iter().map(|(_, mb)| *mb).collect());
    a_second * 3_600.0 / usual * 100.0
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// A process that grows is found, and one that does not is not: before any run.
pub fn can_fail() {
    let course = |a_second: f64| -> Course {
        let at = (0..720).map(|n| f64::from(n) * 5.0);
        // Noise of two megabytes, and a step while it warms up.
        at.map(|s| {
            (
                s,
                100.0 + 5.0 * (s / 600.0).min(1.0) + a_second * s + (s * 7.3).sin(),
            )
        })
        .collect()
    };
    let grows = |a_second| Growth::of_course(&course(a_second)).unwrap().is_growing();
    assert!(grows(2.0 / 3_600.0), "two hundredths an hour");
    assert!(!grows(0.0), "none");
}
