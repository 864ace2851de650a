//! What can be set: read from the options of `pilvi serve`, never listed a second time.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

use super::file::{Entry, Fault, File};

/// The commands whose options are settings. They have the same ones.
const SERVERS: [&str; 2] = ["serve", "demo"];

/// Options that say what this one run shall do, so they are no settings.
const OF_ONE_RUN: [&str; 4] = ["config", "help", "json", "version"];

/// How alike two words are before one is taken for the other misspelt.
const ALIKE: f64 = 0.8;

/// All settings, in the order in which `--help` lists them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) all: Vec<Setting>,
    /// What reads a value: `pilvi serve`, deaf to the environment.
    reader: Command,
}

/// One setting.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The key in the file and the name of the option.
    pub(crate) key: String,
    /// What clap calls it.
    pub(crate) id: String,
    pub(crate) heading: String,
    /// What it means, and what else there is to know.
    pub(crate) help: String,
    pub(crate) default: Vec<String>,
    pub(crate) variable: Option<String>,
    /// It may be given several times: a list.
    pub(crate) is_many: bool,
    /// It is on or off.
    pub(crate) is_switch: bool,
    /// It is not to be shown.
    pub(crate) is_secret: bool,
    /// What it stands for, such as `ADDR`.
    pub(crate) stands_for: String,
    /// The words that can be chosen from, where only some can.
    pub(crate) choices: Vec<String>,
}

impl Settings {
    /// The settings of a command line.
    pub(crate) fn of(command: &Command) -> Self {
        let serve = command
            .find_subcommand(SERVERS[0])
            .expect("there is `pilvi serve`");
        let arguments = command.get_arguments().chain(serve.get_arguments());
        Self {
            all: arguments.filter_map(Setting::of).collect(),
            reader: Self::deaf(command.clone()),
        }
    }

    /// The command line without the variables of the environment, so that only what is given counts.
    pub(super) fn deaf(command: Command) -> Command {
        let deaf = |argument: Arg| argument.env(None::<&'static str>);
        let command = command.mut_args(deaf);
        command.mut_subcommand(SERVERS[0], |serve| serve.mut_args(deaf))
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Setting> {
        self.all.iter().find(|setting| setting.key == key)
    }

    /// Changes the argument behind a key wherever it is. A key that nobody knows changes nothing.
    pub(super) fn change(command: Command, key: &str, change: impl Fn(Arg) -> Arg) -> Command {
        let id_in = |command: &Command| {
            let mut arguments = command.get_arguments();
            let found = arguments.find(|argument| argument.get_long() == Some(key));
            found.map(|argument| argument.get_id().to_string())
        };
        let command = match id_in(&command) {
            Some(id) => command.mut_arg(id, &change),
            None => command,
        };
        SERVERS.iter().fold(command, |command, name| {
            let id = command.find_subcommand(name).and_then(id_in);
            match id {
                Some(id) => command.mut_subcommand(name, |server| server.mut_arg(id, &change)),
                None => command,
            }
        })
    }

    /// What is wrong with what a file says.
    pub(super) fn faults_in(&self, file: &File) -> Vec<Fault> {
        let faults = file.entries.iter().map(|entry| self.fault_of(entry));
        faults.flatten().collect()
    }

    fn fault_of(&self, entry: &Entry) -> Option<Fault> {
        let Some(setting) = self.find(&entry.key) else {
            return Some(Fault::of(entry, self.unknown(&entry.key)));
        };
        if entry.is_list && !setting.is_many {
            let says = format!("`{}` takes one value, not a list", setting.key);
            return Some(Fault::of(entry, says));
        }
        if setting.is_switch {
            let is_known =
                matches!(&entry.values[..], [word] if ["true", "false"].contains(&&**word));
            let says = || format!("`{}` is true or false", setting.key);
            return (!is_known).then(|| Fault::of(entry, says()));
        }
        let values = entry.values.iter();
        let mut faults = values.filter_map(|value| self.objection(setting, value));
        faults.next().map(|says| Fault::of(entry, says))
    }

    fn unknown(&self, key: &str) -> String {
        let plain = key.replace('_', "-").to_lowercase();
        let likeness = |setting: &&Setting| strsim::jaro_winkler(&setting.key, &plain);
        let nearest = self
            .all
            .iter()
            .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
            .filter(|setting| likeness(setting) > ALIKE);
        match nearest {
            Some(setting) => format!("`{key}` is not a setting; did you mean `{}`?", setting.key),
            None => format!("`{key}` is not a setting; `pilvi config default` lists them all"),
        }
    }

    /// Why the option would not take this value. Every value is tried alone, so that all faults are found at once.
    fn objection(&self, setting: &Setting, value: &str) -> Option<String> {
        let option = format!("--{}={value}", setting.key);
        let error = self
            .reader
            .clone()
            .try_get_matches_from(["pilvi", SERVERS[0], &option])
            .err()?;
        let why = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(choices)) if !choices.is_empty() => {
                format!("it must be one of {}", choices.join(", "))
            }
            _ => error.source().map_or_else(
                || format!("it must be {}", setting.stands_for),
                |source| source.to_string(),
            ),
        };
        Some(match setting.is_secret {
            // The reason may repeat the value.
            true => format!("`{}` cannot be what is written there", setting.key),
            false => format!("`{}` cannot be \"{value}\": {why}", setting.key),
        })
    }
}

impl Setting {
    fn of(argument: &Arg) -> Option<Self> {
        let key = argument.get_long()?;
        if OF_ONE_RUN.contains(&key) || argument.is_hide_set() {
            return None;
        }
        let is_switch = !argument.get_action().takes_values();
        let long = argument.get_long_help().or(argument.get_help());
        let values = |words: &[clap::builder::OsStr]| {
            let words = words.iter().map(|word| word.to_string_lossy().into_owned());
            words.collect::<Vec<_>>()
        };
        let stands_for = argument.get_value_names().and_then(<[_]>::first);
        let choices = argument.get_possible_values();
        Some(Self {
            key: key.to_owned(),
            id: argument.get_id().to_string(),
            heading: argument.get_help_heading().unwrap_or("Server").to_owned(),
            help: long.map(ToString::to_string).unwrap_or_default(),
            default: match is_switch {
                true => vec!["false".to_owned()],
                false => values(argument.get_default_values()),
            },
            variable: argument
                .get_env()
                .map(|name| name.to_string_lossy().into_owned()),
            is_many: matches!(argument.get_action(), ArgAction::Append),
            is_switch,
            is_secret: argument.is_hide_env_values_set(),
            stands_for: stands_for.map(ToString::to_string).unwrap_or_default(),
            choices: match is_switch {
                true => Vec::new(),
                false => choices
                    .iter()
                    .map(|choice| choice.get_name().to_owned())
                    .collect(),
            },
        })
    }
}
