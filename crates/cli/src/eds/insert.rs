//! `pilvi eds insert`: one object from the command line, or as many as a file has lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::collection::Collection;
use super::fields::{Field, field, object};
use super::query::print;
use super::target::Backend;
use crate::failure::{Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, results};

/// The server carries out so many writes in one step.
const BATCH_OBJECTS_MAX: usize = 100;
/// Together with what is around them, less than the server takes in one request.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// An object is at most as long as a request.
const LINE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Insert {
    /// The object type, such as todos; a type that is not there yet is made
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// NAME=TEXT, NAME:=JSON, or a JSON object; `-` reads one JSON object a line from standard input
    #[arg(value_name = "PROPERTY", value_parser = word, required_unless_present = "file")]
    words: Vec<Word>,
    /// Read one JSON object a line from this file
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Word {
    Field(Field),
    StandardInput,
}

fn word(text: &str) -> std::result::Result<Word, String> {
    match text {
        "-" => Ok(Word::StandardInput),
        text => field(text).map(Word::Field),
    }
}

impl Insert {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        if let Some(file) = &self.file {
            let path = session.place.folder.join(file);
            let file = File::open(&path).map_err(|error| {
                Failure::usage(
                    format!("{} cannot be read: {error}", path.display()),
                    "name a file with one JSON object a line",
                )
            })?;
            let length = file.metadata().ok().filter(std::fs::Metadata::is_file);
            let length = length.map(|metadata| metadata.len());
            let progress = self.progress(session, length);
            let reader = BufReader::new(file);
            return self.many(session, backend, reader, progress).await;
        }
        let fields: Vec<Field> = self.words.iter().filter_map(Word::field).collect();
        if fields.len() == self.words.len() {
            return self.one(session, backend, &fields).await;
        }
        if self.words.len() > 1 {
            return Err(Failure::usage(
                "properties and `-` do not go together",
                "name properties, or give `-` alone to read objects from standard input",
            ));
        }
        let input = std::mem::replace(&mut session.place.input, Box::new(std::io::empty()));
        let progress = match session.place.asks {
            // Somebody types the objects.
            true => Progress::hidden(),
            false => self.progress(session, None),
        };
        self.many(session, backend, input, progress).await
    }

    fn progress(&self, session: &Session<'_, '_>, length: Option<u64>) -> Progress {
        match session.screen.wants_json() && session.screen.is_terminal() {
            // What is printed meanwhile goes to the same terminal.
            true => Progress::hidden(),
            false => Progress::of_bytes(session.screen, "Inserting", length),
        }
    }

    async fn one(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
        fields: &[Field],
    ) -> Outcome {
        let body = Value::Object(object(fields));
        let created = backend.post(&self.collection.path, &body).await?;
        print(session, &created)?;
        Ok(0)
    }

    /// Batch after batch. Those that are through stay when a later one fails, and the failure says how many they are.
    async fn many(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
        reader: impl BufRead,
        progress: Progress,
    ) -> Outcome {
        let mut lines = Lines::new(reader);
        let (mut inserted, mut shown) = (0, 0);
        loop {
            let outcome = match lines.next_batch() {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => self.send(session, backend, &batch).await,
                Err(failure) => Err(failure),
            };
            inserted += outcome.map_err(|failure| Failure {
                what: format!("{}; {}", failure.what, before(inserted)),
                ..failure
            })?;
            progress.add(lines.bytes - shown);
            shown = lines.bytes;
        }
        drop(progress);
        if !session.screen.wants_json() {
            let line = format!("Inserted {}.", objects(inserted));
            session.screen.line(&line)?;
        }
        Ok(0)
    }

    async fn send(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
        batch: &[Line],
    ) -> Result<usize> {
        let created: Vec<Value> = if self.collection.is_custom() {
            let answer = self.send_batch(backend, batch).await?;
            let results = results(&answer).iter();
            results.map(|result| result["body"].clone()).collect()
        } else {
            // The built-in types are not part of batches.
            let mut created = Vec::new();
            for line in batch {
                let answer = backend.post(&self.collection.path, &line.object).await;
                let answer = answer.map_err(|failure| {
                    let failure = in_line(line.number, failure);
                    match created.len() {
                        0 => failure,
                        more => Failure {
                            what: format!("{} ({} just before it)", failure.what, objects(more)),
                            ..failure
                        },
                    }
                })?;
                created.push(answer);
            }
            created
        };
        if session.screen.wants_json() {
            for object in &created {
                session.screen.raw(&format!("{object}\n"))?;
            }
        }
        Ok(batch.len())
    }

    async fn send_batch(&self, backend: &Backend, batch: &[Line]) -> Result<Value> {
        let path = format!("/v1/{}", self.collection.path);
        let operations: Vec<Value> = batch
            .iter()
            .map(|line| json!({"method": "POST", "path": path, "body": line.object}))
            .collect();
        let answer = backend
            .post("batch", &json!({ "operations": operations }))
            .await;
        answer.map_err(|failure| match place_in_batch(&failure.what) {
            Some((place, what)) if place < batch.len() => {
                in_line(batch[place].number, Failure { what, ..failure })
            }
            _ => failure,
        })
    }
}

impl Word {
    fn field(&self) -> Option<Field> {
        match self {
            Self::Field(field) => Some(field.clone()),
            Self::StandardInput => None,
        }
    }
}

/// An object, and the line that it stands in.
#[derive(Debug)]
struct Line {
    number: u64,
    object: Value,
}

/// Reads objects line by line, never more than a batch of them.
struct Lines<R> {
    reader: R,
    number: u64,
    /// How many were read.
    bytes: u64,
    /// Read already, and too long for the batch before.
    waiting: Option<(Line, usize)>,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            number: 0,
            bytes: 0,
            waiting: None,
        }
    }

    /// The next objects; none at the end.
    fn next_batch(&mut self) -> Result<Vec<Line>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_OBJECTS_MAX {
            let next = match self.waiting.take() {
                Some(waiting) => Some(waiting),
                None => self.next_line()?,
            };
            let Some((line, length)) = next else {
                break;
            };
            if bytes + length > BATCH_BYTES_MAX && !batch.is_empty() {
                self.waiting = Some((line, length));
                break;
            }
            bytes += length;
            batch.push(line);
        }
        Ok(batch)
    }

    /// The next object with the bytes of its line. Empty lines are passed over.
    fn next_line(&mut self) -> Result<Option<(Line, usize)>> {
        let next = "give one JSON object a line; `pilvi eds query TYPE --lines` prints such lines";
        loop {
            let mut line = Vec::new();
            let mut limited = Read::take(&mut self.reader, LINE_BYTES_MAX + 1);
            let read = limited.read_until(b'\n', &mut line);
            let read = read.map_err(|error| {
                Failure::usage(format!("the objects cannot be read: {error}"), next)
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if read as u64 > LINE_BYTES_MAX {
                let what = format!("line {} is longer than {LINE_BYTES_MAX} bytes", self.number);
                return Err(Failure::usage(what, next));
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let why = match serde_json::from_slice::<Value>(text) {
                Ok(object) if object.is_object() => {
                    let number = self.number;
                    return Ok(Some((Line { number, object }, text.len())));
                }
                Ok(_) => "it is other JSON".to_owned(),
                Err(error) => error.to_string(),
            };
            let what = format!("line {} is no JSON object: {why}", self.number);
            return Err(Failure::usage(what, next));
        }
    }
}

/// The server tells the place before or behind what is wrong: `operations[3]: why`, or `name: why (in operations[3])`
/// where it is a property.
fn place_in_batch(what: &str) -> Option<(usize, String)> {
    if let Some((place, why)) = what
        .strip_prefix("operations[")
        .and_then(|rest| rest.split_once("]: "))
    {
        return Some((place.parse().ok()?, why.to_owned()));
    }
    let (why, rest) = what.split_once(" (in operations[")?;
    let (place, rest) = rest.split_once("])")?;
    let again = format!(" (in operations[{place}])");
    Some((
        place.parse().ok()?,
        format!("{why}{rest}").replace(&again, ""),
    ))
}

fn in_line(number: u64, failure: Failure) -> Failure {
    Failure {
        what: format!("line {number}: {}", failure.what),
        ..failure
    }
}

/// What a failure leaves behind.
fn before(inserted: usize) -> String {
    match inserted {
        0 => "nothing was inserted before".into(),
        1 => "1 object was inserted before and stays".into(),
        several => format!("{several} objects were inserted before and stay"),
    }
}

fn objects(count: usize) -> String {
    match count {
        1 => "1 object".into(),
        several => format!("{several} objects"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str) -> Vec<Vec<u64>> {
        let mut lines = Lines::new(text.as_bytes());
        let mut all = Vec::new();
        loop {
            let batch = lines.next_batch().unwrap();
            if batch.is_empty() {
                return all;
            }
            all.push(batch.iter().map(|line| line.number).collect());
        }
    }

    #[test]
    fn a_batch_holds_a_hundred_objects() {
        let text = "{}\n".repeat(250);
        let sizes: Vec<usize> = batches(&text).iter().map(Vec::len).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn long_objects_make_short_batches() {
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(300 << 10));
        assert_eq!(batches(&long.repeat(3)), [[1], [2], [3]]);
    }

    #[test]
    fn empty_lines_count_and_are_passed_over() {
        assert_eq!(batches("\n{}\r\n  \n{\"a\":1}"), [[2, 4]]);
        assert!(batches("").is_empty());
    }

    #[test]
    fn a_line_that_is_no_object_is_named() {
        for (text, expected) in [
            ("{}\n{\n", "line 2 is no JSON object: EOF"),
            ("[]", "line 1 is no JSON object: it is other JSON"),
            ("\u{fffd}", "line 1 is no JSON object"),
        ] {
            let failure = Lines::new(text.as_bytes()).next_batch().unwrap_err();
            assert!(failure.what.starts_with(expected), "{}", failure.what);
        }
        let endless = std::io::repeat(b'x');
        let failure = Lines::new(BufReader::new(endless))
            .next_batch()
            .unwrap_err();
        assert_eq!(failure.what, "line 1 is longer than 1048576 bytes");
    }

    #[test]
    fn the_servers_place_is_read() {
        for (said, why) in [
            ("operations[12]: title: is required", "title: is required"),
            (
                "title: is required (in operations[12])",
                "title: is required",
            ),
            (
                "a: no (in operations[12]); b: no (in operations[12])",
                "a: no; b: no",
            ),
        ] {
            assert_eq!(place_in_batch(said), Some((12, why.to_owned())), "{said}");
        }
        assert_eq!(place_in_batch("title: is required"), None);
    }
}
