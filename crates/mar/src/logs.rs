//! What an app wrote (`mar.md` §2.4): pages of it, and following it as it is written.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, header};
use pilvi_base::TaskGroup;
use pilvi_model::{AppId, Error, Result};
use pilvi_web::Params;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Mar;
use crate::journal::{Entry, Filter, Following, Page};
use crate::places::Place;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Something is written so often that nobody between here and the client takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Lines that are sent together.
const LINES_AT_ONCE: usize = 256;

impl Mar {
    /// A page of the log, oldest first; `offset` counts back from the newest line.
    pub(crate) async fn read_log(&self, app: &AppId, page: Page) -> Result<Vec<Entry>> {
        self.parts().journal.read(app, page).await
    }

    /// A page of the log and whatever follows it, until the client goes, the app goes, or the time is over.
    pub(crate) async fn follow_log(&self, app: &AppId, page: Page, form: Form) -> Result<Response> {
        let parts = self.parts();
        let limits = parts.settings.limits;
        let place = self
            .0
            .followers
            .enter(app, limits.followers)
            .ok_or_else(|| {
                Error::over_limit(format!(
                    "{} clients follow the log of this app already; stop one of them first",
                    limits.followers
                ))
            })?;
        let Following { page, live } = parts.journal.follow(app, page).await?;
        let feed = Feed {
            waiting: page.into(),
            live,
            until: Instant::now() + limits.follow_for,
            tasks: parts.tasks.clone(),
            form,
            _place: place,
        };
        let body = Body::from_stream(stream::unfold(feed, |mut feed| async move {
            let piece = feed.next().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), feed))
        }));
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// How a log that is followed is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object a line.
    Lines,
    /// Server-sent events, which browsers read.
    Events,
}

impl Form {
    pub(crate) fn asked(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        match accept.is_some_and(|accept| accept.contains("text/event-stream")) {
            true => Self::Events,
            false => Self::Lines,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    fn write(self, entry: &Entry, out: &mut String) {
        let line = shown(entry).to_string();
        match self {
            Self::Lines => out.push_str(&line),
            Self::Events => {
                out.push_str("data: ");
                out.push_str(&line);
                out.push('\n');
            }
        }
        out.push('\n');
    }

    /// Nothing, in a way that readers skip.
    fn heartbeat(self) -> &'static str {
        match self {
            Self::Lines => "\n",
            Self::Events => ":\n\n",
        }
    }
}

/// A log on its way to one client.
struct Feed {
    waiting: VecDeque<Entry>,
    live: mpsc::Receiver<Entry>,
    until: Instant,
    tasks: TaskGroup,
    form: Form,
    _place: Place,
}

impl Feed {
    /// The next piece; `None`: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.waiting.is_empty() {
            tokio::select! {
                entry = self.live.recv() => self.waiting.push_back(entry?),
                () = tokio::time::sleep(HEARTBEAT) => {
                    let over = Instant::now() >= self.until;
                    return (!over).then(|| Bytes::from_static(self.form.heartbeat().as_bytes()));
                }
                () = self.tasks.stopping() => return None,
            }
        }
        if Instant::now() >= self.until {
            return None;
        }
        while self.waiting.len() < LINES_AT_ONCE
            && let Ok(entry) = self.live.try_recv()
        {
            self.waiting.push_back(entry);
        }
        let mut text = String::new();
        let count = self.waiting.len().min(LINES_AT_ONCE);
        for entry in self.waiting.drain(..count) {
            self.form.write(&entry, &mut text);
        }
        Some(text.into())
    }
}

/// One line as clients read it.
pub(crate) fn shown(entry: &Entry) -> Value {
    json!({
        "time": entry.time.to_millis_text(),
        "log": entry.text,
        "stream": entry.stream.as_str(),
        "process": entry.process,
    })
}

/// Reads `offset`, `limit`, `stream` and `process`, all optional.
pub(crate) fn page(params: &Params) -> Result<Page> {
    let number = |name: &str, usual: usize| match params.given(name) {
        None => Ok(usual),
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Error::invalid(name, "must be a whole number from 0")),
    };
    let stream = params.given("stream").map(str::parse).transpose()?;
    Ok(Page {
        offset: number("offset", 0)?,
        limit: number("limit", LIMIT_DEFAULT)?.min(LIMIT_MAX),
        filter: Filter {
            stream,
            process: params.given("process").map(str::to_owned),
        },
    })
}

/// Whether the log is to be followed.
pub(crate) fn is_followed(params: &Params) -> bool {
    matches!(params.given("follow"), Some("1" | "true"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Stream;

    fn read(query: &str) -> Result<Page> {
        page(&Params::decode(query, &HeaderMap::new()))
    }

    #[test]
    fn a_page_is_the_last_hundred_lines_unless_asked_otherwise() {
        for (query, offset, limit) in [
            ("", 0, 100),
            ("offset=&limit=", 0, 100),
            ("offset=5&limit=7", 5, 7),
            ("limit=0", 0, 0),
            ("limit=100000", 0, 1000),
        ] {
            let page = read(query).unwrap();
            assert_eq!((page.offset, page.limit), (offset, limit), "{query}");
        }
        let page = read("stream=stderr&process=web.1").unwrap();
        assert_eq!(page.filter.stream, Some(Stream::Stderr));
        assert_eq!(page.filter.process.as_deref(), Some("web.1"));
        for wrong in ["offset=-1", "limit=x", "stream=std", "offset=1.5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
