//! The companion as a person and a script meet it: transcripts that hold its exact words,
//! and faults that must not cost a key.

mod alerts;
mod chart;
mod cluster;
mod database;
mod faults;
mod handing_over;
mod imports;
mod interrupts;
mod keeping;
mod pages;
mod policies;
mod programs;
mod released;
mod schemas;
mod stolen;
mod terminal;
mod transcripts;
mod updating;

use keystile_tests::{pki, server, support};
