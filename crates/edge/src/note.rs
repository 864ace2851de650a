//! One request, as the app's log will have it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::edge::Shared;
use crate::reach::Link;
use crate::spare;
use crate::{Code, RouterEvent};

/// What a request was, in one text, so that the next one on the connection needs no new memory.
#[derive(Default)]
pub(crate) struct Note {
    text: String,
    method_end: usize,
    path_end: usize,
    host_end: usize,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) connect: Duration,
    pub(crate) service: Duration,
}

impl Note {
    pub(crate) fn set(&mut self, method: &str, target: &str, host: &[u8], request_id: &str) {
        let path = target.split('?').next().unwrap_or_default();
        self.text.clear();
        self.text.push_str(method);
        self.method_end = self.text.len();
        self.text.push_str(path);
        self.path_end = self.text.len();
        self.text
            .push_str(std::str::from_utf8(host).unwrap_or_default());
        self.host_end = self.text.len();
        self.text.push_str(request_id);
    }

    pub(crate) fn host(&self) -> &str {
        &self.text[self.path_end..self.host_end]
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.text[self.host_end..]
    }
}

impl Shared {
    /// Writes a line into the app's log, if this is worth one.
    pub(crate) fn report(
        &self,
        app: &str,
        upstream: Option<&str>,
        note: &Note,
        course: Course,
        code: Option<Code>,
        secure: bool,
    ) {
        if code.is_none() && !self.settings.access_lines {
            return;
        }
        let event = RouterEvent {
            code,
            method: &note.text[..note.method_end],
            path: &note.text[note.method_end..note.path_end],
            host: note.host(),
            status: course.status,
            bytes: course.bytes,
            connect: course.connect,
            service: course.service,
            request_id: note.request_id(),
            upstream,
            secure,
        };
        self.journal.note(app, event);
    }

    /// Keeps the connection of a request that is over for another one.
    pub(crate) fn park(&self, mut link: Link, now: Instant, rests: Duration) {
        spare::give(&mut link.inbox);
        let slot = Arc::clone(link.ticket.slot());
        if slot.park(link.stream, now, rests, self.settings.pool_max) {
            self.parked.notify_one();
        }
        // The ticket is dropped last: who waits for the upstream to be done finds no connection of ours open.
        drop(link.ticket);
    }
}
