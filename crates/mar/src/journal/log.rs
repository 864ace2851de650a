//! The journal of one app: its inbox, its files and those who follow it.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pilvi_base::Clock;
use pilvi_model::{Error, Result};

use super::entry::Entry;
use super::follow::{Follower, Following};
use super::inbox::{Flood, Inbox, Taken};
use super::segments::{Retention, Segments};
use super::{Filter, Page};

/// How many may follow one app at a time.
const FOLLOWERS_MAX: usize = 32;

/// The journal of one app. What is put waits in the inbox until the writer, or somebody who reads, settles it.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    retention: Retention,
    clock: Clock,
    /// A plain mutex: it is held for putting one entry in, or taking all out.
    inbox: Mutex<Inbox>,
    /// A plain mutex: it is held while files are written or read, and so never by a thread that runs async tasks.
    /// Locked before `inbox` when both are needed.
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Opened at first use.
    segments: Option<Segments>,
    followers: Vec<Follower>,
    /// The app is gone: nothing is written any more.
    removed: bool,
    /// Told to the operator once, until writing works again.
    failing: bool,
}

impl Log {
    pub(super) fn new(folder: PathBuf, retention: Retention, flood: Flood, clock: Clock) -> Self {
        Self {
            folder,
            retention,
            clock,
            inbox: Mutex::new(Inbox::new(flood)),
            written: Mutex::default(),
        }
    }

    /// Puts an entry in. The second part says that the writer must be told to come.
    pub(super) fn put(&self, entry: Entry) -> (Taken, bool) {
        let mut inbox = self.inbox();
        let taken = inbox.put(entry, Instant::now());
        let announce = !inbox.announced;
        inbox.announced = true;
        (taken, announce)
    }

    /// Writes what waits, and says when to come again to tell of dropped lines.
    pub(super) fn settle(&self) -> Option<Instant> {
        self.settle_locked(&mut self.written())
    }

    fn settle_locked(&self, written: &mut Written) -> Option<Instant> {
        let (entries, due) = {
            let mut inbox = self.inbox();
            let entries = inbox.take(self.clock.now().into(), Instant::now());
            let due = inbox.due();
            inbox.announced = due.is_some();
            (entries, due)
        };
        if entries.is_empty() || written.removed {
            return due;
        }
        let lines: Vec<Vec<u8>> = entries.iter().map(Entry::to_line).collect();
        let outcome = self
            .segments(written)
            .and_then(|segments| segments.append(&lines));
        match outcome {
            Ok(()) => written.failing = false,
            Err(error) => {
                if !written.failing {
                    tracing::error!(
                        folder = %self.folder.display(),
                        error = &error as &dyn std::error::Error,
                        "lines of an app's journal are lost because its files cannot be written"
                    );
                }
                written.failing = true;
                let mut inbox = self.inbox();
                inbox.lost(entries.len() as u64, Instant::now());
                inbox.announced = true;
                return inbox.due();
            }
        }
        written
            .followers
            .retain_mut(|follower| follower.tell(&entries));
        due
    }

    /// A page, with everything in it that was put before.
    pub(super) fn read(&self, page: &Page) -> Result<Vec<Entry>> {
        let mut written = self.written();
        self.settle_locked(&mut written);
        self.read_locked(&mut written, page)
            .map_err(Error::internal)
    }

    /// A page and everything that is written after it: nothing is missing between the two, and nothing comes twice,
    /// since no line is written while both are prepared.
    pub(super) fn follow(&self, page: &Page) -> Result<Following> {
        let mut written = self.written();
        self.settle_locked(&mut written);
        written.followers.retain(Follower::is_there);
        if written.followers.len() >= FOLLOWERS_MAX {
            let message = "too many are following this app's log; end one of them and try again";
            return Err(Error::over_limit(message));
        }
        let entries = self
            .read_locked(&mut written, page)
            .map_err(Error::internal)?;
        let (follower, live) = Follower::new(page.filter.clone());
        written.followers.push(follower);
        Ok(Following {
            page: entries,
            live,
        })
    }

    /// Nothing is written from now on, and those who follow learn that it is over.
    pub(super) fn end(&self) {
        let mut written = self.written();
        written.removed = true;
        written.followers.clear();
    }

    fn read_locked(&self, written: &mut Written, page: &Page) -> io::Result<Vec<Entry>> {
        if written.removed {
            return Ok(Vec::new());
        }
        let mut to_skip = page.offset;
        let mut found = Vec::new();
        if page.limit == 0 {
            return Ok(found);
        }
        self.segments(written)?.backwards(|line| {
            // Lines that are only skipped are counted and not read, unless a filter must look into them.
            if page.filter.takes_all() && to_skip > 0 {
                to_skip -= 1;
                return ControlFlow::Continue(());
            }
            let Some(entry) = Entry::from_line(line).filter(|entry| page.filter.takes(entry))
            else {
                return ControlFlow::Continue(());
            };
            if to_skip > 0 {
                to_skip -= 1;
                return ControlFlow::Continue(());
            }
            found.push(entry);
            if found.len() >= page.limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        found.reverse();
        Ok(found)
    }

    fn segments<'a>(&self, written: &'a mut Written) -> io::Result<&'a mut Segments> {
        if written.segments.is_none() {
            written.segments = Some(Segments::open(&self.folder, self.retention)?);
        }
        Ok(written
            .segments
            .as_mut()
            .expect("they were opened just now"))
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }
}

impl Filter {
    fn takes_all(&self) -> bool {
        self.stream.is_none() && self.process.is_none()
    }

    /// Whether an entry is asked for. A process type stands for all its processes.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let process = self.process.as_deref().is_none_or(|wanted| {
            let rest = entry.process.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        process && self.stream.is_none_or(|stream| stream == entry.stream)
    }
}
