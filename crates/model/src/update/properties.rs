//! What holds for every update of every object.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::Update;
use crate::query::value::same;
use crate::{ObjectType, Result};

type Object = Map<String, Value>;

fn apply(before: &Object, update: &Value) -> Result<Object> {
    Update::from_json(update, &ObjectType::custom("todos")?)?.apply(before)
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "0", "1"]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    vec(name(), 1..4).prop_map(|names| names.join("."))
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3..4_i64).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => select(vec![json!(0.5), json!(-1.0), json!(1e308), json!(-1e308), json!(1e-300)]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => number(),
        2 => select(vec!["", "a", "b"]).prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 12, 4, |deeper| {
        prop_oneof![
            2 => vec(deeper.clone(), 0..4).prop_map(Value::Array),
            1 => btree_map(name(), deeper, 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn object() -> impl Strategy<Value = Object> {
    btree_map(name(), value(), 0..5).prop_map(|members| members.into_iter().collect())
}

fn operand(operator: &'static str) -> proptest::strategy::BoxedStrategy<Value> {
    match operator {
        "$inc" | "$mul" => number().boxed(),
        "$min" | "$max" => prop_oneof![number(), Just(json!("a"))].boxed(),
        "$pullAll" => vec(value(), 0..3).prop_map(Value::Array).boxed(),
        "$push" | "$addToSet" => prop_oneof![
            value(),
            vec(value(), 0..3).prop_map(|values| json!({"$each": values}))
        ]
        .boxed(),
        "$rename" => path().prop_map(Value::from).boxed(),
        "$pop" => select(vec![json!(-1), json!(1), json!("x")]).boxed(),
        "$pull" => {
            prop_oneof![value(), number().prop_map(|number| json!({"$gte": number}))].boxed()
        }
        _ => value().boxed(),
    }
}

fn update() -> impl Strategy<Value = Value> {
    let operators: Vec<&'static str> = super::OPERATORS.split(' ').collect();
    let change = (select(operators), path()).prop_flat_map(|(operator, path)| {
        operand(operator).prop_map(move |operand| (operator, path.clone(), operand))
    });
    vec(change, 1..4).prop_map(|changes| {
        let mut update = json!({});
        for (operator, path, operand) in changes {
            update[operator][path] = operand;
        }
        update
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Whatever comes out can be stored, and what no operator names is as it was.
    #[test]
    fn an_update_touches_only_what_it_names(before in object(), update in update()) {
        let Ok(after) = apply(&before, &update) else { return Ok(()); };
        let named: Vec<&str> = update.as_object().unwrap().iter()
            .flat_map(|(operator, members)| members.as_object().unwrap().iter()
                .flat_map(move |(path, operand)| {
                    let target = operand.as_str().filter(|_| operator == "$rename");
                    std::iter::once(path.as_str()).chain(target)
                }))
            .map(|path| path.split('.').next().unwrap())
            .collect();
        for (name, value) in &before {
            prop_assert!(named.contains(&name.as_str()) || after.get(name) == Some(value), "{name}");
        }
        for name in after.keys() {
            prop_assert!(named.contains(&name.as_str()) || before.contains_key(name), "{name}");
        }
        prop_assert!(crate::Properties::from_json(Value::Object(after)).is_ok());
    }

    /// Operators that do not conflict can come in any order, together or one after the other.
    #[test]
    fn the_order_of_operators_does_not_matter(before in object(), update in update()) {
        let Ok(together) = apply(&before, &update) else { return Ok(()); };
        let parts: Vec<Value> = update.as_object().unwrap().iter()
            .map(|(operator, members)| json!({ operator: members }))
            .collect();
        for parts in [parts.clone(), parts.into_iter().rev().collect()] {
            let one_by_one = parts.iter().try_fold(before.clone(), |object, part| apply(&object, part));
            // An array may be made by one part, so that another meets it where both together would not have to.
            if let Ok(one_by_one) = one_by_one {
                prop_assert_eq!(Value::Object(one_by_one), Value::Object(together.clone()));
            }
        }
    }

    #[test]
    fn what_is_set_is_there_and_setting_it_again_changes_nothing(before in object(), path in path(), value in value()) {
        let update = json!({"$set": {path.clone(): value.clone()}});
        let Ok(after) = apply(&before, &update) else { return Ok(()); };
        let pointer = format!("/{}", path.replace('.', "/"));
        let stored = Value::Object(after.clone());
        prop_assert_eq!(stored.pointer(&pointer), Some(&value));
        prop_assert_eq!(apply(&after, &update).unwrap(), after);
    }

    #[test]
    fn whole_numbers_add_up_exactly(start: i64, first: i64, second: i64) {
        let before = json!({"n": start}).as_object().unwrap().clone();
        let one = apply(&before, &json!({"$inc": {"n": first}}))
            .and_then(|object| apply(&object, &json!({"$inc": {"n": second}})));
        let sum = i128::from(start) + i128::from(first);
        let total = sum + i128::from(second);
        let fits = |sum: i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&sum);
        match one {
            Ok(after) => prop_assert_eq!(after["n"].to_string(), total.to_string()),
            Err(_) => prop_assert!(!fits(sum) || !fits(total)),
        }
    }

    #[test]
    fn what_is_pushed_can_be_popped(items in vec(value(), 0..5), value in value()) {
        let before = json!({"a": items}).as_object().unwrap().clone();
        let after = apply(&before, &json!({"$push": {"a": {"$each": [value]}}})).unwrap();
        prop_assert_eq!(after["a"].as_array().unwrap().len(), items.len() + 1);
        prop_assert_eq!(apply(&after, &json!({"$pop": {"a": 1}})).unwrap(), before);
    }

    #[test]
    fn a_set_holds_a_value_once_and_a_pulled_value_is_gone(items in vec(value(), 0..5), value in value()) {
        let before = json!({"a": items}).as_object().unwrap().clone();
        let add = json!({"$addToSet": {"a": {"$each": [value, value]}}});
        let after = apply(&before, &add).unwrap();
        prop_assert_eq!(&apply(&after, &add).unwrap(), &after);
        prop_assert!(after["a"].as_array().unwrap().starts_with(&items));
        let pulled = apply(&after, &json!({"$pullAll": {"a": [value]}})).unwrap();
        let rest: Vec<Value> = items.iter().filter(|item| !same(item, &value)).cloned().collect();
        prop_assert_eq!(&pulled["a"], &Value::Array(rest));
    }

    #[test]
    fn the_least_and_the_greatest_stay(left in number(), right in number()) {
        let before = json!({"n": left}).as_object().unwrap().clone();
        let low = apply(&before, &json!({"$min": {"n": right}})).unwrap();
        let high = apply(&before, &json!({"$max": {"n": right}})).unwrap();
        let order = |left: &Value, right: &Value| match (left, right) {
            (Value::Number(left), Value::Number(right)) => crate::query::value::compare_numbers(left, right),
            _ => panic!("both are numbers"),
        };
        for value in [&left, &right] {
            prop_assert!(order(&low["n"], value).is_le());
            prop_assert!(order(&high["n"], value).is_ge());
        }
    }

    #[test]
    fn a_renamed_property_comes_back(before in object(), value in value()) {
        let mut before = before;
        before.insert("a".into(), value);
        before.shift_remove("new");
        let after = apply(&before, &json!({"$rename": {"a": "new"}})).unwrap();
        prop_assert!(!after.contains_key("a"));
        let back = apply(&after, &json!({"$rename": {"new": "a"}})).unwrap();
        prop_assert_eq!(Value::Object(back), Value::Object(before));
    }
}
