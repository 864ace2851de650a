//! Named cases: what random ones found, what they cannot see, and what the plans look like.

use pilvi_model::query::{Filter, Page, Sort};
use proptest::prelude::{ProptestConfig, any, proptest};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Value, json};

use super::{Compiled, compile, register};
use crate::backend::geo;
use crate::backend::indexes::choose::{Purpose, choose, every_way};
use crate::backend::indexes::tests::{index_all, indexes_of, with_keys};

/// An empty table of objects in memory.
pub(super) fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    register(&connection).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE objects (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL,
                 created_at TEXT NOT NULL, updated_at TEXT NOT NULL, doc TEXT NOT NULL) STRICT;
             CREATE UNIQUE INDEX objects_by_id ON objects (type, id);",
        )
        .unwrap();
    with_keys(&connection);
    connection
}

/// Stores a document and gives back what a reader of its text sees.
pub(super) fn insert(connection: &Connection, document: &Value) -> Value {
    let text = document.to_string();
    let column = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    connection
        .prepare_cached(
            "INSERT INTO objects (type, id, created_at, updated_at, doc) VALUES (?, ?, ?, ?, ?)",
        )
        .unwrap()
        .execute(params![
            column("objectType"),
            column("id"),
            column("createdAt"),
            column("updatedAt"),
            text
        ])
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The texts that SQLite finds.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    sort: &Sort,
    page: Page,
) -> Vec<String> {
    list_compiled(connection, &compile(filter, sort), page)
}

/// The texts that SQLite finds for a compiled query; it uses indexes of locations, where there are some.
pub(super) fn list_narrowed(
    connection: &Connection,
    filter: &Filter,
    compiled: Compiled,
    page: Page,
) -> Vec<String> {
    let compiled = geo::narrow(connection, filter, compiled).unwrap();
    list_compiled(connection, &compiled, page)
}

pub(super) fn list_compiled(
    connection: &Connection,
    compiled: &Compiled,
    page: Page,
) -> Vec<String> {
    let (sql, mut values) = (compiled.page_of("1"), compiled.bound_for(""));
    values.remove(0);
    let page = [i64::from(page.limit), i64::try_from(page.offset).unwrap()].map(Bound::from);
    let mut statement = connection
        .prepare(&sql)
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
    let rows = statement
        .query_map(params_from_iter(values.into_iter().chain(page)), |row| {
            row.get(0)
        })
        .unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// Checks that SQLite and the evaluator both find `expected` of the documents, in this order.
#[track_caller]
fn check(documents: &[Value], q: &Value, sort: &str, expected: &[usize]) {
    let connection = database();
    for (place, document) in documents.iter().enumerate() {
        let mut document = document.clone();
        document["id"] = json!(format!("{place:024x}"));
        insert(&connection, &document);
    }
    let (filter, order) = (
        Filter::from_json(q.clone()).unwrap(),
        Sort::parse(sort).unwrap(),
    );
    let found = list(&connection, &filter, &order, Page::default());
    let found: Vec<Value> = found
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let places: Vec<usize> = found
        .iter()
        .map(|document| usize::from_str_radix(document["id"].as_str().unwrap(), 16).unwrap())
        .collect();
    assert_eq!(places, expected, "{q} {sort}");
    assert!(found.iter().all(|document| filter.matches(document)), "{q}");
    assert!(
        found.is_sorted_by(|left, right| order.compare(left, right).is_le()),
        "{sort}"
    );
}

fn plan(connection: &Connection, filter: &Value, sort: &str) -> String {
    let filter = Filter::from_json(filter.clone()).unwrap();
    plan_compiled(connection, &compile(&filter, &Sort::parse(sort).unwrap()))
}

fn plan_compiled(connection: &Connection, compiled: &Compiled) -> String {
    let sql = format!("EXPLAIN QUERY PLAN {}", compiled.page());
    let mut statement = connection.prepare(&sql).unwrap();
    let page = [Bound::from(100), Bound::from(0)];
    let values = compiled.bound_for("x").into_iter().chain(page);
    let rows = statement
        .query_map(params_from_iter(values), |row| row.get::<_, String>(3))
        .unwrap();
    rows.collect::<rusqlite::Result<Vec<_>>>()
        .unwrap()
        .join("\n")
}

fn condition(filter: Value) -> Compiled {
    compile(&Filter::from_json(filter).unwrap(), &Sort::default())
}

#[test]
fn a_property_is_compared_through_its_key() {
    let compiled = condition(json!({"title": "x"}));
    let key = concat!(
        r#"CASE json_type(doc, '$."title"') WHEN 'object' THEN x'01' WHEN 'array' THEN x'02' "#,
        r#"WHEN 'false' THEN x'03' WHEN 'true' THEN x'04' ELSE doc ->> '$."title"' END"#
    );
    assert_eq!(
        compiled.condition,
        format!("({key} = ? OR ({key} = x'02' AND eds_matches(?, doc)))")
    );
    assert_eq!(compiled.order, "id");
    assert_eq!(
        compiled.values,
        [
            Bound::from("x".to_owned()),
            Bound::from(r#"{"title":"x"}"#.to_owned())
        ]
    );
}

/// How SQLite goes about a query of 2000 objects that have indexes of these properties.
fn plan_along(connection: &Connection, paths: &[&str], filter: &Value, sort: &str) -> String {
    let indexes = indexes_of(paths);
    let (filter, sort) = (
        Filter::from_json(filter.clone()).unwrap(),
        Sort::parse(sort).unwrap(),
    );
    let compiled = compile(&filter, &sort);
    let chosen = choose(
        connection,
        &indexes,
        (&filter, &sort),
        compiled,
        Purpose::Page,
    )
    .unwrap();
    plan_compiled(connection, &chosen)
}

#[test]
fn an_index_serves_comparison_and_order() {
    let connection = database();
    for number in 0..2000 {
        let list = json!({"id": format!("{number:024x}"), "objectType": "objects.lists"});
        insert(
            &connection,
            &json!({"id": number.to_string(), "objectType": "x", "title": number, "list": list, "a": {"b": number},
                "done": number % 2 == 0, "createdAt": format!("2014-01-01T00:00:{number:04}Z")}),
        );
    }
    let paths = ["title", "list.id", "a.b", "done", "createdAt"];
    index_all(&connection, &indexes_of(&paths));
    let reference = json!({"id": "51cdbc08989e975ec300772a", "objectType": "objects.lists"});
    let key = "index_keys USING PRIMARY KEY (of_index=? AND at_key";
    for (filter, sort, expected) in [
        (json!({"title": "x"}), "[]", vec![key]),
        (json!({"title": 5}), "[]", vec![key]),
        (json!({"title": null}), "[]", vec![key]),
        (
            json!({"title": {"$in": ["x", "y", true]}}),
            "[]",
            vec![key, "FOR ORDER BY"],
        ),
        (
            json!({"title": {"$gt": 5, "$lt": 9}}),
            "[]",
            vec![key, "FOR ORDER BY"],
        ),
        (json!({"title": "x", "other": "y"}), "[]", vec![key]),
        (
            json!({"other": "x", "a.b": {"$lte": 5}}),
            "[]",
            vec![key, "FOR ORDER BY"],
        ),
        (json!({"list": reference}), "[]", vec![key]),
        (
            json!({"list": {"$in": [reference, reference]}}),
            "[]",
            vec![key, "FOR ORDER BY"],
        ),
        (
            json!({"$or": [{"title": "x"}, {"a.b": 1}]}),
            "[]",
            vec![key, "rowid=?", "FOR ORDER BY"],
        ),
        // The shorter of two.
        (json!({"done": true, "title": 5}), "[]", vec![key]),
        (
            json!({"title": {"$gt": 1990}}),
            r#"{"sortBy":"title"}"#,
            vec![key],
        ),
        (
            json!({"title": {"$gt": 2}}),
            r#"{"sortBy":"title","direction":"desc"}"#,
            vec![key, "LAST TERM"],
        ),
        // In the order of the list, or in that of the ids, a page is full soon.
        (
            json!({"other": 1}),
            r#"{"sortBy":"createdAt"}"#,
            vec!["PRIMARY KEY (of_index=?)"],
        ),
        (
            json!({"done": true}),
            r#"{"sortBy":"title"}"#,
            vec!["PRIMARY KEY (of_index=?)"],
        ),
        (
            json!({"title": {"$gt": 2}}),
            "[]",
            vec!["objects_by_id (type=?)"],
        ),
        (json!({"done": true}), "[]", vec![key]),
        (
            json!({"done": true, "id": "x"}),
            "[]",
            vec!["objects_by_id (type=? AND id=?)"],
        ),
        // Nothing else leads there.
        (
            json!({"title": {"$gt": 2}}),
            r#"{"sortBy":"other"}"#,
            vec![key, "FOR ORDER BY"],
        ),
        (json!({"other": 1}), "[]", vec!["objects_by_id (type=?)"]),
    ] {
        let plan = plan_along(&connection, &paths, &filter, sort);
        for part in &expected {
            assert!(plan.contains(part), "{filter} {sort}: {plan}");
        }
        let sorts = expected
            .iter()
            .any(|part| part.contains("ORDER BY") || part.contains("LAST TERM"));
        assert_eq!(
            plan.contains("TEMP B-TREE"),
            sorts,
            "{filter} {sort}: {plan}"
        );
    }
    let by_id = plan(&connection, &json!({"id": "x"}), "[]");
    assert!(by_id.contains("objects_by_id (type=? AND id=?)"), "{by_id}");
}

/// No document is opened to see what the index holds.
#[test]
fn a_condition_asks_the_index_for_the_key() {
    let connection = database();
    insert(
        &connection,
        &json!({"id": "1", "objectType": "x", "title": 1}),
    );
    let indexes = indexes_of(&["title"]);
    index_all(&connection, &indexes);
    let (filter, sort) = (
        Filter::parse(r#"{"title":{"$gte":1}}"#).unwrap(),
        Sort::parse(r#"{"sortBy":"title"}"#).unwrap(),
    );
    let ways = every_way(
        &connection,
        &indexes,
        (&filter, &sort),
        &compile(&filter, &sort),
    );
    let along: Vec<String> = ways
        .iter()
        .filter(|way| way.index_used().is_some())
        .map(Compiled::page)
        .collect();
    assert_eq!(along.len(), 2);
    for sql in along {
        assert!(!sql.contains("json_type"), "{sql}");
        assert!(sql.contains("ORDER BY at_key, object LIMIT"), "{sql}");
    }
}

/// However far a walk has come, the next page starts where the last one ended.
#[test]
fn an_index_leads_to_where_a_page_ended() {
    let connection = database();
    for number in 0..2000 {
        let id = format!("{number:024x}");
        insert(
            &connection,
            &json!({"id": id, "objectType": "x", "title": number / 2, "done": true}),
        );
    }
    let indexes = indexes_of(&["title", "done"]);
    index_all(&connection, &indexes);
    let last = json!({"id": format!("{:024x}", 1500), "title": 750});
    for (filter, sort, expected) in [
        ("{}", "[]", "objects_by_id (type=? AND id>?)"),
        (
            "{}",
            r#"{"sortBy":"title"}"#,
            "PRIMARY KEY (of_index=? AND at_key>?)",
        ),
        (
            "{}",
            r#"{"sortBy":"title","direction":"desc"}"#,
            "PRIMARY KEY (of_index=? AND at_key<?)",
        ),
        (
            r#"{"done":true}"#,
            "[]",
            "PRIMARY KEY (of_index=? AND at_key=? AND object>?)",
        ),
    ] {
        let (filter, sort) = (Filter::parse(filter).unwrap(), Sort::parse(sort).unwrap());
        let compiled = compile(&filter, &sort);
        let compiled = choose(
            &connection,
            &indexes,
            (&filter, &sort),
            compiled,
            Purpose::Page,
        )
        .unwrap();
        let plan = plan_compiled(&connection, &compiled.behind(&sort, &sort.position(&last)));
        assert!(plan.contains(expected), "{sort:?}: {plan}");
        assert!(
            !plan.contains("TEMP B-TREE FOR ORDER BY"),
            "{sort:?}: {plan}"
        );
    }
}

#[test]
fn no_name_from_outside_is_in_the_text_unless_it_is_harmless() {
    for name in [
        "it's",
        "a\"b",
        "a\\b",
        "a]b",
        "é",
        "a b",
        "a\u{1}b",
        "a;--",
        &"x".repeat(65),
    ] {
        let sort = json!({"sortBy": name}).to_string();
        let compiled = compile(
            &Filter::from_json(json!({ name: "value" })).unwrap(),
            &Sort::parse(&sort).unwrap(),
        );
        for text in [&compiled.condition, &compiled.order] {
            assert!(!text.contains(name), "{text}");
            assert!(!text.contains("value"), "{text}");
        }
        check(
            &[json!({ name: "value" }), json!({})],
            &json!({ name: "value" }),
            &sort,
            &[0],
        );
        check(
            &[json!({ name: 2 }), json!({}), json!({ name: 1 })],
            &json!({}),
            &sort,
            &[1, 2, 0],
        );
    }
}

#[test]
fn names_that_look_like_paths_are_only_names() {
    let documents = [
        json!({"a[0]": 1}),
        json!({"a": [1]}),
        json!({"#-1": 1}),
        json!({"*": 1}),
    ];
    check(&documents, &json!({"a[0]": 1}), "[]", &[0]);
    check(&documents, &json!({"#-1": 1}), "[]", &[2]);
    check(&documents, &json!({"*": 1}), "[]", &[3]);
}

#[test]
fn booleans_are_no_numbers() {
    let documents = [
        json!({"a": true}),
        json!({"a": 1}),
        json!({"a": "true"}),
        json!({"a": false}),
        json!({"a": 0}),
    ];
    check(&documents, &json!({"a": true}), "[]", &[0]);
    check(&documents, &json!({"a": 1}), "[]", &[1]);
    check(&documents, &json!({"a": {"$gte": 0}}), "[]", &[1, 4]);
    check(&documents, &json!({"a": {"$gte": false}}), "[]", &[0, 3]);
    check(
        &documents,
        &json!({"a": {"$nin": [true, 0]}}),
        "[]",
        &[1, 2, 3],
    );
}

#[test]
fn ranges_end_with_their_type() {
    let documents = [
        json!({"a": 5}),
        json!({"a": "5"}),
        json!({"a": ""}),
        json!({"a": {}}),
        json!({"a": null}),
        json!({}),
    ];
    check(&documents, &json!({"a": {"$gt": 4}}), "[]", &[0]);
    check(&documents, &json!({"a": {"$lt": "a"}}), "[]", &[1, 2]);
    check(
        &documents,
        &json!({"a": {"$not": {"$lt": "a"}}}),
        "[]",
        &[0, 3, 4, 5],
    );
    check(
        &documents,
        &json!({"$nor": [{"a": {"$gt": 4}}]}),
        "[]",
        &[1, 2, 3, 4, 5],
    );
}

#[test]
fn system_columns_are_texts() {
    let documents = [
        json!({"objectType": "objects.a", "createdAt": "2013-06-28T16:38:32.369Z"}),
        json!({"objectType": "objects.b", "createdAt": "2014-06-28T16:38:32.369Z"}),
    ];
    check(&documents, &json!({"objectType": "objects.b"}), "[]", &[1]);
    check(
        &documents,
        &json!({"createdAt": {"$lt": "2014"}}),
        "[]",
        &[0],
    );
    check(&documents, &json!({"createdAt": {"$gt": 2013}}), "[]", &[]);
    check(
        &documents,
        &json!({"createdAt": {"$not": {"$gt": 2013}}}),
        r#"{"sortBy":"createdAt","direction":"desc"}"#,
        &[1, 0],
    );
    check(
        &documents,
        &json!({"id": {"$in": [0, null, "000000000000000000000001"]}}),
        "[]",
        &[1],
    );
    check(&documents, &json!({"id": {"$regex": "0$"}}), "[]", &[0]);
    check(&documents, &json!({"id": {"$exists": false}}), "[]", &[]);
    check(
        &documents,
        &json!({"id.x": null}),
        r#"{"sortBy":"id","direction":"desc"}"#,
        &[1, 0],
    );
}

#[test]
fn numbers_beyond_64_bits_are_compared_exactly() {
    let documents = [
        "9223372036854775807",
        "9223372036854775808",
        "9223372036854775809",
        "9223372036854775808.0",
        "18446744073709551615",
        "18446744073709551616.0",
    ]
    .map(|text| json!({"a": serde_json::from_str::<Value>(text).unwrap()}));
    check(
        &documents,
        &json!({"a": 9_223_372_036_854_775_808_u64}),
        "[]",
        &[1, 3],
    );
    check(
        &documents,
        &json!({"a": {"$gt": 9_223_372_036_854_775_808.0}}),
        "[]",
        &[2, 4, 5],
    );
    check(
        &documents,
        &json!({"a": {"$lt": 18_446_744_073_709_551_616.0}}),
        "[]",
        &[0, 1, 2, 3, 4],
    );
    check(
        &documents,
        &json!({"a": {"$lt": 1e20}}),
        "[]",
        &[0, 1, 2, 3, 4, 5],
    );
    check(
        &documents,
        &json!({"a": {"$gt": i64::MAX}}),
        "[]",
        &[1, 2, 3, 4, 5],
    );
}

#[test]
fn the_largest_filters_that_can_be_written_can_be_run() {
    let connection = database();
    let document = insert(&connection, &json!({"id": "1", "a": 1}));
    let wide = json!({"$or": vec![json!({"b": {"$ne": [1]}}); 490]});
    let many = json!({"a": {"$in": (0..1000).collect::<Vec<_>>()}});
    let mut deep = json!({"a": 1});
    for _ in 0..9 {
        deep = json!({"$nor": [deep, {"c": 1}]});
    }
    let mut narrow = json!({"a": 1});
    for _ in 0..9 {
        narrow = json!({"$or": [json!({"b": 1}), json!({"c.d.e": 1}), narrow]});
    }
    let long = json!({ vec!["x y"; 20].join("."): {"$not": {"$not": {"$not": {"$ne": 1}}}} });
    for filter in [wide, many, deep, narrow, long] {
        let filter = Filter::from_json(filter).unwrap();
        let expected = usize::from(filter.matches(&document));
        let found = list(&connection, &filter, &Sort::default(), Page::default());
        assert_eq!(found.len(), expected, "{:?}", filter.source());
    }
    let compiled = condition(json!({"$or": vec![json!({"b": 1}); 600]}));
    assert_eq!(compiled.condition, "eds_matches(?, doc)");
}

#[test]
fn a_broken_document_or_call_ends_the_statement_and_nothing_else() {
    let connection = database();
    for sql in [
        "SELECT eds_matches('{}', 'no json')",
        "SELECT eds_matches('{', '{}')",
        "SELECT eds_matches('{\"$where\":1}', '{}')",
        "SELECT eds_matches(1, '{}')",
        "SELECT eds_matches('{}', NULL)",
        "SELECT eds_key('{\"sortBy\":1}', '{}')",
        "SELECT eds_key(NULL, '{}')",
        "SELECT eds_key('{\"sortBy\":\"a\"}', x'ff')",
    ] {
        let result = connection.query_row(sql, [], |row| row.get::<_, Bound>(0));
        assert!(result.is_err(), "{sql}: {result:?}");
    }
    let empty = connection.query_row("SELECT eds_key('[]', '{}')", [], |row| {
        row.get::<_, Bound>(0)
    });
    assert_eq!(empty, Ok(Bound::Null));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What the key and `exact` rely on.
    #[test]
    fn sqlite_reads_numbers_as_rust_does(bits in any::<u64>()) {
        let real = f64::from_bits(bits);
        let beyond = bits | 1 << 63;
        // The doubles around here are 2048 apart; these are next to the middle between two of them.
        let middle = (beyond & !2047) + 1023 + bits % 3;
        let connection = Connection::open_in_memory().unwrap();
        let read = |number: Value| -> Bound {
            let text = json!({"n": number}).to_string();
            connection.query_row("SELECT ? ->> '$.n'", [text], |row| row.get(0)).unwrap()
        };
        if real.is_finite() {
            assert_eq!(read(json!(real)), Bound::Real(real));
        }
        assert_eq!(read(json!(bits.cast_signed())), Bound::Integer(bits.cast_signed()));
        for number in [beyond, middle] {
            assert_eq!(read(json!(number)), Bound::Real(number as f64), "{number}");
        }
    }
}
