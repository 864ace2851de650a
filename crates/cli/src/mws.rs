//! `pilvi mws …`: WebSocket gateways, what is sent to them, and who listens.

mod config;
mod create;
mod events;
mod history;
mod listen;
mod presence;
mod send;
mod sockets;
mod target;

use clap::{Args, Subcommand};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::service::{Kind, Remove, Token, list};
use crate::session::Session;
use target::Target;

#[derive(Args, Clone, Debug)]
pub struct Mws {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List your gateways
    List,
    /// Create a gateway, private unless you say otherwise
    Create(create::Create),
    /// Show a gateway with the address that programs call
    Show,
    /// Remove a gateway and close its sockets
    Remove(Remove),
    /// Print the security token; list, make and remove them
    Token(Token),
    /// Send a message, or a message for each line of standard input
    Send(send::Send),
    /// Open a socket and print what arrives, until Ctrl-C
    Listen(listen::Listen),
    /// List the sockets that are open
    Sockets(sockets::Sockets),
    /// Give a socket other tags
    Retag(sockets::Retag),
    /// Close sockets
    Close(sockets::Close),
    /// List who is there, by tag
    Presence(presence::Presence),
    /// List what was sent to a tag
    History(history::History),
    /// Look after the app that is told what happens at the sockets
    Events(events::Events),
    /// Show or change who may send and listen, and what the gateway does beside
    Config(config::Config),
}

impl Mws {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let target = &self.target;
        match &self.verb {
            Verb::List => list(session, Kind::Mws).await,
            Verb::Create(create) => create.carry_out(session).await,
            Verb::Show => target.find(session).await?.show(session).await,
            Verb::Remove(remove) => {
                let instance = target.find(session).await?;
                remove.carry_out(session, &instance).await
            }
            Verb::Token(token) => {
                let instance = target.find(session).await?;
                token.carry_out(session, &instance).await
            }
            Verb::Send(send) => send.carry_out(session, &target.open(session).await?).await,
            Verb::Listen(listen) => {
                listen
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Sockets(sockets) => {
                sockets
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Retag(retag) => retag.carry_out(session, &target.open(session).await?).await,
            Verb::Presence(presence) => {
                presence
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::History(history) => {
                history
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Events(events) => {
                events
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Close(close) => close.carry_out(session, &target.open(session).await?).await,
            Verb::Config(config) => {
                config
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
        }
    }
}
