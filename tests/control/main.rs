//! The companion as a person and a script meet it: transcripts that hold its exact words,
//! and faults that must not cost a key.

mod faults;
mod programs;
mod support;
mod transcripts;
