//! `pilvi mar …`: apps.

mod addresses;
mod create;
mod domains;
mod envs;
mod exec;
mod list;
mod logs;
mod power;
mod releases;
mod remove;
mod repo;
mod scale;
mod show;
mod size;
mod slugs;
mod ssl;
mod stack;
mod target;

use clap::{Args, Subcommand};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::session::Session;
use target::Target;

#[derive(Args, Clone, Debug)]
pub struct Mar {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List your apps
    List(list::List),
    /// Create an app and tell how to push to it
    Create(create::Create),
    /// Show an app with its addresses and its processes
    Show,
    /// Print what the app and the router in front of it have to say
    Logs(logs::Logs),
    /// Show or change the config vars
    Envs(envs::Envs),
    /// Say how many processes of each type run, such as web=2 worker=1
    Scale(scale::Scale),
    /// Start all processes anew, one after another
    Restart,
    /// Start a stopped app
    Start,
    /// Stop all processes until `start`
    Stop,
    /// Run a command beside a process, with its files and its config vars
    Exec(exec::Exec),
    /// Show, add or remove host names of your own
    Domains(domains::Domains),
    /// Show, add or remove the certificate for your own host names
    Ssl(ssl::Ssl),
    /// List the releases
    Releases,
    /// Run an earlier release again
    Rollback(releases::Rollback),
    /// List, upload, deploy or remove slugs
    Slugs(slugs::Slugs),
    /// Show or change the stack that the next push is built on
    Stack(stack::Stack),
    /// Forget what builds keep, or empty the repository
    Repo(repo::Repo),
    /// Remove an app and everything that belongs to it
    Remove(remove::Remove),
}

impl Mar {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let target = &self.target;
        match &self.verb {
            Verb::List(list) => list.carry_out(session).await,
            Verb::Create(create) => create.carry_out(session).await,
            Verb::Show => show::show(session, &target.find(session).await?).await,
            Verb::Logs(logs) => logs.carry_out(session, &target.find(session).await?).await,
            Verb::Envs(envs) => envs.carry_out(session, target).await,
            Verb::Scale(scale) => scale.carry_out(session, target).await,
            Verb::Restart => power::restart(session, &target.find(session).await?).await,
            Verb::Start => power::start(session, &target.find(session).await?).await,
            Verb::Stop => power::stop(session, &target.find(session).await?).await,
            Verb::Exec(exec) => exec.carry_out(session, &target.find(session).await?).await,
            Verb::Domains(domains) => domains.carry_out(session, target).await,
            Verb::Ssl(ssl) => ssl.carry_out(session, target).await,
            Verb::Releases => releases::list(session, &target.find(session).await?).await,
            Verb::Rollback(rollback) => {
                rollback
                    .carry_out(session, &target.find(session).await?)
                    .await
            }
            Verb::Slugs(slugs) => slugs.carry_out(session, target).await,
            Verb::Stack(stack) => stack.carry_out(session, target).await,
            Verb::Repo(repo) => repo.carry_out(session, target).await,
            Verb::Remove(remove) => remove.carry_out(session, target).await,
        }
    }
}
