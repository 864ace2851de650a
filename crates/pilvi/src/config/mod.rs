//! The settings of a server: one file, the environment over it, the command line over both.
//!
//! They are defined once, as options of `pilvi serve` (`arguments/`). The file has a key for each of them, under the
//! option's name; what it says becomes the option's default for this run, so that clap itself decides what wins, how a
//! value is read and what is refused. Start with [`parse`]; [`mod@file`] reads, [`settings`] knows the keys, [`rules`]
//! knows what must not come together, and [`mod@check`] and [`mod@sample`] are what `pilvi config` can do.

mod check;
mod file;
mod rules;
mod sample;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};

pub(crate) use check::{Check, check, defaults, find};
pub(crate) use file::{Fault, File};
pub(crate) use rules::{Weight, judge};
pub(crate) use sample::{Sample, sample};
pub(crate) use settings::Settings;

use crate::arguments::{Arguments, UseOfSettings};

/// The file that a package brings.
pub(crate) const SYSTEM_FILE: &str = "/etc/pilvi/pilvi.toml";

/// Where a file is looked for when none is named: the first that is there is used.
#[derive(Clone, Debug)]
pub(crate) struct Places(pub(crate) Vec<PathBuf>);

impl Places {
    /// The machine's file, then the user's own, which lies in `folder` or in `.config` of the home.
    pub(crate) fn usual(folder: Option<PathBuf>, home: Option<&Path>) -> Self {
        let own = folder.or_else(|| Some(home?.join(".config")));
        let own = own.map(|folder| folder.join("pilvi/pilvi.toml"));
        Self(
            [PathBuf::from(SYSTEM_FILE)]
                .into_iter()
                .chain(own)
                .collect(),
        )
    }

    /// The file that counts when none is named.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        // One that may not be looked at is there: whoever means another must name it.
        let is_there = |path: &&PathBuf| match path.try_exists() {
            Ok(is_there) => is_there,
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        };
        self.0.iter().find(is_there).cloned()
    }
}

/// Why a command line, or the file with it, is not carried out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// In clap's words; also what is printed for `--help`.
    Line(clap::Error),
    File(Faults),
}

/// All that is wrong with a file.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) path: PathBuf,
    pub(crate) faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.faults[..] {
            [only] => write!(out, "{path}: {only}"),
            faults => {
                write!(out, "{path} has {} faults:", faults.len())?;
                faults
                    .iter()
                    .try_for_each(|fault| write!(out, "\n  {fault}"))
            }
        }
    }
}

/// Reads a command line, with what a file says for the options that it leaves out.
pub(crate) fn parse(words: &[OsString], places: &Places) -> Result<Arguments, Refused> {
    let command = Arguments::command();
    let bare = arguments(command.clone(), words)?;
    let path = match (bare.command.use_of_settings(), &bare.config) {
        (UseOfSettings::None, _) | (UseOfSettings::IfNamed, None) => return Ok(bare),
        (_, Some(named)) => named.clone(),
        (UseOfSettings::Usual, None) => match places.find() {
            Some(found) => found,
            None => return Ok(bare),
        },
    };
    let file = load(&path, &Settings::of(&command)).map_err(Refused::File)?;
    let mut arguments = arguments(file.over_defaults(command), words)?;
    arguments.config = Some(path);
    Ok(arguments)
}

fn arguments(command: clap::Command, words: &[OsString]) -> Result<Arguments, Refused> {
    let matches = command.try_get_matches_from(words);
    let arguments = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    arguments.map_err(Refused::Line)
}

/// A file without a fault, as far as it can be judged alone.
pub(crate) fn load(path: &Path, settings: &Settings) -> Result<File, Faults> {
    let (file, mut faults) = File::read(path);
    faults.extend(settings.faults_in(&file));
    if faults.is_empty() {
        return Ok(file);
    }
    faults.sort_by_key(|fault| fault.line);
    let path = path.to_owned();
    Err(Faults { path, faults })
}
