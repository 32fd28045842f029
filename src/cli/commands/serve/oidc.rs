//! `keystilectl serve --oidc-…`

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use keystile_console::oidc::roles::RoleRule;
use keystile_console::oidc::{Oidc, SignInSettings, checked, checked_console};
use keystile_model::error::{Code, Result, refuse};
use keystile_model::wire::Secret;
use keystile_store::master_key as seal;
use keystile_system as system;
use keystile_system::file;

/// The environment variable with our client secret at the provider.
const SECRET: &str = "KEYSTILE_OIDC_SECRET";

/// Sign-in to the console through an identity provider.
#[derive(Args)]
#[command(next_help_heading = "Sign-in with OpenID Connect")]
pub struct OidcArgs {
    /// The issuer of the provider through which people sign in to the console
    #[arg(
        long,
        value_name = "URL",
        value_parser = provider,
        requires_all = ["oidc_client_id", "console_url", "oidc_role"]
    )]
    oidc_issuer: Option<String>,
    /// The client id at the provider; the secret comes from KEYSTILE_OIDC_SECRET, a command or a file
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// A command that prints the client secret
    #[arg(
        long,
        value_name = "CMD",
        requires = "oidc_issuer",
        conflicts_with = "oidc_secret_file"
    )]
    oidc_secret_command: Option<String>,
    /// A file that holds the client secret
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_secret_file: Option<PathBuf>,
    /// How browsers reach this server, such as https://keystile.example.com: the provider sends
    /// people back to /console/oidc/callback there
    #[arg(long, value_name = "URL", value_parser = console, requires = "oidc_issuer")]
    console_url: Option<String>,
    /// Ask the provider for this scope in addition to openid; can be repeated [default: profile email]
    #[arg(long, value_name = "SCOPE", requires = "oidc_issuer")]
    oidc_scope: Vec<String>,
    /// People whose claim has this value get this role, such as groups:platform=owner; can be
    /// repeated. Nobody else can sign in
    #[arg(long, value_name = "CLAIM:VALUE=ROLE", value_parser = rule, requires = "oidc_issuer")]
    oidc_role: Vec<RoleRule>,
    /// Authorities to trust for the provider, PEM, in place of the public ones
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_ca: Option<PathBuf>,
    /// Another host, in addition to the issuer's, on which the provider's endpoints may be, such as
    /// oauth2.googleapis.com; can be repeated
    #[arg(long, value_name = "HOST", requires = "oidc_issuer")]
    oidc_host: Vec<String>,
}

fn provider(text: &str) -> std::result::Result<String, String> {
    checked(text).map_err(|e| e.to_string())
}

fn console(text: &str) -> std::result::Result<String, String> {
    checked_console(text).map_err(|e| e.to_string())
}

fn rule(text: &str) -> std::result::Result<RoleRule, String> {
    text.parse::<RoleRule>().map_err(|e| e.to_string())
}

impl OidcArgs {
    /// The configured provider, if there is one.
    pub fn way_in(&self) -> Result<Option<Oidc>> {
        let given = (
            self.oidc_issuer.clone(),
            self.oidc_client_id.clone(),
            self.console_url.clone(),
        );
        let (Some(issuer), Some(client), Some(console)) = given else {
            return Ok(None);
        };
        let mut scopes = self.oidc_scope.clone();
        if scopes.is_empty() {
            scopes = ["profile", "email"].map(str::to_owned).to_vec();
        }
        Oidc::new(SignInSettings {
            issuer,
            client,
            secret: self.secret()?,
            console,
            scopes,
            rules: self.oidc_role.clone(),
            ca: self.oidc_ca.clone(),
            hosts: self.oidc_host.clone(),
        })
        .map(Some)
    }

    /// Reads the secret from the first source that is set; a public client has none.
    fn secret(&self) -> Result<Option<Secret>> {
        let (text, place) = if let Some(command) = &self.oidc_secret_command {
            let text = seal::printed(command, "the command of the client secret")?;
            (text, "the output of `--oidc-secret-command`".to_owned())
        } else if let Some(path) = &self.oidc_secret_file {
            let place = format!("`{}`", path.display());
            let bytes = Zeroizing::new(file::read(path)?);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            (Zeroizing::new(text), place)
        } else if let Some(text) = system::secret_variable(SECRET) {
            (text, format!("the environment variable `{SECRET}`"))
        } else {
            return Ok(None);
        };
        let text = text.trim();
        if text.is_empty() || text.contains(char::is_control) {
            return Err(refuse(
                Code::SettingInvalid,
                format_args!("{place} holds no client secret"),
                "copy it from the identity provider: one line of text",
            ));
        }
        Ok(Some(Secret::new(text)))
    }
}
