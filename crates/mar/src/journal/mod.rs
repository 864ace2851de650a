//! What an app says: the lines of its processes, what the router did with its requests, and what the platform did with
//! its processes.
//!
//! A journal is a few numbered files of JSON lines per app (`segments`). Nobody who puts a line in waits: lines go
//! into a bounded inbox (`inbox`), and one thread writes them all (`writer`). A line that was torn by a crash is
//! forgotten when the file is opened next. Reading goes backwards from the newest line, and following begins where a
//! page ends, without a gap.

mod entry;
mod follow;
mod inbox;
mod lines;
mod log;
mod router;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_base::Clock;
use pilvi_model::{AppId, Error, Result};

pub use entry::{Entry, Stream, TEXT_MAX_BYTES};
pub use follow::Following;
pub use inbox::{Flood, Taken};
pub(crate) use lines::LineCutter;
pub use segments::Retention;

use log::Log;
use writer::Writer;

/// The process that lines about the app as a whole are written under.
pub const PLATFORM: &str = "mar";

/// How many removed apps are remembered, so that a late line does not bring a folder back.
const REMOVED_MAX: usize = 1024;

/// How much is kept, and how much is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub retention: Retention,
    pub flood: Flood,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub stream: Option<Stream>,
    /// A process such as `web.1`, or a type for all its processes.
    pub process: Option<String>,
}

/// A part of a journal.
#[derive(Clone, Debug)]
pub struct Page {
    /// How many of the newest entries are left out.
    pub offset: usize,
    pub limit: usize,
    pub filter: Filter,
}

/// The journals of all apps. Cloning gives another handle on the same ones.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `<folder>/<app>/log` holds the journal of an app.
    folder: PathBuf,
    settings: Settings,
    clock: Clock,
    /// A plain mutex: it is held for finding one journal.
    logs: Mutex<Logs>,
    writer: Writer,
}

#[derive(Debug, Default)]
struct Logs {
    by_app: HashMap<AppId, Arc<Log>>,
    /// The apps that were removed last.
    removed: VecDeque<AppId>,
}

impl Journal {
    /// The journals below `folder`. Files are opened when they are needed.
    pub fn open(folder: &Path, clock: Clock, settings: Settings) -> io::Result<Self> {
        let shared = Shared {
            folder: folder.to_owned(),
            settings,
            clock,
            logs: Mutex::default(),
            writer: Writer::start()?,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Puts one entry in, without waiting. Its text must be short and harmless; [`Journal::append_output`] is for
    /// what is not.
    pub fn append(&self, app: &AppId, entry: Entry) -> Taken {
        let Some(log) = self.log(app) else {
            return Taken::Dropped;
        };
        let (taken, announce) = log.put(entry);
        if announce {
            self.shared.writer.announce(log);
        }
        taken
    }

    /// Puts in what a program wrote: any bytes.
    pub fn append_output(&self, app: &AppId, stream: Stream, process: &str, raw: &[u8]) -> Taken {
        let mut taken = Taken::Yes;
        for text in entry::texts(raw) {
            let entry = self.entry(stream, process, text);
            if self.append(app, entry) == Taken::Dropped {
                taken = Taken::Dropped;
            }
        }
        taken
    }

    /// Puts in what the platform has to say about a process, or about the app ([`PLATFORM`]).
    pub fn say(&self, app: &AppId, process: &str, text: &str) {
        for text in entry::texts(text.as_bytes()) {
            self.append(app, self.entry(Stream::System, process, text));
        }
    }

    /// The entries that a page asks for, oldest first. It holds everything that was put in before.
    pub async fn read(&self, app: &AppId, page: Page) -> Result<Vec<Entry>> {
        self.off_the_async_threads(app, move |log| log.read(&page))
            .await
    }

    /// The entries that a page asks for and what is written after them, without a gap and without a double.
    pub async fn follow(&self, app: &AppId, page: Page) -> Result<Following> {
        self.off_the_async_threads(app, move |log| log.follow(&page))
            .await
    }

    /// Removes an app's journal. Who follows it learns that it is over; what is put in later is dropped.
    pub async fn remove(&self, app: &AppId) -> Result<()> {
        let found = self.log(app);
        {
            let mut logs = self.logs();
            logs.by_app.remove(app);
            logs.removed.push_back(app.clone());
            if logs.removed.len() > REMOVED_MAX {
                logs.removed.pop_front();
            }
        }
        let Some(log) = found else { return Ok(()) };
        let removed = tokio::task::spawn_blocking(move || {
            log.end();
            std::fs::remove_dir_all(log.folder())
        });
        match removed.await.map_err(Error::internal)? {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::internal(error)),
            _ => Ok(()),
        }
    }

    fn entry(&self, stream: Stream, process: &str, text: String) -> Entry {
        Entry {
            time: self.shared.clock.now().into(),
            stream,
            process: process.to_owned(),
            text,
        }
    }

    async fn off_the_async_threads<T: Send + 'static>(
        &self,
        app: &AppId,
        work: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let log = self
            .log(app)
            .ok_or_else(|| Error::not_found("there is no such app"))?;
        tokio::task::spawn_blocking(move || work(&log))
            .await
            .map_err(Error::internal)?
    }

    /// The journal of an app, unless it was removed.
    fn log(&self, app: &AppId) -> Option<Arc<Log>> {
        let mut logs = self.logs();
        if let Some(log) = logs.by_app.get(app) {
            return Some(Arc::clone(log));
        }
        if logs.removed.contains(app) {
            return None;
        }
        let shared = &self.shared;
        let folder = shared.folder.join(app.as_str()).join("log");
        let settings = shared.settings;
        let log = Log::new(
            folder,
            settings.retention,
            settings.flood,
            shared.clock.clone(),
        );
        let log = Arc::new(log);
        logs.by_app.insert(app.clone(), Arc::clone(&log));
        Some(log)
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.shared
            .logs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
