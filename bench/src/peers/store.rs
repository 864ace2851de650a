//! What `bench eds` asks of a server that keeps objects, whoever it is.

use anyhow::Result;
use serde_json::{Value, json};

use super::parse::Parse;
use super::pilvi_store::PilviStore;
use super::pocketbase::PocketBase;
use super::postgresql::PostgreSql;
use crate::http::request::Request;
use crate::install;
use crate::server::Server;
use crate::usage::Tree;
use crate::world::World;

/// How many bytes an object has as JSON, without what the server adds.
const OBJECT_BYTES: usize = 1024;

/// A running server that keeps objects.
pub(crate) trait Store {
    fn server(&self) -> &Server;

    /// Everything that works for it; for most the server alone.
    fn trees(&self) -> Vec<Tree> {
        vec![self.server().tree()]
    }

    /// Stops the server, and hands over the database that goes on, if there is one.
    fn stop_server(self: Box<Self>) -> Option<PostgreSql>;

    /// Stores an object.
    fn create(&self, object: &Value) -> Request;

    fn get(&self, id: &str) -> Request;

    /// The newest of the objects whose `value` is this one, [`ROWS`] at most.
    fn query(&self, value: &str) -> Request;

    /// Where the answer to a creation has the id.
    fn id_pointer(&self) -> &'static str;

    /// Where the answer to a query has the objects.
    fn rows_pointer(&self) -> &'static str;
}

/// How many objects a query returns.
pub(crate) const ROWS: usize = 20;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pilvi,
    Parse,
    PocketBase,
}

/// All of them, in the order of the columns.
pub(crate) const KINDS: [Kind; 3] = [Kind::Pilvi, Kind::Parse, Kind::PocketBase];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pilvi => "pilvi",
            Self::Parse => "parse server + postgresql",
            Self::PocketBase => "pocketbase",
        }
    }

    /// Installs what it needs, as far as it can be had.
    pub(crate) fn prepare(self) -> Result<()> {
        match self {
            Self::Pilvi => Ok(()),
            Self::Parse => install::node_packages()
                .and(install::postgresql())
                .map(drop),
            Self::PocketBase => install::pocketbase().map(drop),
        }
    }

    pub(crate) fn start(self, world: &World) -> Result<Box<dyn Store + Sync>> {
        Ok(match self {
            Self::Pilvi => Box::new(PilviStore::start(world)?),
            Self::Parse => Box::new(Parse::start(world)?),
            Self::PocketBase => Box::new(PocketBase::start(world)?),
        })
    }
}

/// The object of this number: one of `distinct` values, and as much text as makes a kilobyte.
pub(crate) fn object(number: u64, distinct: u64) -> Value {
    let mut object = json!({
        "title": format!("Object {number}"),
        "value": value(number % distinct),
        "number": number,
        "flag": number.is_multiple_of(2),
        "text": "",
    });
    let length = object.to_string().len();
    object["text"] = Value::from(
        "lorem ipsum ".repeat(OBJECT_BYTES / 12 + 1)[..OBJECT_BYTES - length].to_owned(),
    );
    object
}

/// The value of this number, as queries ask for it.
pub(crate) fn value(number: u64) -> String {
    format!("value-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_kilobyte() {
        for number in [0, 7, 9_999, 1_000_000] {
            let object = object(number, 500);
            assert_eq!(object.to_string().len(), OBJECT_BYTES);
            assert_eq!(object["value"], value(number % 500));
        }
    }
}
