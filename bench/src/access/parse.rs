//! Parse Server with objects that have ACLs, and a role that may read all of them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Crowd, OWNED_VALUES, Scene, Who};
use crate::http::client::Client;
use crate::http::request::Request;
use crate::peers::parse::{Parse, Person};
use crate::peers::store::Store as _;
use crate::usage::Tree;
use crate::world::World;

const ROLE: &str = "readers";
/// How an id begins; the number follows.
const ID: &str = "item";

/// The server, and everybody who asks.
pub(super) struct ParseScene {
    parse: Parse,
    owner: Person,
    member: Person,
    owned: Vec<String>,
}

impl ParseScene {
    pub(super) fn start(world: &World, crowd: &Crowd) -> Result<Self> {
        let parse = Parse::start(world)?;
        let mut client = Client::connect(parse.server().address)?;
        let owner = Person::sign_up(&mut client, "owner")?;
        let member = Person::sign_up(&mut client, "member")?;
        Parse::create_role(&mut client, ROLE, &member)?;
        parse.database.execute(&filling(crowd, &owner.id))?;
        let owned = (0..crowd.objects)
            .filter(|number| crowd.owner_of(*number).is_none())
            .map(|number| format!("{ID}{number}"))
            .collect();
        Ok(Self {
            parse,
            owner,
            member,
            owned,
        })
    }

    fn person(&self, who: Who) -> &Person {
        match who {
            Who::ParseOwner => &self.owner,
            _ => &self.member,
        }
    }
}

/// Writes what creating all objects would have written. A hundred thousand calls would take minutes.
fn filling(crowd: &Crowd, owner: &str) -> String {
    let text = crowd.object(0)["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let (last, distinct, owners) = (crowd.objects - 1, crowd.distinct, crowd.owners);
    format!(
        "insert into \"Item\" (\"objectId\", \"createdAt\", \"updatedAt\", title, value, number, flag, text, \
         _rperm, _wperm) \
         select '{ID}' || n, at, at, 'Object ' || n, 'value-' || n % {distinct}, n, n % 2 = 0, '{text}', \
         array[creator, 'role:{ROLE}'], array[creator] \
         from (select n, now() + n * interval '1 ms' as at, case when n % {distinct} < {OWNED_VALUES} \
         then '{owner}' else 'other' || (n % {distinct} + n / {distinct}) % {owners} end as creator \
         from generate_series(0, {last}) as n) as objects; \
         analyze \"Item\""
    )
}

impl Scene for ParseScene {
    fn address(&self) -> SocketAddr {
        self.parse.server().address
    }

    fn trees(&self) -> Vec<Tree> {
        self.parse.trees()
    }

    fn create(&self, who: Who, object: &Value) -> Request {
        self.person(who).create(object)
    }

    fn get(&self, who: Who, id: &str) -> Request {
        self.person(who).get(id)
    }

    fn query(&self, who: Who, value: &str) -> Request {
        self.person(who).query(value)
    }

    fn count(&self, who: Who) -> Result<u64> {
        let request = self.person(who).count();
        let answer = Client::connect(self.address())?.ask(request)?;
        let count = answer["count"].as_u64();
        count.with_context(|| format!("no count in {answer}"))
    }

    fn scatter(&self, _: u64) -> Result<()> {
        // PostgreSQL keeps the ACL in each row: how many owners there are does not matter to it.
        Ok(())
    }

    fn owned(&self, _: Who) -> &[String] {
        &self.owned
    }
}
