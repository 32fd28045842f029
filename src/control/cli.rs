//! What a person types.

use crate::system;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

use crate::commands::{self, Context};
use crate::error::{Result, refuse};
use crate::home::Home;
use crate::output::{self, Form, Output};
use crate::remote::{self, Remote};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// API keys for Envoy and Istio: issue, revoke, publish, explain
///
/// keystilectl owns clients, keys, plans and the audit log, and turns them into a signed
/// keyset that the filter keystile.wasm checks every request against.
#[derive(Parser)]
#[command(name = "keystilectl", version, styles = STYLES, max_term_width = 100, after_help = "\
A first round:
  keystilectl init
  keystilectl client create acme --plan gold
  keystilectl key issue acme --scope read --expires 90d
  keystilectl push --ecds-file keystile.json
  export \"$(keystilectl signing-key export)\"
  keystilectl render envoy --upstream 127.0.0.1:8000 > envoy.yaml

Exit codes: 0 done, 1 refused or failed, 2 typed wrongly.")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// The folder of the store [default: ~/.keystile]
    #[arg(
        long,
        value_name = "DIR",
        env = "KEYSTILE_HOME",
        global = true,
        help_heading = "Everywhere"
    )]
    home: Option<PathBuf>,

    /// The form of what is printed
    #[arg(
        long,
        short,
        value_name = "FORM",
        default_value = "table",
        global = true,
        help_heading = "Everywhere"
    )]
    output: Form,

    /// Prints the master key: `vault kv get …`, `pass show …`. Otherwise it is read from the
    /// environment (KEYSTILE_MASTER_KEY) or from master.key in the store's folder
    #[arg(
        long,
        value_name = "CMD",
        env = "KEYSTILE_MASTER_KEY_COMMAND",
        global = true,
        help_heading = "Everywhere"
    )]
    master_key_command: Option<String>,

    /// Work through this server, with the token in KEYSTILE_TOKEN, in place of a store here
    #[arg(
        long,
        value_name = "URL",
        env = "KEYSTILE_SERVER",
        global = true,
        help_heading = "Everywhere"
    )]
    server: Option<String>,

    /// The authority that the server's certificate is of, if it is a private one
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYSTILE_SERVER_CA",
        global = true,
        help_heading = "Everywhere"
    )]
    server_ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    Init(commands::init::Init),
    #[command(subcommand)]
    Client(commands::client::Client),
    #[command(subcommand)]
    Key(commands::key::Key),
    #[command(subcommand)]
    Plan(commands::policy::Plan),
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    #[command(subcommand)]
    Keyset(commands::keyset::Keyset),
    Push(commands::push::Push),
    #[command(subcommand)]
    Render(commands::render::Render),
    Explain(commands::explain::Explain),
    Import(commands::import::Import),
    #[command(subcommand)]
    SigningKey(commands::signing_key::SigningKey),
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    Serve(Box<commands::serve::Serve>),
    Fleet(commands::fleet::Fleet),
    #[command(subcommand)]
    Node(commands::node::Node),
    #[command(subcommand)]
    Token(commands::token::Token),
    #[command(subcommand)]
    Session(commands::session::Session),
    #[command(subcommand)]
    Webhook(commands::webhook::Webhook),
    Usage(commands::usage::Usage),
    #[command(subcommand)]
    Quota(commands::quota::Quota),
    Backup(commands::backup::Backup),
    Restore(commands::backup::Restore),
    #[command(subcommand)]
    MasterKey(commands::master_key::MasterKey),
    Completions(Completions),
}

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl completions bash > /etc/bash_completion.d/keystilectl
  keystilectl completions zsh > ~/.zfunc/_keystilectl")]
struct Completions {
    shell: clap_complete::Shell,
}

/// Runs what was typed.
pub fn main() -> ExitCode {
    system::harden();
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            output::error(&e);
            // 2 is clap's, for what was typed wrongly.
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if let Command::Completions(c) = &cli.command {
        return completions(c.shell);
    }
    // Before anything is done: what cannot be printed would be lost.
    if cli.global.output == Form::Csv && !matches!(&cli.command, Command::Usage(_)) {
        return Err(refuse(
            "only `keystilectl usage` has a form for spreadsheets",
            "use `--output json`",
        ));
    }
    let server = match cli.global.server.filter(|s| !s.is_empty()) {
        Some(url) => {
            let token = system::secret_variable(remote::TOKEN);
            Some(Remote::new(&url, cli.global.server_ca.as_deref(), token)?)
        }
        None => None,
    };
    let cx = &Context {
        world: system::local(),
        home: Home::new(home(cli.global.home)?, cli.global.master_key_command),
        out: Output::new(cli.global.output),
        server,
    };
    match cli.command {
        Command::Init(c) => c.run(cx),
        Command::Client(c) => c.run(cx),
        Command::Key(c) => c.run(cx),
        Command::Plan(c) => c.run(cx),
        Command::Policy(c) => c.run(cx),
        Command::Keyset(c) => c.run(cx),
        Command::Push(c) => c.run(cx),
        Command::Render(c) => c.run(cx),
        Command::Explain(c) => c.run(cx),
        Command::Import(c) => c.run(cx),
        Command::SigningKey(c) => c.run(cx),
        Command::Audit(c) => c.run(cx),
        Command::Serve(c) => c.run(cx),
        Command::Fleet(c) => c.run(cx),
        Command::Node(c) => c.run(cx),
        Command::Token(c) => c.run(cx),
        Command::Session(c) => c.run(cx),
        Command::Webhook(c) => c.run(cx),
        Command::Quota(c) => c.run(cx),
        Command::Usage(c) => c.run(cx),
        Command::Backup(c) => c.run(cx),
        Command::Restore(c) => c.run(cx),
        Command::MasterKey(c) => c.run(cx),
        Command::Completions(_) => Ok(()),
    }
}

fn home(given: Option<PathBuf>) -> Result<PathBuf> {
    given
        .filter(|p| !p.as_os_str().is_empty())
        .or_else(|| Some(PathBuf::from(system::variable("HOME")?).join(".keystile")))
        .ok_or_else(|| {
            refuse(
                "there is no home folder",
                "name the store's folder with `--home` or KEYSTILE_HOME",
            )
        })
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut out = Vec::new();
    let mut command = <Cli as clap::CommandFactory>::command();
    clap_complete::generate(shell, &mut command, "keystilectl", &mut out);
    output::raw(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                assert!(sub.get_about().is_some(), "`{path}` has no help");
                for arg in sub.get_arguments().filter(|a| !a.is_hide_set()) {
                    assert!(
                        arg.get_help().is_some() || arg.is_positional(),
                        "`{path} {}` has no help",
                        arg.get_id()
                    );
                }
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub
                        .get_after_help()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    assert!(help.contains("keystilectl"), "`{path}` has no example");
                }
            }
        }
        check(&Cli::command(), "keystilectl");
    }
}
