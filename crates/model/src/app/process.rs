//! What runs: types of processes, and the single processes of a type.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A name of the Procfile, such as `web`: letters, digits, `-` and `_` (`mar.md` §4.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessType(String);

const TYPE_MAX_BYTES: usize = 40;

impl ProcessType {
    /// The one type that gets HTTP.
    pub fn web() -> Self {
        Self("web".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_web(&self) -> bool {
        self.0 == "web"
    }
}

impl FromStr for ProcessType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = (1..=TYPE_MAX_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !fits {
            let shown: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(TYPE_MAX_BYTES)
                .collect();
            return Err(Error::invalid(
                "process_types",
                format!(
                    "holds the name `{shown}`; a process type is named by at most {TYPE_MAX_BYTES} letters, digits, \
                     - and _, such as web"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProcessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `web.1`: one process of a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessName {
    pub process_type: ProcessType,
    /// Counts from 1.
    pub number: u32,
}

impl FromStr for ProcessName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let no_such = || Error::not_found("there is no such process; see the app's status");
        let (process_type, number) = text.rsplit_once('.').ok_or_else(no_such)?;
        let process_type = process_type.parse().map_err(|_| no_such())?;
        let number = number
            .parse::<u32>()
            .ok()
            .filter(|parsed| *parsed > 0 && parsed.to_string() == number)
            .ok_or_else(no_such)?;
        Ok(Self {
            process_type,
            number,
        })
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process_type, self.number)
    }
}

/// The process types of a release and the command of each, in the order of the Procfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTypes(Vec<(ProcessType, String)>);

const TYPES_MAX: usize = 50;
const COMMAND_MAX_BYTES: usize = 8 << 10;

impl ProcessTypes {
    /// Adds a type. Each may occur once.
    pub fn add(&mut self, process_type: ProcessType, command: &str) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::invalid("process_types", message));
        let command = command.trim();
        if command.is_empty() {
            return refuse(format!("gives `{process_type}` no command"));
        }
        // A block of YAML has lines; nothing else that controls a terminal belongs into a command.
        let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
        if command.len() > COMMAND_MAX_BYTES || command.contains(is_odd) {
            return refuse(format!(
                "gives `{process_type}` a command that is longer than {COMMAND_MAX_BYTES} bytes or holds a control \
                 character"
            ));
        }
        if self.command(&process_type).is_some() {
            return refuse(format!("names `{process_type}` twice"));
        }
        if self.0.len() >= TYPES_MAX {
            return refuse(format!("has more than {TYPES_MAX} process types"));
        }
        self.0.push((process_type, command.to_owned()));
        Ok(())
    }

    /// Adds those of `defaults` that are not there yet (`mar.md` §4.7).
    pub fn add_missing(&mut self, defaults: &Self) {
        for (process_type, command) in &defaults.0 {
            if self.0.len() < TYPES_MAX && self.command(process_type).is_none() {
                self.0.push((process_type.clone(), command.clone()));
            }
        }
    }

    pub fn command(&self, process_type: &ProcessType) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == process_type)
            .map(|(_, command)| command.as_str())
    }

    pub fn types(&self) -> impl Iterator<Item = &ProcessType> {
        self.0.iter().map(|(process_type, _)| process_type)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ProcessType, &str)> {
        self.0
            .iter()
            .map(|(process_type, command)| (process_type, command.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_a_type_and_a_number() {
        let name: ProcessName = "web.12".parse().unwrap();
        assert_eq!((name.process_type.as_str(), name.number), ("web", 12));
        assert_eq!(name.to_string(), "web.12");
        for wrong in [
            "", "web", "web.", "web.0", "web.01", "web.+1", ".1", "a b.1", "web.1.2",
        ] {
            assert!(wrong.parse::<ProcessName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn defaults_fill_gaps_only() {
        let types = |pairs: &[(&str, &str)]| {
            let mut types = ProcessTypes::default();
            for (name, command) in pairs {
                types.add(name.parse().unwrap(), command).unwrap();
            }
            types
        };
        let mut all = types(&[("web", "mine")]);
        all.add_missing(&types(&[("web", "theirs"), ("rake", "bundle exec rake")]));
        assert_eq!(all, types(&[("web", "mine"), ("rake", "bundle exec rake")]));
    }

    #[test]
    fn types_are_bounded() {
        let mut types = ProcessTypes::default();
        for number in 0..50 {
            types
                .add(format!("t{number}").parse().unwrap(), "x")
                .unwrap();
        }
        assert!(types.add("one-more".parse().unwrap(), "x").is_err());
        let mut types = ProcessTypes::default();
        let web = ProcessType::web;
        assert!(types.add(web(), " ").is_err());
        assert!(types.add(web(), &"x".repeat(9000)).is_err());
        assert!(types.add(web(), "x\u{1b}[2J").is_err());
        types.add(web(), "x").unwrap();
        assert!(types.add(web(), "y").is_err());
    }
}
