//! Whom an access list names: everyone, whoever is signed in, a user or a usergroup.

use serde_json::{Value, json};

use crate::session::{array, text};

/// Somebody on an access list, as the server writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subject(Value);

impl Subject {
    pub(super) fn to_json(&self) -> Value {
        self.0.clone()
    }
}

/// Reads a subject of an object's list.
pub(super) fn subject(text: &str) -> Result<Subject, &'static str> {
    let special = |id: &str| Ok(Subject(json!({"id": id, "objectType": "aclSubject"})));
    match text {
        "everyone" | "*" => return special("*"),
        "authenticated" => return special("authenticated"),
        _ => {}
    }
    match text.split_once('.') {
        Some((kind @ ("users" | "usergroups"), id)) if !id.is_empty() => {
            Ok(Subject(json!({"id": id, "objectType": kind})))
        }
        _ => Err("write everyone, authenticated, users.ID or usergroups.ID"),
    }
}

/// Reads a subject of a template, where the creator can be meant, too.
pub(super) fn template_subject(text: &str) -> Result<Subject, &'static str> {
    match text {
        "creator" => Ok(Subject(
            json!({"id": "creator", "objectType": "aclSubject"}),
        )),
        text => subject(text)
            .map_err(|_| "write everyone, authenticated, creator, users.ID or usergroups.ID"),
    }
}

/// A list as users type it.
pub(super) fn in_words(subjects: &Value) -> String {
    let words = array(subjects).iter().map(|subject| {
        let (kind, id) = (text(subject, "objectType"), text(subject, "id"));
        match (&*kind, &*id) {
            ("aclSubject", "*") => "everyone".to_owned(),
            ("aclSubject", _) => id,
            _ => format!("{kind}.{id}"),
        }
    });
    let words: Vec<String> = words.collect();
    match words.as_slice() {
        [] => "nobody".into(),
        words => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_shown() {
        for text in [
            "everyone",
            "authenticated",
            "users.5417e5485a3d8b418a01adb7",
            "usergroups.532c410072fc38d95600000b",
        ] {
            assert_eq!(in_words(&json!([subject(text).unwrap().to_json()])), text);
        }
        assert_eq!(in_words(&json!([])), "nobody");
        assert_eq!(subject("*"), subject("everyone"));
        for text in ["", "anna", "users.", "groups.1", "creator"] {
            assert!(subject(text).is_err(), "{text}");
        }
        assert!(template_subject("creator").is_ok());
    }
}
