//! Two backends of Pilvi on one server: an open one, and a private one with users and a usergroup.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Crowd, Scene, Who};
use crate::eds;
use crate::http::client::{Client, text};
use crate::http::request::{Request, encode};
use crate::peers::pilvi::{Instance, Pilvi};
use crate::peers::pilvi_store::query_target;
use crate::peers::store::value;
use crate::usage::Tree;
use crate::world::World;

const PASSWORD: &str = "bench-password";
/// Writes in one call, as many as are allowed.
const BATCH: usize = 100;
/// Connections that fill a backend at the same time.
const THREADS: usize = 4;
/// The type that is asked about.
const ITEMS: &str = "/v1/objects/items";
/// A type about which nothing is said, so that what a user of a private backend creates is theirs alone.
const NOTES: &str = "/v1/objects/notes";

/// The server, and everybody who asks.
pub(super) struct PilviScene {
    cloud: Pilvi,
    open: Filled,
    private: Filled,
    owner: Instance,
    member: Instance,
    /// The usergroup that may read all items.
    group: String,
}

/// A backend with its objects.
struct Filled {
    admin: Instance,
    /// The ids of the objects of the one who owns few.
    owned: Vec<String>,
    /// The ids of all others.
    others: Vec<String>,
}

/// Objects of one creator that go into one call.
struct Batch<'a> {
    creator: &'a Instance,
    is_owned: bool,
    numbers: Vec<u64>,
}

impl PilviScene {
    pub(super) fn start(world: &World, crowd: &Crowd) -> Result<Self> {
        let cloud = Pilvi::start(world)?;
        let address = cloud.server.address;
        let mut client = Client::connect(address)?;
        let admin = cloud.create("eds", "open")?;
        let nobody = vec![&admin; usize::try_from(crowd.owners)?];
        let (owned, rest) = fill(address, crowd, &batches(&admin, &nobody, crowd)?)?;
        let open = Filled {
            admin,
            owned,
            others: rest,
        };

        let admin = cloud.create_private(&mut client, "private")?;
        let (owner, _) = sign_up(&mut client, &admin, "owner")?;
        let (member, member_id) = sign_up(&mut client, &admin, "member")?;
        let group = show_items_to_group_of(&mut client, &admin, &member_id)?;
        let others: Vec<Instance> = (0..crowd.owners)
            .map(|number| Ok(sign_up(&mut client, &admin, &format!("other {number}"))?.0))
            .collect::<Result<_>>()?;
        let others: Vec<&Instance> = others.iter().collect();
        let (owned, rest) = fill(address, crowd, &batches(&owner, &others, crowd)?)?;
        let private = Filled {
            admin,
            owned,
            others: rest,
        };
        for filled in [&open, &private] {
            eds::wait_until_fast(address, || filled.admin.query_objects(&value(0)))?;
        }
        Ok(Self {
            cloud,
            open,
            private,
            owner,
            member,
            group,
        })
    }

    /// The request as this caller sends it.
    fn sent_by(&self, who: Who, request: Request) -> Request {
        match who {
            Who::Anonymous => request.header("Enginio-Backend-Id", &self.open.admin.id),
            Who::Owner => self.owner.authorized(request),
            Who::Member => self.member.authorized(request),
            _ => self.open.admin.authorized(request),
        }
    }
}

impl Scene for PilviScene {
    fn address(&self) -> SocketAddr {
        self.cloud.server.address
    }

    fn trees(&self) -> Vec<Tree> {
        vec![self.cloud.server.tree()]
    }

    fn create(&self, who: Who, object: &Value) -> Request {
        let path = if who == Who::Owner { NOTES } else { ITEMS };
        self.sent_by(who, Request::post(path).json(object))
    }

    fn get(&self, who: Who, id: &str) -> Request {
        self.sent_by(who, Request::get(&format!("{ITEMS}/{id}")))
    }

    fn query(&self, who: Who, value: &str) -> Request {
        self.sent_by(who, Request::get(&query_target(value)))
    }

    fn count(&self, who: Who) -> Result<u64> {
        let request = self.sent_by(who, Request::get(&format!("{ITEMS}?count")));
        let answer = Client::connect(self.address())?.ask(request)?;
        let count = answer["count"].as_u64();
        count.with_context(|| format!("no count in {answer}"))
    }

    fn scatter(&self, owners: u64) -> Result<()> {
        let calls: Vec<&[String]> = self.private.others.chunks(BATCH).collect();
        let numbers = AtomicU64::new(0);
        let give = |id: &String| {
            // The list holds whether or not there is such a user.
            let user = format!("{:024x}", numbers.fetch_add(1, Ordering::Relaxed) % owners);
            let owner = json!({"id": user, "objectType": "users"});
            let list = list_with_group(&owner, &self.group);
            json!({"method": "POST", "path": format!("{ITEMS}/{id}/access"), "body": list})
        };
        side_by_side(self.address(), &calls, |client, ids| {
            let operations: Vec<Value> = ids.iter().map(give).collect();
            carry_out(client, &self.private.admin, &operations).map(drop)
        })
        .map(drop)
    }

    fn owned(&self, who: Who) -> &[String] {
        match who {
            Who::Token | Who::Anonymous => &self.open.owned,
            _ => &self.private.owned,
        }
    }
}

/// Registers a user and signs them in: the backend with their access token, and their id.
fn sign_up(client: &mut Client, admin: &Instance, name: &str) -> Result<(Instance, String)> {
    let here = |path| Request::post(path).header("Enginio-Backend-Id", &admin.id);
    let user = json!({"username": name, "password": PASSWORD});
    let user = client.ask(here("/v1/users").json(&user))?;
    let form = format!(
        "grant_type=password&username={}&password={PASSWORD}",
        encode(name)
    );
    let request = here("/v1/auth/oauth2/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(&form);
    let tokens = client.ask(request)?;
    let instance = Instance {
        id: admin.id.clone(),
        token: text(&tokens, "/access_token")?,
    };
    Ok((instance, text(&user, "/id")?))
}

/// Makes a usergroup with one member, which may read all items; all else about an item is for its creator.
fn show_items_to_group_of(client: &mut Client, admin: &Instance, user: &str) -> Result<String> {
    let mut post =
        |path: &str, body: &Value| client.ask(admin.authorized(Request::post(path)).json(body));
    let group = text(&post("/v1/usergroups", &json!({"name": "readers"}))?, "/id")?;
    let user = json!({"id": user, "objectType": "users"});
    post(&format!("/v1/usergroups/{group}/members"), &user)?;
    let creator = json!({"id": "creator", "objectType": "aclSubject"});
    let template = list_with_group(&creator, &group);
    let described = json!({"name": "items", "accessControlListTemplate": template});
    post("/v1/object_types", &described)?;
    Ok(group)
}

/// Everything for its owner, and to be read by a group.
fn list_with_group(owner: &Value, group: &str) -> Value {
    json!({
        "read": [owner, {"id": group, "objectType": "usergroups"}],
        "update": [owner],
        "delete": [owner],
        "admin": [owner],
    })
}

/// All objects in the calls that create them, those of different creators by turns.
fn batches<'a>(
    owner: &'a Instance,
    others: &[&'a Instance],
    crowd: &Crowd,
) -> Result<Vec<Batch<'a>>> {
    let mut numbers = vec![Vec::new(); others.len() + 1];
    for number in 0..crowd.objects {
        let place = crowd.owner_of(number).map_or(0, |other| other + 1);
        numbers[usize::try_from(place)?].push(number);
    }
    let mut batches = Vec::new();
    for (place, numbers) in numbers.iter().enumerate() {
        batches.extend(numbers.chunks(BATCH).map(|numbers| Batch {
            creator: place.checked_sub(1).map_or(owner, |other| others[other]),
            is_owned: place == 0,
            numbers: numbers.to_vec(),
        }));
    }
    batches.sort_by_key(|batch| batch.numbers.first().copied());
    Ok(batches)
}

/// Creates all objects; the ids of those of the one who owns few, and of the others.
fn fill(
    address: SocketAddr,
    crowd: &Crowd,
    batches: &[Batch<'_>],
) -> Result<(Vec<String>, Vec<String>)> {
    let created = side_by_side(address, batches, |client, batch| {
        Ok((batch.is_owned, create_all(client, crowd, batch)?))
    })?;
    let (mut owned, mut others) = (Vec::new(), Vec::new());
    for (is_owned, ids) in created {
        let those = if is_owned { &mut owned } else { &mut others };
        those.extend(ids);
    }
    Ok((owned, others))
}

/// Does something for each of many on several connections; what comes of it, in no order.
fn side_by_side<Item: Sync, Done: Send>(
    address: SocketAddr,
    items: &[Item],
    act: impl Fn(&mut Client, &Item) -> Result<Done> + Sync,
) -> Result<Vec<Done>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut client = Client::connect(address)?;
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(act(&mut client, item)?);
        }
        anyhow::Ok(done)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut done = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(part) => done.extend(part?),
                Err(_) => bail!("a thread that fills a backend has panicked"),
            }
        }
        Ok(done)
    })
}

fn create_all(client: &mut Client, crowd: &Crowd, batch: &Batch<'_>) -> Result<Vec<String>> {
    let operation =
        |number: &u64| json!({"method": "POST", "path": ITEMS, "body": crowd.object(*number)});
    let operations: Vec<Value> = batch.numbers.iter().map(operation).collect();
    let count = operations.len();
    let answer = carry_out(client, batch.creator, &operations)?;
    (0..count)
        .map(|place| text(&answer, &format!("/results/{place}/body/id")))
        .collect()
}

fn carry_out(client: &mut Client, caller: &Instance, operations: &[Value]) -> Result<Value> {
    let request = caller.authorized(Request::post("/v1/batch"));
    let body = json!({"operations": operations});
    client
        .ask(request.json(&body))
        .context("a batch was refused")
}
