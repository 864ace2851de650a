//! `pilvi mar restart`, `start` and `stop`.

use serde_json::json;

use super::target::App;
use crate::failure::Outcome;
use crate::progress::Progress;
use crate::session::Session;

pub(super) async fn restart(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    order(session, app, "restart", "All processes are started anew.").await
}

pub(super) async fn start(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    order(session, app, "start", "The app is started.").await
}

pub(super) async fn stop(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let done = "The app is stopped. Start it again with: pilvi mar start";
    order(session, app, "stop", done).await
}

async fn order(session: &mut Session<'_, '_>, app: &App, verb: &str, done: &str) -> Outcome {
    let waiting = Progress::of_waiting(session.screen, "Waiting for the processes");
    let answer = app.post(session, verb, &json!({})).await;
    drop(waiting);
    session.done(&answer?, done)
}
