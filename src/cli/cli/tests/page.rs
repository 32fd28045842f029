//! The page of the guide that lists every command, generated from the command line itself.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::super::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../book/pages/command-line.md");

const HEAD: &str = "# Command line

`keystilectl COMMAND --help` prints the same, and `keystilectl completions` completes it in your shell. The options of the first
table go with every command. With `--output json`, answers and errors are JSON; the exit code is 0 (done), 1 (refused or failed) or
2 (usage error).

";

#[test]
#[expect(clippy::disallowed_methods, reason = "to write the page anew")]
fn the_page_of_the_command_line_lists_every_command_and_option() {
    let mut page = HEAD.to_owned();
    let cli = Cli::command();
    options(&cli, &mut page);
    for noun in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
        command(noun, "keystilectl", 2, &mut page);
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(written == page, "`BLESS=1` writes the page anew");
}

fn command(command: &Command, before: &str, level: usize, page: &mut String) {
    let name = format!("{before} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let marks = "#".repeat(level);
    write!(page, "{marks} `{name}`\n\n{}\n\n", plain(&about)).unwrap();
    let own = command.clone().disable_help_flag(true);
    if !command.has_subcommands() {
        write!(page, "```text\n{}\n```\n\n", usage(&own, &name)).unwrap();
    }
    options(&own, page);
    if let Some(after) = command.get_after_help() {
        examples(&after.to_string(), page);
    }
    for verb in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        self::command(verb, &name, 3, page);
    }
}

/// As clap prints it, with the whole name.
fn usage(command: &Command, name: &str) -> String {
    let mut command = command.clone().bin_name(name);
    let usage = command.render_usage().to_string();
    let lines = usage.trim_start_matches("Usage: ").lines();
    let lines: Vec<&str> = lines.map(str::trim).collect();
    lines.join("\n")
}

fn options(command: &Command, page: &mut String) {
    let listed = |a: &&Arg| !a.is_hide_set() && !["help", "version"].contains(&a.get_id().as_str());
    let args: Vec<&Arg> = command.get_arguments().filter(listed).collect();
    if args.is_empty() {
        return;
    }
    page.push_str("| | |\n| --- | --- |\n");
    for arg in args {
        writeln!(page, "| {} | {} |", called(arg), meaning(arg)).unwrap();
    }
    page.push('\n');
}

/// What is typed.
fn called(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let value: String = values.iter().map(|v| format!(" {v}")).collect();
    let takes = arg.get_action().takes_values();
    let value = if takes { value } else { String::new() };
    let short = arg.get_short().map(|s| format!("`-{s}`, "));
    match arg.get_long() {
        Some(long) => format!("{}`--{long}{value}`", short.unwrap_or_default()),
        None => format!("`{}`", value.trim()),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut out = plain(&help);
    let words = arg.get_possible_values();
    let words: Vec<String> = words
        .iter()
        .filter(|w| !w.is_hide_set())
        .map(|w| format!("`{}`", w.get_name()))
        .collect();
    if !words.is_empty() && arg.get_action().takes_values() {
        write!(out, ": {}", words.join(", ")).unwrap();
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<String> = defaults.map(|d| format!("`{}`", d.display())).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        write!(out, " [default: {}]", defaults.join(", ")).unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(out, " [`{}`]", variable.display()).unwrap();
    }
    out
}

/// The examples as a block of their own, and what is said below them.
fn examples(text: &str, page: &mut String) {
    let (examples, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("  "));
    if !examples.is_empty() {
        page.push_str("```sh\n");
        for line in examples {
            writeln!(page, "{}", line.strip_prefix("  ").unwrap()).unwrap();
        }
        page.push_str("```\n\n");
    }
    let rest: Vec<&str> = rest
        .into_iter()
        .filter(|line| !["Example:", "Examples:"].contains(line))
        .collect();
    let rest = plain(rest.join("\n").trim());
    if !rest.is_empty() {
        write!(page, "{rest}\n\n").unwrap();
    }
}

/// Fit for a cell of a table and for text: nothing in it is taken for markup, except in code.
fn plain(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts: Vec<String> = parts
        .map(|(at, part)| match at % 2 {
            0 => part
                .replace('<', "&lt;")
                .replace('*', "\\*")
                .replace('_', "\\_")
                .replace('[', "\\["),
            _ => part.to_owned(),
        })
        .collect();
    parts.join("`").replace('|', "\\|").replace('\n', " ")
}
