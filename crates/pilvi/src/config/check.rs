//! `pilvi config check`: what a server would start with, where each setting comes from, and what is wrong with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use serde::Serialize;

use super::file::File;
use super::rules::{self, Finding, Weight};
use super::settings::{Setting, Settings};
use super::{Faults, Refused};
use crate::arguments::{Arguments, Command, ServeOptions};

/// What can be said to `pilvi config check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Check this file instead of the one that the server would take
    pub file: Option<PathBuf>,
}

/// The settings of a server that were found without a fault.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: Option<File>,
    pub(crate) options: ServeOptions,
    pub(crate) data: PathBuf,
    /// Those that are not as they are by themselves.
    rows: Vec<Row>,
}

/// A setting that somebody made.
#[derive(Debug, Serialize)]
struct Row {
    key: String,
    value: String,
    /// A line of the file, a variable, or the command line.
    from: String,
}

/// What a server would start with. None of it changes anything.
pub(crate) fn find(path: Option<&Path>) -> Result<Found, Refused> {
    let command = Arguments::command();
    let settings = Settings::of(&command);
    let file = path
        .map(|path| super::load(path, &settings))
        .transpose()
        .map_err(Refused::File)?;
    let command = match &file {
        Some(file) => file.over_defaults(command),
        None => command,
    };
    let matches = command.try_get_matches_from(["pilvi", "serve"]);
    let matches = matches.map_err(Refused::Line)?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(Refused::Line)?;
    let data = arguments.data_folder().unwrap_or_default();
    let Command::Serve(options) = arguments.command else {
        unreachable!("`pilvi serve` was parsed")
    };
    let (_, serve) = matches.subcommand().expect("`pilvi serve` was parsed");
    let rows = settings.all.iter();
    let rows = rows.filter_map(|setting| row(setting, serve, file.as_ref()));
    Ok(Found {
        rows: rows.collect(),
        file,
        options,
        data,
    })
}

/// The settings of a server that nobody has set anything for, whatever the file and the environment say.
pub(crate) fn defaults() -> (ServeOptions, PathBuf) {
    let command = Settings::deaf(Arguments::command());
    let arguments = command
        .try_get_matches_from(["pilvi", "serve"])
        .and_then(|matches| Arguments::from_arg_matches(&matches))
        .expect("defaults are values that the options take");
    let data = arguments.data_folder().unwrap_or_default();
    let Command::Serve(options) = arguments.command else {
        unreachable!("`pilvi serve` was parsed")
    };
    (options, data)
}

fn row(setting: &Setting, serve: &ArgMatches, file: Option<&File>) -> Option<Row> {
    let from = match serve.value_source(&setting.id)? {
        ValueSource::EnvVariable => setting.variable.clone()?,
        ValueSource::CommandLine => "command line".to_owned(),
        _ => format!("line {}", file?.entry(&setting.key)?.line),
    };
    let values = serve.get_raw(&setting.id)?;
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    Some(Row {
        key: setting.key.clone(),
        value: match setting.is_secret {
            true => "********".to_owned(),
            false => values.join(", "),
        },
        from,
    })
}

/// What was found, for whoever asked: printed text, and whether a server can start with it.
pub(crate) fn check(path: Option<&Path>, json: bool) -> Result<(String, bool), Refused> {
    let report = match find(path) {
        Ok(found) => Report::of(found),
        Err(Refused::File(faults)) => Report::of_faults(faults),
        Err(other) => return Err(other),
    };
    let text = match json {
        true => serde_json::to_string_pretty(&report).expect("text and lists are JSON") + "\n",
        false => report.text(),
    };
    Ok((text, report.is_fine))
}

#[derive(Serialize)]
struct Report {
    file: Option<PathBuf>,
    is_fine: bool,
    settings: Vec<Row>,
    findings: Vec<Said>,
}

#[derive(Serialize)]
struct Said {
    weight: Weight,
    line: Option<usize>,
    says: String,
}

impl Report {
    fn of(found: Found) -> Self {
        let mut findings = rules::judge(&found.options, &found.data);
        let has_secret = |file: &&File| {
            let settings = Settings::of(&Arguments::command());
            let mut secrets = settings.all.iter().filter(|setting| setting.is_secret);
            secrets.any(|setting| file.entry(&setting.key).is_some())
        };
        if let Some(file) = found
            .file
            .as_ref()
            .filter(|file| file.is_open)
            .filter(has_secret)
        {
            findings.push(Finding {
                weight: Weight::Warning,
                setting: "",
                says: format!(
                    "everybody on this machine may read the secrets in this file; run: chmod o= {}",
                    file.path.display()
                ),
            });
        }
        let file = found.file.as_ref();
        let said = findings.into_iter().map(|finding| Said {
            weight: finding.weight,
            line: file
                .and_then(|file| file.entry(finding.setting))
                .map(|entry| entry.line),
            says: match finding.setting {
                "" => finding.says,
                setting => format!("{setting}: {}", finding.says),
            },
        });
        let said: Vec<_> = said.collect();
        Self {
            is_fine: said.iter().all(|said| said.weight == Weight::Warning),
            settings: found.rows,
            findings: said,
            file: found.file.map(|file| file.path),
        }
    }

    fn of_faults(faults: Faults) -> Self {
        let findings = faults.faults.into_iter().map(|fault| Said {
            weight: Weight::Fault,
            line: fault.line,
            says: fault.says,
        });
        Self {
            file: Some(faults.path),
            is_fine: false,
            settings: Vec::new(),
            findings: findings.collect(),
        }
    }

    fn text(&self) -> String {
        let mut text = match &self.file {
            Some(path) => format!("Settings from {}\n", path.display()),
            None => "There is no settings file; `pilvi config default` prints one to begin with.\n"
                .to_owned(),
        };
        let width = |of: fn(&Row) -> &str| {
            let widths = self.settings.iter().map(|row| of(row).chars().count());
            widths.max().unwrap_or_default()
        };
        let [key_width, value_width] = [width(|row| &row.key), width(|row| &row.value).min(50)];
        for Row { key, value, from } in &self.settings {
            let _ = writeln!(text, "  {key:key_width$}  {value:value_width$}  ({from})");
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        for Said { weight, line, says } in &self.findings {
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            let mark = match weight {
                Weight::Fault => "fault  ",
                Weight::Warning => "warning",
            };
            let _ = writeln!(text, "  {mark}  {place}{says}");
        }
        let count = |weight| {
            let same = |said: &&Said| said.weight == weight;
            self.findings.iter().filter(same).count()
        };
        let (faults, warnings) = (count(Weight::Fault), count(Weight::Warning));
        let verdict = match (faults, warnings) {
            (0, 0) => "All is well: a server can start with this.".to_owned(),
            (0, n) => format!("A server can start with this; {n} to look at again."),
            (n, _) => format!("{n} to mend before a server is started with this."),
        };
        let _ = writeln!(text, "\n{verdict}");
        text
    }
}
