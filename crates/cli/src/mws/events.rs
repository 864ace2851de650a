//! `pilvi mws events`: the app that is told what happens at the sockets.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::target::Gateway;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub(super) struct Events {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Make a new secret to sign events with; it is shown once
    Secret {
        /// For so many hours events are signed with the old secret, too [default: 24]
        #[arg(long, value_name = "HOURS")]
        overlap_hours: Option<u16>,
    },
    /// Send the app an event that tells of nothing, and say how it answers
    Test,
}

impl Events {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        match &self.verb {
            Verb::Secret { overlap_hours } => secret(session, gateway, *overlap_hours).await,
            Verb::Test => test(session, gateway).await,
        }
    }
}

/// What a gateway without an app answers.
fn known(answer: Result<Value>) -> Result<Value> {
    let next = "name the app with `pilvi mws config set --events URL`";
    answer.map_err(|failure| failure.on(Code::Refused, next))
}

async fn secret(
    session: &mut Session<'_, '_>,
    gateway: &Gateway,
    overlap_hours: Option<u16>,
) -> Outcome {
    let body = json!({"overlapHours": overlap_hours});
    let answer = known(gateway.post("events/secret", &body).await)?;
    if !session.screen.wants_json() {
        let until = text(&answer, "previousUntil");
        let both = match &*until {
            "" => String::new(),
            until => format!(", and with the old one, too, until {until}"),
        };
        session.screen.note(&format!(
            "Events are signed with this secret from now on{both}. It is not shown again."
        ))?;
    }
    session.done(&answer, &text(&answer, "secret"))
}

/// Whether it was taken is the exit code, too.
async fn test(session: &mut Session<'_, '_>, gateway: &Gateway) -> Outcome {
    let answer = known(gateway.post("events/test", &json!({})).await)?;
    if answer["delivered"] == true {
        let took = text(&answer, "durationMs");
        let line = format!("The app answered {} in {took} ms.", text(&answer, "status"));
        if answer["signed"] == false && !session.screen.wants_json() {
            let note = "It was not signed. Make a secret with: pilvi mws events secret";
            session.screen.note(note)?;
        }
        return session.done(&answer, &line);
    }
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(1);
    }
    Err(Failure::failed(
        format!("nobody took the event: {}", text(&answer, "error")),
        "see that the app runs, can be reached from the server, and answers 2xx to a POST",
    ))
}
