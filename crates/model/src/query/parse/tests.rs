//! Every refusal of the query language, and what is just not refused.

use serde_json::json;

use super::*;
use crate::Kind;

#[track_caller]
fn refusal(filter: &Value) -> String {
    let error = Filter::from_json(filter.clone()).expect_err(&filter.to_string());
    assert_eq!(error.kind, Kind::BadRequest);
    error.message
}

#[test]
fn every_refusal_names_the_culprit() {
    let cases = [
        (json!([]), "q must be a JSON object"),
        (json!("a"), "q must be a JSON object"),
        // Operators.
        (json!({"$where": "1"}), "`$where` is refused"),
        (json!({"a": {"$where": "1"}}), "`$where` is refused"),
        (json!({"a": {"$foo": 1}}), "`$foo` is not an operator"),
        (json!({"$foo": 1}), "`$foo` is not an operator"),
        (json!({"$": 1}), "`$` is not an operator"),
        (
            json!({"a": {"$type": "string"}}),
            "`$type` is not an operator",
        ),
        (json!({"$gt": 1}), "`$gt` stands behind a property"),
        (json!({"$not": {"a": 1}}), "`$not` stands behind a property"),
        (
            json!({"a": {"$or": [{"b": 1}]}}),
            "`$or` does not stand behind a property",
        ),
        (
            json!({"a": {"b": 1, "$gt": 1}}),
            "`b` stands beside an operator",
        ),
        (
            json!({"a": {"$gt": 1, "b": 1}}),
            "`b` stands beside an operator",
        ),
        (
            json!({"a": {"b": {"$gt": 1}}}),
            "`$gt` stands inside a value",
        ),
        (json!({"a": [{"$gt": 1}]}), "`$gt` stands inside a value"),
        (
            json!({"a": {"$in": [{"$regex": "x"}]}}),
            "`$regex` stands inside a value",
        ),
        (
            json!({"a": {"$eq": {"$gt": 1}}}),
            "`$gt` stands inside a value",
        ),
        // Operands.
        (json!({"$and": {}}), "`$and` needs an array"),
        (json!({"$or": []}), "`$or` needs an array of at least one"),
        (json!({"$nor": [1]}), "each condition in `$nor`"),
        (json!({"a": {"$in": 1}}), "`$in` needs an array"),
        (json!({"a": {"$nin": {}}}), "`$nin` needs an array"),
        (json!({"a": {"$all": "x"}}), "`$all` needs an array"),
        (
            json!({"a": {"$in": vec![1; LIST_MAX + 1]}}),
            "`$in` has more than 1000",
        ),
        (json!({"a": {"$gt": []}}), "`$gt` compares with"),
        (json!({"a": {"$lte": {"b": 1}}}), "`$lte` compares with"),
        (
            json!({"a": {"$exists": "yes"}}),
            "`$exists` needs true or false",
        ),
        (
            json!({"a": {"$exists": 2}}),
            "`$exists` needs true or false",
        ),
        (json!({"a": {"$size": -1}}), "`$size` needs"),
        (json!({"a": {"$size": 1.5}}), "`$size` needs"),
        (json!({"a": {"$size": "1"}}), "`$size` needs"),
        (json!({"a": {"$mod": [0, 1]}}), "`$mod` cannot divide by 0"),
        (json!({"a": {"$mod": [1]}}), "`$mod` needs an array of two"),
        (
            json!({"a": {"$mod": [1.5, 1]}}),
            "`$mod` needs an array of two",
        ),
        (json!({"a": {"$mod": 3}}), "`$mod` needs an array of two"),
        (
            json!({"a": {"$elemMatch": 1}}),
            "`$elemMatch` needs an object",
        ),
        (
            json!({"a": {"$elemMatch": {"$gt": 1, "b": 1}}}),
            "`b` stands beside an operator",
        ),
        (
            json!({"a": {"$elemMatch": {"$where": "1"}}}),
            "`$where` is refused",
        ),
        (
            json!({"a": {"$all": [{"$elemMatch": 1}]}}),
            "`$elemMatch` needs an object",
        ),
        (
            json!({"a": {"$not": 1}}),
            "`$not` needs an object of operators",
        ),
        (
            json!({"a": {"$not": {}}}),
            "`$not` needs an object of operators",
        ),
        (
            json!({"a": {"$not": {"b": 1}}}),
            "`$not` needs an object of operators",
        ),
        (
            json!({"a": "x\0"}),
            "a text in q contains the character NUL",
        ),
        // Regular expressions.
        (json!({"a": {"$regex": 1}}), "`$regex` needs a text"),
        (json!({"a": {"$regex": "("}}), "`$regex` cannot be read"),
        (
            json!({"a": {"$regex": "(?=x)"}}),
            "`$regex` cannot be read; look-around",
        ),
        (
            json!({"a": {"$regex": "(x)\\1"}}),
            "`$regex` cannot be read; look-around",
        ),
        (
            json!({"a": {"$regex": "x".repeat(PATTERN_TEXT_MAX + 1)}}),
            "a regular expression may be written",
        ),
        (
            json!({"a": {"$regex": "((a{100}){100}){100}"}}),
            "the regular expression is too costly",
        ),
        (json!({"a": {"$options": "i"}}), "`$options` needs a $regex"),
        (
            json!({"a": {"$regex": "x", "$options": "g"}}),
            "`$options` knows only",
        ),
        (
            json!({"a": {"$regex": "x", "$options": 1}}),
            "`$options` needs a text",
        ),
        (
            json!({"$or": vec![json!({"a": {"$regex": "x"}}); PATTERNS_MAX + 1]}),
            "q has more than 10 regular",
        ),
        // Paths.
        (json!({"": 1}), "`` is no property to filter by"),
        (json!({"a..b": 1}), "`a..b` is no property to filter by"),
        (json!({"a\0": 1}), "is no property to filter by"),
        (
            json!({"a": {"$elemMatch": {"b.": 1}}}),
            "`b.` is no property to filter by",
        ),
        // Typed values.
        (
            json!({"a": {"$type": "time", "$value": "soon"}}),
            "is no time",
        ),
        (json!({"a": {"$type": "time", "$value": []}}), "is no time"),
        (
            json!({"a": {"$type": "ref", "$value": 1}}),
            "is no reference",
        ),
        (
            json!({"a": {"$type": "geoloc", "$value": 1}}),
            "is no location",
        ),
        (
            json!({"a": {"$type": "money", "$value": 1}}),
            "`$type` that is unknown",
        ),
    ];
    for (filter, expected) in cases {
        let message = refusal(&filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
}

#[test]
fn size_is_bounded() {
    let nested = |levels| {
        let mut filter = json!({"a": 1});
        for _ in 0..levels {
            filter = json!({"$or": [filter]});
        }
        filter
    };
    // Each level is an object and an array, and the innermost a value in an object.
    assert!(Filter::from_json(nested(9)).is_ok());
    assert!(refusal(&nested(10)).starts_with("q nests deeper than 20"));
    assert!(refusal(&nested(50)).starts_with("q nests deeper than 20"));

    let wide = |branches| json!({"$or": vec![json!({"a": 1}); branches]});
    assert!(Filter::from_json(wide(999)).is_ok());
    assert!(refusal(&wide(1000)).starts_with("q has more than 2000 values"));
    assert!(refusal(&wide(10_000)).starts_with("q has more than 2000 values"));
}

#[test]
fn a_message_does_not_repeat_a_whole_request() {
    let message = refusal(&json!({ format!("${}", "é".repeat(5000)): 1 }));
    assert!(message.len() < 500, "{message}");
    assert!(message.contains("éé…` is not an operator"), "{message}");
}

#[test]
fn each_field_keeps_a_source_that_means_the_same() {
    let filter = Filter::parse(r#"{"$or":[{"a":{"$gt":1,"$ne":5}},{"b":null}]}"#).unwrap();
    let Condition::Any(branches) = filter.condition() else {
        panic!("{filter:?}");
    };
    for branch in branches {
        let Condition::Field(field) = branch else {
            panic!("{branch:?}");
        };
        let again = Filter::from_json(field.source.clone()).unwrap();
        assert_eq!(again.condition(), branch);
    }
}

#[test]
fn ordinary_regular_expressions_are_cheap_enough() {
    for pattern in [
        r"^[\w.+-]+@[\w-]+(\.[\w-]+)*\.\w{2,10}$",
        r"(?i)\bstraße\b",
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$",
        r"^\p{Lu}\p{Ll}{1,20}$",
        r"https?:\/\/[^\s]{1,200}",
    ] {
        let filter = Filter::from_json(json!({"a": {"$regex": pattern}}));
        assert!(filter.is_ok(), "{pattern}: {filter:?}");
    }
}
