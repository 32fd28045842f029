//! `keystilectl`: owns clients, keys, plans and the audit log; issues keys; turns the store into
//! a signed keyset and hands it to Envoy.
//!
//! What a person types ([`cli`], [`commands`]) and what is printed for it ([`output`]), put
//! together with the crates that do it. Never decides what the store would: every command is an
//! operation of `keystile-api`, or prints what another crate made.

mod cli;
mod commands;
mod output;
mod remembered;

fn main() -> std::process::ExitCode {
    cli::main()
}
