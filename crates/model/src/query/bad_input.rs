//! What nobody should send and somebody will: each has an answer, soon, and none is a surprise.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Filter, Include, Parameters, Query, Sort};
use crate::Kind;

/// Any single one of these takes far less; a machine that is busy with other tests may take its time.
const SOON: Duration = Duration::from_secs(5);

fn refusal(q: &str) -> String {
    let started = Instant::now();
    let error = Filter::parse(q).expect_err(&q.chars().take(100).collect::<String>());
    assert_eq!(error.kind, Kind::BadRequest);
    assert!(error.message.len() < 500, "{}", error.message);
    assert!(started.elapsed() < SOON, "{}", error.message);
    error.message
}

#[test]
fn hostile_filters_are_refused_with_what_to_do() {
    let nested =
        |open: &str, close: &str, levels: usize| open.repeat(levels) + "1" + &close.repeat(levels);
    let branches =
        |number: usize| format!(r#"{{"$or":[{}]}}"#, vec![r#"{"a":1}"#; number].join(","));
    let patterns = (0..11)
        .map(|n| format!(r#""p{n}":{{"$regex":"x"}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let cases = [
        // Deep and huge.
        (nested("[", "]", 100_000), "q is not JSON: recursion limit"),
        (
            nested(r#"{"a":"#, "}", 100_000),
            "q is not JSON: recursion limit",
        ),
        (nested(r#"{"a":"#, "}", 100), "q nests deeper than 20"),
        (nested(r#"{"$not":"#, "}", 21), "q nests deeper than 20"),
        (branches(10_000), "q has more than 2000 values"),
        (
            format!(r#"{{"a":{{"$in":[{}]}}}}"#, ["1"; 1500].join(",")),
            "`$in` has more than 1000",
        ),
        // Code.
        (r#"{"$where":"while(1);"}"#.into(), "`$where` is refused"),
        (r#"{"a":{"$where":"1"}}"#.into(), "`$where` is refused"),
        (
            r#"{"a":{"$not":{"$where":"1"}}}"#.into(),
            "`$where` is refused",
        ),
        (r#"{"$or":[{"$where":"1"}]}"#.into(), "`$where` is refused"),
        (
            r#"{"a":{"$elemMatch":{"$where":"1"}}}"#.into(),
            "`$where` is refused",
        ),
        (
            r#"{"$expr":{"$gt":["$a","$b"]}}"#.into(),
            "`$expr` is not an operator",
        ),
        // Regular expressions.
        (r#"{"a":{"$regex":"(a{1000}){1000}"}}"#.into(), "too costly"),
        (
            r#"{"a":{"$regex":"(((a{50}){50}){50}){50}"}}"#.into(),
            "too costly",
        ),
        (
            r#"{"a":{"$regex":"a{0,4294967296}"}}"#.into(),
            "`$regex` cannot be read",
        ),
        (
            format!(r#"{{"a":{{"$regex":"{}"}}}}"#, "(".repeat(900)),
            "`$regex` cannot be read",
        ),
        (
            format!(
                r#"{{"a":{{"$regex":"{}a{}"}}}}"#,
                "(".repeat(400),
                ")".repeat(400)
            ),
            "`$regex` cannot be read",
        ),
        (
            format!(r#"{{"a":{{"$regex":"{}"}}}}"#, "a".repeat(1001)),
            "at most 1000 bytes",
        ),
        (
            format!("{{{patterns}}}"),
            "more than 10 regular expressions",
        ),
        (r#"{"a":{"$regex":"(?=a)b"}}"#.into(), "look-around"),
        (r#"{"a":{"$regex":"(a)\\1"}}"#.into(), "back-references"),
        (
            r#"{"a":{"$regex":"a","$options":"g"}}"#.into(),
            "`$options` knows only",
        ),
        // Names.
        (r#"{"":1}"#.into(), "`` is no property"),
        (r#"{".":1}"#.into(), "`.` is no property"),
        (r#"{"$":1}"#.into(), "`$` is not an operator"),
        (
            r#"{"a\u0000b":1}"#.into(),
            "cannot contain the character NUL",
        ),
        (
            format!(r#"{{"{}a":1}}"#, "a.".repeat(5000)),
            "at most 20 parts",
        ),
        (r#"{"a":"b\u0000c"}"#.into(), "contains the character NUL"),
        // Texts and numbers that are none.
        (r#"{"a":"\ud800"}"#.into(), "q is not JSON"),
        (
            r#"{"a":1e400}"#.into(),
            "q is not JSON: number out of range",
        ),
        (r#"{"a":NaN}"#.into(), "q is not JSON"),
        (r#"{"a":01}"#.into(), "q is not JSON"),
        (r#"{"a":1}}"#.into(), "q is not JSON: trailing characters"),
        ("\u{feff}{}".into(), "q is not JSON"),
        // Moments that are none.
        (
            r#"{"a":{"$gt":{"$type":"time","$value":"2013-02-30"}}}"#.into(),
            "is no time",
        ),
        (
            r#"{"a":{"$gt":{"$type":"time","$value":"12013-01-01"}}}"#.into(),
            "is no time",
        ),
        (
            r#"{"a":{"$gt":{"$type":"time","$value":1e300}}}"#.into(),
            "is no time",
        ),
        (
            r#"{"a":{"$gt":{"$type":"time","$value":18446744073709551615}}}"#.into(),
            "is no time",
        ),
    ];
    for (q, expected) in cases {
        let message = refusal(&q);
        assert!(
            message.contains(expected),
            "{}: {message}",
            q.chars().take(100).collect::<String>()
        );
    }
}

#[test]
fn strange_filters_mean_what_they_say() {
    let cases = [
        // The last of two equal names counts, as in JavaScript.
        (r#"{"a":1,"a":2}"#, json!({"a": 2}), json!({"a": 1})),
        (
            r#"{"a":{"$gt":5,"$gt":1}}"#,
            json!({"a": 2}),
            json!({"a": 1}),
        ),
        // Whole numbers are exact to 64 bits.
        (
            r#"{"a":9007199254740993}"#,
            json!({"a": 9_007_199_254_740_993_i64}),
            json!({"a": 9_007_199_254_740_992_i64}),
        ),
        (
            r#"{"a":18446744073709551615}"#,
            json!({"a": u64::MAX}),
            json!({"a": u64::MAX - 1}),
        ),
        // Beyond them, doubles.
        (
            r#"{"a":18446744073709551616}"#,
            json!({"a": 18_446_744_073_709_551_616.0}),
            json!({"a": u64::MAX}),
        ),
        (r#"{"a":1e-400}"#, json!({"a": 0}), json!({"a": 1})),
        // Names are only names.
        (r#"{"__proto__":1}"#, json!({"__proto__": 1}), json!({})),
        (r#"{"a\"b":1}"#, json!({"a\"b": 1}), json!({"a": 1})),
        (
            r#"{"'; DROP TABLE objects; --":1}"#,
            json!({"'; DROP TABLE objects; --": 1}),
            json!({}),
        ),
        (r#"{"\u0001":1}"#, json!({"\u{1}": 1}), json!({})),
        // A text that looks like a moment is a text.
        (
            r#"{"a":{"$lt":"99999-99-99"}}"#,
            json!({"a": "2013-01-01"}),
            json!({"a": "a"}),
        ),
    ];
    for (q, passes, fails) in cases {
        let filter = Filter::parse(q).unwrap_or_else(|error| panic!("{q}: {error}"));
        assert!(filter.matches(&passes), "{q}");
        assert!(!filter.matches(&fails), "{q}");
    }
}

#[test]
fn a_catastrophic_expression_takes_linear_time() {
    let started = Instant::now();
    for pattern in [
        "(a+)+$",
        "(a|aa)+$",
        "(.*)*x",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(x+x+)+y",
    ] {
        let filter = Filter::from_json(json!({"a": {"$regex": pattern}})).unwrap();
        for long in ["a".repeat(50_000) + "!", "x".repeat(50_000)] {
            let _ = filter.matches(&json!({ "a": long }));
        }
    }
    assert!(started.elapsed() < SOON);
}

#[test]
fn the_other_parameters_have_their_bounds_too() {
    let deep = "[".repeat(100_000);
    let keys = format!("[{}]", [r#"{"sortBy":"a"}"#; 9].join(","));
    let refused = |sort: Option<&str>, include: Option<&str>, after: Option<&str>| {
        let parameters = Parameters {
            sort,
            include,
            after,
            ..Parameters::default()
        };
        let error = Query::parse(&parameters).unwrap_err();
        assert_eq!(error.kind, Kind::BadRequest);
        error.message
    };
    assert!(refused(Some(&deep), None, None).starts_with("sort is not JSON: recursion limit"));
    assert!(refused(None, Some(&deep), None).starts_with("include is not JSON: recursion limit"));
    assert!(refused(None, None, Some(&deep)).contains("the `next` of an earlier reply"));
    assert!(refused(Some(&keys), None, None).starts_with("sort has at most 8"));
    assert!(Sort::parse(r#"[{"sortBy":"a\u0000"}]"#).is_err());
    assert!(Include::parse(r#"{"$where":1}"#).is_err());
    let quiet: Value = serde_json::from_str(r#"{"a":{},"a":{"include":{"b":{}}}}"#).unwrap();
    assert!(
        Include::from_json(&quiet)
            .unwrap()
            .under("a")
            .unwrap()
            .under("b")
            .is_some(),
        "the last counts"
    );
}
