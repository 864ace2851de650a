//! `pilvi eds files`: the files of a data backend, up and down.

mod download;
mod upload;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::target::Backend;
use crate::bytes;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Files {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List files, the oldest first
    List(List),
    /// Send a file, in pieces that can be gone on with after an interruption
    Upload(upload::Upload),
    /// Fetch a file, or a variant of it; what an earlier call fetched is not fetched again
    Download(download::Download),
    /// Show what is known of a file
    Show {
        /// Its id
        id: String,
    },
    /// Delete files, and take them out of the objects that name them
    Remove {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Remove files that no object names, and uploads that nobody goes on with; the server does so by itself in time
    Collect {
        /// Those that nobody has needed for so many hours [default: as the server is set up]
        #[arg(long, value_name = "HOURS")]
        older_than: Option<u32>,
    },
}

#[derive(Args, Clone, Debug, Default)]
struct List {
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Leave out so many first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

impl Files {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None => {
                List {
                    limit: 100,
                    offset: 0,
                }
                .carry_out(session, backend)
                .await
            }
            Some(Verb::List(list)) => list.carry_out(session, backend).await,
            Some(Verb::Upload(upload)) => upload.carry_out(session, backend).await,
            Some(Verb::Download(download)) => download.carry_out(session, backend).await,
            Some(Verb::Show { id }) => {
                let file = find(backend, id).await?;
                print(session, &file)
            }
            Some(Verb::Remove { ids }) => remove(session, backend, ids).await,
            Some(Verb::Collect { older_than }) => collect(session, backend, *older_than).await,
        }
    }
}

impl List {
    async fn carry_out(&self, session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
        let resource = format!("files?limit={}&offset={}", self.limit, self.offset);
        let answer = backend.get(&resource).await?;
        let empty = "There are no files. Send one with: pilvi eds files upload FILE";
        let columns = [
            whole("ID"),
            elastic("NAME"),
            whole("SIZE"),
            elastic("TYPE"),
            whole("STATUS"),
            elastic("OF"),
        ];
        let row = |file: &Value| {
            [
                text(file, "id"),
                text(file, "fileName"),
                size(file),
                text(file, "contentType"),
                text(file, "status"),
                owner(file),
            ]
        };
        session.show_list(&answer, empty, &columns, row)?;
        let shown = results(&answer).len();
        if shown == self.limit as usize && shown > 0 && !session.screen.wants_json() {
            let next = self.offset.saturating_add(self.limit);
            session
                .screen
                .note(&format!("There may be more: add --offset {next}."))?;
        }
        Ok(0)
    }
}

async fn remove(session: &mut Session<'_, '_>, backend: &Backend, ids: &[String]) -> Outcome {
    let mut answer = Value::Null;
    for (gone, id) in ids.iter().enumerate() {
        answer = known(backend.delete(&one(id)).await).map_err(|failure| Failure {
            what: format!(
                "{id} was not deleted: {} ({gone} before it were)",
                failure.what
            ),
            ..failure
        })?;
    }
    let line = match ids {
        [id] => format!("Deleted the file {id}."),
        several => format!("Deleted {} files.", several.len()),
    };
    session.done(&answer, &line)
}

async fn collect(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    older_than: Option<u32>,
) -> Outcome {
    let body = older_than.map_or_else(|| json!({}), |hours| json!({"olderThanHours": hours}));
    let answer = backend.post("files/collect", &body).await?;
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let count = |name: &str, word: &str| match number(name) {
        1 => format!("1 {word}"),
        several => format!("{several} {word}s"),
    };
    let line = format!(
        "Removed {} and {}; {} free again.",
        count("files", "file"),
        count("uploads", "unfinished upload"),
        bytes::in_words(number("bytes"))
    );
    session.done(&answer, &line)
}

fn print(session: &mut Session<'_, '_>, file: &Value) -> Outcome {
    if session.screen.wants_json() {
        session.screen.json(file)?;
        return Ok(0);
    }
    let mut facts = vec![
        ("Id", text(file, "id")),
        ("Name", text(file, "fileName")),
        ("Size", size(file)),
        ("Type", text(file, "contentType")),
        ("Status", text(file, "status")),
        ("Of", owner(file)),
        ("SHA-256", text(file, "sha256")),
    ];
    let variants = file["variants"].as_object().into_iter().flatten();
    let variants = variants.map(|(name, variant)| match text(variant, "reason") {
        reason if reason.is_empty() => format!("{name} ({})", text(variant, "status")),
        reason => format!("{name} ({}: {reason})", text(variant, "status")),
    });
    facts.push(("Variants", variants.collect::<Vec<_>>().join(", ")));
    facts.retain(|(_, fact)| !fact.is_empty());
    session.screen.facts(&facts)?;
    Ok(0)
}

fn size(file: &Value) -> String {
    file["fileSize"]
        .as_u64()
        .map(bytes::in_words)
        .unwrap_or_default()
}

/// The object that names a file, and by which property.
fn owner(file: &Value) -> String {
    let target = &file["targetFileProperty"];
    if !target.is_object() {
        return String::new();
    }
    let of = format!("{} {}", text(target, "objectType"), text(target, "id"));
    match text(target, "propertyName") {
        property if property.is_empty() => of,
        property => format!("{of} {property}"),
    }
}

async fn find(backend: &Backend, id: &str) -> Result<Value> {
    known(backend.get(&one(id)).await)
}

fn one(id: &str) -> String {
    format!("files/{}", segment(id))
}

fn known(answer: Result<Value>) -> Result<Value> {
    let next = "see `pilvi eds files` for those that there are";
    answer.map_err(|failure| failure.on(Code::NotFound, next))
}

/// How long to wait before what the network broke is tried again. After the last it is given up.
const RETRY_AFTER_SECONDS: [u64; 6] = [1, 2, 4, 8, 15, 30];

/// Counts what went wrong in a row, and waits.
#[derive(Debug, Default)]
pub(super) struct Patience {
    faults: usize,
}

impl Patience {
    pub(super) fn recover(&mut self) {
        self.faults = 0;
    }

    /// Waits, or gives the failure back when it is none of the network, or one too many.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<()> {
        let wait = RETRY_AFTER_SECONDS.get(self.faults);
        match wait.filter(|_| failure.code == Code::Unreachable) {
            Some(seconds) => {
                self.faults += 1;
                tokio::time::sleep(std::time::Duration::from_secs(*seconds)).await;
                Ok(())
            }
            None => Err(failure),
        }
    }
}

/// A digest as the server writes it.
fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
