//! Passwords that are not in the address, found where PostgreSQL's own clients find them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use keystile_model::error::{Code, Result, refuse};
use keystile_system as system;
use postgres::Config;
use postgres::config::Host;
use zeroize::Zeroizing;

/// `PGPASSWORD`, or the first line that fits of the file that `PGPASSFILE` names, or of
/// `.pgpass` in the user's folder.
pub(super) fn find(config: &Config) -> Result<Option<Zeroizing<String>>> {
    if let Some(password) = system::secret_variable("PGPASSWORD") {
        return Ok(Some(password));
    }
    let named = system::variable("PGPASSFILE").map(PathBuf::from);
    let is_named = named.is_some();
    let usual = || Some(PathBuf::from(system::variable("HOME")?).join(".pgpass"));
    let Some(file) = named.or_else(usual) else {
        return Ok(None);
    };
    let shown = file.display();
    let text = match fs::read_to_string(&file) {
        Ok(text) => Zeroizing::new(text),
        Err(_) if !is_named => return Ok(None),
        Err(e) => {
            return Err(refuse(
                Code::FileUnreadable,
                format_args!("the passwords in `{shown}` cannot be read ({e})"),
                "let PGPASSFILE name a file that this user may read",
            ));
        }
    };
    let Some(password) = in_file(&text, config) else {
        return Ok(None);
    };
    let mode = fs::metadata(&file).map_or(0, |m| m.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(refuse(
            Code::FileInvalid,
            format_args!("the passwords in `{shown}` can be read by others (mode {mode:04o})"),
            format_args!(
                "run `chmod 600 {shown}`, and change the password if anybody may have read it"
            ),
        ));
    }
    Ok(Some(password))
}

/// The password of the first line that matches: `HOST:PORT:DATABASE:USER:PASSWORD`, where `*`
/// matches anything and `\` escapes the next character.
fn in_file(text: &str, config: &Config) -> Option<Zeroizing<String>> {
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config
        .get_ports()
        .first()
        .copied()
        .unwrap_or(5432)
        .to_string();
    let wanted = [
        Some(host.as_str()),
        Some(port.as_str()),
        config.get_dbname(),
        config.get_user(),
    ];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|mut fields| {
        let password = fields.get_mut(4).map(std::mem::take)?;
        let mut pairs = fields.iter().zip(wanted);
        let fits =
            pairs.all(|(field, wanted)| field.as_str() == "*" || Some(field.as_str()) == wanted);
        fits.then_some(password)
    })
}

fn fields(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        let plain = match c {
            ':' if fields.len() < 5 => {
                fields.push(Zeroizing::new(String::new()));
                continue;
            }
            '\\' => characters.next(),
            c => Some(c),
        };
        if let (Some(field), Some(c)) = (fields.last_mut(), plain) {
            field.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let config: Config = "postgres://me@db:6000/keys".parse().unwrap();
        let found = |text: &str| in_file(text, &config).map(|p| p.to_string());
        assert_eq!(
            found("db:6000:keys:me:one\n*:*:*:*:two"),
            Some("one".to_owned())
        );
        assert_eq!(
            found("# db:6000:keys:me:no\nother:*:*:*:no\n*:*:*:me:a\\:b\\\\c"),
            Some("a:b\\c".to_owned())
        );
        assert_eq!(found("db:6000:keys:me:a:b"), Some("a:b".to_owned()));
        assert_eq!(
            found("db:5432:*:*:no\ndb:6000:keys:you:no\nshort:line"),
            None
        );
    }
}
