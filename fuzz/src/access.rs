//! Access lists: reading a body neither panics nor lets through what no list may hold, a list that is written in either
//! of its forms reads as the same, and what is added to a list or withdrawn from it is then there or not.
//!
//! An input is a body; behind its first line feed may stand the list that the body changes.

use pilvi_model::{AccessChange, AccessList, Kind, Permission, Subject};
use serde_json::{Value, json};

use crate::Random;

/// So many subjects one permission may have.
const SUBJECTS_MAX: usize = 1000;

/// The promises about any JSON.
pub fn check(input: &[u8]) {
    let mut lists = input.splitn(2, |&byte| byte == b'\n').filter_map(read);
    let Some(list) = lists.next() else {
        return;
    };
    expect_whole(&list);
    expect_changed(&lists.next().unwrap_or_else(AccessList::open), &list);
}

/// A list, if that is what the bytes are.
fn read(input: &[u8]) -> Option<AccessList> {
    let body = serde_json::from_slice::<Value>(input).ok()?;
    let list = AccessList::from_json(&body);
    if let Err(error) = &list {
        assert_eq!(error.kind, Kind::BadRequest);
        assert!(error.message.len() <= 500, "{}", error.message);
    }
    list.ok()
}

fn expect_whole(list: &AccessList) {
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
    assert_eq!(AccessList::from_json(&shown).ok().as_ref(), Some(list));
    let text = list.to_text();
    assert_eq!(
        AccessList::from_text(&text).ok().as_ref(),
        Some(list),
        "{text}"
    );
}

/// PUT adds, DELETE withdraws, POST replaces; each twice is each once.
fn expect_changed(before: &AccessList, list: &AccessList) {
    let change = |before: &AccessList, change: fn(AccessList) -> AccessChange| {
        before.clone().changed_by(change(list.clone()))
    };
    assert_eq!(
        change(before, AccessChange::Replace).ok().as_ref(),
        Some(list)
    );
    let withdrawn = change(before, AccessChange::Withdraw).expect("less always fits");
    for permission in Permission::ALL {
        let kept = withdrawn.of(permission);
        let expected = before
            .of(permission)
            .iter()
            .filter(|subject| !list.of(permission).contains(subject));
        assert!(kept.iter().eq(expected), "{permission:?}");
    }
    assert_eq!(
        change(&withdrawn, AccessChange::Withdraw).ok(),
        Some(withdrawn)
    );
    // Together they may be too many.
    let Ok(added) = change(before, AccessChange::Add) else {
        let together = |permission| before.of(permission).len() + list.of(permission).len();
        assert!(
            Permission::ALL
                .into_iter()
                .any(|permission| together(permission) > SUBJECTS_MAX)
        );
        return;
    };
    for permission in Permission::ALL {
        let lists = [before.of(permission), list.of(permission)];
        let has_one = |subject: &&Subject| lists.iter().any(|list| list.contains(subject));
        assert!(
            lists
                .iter()
                .all(|list| list.is_subset(added.of(permission)))
        );
        assert!(
            added.of(permission).iter().all(|subject| has_one(&subject)),
            "nobody else is there"
        );
    }
    assert_eq!(change(&added, AccessChange::Add).ok(), Some(added));
}

/// A body that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    if random.one_in(300) {
        return format!("{}\n{}", crowd(random), crowd(random)).into_bytes();
    }
    let mut text = make_list(random).to_string();
    if random.one_in(2) {
        text.push_str(&format!("\n{}", make_list(random)));
    }
    text.into_bytes()
}

/// Two of these may be too many together.
fn crowd(random: &mut Random) -> Value {
    let from = random.below(800);
    let user = |number: usize| json!({"id": number.to_string(), "objectType": "users"});
    json!({"admin": (from..from + 600).map(user).collect::<Value>()})
}

fn make_list(random: &mut Random) -> Value {
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
    body
}
