//! What each operator does, and every refusal.

use serde_json::json;

use super::*;
use crate::Kind;

fn todos() -> ObjectType {
    ObjectType::custom("todos").unwrap()
}

fn attempt(before: &Value, update: &Value) -> Result<Value> {
    let update = Update::from_json(update, &todos())?;
    update.apply(before.as_object().unwrap()).map(Value::Object)
}

#[track_caller]
fn check(before: &Value, update: &Value, after: &Value) {
    let result = attempt(before, update).unwrap_or_else(|error| panic!("{update}: {error}"));
    assert_eq!(
        result.to_string(),
        after.to_string(),
        "{update} on {before}"
    );
}

#[test]
fn the_operators_seen_in_the_wild() {
    check(
        &json!({}),
        &json!({"$push": {"List": "x"}}),
        &json!({"List": ["x"]}),
    );
    check(
        &json!({"List": ["x", "y", "x"]}),
        &json!({"$pull": {"List": "x"}}),
        &json!({"List": ["y"]}),
    );
    check(
        &json!({"forms": [1, 2]}),
        &json!({"$pop": {"forms": "some text"}}),
        &json!({"forms": [1]}),
    );
    check(
        &json!({"balance": 5}),
        &json!({"$inc": {"balance": -7}}),
        &json!({"balance": -2}),
    );
}

#[test]
fn numbers_keep_their_kind() {
    let cases = [
        (json!(5), "$inc", json!(2), "7"),
        (json!(5), "$inc", json!(2.0), "7.0"),
        (json!(5.5), "$inc", json!(2), "7.5"),
        (json!(null), "$inc", json!(2), "2"),
        (json!(null), "$inc", json!(2.0), "2.0"),
        (json!(i64::MAX), "$inc", json!(1), "9223372036854775808"),
        (json!(u64::MAX), "$inc", json!(-1), "18446744073709551614"),
        (
            json!(9_007_199_254_740_993_i64),
            "$inc",
            json!(1),
            "9007199254740994",
        ),
        (json!(3), "$mul", json!(-2), "-6"),
        (json!(3), "$mul", json!(0.5), "1.5"),
        (json!(null), "$mul", json!(7), "0"),
        (json!(null), "$mul", json!(7.5), "0.0"),
        (json!(5), "$min", json!(5.0), "5"),
        (json!(5), "$min", json!(4.5), "4.5"),
        (json!(5), "$max", json!(4.5), "5"),
        (json!(5), "$max", json!(6), "6"),
        (json!(null), "$max", json!(-6), "-6"),
    ];
    for (stored, operator, operand, expected) in cases {
        let update = json!({ operator: {"n": operand} });
        let after = attempt(&json!({ "n": stored }), &update).unwrap();
        assert_eq!(after["n"].to_string(), expected, "{update} on {stored}");
    }
}

#[test]
fn texts_and_times_are_ordered_too() {
    check(
        &json!({"t": "b"}),
        &json!({"$min": {"t": "a"}}),
        &json!({"t": "a"}),
    );
    check(
        &json!({"t": "2013-06-28T16:38:32.369Z"}),
        &json!({"$max": {"t": {"$type": "time", "$value": "2014-01-01"}}}),
        &json!({"t": "2014-01-01T00:00:00.000Z"}),
    );
}

#[test]
fn values_are_set_and_unset_where_the_path_leads() {
    check(
        &json!({}),
        &json!({"$set": {"a.b.0": 1}}),
        &json!({"a": {"b": {"0": 1}}}),
    );
    check(
        &json!({"a": null}),
        &json!({"$set": {"a.b": 1}}),
        &json!({"a": {"b": 1}}),
    );
    check(
        &json!({"a": [1, {"b": 2}]}),
        &json!({"$set": {"a.1.b": 3}}),
        &json!({"a": [1, {"b": 3}]}),
    );
    check(
        &json!({"a": [1]}),
        &json!({"$set": {"a.3": 4}}),
        &json!({"a": [1, null, null, 4]}),
    );
    check(
        &json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2]}),
        &json!({"$unset": {"a": "", "b.c": 1, "e.0": true, "x.y": 1, "b.z": 1, "e.7": 1}}),
        &json!({"b": {"d": 3}, "e": [null, 2]}),
    );
    check(
        &json!({}),
        &json!({"$set": {"where": {"$type": "geoloc", "$value": [1, 2]}}}),
        &json!({"where": [1, 2]}),
    );
}

#[test]
fn arrays_grow_and_shrink() {
    check(
        &json!({"a": null}),
        &json!({"$push": {"a": {"$each": [1, [2]]}}}),
        &json!({"a": [1, [2]]}),
    );
    check(
        &json!({"a": [0]}),
        &json!({"$push": {"a": [1, 2]}}),
        &json!({"a": [0, [1, 2]]}),
    );
    check(
        &json!({"a": [1, {"x": 1, "y": 2}]}),
        &json!({"$addToSet": {"a": {"$each": [1.0, {"y": 2, "x": 1}, 2, 2]}}}),
        &json!({"a": [1, {"x": 1, "y": 2}, 2]}),
    );
    check(
        &json!({"a": [1, 2, 1.0, "1"]}),
        &json!({"$pullAll": {"a": [1, 3]}}),
        &json!({"a": [2, "1"]}),
    );
    check(
        &json!({"a": [1, 5, 9, "x"]}),
        &json!({"$pull": {"a": {"$gte": 5}}}),
        &json!({"a": [1, "x"]}),
    );
    check(
        &json!({"a": [{"n": 1, "m": 1}, {"n": 2}, 1]}),
        &json!({"$pull": {"a": {"n": {"$lt": 2}}}}),
        &json!({"a": [{"n": 2}, 1]}),
    );
    check(
        &json!({"a": [1, 2, 3]}),
        &json!({"$pop": {"a": -1}}),
        &json!({"a": [2, 3]}),
    );
    check(
        &json!({"a": [1, 2, 3]}),
        &json!({"$pop": {"a": 1}}),
        &json!({"a": [1, 2]}),
    );
    check(
        &json!({"a": []}),
        &json!({"$pop": {"a": -1}, "$pull": {"b": 1}}),
        &json!({"a": []}),
    );
    check(
        &json!({"a": null}),
        &json!({"$pop": {"a": 1}}),
        &json!({"a": null}),
    );
}

#[test]
fn a_reference_is_in_a_set_once() {
    let reference = json!({"id": "51cdbc08989e975ec300772a", "objectType": "objects.todos"});
    let before = json!({ "a": [reference] });
    let sent = json!({"$type": "ref", "$value": reference});
    check(&before, &json!({"$addToSet": {"a": sent}}), &before);
    check(&before, &json!({"$pull": {"a": sent}}), &json!({"a": []}));
    check(
        &before,
        &json!({"$pull": {"a": reference}}),
        &json!({"a": []}),
    );
}

#[test]
fn a_property_moves_with_its_value() {
    check(
        &json!({"a": null, "b": 1}),
        &json!({"$rename": {"a": "c.d"}}),
        &json!({"b": 1, "c": {"d": null}}),
    );
    check(
        &json!({"a": 1, "b": 2}),
        &json!({"$rename": {"a": "b"}}),
        &json!({"b": 1}),
    );
    check(
        &json!({"b": 2}),
        &json!({"$rename": {"a": "b"}}),
        &json!({"b": 2}),
    );
}

#[test]
fn several_operators_are_one_change() {
    let before = json!({"n": 1, "a": [1]});
    check(
        &before,
        &json!({"$inc": {"n": 1, "m": 1}, "$push": {"a": 2}, "$unset": {"x": 1}}),
        &json!({"n": 2, "a": [1, 2], "m": 1}),
    );
    let error = attempt(
        &before,
        &json!({"$inc": {"n": 1}, "$push": {"n2": 1}, "$mul": {"a": 2}}),
    )
    .unwrap_err();
    assert_eq!(error.fields[0].property, "a");
}

#[test]
fn what_is_no_update_is_refused() {
    let many: Value = (0..=CHANGES_MAX)
        .map(|n| (format!("p{n}"), json!(1)))
        .collect();
    let long = json!(vec![1; VALUES_MAX + 1]);
    let deep = (0..40).fold(json!(1), |inner, _| json!({"a": inner}));
    let cases = [
        (json!([]), "the body must be an object of operators"),
        (json!({}), "the body must be an object of operators"),
        (json!({"$set": {}}), "the operators name no property"),
        (
            json!({"title": "x"}),
            "`title` is not an operator; to set it",
        ),
        (
            json!({"$inc": {"a": 1}, "title": "x"}),
            "`title` is not an operator; to set it",
        ),
        (
            json!({"$where": {"a": 1}}),
            "`$where` is not an operator; there are $inc",
        ),
        (
            json!({"$setOnInsert": {"a": 1}}),
            "`$setOnInsert` is not an operator",
        ),
        (json!({"$inc": 1}), "`$inc` needs an object of properties"),
        (json!({"$inc": {"a": "1"}}), "`$inc` needs a number for `a`"),
        (
            json!({"$mul": {"a": null}}),
            "`$mul` needs a number for `a`",
        ),
        (json!({"$min": {"a": []}}), "`$min` compares with a number"),
        (
            json!({"$max": {"a": true}}),
            "`$max` compares with a number",
        ),
        (json!({"$pullAll": {"a": 1}}), "`$pullAll` needs an array"),
        (
            json!({"$push": {"a": {"$each": 1}}}),
            "`$each` needs an array",
        ),
        (
            json!({"$push": {"a": {"$each": [1], "$slice": 1}}}),
            "`$slice` is not supported",
        ),
        (json!({"$rename": {"a": 1}}), "`$rename` needs the new name"),
        (
            json!({"$pull": {"a": {"$foo": 1}}}),
            "`$foo` is not an operator",
        ),
        (json!({"$pull": {"a": {"b": deep}}}), "q nests deeper"),
        (json!({"$set": {"": 1}}), "`` is no property to change"),
        (
            json!({"$set": {"a..b": 1}}),
            "`a..b` is no property to change",
        ),
        (json!({"$set": {"$a": 1}}), "`$a` is no property to change"),
        (json!({"$set": {"a\0": 1}}), "is no property to change"),
        (json!({"$set": {"a.$": 1}}), "`a.$` names an element by $"),
        (json!({"$set": {"a.$[].b": 1}}), "names an element by $"),
        (
            json!({"$rename": {"a": "b..c"}}),
            "`b..c` is no property to change",
        ),
        (
            json!({"$set": {"a": 1}, "$inc": {"a": 1}}),
            "`a` and `a` change the same property",
        ),
        (
            json!({"$set": {"a.b": 1, "a": 1}}),
            "`a` and `a.b` change the same property",
        ),
        (
            json!({"$set": {"a.b.c": 1, "a-b": 1}, "$pop": {"a": 1}}),
            "`a` and `a.b.c` change",
        ),
        (
            json!({"$rename": {"a": "a"}}),
            "`a` and `a` change the same property",
        ),
        (
            json!({"$rename": {"a": "b"}, "$set": {"b.c": 1}}),
            "`b` and `b.c` change the same",
        ),
        (
            json!({ "$inc": many }),
            "an update makes at most 100 changes",
        ),
        (
            json!({ "$pullAll": {"a": long} }),
            "the lists of an update hold at most 1000",
        ),
    ];
    for (update, expected) in cases {
        let error = Update::from_json(&update, &todos()).expect_err(&update.to_string());
        assert_eq!(error.kind, Kind::BadRequest, "{update}");
        assert!(error.message.contains(expected), "{update}: {error}");
    }
}

#[test]
fn what_is_not_the_callers_is_refused_by_name() {
    for name in SYSTEM_PROPERTIES {
        for update in [
            json!({"$set": {name: 1}}),
            json!({"$unset": {format!("{name}.x"): 1}}),
            json!({"$rename": {name: "mine"}}),
            json!({"$rename": {"mine": name}}),
        ] {
            let error = Update::from_json(&update, &todos()).expect_err(&update.to_string());
            assert_eq!(error.fields[0].property, name, "{update}");
        }
    }
    let users: ObjectType = "users".parse().unwrap();
    let update = json!({"$set": {"password": "x"}});
    assert_eq!(
        Update::from_json(&update, &users).unwrap_err().fields[0].property,
        "password"
    );
    assert!(
        Update::from_json(&update, &todos()).is_ok(),
        "there it is plain data"
    );
}

#[test]
fn what_cannot_be_done_to_the_stored_value_names_the_property() {
    let before = json!({"text": "x", "list": [1], "n": i64::MAX, "u": u64::MAX, "r": 1e308, "low": i64::MIN});
    let cases = [
        (json!({"$inc": {"text": 1}}), "text", "is not a number"),
        (json!({"$mul": {"list": 1}}), "list", "is not a number"),
        (json!({"$inc": {"u": 1}}), "u", "does not fit"),
        (json!({"$inc": {"low": -1}}), "low", "does not fit"),
        (json!({"$mul": {"u": u64::MAX}}), "u", "does not fit"),
        (json!({"$mul": {"n": -2}}), "n", "does not fit"),
        (json!({"$mul": {"r": 10}}), "r", "does not fit"),
        (json!({"$min": {"text": 1}}), "text", "of another type"),
        (json!({"$max": {"list": 1}}), "list", "of another type"),
        (json!({"$push": {"text": 1}}), "text", "is not an array"),
        (json!({"$pull": {"n": 1}}), "n", "is not an array"),
        (json!({"$pop": {"text": 1}}), "text", "is not an array"),
        (json!({"$set": {"text.a": 1}}), "text.a", "is no object"),
        (json!({"$set": {"list.a": 1}}), "list.a", "behind an array"),
        (
            json!({"$set": {"list.1002": 1}}),
            "list.1002",
            "beyond the end",
        ),
        (
            json!({"$set": {"list.99999999999999999999": 1}}),
            "list.99999999999999999999",
            "behind an array",
        ),
        (
            json!({"$rename": {"list.0": "a"}}),
            "list.0",
            "an array on the way",
        ),
        (
            json!({"$rename": {"n": "list.5"}}),
            "list.5",
            "an array on the way",
        ),
        (json!({"$set": {"a": "\0"}}), "a", "NUL"),
        (
            json!({"$set": {"a": {"$type": "time", "$value": "soon"}}}),
            "a",
            "is no time",
        ),
    ];
    for (update, property, expected) in cases {
        let error = attempt(&before, &update).expect_err(&update.to_string());
        assert_eq!(error.kind, Kind::Invalid, "{update}");
        assert_eq!(error.fields[0].property, property, "{update}");
        assert!(
            error.fields[0].message.contains(expected),
            "{update}: {error}"
        );
    }
}

#[test]
fn the_result_is_bounded() {
    let large = json!({"a": ["x".repeat(RESULT_BYTES_MAX)]});
    let error = attempt(&large, &json!({"$push": {"a": 1}})).unwrap_err();
    assert_eq!(error.kind, Kind::TooLarge);
    assert!(
        attempt(&large, &json!({"$set": {"a.0": 1}})).is_ok(),
        "it may shrink"
    );

    let deep = (1..crate::object::DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
    assert!(attempt(&json!({}), &json!({"$set": {"a": deep}})).is_ok());
    let error = attempt(&json!({}), &json!({"$set": {"a.b": deep}})).unwrap_err();
    assert!(error.message.contains("nests deeper"), "{error}");

    let long = json!({"a": (0..20_000).collect::<Vec<_>>()});
    let wanted: Vec<i32> = (0..1000).collect();
    for update in [
        json!({"$pullAll": {"a": wanted}}),
        json!({"$addToSet": {"a": {"$each": wanted}}}),
    ] {
        let error = attempt(&long, &update).unwrap_err();
        assert!(error.message.contains("too many elements"), "{error}");
    }
}
