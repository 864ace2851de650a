//! A file on its way out of a data backend.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use pilvi_base::secret::Sha256;
use serde_json::Value;

use super::{Patience, find, hex, known, one};
use crate::bytes;
use crate::eds::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, text};
use crate::url::{Base, segment};

/// How long a server may send nothing.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(super) struct Download {
    /// The file's id
    id: String,
    /// Fetch this variant of it, such as thumbnail
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Where to put it [default: here, under its own name]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put it in the place of a file that is there
    #[arg(long)]
    force: bool,
}

impl Download {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let file = find(backend, &self.id).await?;
        let path = self.place(session, &file)?;
        if path.exists() && !self.force {
            return Err(Failure::usage(
                format!("there is a file {} already", path.display()),
                "name another one with --output, or replace it with --force",
            ));
        }
        // What is known of the bytes is known of the file alone.
        let whole = self.variant.is_none();
        let total = file["fileSize"].as_u64().filter(|_| whole);
        let digest = file["sha256"].as_str().filter(|_| whole);
        let mut part = Part::open(&path, digest.is_some())?;
        let progress = Progress::of_bytes(session.screen, "Downloading", total);
        progress.add(part.bytes);
        self.fetch(backend, &mut part, &progress)
            .await
            .map_err(|failure| {
                let next = "call the same command again: it goes on where it was interrupted";
                failure.on(Code::Unreachable, next)
            })?;
        drop(progress);
        let bytes = part.bytes;
        part.keep(&path, digest)?;
        let line = format!("Fetched {} ({}).", path.display(), bytes::in_words(bytes));
        session.done(&file, &line)
    }

    fn place(&self, session: &Session<'_, '_>, file: &Value) -> Result<PathBuf> {
        let folder = &session.place.folder;
        if let Some(output) = &self.output {
            return Ok(folder.join(output));
        }
        let name = text(file, "fileName");
        // Whatever the server says, it ends up in this folder.
        let last = Path::new(&name).file_name().and_then(|name| name.to_str());
        let last = last.ok_or_else(|| {
            Failure::usage(
                "the file has no name that it could be kept under",
                "name one with --output",
            )
        })?;
        Ok(folder.join(match &self.variant {
            Some(variant) => format!("{}-{last}", segment(variant)),
            None => last.to_owned(),
        }))
    }

    async fn fetch(&self, backend: &Backend, part: &mut Part, progress: &Progress) -> Result<()> {
        let mut patience = Patience::default();
        loop {
            let before = part.bytes;
            match self.fetch_rest(backend, part, progress).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    if part.bytes > before {
                        patience.recover();
                    }
                    patience.after(failure).await?;
                }
            }
        }
    }

    /// Asks for an address, and reads from it what is not there yet.
    async fn fetch_rest(
        &self,
        backend: &Backend,
        part: &mut Part,
        progress: &Progress,
    ) -> Result<()> {
        let query = self
            .variant
            .as_ref()
            .map(|name| format!("?variant={}", segment(name)));
        let resource = format!(
            "{}/download_url{}",
            one(&self.id),
            query.unwrap_or_default()
        );
        let answer = known(backend.get(&resource).await)?;
        let (base, target) = address(answer["expiringUrl"].as_str().unwrap_or_default())?;
        let Some(mut body) = backend.client.fetch(&base, target, part.bytes).await? else {
            // All of it is there.
            return Ok(());
        };
        if !body.is_rest {
            part.restart()?;
        }
        loop {
            let frame = tokio::time::timeout(SILENCE, body.stream.frame()).await;
            let Some(frame) = frame.map_err(|_| broken(&base, "it went silent"))? else {
                return match body.stream_is_whole(part.bytes) {
                    true => Ok(()),
                    false => Err(broken(&base, "it ended early")),
                };
            };
            let frame = frame.map_err(|error| broken(&base, &error.to_string()))?;
            if let Ok(bytes) = frame.into_data() {
                part.add(&bytes)?;
                progress.add(bytes.len() as u64);
            }
        }
    }
}

/// An address in the two parts that a request needs.
fn address(text: &str) -> Result<(Base, &str)> {
    let fail = || {
        let what = "the server names no place to fetch the file from";
        Failure::failed(what, "tell the server's operator")
    };
    let after_scheme = text.find("://").map(|at| at + 3).ok_or_else(fail)?;
    let path = text[after_scheme..].find('/').ok_or_else(fail)? + after_scheme;
    let base = Base::parse(&text[..path]).map_err(|_| fail())?;
    Ok((base, &text[path..]))
}

fn broken(base: &Base, why: &str) -> Failure {
    let what = format!("the file could not be read from {base}: {why}");
    Failure::new(Code::Unreachable, what, "try again")
}

/// What of a file is there, beside the place where all of it will be.
struct Part {
    file: File,
    path: PathBuf,
    bytes: u64,
    hash: Sha256,
}

impl Part {
    /// `resumable`: what an earlier call left is gone on with, because the end tells whether it belongs together.
    fn open(path: &Path, resumable: bool) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = path.with_file_name(name);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!resumable)
            .open(&path);
        let file = opened.map_err(|error| unwritable(&path, &error))?;
        let mut part = Self {
            file,
            path,
            bytes: 0,
            hash: Sha256::default(),
        };
        let read = part.read();
        read.map_err(|error| unwritable(&part.path, &error))?;
        Ok(part)
    }

    /// Hashes what is there and stands behind it.
    fn read(&mut self) -> io::Result<()> {
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = self.file.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            self.hash.add(&piece[..count]);
            self.bytes += count as u64;
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| unwritable(&self.path, &error))?;
        self.hash.add(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<()> {
        let emptied = File::create(&self.path);
        self.file = emptied.map_err(|error| unwritable(&self.path, &error))?;
        self.hash = Sha256::default();
        self.bytes = 0;
        Ok(())
    }

    /// Puts it where it belongs, if it is what it should be.
    fn keep(self, path: &Path, digest: Option<&str>) -> Result<()> {
        if digest.is_some_and(|digest| hex(self.hash.finish()) != digest) {
            let _ = fs::remove_file(&self.path);
            return Err(Failure::failed(
                "what was fetched is not the file: what an earlier call left belongs to another one, or it was damaged",
                "call the same command again: it begins anew",
            ));
        }
        let kept = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, path));
        kept.map_err(|error| unwritable(path, &error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        format!("{} cannot be written: {error}", path.display()),
        "see whether the folder is there and may be written, and whether its disk is full",
    )
}
