//! The vocabulary of the companion: what a key's rules, a client, a token, a caller, an audit
//! record and a refusal are, and how they are written and read.
//!
//! Holds types, their checks, and their text and JSON forms. Never reads a clock, a file, the
//! environment or a database; never words the next step of one surface in the terms of another;
//! knows neither SQL nor HTTP.

pub mod audit;
pub mod caller;
pub mod error;
pub mod events;
pub mod foreign;
pub mod import_lines;
pub mod invisible;
pub mod key;
pub mod nearest;
pub mod plural;
pub mod reach;
pub mod reading;
pub mod record;
pub mod redaction;
pub mod refusal;
pub mod room;
pub mod rotation;
pub mod rules;
pub mod scanning;
pub mod spelling;
pub mod token_record;
pub mod url;
pub mod webhook;
pub mod when;
pub mod wire;
pub mod words;
pub mod world;
