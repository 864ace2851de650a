//! `pilvi mar exec`: one command, no terminal, no input.

use clap::Args;
use serde_json::{Value, json};

use super::target::App;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, array, text};

#[derive(Args, Clone, Debug)]
pub(super) struct Exec {
    /// Beside this process [default: web.1, or else the first that runs]
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,
    /// The command; its words are joined by blanks and read by a shell, as one text in quotes is, too
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    /// Ends with the command's own exit code, where the server tells it.
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>, app: &App) -> Outcome {
        let process = match &self.process {
            Some(process) => process.clone(),
            None => first_process(session, app).await?,
        };
        let body = json!({"cmd": self.command.join(" "), "processId": process});
        let answer = app.post(session, "exec", &body).await.map_err(|failure| {
            let next = "see `pilvi mar show` for the processes that run";
            failure.on(Code::NotFound, next).on(Code::Refused, next)
        })?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
        } else {
            session.screen.raw_beside(&text(&answer, "stderr"))?;
            session.screen.raw(&text(&answer, "stdout"))?;
        }
        let code = answer["exitCode"].as_i64().unwrap_or(0);
        // A number that no process can end with is a failure all the same.
        Ok(u8::try_from(code).unwrap_or(Code::Failed as u8))
    }
}

async fn first_process(session: &Session<'_, '_>, app: &App) -> Result<String> {
    let status = app.get(session, "status").await?;
    let running: Vec<&Value> = array(&status["processes"])
        .iter()
        .filter(|process| process["state"] == "running")
        .collect();
    let web = running.iter().find(|process| process["id"] == "web.1");
    let process = web.or(running.first());
    process.map(|process| text(process, "id")).ok_or_else(|| {
        Failure::new(
            Code::Refused,
            format!("no process of {} runs", app.id),
            "see `pilvi mar show`; start the app with `pilvi mar start` or `pilvi mar scale web=1`",
        )
    })
}
