//! What the router notes, as lines of the app's journal.

use pilvi_edge::RouterEvent;
use pilvi_model::AppId;

use super::{Journal, Stream};

/// The process that lines of the router are written under.
const ROUTER: &str = "router";

impl pilvi_edge::Journal for Journal {
    fn note(&self, app: &str, event: RouterEvent<'_>) {
        if let Ok(app) = app.parse::<AppId>() {
            // The path is a visitor's, so it is treated like the output of a program.
            self.append_output(&app, Stream::Router, ROUTER, event.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pilvi_base::Clock;
    use pilvi_edge::{Code, Journal as _};

    use super::*;
    use crate::journal::{Filter, Page, Settings};

    #[tokio::test]
    async fn what_the_router_notes_is_a_harmless_line() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Clock::system(), Settings::default()).unwrap();
        journal.note(
            "mar-eu-1-ab12cd34",
            RouterEvent {
                code: Some(Code::H10),
                method: "GET",
                path: "/\u{1b}[2J",
                host: "mar-eu-1-ab12cd34.localhost",
                status: 503,
                bytes: 0,
                connect: Duration::ZERO,
                service: Duration::ZERO,
                request_id: "id",
                upstream: None,
                secure: false,
            },
        );
        let app = "mar-eu-1-ab12cd34".parse().unwrap();
        let page = Page {
            offset: 0,
            limit: 10,
            filter: Filter::default(),
        };
        let lines = journal.read(&app, page).await.unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].stream, lines[0].process.as_str()),
            (Stream::Router, "router")
        );
        let start = "at=error code=H10 desc=\"App crashed\" method=GET path=\"/\u{241b}[2J\"";
        assert!(lines[0].text.starts_with(start), "{}", lines[0].text);
    }
}
