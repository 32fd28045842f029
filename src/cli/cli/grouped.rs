//! The help of `keystilectl` itself: commands in groups, and the options of all of them, which the
//! help of each leaves out.

use clap::builder::{StyledStr, Styles};
use clap::{Arg, Command};

/// Every command, by what it is for.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Begin",
        &["dev", "init", "login", "logout", "status", "serve"],
    ),
    (
        "Clients and keys",
        &["client", "key", "quota", "usage", "import"],
    ),
    ("Policy", &["policy", "plan", "explain"]),
    (
        "Envoy",
        &[
            "render",
            "push",
            "keyset",
            "signing-key",
            "fleet",
            "node",
            "doctor",
        ],
    ),
    (
        "Access and audit",
        &["token", "session", "audit", "webhook"],
    ),
    (
        "The store",
        &["backup", "restore", "store", "master-key", "completions"],
    ),
];

/// Columns of a line.
const WIDTH: usize = 100;

/// The command line with that help.
pub(super) fn grouped(command: Command) -> Command {
    let help = help(&command);
    let options = command.get_arguments().filter(|a| a.is_global_set());
    let names: Vec<clap::Id> = options.map(|a| a.get_id().clone()).collect();
    let hidden = names.into_iter().fold(command, |command, name| {
        command.mut_arg(name, |a| a.hide_short_help(true).hide_long_help(true))
    });
    hidden
        .help_template(help)
        .mut_subcommands(|sub| mentioned(sub, true))
}

/// The help of a command says where the options are that it leaves out.
fn mentioned(command: Command, has_examples: bool) -> Command {
    const ELSEWHERE: &str = "Options of every command, such as `--home`, `--server` and `--output json`: `keystilectl --help`.";
    let examples = command.get_after_help().map(ToString::to_string);
    let text = match examples.filter(|_| has_examples) {
        Some(examples) => format!("{}\n\n{ELSEWHERE}", examples.trim_end()),
        None => ELSEWHERE.to_owned(),
    };
    command
        .after_help(text)
        .mut_subcommands(|sub| mentioned(sub, true))
}

fn help(command: &Command) -> StyledStr {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut out = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (title, names) in GROUPS {
        out.push_str(&format!("\n{header}{title}:{header:#}\n"));
        for name in names {
            let found = command.find_subcommand(name);
            let about = found.and_then(Command::get_about).map(ToString::to_string);
            let about = about.unwrap_or_default();
            let lines = wrapped(&about, WIDTH.saturating_sub(16));
            out.push_str(&format!(
                "  {literal}{name:<12}{literal:#}  {}\n",
                lines.join(&format!("\n{:16}", ""))
            ));
        }
    }
    out.push_str(&format!("\n{header}Options of every command:{header:#}\n"));
    for option in command.get_arguments().filter(|a| a.is_global_set()) {
        out.push_str(&told(option, styles));
    }
    out.push_str(&format!(
        "  {literal}-h{literal:#}, {literal}--help{literal:#}, {literal}-V{literal:#}, {literal}--version{literal:#}\n{{after-help}}"
    ));
    out.into()
}

fn told(option: &Arg, styles: &Styles) -> String {
    let literal = styles.get_literal();
    let long = option.get_long().unwrap_or_default();
    let short = option
        .get_short()
        .map(|s| format!("{literal}-{s}{literal:#}, "));
    let value = option.get_value_names().and_then(|v| v.first());
    let value = value.map(|v| format!(" <{v}>")).unwrap_or_default();
    let env = option.get_env().and_then(|e| e.to_str());
    let env = env.map(|e| format!(" [env: {e}]")).unwrap_or_default();
    let help = option
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let words = option.get_possible_values();
    let words: Vec<&str> = words.iter().map(|v| v.get_name()).collect();
    let words = match words.is_empty() {
        true => String::new(),
        false => format!(": {}", words.join(", ")),
    };
    let lines = wrapped(&format!("{help}{words}{env}"), WIDTH.saturating_sub(10));
    format!(
        "  {}{literal}--{long}{literal:#}{value}\n          {}\n",
        short.unwrap_or_default(),
        lines.join("\n          ")
    )
}

/// Lines of at most so many characters, if no word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_in_one_group() {
        let command = command();
        let named: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        let all = command.get_subcommands().filter(|c| !c.is_hide_set());
        let all: BTreeSet<&str> = all
            .map(Command::get_name)
            .filter(|n| *n != "help")
            .collect();
        assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(named.len(), all.len());
    }

    #[test]
    fn only_the_help_of_all_lists_the_options_of_all() {
        let mut command = command();
        let whole = command.render_long_help().to_string();
        for words in [
            "\nClients and keys:\n",
            "  --home <DIR>\n",
            "[env: KEYSTILE_SERVER]",
            "A first round:",
            "-o, --output <FORM>",
        ] {
            assert!(whole.contains(words), "{words} in {whole}");
        }
        assert!(
            whole.lines().all(|l| l.chars().count() <= WIDTH + 4),
            "{whole}"
        );
        command.build();
        let key = command.find_subcommand_mut("key").unwrap();
        let part = key
            .find_subcommand_mut("list")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(!part.contains("--home <DIR>"), "{part}");
        assert!(
            part.contains("--client <CLIENT>") && part.contains("`keystilectl --help`"),
            "{part}"
        );
    }
}
