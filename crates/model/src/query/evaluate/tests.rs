//! Every operator against missing, `null`, scalars, arrays and objects.

use serde_json::json;

use super::*;

/// Checks a filter against documents that it must let pass and documents that it must not.
#[track_caller]
fn check(filter: &Value, passing: &[Value], failing: &[Value]) {
    let parsed = Filter::from_json(filter.clone()).unwrap();
    for document in passing {
        assert!(parsed.matches(document), "{filter} refuses {document}");
    }
    for document in failing {
        assert!(!parsed.matches(document), "{filter} lets pass {document}");
    }
}

#[test]
fn equality_with_a_scalar() {
    check(
        &json!({"a": 5}),
        &[json!({"a": 5}), json!({"a": 5.0}), json!({"a": [1, 5]})],
        &[
            json!({}),
            json!({"a": null}),
            json!({"a": 6}),
            json!({"a": "5"}),
            json!({"a": true}),
            json!({"a": [[5]]}),
            json!({"a": {"a": 5}}),
        ],
    );
    check(
        &json!({"a": true}),
        &[json!({"a": true}), json!({"a": [true]})],
        &[json!({"a": 1}), json!({"a": "true"}), json!({"a": false})],
    );
    check(
        &json!({"a": {"$eq": ""}}),
        &[json!({"a": ""})],
        &[json!({"a": null}), json!({"a": 0}), json!({})],
    );
    check(
        &json!({"a": 9_007_199_254_740_993_i64}),
        &[json!({"a": 9_007_199_254_740_993_i64})],
        &[
            json!({"a": 9_007_199_254_740_992_i64}),
            json!({"a": 9_007_199_254_740_992.0}),
        ],
    );
}

#[test]
fn equality_with_null_means_null_or_missing() {
    check(
        &json!({"a": null}),
        &[json!({}), json!({"a": null}), json!({"a": [1, null]})],
        &[
            json!({"a": 0}),
            json!({"a": ""}),
            json!({"a": false}),
            json!({"a": []}),
            json!({"a": {}}),
        ],
    );
    check(
        &json!({"a.b": null}),
        &[
            json!({}),
            json!({"a": 5}),
            json!({"a": null}),
            json!({"a": {}}),
            json!({"a": {"b": null}}),
            json!({"a": {"b": [null]}}),
            json!({"a": [{"b": 1}, {"c": 1}]}),
            json!({"a": [{"b": null}]}),
        ],
        &[
            json!({"a": {"b": 1}}),
            json!({"a": []}),
            json!({"a": [1, "x"]}),
            json!({"a": [{"b": 1}]}),
        ],
    );
    check(
        &json!({"a": {"$ne": null}}),
        &[json!({"a": 0}), json!({"a": []})],
        &[json!({}), json!({"a": null}), json!({"a": [null]})],
    );
}

#[test]
fn equality_with_arrays_and_objects() {
    check(
        &json!({"a": [1, 2]}),
        &[
            json!({"a": [1, 2]}),
            json!({"a": [1.0, 2]}),
            json!({"a": [[1, 2], 3]}),
        ],
        &[
            json!({"a": [2, 1]}),
            json!({"a": [1, 2, 3]}),
            json!({"a": 1}),
            json!({"a": [[[1, 2]]]}),
        ],
    );
    check(
        &json!({"a": []}),
        &[json!({"a": []}), json!({"a": [[]]})],
        &[json!({}), json!({"a": [1]})],
    );
    check(
        &json!({"a": {"x": 1, "y": {"z": 2}}}),
        &[
            json!({"a": {"y": {"z": 2}, "x": 1}}),
            json!({"a": [{"x": 1, "y": {"z": 2}}]}),
        ],
        &[
            json!({"a": {"x": 1}}),
            json!({"a": {"x": 1, "y": {"z": 2, "w": 3}}}),
        ],
    );
    check(
        &json!({"a": {}}),
        &[json!({"a": {}}), json!({"a": [{}]})],
        &[json!({}), json!({"a": []}), json!({"a": {"x": 1}})],
    );
}

#[test]
fn equality_with_a_reference() {
    let id = "51cdbc08989e975ec300772a";
    check(
        &json!({"todoList": {"objectType": "objects.todoLists", "id": id, "title": "sent along"}}),
        &[
            json!({"todoList": {"id": id, "objectType": "objects.todoLists"}}),
            json!({"todoList": {"objectType": "objects.todoLists", "more": 1, "id": id}}),
            json!({"todoList": [1, {"id": id, "objectType": "objects.todoLists"}]}),
        ],
        &[
            json!({}),
            json!({"todoList": id}),
            json!({"todoList": {"id": id}}),
            json!({"todoList": {"id": id, "objectType": "objects.others"}}),
        ],
    );
}

#[test]
fn inequality_looks_at_all_places() {
    check(
        &json!({"a": {"$ne": 5}}),
        &[
            json!({}),
            json!({"a": null}),
            json!({"a": 6}),
            json!({"a": "5"}),
            json!({"a": [1, 2]}),
            json!({"a": []}),
        ],
        &[json!({"a": 5}), json!({"a": 5.0}), json!({"a": [5, 6]})],
    );
    check(
        &json!({"a.b": {"$ne": 5}}),
        &[json!({}), json!({"a": [{"b": 6}]})],
        &[json!({"a": [{"b": 6}, {"b": 5}]})],
    );
    check(
        &json!({"a": {"$nin": [5, null]}}),
        &[json!({"a": 6}), json!({"a": []})],
        &[
            json!({"a": 5}),
            json!({}),
            json!({"a": null}),
            json!({"a": [5]}),
        ],
    );
    check(
        &json!({"a": {"$nin": []}}),
        &[json!({}), json!({"a": 1})],
        &[],
    );
}

#[test]
fn order_stays_within_a_type() {
    check(
        &json!({"a": {"$gt": 5}}),
        &[
            json!({"a": 6}),
            json!({"a": 5.1}),
            json!({"a": 1e300}),
            json!({"a": [1, 6]}),
            json!({"a": u64::MAX}),
        ],
        &[
            json!({}),
            json!({"a": null}),
            json!({"a": 5}),
            json!({"a": "6"}),
            json!({"a": true}),
            json!({"a": [[6]]}),
            json!({"a": {}}),
        ],
    );
    check(
        &json!({"a": {"$lt": 5}}),
        &[json!({"a": 4}), json!({"a": -1e300})],
        &[
            json!({}),
            json!({"a": null}),
            json!({"a": false}),
            json!({"a": 5.0}),
            json!({"a": ""}),
        ],
    );
    check(
        &json!({"a": {"$lte": 9_007_199_254_740_992.0}}),
        &[json!({"a": 9_007_199_254_740_992_i64})],
        &[json!({"a": 9_007_199_254_740_993_i64})],
    );
    check(
        &json!({"a": {"$gte": "b"}}),
        &[
            json!({"a": "b"}),
            json!({"a": "ba"}),
            json!({"a": "é"}),
            json!({"a": ["a", "c"]}),
        ],
        &[
            json!({"a": "a"}),
            json!({"a": "B"}),
            json!({"a": ""}),
            json!({"a": 1}),
            json!({"a": []}),
        ],
    );
    check(
        &json!({"a": {"$gt": "\u{ffff}"}}),
        &[json!({"a": "\u{10000}"})],
        &[json!({"a": "\u{fffe}"})],
    );
    check(
        &json!({"a": {"$gt": false}}),
        &[json!({"a": true})],
        &[json!({"a": false}), json!({"a": 1}), json!({})],
    );
    check(
        &json!({"a": {"$lte": true}}),
        &[json!({"a": true}), json!({"a": false})],
        &[json!({"a": 0}), json!({})],
    );
    check(
        &json!({"a": {"$gte": null}}),
        &[json!({}), json!({"a": null})],
        &[json!({"a": 0})],
    );
    check(
        &json!({"a": {"$lt": null}}),
        &[],
        &[json!({}), json!({"a": null}), json!({"a": 0})],
    );
}

#[test]
fn each_operator_may_find_another_element() {
    check(
        &json!({"a": {"$gt": 3, "$lt": 5}}),
        &[json!({"a": 4}), json!({"a": [1, 9]})],
        &[json!({"a": [1, 2]}), json!({"a": 6})],
    );
    check(
        &json!({"a": {"$elemMatch": {"$gt": 3, "$lt": 5}}}),
        &[json!({"a": [1, 4, 9]})],
        &[
            json!({"a": 4}),
            json!({"a": [1, 9]}),
            json!({"a": [[4]]}),
            json!({"a": []}),
            json!({}),
        ],
    );
}

#[test]
fn membership() {
    check(
        &json!({"a": {"$in": [1, "x", null, [7]]}}),
        &[
            json!({"a": 1.0}),
            json!({"a": "x"}),
            json!({}),
            json!({"a": null}),
            json!({"a": [7]}),
            json!({"a": [0, "x"]}),
            json!({"a": [[7]]}),
        ],
        &[
            json!({"a": 2}),
            json!({"a": "1"}),
            json!({"a": 7}),
            json!({"a": []}),
        ],
    );
    check(
        &json!({"a": {"$in": []}}),
        &[],
        &[json!({}), json!({"a": []})],
    );
}

#[test]
fn all_of_several_values() {
    check(
        &json!({"a": {"$all": [1, "x"]}}),
        &[json!({"a": ["x", 2, 1]})],
        &[json!({"a": [1]}), json!({"a": 1}), json!({})],
    );
    check(
        &json!({"a": {"$all": [1]}}),
        &[json!({"a": 1}), json!({"a": [1]})],
        &[json!({"a": 2})],
    );
    check(
        &json!({"a": {"$all": []}}),
        &[],
        &[json!({}), json!({"a": []}), json!({"a": 1})],
    );
    check(
        &json!({"a": {"$all": [{"$elemMatch": {"b": 1, "c": 1}}, {"$elemMatch": {"b": 2}}]}}),
        &[json!({"a": [{"b": 1, "c": 1}, {"b": 2}]})],
        &[json!({"a": [{"b": 1}, {"b": 2, "c": 1}]})],
    );
}

#[test]
fn existence() {
    check(
        &json!({"a": {"$exists": true}}),
        &[json!({"a": null}), json!({"a": 0}), json!({"a": []})],
        &[json!({}), json!({"b": 1})],
    );
    check(
        &json!({"a": {"$exists": 0}}),
        &[json!({})],
        &[json!({"a": null})],
    );
    check(
        &json!({"a.b": {"$exists": true}}),
        &[json!({"a": {"b": null}}), json!({"a": [{}, {"b": 1}]})],
        &[
            json!({"a": 1}),
            json!({"a": []}),
            json!({"a": [{}]}),
            json!({"a": [[{"b": 1}]]}),
        ],
    );
    check(
        &json!({"a.1": {"$exists": true}}),
        &[json!({"a": [1, 2]}), json!({"a": {"1": 2}})],
        &[json!({"a": [1]})],
    );
}

#[test]
fn size_asks_the_array_itself() {
    check(
        &json!({"a": {"$size": 2}}),
        &[json!({"a": [1, 2]}), json!({"a": [[], []]})],
        &[
            json!({}),
            json!({"a": 2}),
            json!({"a": "xx"}),
            json!({"a": {"0": 1, "1": 2}}),
            json!({"a": [[1, 2]]}),
            json!({"a": []}),
        ],
    );
    check(
        &json!({"a": {"$size": 0.0}}),
        &[json!({"a": []})],
        &[json!({}), json!({"a": null})],
    );
    check(
        &json!({"a.b": {"$size": 1}}),
        &[json!({"a": [{"b": []}, {"b": [1]}]})],
        &[json!({"a": [1]})],
    );
}

#[test]
fn remainders_cut_to_whole_numbers() {
    check(
        &json!({"a": {"$mod": [4, 1]}}),
        &[
            json!({"a": 5}),
            json!({"a": 5.9}),
            json!({"a": [0, 1]}),
            json!({"a": u64::MAX - 2}),
        ],
        &[
            json!({"a": 4}),
            json!({"a": -5}),
            json!({"a": "5"}),
            json!({}),
            json!({"a": true}),
            json!({"a": 1e300}),
        ],
    );
    check(
        &json!({"a": {"$mod": [4, -1]}}),
        &[json!({"a": -5}), json!({"a": -5.5})],
        &[json!({"a": 5})],
    );
    check(
        &json!({"a": {"$mod": [-1, 0]}}),
        &[json!({"a": i64::MIN}), json!({"a": 0})],
        &[json!({})],
    );
}

#[test]
fn patterns_search_texts() {
    check(
        &json!({"a": {"$regex": "^b.r$", "$options": "i"}}),
        &[json!({"a": "Bar"}), json!({"a": [1, "bör"]})],
        &[
            json!({"a": "bars"}),
            json!({"a": "b\nr"}),
            json!({"a": 1}),
            json!({}),
            json!({"a": {"x": "bar"}}),
        ],
    );
    check(
        &json!({"a": {"$regex": "^b.$", "$options": "ms"}}),
        &[json!({"a": "a\nb\n"})],
        &[json!({"a": "abc"})],
    );
    check(
        &json!({"a": {"$regex": "a b # c", "$options": "x"}}),
        &[json!({"a": "ab"})],
        &[json!({"a": "a b"})],
    );
    check(
        &json!({"a": {"$not": {"$regex": "x"}}}),
        &[json!({"a": "y"}), json!({}), json!({"a": 1})],
        &[json!({"a": ["y", "x"]})],
    );
    check(
        &json!({"a": {"$regex": "^[\\w.+-]+@\\w+\\/?\\.\\w{2,6}$"}}),
        &[json!({"a": "ann.o@example.org"})],
        &[json!({"a": "ann"})],
    );
}

#[test]
fn elements_as_objects() {
    check(
        &json!({"a": {"$elemMatch": {"b": 1, "$or": [{"c": 1}, {"d": {"$gt": 1}}]}}}),
        &[
            json!({"a": [{"b": 1, "c": 1}]}),
            json!({"a": [0, {"b": [1], "d": 2}]}),
        ],
        &[
            json!({"a": {"b": 1, "c": 1}}),
            json!({"a": [{"b": 1}, {"c": 1}]}),
            json!({"a": [[{"b": 1, "c": 1}]]}),
        ],
    );
    check(
        &json!({"a": {"$elemMatch": {}}}),
        &[json!({"a": [{}]})],
        &[json!({"a": [1]}), json!({"a": []})],
    );
    check(
        &json!({"a": {"$elemMatch": {"$elemMatch": {"$ne": 1}}}}),
        &[json!({"a": [[1, 2]]})],
        &[json!({"a": [[1]]}), json!({"a": [2]})],
    );
    check(
        &json!({"a": {"$elemMatch": {"$exists": true, "$size": 1}}}),
        &[json!({"a": [[1]]})],
        &[json!({"a": [1]})],
    );
}

#[test]
fn negation_of_a_test() {
    check(
        &json!({"a": {"$not": {"$gt": 5, "$lt": 8}}}),
        &[
            json!({}),
            json!({"a": 5}),
            json!({"a": "x"}),
            json!({"a": []}),
        ],
        &[json!({"a": 6}), json!({"a": [9, 6]}), json!({"a": [1, 9]})],
    );
    check(
        &json!({"a": {"$not": {"$not": {"$eq": 1}}}}),
        &[json!({"a": 1})],
        &[json!({})],
    );
}

#[test]
fn conditions_combine() {
    check(&json!({}), &[json!({}), json!({"a": 1})], &[]);
    check(
        &json!({"a": 1, "b": 2}),
        &[json!({"a": 1, "b": 2})],
        &[json!({"a": 1}), json!({"b": 2})],
    );
    check(
        &json!({"$or": [{"a": 1}, {"b": 2, "c": 3}]}),
        &[json!({"a": 1}), json!({"b": 2, "c": 3})],
        &[json!({"b": 2})],
    );
    check(
        &json!({"$nor": [{"a": 1}, {"b": 2}]}),
        &[json!({}), json!({"a": 2})],
        &[json!({"a": 1}), json!({"b": 2})],
    );
    check(
        &json!({"$and": [{"a": {"$gt": 1}}, {"$or": [{"a": 2}, {"a": 3}]}], "a": {"$ne": 3}}),
        &[json!({"a": 2})],
        &[json!({"a": 3})],
    );
    check(&json!({"$or": [{}]}), &[json!({})], &[]);
}

#[test]
fn paths_lead_through_objects_arrays_and_places() {
    check(
        &json!({"a.b": 1}),
        &[json!({"a": {"b": 1}}), json!({"a": [{"b": 2}, {"b": [1]}]})],
        &[
            json!({"a.b": 1}),
            json!({"a": [[{"b": 1}]]}),
            json!({"a": 1}),
        ],
    );
    check(
        &json!({"a.0": 1}),
        &[
            json!({"a": [1]}),
            json!({"a": {"0": 1}}),
            json!({"a": [[1, 2]]}),
            json!({"a": [2, {"0": 1}]}),
        ],
        &[json!({"a": [2, 1]}), json!({"a": 1}), json!({"a": []})],
    );
    check(
        &json!({"a.0.b": 1}),
        &[json!({"a": [{"b": 1}]}), json!({"a": [[{"b": 1}]]})],
        &[json!({"a": [2, {"b": 1}]})],
    );
    check(
        &json!({"a.5": null}),
        &[json!({"a": {}}), json!({})],
        &[json!({"a": [1]})],
    );
    check(
        &json!({"a.b\"c\\d.é": 1}),
        &[json!({"a": {"b\"c\\d": {"é": 1}}})],
        &[json!({})],
    );
}

#[test]
fn typed_values_of_the_node_client_are_opened() {
    let time = "2013-06-28T16:38:32.369Z";
    let later = json!({"createdAt": "2013-06-28T16:38:32.370Z"});
    for value in [json!(time), json!(1_372_437_512_369_u64)] {
        check(
            &json!({"createdAt": {"$gt": {"$type": "time", "$value": value}}}),
            std::slice::from_ref(&later),
            &[json!({"createdAt": time})],
        );
    }
    let reference = json!({"id": "51cdbc08989e975ec300772a", "objectType": "users"});
    check(
        &json!({"creator": {"$type": "ref", "$value": reference}}),
        &[json!({"creator": reference})],
        &[json!({})],
    );
}
