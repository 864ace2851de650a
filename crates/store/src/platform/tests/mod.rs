//! The platform's data against real SQLite.

mod accounts;
mod apps;
mod control;
mod instances;
mod quotas;
mod sign_in;
mod ssh_keys;
mod tokens;

use pilvi_model::{AccountId, Instance, Kind, PersonId, Provider, Timestamp};
use serde_json::Map;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{Account, FirstRecords, Holder, InstanceChange, InstanceState, NewToken, Person};
use crate::{Limits, Store};

/// A store in a folder of its own, with one person and one account.
struct World {
    store: Store,
    person: PersonId,
    account: AccountId,
    folder: TempDir,
}

const MANY: u32 = 1000;

fn now() -> Timestamp {
    Timestamp::from_millis(1_400_000_000_000)
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), Limits::default()).await.unwrap();
        let first = first_records("operator@localhost");
        let (person, account) = (first.person.id, first.account.id);
        assert!(store.insert_first_records(first).await.unwrap());
        Self {
            store,
            person,
            account,
            folder,
        }
    }

    fn member(&self) -> Holder {
        Holder::Member {
            account: self.account,
            person: self.person,
        }
    }

    fn instance(&self, id: &str, provider: Provider) -> Instance {
        Instance {
            id: id.to_owned(),
            provider,
            account: self.account,
            name: "chat".to_owned(),
            tags: vec!["a".to_owned()],
            config: Map::new(),
            datacenter: "eu-1".to_owned(),
            created_at: now(),
        }
    }

    async fn add_instance(&self, id: &str, provider: Provider) -> Instance {
        let instance = self.instance(id, provider);
        self.store
            .insert_instance(instance.clone(), MANY)
            .await
            .unwrap();
        let token = token(Holder::Instance(id.to_owned()));
        assert!(self.store.release_instance(id, token).await.unwrap());
        instance
    }
}

fn person(email: &str) -> Person {
    Person::new(PersonId::random(), email, "Somebody", now())
}

fn account() -> Account {
    Account {
        id: AccountId::random(),
        name: "My Cloud".to_owned(),
        datacenter: "eu-1".to_owned(),
        vpc: true,
        created_at: now(),
    }
}

fn token(holder: Holder) -> NewToken {
    NewToken {
        holder,
        digest: pilvi_base::secret::random_bytes(),
        generation: -5,
        name: Some("laptop".to_owned()),
        created_at: now(),
        expires_at: None,
    }
}

fn first_records(email: &str) -> FirstRecords {
    let (person, account) = (person(email), account());
    FirstRecords {
        person_token: token(Holder::Person(person.id)),
        account_token: token(Holder::Member {
            account: account.id,
            person: person.id,
        }),
        person,
        account,
    }
}

#[tokio::test]
async fn a_server_has_one_first_person() {
    let world = World::new().await;
    let second = first_records("second@localhost");
    let (person, digest) = (second.person.id, second.person_token.digest);
    assert!(!world.store.insert_first_records(second).await.unwrap());
    assert_eq!(world.store.find_person(person).await.unwrap(), None);
    assert_eq!(
        world.store.find_token_holder(digest, now()).await.unwrap(),
        None
    );
    assert_eq!(world.store.list_accounts(person).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let world = World::new().await;
    let instance = world
        .add_instance("5417e5485a3d8b418a01adb7", Provider::Eds)
        .await;
    let World {
        store,
        person,
        account,
        folder,
    } = world;
    drop(store);

    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let found = store.find_person(person).await.unwrap().unwrap();
    assert_eq!(
        (found.email.as_str(), found.created_at),
        ("operator@localhost", now())
    );
    let found = store
        .find_account_of(person, account)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.name.as_str(), found.vpc), ("My Cloud", true));
    assert_eq!(
        store.find_instance(&instance.id).await.unwrap(),
        Some(instance)
    );
    assert!(
        !store
            .insert_first_records(first_records("x@localhost"))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn an_e_mail_address_belongs_to_one_person() {
    let world = World::new().await;
    world
        .store
        .insert_person(person("a@localhost"))
        .await
        .unwrap();
    let error = world
        .store
        .insert_person(person("a@localhost"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
}

#[tokio::test]
async fn bounds_hold_when_many_ask_at_once() {
    let world = World::new().await;
    let (mut tokens, mut accounts, mut instances) =
        (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for number in 0..8 {
        let (store, owner) = (world.store.clone(), world.person);
        tokens.spawn(async move {
            store
                .insert_token(token(Holder::Person(owner)), 3)
                .await
                .map(drop)
        });
        let (store, account) = (world.store.clone(), account());
        let first = token(Holder::Member {
            account: account.id,
            person: owner,
        });
        accounts.spawn(async move { store.insert_account(account, owner, first, 3).await });
        let store = world.store.clone();
        let instance = world.instance(&format!("backend{number}"), Provider::Eds);
        instances.spawn(async move { store.insert_instance(instance, 3).await });
    }
    // One token and one account were there before.
    assert_eq!(count_taken(tokens).await, 2);
    assert_eq!(count_taken(accounts).await, 2);
    assert_eq!(count_taken(instances).await, 3);
    assert_eq!(
        world.store.list_accounts(world.person).await.unwrap().len(),
        3
    );
}

/// How many requests were taken; the others were over the limit.
async fn count_taken(requests: JoinSet<pilvi_model::Result<()>>) -> usize {
    let outcomes = requests.join_all().await;
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(refused.clone().all(|error| error.kind == Kind::OverLimit));
    outcomes.len() - refused.count()
}

/// The look-ups of every request must not slow down as the tables grow.
#[tokio::test]
async fn the_frequent_queries_use_an_index() {
    let world = World::new().await;
    let plans = world.store.platform.read(|connection| {
        let mut plans = Vec::new();
        for sql in [
            "SELECT kind FROM tokens WHERE digest = ?",
            "SELECT id FROM tokens WHERE kind = 'person' AND person = ?",
            "SELECT id FROM tokens WHERE kind = 'instance' AND instance = ?",
            "SELECT tokens.id FROM members LEFT JOIN tokens ON tokens.account = members.account
                 AND tokens.person = members.person AND tokens.kind = 'account'
             WHERE members.account = ? AND members.person = ?",
            "SELECT id FROM instances WHERE account = ?",
            "SELECT id FROM instances WHERE state <> 'ready'",
            "SELECT account FROM members WHERE person = ?",
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                plans.push((sql, row.get::<_, String>(3)?));
            }
        }
        Ok(plans)
    });
    for (sql, step) in plans.await.unwrap() {
        // The index of unfinished instances holds nothing else, so it is read as a whole.
        let by_key = step.starts_with("SEARCH") && step.contains("USING");
        assert!(
            by_key || step.contains("instances_unfinished"),
            "{sql}: {step}"
        );
    }
}
