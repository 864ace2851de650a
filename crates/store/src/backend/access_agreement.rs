//! Holds the store to `pilvi_model::access`: for random lists, groups, references and changes of them, what a caller
//! lists, counts, reads and may do is what the effective lists say when they are put together from scratch.

use std::collections::{BTreeMap, BTreeSet};

use pilvi_model::access::Subjects;
use pilvi_model::query::{Filter, Query};
use pilvi_model::{
    AccessChange, AccessList, Asker, ObjectId, ObjectType, Permission, Properties, Readers,
    RequestId, Subject, Timestamp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{Author, Backend, Mutation, SchemaChange, access, objects};
use crate::{Limits, Store};

const OBJECTS: u8 = 7;
const USERS: u8 = 3;
const GROUPS: u8 = 2;

/// What happens to a backend, always to one of a few objects.
#[derive(Clone, Debug)]
enum Step {
    Create { by: u8, refers: Vec<u8> },
    Replace(u8, AccessList),
    Add(u8, AccessList),
    Withdraw(u8, AccessList),
    Refer(u8, Vec<u8>),
    Delete(u8),
}

/// An object as the specification sees it.
#[derive(Clone, Debug)]
struct Expected {
    own: AccessList,
    refers: Vec<u8>,
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn group(number: u8) -> ObjectId {
    id(200 + number)
}

fn notes() -> ObjectType {
    ObjectType::custom("notes").unwrap()
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        1 => Just(Subject::Everyone),
        1 => Just(Subject::Authenticated),
        4 => (0..USERS).prop_map(|number| Subject::user(id(100 + number))),
        3 => (0..GROUPS).prop_map(|number| Subject::usergroup(group(number))),
    ]
}

fn list() -> impl Strategy<Value = AccessList> {
    let subjects = || vec(subject(), 0..3).prop_map(Subjects::of);
    (subjects(), subjects(), subjects(), subjects()).prop_map(|(read, update, delete, admin)| {
        AccessList {
            read,
            update,
            delete,
            admin,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let object = || 0..OBJECTS;
    let refers = || vec(0..OBJECTS, 0..3);
    prop_oneof![
        2 => (object(), list()).prop_map(|(object, list)| Step::Replace(object, list)),
        2 => (object(), list()).prop_map(|(object, list)| Step::Add(object, list)),
        1 => (object(), list()).prop_map(|(object, list)| Step::Withdraw(object, list)),
        4 => (object(), refers()).prop_map(|(object, refers)| Step::Refer(object, refers)),
        2 => object().prop_map(Step::Delete),
    ]
}

fn create() -> impl Strategy<Value = Step> {
    (0..=USERS, vec(0..OBJECTS, 0..3)).prop_map(|(by, refers)| Step::Create { by, refers })
}

/// First the objects, then what happens to them.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let objects = vec(create(), 2..=usize::from(OBJECTS));
    (objects, vec(step(), 0..12)).prop_map(|(objects, steps)| [objects, steps].concat())
}

/// Who asks: everybody there is. `groups` holds a bit for each group.
fn askers(groups: &[u8]) -> Vec<Asker> {
    let users = groups
        .iter()
        .zip(0..USERS)
        .map(|(groups, number)| Asker::User {
            id: id(100 + number),
            groups: (0..GROUPS)
                .filter(|bit| groups >> bit & 1 == 1)
                .map(group)
                .collect(),
        });
    [Asker::Admin, Asker::Anonymous]
        .into_iter()
        .chain(users)
        .collect()
}

fn references(refers: &[u8]) -> Value {
    let reference =
        |number: &u8| json!({"id": id(*number).to_string(), "objectType": "objects.notes"});
    refers.iter().map(reference).collect()
}

/// Carries a step out here and there. A step on an object that is not there does nothing.
async fn take(
    backend: &Backend,
    expected: &mut BTreeMap<u8, Expected>,
    step: Step,
    private: bool,
    made: &mut u8,
) {
    let admin = Asker::Admin;
    let author = |asker: Asker| Author {
        asker,
        request: RequestId::from_bytes([7; 16]),
        at: Timestamp::from_millis(1),
    };
    let access = |object: u8, change| Mutation::Access {
        object_type: notes(),
        id: id(object),
        change,
    };
    let (mutation, asker) = match step {
        Step::Create { by, refers } => {
            let number = *made;
            *made += 1;
            let creator = (by < USERS).then(|| id(100 + by));
            let asker = creator.map_or(Asker::Admin, |id| Asker::User { id, groups: vec![] });
            let template = match private {
                true => AccessList::default(),
                false => AccessList::open(),
            };
            let own = AccessList {
                admin: Subjects::of(creator.map(Subject::user)),
                ..template
            };
            let properties = Properties::from_json(json!({"up": references(&refers)})).unwrap();
            expected.insert(number, Expected { own, refers });
            let create = Mutation::Create {
                id: id(number),
                object_type: notes(),
                properties,
            };
            (create, asker)
        }
        Step::Replace(object, list) | Step::Add(object, list) | Step::Withdraw(object, list)
            if !expected.contains_key(&object) =>
        {
            drop(list);
            return;
        }
        Step::Refer(object, _) | Step::Delete(object) if !expected.contains_key(&object) => return,
        Step::Replace(object, list) => {
            change(expected, object, AccessChange::Replace(list), access)
        }
        Step::Add(object, list) => change(expected, object, AccessChange::Add(list), access),
        Step::Withdraw(object, list) => {
            change(expected, object, AccessChange::Withdraw(list), access)
        }
        Step::Refer(object, refers) => {
            let changes = Properties::from_json(json!({"up": references(&refers)})).unwrap();
            expected.get_mut(&object).unwrap().refers = refers;
            let update = Mutation::Update {
                object_type: notes(),
                id: id(object),
                changes,
            };
            (update, admin)
        }
        Step::Delete(object) => {
            expected.remove(&object);
            let delete = Mutation::Delete {
                object_type: notes(),
                id: id(object),
            };
            (delete, admin)
        }
    };
    backend.write(mutation, author(asker)).await.unwrap();
}

fn change(
    expected: &mut BTreeMap<u8, Expected>,
    object: u8,
    change: AccessChange,
    access: impl Fn(u8, AccessChange) -> Mutation,
) -> (Mutation, Asker) {
    let found = expected.get_mut(&object).unwrap();
    found.own = found.own.clone().changed_by(change.clone()).unwrap();
    (access(object, change), Asker::Admin)
}

/// The object's own list and those of all that it reaches by its references.
fn effective(objects: &BTreeMap<u8, Expected>, object: u8) -> AccessList {
    let mut list = AccessList::default();
    let mut seen = BTreeSet::new();
    let mut open = vec![object];
    while let Some(number) = open.pop() {
        if let Some(found) = objects.get(&number)
            && seen.insert(number)
        {
            list.extend(&found.own);
            open.extend(&found.refers);
        }
    }
    list
}

async fn compare(backend: &Backend, expected: &BTreeMap<u8, Expected>, asker: &Asker) {
    let readable: Vec<u8> = expected
        .keys()
        .copied()
        .filter(|number| effective(expected, *number).allows(Permission::Read, asker))
        .collect();
    let all = Query::default();
    let listed = backend.list_objects(asker.clone(), notes(), &all);
    let listed: Vec<String> = match listed.await {
        Ok(texts) => texts
            .iter()
            .map(|text| {
                serde_json::from_str::<Value>(text).unwrap()["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect(),
        // A private backend lists nothing to strangers, and shows them what they may read by its id.
        Err(_) => {
            assert_eq!(*asker, Asker::Anonymous);
            readable
                .iter()
                .map(|number| id(*number).to_string())
                .collect()
        }
    };
    let ids: Vec<String> = readable
        .iter()
        .map(|number| id(*number).to_string())
        .collect();
    assert_eq!(listed, ids, "{asker:?} of {expected:?}");
    if let Ok(count) = backend
        .count_objects(asker.clone(), notes(), Filter::default())
        .await
    {
        assert_eq!(count, readable.len() as u64);
    }
    for number in 0..OBJECTS {
        let found = backend
            .find_object(asker.clone(), notes(), id(number))
            .await
            .unwrap();
        assert_eq!(
            found.is_some(),
            readable.contains(&number),
            "{asker:?} reads {number} of {expected:?}"
        );
        if !expected.contains_key(&number) {
            continue;
        }
        let list = effective(expected, number);
        assert_eq!(
            list.allows(Permission::Read, asker),
            asker.is_admin() || Readers::of(&list).includes(asker)
        );
        for permission in Permission::ALL {
            let asking = asker.clone();
            let allows = backend.database.read(move |connection| {
                let stored = objects::get(connection, &notes(), id(number))?;
                access::allows(connection, &stored, permission, &asking)
            });
            let may = allows.await.unwrap();
            assert_eq!(
                may,
                list.allows(permission, asker),
                "{asker:?} {permission:?} {number} of {expected:?}"
            );
        }
    }
}

async fn run(store: &Store, case: u32, private: bool, groups: &[u8], steps: Vec<Step>) {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&case.to_be_bytes());
    let name = ObjectId::from_bytes(bytes);
    match private {
        true => store
            .create_private_backend(name, Timestamp::from_millis(1))
            .await
            .unwrap(),
        false => store.create_backend(name).await.unwrap(),
    }
    let backend = store.backend(name);
    let up = json!({"name": "up", "type": "ref", "onCreate": {"accessControlList": "extend"}});
    let schema = Map::from_iter([("properties".to_owned(), json!([up]))]);
    let author = Author {
        asker: Asker::Admin,
        request: RequestId::from_bytes([7; 16]),
        at: Timestamp::from_millis(1),
    };
    let described =
        backend.describe_collection("objects.notes".into(), schema, SchemaChange::Merge, author);
    described.await.unwrap();
    let mut expected = BTreeMap::new();
    let mut made = 0;
    for step in steps {
        take(&backend, &mut expected, step, private, &mut made).await;
    }
    for asker in askers(groups) {
        compare(&backend, &expected, &asker).await;
    }
    store.delete_backend(name).await.unwrap();
}

#[test]
fn the_store_agrees_with_the_lists() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime
        .block_on(Store::open(folder.path(), Limits::default()))
        .unwrap();
    let case = std::cell::Cell::new(0);
    let inputs = (select(&[false, true][..]), vec(0_u8..4, 3), steps());
    let config = ProptestConfig {
        // A case is a backend with a history, which takes as long as many a query.
        cases: crate::query::agreement::number_of_cases() / 25,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |((private, groups, steps) in inputs)| {
        case.set(case.get() + 1);
        runtime.block_on(run(&store, case.get(), private, &groups, steps));
    });
}
