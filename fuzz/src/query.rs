//! Queries: reading one neither panics nor takes long, every fault is a bad request in a few words, what is read means
//! the same to the evaluator and to SQLite, and a page's `next` leads to what stands behind it.
//!
//! An input has up to six lines: `q`, `sort`, `limit`, `offset`, `include`, `after`.

use std::cell::RefCell;

use pilvi_model::Kind;
use pilvi_model::query::{Filter, Parameters, Query};

use crate::Random;
use crate::table::Table;

/// The longest words of a refusal: they may repeat a regular expression, and no more.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

thread_local! {
    static TABLE: RefCell<Table> = RefCell::new(Table::new().expect("SQLite makes a table in memory"));
}

/// The promises about any parameters.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let parameters = Parameters {
        q: lines.next(),
        sort: lines.next(),
        limit: lines.next(),
        offset: lines.next(),
        ..Parameters::default()
    };
    let parameters = Parameters {
        include: lines.next(),
        ..parameters
    };
    let parameters = Parameters {
        after: lines.next(),
        ..parameters
    };
    let query = match Query::parse(&parameters) {
        Ok(query) => query,
        Err(error) => {
            assert_eq!(error.kind, Kind::BadRequest);
            assert!(
                error.message.len() <= REFUSAL_BYTES_MAX,
                "{}",
                error.message
            );
            return;
        }
    };
    let echo = query.echo();
    let again = Filter::from_json(echo["query"].clone()).expect("an echo can be read");
    assert_eq!(again, query.filter);
    let next = TABLE.with_borrow_mut(|table| table.compare(&query));
    let Some(next) = next else {
        return;
    };
    // The cursor of a full page fits the query that it came from.
    let behind = Query::parse(&Parameters {
        after: Some(&next),
        offset: None,
        ..parameters
    });
    let behind = behind.unwrap_or_else(|error| panic!("{next} is refused: {error}"));
    assert!(behind.after.is_some());
    TABLE.with_borrow_mut(|table| table.compare(&behind));
}

const PATHS: [&str; 14] = [
    "a",
    "b",
    "c",
    "a.b",
    "a.b.c",
    "c.0",
    "c.a",
    "c.0.a",
    "id",
    "objectType",
    "createdAt",
    "x y",
    "é.0.0.a",
    "b.0",
];

const VALUES: [&str; 26] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "1.0",
    "-2.5",
    "9007199254740993",
    "18446744073709551615",
    "1e300",
    "\"\"",
    "\"1\"",
    "\"b\"",
    "\"é\"",
    "\"users\"",
    "[]",
    "[1]",
    "[1,2,3]",
    "[[1],[2]]",
    "{}",
    "{\"a\":1}",
    "{\"id\":\"51cdbc08989e975ec300772a\",\"objectType\":\"objects.todos\"}",
    "\"000000000000000000000003\"",
    "\"2013-06-28T16:38:32.003Z\"",
    "\"2013-06-28T16:38:32Z\"",
    "{\"b\":{\"c\":1}}",
];

const PLACES: [&str; 7] = [
    "{\"$near\":[1,2]}",
    "{\"$near\":[1,2],\"$maxDistance\":5}",
    "{\"$nearSphere\":[24.9,60.2],\"$minDistance\":0.01}",
    "{\"$near\":{\"$geometry\":{\"type\":\"Point\",\"coordinates\":[24.9,60.2]},\"$maxDistance\":2000000}}",
    "{\"$within\":{\"$box\":[[0,0],[30,70]]}}",
    "{\"$within\":{\"$centerSphere\":[[24.9,60.2],0.5]}}",
    "{\"$geoWithin\":{\"$polygon\":[[0,0],[30,0],[30,70]]}}",
];

/// A cursor into the list of everything.
const AFTER_ALL: &str = "WzEsImM3MzVhZDE5ODNkYzdkZGQiLFtdLCIwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDEiXQ";

const PATTERNS: [&str; 9] = [
    "^b",
    "b$",
    ".",
    "(?i)B",
    "a|b",
    "[é-ü]",
    "(a+)+$",
    "\\\\d{1,3}",
    "\\\\bx\\\\b",
];

/// A query that can be read, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    let q = conditions(random, 3);
    let sort = match random.below(4) {
        0 => String::new(),
        1 => format!("{{\"sortBy\":\"{}\"}}", random.pick(&PATHS)),
        _ => {
            let (first, second) = (random.pick(&PATHS), random.pick(&PATHS));
            let direction = random.pick(&["asc", "desc"]);
            format!(
                "[{{\"sortBy\":\"{first}\",\"direction\":\"{direction}\"}},{{\"sortBy\":\"{second}\"}}]"
            )
        }
    };
    let limit = random.pick(&["", "1", "5", "1000", "0"]);
    let offset = random.pick(&["", "0", "3", "1000000000"]);
    let include = random.pick(&["", "{\"creator\":{}}", "[]"]);
    let after = match random.below(8) {
        // What an unsorted list of everything calls its second object.
        0 => AFTER_ALL,
        1 => "WzEsIiIsW10sIiJd",
        _ => "",
    };
    let q = match after == AFTER_ALL && random.one_in(2) {
        true => "{}".to_owned(),
        false => q,
    };
    format!("{q}\n{sort}\n{limit}\n{offset}\n{include}\n{after}").into_bytes()
}

fn conditions(random: &mut Random, depth: usize) -> String {
    let count = random.below(3);
    let members: Vec<String> = (0..=count).map(|_| condition(random, depth)).collect();
    format!("{{{}}}", members.join(","))
}

fn condition(random: &mut Random, depth: usize) -> String {
    if depth > 0 && random.one_in(3) {
        let operator = random.pick(&["$and", "$or", "$nor"]);
        let (first, second) = (conditions(random, depth - 1), conditions(random, depth - 1));
        return format!("\"{operator}\":[{first},{second}]");
    }
    if random.one_in(12) {
        return format!(
            "\"{}\":{}",
            random.pick(&["a", "c", "where", "where.at"]),
            random.pick(&PLACES)
        );
    }
    let path = random.pick(&PATHS);
    if random.one_in(3) {
        return format!("\"{path}\":{}", random.pick(&VALUES));
    }
    format!("\"{path}\":{{{}}}", test(random, depth))
}

/// The members of an object of operators.
fn test(random: &mut Random, depth: usize) -> String {
    let value = *random.pick(&VALUES);
    match random.below(10) {
        0 => format!("\"$in\":[{value},{}]", random.pick(&VALUES)),
        1 => format!("\"$nin\":[{value}]"),
        2 => format!("\"$all\":[{value},{}]", random.pick(&VALUES)),
        3 => format!("\"$exists\":{}", random.pick(&["true", "false"])),
        4 => format!("\"$size\":{}", random.below(4)),
        5 => format!(
            "\"$mod\":[{},{}]",
            random.pick(&["2", "-3", "1.5"]),
            random.pick(&["0", "1", "-1"])
        ),
        6 => format!(
            "\"$regex\":\"{}\",\"$options\":\"{}\"",
            random.pick(&PATTERNS),
            random.pick(&["", "i", "im"])
        ),
        7 if depth > 0 => format!("\"$elemMatch\":{}", conditions(random, depth - 1)),
        7 | 8 if depth > 0 => format!("\"$not\":{{{}}}", test(random, depth - 1)),
        _ => {
            let operator = random.pick(&["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]);
            format!("\"{operator}\":{value},\"$ne\":{}", random.pick(&VALUES))
        }
    }
}
