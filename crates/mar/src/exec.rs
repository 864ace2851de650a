//! One command inside a running process (`mar.md` §2.5).

use std::time::Duration;

use pilvi_model::app::ProcessName;
use pilvi_model::{Error, Result};

use crate::caller::Caller;
use crate::{Executed, Mar};

const COMMAND_MAX_BYTES: usize = 16 << 10;
/// The supervisor stops the command after 50 s; this is for when it does not.
const PATIENCE: Duration = Duration::from_secs(54);

impl Mar {
    /// Runs a command by the shell inside the named process, with the environment of the app.
    pub(crate) async fn execute(
        &self,
        caller: &Caller,
        process: &ProcessName,
        command: &str,
    ) -> Result<Executed> {
        if command.trim().is_empty() {
            return Err(Error::invalid("cmd", "is required"));
        }
        if command.len() > COMMAND_MAX_BYTES || command.contains('\0') {
            return Err(Error::invalid(
                "cmd",
                format!("is longer than {COMMAND_MAX_BYTES} bytes, or holds a zero byte"),
            ));
        }
        let most = self.parts().settings.limits.commands;
        let _place = self.0.commands.enter(&caller.app, most).ok_or_else(|| {
            Error::over_limit(format!(
                "{most} commands run in this app already; wait until one of them has ended"
            ))
        })?;
        let processes = &self.parts().processes;
        let running = processes.status(&caller.app).await?;
        if running.iter().any(|known| known.name == *process) {
            // Before it runs: a command may end anything, also the server.
            self.note(caller.act("app.exec").with("process", process.to_string()))
                .await;
        }
        let run = processes.exec(&caller.app, process, command);
        tokio::time::timeout(PATIENCE, run).await.map_err(|_| {
            Error::unavailable("the command did not end in time, and neither did stopping it")
        })?
    }
}
