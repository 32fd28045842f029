//! Where a database is, and how it is reached: `postgres://USER@HOST:PORT/DATABASE`.
//!
//! Beyond what PostgreSQL's own clients understand, `schema` names where the tables are. Unlike
//! them, an address that does not say otherwise has the server's certificate checked, unless the
//! server is on this machine.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keystile_model::error::{Code, Error, Result, refuse};
use postgres::config::{Host, SslMode, TargetSessionAttrs};
use postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::password;

/// The schema, if the address names none.
const SCHEMA: &str = "keystile";
/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how long without a sign of life a connection is dropped: at most twice this.
const SILENCE: Duration = Duration::from_secs(5);
/// What an address looks like.
const EXAMPLE: &str = "an address is postgres://USER@HOST:PORT/DATABASE";

/// Which of the schemas of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but usage.
    Store,
    /// Usage.
    Usage,
}

/// Where a database is. No `Debug`: it may hold a password.
pub struct DatabaseAddress {
    config: Config,
    schema: String,
    tls: Option<ClientConfig>,
    shown: String,
}

impl fmt::Display for DatabaseAddress {
    /// Without the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl DatabaseAddress {
    /// Whether a text is an address, not a path.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Whether an address holds a password, which must not be where others can read it.
    pub fn has_password(text: &str) -> bool {
        Self::split(text)
            .ok()
            .is_some_and(|(config, _)| config.get_password().is_some())
    }

    /// Reads an address. A password that it does not hold is taken from `PGPASSWORD` or from the
    /// file that `PGPASSFILE` names.
    ///
    /// # Errors
    /// If it is not an address, or names something that does not exist.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut config, own) = Self::split(text)?;
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host"));
        }
        if config.get_dbname().is_none() {
            return Err(wrong("it names no database"));
        }
        let tls = own.tls(&config)?;
        config
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(PATIENCE)
            .tcp_user_timeout(2 * SILENCE)
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 4)
            .keepalives_retries(3)
            .application_name("keystile");
        if config.get_password().is_none()
            && let Some(password) = password::find(&config)?
        {
            config.password(password.as_bytes());
        }
        Ok(Self {
            shown: shown(&config, &own.schema),
            schema: own.schema,
            config,
            tls,
        })
    }

    /// The options that PostgreSQL's client does not know, and the rest.
    fn split(text: &str) -> Result<(Config, Own)> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut own = Own::default();
        let mut others = Vec::new();
        for option in query.split('&').filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = percent_encoding::percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| wrong("one of its options is not text"))?;
            match name {
                "schema" => own.schema = schema(&value)?,
                "sslmode" => own.mode = Some(value.into_owned()),
                "sslrootcert" => own.roots = Some(value.into_owned()),
                _ => others.push(option),
            }
        }
        let mut text = base.to_owned();
        if !others.is_empty() {
            text.push('?');
            text.push_str(&others.join("&"));
        }
        // What the client says may repeat a part of the address, and so of a password.
        let config = text.parse().map_err(|_| wrong("it cannot be read"))?;
        Ok((config, own))
    }

    /// The schema of a part, in quotes.
    pub fn schema(&self, part: Part) -> String {
        match part {
            Part::Store => format!("\"{}\"", self.schema),
            Part::Usage => format!("\"{}_usage\"", self.schema),
        }
    }

    /// Connects.
    pub(super) fn connect(&self) -> std::result::Result<Client, postgres::Error> {
        match &self.tls {
            Some(tls) => self.config.connect(MakeRustlsConnect::new(tls.clone())),
            None => self.config.connect(NoTls),
        }
    }
}

/// The options that PostgreSQL's client does not know.
struct Own {
    schema: String,
    mode: Option<String>,
    roots: Option<String>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            mode: None,
            roots: None,
        }
    }
}

impl Own {
    /// How the connection is encrypted, if it is.
    fn tls(&self, config: &Config) -> Result<Option<ClientConfig>> {
        match self.mode.as_deref() {
            Some("disable") => Ok(None),
            None if is_local(config) => Ok(None),
            None | Some("verify-full") => self.checked().map(Some),
            Some(_) => Err(wrong(
                "`sslmode` is neither `verify-full`, which checks the server's certificate, nor `disable`",
            )),
        }
    }

    /// TLS to a server whose certificate names it and was issued by an authority that we trust.
    fn checked(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match self.roots.as_deref() {
            Some(file) if file != "system" => {
                let cannot = |what: &dyn fmt::Display| {
                    refuse(
                        Code::FileInvalid,
                        format_args!("the authorities in `{file}` cannot be read ({what})"),
                        "let `sslrootcert` name a file of certificates in PEM",
                    )
                };
                let those =
                    CertificateDer::pem_file_iter(Path::new(file)).map_err(|e| cannot(&e))?;
                for one in those {
                    let one = one.map_err(|e| cannot(&e))?;
                    roots.add(one).map_err(|e| cannot(&e))?;
                }
                if roots.is_empty() {
                    return Err(cannot(&"there is none"));
                }
            }
            _ => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| wrong(&format!("TLS cannot be set up ({e})")))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Whether everything that is sent stays on this machine.
fn is_local(config: &Config) -> bool {
    config
        .get_hostaddrs()
        .iter()
        .all(std::net::IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse()
                        .is_ok_and(|a: std::net::IpAddr| a.is_loopback())
            }
        })
}

fn schema(name: &str) -> Result<String> {
    let fits = !name.is_empty()
        && name.len() <= 48
        && !name.starts_with("pg_")
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match fits {
        true => Ok(name.to_owned()),
        false => Err(wrong(
            "`schema` is not a name of up to 48 lower-case letters, digits and `_`",
        )),
    }
}

fn shown(config: &Config, schema: &str) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(i, host)| {
        let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}:{port}", folder.display()),
        }
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    let database = config.get_dbname().unwrap_or_default();
    let schema = match schema {
        SCHEMA => String::new(),
        other => format!("?schema={other}"),
    };
    format!("postgres://{hosts}/{database}{schema}")
}

fn wrong(what: &str) -> Error {
    refuse(
        Code::StoreAddress,
        format_args!("the address of the store cannot be used: {what}"),
        EXAMPLE,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        DatabaseAddress::parse(text).err().unwrap().to_string()
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let address =
            DatabaseAddress::parse("postgres://me:secret@127.0.0.1:5433/keys?schema=two").ok();
        assert_eq!(
            address.unwrap().to_string(),
            "postgres://127.0.0.1:5433/keys?schema=two"
        );
        assert!(DatabaseAddress::has_password("postgres://me:secret@h/d"));
        assert!(!DatabaseAddress::has_password("postgres://me@h/d"));
        for wrong in [
            "postgres://me:secret@h/d?sslmode=prefer",
            "postgres://me:secret@h/d?secret=secret",
            "postgres://me:secret@h:port/d",
            "postgres://me:secret@h",
            "postgres://me:secret@h/d?schema=Secret",
        ] {
            assert!(!error(wrong).contains("secret"), "{}", error(wrong));
        }
    }

    #[test]
    fn certificates_are_checked_unless_the_server_is_on_this_machine() {
        let has_tls = |text: &str| DatabaseAddress::parse(text).ok().unwrap().tls.is_some();
        assert!(has_tls("postgres://me@db.example.com/keys"));
        assert!(has_tls("postgres://me@127.0.0.1,db.example.com/keys"));
        assert!(has_tls("postgres://me@127.0.0.1/keys?sslmode=verify-full"));
        assert!(!has_tls("postgres://me@127.0.0.1/keys"));
        assert!(!has_tls("postgres://me@localhost/keys"));
        assert!(!has_tls("postgres:///keys?host=/run/postgresql"));
        assert!(!has_tls(
            "postgres://me@db.example.com/keys?sslmode=disable"
        ));
        for mode in ["prefer", "allow", "require", "verify-ca", ""] {
            let text = format!("postgres://me@db.example.com/keys?sslmode={mode}");
            assert!(error(&text).contains("`sslmode` is neither"), "{mode}");
        }
    }

    #[test]
    fn authorities_come_from_the_file_that_the_address_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let text = format!("postgres://me@h/d?sslrootcert={}", file.display());
        assert!(error(&text).contains("ca.pem` cannot be read"));
        std::fs::write(&file, "").unwrap();
        assert!(error(&text).contains("there is none"));
    }
}
