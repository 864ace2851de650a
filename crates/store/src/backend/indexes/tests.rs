//! Indexes as a whole: made while everybody writes, interrupted anywhere, and always what the documents say.

use std::path::Path as FilePath;

use pilvi_model::query::{Filter, Parameters, Query, Sort};
use pilvi_model::{Asker, Kind, ObjectType, Properties, RequestId};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;
use crate::backend::{Author, Mutation, SchemaChange};
use crate::migrate::migrate;
use crate::{Limits, Store};

/// Adds the tables of indexes to a database that has but the one of objects.
pub(crate) fn with_keys(connection: &Connection) {
    connection
        .execute_batch(
            "CREATE TABLE index_keys (of_index INTEGER NOT NULL, at_key ANY NOT NULL, object TEXT NOT NULL,
                 at_row INTEGER NOT NULL, PRIMARY KEY (of_index, at_key, object)) STRICT, WITHOUT ROWID",
        )
        .unwrap();
}

/// Indexes of these properties, all of them ready.
pub(crate) fn indexes_of(paths: &[&str]) -> TypeIndexes {
    let all = paths.iter().zip(1..).map(|(path, number)| {
        let (path, indexed) = described(path).unwrap();
        Index {
            number,
            path,
            is_ready: true,
            indexed,
        }
    });
    TypeIndexes::from_all(all.collect())
}

/// Fills them with all objects there are, of whatever type.
pub(crate) fn index_all(connection: &Connection, indexes: &TypeIndexes) {
    connection.execute("DELETE FROM index_keys", []).unwrap();
    for index in &indexes.all {
        let key = &index.indexed.key;
        let sql = format!(
            "INSERT INTO index_keys SELECT ?, coalesce({key}, -9e999), id, seq FROM objects"
        );
        connection.execute(&sql, [index.number]).unwrap();
    }
}

fn notes() -> ObjectType {
    ObjectType::custom("notes").unwrap()
}

fn id(number: u32) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_400_000_000_000 + millis)
}

fn author() -> Author {
    Author {
        asker: Asker::Admin,
        request: RequestId::from_bytes([7; 16]),
        at: at(0),
    }
}

fn properties(json: serde_json::Value) -> Properties {
    Properties::from_json(json).unwrap()
}

fn create(number: u32, json: serde_json::Value) -> Mutation {
    Mutation::Create {
        id: id(number),
        object_type: notes(),
        properties: properties(json),
    }
}

async fn backend() -> (Backend, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path()).await;
    (backend, folder)
}

async fn open(folder: &FilePath) -> Backend {
    let store = Store::open(folder, Limits::default()).await.unwrap();
    store.create_backend(id(1)).await.unwrap();
    store.backend(id(1))
}

async fn fill(backend: &Backend, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for some in numbers.chunks(500) {
        let creates = some.iter().map(|number| {
            create(
                *number,
                json!({"n": number % 1000, "s": number.to_string()}),
            )
        });
        backend
            .write_all(creates.collect(), author())
            .await
            .unwrap();
    }
}

/// Looks at an index until it is as wanted. Whoever looks sends the thread to work.
async fn until(backend: &Backend, index: ObjectId, is_so: impl Fn(Option<&IndexInfo>) -> bool) {
    let wait = async {
        loop {
            let found = backend.find_index(index).await.unwrap();
            if is_so(found.as_ref()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await;
    in_time.expect("the index is not as wanted");
}

async fn ready(backend: &Backend, index: ObjectId) {
    until(backend, index, |index| {
        index.is_some_and(|index| index.state == IndexState::Ready)
    })
    .await;
}

async fn index(backend: &Backend, property: &str) -> IndexInfo {
    let made = backend
        .create_index(notes(), property.to_owned(), at(1))
        .await;
    made.unwrap().0
}

fn query(q: &str, sort: &str) -> Query {
    let parameters = Parameters {
        q: Some(q),
        sort: Some(sort),
        limit: Some("1000"),
        ..Parameters::default()
    };
    Query::parse(&parameters).unwrap()
}

async fn list(backend: &Backend, q: &str, sort: &str) -> Vec<String> {
    let listed = backend
        .list_objects(Asker::Admin, notes(), &query(q, sort))
        .await;
    listed.unwrap()
}

/// Rows of indexes that are not what the documents say, of those that are ready.
fn wrong(connection: &Connection) -> i64 {
    let indexes = TypeIndexes::of(connection, "objects.notes").unwrap();
    let ready = indexes.all.iter().filter(|index| index.is_ready);
    let wrong = ready.map(|index| {
        let key = &index.indexed.key;
        let says = format!(
            "SELECT {0} AS n, coalesce({key}, -9e999) AS k, typeof(coalesce({key}, -9e999)) AS t, id, seq \
             FROM objects WHERE type = 'objects.notes'",
            index.number
        );
        let holds = format!(
            "SELECT of_index AS n, at_key AS k, typeof(at_key) AS t, object AS id, at_row AS seq \
             FROM index_keys WHERE of_index = {}",
            index.number
        );
        let sql = format!(
            "SELECT (SELECT count(*) FROM ({says} EXCEPT {holds})) + (SELECT count(*) FROM ({holds} EXCEPT {says}))"
        );
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    });
    wrong.sum()
}

async fn count(backend: &Backend, sql: &'static str) -> i64 {
    let count = backend
        .database
        .read(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?));
    count.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_made_while_everybody_writes() {
    let (backend, _folder) = backend().await;
    fill(&backend, 0..6000).await;
    let made = index(&backend, "n").await;
    assert_eq!(
        (made.state, made.origin),
        (IndexState::Building, IndexOrigin::Asked)
    );
    let writer = backend.clone();
    let writes = async move {
        for number in 0..1500_u32 {
            let some = vec![
                create(10_000 + number, json!({"n": number})),
                Mutation::Update {
                    object_type: notes(),
                    id: id(number * 2),
                    changes: properties(json!({"n": -1})),
                },
                Mutation::Delete {
                    object_type: notes(),
                    id: id(number * 2 + 3001),
                },
            ];
            writer.write_all(some, author()).await.unwrap();
        }
    };
    tokio::join!(ready(&backend, made.id), writes);
    // Nothing ends what a writer looks at before it is done.
    let wrong = backend.database.write(|connection| Ok(wrong(connection)));
    assert_eq!(wrong.await.unwrap(), 0);
    let info = backend.find_index(made.id).await.unwrap().unwrap();
    assert!(
        info.ready_at.is_some() && info.filled == info.total,
        "{info:?}"
    );
    assert!(list(&backend, r#"{"n":-1}"#, "[]").await.len() > 500);
    // It is written in the background, and writes of a file come in their order.
    backend.forget_slow_queries().await.unwrap();
    let use_noted = count(
        &backend,
        "SELECT count(*) FROM indexes WHERE used_at IS NOT NULL",
    );
    assert_eq!(use_noted.await, 1);
}

#[tokio::test]
async fn a_list_along_an_index_is_the_same_as_without() {
    let (backend, _folder) = backend().await;
    fill(&backend, 0..3000).await;
    let asked = [
        (r#"{"n":5}"#, "[]"),
        (
            r#"{"n":{"$gt":990}}"#,
            r#"{"sortBy":"s","direction":"desc"}"#,
        ),
        (r#"{"n":{"$gt":10}}"#, r#"{"sortBy":"n"}"#),
        (r#"{"$or":[{"n":5},{"s":"17"}]}"#, "[]"),
        ("{}", r#"{"sortBy":"n","direction":"desc"}"#),
        (r#"{"s":null}"#, "[]"),
    ];
    let mut before = Vec::new();
    for (q, sort) in asked {
        let query = query(q, sort);
        let read = backend.database.read(move |connection| {
            let compiled = query::compile(&query.filter, &query.sort);
            let mut values = compiled.bound_for("objects.notes");
            values.extend([Value::from(1000), Value::from(0)]);
            let mut statement = connection.prepare(&compiled.page())?;
            let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
                row.get::<_, String>(0)
            })?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        });
        before.push(read.await.unwrap());
    }
    for property in ["n", "s"] {
        let made = index(&backend, property).await;
        ready(&backend, made.id).await;
    }
    for ((q, sort), expected) in asked.into_iter().zip(before) {
        assert_eq!(list(&backend, q, sort).await, expected, "{q} {sort}");
        let counted = backend
            .count_objects(Asker::Admin, notes(), Filter::parse(q).unwrap())
            .await;
        assert!(counted.unwrap() >= expected.len() as u64);
    }
}

#[tokio::test]
async fn an_index_of_a_type_without_objects_is_ready_at_once() {
    let (backend, _folder) = backend().await;
    let made = index(&backend, "n").await;
    assert_eq!(made.state, IndexState::Ready);
    let again = backend
        .create_index(notes(), "n".to_owned(), at(2))
        .await
        .unwrap();
    assert_eq!((again.0.id, again.1), (made.id, false));
    for property in ["", "id", "objectType", "a.0", "it's", "$x", "a..b"] {
        let refused = backend
            .create_index(notes(), property.to_owned(), at(2))
            .await;
        assert_eq!(refused.unwrap_err().kind, Kind::BadRequest, "{property}");
    }
}

#[tokio::test]
async fn an_index_that_leaves_takes_its_keys_along() {
    let (backend, _folder) = backend().await;
    fill(&backend, 0..3000).await;
    let made = index(&backend, "n").await;
    ready(&backend, made.id).await;
    backend.remove_index(made.id).await.unwrap();
    until(&backend, made.id, |index| index.is_none()).await;
    assert_eq!(count(&backend, "SELECT count(*) FROM index_keys").await, 0);
    let again = backend.remove_index(made.id).await;
    assert_eq!(again.unwrap_err().kind, Kind::NotFound);
    assert_eq!(list(&backend, r#"{"n":5}"#, "[]").await.len(), 3);
}

fn schema(properties: serde_json::Value) -> Map<String, serde_json::Value> {
    Map::from_iter([("properties".to_owned(), properties)])
}

#[tokio::test]
async fn a_schema_has_the_indexes_that_it_asks_for() {
    let (backend, _folder) = backend().await;
    fill(&backend, 0..600).await;
    let describe = |properties: serde_json::Value, change| {
        backend.describe_collection(
            "objects.notes".to_owned(),
            schema(properties),
            change,
            author(),
        )
    };
    let all = json!([
        {"name": "n", "type": "number", "indexed": true},
        {"name": "list", "type": "ref", "objectType": "objects.lists", "indexed": true},
        {"name": "s", "type": "string", "indexed": false},
        {"name": "place", "type": "geoloc", "indexed": true},
        {"name": "odd name", "type": "string", "indexed": true},
    ]);
    describe(all, SchemaChange::Merge).await.unwrap();
    let listed = backend.list_indexes().await.unwrap();
    let shown: Vec<(&str, IndexOrigin)> = listed
        .iter()
        .map(|index| (index.property.as_str(), index.origin))
        .collect();
    assert_eq!(
        shown,
        [("list.id", IndexOrigin::Schema), ("n", IndexOrigin::Schema)]
    );
    let n = listed[1].id;
    ready(&backend, n).await;
    let refused = backend.remove_index(n).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    let none = json!([{"name": "n", "type": "number", "indexed": false}]);
    describe(none, SchemaChange::Merge).await.unwrap();
    until(&backend, n, |index| index.is_none()).await;
    let left = backend.list_indexes().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn the_number_of_indexes_is_bounded() {
    let (backend, _folder) = backend().await;
    for number in 0..INDEXES_MAX {
        index(&backend, &format!("p{number}")).await;
    }
    let refused = backend
        .create_index(notes(), "more".to_owned(), at(1))
        .await;
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
    let described = backend.describe_collection(
        "objects.notes".to_owned(),
        schema(json!([{"name": "more", "type": "string", "indexed": true}])),
        SchemaChange::Merge,
        author(),
    );
    described.await.unwrap();
}

/// What a slow run of this query would wish for.
async fn wished(backend: &Backend, q: &str, sort: &str) -> Option<String> {
    let query = query(q, sort);
    let wish = backend.database.read(move |connection| {
        let (_, facts) = super::super::facts::facts(connection, &notes())?;
        slow::wish(
            connection,
            &facts.indexes,
            &notes(),
            (&query.filter, &query.sort),
        )
    });
    wish.await.unwrap().map(|wish| wish.property().to_owned())
}

async fn make_for(backend: &Backend, property: &str, now: Timestamp) {
    let wish = Wish::of(notes(), property);
    let made = backend
        .database
        .write(move |connection| make_wished(connection, &wish, now));
    made.await.unwrap();
}

#[tokio::test]
async fn a_slow_query_wishes_for_the_index_that_helps() {
    let (backend, _folder) = backend().await;
    fill(&backend, 0..499).await;
    assert_eq!(
        wished(&backend, r#"{"n":1}"#, "[]").await,
        None,
        "so few are looked through"
    );
    fill(&backend, 499..520).await;
    let list = r#"{"list":{"id":"51cdbc08989e975ec300772a","objectType":"objects.lists"}}"#;
    for (q, sort, property) in [
        (r#"{"n":1}"#, "[]", Some("n")),
        (list, "[]", Some("list.id")),
        (r#"{"id":"x"}"#, "[]", None),
        ("{}", "[]", None),
        (
            "{}",
            r#"{"sortBy":"createdAt","direction":"desc"}"#,
            Some("createdAt"),
        ),
        (r#"{"n":{"$exists":true}}"#, r#"{"sortBy":"s"}"#, Some("s")),
        (r#"{"n":{"$ne":1}}"#, "[]", None),
    ] {
        assert_eq!(
            wished(&backend, q, sort).await.as_deref(),
            property,
            "{q} {sort}"
        );
    }
    make_for(&backend, "n", at(1)).await;
    assert_eq!(
        wished(&backend, r#"{"n":1}"#, "[]").await,
        None,
        "it is there already"
    );
    let next = wished(&backend, r#"{"n":1}"#, r#"{"sortBy":"s"}"#).await;
    assert_eq!(next.as_deref(), Some("s"));
}

#[tokio::test]
async fn indexes_that_came_by_themselves_are_few_and_make_room_when_unused() {
    let (backend, _folder) = backend().await;
    let automatic = "SELECT count(*) FROM indexes WHERE origin = 'slow' AND state <> 'leaving'";
    for number in 0..AUTOMATIC_MAX + 5 {
        make_for(&backend, &format!("p{number}"), at(1)).await;
    }
    assert_eq!(count(&backend, automatic).await, i64::from(AUTOMATIC_MAX));
    let day = 24 * 60 * 60 * 1000;
    make_for(&backend, "later", at(8 * day)).await;
    assert_eq!(count(&backend, automatic).await, i64::from(AUTOMATIC_MAX));
    let later = "SELECT count(*) FROM indexes WHERE path = 'later'";
    assert_eq!(count(&backend, later).await, 1);
    make_for(&backend, "latest", at(32 * day)).await;
    assert_eq!(
        count(&backend, automatic).await,
        2,
        "the others were not used for a month"
    );
}

#[tokio::test]
async fn forms_of_slow_queries_are_counted_and_bounded() {
    let (backend, _folder) = backend().await;
    let sighting = |shape: &str, millis: u64| Sighting {
        object_type: notes(),
        shape: shape.to_owned(),
        property: Some("n".to_owned()),
        count: 2,
        worst: std::time::Duration::from_millis(millis),
    };
    let all: Vec<(Sighting, Timestamp)> = (0..100)
        .map(|number| (sighting(&format!("s{number} = …"), 20), at(number)))
        .chain([
            (sighting("n = …", 50), at(200)),
            (sighting("n = …", 30), at(300)),
        ])
        .collect();
    let noted = backend.database.write(move |connection| {
        all.iter()
            .try_for_each(|(sighting, at)| record(connection, sighting, *at))
    });
    noted.await.unwrap();
    let listed = backend.list_slow_queries().await.unwrap();
    assert_eq!(listed.len(), 64);
    let worst = &listed[0];
    assert_eq!((worst.shape.as_str(), worst.count), ("n = …", 4));
    assert_eq!(
        (worst.worst.as_millis(), worst.first_at, worst.last_at),
        (50, at(200), at(300))
    );
    backend.forget_slow_queries().await.unwrap();
    assert!(backend.list_slow_queries().await.unwrap().is_empty());
}

#[test]
fn a_form_says_what_is_asked_and_no_values() {
    for (q, sort, expected) in [
        (r#"{"title":"secret"}"#, "[]", "title = …"),
        (
            r#"{"a.b":{"$gt":5,"$lt":9},"done":{"$in":[true,false]}}"#,
            r#"[{"sortBy":"n","direction":"desc"},{"sortBy":"s"}]"#,
            "a.b > … and a.b < … and done in …, by n desc, s",
        ),
        (
            r#"{"$or":[{"a":1},{"b":{"$ne":"secret"}}]}"#,
            "[]",
            "a = … or not (b = …)",
        ),
        ("{}", r#"{"sortBy":"n"}"#, "by n"),
        (
            r#"{"a":{"$regex":"secret"},"b":{"$exists":true}}"#,
            "[]",
            "a regex … and b exists",
        ),
    ] {
        let shape = slow::shape(&Filter::parse(q).unwrap(), &Sort::parse(sort).unwrap());
        assert_eq!(shape, expected);
    }
    let many: Map<String, serde_json::Value> = (0..200)
        .map(|number| (format!("p{number}"), json!(1)))
        .collect();
    let filter = Filter::from_json(many.into()).unwrap();
    assert!(slow::shape(&filter, &Sort::default()).chars().count() <= 201);
}

/// One step of what can happen to an index.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, serde_json::Value),
    Delete(u32),
    Make(usize),
    Leave(usize),
    /// The run that fills begins anew, as after the end of the process.
    Begin,
    /// It reads what is missing.
    Read,
    /// It inserts some of that.
    Insert(usize),
    End,
}

const PATHS: [&str; 3] = ["n", "a.b", "updatedAt"];

fn step() -> impl Strategy<Value = Step> {
    let value = select(vec![
        json!({"n": 1}),
        json!({"n": 1.0}),
        json!({"n": "x"}),
        json!({"n": null}),
        json!({"n": [1]}),
        json!({"n": true, "a": {"b": 2}}),
        json!({"a": [{"b": 2}]}),
        json!({"a": {"b": {}}}),
    ]);
    prop_oneof![
        6 => (0..6_u32, value).prop_map(|(number, value)| Step::Put(number, value)),
        2 => (0..6_u32).prop_map(Step::Delete),
        1 => (0..PATHS.len()).prop_map(Step::Make),
        1 => (0..PATHS.len()).prop_map(Step::Leave),
        2 => Just(Step::Begin),
        3 => Just(Step::Read),
        4 => (1..4_usize).prop_map(Step::Insert),
        2 => Just(Step::End),
    ]
}

/// Whatever happens in whatever order: an index that is ready holds what the documents say.
#[test]
fn an_index_agrees_with_the_documents_however_it_was_made() {
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let mut finished = 0_u32;
    let finished_at = std::cell::Cell::new(0_u32);
    runner
        .run(&vec(step(), 20..80), |steps| {
            let connection = Connection::open_in_memory().unwrap();
            query::register(&connection).unwrap();
            migrate(&connection, FilePath::new("x"), &super::super::SCHEMA).unwrap();
            let mut run = build::tests::Run::default();
            for (now, step) in steps.into_iter().enumerate() {
                let now = at(now as u64);
                carry_out(&connection, &mut run, step, now);
                assert_eq!(wrong(&connection), 0);
            }
            finished_at.set(finished_at.get() + run.finished);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    finished += finished_at.get();
    assert!(finished > 30, "only {finished} runs came to their end");
}

fn carry_out(connection: &Connection, run: &mut build::tests::Run, step: Step, now: Timestamp) {
    let author = Author {
        at: now,
        ..author()
    };
    match step {
        Step::Put(number, value) => {
            let update = Mutation::Update {
                object_type: notes(),
                id: id(number),
                changes: properties(value.clone()),
            };
            if update.apply(connection, &author).is_err() {
                create(number, value).apply(connection, &author).unwrap();
            }
        }
        Step::Delete(number) => {
            let delete = Mutation::Delete {
                object_type: notes(),
                id: id(number),
            };
            drop(delete.apply(connection, &author));
        }
        Step::Make(path) => {
            drop(make(connection, &notes(), PATHS[path], IndexOrigin::Asked, now).unwrap())
        }
        Step::Leave(path) => {
            let found = find_by_path(connection, &notes(), PATHS[path]).unwrap();
            found
                .iter()
                .for_each(|index| leave(connection, index.id).unwrap());
        }
        Step::Begin => run.begin(connection),
        Step::Read => run.read(connection),
        Step::Insert(count) => run.insert(connection, count),
        Step::End => run.end(connection),
    }
}
