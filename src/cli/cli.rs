//! The command line.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::styling::{AnsiColor, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{self, Context, Through};
use crate::output::{self, Output, OutputFormat};
use crate::remembered;
use keystile_model::error::{Code, Result, refuse};
use keystile_registry::home::Home;
use keystile_store::DatabaseAddress;
use keystile_system as system;

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

Exit codes: 0 done, 1 refused or failed, 2 usage error. With `--output json` an error is JSON, too, on
the last line of stderr.")]
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

    /// The database that the store is in, instead of the folder: `postgres://USER@HOST/DATABASE`.
    /// Only in the environment (KEYSTILE_STORE) may it contain a password
    #[arg(
        long,
        value_name = "ADDRESS",
        global = true,
        help_heading = "Everywhere"
    )]
    store: Option<String>,

    /// The output format
    #[arg(
        long,
        short,
        value_name = "FORM",
        default_value = "table",
        global = true,
        help_heading = "Everywhere"
    )]
    output: OutputFormat,

    /// Print long lists at once. Otherwise, on a terminal, they go through $PAGER, or `less`
    #[arg(long, global = true, help_heading = "Everywhere")]
    no_pager: bool,

    /// A command that prints the master key: `vault kv get …`, `pass show …`. Otherwise the key is
    /// read from the environment (KEYSTILE_MASTER_KEY) or from master.key in the store's folder
    #[arg(
        long,
        value_name = "CMD",
        env = "KEYSTILE_MASTER_KEY_COMMAND",
        global = true,
        help_heading = "Everywhere"
    )]
    master_key_command: Option<String>,

    /// Work through this server, with the token in KEYSTILE_TOKEN, instead of a store on this machine
    #[arg(
        long,
        value_name = "URL",
        env = "KEYSTILE_SERVER",
        global = true,
        help_heading = "Everywhere"
    )]
    server: Option<String>,

    /// The certificate authority of the server, if it is a private one
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
    Dev(commands::dev::Dev),
    Login(commands::login::Login),
    Logout(commands::login::Logout),
    Status(commands::status::StatusArgs),
    #[command(name = "end-with")]
    EndWith(commands::dev::EndWith),
    #[command(subcommand)]
    Client(commands::client::ClientCommand),
    #[command(subcommand)]
    Key(commands::key::KeyCommand),
    #[command(subcommand)]
    Plan(commands::policy::PlanCommand),
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    #[command(subcommand)]
    Keyset(commands::keyset::KeysetCommand),
    Push(commands::push::PushArgs),
    #[command(subcommand)]
    Render(commands::render::RenderCommand),
    Explain(commands::explain::Explain),
    Doctor(commands::doctor::Doctor),
    Import(commands::import::Import),
    #[command(subcommand)]
    SigningKey(commands::signing_key::SigningKeyCommand),
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    Serve(Box<commands::serve::Serve>),
    Fleet(commands::fleet::FleetArgs),
    #[command(subcommand)]
    Node(commands::node::NodeCommand),
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    #[command(subcommand)]
    Session(commands::session::SessionCommand),
    #[command(subcommand)]
    Webhook(commands::webhook::WebhookCommand),
    Usage(commands::usage::UsageArgs),
    #[command(subcommand)]
    Quota(commands::quota::QuotaCommand),
    Backup(commands::backup::Backup),
    Restore(commands::backup::Restore),
    #[command(subcommand)]
    Store(commands::store::StoreCommand),
    #[command(subcommand)]
    MasterKey(commands::master_key::MasterKeyCommand),
    Completions(Completions),
}

/// Print completions for your shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl completions bash > /etc/bash_completion.d/keystilectl
  keystilectl completions zsh > ~/.zfunc/_keystilectl")]
struct Completions {
    shell: clap_complete::Shell,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    system::harden();
    let args = system::arguments();
    let cli = match parsed(&args) {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() && mistyped::wants_json(&args) => {
            output::error(OutputFormat::Json, &mistyped::error(&e));
            return ExitCode::from(2);
        }
        // 2 is clap's, for what was typed wrongly.
        Err(e) => e.exit(),
    };
    let form = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            output::error(form, &e);
            ExitCode::FAILURE
        }
    }
}

fn parsed(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let mut command = command();
    if let Some((option, next)) = swallowed(&command, args) {
        let message = format!(
            "`--{option}` has no value: `{next}` is an option; if that is the value, write `--{option}={next}`"
        );
        let mut e = command.error(ErrorKind::InvalidValue, message);
        let of = [
            (ContextKind::InvalidArg, format!("--{option}")),
            (ContextKind::InvalidValue, next),
        ];
        for (kind, text) in of {
            e.insert(kind, ContextValue::String(text));
        }
        return Err(e);
    }
    Cli::from_arg_matches(&command.try_get_matches_from(args)?)
}

/// The command line. Hosts, paths, headers and free text may begin with a dash: whatever an
/// option takes as text is its value, not another option.
fn command() -> clap::Command {
    fn with_dashes(command: clap::Command) -> clap::Command {
        command
            .mut_args(|arg| {
                let free = is_free(&arg) || arg.is_allow_hyphen_values_set();
                arg.allow_hyphen_values(free)
            })
            .mut_subcommands(with_dashes)
    }
    with_dashes(grouped::grouped(Cli::command()))
}

/// Whether an option takes free text: not a number, a time, a file or one of a few words.
fn is_free(arg: &clap::Arg) -> bool {
    let text = [TypeId::of::<String>(), TypeId::of::<(String, String)>()];
    let one = arg
        .get_num_args()
        .is_none_or(|n| (n.min_values(), n.max_values()) == (1, 1));
    let takes = arg.get_action().takes_values() && one && !arg.is_require_equals_set();
    let kind = arg.get_value_parser().type_id();
    !arg.is_positional() && takes && text.iter().any(|t| kind == *t)
}

/// An option whose value was forgotten, so that it would take the next option as its value.
fn swallowed(command: &clap::Command, args: &[OsString]) -> Option<(String, String)> {
    fn each<'c>(command: &'c clap::Command, out: &mut Vec<&'c clap::Arg>) {
        out.extend(command.get_arguments());
        command.get_subcommands().for_each(|c| each(c, out));
    }
    let mut known = Vec::new();
    each(command, &mut known);
    let is = |name: &str, free: bool| {
        let mut named = known.iter().filter(|a| a.get_long() == Some(name));
        named.any(|a| !free || is_free(a))
    };
    let typed = args.iter().map_while(|a| a.to_str().filter(|a| *a != "--"));
    let typed: Vec<&str> = typed.collect();
    typed.windows(2).find_map(|pair| {
        let [option, next] = pair else { return None };
        let option = option.strip_prefix("--").filter(|o| is(o, true))?;
        let (name, _) = next.split_once('=').unwrap_or((next, ""));
        name.strip_prefix("--").filter(|n| is(n, false))?;
        Some((option.to_owned(), (*next).to_owned()))
    })
}

fn run(cli: Cli) -> Result<()> {
    if let Command::Completions(c) = &cli.command {
        return completions(c.shell);
    }
    // Before anything is done: what cannot be printed would be lost.
    if cli.global.output == OutputFormat::Csv && !matches!(&cli.command, Command::Usage(_)) {
        return Err(refuse(
            Code::OutputFailed,
            "only `keystilectl usage` can be printed for spreadsheets",
            "use `--output json`",
        ));
    }
    let server_ca = cli.global.server_ca.clone();
    let server = through(&cli)?;
    let home = Home::new(home(cli.global.home)?, cli.global.master_key_command);
    let cx = &Context {
        world: system::local(),
        home: match database(cli.global.store)? {
            None => home,
            Some(address) => home.in_database(Arc::new(address)),
        },
        out: match (Output::new(cli.global.output), cli.global.no_pager) {
            (out, true) => out.without_pager(),
            (out, false) => out,
        },
        server,
    };
    match cli.command {
        Command::Init(c) => c.run(cx),
        Command::Dev(c) => c.run(cx),
        Command::EndWith(c) => c.run(),
        Command::Login(c) => c.run(cx, server_ca),
        Command::Logout(c) => c.run(cx),
        Command::Status(c) => c.run(cx),
        Command::Client(c) => c.run(cx),
        Command::Key(c) => c.run(cx),
        Command::Plan(c) => c.run(cx),
        Command::Policy(c) => c.run(cx),
        Command::Keyset(c) => c.run(cx),
        Command::Push(c) => c.run(cx),
        Command::Render(c) => c.run(cx),
        Command::Explain(c) => c.run(cx),
        Command::Doctor(c) => c.run(cx),
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
        Command::Store(c) => c.run(cx),
        Command::MasterKey(c) => c.run(cx),
        Command::Completions(_) => Ok(()),
    }
}

/// The server to work through: the one that is named, or that of `login` unless a store is named.
fn through(cli: &Cli) -> Result<Option<Through>> {
    if matches!(&cli.command, Command::Login(_) | Command::Logout(_)) {
        return Ok(None);
    }
    let global = &cli.global;
    let ca = global.server_ca.clone();
    if let Some(url) = global.server.as_ref().filter(|url| !url.is_empty()) {
        let through = Through::new(url.clone(), ca);
        // Only for want of another token.
        return Ok(Some(match through.token() {
            Some(_) => through,
            None => through.or_token_of(remembered::kept()?.as_ref()),
        }));
    }
    let home = global
        .home
        .as_ref()
        .is_some_and(|h| !h.as_os_str().is_empty());
    let store = global.store.as_ref().is_some_and(|s| !s.is_empty());
    if home || store || system::variable("KEYSTILE_STORE").is_some() {
        return Ok(None);
    }
    let kept = remembered::kept()?;
    Ok(kept.map(|kept| Through::remembered(&kept, ca)))
}

fn home(given: Option<PathBuf>) -> Result<PathBuf> {
    given
        .filter(|p| !p.as_os_str().is_empty())
        .or_else(|| Some(PathBuf::from(system::variable("HOME")?).join(".keystile")))
        .ok_or_else(|| {
            refuse(
                Code::FieldMissing,
                "there is no home folder",
                "name the store's folder with `--home` or KEYSTILE_HOME",
            )
        })
}

/// The database of the store, if it is in one.
fn database(given: Option<String>) -> Result<Option<DatabaseAddress>> {
    if let Some(text) = given.filter(|text| !text.is_empty()) {
        if DatabaseAddress::has_password(&text) {
            return Err(refuse(
                Code::StoreAddress,
                "`--store` holds a password, and others on this machine can see command lines",
                "give the address in KEYSTILE_STORE, or the password in the file that PGPASSFILE names",
            ));
        }
        return DatabaseAddress::parse(&text).map(Some);
    }
    let text = system::secret_variable("KEYSTILE_STORE");
    text.map(|text| DatabaseAddress::parse(&text)).transpose()
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut out = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "keystilectl", &mut out);
    output::raw(&out)
}

mod grouped;
mod mistyped;
#[cfg(test)]
mod tests;
