//! Endurance: a steady mix of requests for hours, and one fault after the other. A recorder that
//! shares no code with Keystile watches what has to hold.
//!
//!     scripts/endure soak --for 1h --store postgres
//!     scripts/endure chaos --for 1h --seed 7
//!
//! Real servers and two real Envoys, one with the WebAssembly filter and one with the native module.
//! The report and its charts are in `target/endure/`; the exit code is 1 if anything did not hold.
#![cfg_attr(target_family = "wasm", no_main)]
#![cfg(not(target_family = "wasm"))]

mod bed;
mod chaos;
mod chart;
mod clock;
mod console;
mod disk;
mod faults;
mod judge;
mod ledger;
mod limits;
mod load;
mod memory;
mod minutes;
mod network;
mod options;
mod program;
mod record;
mod report;
mod seed;
mod soak;
mod usage;
mod wire;
mod writer;

use clap::Parser as _;
use options::{Options, What};

fn main() {
    let options = Options::parse();
    judge::can_fail();
    let held = match options.what {
        What::Soak => soak::run(&options),
        What::Chaos => chaos::run(&options),
    };
    if !held {
        std::process::exit(1);
    }
}
