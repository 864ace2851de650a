//! `/healthz`, `/readyz` and `/metrics`, for whoever watches over the server: at an address of their own, so that
//! neither a flood at the front door nor a certificate stands in between.
//!
//! `/healthz` says that the process lives. `/readyz` says that it can do its work: that it reads its database, and is
//! not about to stop. `/metrics` is what the gateways count. All are asked every few seconds by a program, so a request
//! is one line, and a reply closes.

use std::sync::Arc;
use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_mws::Mws;
use pilvi_platform::Platform;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::metrics;

/// A probe that takes longer has given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);
const HEAD_BYTES_MAX: u64 = 8 << 10;
/// More than this many ask at a time only by mistake; the others wait in the listener's queue.
const PROBES_MAX: usize = 16;

/// What is asked about.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Absent where a gateway runs alone, which needs nothing but itself to do its work.
    pub(crate) platform: Option<Platform>,
    pub(crate) mws: Mws,
}

/// Answers until the server stops.
pub(crate) async fn serve(listener: TcpListener, watched: Watched, tasks: TaskGroup) {
    let places = Arc::new(Semaphore::new(PROBES_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = tasks.stopping() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Without descriptors it fails until somebody gives one back.
            tokio::time::sleep(AFTER_A_FAILURE).await;
            continue;
        };
        let watched = watched.clone();
        tasks.spawn("probe", async move {
            let _ = timeout(ANSWER_WITHIN, answer(stream, &watched)).await;
            drop(place);
        });
    }
}

/// Reads a request and replies. Whoever goes away meanwhile is nobody's fault.
async fn answer(mut stream: TcpStream, watched: &Watched) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut head = BufReader::new(reader.take(HEAD_BYTES_MAX)).lines();
    let Some(first) = head.next_line().await? else {
        return Ok(());
    };
    while head.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let (status, kind, body) = match target(&first) {
        Some("/metrics") => ("200 OK", metrics::CONTENT_TYPE, metrics::of(&watched.mws)),
        target => {
            let (status, state) = state(target, watched.platform.as_ref()).await;
            let body = format!("{{\"status\":\"{state}\"}}\n");
            (status, "application/json", body)
        }
    };
    let length = body.len();
    let body = if first.starts_with("HEAD ") {
        ""
    } else {
        &*body
    };
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    );
    writer.write_all(reply.as_bytes()).await?;
    writer.shutdown().await
}

/// The answer to everything that is answered in a word.
async fn state(target: Option<&str>, platform: Option<&Platform>) -> (&'static str, &'static str) {
    match target {
        Some("/healthz") => ("200 OK", "alive"),
        Some("/readyz") => match platform {
            Some(platform) if platform.operator_account().await.is_err() => {
                ("503 Service Unavailable", "the database cannot be read")
            }
            _ => ("200 OK", "ready"),
        },
        Some(_) => (
            "404 Not Found",
            "only /healthz, /readyz and /metrics are answered here",
        ),
        None => (
            "405 Method Not Allowed",
            "only GET and HEAD are answered here",
        ),
    }
}

/// What is asked for, without its query. None: not by a verb that only asks.
fn target(first: &str) -> Option<&str> {
    let mut words = first.split(' ');
    let verb = words.next()?;
    let target = words.next()?.split('?').next()?;
    matches!(verb, "GET" | "HEAD").then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_question_counts() {
        assert_eq!(target("GET /readyz?x=1 HTTP/1.1"), Some("/readyz"));
        assert_eq!(target("HEAD /healthz HTTP/1.0"), Some("/healthz"));
        for line in ["POST /readyz HTTP/1.1", "GET", "", "\u{0}"] {
            assert_eq!(target(line), None, "{line:?}");
        }
    }
}
