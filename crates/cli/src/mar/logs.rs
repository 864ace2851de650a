//! `pilvi mar logs`.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use clap::{Args, ValueEnum};
use http_body_util::BodyExt;
use serde_json::Value;

use super::target::App;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::url::segment;

/// Longer than any line that a server sends.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A log that ends sooner is not asked for again: something is wrong.
const SHORTEST: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub(super) struct Logs {
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Print so many of the last lines
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=1000))]
    limit: u16,
    /// Leave out so many of the newest lines
    #[arg(long, default_value_t = 0, conflicts_with = "follow")]
    offset: u32,
    /// Only lines of this stream
    #[arg(long, value_enum)]
    stream: Option<Stream>,
    /// Only lines of this process, such as web.1, or of this type, such as web
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,
    /// Print the time before each line
    #[arg(long, visible_alias = "timestamp", short)]
    timestamps: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stream {
    /// What processes print
    Stdout,
    /// What processes complain of
    Stderr,
    /// What the router could not do
    Router,
    /// What was started, stopped and deployed
    System,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Router => "router",
            Self::System => "system",
        }
    }
}

impl Logs {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>, app: &App) -> Outcome {
        if self.follow {
            return self.follow(session, app).await;
        }
        let answer = app.get(session, &self.resource(self.limit)).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
            return Ok(0);
        }
        let entries = results(&answer);
        if entries.is_empty() {
            session.screen.note("Nothing has been logged yet.")?;
        }
        for entry in entries {
            session.screen.raw(&self.line(entry))?;
        }
        Ok(0)
    }

    fn resource(&self, limit: u16) -> String {
        let mut query = format!("logs?offset={}&limit={limit}", self.offset);
        if let Some(stream) = self.stream {
            query += &format!("&stream={}", stream.as_str());
        }
        if let Some(process) = &self.process {
            query += &format!("&process={}", segment(process));
        }
        if self.follow {
            query += "&follow=1";
        }
        query
    }

    /// Servers end a log now and then; what comes after is asked for again.
    async fn follow(&self, session: &mut Session<'_, '_>, app: &App) -> Outcome {
        let mut limit = self.limit;
        loop {
            let begun = Instant::now();
            self.follow_once(session, app, limit).await?;
            if begun.elapsed() < SHORTEST {
                return Err(ended("the server ended the log"));
            }
            limit = 0;
        }
    }

    /// A line of JSON for each entry, until the server ends it; empty lines keep the connection alive.
    async fn follow_once(
        &self,
        session: &mut Session<'_, '_>,
        app: &App,
        limit: u16,
    ) -> Result<()> {
        let mut body = app.open(session, &self.resource(limit)).await?;
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ended(&format!("the log broke off: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            read.extend_from_slice(&data);
            while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line = read.split_to(end + 1);
                self.print(session, &line)?;
            }
            if read.len() > LINE_BYTES_MAX {
                return Err(ended("the log holds a line without an end"));
            }
        }
        self.print(session, &read)
    }

    fn print(&self, session: &mut Session<'_, '_>, line: &[u8]) -> Result<()> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let entry: Value = serde_json::from_slice(line)
            .map_err(|error| ended(&format!("the log holds a line that is no JSON: {error}")))?;
        let text = if session.screen.wants_json() {
            format!("{entry}\n")
        } else {
            self.line(&entry)
        };
        Ok(session.screen.raw(&text)?)
    }

    /// As it was written, colours and all; a line end is added where it lacks one.
    fn line(&self, entry: &Value) -> String {
        let log = text(entry, "log");
        let log = log.strip_suffix('\n').unwrap_or(&log);
        match (self.timestamps, text(entry, "process")) {
            (false, _) => format!("{log}\n"),
            (true, process) if process.is_empty() => format!("[{}] {log}\n", text(entry, "time")),
            (true, process) => format!("[{}] {process}: {log}\n", text(entry, "time")),
        }
    }
}

fn ended(what: &str) -> Failure {
    let next = "call the command again; --limit 0 leaves out what you have seen";
    Failure::new(Code::Unreachable, what, next)
}
