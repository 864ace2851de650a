//! An object: the user's own properties plus the six that the server keeps.

use serde_json::{Map, Value};

use crate::update::Update;
use crate::{Error, FieldError, ObjectId, ObjectType, Result, Timestamp, wrapper};

/// The properties that only the server writes; a client that sends them back is not heard (`eds.md` §4.1).
pub const SYSTEM_PROPERTIES: [&str; 6] = [
    "id",
    "objectType",
    "createdAt",
    "updatedAt",
    "creator",
    "updater",
];

/// How deep arrays and objects may nest.
pub const DEPTH_MAX: usize = 64;

/// A stored object. Its text is the reply that clients get and the document that queries see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub id: ObjectId,
    pub object_type: ObjectType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Compact JSON: the system properties first, then the user's in the order they were sent.
    pub text: String,
}

/// The signed-in users who created an object and wrote it last. Nobody stands for anonymous callers and
/// administrators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    pub creator: Option<ObjectId>,
    pub updater: Option<ObjectId>,
}

impl Writers {
    /// Both at once: what a new object starts with.
    pub fn both(writer: Option<ObjectId>) -> Self {
        Self {
            creator: writer,
            updater: writer,
        }
    }

    /// After a write by `updater`. Who is unknown takes no name away.
    fn then(self, updater: Option<ObjectId>) -> Self {
        Self {
            updater: updater.or(self.updater),
            ..self
        }
    }
}

/// A user's own properties: checked, and without system properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(Map<String, Value>);

impl Properties {
    /// Takes a request's JSON. Refuses what no store could keep faithfully: names that are empty, start with
    /// `$` or hold `.` or NUL; texts with NUL; nesting beyond [`DEPTH_MAX`].
    pub fn from_json(body: Value) -> Result<Self> {
        let Value::Object(mut map) = body else {
            return Err(Error::bad_request(
                "the body must be a JSON object, such as {\"title\":\"…\"}",
            ));
        };
        for name in SYSTEM_PROPERTIES {
            map.shift_remove(name);
        }
        let mut faults = Vec::new();
        for (name, value) in &mut map {
            let checked = check_name(name).and_then(|()| check_value(value, 1));
            let opened = checked.and_then(|()| wrapper::open_all(value.take()));
            if let Err(message) = opened.map(|opened| *value = opened) {
                faults.push(FieldError {
                    property: name.chars().take(100).collect(),
                    message,
                });
            }
        }
        if faults.is_empty() {
            Ok(Self(map))
        } else {
            Err(Error::invalid_fields(faults))
        }
    }

    /// A partial update: what `changes` names is set, nested values whole; all else stays (`eds.md` §4.4). An
    /// expanded object goes back to the reference that it stands for (§6).
    #[must_use]
    pub fn updated_by(mut self, mut changes: Self) -> Self {
        for (name, value) in &mut changes.0 {
            if let Some(stored) = self.0.get(name) {
                wrapper::reduce_expanded(stored, value);
            }
        }
        self.0.extend(changes.0);
        self
    }

    /// The properties after an atomic update (`eds.md` §17).
    pub fn after(&self, update: &Update) -> Result<Self> {
        update.apply(&self.0).map(Self)
    }

    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

impl Object {
    /// A new object, written by nobody in particular.
    pub fn create(
        id: ObjectId,
        object_type: ObjectType,
        now: Timestamp,
        properties: &Properties,
    ) -> Self {
        Self::create_by(id, object_type, now, Writers::default(), properties)
    }

    /// A new object with a creator and an updater.
    pub fn create_by(
        id: ObjectId,
        object_type: ObjectType,
        now: Timestamp,
        writers: Writers,
        properties: &Properties,
    ) -> Self {
        Self::compose(id, object_type, (now, now), writers, properties)
    }

    /// An object as it was once shown, with what the server keeps of it: for bringing it back elsewhere.
    pub fn from_shown(document: Value) -> Result<Self> {
        fn said<T>(document: &Value, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
            let text = document.get(name).and_then(Value::as_str);
            text.and_then(read)
                .ok_or_else(|| Error::invalid(name, "is missing or malformed"))
        }
        let id = said(&document, "id", |text| text.parse().ok())?;
        let object_type = said(&document, "objectType", |text| text.parse().ok())?;
        let created_at = said(&document, "createdAt", Timestamp::from_millis_text)?;
        let updated_at = said(&document, "updatedAt", Timestamp::from_millis_text)?;
        let writer = |name: &str| match document.get(name) {
            None => Ok(None),
            Some(writer) => said(writer, "id", |text| text.parse().ok())
                .map(Some)
                .map_err(|_| Error::invalid(name, "must be a reference to a user")),
        };
        let writers = Writers {
            creator: writer("creator")?,
            updater: writer("updater")?,
        };
        let properties = Properties::from_json(document)?;
        let times = (created_at, updated_at.max(created_at));
        Ok(Self::compose(id, object_type, times, writers, &properties))
    }

    /// The same object with other properties, at the time at which it was written last.
    pub fn with_properties(&self, properties: &Properties) -> Result<Self> {
        let (writers, _) = self.parts()?;
        let times = (self.created_at, self.updated_at);
        Ok(Self::compose(
            self.id,
            self.object_type.clone(),
            times,
            writers,
            properties,
        ))
    }

    /// The object after an update by nobody in particular.
    pub fn update(&self, now: Timestamp, changes: Properties) -> Result<Self> {
        self.update_by(now, None, changes)
    }

    /// The object after an update; `updatedAt` strictly grows, whatever the clock says, and whoever is known becomes
    /// the updater.
    pub fn update_by(
        &self,
        now: Timestamp,
        updater: Option<ObjectId>,
        changes: Properties,
    ) -> Result<Self> {
        let (writers, properties) = self.parts()?;
        Ok(self.written_again(now, writers.then(updater), &properties.updated_by(changes)))
    }

    /// The object with these properties in the place of its own.
    pub fn rewrite(
        &self,
        now: Timestamp,
        updater: Option<ObjectId>,
        properties: &Properties,
    ) -> Result<Self> {
        let (writers, _) = self.parts()?;
        Ok(self.written_again(now, writers.then(updater), properties))
    }

    fn written_again(&self, now: Timestamp, writers: Writers, properties: &Properties) -> Self {
        let now = now.max(Timestamp::from_millis(self.updated_at.as_millis() + 1));
        let object_type = self.object_type.clone();
        Self::compose(
            self.id,
            object_type,
            (self.created_at, now),
            writers,
            properties,
        )
    }

    /// Who created the object and who wrote it last, as far as that is known.
    pub fn writers(&self) -> Result<Writers> {
        Ok(self.parts()?.0)
    }

    /// The user's own properties, read back from the text.
    pub fn properties(&self) -> Result<Properties> {
        Ok(self.parts()?.1)
    }

    fn parts(&self) -> Result<(Writers, Properties)> {
        let Value::Object(mut map) = self.to_json()? else {
            return Err(Error::internal("a stored object is not a JSON object"));
        };
        let writer = |name: &str| map.get(name)?.get("id")?.as_str()?.parse().ok();
        let writers = Writers {
            creator: writer("creator"),
            updater: writer("updater"),
        };
        for name in SYSTEM_PROPERTIES {
            map.shift_remove(name);
        }
        Ok((writers, Properties(map)))
    }

    pub fn to_json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).map_err(Error::internal)
    }

    fn compose(
        id: ObjectId,
        object_type: ObjectType,
        (created_at, updated_at): (Timestamp, Timestamp),
        writers: Writers,
        properties: &Properties,
    ) -> Self {
        // None of these texts holds anything that JSON would escape.
        let mut text = format!(
            r#"{{"id":"{id}","objectType":"{object_type}","createdAt":"{}","updatedAt":"{}""#,
            created_at.to_millis_text(),
            updated_at.to_millis_text()
        );
        for (name, writer) in [("creator", writers.creator), ("updater", writers.updater)] {
            if let Some(id) = writer {
                text.push_str(&format!(
                    r#","{name}":{{"id":"{id}","objectType":"users"}}"#
                ));
            }
        }
        let own = serde_json::to_string(&properties.0).expect("JSON values can be written as JSON");
        text.push_str(if properties.0.is_empty() { "" } else { "," });
        text.push_str(&own[1..]);
        Self {
            id,
            object_type,
            created_at,
            updated_at,
            text,
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) {
        return Err(
            "is no property name; it must not be empty, start with $, or contain . or NUL".into(),
        );
    }
    Ok(())
}

pub(crate) fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("nests deeper than {DEPTH_MAX} levels"));
    }
    match value {
        Value::String(text) if text.contains('\0') => {
            Err("contains the character NUL, which cannot be stored".into())
        }
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_value(item, depth + 1)),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| {
            if name.contains('\0') {
                return Err(
                    "contains a name with the character NUL, which cannot be stored".into(),
                );
            }
            check_value(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn properties(value: Value) -> Properties {
        Properties::from_json(value).unwrap()
    }

    fn todo(value: Value) -> Object {
        let id = "51cdbc08989e975ec300772a".parse().unwrap();
        let kind = ObjectType::custom("todos").unwrap();
        Object::create(
            id,
            kind,
            Timestamp::from_millis(1_372_437_512_369),
            &properties(value),
        )
    }

    #[test]
    fn a_new_object_is_what_the_specification_shows() {
        let object =
            todo(json!({"objectType": "objects.todos", "title": "A todo", "completed": true}));
        assert_eq!(
            object.text,
            concat!(
                r#"{"id":"51cdbc08989e975ec300772a","objectType":"objects.todos","#,
                r#""createdAt":"2013-06-28T16:38:32.369Z","updatedAt":"2013-06-28T16:38:32.369Z","#,
                r#""title":"A todo","completed":true}"#
            )
        );
    }

    #[test]
    fn what_was_shown_is_read_back_as_it_was() {
        let user = "51cdbc08989e975ec300772b".parse().unwrap();
        let before = todo(json!({"title": "A", "n": 1.50, "deep": {"b": [1, null], "a": {}}}));
        let before = before
            .update_by(before.updated_at, Some(user), Properties::default())
            .unwrap();
        assert_eq!(
            Object::from_shown(before.to_json().unwrap()).unwrap(),
            before
        );
        assert_eq!(
            before
                .with_properties(&before.properties().unwrap())
                .unwrap(),
            before
        );
        for (name, wrong) in [
            ("id", json!("x")),
            ("id", json!(null)),
            ("objectType", json!("nothing")),
            ("createdAt", json!("yesterday")),
            ("updatedAt", json!(1)),
            ("creator", json!({"id": "x"})),
            ("$set", json!(1)),
            ("a.b", json!(1)),
            ("text", json!("\0")),
        ] {
            let mut document = before.to_json().unwrap();
            document[name] = wrong;
            assert!(Object::from_shown(document).is_err(), "{name}");
        }
        assert!(Object::from_shown(json!([])).is_err());
    }

    #[test]
    fn an_object_without_properties_is_whole() {
        let json = todo(json!({})).to_json().unwrap();
        assert_eq!(json.as_object().unwrap().len(), 4);
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name_and_always_moves_the_time() {
        let before = todo(json!({"title": "A", "done": false, "nested": {"a": 1, "b": 2}}));
        let changes =
            properties(json!({"id": "x", "creator": 1, "done": null, "nested": {"a": 3}}));
        let after = before.update(before.updated_at, changes).unwrap();
        assert_eq!(
            after.updated_at.as_millis(),
            before.updated_at.as_millis() + 1
        );
        assert_eq!(after.created_at, before.created_at);
        let json = after.to_json().unwrap();
        assert_eq!(json["id"], "51cdbc08989e975ec300772a");
        assert_eq!(json["title"], "A");
        assert_eq!(json["done"], Value::Null);
        assert_eq!(json["nested"], json!({"a": 3}));
        assert!(json.get("creator").is_none());
    }

    #[test]
    fn the_creator_stays_and_the_updater_is_the_last_who_is_known() {
        let [first, second] = [1, 2].map(|byte| ObjectId::from_bytes([byte; 12]));
        let now = Timestamp::from_millis(1_372_437_512_369);
        let kind = ObjectType::custom("todos").unwrap();
        let made = Object::create_by(
            first,
            kind,
            now,
            Writers::both(Some(first)),
            &properties(json!({"a": 1})),
        );
        let reference = |id: ObjectId| json!({"id": id.to_string(), "objectType": "users"});
        let json = made.to_json().unwrap();
        assert_eq!(json["creator"], reference(first));
        assert_eq!(json["updater"], reference(first));
        let sent_back = properties(json.clone());
        let after = made.update_by(now, Some(second), sent_back).unwrap();
        let json = after.to_json().unwrap();
        assert_eq!(json["creator"], reference(first));
        assert_eq!(json["updater"], reference(second));
        let by_nobody = after.update(now, properties(json!({"a": 2}))).unwrap();
        let expected = Writers {
            creator: Some(first),
            updater: Some(second),
        };
        assert_eq!(by_nobody.writers().unwrap(), expected);
        let rewritten = by_nobody
            .rewrite(now, None, &properties(json!({"b": 1})))
            .unwrap();
        assert_eq!(rewritten.properties().unwrap(), properties(json!({"b": 1})));
        assert_eq!(rewritten.writers().unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_stored_is_named() {
        let cases = [
            (json!({"": 1}), ""),
            (json!({"$set": 1}), "$set"),
            (json!({"a.b": 1}), "a.b"),
            (json!({"ok": 1, "text": "a\0b"}), "text"),
            (json!({"list": [{"deep\0": 1}]}), "list"),
        ];
        for (body, property) in cases {
            assert_eq!(
                Properties::from_json(body).unwrap_err().fields[0].property,
                property
            );
        }
        let mut deep = json!(1);
        for _ in 0..DEPTH_MAX {
            deep = json!([deep]);
        }
        assert!(Properties::from_json(json!({ "deep": deep })).is_err());
        assert!(Properties::from_json(json!([])).is_err());
    }

    #[test]
    fn numbers_keep_their_kind() {
        let object = todo(json!({"whole": 5, "real": 5.0, "big": 9_007_199_254_740_993_i64}));
        assert!(
            object
                .text
                .ends_with(r#""whole":5,"real":5.0,"big":9007199254740993}"#),
            "{}",
            object.text
        );
    }
}
