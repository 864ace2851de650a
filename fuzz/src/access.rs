//! Access lists: reading a body neither panics nor lets through what no list may hold, and a list that is written in
//! either of its forms reads as the same.

use pilvi_model::AccessList;
use pilvi_model::Permission;
use serde_json::{Value, json};

use crate::Random;

/// So many subjects one permission may have.
const SUBJECTS_MAX: usize = 1000;

/// The promises about any JSON.
pub fn check(input: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let Ok(list) = AccessList::from_json(&body) else {
        return;
    };
    let shown = list.to_json();
    for permission in Permission::ALL {
        let subjects = shown[permission.as_str()].as_array();
        let subjects = subjects.expect("all four lists are always shown");
        assert!(subjects.len() <= SUBJECTS_MAX);
        for subject in subjects {
            assert!(subject["id"].is_string() && subject["objectType"].is_string());
            let creator = json!({"id": "creator", "objectType": "aclSubject"});
            assert_ne!(*subject, creator, "that is for templates");
        }
    }
    assert_eq!(AccessList::from_json(&shown).ok().as_ref(), Some(&list));
    let text = list.to_text();
    assert_eq!(
        AccessList::from_text(&text).ok().as_ref(),
        Some(&list),
        "{text}"
    );
}

/// A body that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    const IDS: [&str; 6] = [
        "*",
        "creator",
        "authenticated",
        "51cdbc08989e975ec300772a",
        "INVALID_ID",
        "",
    ];
    const TYPES: [&str; 5] = ["aclSubject", "users", "usergroups", "objects.todos", ""];
    const KEYS: [&str; 6] = ["read", "update", "delete", "admin", "id", "objectType"];
    let mut body = json!({});
    for _ in 0..random.below(5) {
        let mut subjects = Vec::new();
        for _ in 0..random.below(4) {
            subjects.push(json!({"id": *random.pick(&IDS), "objectType": *random.pick(&TYPES)}));
        }
        body[*random.pick(&KEYS)] = match random.below(8) {
            0 => Value::Null,
            1 => json!("*"),
            _ => subjects.into(),
        };
    }
    body.to_string().into_bytes()
}
