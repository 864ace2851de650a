//! The file, before anybody knows what its keys mean.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Command;
use toml_edit::{Document, Item, Table, Value};

use super::settings::Settings;

/// Far more than any such file needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
    /// Everybody on the machine may read it.
    pub(crate) is_open: bool,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name of an option. `idle-timeout` in the table `apps` and `apps-idle-timeout` at the top are the same.
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) values: Vec<String>,
    /// It was written as a list.
    pub(crate) is_list: bool,
}

/// Something in the file that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// None where it is about the whole file.
    pub(crate) line: Option<usize>,
    pub(crate) says: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "line {line}: {}", self.says),
            None => out.write_str(&self.says),
        }
    }
}

impl Fault {
    fn of_file(says: String) -> Self {
        Self { line: None, says }
    }

    pub(super) fn of(entry: &Entry, says: String) -> Self {
        Self {
            line: Some(entry.line),
            says,
        }
    }
}

impl File {
    /// Reads a file, and says what is wrong with its form.
    pub(crate) fn read(path: &Path) -> (Self, Vec<Fault>) {
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let text = match read_bounded(path) {
            Ok((text, is_open)) => {
                file.is_open = is_open;
                text
            }
            Err(fault) => return (file, vec![fault]),
        };
        let faults = file.understand(&text);
        (file, faults)
    }

    fn understand(&mut self, text: &str) -> Vec<Fault> {
        let lines = Lines(text);
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                // Its own text shows the line, which may be the one with a secret.
                return vec![Fault {
                    line: lines.of(error.span()),
                    says: format!("this is not TOML: {}", error.message().replace('\n', ", ")),
                }];
            }
        };
        let mut faults = Vec::new();
        self.collect("", document.as_table(), lines, &mut faults);
        faults
    }

    /// Takes in a table. Names of tables and keys are joined, so that a table is only a shorter way to write.
    fn collect(&mut self, prefix: &str, table: &Table, lines: Lines<'_>, faults: &mut Vec<Fault>) {
        for (name, item) in table {
            let span = table.key(name).and_then(toml_edit::Key::span);
            let line = lines.of(span).unwrap_or(1);
            let key = format!("{prefix}{name}");
            match item {
                Item::Table(inner) => self.collect(&format!("{key}-"), inner, lines, faults),
                Item::Value(Value::InlineTable(inner)) => {
                    let inner = inner.clone().into_table();
                    let before = self.entries.len();
                    self.collect(&format!("{key}-"), &inner, Lines(""), faults);
                    // What was moved has lost its place.
                    let moved = &mut self.entries[before..];
                    moved.iter_mut().for_each(|entry| entry.line = line);
                }
                Item::Value(value) => match values_of(value) {
                    Some((values, is_list)) => self.add(key, line, values, is_list, faults),
                    None => faults.push(Fault {
                        line: Some(line),
                        says: format!(
                            "`{key}` is text, a number, true or false, or a list of those"
                        ),
                    }),
                },
                Item::ArrayOfTables(_) | Item::None => faults.push(Fault {
                    line: Some(line),
                    says: format!(
                        "`{key}` cannot be a list of tables; write [{key}] with single brackets"
                    ),
                }),
            }
        }
    }

    fn add(
        &mut self,
        key: String,
        line: usize,
        values: Vec<String>,
        is_list: bool,
        faults: &mut Vec<Fault>,
    ) {
        if let Some(first) = self.entries.iter().find(|entry| entry.key == key) {
            faults.push(Fault {
                line: Some(line),
                says: format!("`{key}` is set on line {} already", first.line),
            });
            return;
        }
        self.entries.push(Entry {
            key,
            line,
            values,
            is_list,
        });
    }

    /// The command with what this file says in place of its defaults.
    pub(crate) fn over_defaults(&self, command: Command) -> Command {
        self.entries.iter().fold(command, |command, entry| {
            Settings::change(command, &entry.key, |argument| {
                argument.default_values(entry.values.clone())
            })
        })
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Where a piece of a text is.
#[derive(Clone, Copy)]
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of(self, span: Option<Range<usize>>) -> Option<usize> {
        let before = self.0.as_bytes().get(..span?.start)?;
        Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
    }
}

/// The words of a value, and whether it is a list.
fn values_of(value: &Value) -> Option<(Vec<String>, bool)> {
    match value {
        Value::Array(list) => Some((list.iter().map(word_of).collect::<Option<_>>()?, true)),
        single => Some((vec![word_of(single)?], false)),
    }
}

fn word_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(word) => Some(word.value().to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => None,
    }
}

/// The text, and whether everybody may read it.
fn read_bounded(path: &Path) -> Result<(String, bool), Fault> {
    let fail = |error: io::Error| {
        Fault::of_file(match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file; `pilvi config default` prints one to begin with".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this file may not be read by you; run the command as the server's user or as root, or name a file of \
                 your own with --config"
                    .to_owned()
            }
            _ => format!("this file cannot be read: {error}"),
        })
    };
    // The usual way to say: none.
    if path == Path::new("/dev/null") {
        return Ok((String::new(), false));
    }
    // Opening a pipe would wait for somebody who writes.
    let metadata = fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(Fault::of_file("this is not a file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::of_file("this file is larger than 1 MiB".to_owned()));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::of_file("this file is not text in UTF-8".to_owned()))?;
    Ok((text, metadata.mode() & 0o004 != 0))
}
