//! `pilvi eds access`: who may do what with one object.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::subjects::{Subject, in_words, subject};
use super::target::Backend;
use crate::failure::{Code, Outcome, Result};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Access {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Show the access list of an object
    Show(Object),
    /// Let somebody do something with an object
    Grant(Change),
    /// Let somebody no longer do something with an object
    Withdraw(Change),
    /// Put another list in the place of the present one; what is not named is for nobody then
    Set(Set),
}

#[derive(Args, Clone, Debug)]
struct Object {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// The object's id
    id: String,
}

#[derive(Args, Clone, Debug)]
struct Change {
    #[command(flatten)]
    object: Object,
    /// What is to be allowed; `admin` includes the others
    #[arg(value_enum)]
    permission: Permission,
    /// everyone, authenticated, users.ID or usergroups.ID
    #[arg(required = true, value_name = "SUBJECT", value_parser = subject)]
    subjects: Vec<Subject>,
}

#[derive(Args, Clone, Debug)]
struct Set {
    #[command(flatten)]
    object: Object,
    /// Who may read it, such as everyone or users.ID,usergroups.ID
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    read: Vec<Subject>,
    /// Who may change it
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    update: Vec<Subject>,
    /// Who may delete it
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    delete: Vec<Subject>,
    /// Who may do all of that and change this list
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    admin: Vec<Subject>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Permission {
    Read,
    Update,
    Delete,
    Admin,
}

impl Permission {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

impl Access {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let (object, answer) = match &self.verb {
            Verb::Show(object) => (object, backend.get(&object.resource()).await),
            Verb::Grant(change) => {
                let resource = change.object.resource();
                let answer = backend.put(&resource, &change.body()).await;
                (&change.object, answer)
            }
            Verb::Withdraw(change) => {
                let resource = change.object.resource();
                let answer = backend.delete_with(&resource, &change.body()).await;
                (&change.object, answer)
            }
            Verb::Set(set) => {
                let answer = backend.post(&set.object.resource(), &set.body()).await;
                (&set.object, answer)
            }
        };
        let next = format!(
            "see `pilvi eds query {}` for those that there are",
            object.collection.short()
        );
        let list = answer.map_err(|failure| failure.on(Code::NotFound, next))?;
        print(session, &list)?;
        Ok(0)
    }
}

impl Object {
    fn resource(&self) -> String {
        format!("{}/access", self.collection.object(&self.id))
    }
}

impl Change {
    fn body(&self) -> Value {
        let list = (self.permission.as_str().to_owned(), list(&self.subjects));
        Value::Object(Map::from_iter([list]))
    }
}

impl Set {
    fn body(&self) -> Value {
        json!({
            "read": list(&self.read),
            "update": list(&self.update),
            "delete": list(&self.delete),
            "admin": list(&self.admin),
        })
    }
}

pub(super) fn list(subjects: &[Subject]) -> Value {
    subjects.iter().map(Subject::to_json).collect()
}

fn print(session: &mut Session<'_, '_>, list: &Value) -> Result<()> {
    if session.screen.wants_json() {
        return Ok(session.screen.json(list)?);
    }
    let facts = [
        ("Read", in_words(&list["read"])),
        ("Update", in_words(&list["update"])),
        ("Delete", in_words(&list["delete"])),
        ("Admin", in_words(&list["admin"])),
    ];
    Ok(session.screen.facts(&facts)?)
}
