//! `pilvi mar domains`: host names of the app's owner.

use clap::{Args, Subcommand};
use serde_json::json;

use super::target::{App, Target};
use crate::failure::{Code, Outcome};
use crate::session::{Session, results, text};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Domains {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Let the app answer to a host name
    Add { name: String },
    /// Let the app no longer answer to a host name
    Remove { name: String },
}

impl Domains {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        match &self.verb {
            None => list(session, &app).await,
            Some(Verb::Add { name }) => add(session, &app, name).await,
            Some(Verb::Remove { name }) => remove(session, &app, name).await,
        }
    }
}

async fn list(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let answer = app.get(session, "domains").await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let domains = results(&answer);
    if domains.is_empty() {
        let note = "The app has no names of its own. Add one with: pilvi mar domains add NAME";
        session.screen.note(note)?;
    }
    for domain in domains {
        session.screen.line(&text(domain, "name"))?;
    }
    Ok(0)
}

async fn add(session: &mut Session<'_, '_>, app: &App, name: &str) -> Outcome {
    let answer = app
        .post(session, "domains", &json!({"name": name}))
        .await
        .map_err(|failure| {
            let next = "name a host such as www.example.com that no other app has";
            failure.on(Code::Refused, next)
        })?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let line = format!("{} answers to {name}.", app.id);
    session.screen.line(&line)?;
    let note = format!("Let the DNS record of {name} lead to this server.");
    session.screen.note(&note)?;
    Ok(0)
}

async fn remove(session: &mut Session<'_, '_>, app: &App, name: &str) -> Outcome {
    let resource = format!("domains/{}", segment(name));
    let answer = app.delete(session, &resource).await.map_err(|failure| {
        let next = "see `pilvi mar domains` for the names that there are";
        failure.on(Code::NotFound, next)
    })?;
    session.done(&answer, &format!("{} no longer answers to {name}.", app.id))
}
