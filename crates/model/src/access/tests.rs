//! Bodies that nobody would send: they are read or refused in a few words, and what is read means the same however
//! it is written.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{AccessChange, AccessList, Asker, Permission, Readers};
use crate::{Kind, ObjectId};

const IDS: [&str; 8] = [
    "*",
    "creator",
    "authenticated",
    "",
    "made-up",
    "51cdbc08989e975ec300772a",
    "a.b",
    "\u{0}",
];
const TYPES: [&str; 6] = ["users", "usergroups", "aclSubject", "files", "", "users\n"];
const KEYS: [&str; 7] = [
    "read",
    "update",
    "delete",
    "admin",
    "id",
    "objectType",
    "Read",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&IDS[..]).prop_map(Value::from),
    ];
    let reference = (select(&IDS[..]), select(&TYPES[..]))
        .prop_map(|(id, object_type)| json!({"id": id, "objectType": object_type, "more": 1}));
    let proper = select(&IDS[1..6]).prop_map(|id| json!({"id": id, "objectType": "users"}));
    let subject = prop_oneof![1 => leaf, 2 => reference, 6 => proper];
    let list = prop_oneof![1 => subject.clone(), 6 => vec(subject, 0..4).prop_map(Value::Array)];
    vec((select(&KEYS[..]), list), 0..5).prop_map(|members| {
        let members = members
            .into_iter()
            .map(|(key, list)| (key.to_owned(), list));
        Value::Object(Map::from_iter(members))
    })
}

fn askers() -> [Asker; 3] {
    let id: ObjectId = "51cdbc08989e975ec300772a".parse().unwrap();
    let user = Asker::User {
        id,
        groups: vec![id],
    };
    [Asker::Admin, Asker::Anonymous, user]
}

proptest! {
    #[test]
    fn any_body_is_a_list_or_a_short_refusal(body in value()) {
        match AccessList::from_json(&body) {
            Ok(list) => {
                prop_assert_eq!(&AccessList::from_json(&list.to_json()).unwrap(), &list);
                prop_assert_eq!(&AccessList::from_text(&list.to_text()).unwrap(), &list);
                let readers = Readers::of(&list);
                prop_assert_eq!(&Readers::from_text(&readers.to_text()).unwrap(), &readers);
                for asker in askers() {
                    let may_read = list.allows(Permission::Read, &asker);
                    prop_assert_eq!(readers.includes(&asker), may_read);
                }
            }
            Err(error) => {
                prop_assert_eq!(error.kind, Kind::BadRequest);
                prop_assert!(error.message.len() < 300, "{}", error.message);
            }
        }
    }

    #[test]
    fn what_is_added_and_withdrawn_again_is_gone(before in value(), other in value()) {
        let lists = (AccessList::from_json(&before), AccessList::from_json(&other));
        let (Ok(before), Ok(other)) = lists else { return Ok(()) };
        let added = before.clone().changed_by(AccessChange::Add(other.clone())).unwrap();
        let after = added.changed_by(AccessChange::Withdraw(other.clone())).unwrap();
        prop_assert_eq!(after, before.changed_by(AccessChange::Withdraw(other)).unwrap());
    }
}
