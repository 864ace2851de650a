//! A server that answers, from the announcement to the last task.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pilvi_base::TaskGroup;
use pilvi_model::AccountId;
use pilvi_platform::FirstStart;
use pilvi_runtime::Runtime;
use pilvi_web::Door;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::listeners::Addresses;

/// How long requests and sockets may take to end when the server is told to stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// A server that answers.
pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    pub(crate) ca: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) door: Arc<Door>,
    pub(crate) tasks: TaskGroup,
    pub(crate) sandboxes: Runtime,
    /// Listened to before anybody learns that the server runs, so that no signal is missed.
    pub(crate) signals: Signals,
    pub(crate) first_start: Option<FirstStart>,
    /// `None` when the operator has deleted it.
    pub(crate) operator_account: Option<AccountId>,
}

impl Running {
    /// The line that `--json` prints.
    pub(crate) fn announcement(&self) -> Value {
        let mut line = json!({
            "http": format!("http://{}", self.addresses.http),
            "https": format!("https://{}", self.addresses.https),
            "ssh": format!("ssh://git@{}", self.addresses.ssh),
            "ca": self.ca.display().to_string(),
        });
        if let Some(health) = self.addresses.health {
            line["health"] = json!(format!("http://{health}"));
        }
        if let Some(account) = self.operator_account {
            line["accountId"] = json!(account.to_string());
        }
        if let Some(first) = &self.first_start {
            line["token"] = json!(first.token.expose());
        }
        line
    }

    /// What a person reads.
    pub(crate) fn welcome(&self) -> String {
        let mut text = format!(
            "Pilvi answers at http://{} and https://{}\n  data         {}\n  certificate  {}\n",
            self.addresses.http,
            self.addresses.https,
            self.data.display(),
            self.ca.display(),
        );
        if let Some(first) = &self.first_start {
            text.push_str(&format!(
                "\nThis is the first start. Keep the token: it is shown only now.\n  \
                 account      {}\n  token        {}\n",
                first.account,
                first.token.expose(),
            ));
            text.push_str(&format!("\n{}", ways_in(self.addresses.http)));
        }
        text.push_str("\nCtrl-C stops it.\n");
        text
    }

    /// Waits for SIGINT or SIGTERM, then lets what runs come to its end. A second signal ends it at once.
    pub(crate) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let drained = self.signals.drain(&self.tasks).await?;
        // Whatever an app still does ends here.
        self.sandboxes.stop().await;
        drained.settle(&self.tasks)
    }
}

/// What whoever has the first token does with it, on the server's own machine.
pub(crate) fn ways_in(http: SocketAddr) -> String {
    // Where every address is listened on, that of this machine will do.
    let host = match http.ip() {
        ip if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let http = format!("http://{}", SocketAddr::new(host, http.port()));
    format!(
        "Sign in with that token, which is asked for:\n    pilvi login --url {http} --with-token\n\
         Set a password, and sign in to the console at {http}/console with it:\n    \
         pilvi profile --email you@example.org --password\n"
    )
}

/// Being told to stop.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal, then lets what runs come to its end. A second signal ends it at once.
    pub(crate) async fn drain(&mut self, tasks: &TaskGroup) -> anyhow::Result<Drained> {
        self.next().await;
        crate::notify::stopping();
        tracing::info!("stopping: no new connections; running requests come to their end");
        tokio::select! {
            drained = tasks.drain(DRAIN_PATIENCE) => Ok(Drained(drained)),
            () = self.next() => bail!("stopped at once by a second signal"),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether all that ran came to its end.
#[must_use]
pub(crate) struct Drained(bool);

impl Drained {
    /// The last line of the log.
    ///
    /// # Errors
    /// When something did not come to its end.
    pub(crate) fn settle(self, tasks: &TaskGroup) -> anyhow::Result<()> {
        if !self.0 {
            bail!("stopped, but {} tasks did not end in time", tasks.running());
        }
        tracing::info!("stopped");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_signs_in_on_this_machine() {
        for (listens, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080 "),
            ("0.0.0.0:80", "http://127.0.0.1:80 "),
            ("[::]:80", "http://127.0.0.1:80 "),
            ("[::1]:8080", "http://[::1]:8080 "),
        ] {
            let said = ways_in(listens.parse().unwrap());
            assert!(said.contains(expected), "{said}");
        }
    }
}
