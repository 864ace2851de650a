//! `pilvi eds schema`: all object types at once, as a file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, array, results};

/// A document has at most this many bytes for the server.
const FILE_BYTES_MAX: u64 = 2 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Schema {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Write all object types into a file, in the format of the original's export
    Export {
        /// The file, which must not exist yet [default: print them]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Put the object types of such a file in the place of those of the same names; others stay
    Import {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Schema {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            Verb::Export { file } => {
                let document = backend.get("schema").await?;
                let Some(file) = file else {
                    session.screen.json(&document)?;
                    return Ok(0);
                };
                let path = session.place.folder.join(file);
                write(&path, &document)?;
                let count = array(&document["objects"]).len();
                let line = format!("Wrote {} to {}.", counted(count), path.display());
                session.done(&document, &line)
            }
            Verb::Import { file } => {
                let document = read(&session.place.folder.join(file))?;
                let answer = backend.post("schema", &document).await.map_err(|failure| {
                    failure.on(
                        Code::Refused,
                        "correct the file; nothing of it was imported",
                    )
                })?;
                for warning in array(&answer["warnings"]) {
                    session.screen.note(warning.as_str().unwrap_or_default())?;
                }
                let line = format!("Imported {}.", counted(results(&answer).len()));
                session.done(&answer, &line)
            }
        }
    }
}

fn counted(types: usize) -> String {
    match types {
        1 => "1 object type".to_owned(),
        types => format!("{types} object types"),
    }
}

fn write(path: &Path, document: &Value) -> Result<()> {
    let text = format!("{document:#}\n");
    let fail = |error: std::io::Error| {
        let next = "name a file that does not exist yet, in a folder that you may write to";
        Failure::usage(
            format!("{} cannot be written: {error}", path.display()),
            next,
        )
    };
    let mut file = std::fs::File::create_new(path).map_err(fail)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(fail)
}

fn read(path: &Path) -> Result<Value> {
    let shown = path.display();
    let next = "name a file that `pilvi eds schema export` or the original's console has written";
    let fail = |why: String| Failure::usage(format!("{shown} {why}"), next);
    let file =
        std::fs::File::open(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| fail(format!("holds no JSON: {error}")))
}
