//! `pilvi mar create`.

use clap::Args;
use serde_json::json;

use super::addresses::Addresses;
use super::size::{self, Size};
use super::target::App;
use crate::failure::Outcome;
use crate::session::{Session, text};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// How much memory each of its processes may use
    #[arg(long, value_enum, default_value = "mini")]
    size: Size,
}

impl Create {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let account = session.account().await?;
        let body = json!({
            "name": self.name,
            "serviceProviderId": "mar",
            "config": {"runtimeSize": self.size.units(), "runtimeType": "app"},
        });
        let resource = format!("accounts/{}/instances", segment(&account.id));
        let instance = session
            .client
            .post(&session.platform, &resource, &body)
            .await?;
        let id = text(&instance, "id");
        // From here on the app is there: what fails must not hide its id.
        let base = session.runtime_of(&id).await;
        let app = match base {
            Ok(base) => App::new(&id, base).get(session, "").await,
            Err(failure) => Err(failure),
        }
        .map_err(|failure| crate::failure::Failure {
            what: format!(
                "{id} was created, but its addresses are not known: {}",
                failure.what
            ),
            next: format!("pilvi mar show --app {id}"),
            ..failure
        })?;
        if session.screen.wants_json() {
            session.screen.json(&app)?;
            return Ok(0);
        }
        let size = size::in_words(&app["size"]);
        session
            .screen
            .line(&format!("Created {id}, called {}, {size}.", self.name))?;
        let addresses = Addresses::of(&app, Some(&instance));
        session
            .screen
            .line("\nOnce something is deployed, it answers at:")?;
        for address in &addresses.web {
            session.screen.line(&format!("  {address}"))?;
        }
        session.screen.line("")?;
        for line in addresses.recipe(session.ca.as_deref()) {
            session.screen.line(&line)?;
        }
        Ok(0)
    }
}
