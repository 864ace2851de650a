//! `pilvi eds …`: data backends and what is in them.

mod access;
mod change;
mod collection;
mod create;
mod fields;
mod files;
mod groups;
mod indexes;
mod insert;
mod query;
mod schema;
mod search;
mod subjects;
mod target;
mod transfer;
mod types;
mod users;
mod watch;
mod webhooks;

use clap::{Args, Subcommand};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::service::{Kind, Remove, Token, list};
use crate::session::Session;
use target::Target;

#[derive(Args, Clone, Debug)]
pub struct Eds {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List your data backends
    List,
    /// Create a data backend, private unless you say otherwise
    Create(create::Create),
    /// Show a data backend with the address that programs call
    Show,
    /// Remove a data backend and everything in it
    Remove(Remove),
    /// Print the security token; list, make and remove them
    Token(Token),
    /// Show the object types, or say more about one
    Types(types::Types),
    /// Export and import all object types as a file
    Schema(schema::Schema),
    /// Find objects
    Query(query::Query),
    /// Find objects by the words in them
    Search(search::Search),
    /// Count objects
    Count(query::Count),
    /// Show an object
    Get(query::Get),
    /// Create objects, also many at once
    Insert(insert::Insert),
    /// Set properties of an object
    Update(change::Update),
    /// Delete objects
    Delete(change::Delete),
    /// Print objects as they are created and changed, until Ctrl-C; what is deleted is not seen
    Watch(watch::Watch),
    /// List, register and remove users
    Users(users::Users),
    /// List, create and remove usergroups, and say who is in them
    Groups(groups::Groups),
    /// Show or change who may do what with an object
    Access(access::Access),
    /// List, make and remove indexes, and see which queries were slow
    Indexes(indexes::Indexes),
    /// List, send, fetch and remove files
    Files(files::Files),
    /// Have other servers told of changes
    Webhooks(webhooks::Webhooks),
    /// Write everything in the data backend into a file, uploaded files included
    Export(transfer::Export),
    /// Put what an export holds into the data backend
    Import(transfer::Import),
}

impl Eds {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let target = &self.target;
        match &self.verb {
            Verb::List => list(session, Kind::Eds).await,
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
            Verb::Types(types) => types.carry_out(session, &target.open(session).await?).await,
            Verb::Schema(schema) => {
                schema
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Query(query) => query.carry_out(session, &target.open(session).await?).await,
            Verb::Search(search) => {
                search
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Count(count) => count.carry_out(session, &target.open(session).await?).await,
            Verb::Get(get) => get.carry_out(session, &target.open(session).await?).await,
            Verb::Insert(insert) => {
                insert
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Update(update) => {
                update
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Delete(delete) => {
                delete
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Export(export) => {
                export
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Import(import) => {
                import
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Watch(watch) => watch.carry_out(session, &target.open(session).await?).await,
            Verb::Users(users) => users.carry_out(session, &target.open(session).await?).await,
            Verb::Groups(groups) => {
                groups
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Access(access) => {
                access
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Indexes(indexes) => {
                indexes
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
            Verb::Files(files) => files.carry_out(session, &target.open(session).await?).await,
            Verb::Webhooks(webhooks) => {
                webhooks
                    .carry_out(session, &target.open(session).await?)
                    .await
            }
        }
    }
}
