//! Whom a permission is given to.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::Asker;
use crate::{Error, ObjectId, Result};

/// Subjects that one list may hold.
pub(super) const SUBJECTS_MAX: usize = 1000;
/// Ids need not exist, and not even look like ids of ours; they must be short.
const ID_MAX: usize = 64;

/// Whom a permission is given to. The order is that of replies: the ones that more people are come first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Everybody, signed in or not.
    Everyone,
    /// Every signed-in user of the backend.
    Authenticated,
    /// Whoever creates the object. Only in templates.
    Creator,
    /// A usergroup: all its members.
    Usergroup(String),
    User(String),
}

impl Subject {
    pub fn user(id: ObjectId) -> Self {
        Self::User(id.to_string())
    }

    pub fn usergroup(id: ObjectId) -> Self {
        Self::Usergroup(id.to_string())
    }

    /// Reads a reference, `{"id":…,"objectType":…}`; other members do not matter, so that expanded objects will do.
    pub fn from_json(value: &Value) -> Result<Self> {
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        let (Some(id), Some(object_type)) = (member("id"), member("objectType")) else {
            return Err(Error::bad_request(
                "a subject of an access list is an object with `id` and `objectType`, such as \
                 {\"id\":\"*\",\"objectType\":\"aclSubject\"}",
            ));
        };
        Self::from_parts(object_type, id)
    }

    fn from_parts(object_type: &str, id: &str) -> Result<Self> {
        let checked = |id: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(plain) {
                return Ok(id.to_owned());
            }
            Err(Error::bad_request(
                "a subject of an access list has an id that no user or usergroup can have",
            ))
        };
        match (object_type, id) {
            ("users", id) => Ok(Self::User(checked(id)?)),
            ("usergroups", id) => Ok(Self::Usergroup(checked(id)?)),
            ("aclSubject", "*") => Ok(Self::Everyone),
            ("aclSubject", "authenticated") => Ok(Self::Authenticated),
            ("aclSubject", "creator") => Ok(Self::Creator),
            ("aclSubject", _) => Err(Error::bad_request(
                "an aclSubject is `*`, `authenticated`, or in a template `creator`",
            )),
            (other, _) => Err(Error::bad_request(format!(
                "a subject of an access list has the objectType users, usergroups or aclSubject, not `{}`",
                other.chars().take(60).collect::<String>()
            ))),
        }
    }

    /// The two-key reference that replies show.
    pub fn to_json(&self) -> Value {
        let (object_type, id) = self.parts();
        json!({"id": id, "objectType": object_type})
    }

    /// `objectType` and `id`.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Everyone => ("aclSubject", "*"),
            Self::Authenticated => ("aclSubject", "authenticated"),
            Self::Creator => ("aclSubject", "creator"),
            Self::Usergroup(id) => ("usergroups", id),
            Self::User(id) => ("users", id),
        }
    }
}

/// One short text for each subject, `users.51cd…` and `aclSubject.*`; what stores keep and gateways call a tag.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object_type, id) = self.parts();
        write!(f, "{object_type}.{id}")
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (object_type, id) = text
            .split_once('.')
            .ok_or_else(|| Error::internal("a stored subject is none"))?;
        Self::from_parts(object_type, id)
    }
}

/// A set of subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subjects(BTreeSet<Subject>);

impl Subjects {
    pub fn of(subjects: impl IntoIterator<Item = Subject>) -> Self {
        Self(subjects.into_iter().collect())
    }

    pub fn everyone() -> Self {
        Self::of([Subject::Everyone])
    }

    pub fn authenticated() -> Self {
        Self::of([Subject::Authenticated])
    }

    /// Reads an array of references. `what` names the list for the caller.
    pub fn from_json(what: &str, value: &Value) -> Result<Self> {
        let items = match value {
            Value::Null => return Ok(Self::default()),
            Value::Array(items) => items,
            _ => {
                return Err(Error::bad_request(format!(
                    "`{what}` must be an array of references to users and usergroups"
                )));
            }
        };
        if items.len() > SUBJECTS_MAX {
            return Err(too_many(what));
        }
        items
            .iter()
            .map(Subject::from_json)
            .collect::<Result<_>>()
            .map(Self)
    }

    pub fn to_json(&self) -> Value {
        self.0.iter().map(Subject::to_json).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Subject> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, subject: &Subject) -> bool {
        self.0.contains(subject)
    }

    /// Whether the asker is one of them. An administrator always is.
    pub fn includes(&self, asker: &Asker) -> bool {
        let signed_in = || self.contains(&Subject::Authenticated);
        match asker {
            Asker::Admin => true,
            _ if self.contains(&Subject::Everyone) => true,
            Asker::Anonymous => false,
            Asker::User { id, groups } => {
                signed_in()
                    || self.contains(&Subject::user(*id))
                    || groups
                        .iter()
                        .any(|group| self.contains(&Subject::usergroup(*group)))
            }
        }
    }

    pub fn insert(&mut self, subject: Subject) {
        self.0.insert(subject);
    }

    /// Adds all of the others.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Takes the others away.
    pub fn withdraw(&mut self, others: &Self) {
        self.0.retain(|subject| !others.contains(subject));
    }

    pub fn is_subset(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// Puts whoever creates the object in the place of `creator`, which nobody takes when nobody is known.
    #[must_use]
    pub fn resolve(mut self, creator: Option<ObjectId>) -> Self {
        if self.0.remove(&Subject::Creator) {
            self.0.extend(creator.map(Subject::user));
        }
        self
    }

    /// Refuses more than a list may hold.
    pub(super) fn check_size(&self, what: &str) -> Result<()> {
        if self.len() > SUBJECTS_MAX {
            return Err(too_many(what));
        }
        Ok(())
    }

    /// The texts of the subjects as a JSON array, in order: the same set is always the same text.
    pub fn to_text(&self) -> String {
        Value::from_iter(self.0.iter().map(ToString::to_string)).to_string()
    }

    /// Reads [`Subjects::to_text`] back.
    pub fn from_text(text: &str) -> Result<Self> {
        let texts: Vec<String> = serde_json::from_str(text).map_err(Error::internal)?;
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_>>()
            .map(Self)
    }
}

fn too_many(what: &str) -> Error {
    Error::bad_request(format!(
        "`{what}` holds more than {SUBJECTS_MAX} subjects; give the permission to a usergroup instead"
    ))
}

/// Reads the member `name` of an object, if it is there.
pub(super) fn member(body: &Map<String, Value>, name: &str) -> Result<Option<Subjects>> {
    body.get(name)
        .map(|value| Subjects::from_json(name, value))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_reference() {
        for value in [
            json!({"id": "*", "objectType": "aclSubject"}),
            json!({"id": "creator", "objectType": "aclSubject"}),
            json!({"id": "made-up", "objectType": "users"}),
            json!({"id": "51cdbc08989e975ec300772a", "objectType": "usergroups"}),
        ] {
            let subject = Subject::from_json(&value).unwrap();
            assert_eq!(subject.to_json(), value);
            assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
        let expanded = json!({"id": "a", "objectType": "users", "username": "x"});
        assert_eq!(
            Subject::from_json(&expanded).unwrap(),
            Subject::User("a".into())
        );
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for value in [
            json!(null),
            json!("*"),
            json!({"id": "*"}),
            json!({"id": "*", "objectType": "users"}),
            json!({"id": "", "objectType": "users"}),
            json!({"id": "a.b", "objectType": "users"}),
            json!({"id": "a".repeat(65), "objectType": "users"}),
            json!({"id": "x", "objectType": "aclSubject"}),
            json!({"id": "x", "objectType": "objects.todos"}),
        ] {
            assert!(Subject::from_json(&value).is_err(), "{value}");
        }
        let many = Value::from_iter(
            (0..=SUBJECTS_MAX).map(|n| json!({"id": n.to_string(), "objectType": "users"})),
        );
        assert!(Subjects::from_json("read", &many).is_err());
    }

    #[test]
    fn the_same_set_is_the_same_text() {
        let (a, b) = (Subject::User("a".into()), Subject::Everyone);
        let text = Subjects::of([a.clone(), b.clone()]).to_text();
        assert_eq!(text, Subjects::of([b, a.clone(), a]).to_text());
        assert_eq!(text, r#"["aclSubject.*","users.a"]"#);
        assert_eq!(Subjects::from_text(&text).unwrap().to_text(), text);
    }
}
