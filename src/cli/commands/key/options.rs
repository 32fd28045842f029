//! The options that say what a key may do, from the table of [`keystile_model::key`].

use clap::builder::TypedValueParser as _;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use keystile_api::key;
use keystile_model::error::Result;
use keystile_model::key::{PROPERTIES, Property};

type Typed = (&'static str, Vec<String>);

/// Options of a new key.
pub struct RuleOptions(Vec<Typed>);

/// Options of a change; those that empty a property are among them.
pub struct ChangedOptions(Vec<Typed>);

impl RuleOptions {
    /// Puts them into a request.
    ///
    /// # Errors
    /// What is wrong with a word; the options have been checked one by one before.
    pub fn tell(self, issue: &mut key::Issue) -> Result<()> {
        let mut typed = self.0.into_iter();
        typed.try_for_each(|(name, words)| issue.set(name, &words))
    }
}

impl ChangedOptions {
    /// The same for a change.
    ///
    /// # Errors
    /// Those of [`RuleOptions::tell`].
    pub fn tell(self, update: &mut key::Update) -> Result<()> {
        let mut typed = self.0.into_iter();
        typed.try_for_each(|(name, words)| update.set(name, &words))
    }
}

fn option(property: &'static Property, help: &'static str) -> Arg {
    let word = |text: String| (property.check)(&text).map(|()| text);
    Arg::new(property.name)
        .long(property.option)
        .value_name(property.value)
        .help(help)
        .value_parser(clap::builder::StringValueParser::new().try_map(word))
        .action(match property.many {
            true => ArgAction::Append,
            false => ArgAction::Set,
        })
}

fn typed(matches: &ArgMatches, property: &Property) -> Option<Vec<String>> {
    let words = matches.get_many::<String>(property.name)?;
    Some(words.cloned().collect())
}

impl FromArgMatches for RuleOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let given = |p: &'static Property| Some((p.name, typed(matches, p)?));
        Ok(Self(PROPERTIES.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, m: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(m)?;
        Ok(())
    }
}

impl Args for RuleOptions {
    fn augment_args(command: Command) -> Command {
        command.args(PROPERTIES.iter().map(|p| option(p, p.issue_help)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ChangedOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let is_emptied = |p: &Property| p.none.is_some_and(|(none, _)| matches.get_flag(none));
        let changed = |p: &'static Property| match is_emptied(p) {
            true => Some((p.name, Vec::new())),
            false => Some((p.name, typed(matches, p)?)),
        };
        Ok(Self(PROPERTIES.iter().filter_map(changed).collect()))
    }

    fn update_from_arg_matches(&mut self, m: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(m)?;
        Ok(())
    }
}

impl Args for ChangedOptions {
    fn augment_args(command: Command) -> Command {
        PROPERTIES.iter().fold(command, |command, p| {
            let command = command.arg(option(p, p.update_help));
            let Some((none, help)) = p.none else {
                return command;
            };
            let none = Arg::new(none).long(none).help(help);
            command.arg(none.action(ArgAction::SetTrue).conflicts_with(p.name))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
