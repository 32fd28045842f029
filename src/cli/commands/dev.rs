//! `keystilectl dev`: all of it on this machine, until Ctrl-C.

mod children;
mod sample;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use serde::Serialize;

use super::init;
use super::push::{Filter, Shell};
use super::serve::Serve;
use super::{Context, signing_key};
use crate::output;
use children::{DevEnvoy, Watch, log_file};
use keystile_api::client;
use keystile_api::key::{Issue, IssuedKey};
use keystile_api::signing_key::SigningAlgorithm;
use keystile_api::token;
use keystile_model::caller::Role;
use keystile_model::error::{Code, Error, Result, refuse};
use keystile_model::when::When;
use keystile_model::wire::{Secret, TimeWords};
use keystile_policy::file::{self as policy_file, PolicyFile};
use keystile_registry::home::Home;
use keystile_render::envoy::HostPort;
use keystile_server::log::{self, LogForm};
use keystile_system::child::{self, TemporaryFolder};
use sample::Sample;

/// The client.
const NAME: &str = "dev";
/// The token, under a name that nobody else uses.
const TOKEN: &str = "keystilectl-dev";
/// How long the key works, unless the policy allows less.
const LIFETIME: u64 = 86_400;

/// Run all of it on this machine until Ctrl-C: a store, the server, an Envoy, an upstream
#[derive(Args)]
#[command(after_help = "\
Examples:
  keystilectl dev
  keystilectl dev --policy policy.yaml --upstream 127.0.0.1:3000
  keystilectl dev --keep ~/keystile-dev --envoy /usr/local/bin/envoy

It prints a link that signs in to the console once, a client, a key, and a curl line that is let in.
Everything listens on 127.0.0.1. The store is in a temporary folder, which is removed at the end, unless
`--keep` names one.")]
pub struct Dev {
    /// The policy [default: the commented one of `init`; with --keep, the one in the store]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where requests go that are let in [default: an upstream of its own, which answers all of them]
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    upstream: Option<HostPort>,
    /// Envoy's program [default: `envoy` in PATH, or what `scripts/setup` installed]
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Keep the store and the logs in this folder, and use them again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The address on which Envoy listens; another port if this one is taken
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,
    #[command(flatten)]
    filter: Filter,
}

/// Start a program that ends with this one
#[derive(Args)]
#[command(
    hide = true,
    after_help = "Example, as `keystilectl dev` starts Envoy:\n  keystilectl end-with 4711 /usr/bin/envoy -c envoy.yaml"
)]
pub struct EndWith {
    /// The process that started this one
    parent: u32,
    /// The program
    program: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<std::ffi::OsString>,
}

impl EndWith {
    /// Runs it; returns only if the program cannot be started.
    pub fn run(self) -> Result<()> {
        Err(child::become_program(
            self.parent,
            &self.program,
            &self.arguments,
        ))
    }
}

/// `serve`, from words as they are typed.
#[derive(Parser)]
struct ServeWords {
    #[command(flatten)]
    serve: Serve,
}

/// Where the store and the logs are.
enum Folder {
    Kept(PathBuf),
    Temporary(TemporaryFolder),
}

impl Folder {
    fn new(keep: Option<PathBuf>) -> Result<Self> {
        let Some(folder) = keep else {
            return TemporaryFolder::new("keystile-dev-").map(Self::Temporary);
        };
        let wrong = |e: std::io::Error| {
            refuse(
                Code::FileUnwritable,
                format_args!("the folder `{}` cannot be made ({e})", folder.display()),
                "name another with `--keep`",
            )
        };
        std::fs::create_dir_all(&folder).map_err(wrong)?;
        folder.canonicalize().map(Self::Kept).map_err(wrong)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// What is printed once a request was let in.
#[derive(Serialize)]
struct Running {
    /// The store's folder.
    home: String,
    is_temporary: bool,
    console: String,
    /// Signs in to the console, once.
    link: String,
    envoy: String,
    upstream: String,
    client: &'static str,
    key: String,
    key_id: String,
    /// A request that is let in.
    curl: String,
}

impl Dev {
    /// Runs it.
    pub fn run(self, cx: &Context) -> Result<()> {
        cx.local()?;
        let program = children::program(self.envoy.as_deref())?;
        // Before there is anything that has to be removed, and before there are threads.
        child::hold_signals()?;
        let folder = Folder::new(self.keep.clone())?;
        let home = Home::new(folder.path().join("store"), None);
        let cx = &Context {
            world: keystile_system::local(),
            home,
            out: cx.out,
            server: None,
        };
        let policy = self.store(cx)?;
        log::begin(LogForm::File(log_file(&folder.path().join("serve.log"))?));
        let sample = Sample::from_policy(&policy);
        let (upstream, is_own) = match &self.upstream {
            Some(given) => (given.clone(), false),
            None => (upstream::start()?, true),
        };
        // The upstream's may be free because it does not run yet.
        let mut taken = vec![upstream.port()];
        let mut free = |address| {
            let found = child::free(address, &taken)?;
            taken.push(found.port());
            Ok::<_, Error>(found)
        };
        let listen = free(self.listen)?;
        let api = free(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
        let discovery = free(SocketAddr::from(([127, 0, 0, 1], 18_000)))?;
        let admin = free(SocketAddr::from(([127, 0, 0, 1], 9901)))?;
        let issued = key(cx, &policy)?;
        let text = issued.key.as_ref().map_or("", Secret::expose_secret);
        let console = format!("http://{api}");
        let running = Running {
            home: cx.home.folder().display().to_string(),
            is_temporary: matches!(folder, Folder::Temporary(_)),
            console: format!("{console}/console"),
            link: format!("{console}/console/invitation#{}", invitation(cx)?),
            envoy: format!("http://{listen}"),
            upstream: match is_own {
                true => format!("{upstream}, which answers everything itself"),
                false => upstream.to_string(),
            },
            client: NAME,
            key: text.to_owned(),
            key_id: issued.view.id.0.to_string(),
            curl: sample.curl(&format!("http://{listen}"), text),
        };
        warn(cx, &policy);
        let serve = self.serve_words(api, discovery)?;
        let envoy = DevEnvoy {
            program,
            folder: folder.path(),
            listen,
            admin,
            discovery,
            control: api,
            upstream,
            filter: &self.filter,
        };
        let child = envoy.start(&signing_key::secret_value(cx)?)?;
        let out = cx.out;
        let watch = Watch::begin(child, sample.asking(listen, text), move || {
            running.print(out)
        });
        let served = serve.work(cx, Box::new(|_| child::take_signals()));
        watch.end(folder.path()).and(served)
    }

    /// Makes the store if there is none; gives its policy.
    fn store(&self, cx: &Context) -> Result<PolicyFile> {
        let given = self.policy.as_deref().map(policy_file::read).transpose()?;
        if !cx.home.exists()? {
            let file = match given {
                Some(file) => file,
                None => policy_file::parse("default policy", policy_file::DEFAULT.to_owned())?,
            };
            init::create(cx, &file, SigningAlgorithm::HmacSha256)?;
            client(cx)?;
            return Ok(file);
        }
        if let Some(PolicyFile { name, text, .. }) = given {
            cx.perform(keystile_api::policy::Apply { name, text })?;
        }
        client(cx)?;
        let shown = cx.perform(keystile_api::policy::Show { revision: None })?;
        policy_file::parse("policy", shown.text)
    }

    fn serve_words(&self, api: SocketAddr, discovery: SocketAddr) -> Result<Serve> {
        let (api, discovery) = (api.to_string(), discovery.to_string());
        let mut words = vec!["serve", "--listen", &api, "--discovery", &discovery];
        if self.filter.shell == Shell::Module {
            words.extend(["--shell", "module"]);
        }
        let file = self.filter.wasm.as_ref().map(|f| f.display().to_string());
        if let Some(file) = &file {
            words.extend(["--wasm", file]);
        }
        let parsed = ServeWords::try_parse_from(words);
        let parsed = parsed.map_err(|e| {
            refuse(
                Code::InvalidValue,
                e.kind(),
                "see `keystilectl serve --help`",
            )
        });
        Ok(parsed?.serve)
    }
}

/// The client, if there is none.
fn client(cx: &Context) -> Result<()> {
    let made = cx.perform(client::Create {
        name: NAME.to_owned(),
        plan: None,
        description: "made by `keystilectl dev`".to_owned(),
        labels: std::collections::BTreeMap::default(),
    });
    match made {
        Err(e) if !e.is(Code::ClientExists) => Err(e),
        _ => Ok(()),
    }
}

/// A key with every scope, which ends tomorrow at the latest.
fn key(cx: &Context, policy: &PolicyFile) -> Result<IssuedKey> {
    let longest = policy.policy.longest_life("live", false, None);
    let mut issue = Issue {
        client: NAME.to_owned(),
        name: "made by `keystilectl dev`".to_owned(),
        scopes: policy.policy.scopes.clone(),
        expires: Some(TimeWords(When::After(
            longest.unwrap_or(LIFETIME).min(LIFETIME),
        ))),
        ..Issue::default()
    };
    issue.count = None;
    match cx.perform(issue)? {
        keystile_api::key::IssuedKeys::One(one) => Ok(*one),
        keystile_api::key::IssuedKeys::Many(_) => {
            Err(keystile_model::error::defect("several keys"))
        }
    }
}

/// The code that signs in to the console, once. That of the run before is withdrawn.
fn invitation(cx: &Context) -> Result<String> {
    let former = cx.perform(token::List {
        living: true,
        ..token::List::default()
    })?;
    for token in former.tokens.into_iter().filter(|t| t.name == TOKEN) {
        cx.perform(token::Revoke { id: token.id })?;
    }
    let made = cx.perform(token::Create {
        name: TOKEN.to_owned(),
        role: Role::Owner,
        client: None,
        scopes: Vec::new(),
        plans: Vec::new(),
        max_expiry: None,
        max_keys: None,
        cidrs: Vec::new(),
        expires: None,
        invite: true,
    })?;
    let code = made.token.as_ref().map(Secret::expose_secret);
    Ok(code.unwrap_or_default().to_owned())
}

/// What of a policy does not work here.
fn warn(cx: &Context, policy: &PolicyFile) {
    if policy.policy.require_tls {
        cx.out.warn("the policy requires TLS, and this Envoy has none: requests with a key answer 403 `tls_required`");
    }
    match policy.policy.report.as_ref().map(|r| r.cluster.as_str()) {
        Some("keystile-control") => {}
        Some(other) => cx.out.warn(format_args!(
            "the policy reports to the cluster `{other}`, which this Envoy does not have: no usage is counted"
        )),
        None => cx.out.warn("the policy has no `report`: no usage is counted, and nothing proves what is in force"),
    }
}

impl Running {
    fn print(&self, out: output::Output) -> Result<()> {
        out.show(self, || {
            let kept = match self.is_temporary {
                true => "removed at the end; `--keep DIR` keeps one",
                false => "kept",
            };
            let fields = output::fields([
                ("console", self.console.clone()),
                ("sign in", format!("{} (works once)", self.link)),
                ("Envoy", self.envoy.clone()),
                ("upstream", self.upstream.clone()),
                ("store", format!("{} ({kept})", self.home)),
                ("client", self.client.to_owned()),
                ("key", self.key.clone()),
            ]);
            format!(
                "{fields}\n{}\n\nIn another terminal:\n\nexport KEYSTILE_HOME={}\nkeystilectl key revoke {}\n\nCtrl-C ends all of it.\n",
                self.curl,
                sample::quoted(&self.home),
                self.key_id,
            )
        })
    }
}
