//! SQLite against the evaluator: for random documents, filters, sort orders and pages, both must give the same
//! objects in the same order.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use pilvi_model::query::{Filter, Page, Sort};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::backend::geo::build;
use crate::backend::indexes::TypeIndexes;
use crate::backend::indexes::choose::{Purpose, choose, every_way};
use crate::backend::indexes::tests::{index_all, indexes_of};

use super::Compiled;
use super::tests::{database, insert, list, list_compiled, list_narrowed};

/// What has an index: not everything, so that conditions meet with and without one.
static INDEXES: LazyLock<TypeIndexes> =
    LazyLock::new(|| indexes_of(&["a", "b", "a.b", "a.id", "b.a", "createdAt"]));

#[test]
fn sqlite_agrees_with_the_evaluator() {
    let connection = database();
    for path in ["a", "b", "a.b"] {
        let filter = Filter::from_json(json!({ path: {"$near": [0, 0]} })).unwrap();
        build(&connection, &filter.regions()[0].path).unwrap();
    }
    let cases = documents().prop_flat_map(|documents| {
        let queries = vec((whole_filter(&documents), sort(&documents), page()), 1..5);
        (Just(documents), queries)
    });
    let config = Config {
        cases: number_of_cases(),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&cases, |(documents, queries)| {
            connection.execute("DELETE FROM objects", []).unwrap();
            let documents: Vec<Value> = documents
                .iter()
                .map(|document| insert(&connection, document))
                .collect();
            index_all(&connection, &INDEXES);
            queries.iter().try_for_each(|(filter, sort, page)| {
                compare(&connection, &documents, filter, sort, *page)
            })
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Chance meets the edges rarely, so these meet one another without it.
#[test]
fn sqlite_agrees_on_every_scalar_against_every_other() {
    let connection = database();
    let scalars: Vec<Value> = [Value::Null, json!(true), json!(false)]
        .into_iter()
        .chain(numbers())
        .chain(TEXTS.map(Value::from))
        .collect();
    let stored = scalars
        .iter()
        .flat_map(|scalar| [json!(scalar), json!([scalar])]);
    let stored = stored.chain([json!([]), json!({})]).enumerate();
    let documents: Vec<Value> = stored
        .map(|(number, value)| {
            insert(
                &connection,
                &json!({"id": format!("{number:024x}"), "a": value}),
            )
        })
        .collect();
    index_all(&connection, &INDEXES);
    let whole = Page {
        limit: 1000,
        offset: 0,
    };
    for (number, scalar) in scalars.iter().enumerate() {
        let direction = if number % 2 == 0 { "asc" } else { "desc" };
        let sort = json!({"sortBy": "a", "direction": direction});
        for operator in ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"] {
            let test = json!({ operator: scalar });
            for filter in [json!({"a": test}), json!({"a": {"$not": test}})] {
                compare(&connection, &documents, &filter, &sort, whole)
                    .unwrap_or_else(|failure| panic!("{failure}"));
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is a door: the full tier asks for more cases"
)]
pub(crate) fn number_of_cases() -> u32 {
    match std::env::var("PILVI_PROPERTY_CASES") {
        Ok(text) => text.parse().expect("PILVI_PROPERTY_CASES is a number"),
        Err(_) => 5000,
    }
}

fn compare(
    connection: &Connection,
    documents: &[Value],
    filter: &Value,
    sort: &Value,
    page: Page,
) -> Result<(), TestCaseError> {
    let parsed =
        Filter::from_json(filter.clone()).and_then(|filter| Ok((filter, Sort::from_json(sort)?)));
    let (filter, order) =
        parsed.map_err(|error| TestCaseError::fail(format!("{filter}, {sort}: {error}")))?;
    let order = order.or_nearest(&filter);
    let expected = evaluate(documents, &filter, &order, page);
    let found = list(connection, &filter, &order, page);
    let narrowed = list_narrowed(connection, &filter, super::compile(&filter, &order), page);
    // With a large page there is nothing to walk.
    let plain = super::compile(&filter, &order);
    let is_short = page.limit <= 10;
    let whole = is_short.then(|| evaluate_whole(documents, &filter, &order));
    let lists = |way: &&Compiled| list_compiled(connection, way, page) == expected;
    let walks = |way: &&Compiled| {
        let walked = || walk(connection, way, &order, page.limit);
        whole.as_ref().is_none_or(|whole| walked() == *whole)
    };
    let asked = (&filter, &order);
    let ways = every_way(connection, &INDEXES, asked, &plain);
    let chosen = choose(connection, &INDEXES, asked, plain.clone(), Purpose::Page).unwrap();
    // To walk them all takes long, so each time it is another one.
    let walked = ways.get(documents.len() % ways.len().max(1));
    let wrong = ways.iter().chain([&chosen]).find(|way| !lists(way));
    let wrong = wrong.or_else(|| walked.into_iter().chain([&plain]).find(|way| !walks(way)));
    if found == expected && narrowed == expected && wrong.is_none() {
        return Ok(());
    }
    let sql = wrong.unwrap_or(&plain);
    let filter = filter.source();
    Err(TestCaseError::fail(format!(
        "filter {filter}\nsort {sort}\n{page:?}\nexpected {expected:#?}\nfound {found:#?}\n\
         narrowed {narrowed:#?}\nas {sql:#?}"
    )))
}

fn evaluate_whole(documents: &[Value], filter: &Filter, sort: &Sort) -> Vec<String> {
    let whole = Page {
        limit: 1000,
        offset: 0,
    };
    evaluate(documents, filter, sort, whole)
}

/// The whole list, page by page, each from the position where the one before ended.
fn walk(connection: &Connection, way: &Compiled, sort: &Sort, limit: u32) -> Vec<String> {
    let page = Page {
        limit: limit.max(1),
        offset: 0,
    };
    let mut walked = list_compiled(connection, way, page);
    let mut last_length = walked.len();
    while last_length == page.limit as usize {
        let last = walked.last().expect("the page was full");
        let position = sort.position(&serde_json::from_str(last).unwrap());
        let next = list_compiled(connection, &way.clone().behind(sort, &position), page);
        last_length = next.len();
        walked.extend(next);
        // Every object comes once, or the walk would not end.
        assert!(
            walked.len() <= 1000,
            "the walk repeats itself: {sort:?} {position:?}"
        );
    }
    walked
}

fn evaluate(documents: &[Value], filter: &Filter, sort: &Sort, page: Page) -> Vec<String> {
    let mut passing: Vec<&Value> = documents
        .iter()
        .filter(|document| filter.matches(document))
        .collect();
    passing.sort_by(|left, right| sort.compare(left, right));
    let page = passing
        .into_iter()
        .skip(usize::try_from(page.offset).unwrap())
        .take(page.limit as usize);
    page.map(Value::to_string).collect()
}

// What follows draws from small pools, and queries mostly ask for what the documents hold: a query that finds
// nothing, or everything, shows little.

/// Names that a document may have at its top, the likely ones first.
const NAMES: [&str; 10] = ["a", "b", "c", "0", "1", "é", "x y", "it's", "q\"q", "b\\n"];
/// Names that may stand further down.
const INNER_NAMES: [&str; 8] = ["a", "b", "0", "1", "id", "objectType", "\u{1}", "x y"];
const SYSTEM_NAMES: [&str; 4] = ["id", "objectType", "createdAt", "updatedAt"];
const IDS: [&str; 3] = [
    "000000000000000000000000",
    "000000000000000000000001",
    "00000000000000000000000a",
];
const TYPES: [&str; 3] = ["objects.todos", "objects.lists", "users"];
const TIMES: [&str; 3] = [
    "2013-06-28T16:38:32.369Z",
    "2013-06-28T16:38:32.370Z",
    "2014-01-01T00:00:00.000Z",
];
const NUMBERS: &str = "0 -0.0 1 1.0 2 2.5 -1 -2.5 5 0.1 0.30000000000000004 5e-324 1e300 -1e300
    9007199254740992 9007199254740993 9007199254740992.0 9223372036854775807 9223372036854775807.0
    -9223372036854775808 -9223372036854775808.0 9223372036854775808 9223372036854775808.0 9223372036854775809
    10000000000000000000 1e19 18446744073709551614 18446744073709551615 18446744073709551616.0
    18446744073709549568.0 36893488147419103232.0";
const TEXTS: [&str; 19] = [
    "",
    "a",
    "b",
    "ab",
    "A",
    "é",
    "1",
    "2",
    "true",
    "null",
    "a\nb",
    "\u{ffff}",
    "\u{10000}",
    "'",
    "\"",
    "\\",
    "\u{1}",
    "%",
    "[]",
];

fn documents() -> impl Strategy<Value = Vec<Value>> {
    let properties = btree_map(name(&NAMES), value(true), 0..5);
    let parts = (
        properties,
        select(&TYPES[..]),
        select(&TIMES[..]),
        select(&TIMES[..]),
    );
    let document = |(number, (properties, object_type, created, updated)): (
        usize,
        (BTreeMap<_, _>, _, _, _),
    )| {
        let mut document = Map::new();
        document.insert("id".into(), json!(format!("{number:024x}")));
        document.insert("objectType".into(), json!(object_type));
        document.insert("createdAt".into(), json!(created));
        document.insert("updatedAt".into(), json!(updated));
        document.extend(properties);
        Value::Object(document)
    };
    vec(parts, 1..9).prop_map(move |parts| parts.into_iter().enumerate().map(document).collect())
}

fn name(names: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop_oneof![3 => select(&names[..2]), 1 => select(names)].prop_map(str::to_owned)
}

fn numbers() -> impl Iterator<Item = Value> {
    NUMBERS
        .split_whitespace()
        .map(|text| serde_json::from_str(text).unwrap())
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => (0..4_i64).prop_map(Value::from),
        4 => select(numbers().collect::<Vec<Value>>()),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(|real| if real.is_finite() { json!(real) } else { json!(0.5) }),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(&TEXTS[..3]),
        4 => select(&TEXTS[..]),
        1 => select(&TIMES[..]),
        1 => select(&IDS[..]),
        1 => select(&TYPES[..]),
    ]
    .prop_map(str::to_owned)
}

fn scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::from),
        5 => number(),
        4 => text().prop_map(Value::from),
    ]
    .boxed()
}

fn reference() -> impl Strategy<Value = Value> {
    (select(&IDS[..2]), select(&TYPES[..2]), any::<bool>()).prop_map(|(id, object_type, more)| {
        match more {
            true => json!({"objectType": object_type, "id": id, "a": 1}),
            false => json!({"id": id, "objectType": object_type}),
        }
    })
}

const LONGITUDES: [&str; 12] = [
    "0",
    "1",
    "1.5",
    "2",
    "-1",
    "179.9999999",
    "180",
    "-180",
    "-179.9999999",
    "181",
    "1e300",
    "16777217",
];
const LATITUDES: [&str; 10] = [
    "0",
    "1",
    "1.5",
    "2",
    "-1",
    "89.9999999",
    "90",
    "-90",
    "91",
    "-1e300",
];

fn pair(on_earth: bool) -> BoxedStrategy<Value> {
    let read = |texts: &[&str]| -> Vec<Value> {
        texts
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    };
    let (longitudes, latitudes) = match on_earth {
        true => (read(&LONGITUDES[..9]), read(&LATITUDES[..8])),
        false => (read(&LONGITUDES), read(&LATITUDES)),
    };
    (select(longitudes), select(latitudes))
        .prop_map(|(longitude, latitude)| json!([longitude, latitude]))
        .boxed()
}

fn location() -> impl Strategy<Value = Value> {
    let point = pair(false)
        .prop_map(|pair| json!({"type": "Point", "coordinates": pair}))
        .boxed();
    prop_oneof![
        3 => pair(false),
        2 => point.clone(),
        1 => vec(prop_oneof![pair(false), point], 0..3).prop_map(Value::Array),
    ]
}

fn distance() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(1e-9),
        json!(0.5),
        json!(1),
        json!(1.5),
        json!(3),
        json!(3.2),
        json!(200),
        json!(1e300),
    ])
}

fn shape() -> BoxedStrategy<Value> {
    prop_oneof![
        vec(pair(false), 2..3).prop_map(|corners| json!({ "$box": corners })),
        vec(pair(false), 3..6).prop_map(|corners| json!({ "$polygon": corners })),
        (pair(false), distance()).prop_map(|(centre, radius)| json!({"$center": [centre, radius]})),
        (pair(true), distance())
            .prop_map(|(centre, radius)| json!({"$centerSphere": [centre, radius]})),
    ]
    .boxed()
}

fn near() -> BoxedStrategy<Value> {
    let metres = distance().prop_map(|distance| json!(distance.as_f64().unwrap() * 100_000.0));
    let point =
        pair(true).prop_map(|pair| json!({"$geometry": {"type": "Point", "coordinates": pair}}));
    let of = |name: &'static str, place: BoxedStrategy<Value>, most: BoxedStrategy<Value>| {
        (
            place,
            proptest::option::of(most),
            proptest::option::of(distance()),
        )
            .prop_map(move |(place, most, least)| {
                let mut test = json!({ name: place });
                if let Some(most) = most {
                    test["$maxDistance"] = most;
                }
                if let Some(least) = least {
                    test["$minDistance"] = least;
                }
                test
            })
    };
    prop_oneof![
        of("$near", pair(false).boxed(), distance().boxed()),
        of("$nearSphere", pair(true).boxed(), distance().boxed()),
        of("$near", point.boxed(), metres.boxed()),
    ]
    .boxed()
}

/// A filter as a caller may send it: only at its top may it ask for what is near.
fn whole_filter(documents: &[Value]) -> BoxedStrategy<Value> {
    let near = (place(documents), near()).prop_map(|((path, _), near)| json!({ path: near }));
    let both = (near.clone(), filter(documents, 1))
        .prop_map(|(near, filter)| json!({"$and": [near, filter]}));
    prop_oneof![16 => filter(documents, 2), 3 => near, 1 => both].boxed()
}

/// Any value. Only stored ones may have names with a dollar.
fn value(stored: bool) -> BoxedStrategy<Value> {
    let plain = name(&INNER_NAMES);
    let name = match stored {
        true => prop_oneof![9 => plain, 1 => Just("$x".to_owned())].boxed(),
        false => plain.boxed(),
    };
    let deep =
        prop_oneof![8 => scalar(), 1 => reference()].prop_recursive(3, 12, 4, move |deeper| {
            prop_oneof![
                vec(deeper.clone(), 0..4).prop_map(Value::Array),
                btree_map(name.clone(), deeper, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        });
    prop_oneof![6 => scalar(), 1 => reference(), 2 => location(), 5 => deep].boxed()
}

/// A path, and a value that may be found there.
fn place(documents: &[Value]) -> BoxedStrategy<(String, Value)> {
    let mut places = Vec::new();
    for document in documents {
        add_places(document, "", &mut places);
    }
    let path = (name(&NAMES), vec(name(&INNER_NAMES), 0..3))
        .prop_map(|(first, rest)| [vec![first], rest].concat().join("."));
    let anywhere = (
        prop_oneof![4 => path, 1 => select(&SYSTEM_NAMES[..]).prop_map(str::to_owned)],
        scalar(),
    );
    if places.is_empty() {
        return anywhere.boxed();
    }
    prop_oneof![9 => select(places), 1 => anywhere].boxed()
}

/// All places below a value, elements of arrays both by their number and without.
fn add_places(value: &Value, path: &str, places: &mut Vec<(String, Value)>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            // Every document has the system's names; they would drown the others. And a path that starts like an
            // operator, as one may inside $elemMatch, is refused.
            let unwanted = SYSTEM_NAMES.contains(&name.as_str()) || name.starts_with('$');
            if !(path.is_empty() && unwanted) {
                places.push((below(name), member.clone()));
                add_places(member, &below(name), places);
            }
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
            places.push((below(&index.to_string()), item.clone()));
            add_places(item, &below(&index.to_string()), places);
            add_places(item, path, places);
        }),
        _ => {}
    }
}

fn filter(documents: &[Value], depth: u32) -> BoxedStrategy<Value> {
    let field = place(documents).prop_flat_map(move |(path, near)| {
        test(&near, depth).prop_map(move |test| json!({ &path: test }))
    });
    if depth == 0 {
        return field.boxed();
    }
    let deeper = filter(documents, depth - 1);
    let combined = (
        select(vec!["$and", "$or", "$nor"]),
        vec(deeper.clone(), 1..4),
    );
    let merged = (deeper.clone(), deeper).prop_map(|(mut left, right)| {
        let members = left.as_object_mut().expect("filters are objects");
        members.extend(right.as_object().expect("filters are objects").clone());
        left
    });
    prop_oneof![
        6 => field,
        2 => combined.prop_map(|(name, filters)| json!({ name: filters })),
        1 => merged,
    ]
    .boxed()
}

/// What stands behind a property where `near` may be found.
fn test(near: &Value, depth: u32) -> BoxedStrategy<Value> {
    if depth == 0 {
        return prop_oneof![1 => wanted(near), 3 => operators(near)].boxed();
    }
    let items = near.as_array().cloned().unwrap_or_default();
    let item = items.first().cloned().unwrap_or(Value::Null);
    let objects: Vec<Value> = items
        .iter()
        .filter(|item| item.is_object())
        .cloned()
        .collect();
    let as_objects = filter(&objects, depth - 1).prop_map(|filter| json!({"$elemMatch": filter}));
    let as_values = operators(&item).prop_map(|test| json!({"$elemMatch": test}));
    let element = prop_oneof![as_objects, as_values].boxed();
    let all = vec(prop_oneof![element.clone(), wanted(&item)], 0..3)
        .prop_map(|items| json!({"$all": items}));
    let likely_array = if near.is_array() { 6 } else { 1 };
    prop_oneof![
        6 => wanted(near),
        18 => operators(near),
        4 => operators(near).prop_map(|test| json!({"$not": test})),
        1 => operators(near).prop_map(|test| json!({"$not": {"$not": test}})),
        likely_array => element.clone(),
        likely_array => all,
        1 => element.prop_map(|test| json!({"$not": test})),
    ]
    .boxed()
}

/// A value to be equal to.
fn wanted(near: &Value) -> BoxedStrategy<Value> {
    let any = prop_oneof![3 => scalar(), 1 => value(false)];
    let item = near
        .as_array()
        .and_then(|items| items.first())
        .unwrap_or(near);
    match [near, item].map(|near| (near.clone(), near.to_string().contains("\"$"))) {
        [(near, false), (item, _)] => {
            prop_oneof![4 => Just(near), 2 => Just(item), 3 => any].boxed()
        }
        _ => any.boxed(),
    }
}

fn operators(near: &Value) -> BoxedStrategy<Value> {
    let one = vec(operator(near), 1..2);
    let several = vec(operator(near), 2..4);
    prop_oneof![5 => one, 1 => several]
        .prop_map(|operators| operators.into_iter().flatten().collect())
        .boxed()
}

/// One operator, with what belongs to it.
fn operator(near: &Value) -> BoxedStrategy<Map<String, Value>> {
    let named = |names: &'static [&'static str], operand: BoxedStrategy<Value>| {
        (select(names), operand)
            .prop_map(|(name, operand)| Map::from_iter([(name.to_owned(), operand)]))
    };
    let item = near
        .as_array()
        .and_then(|items| items.first())
        .unwrap_or(near)
        .clone();
    let like_item = if item.is_array() || item.is_object() {
        scalar()
    } else {
        Just(item).boxed()
    };
    let operand = prop_oneof![like_item, scalar()].boxed();
    let values = vec(wanted(near), 0..4).prop_map(Value::Array).boxed();
    let exists = select(vec![json!(true), json!(false), json!(1), json!(0)]).boxed();
    let length = near.as_array().map_or(0, Vec::len);
    let size = prop_oneof![1 => Just(json!(length)), 2 => (0..3).prop_map(Value::from)].boxed();
    let divisors = (
        select(vec![-3_i64, -1, 1, 2, 3, i64::MAX, i64::MIN]),
        -2..3_i64,
    );
    let divisors = divisors
        .prop_map(|(divisor, rest)| json!([divisor, rest]))
        .boxed();
    let patterns = (
        select(vec!["a", "^b", "A|é", ".", "^$", "\\d"]),
        select(vec!["", "i", "ms"]),
    );
    let pattern = patterns.prop_map(|(pattern, options)| {
        Map::from_iter([
            ("$regex".to_owned(), json!(pattern)),
            ("$options".to_owned(), json!(options)),
        ])
    });
    prop_oneof![
        4 => named(&["$eq", "$ne"], wanted(near)),
        6 => named(&["$gt", "$gte", "$lt", "$lte"], operand),
        4 => named(&["$in", "$nin", "$all"], values),
        2 => named(&["$exists"], exists),
        2 => named(&["$size"], size),
        2 => named(&["$mod"], divisors),
        3 => named(&["$within", "$geoWithin"], shape()),
        1 => pattern,
    ]
    .boxed()
}

fn sort(documents: &[Value]) -> BoxedStrategy<Value> {
    let key = (place(documents), select(vec!["asc", "desc"]));
    let key =
        key.prop_map(|((path, _), direction)| json!({"sortBy": path, "direction": direction}));
    vec(key, 0..3).prop_map(Value::Array).boxed()
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        3 => Just(Page { limit: 100, offset: 0 }),
        1 => (0..6_u32, 0..4_u64).prop_map(|(limit, offset)| Page { limit, offset }),
    ]
}
