//! A gateway's configuration (`mws.md` §3.7 and additions): read from its instance, changed by its owner.
//!
//! [`Settings`] is what the owner sees, [`Change`] what the owner changes, and [`plan::Plan`] what the additions come
//! to when messages flow. Each addition has a file of its own with its rules.

pub(crate) mod compression;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod plan;
pub(crate) mod presence;
mod tag_pattern;

use pilvi_core::AppUser;
use pilvi_model::{BackendId, Error, FieldError, Instance, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use compression::COMPRESSION;
use events::EVENTS;
use history::HISTORY;
use presence::PRESENCE;

/// The keys under which an instance keeps it.
const ACCESS_CONTROL: &str = "accessControl";
const IDENTITY_PROVIDER: &str = "identityProvider";
const PERMISSIONS: &str = "permissions";

const NAME_BYTES_MAX: usize = 255;
const SUBJECTS_MAX: usize = 1_000;

/// Who may listen and send (`mws.md` §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Anyone.
    None,
    /// Users of an EDS backend, by their permissions.
    Eds,
    /// Who has the security token.
    Custom,
}

/// A gateway's configuration, as `GET /configuration` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    name: String,
    #[serde(rename = "accessControl")]
    pub(crate) mode: Mode,
    identity_provider: Value,
    permissions: Value,
    compression: bool,
    events: Value,
    presence: Value,
    history: Value,
}

impl Settings {
    pub(crate) fn of(instance: &Instance) -> Self {
        let kept = |key| instance.config.get(key).cloned().unwrap_or_default();
        Self {
            name: instance.name.clone(),
            mode: mode_of(&instance.config),
            identity_provider: kept(IDENTITY_PROVIDER),
            permissions: kept(PERMISSIONS),
            compression: compression::plan(&kept(COMPRESSION)),
            events: kept(EVENTS),
            presence: kept(PRESENCE),
            history: kept(HISTORY),
        }
    }

    /// The backend whose users may come, in mode `eds`.
    pub(crate) fn users_backend(&self) -> Option<BackendId> {
        (self.mode == Mode::Eds).then(|| backend_of(&self.identity_provider))?
    }

    /// Whether the lists of `read` or `write` hold this user. Without any permissions every user passes; with some, a
    /// missing list holds nobody.
    pub(crate) fn permit(&self, list: &str, user: &AppUser) -> bool {
        let subjects = match &self.permissions {
            Value::Null => return true,
            permissions => permissions.get(list).and_then(Value::as_array),
        };
        let names = |text: &str| match text.split_once('.') {
            None => text == "*",
            Some(("users", id)) => id.parse().is_ok_and(|id| user.id == id),
            Some(("usergroups", id)) => id.parse().is_ok_and(|id| user.groups.contains(&id)),
            Some(_) => false,
        };
        let mut subjects = subjects.into_iter().flatten().filter_map(Value::as_str);
        subjects.any(names)
    }
}

/// The `backendId` of an identity provider.
fn backend_of(identity_provider: &Value) -> Option<BackendId> {
    let id = identity_provider.get("backendId")?.as_str()?;
    id.parse().ok()
}

/// Nothing said means open, as old clients expect. Whatever else is not understood means closed.
pub(crate) fn mode_of(config: &Map<String, Value>) -> Mode {
    match config.get(ACCESS_CONTROL) {
        None | Some(Value::Null) => Mode::None,
        Some(Value::String(mode)) if mode == "none" => Mode::None,
        Some(Value::String(mode)) if mode == "eds" => Mode::Eds,
        Some(_) => Mode::Custom,
    }
}

/// What `PUT /configuration` changes: only what it names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    /// The keys of the instance's configuration to be replaced.
    kept: Map<String, Value>,
}

impl Change {
    /// Reads the body of `PUT /configuration`.
    pub(crate) fn read(body: Map<String, Value>) -> Result<Self> {
        let mut change = Self::default();
        let mut faults = Vec::new();
        for (key, value) in body {
            if let Err(message) = change.set(&key, value) {
                faults.push(FieldError {
                    property: key,
                    message: message.to_owned(),
                });
            }
        }
        if faults.is_empty() {
            Ok(change)
        } else {
            Err(Error::invalid_fields(faults))
        }
    }

    /// The names of what it changes.
    pub(crate) fn keys(&self) -> Vec<String> {
        let name = self.name.is_some().then(|| "name".to_owned());
        name.into_iter().chain(self.kept.keys().cloned()).collect()
    }

    /// The configuration that a new gateway starts with.
    pub(crate) fn initial(asked: Map<String, Value>) -> Result<Map<String, Value>> {
        let mut change = Self::default();
        for (key, value) in asked {
            let outcome = match key.as_str() {
                // The hosted platform sized its instances; nothing here has a size.
                "runtimeSize" | "runtimeType" => Ok(()),
                ACCESS_CONTROL | IDENTITY_PROVIDER | PERMISSIONS | COMPRESSION | EVENTS
                | PRESENCE | HISTORY => change.set(&key, value),
                _ => Err("cannot be set when the instance is created"),
            };
            outcome.map_err(|message| Error::invalid(format!("config.{key}"), message))?;
        }
        let open = Map::from_iter([(ACCESS_CONTROL.to_owned(), "none".into())]);
        change.apply(&open)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), &'static str> {
        let value = match key {
            "name" => {
                self.name = Some(read_name(&value)?);
                return Ok(());
            }
            ACCESS_CONTROL => check_mode(&value).map(|()| value)?,
            IDENTITY_PROVIDER => check_identity_provider(&value).map(|()| value)?,
            PERMISSIONS => check_permissions(&value).map(|()| value)?,
            COMPRESSION => compression::normal(&value)?,
            EVENTS => events::normal(&value)?,
            PRESENCE => presence::normal(&value)?,
            HISTORY => history::normal(&value)?,
            // Unknown keys are dropped, as everywhere in this API.
            _ => return Ok(()),
        };
        self.kept.insert(key.to_owned(), value);
        Ok(())
    }

    /// The configuration after this change.
    ///
    /// The Node client names an identity provider and no mode; it means the mode that needs one. Whoever takes the
    /// provider away and says no more closes the gateway: nothing opens by itself.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Invalid`] when the mode would be `eds` and no backend named.
    pub(crate) fn apply(&self, config: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut changed = config.clone();
        for (key, value) in &self.kept {
            changed.insert(key.clone(), value.clone());
        }
        if !self.kept.contains_key(ACCESS_CONTROL) {
            match self.kept.get(IDENTITY_PROVIDER) {
                Some(Value::Null) if mode_of(config) == Mode::Eds => {
                    changed.insert(ACCESS_CONTROL.to_owned(), "custom".into());
                }
                Some(Value::Object(_)) => {
                    changed.insert(ACCESS_CONTROL.to_owned(), "eds".into());
                }
                _ => {}
            }
        }
        let provider = changed.get(IDENTITY_PROVIDER).and_then(backend_of);
        if mode_of(&changed) == Mode::Eds && provider.is_none() {
            let message = "is needed for access control eds, such as \
                {\"type\":\"eds\",\"backendId\":\"<24 hex characters>\"}";
            return Err(Error::invalid(IDENTITY_PROVIDER, message));
        }
        Ok(changed)
    }
}

fn read_name(value: &Value) -> Result<String, &'static str> {
    let name = value.as_str().ok_or("Name isn't a string")?;
    if name.trim().is_empty() {
        return Err("Name can't be blank");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("Name can't be longer than 255 bytes");
    }
    Ok(name.to_owned())
}

fn check_mode(value: &Value) -> Result<(), &'static str> {
    match value.as_str() {
        Some("none" | "eds" | "custom") => Ok(()),
        _ => Err("Access control can be none, eds or custom"),
    }
}

/// Null, or the name of a backend. Whether that is there is asked whenever somebody comes with a token of it.
fn check_identity_provider(value: &Value) -> Result<(), &'static str> {
    let provider = match value {
        Value::Null => return Ok(()),
        Value::Object(provider) => provider,
        _ => return Err("Identity provider isn't a hash"),
    };
    if provider.get("type").and_then(Value::as_str) != Some("eds") {
        return Err("an identity provider has the type eds");
    }
    if backend_of(value).is_none() {
        return Err("an identity provider has a backendId of 24 hex characters");
    }
    if provider.len() > 2 {
        return Err("an identity provider has only the keys type and backendId");
    }
    Ok(())
}

/// Null, or lists of subjects under `read` and `write`.
fn check_permissions(value: &Value) -> Result<(), &'static str> {
    let permissions = match value {
        Value::Null => return Ok(()),
        Value::Object(permissions) => permissions,
        _ => return Err("Permissions isn't a hash"),
    };
    for (key, subjects) in permissions {
        let subjects = match (key.as_str(), subjects) {
            ("read" | "write", Value::Array(subjects)) => subjects,
            ("read" | "write", _) => return Err("Permissions need lists of subjects"),
            _ => return Err("Permissions have only the keys read and write"),
        };
        if subjects.len() > SUBJECTS_MAX {
            return Err("Permissions can't have more than 1000 subjects");
        }
        if !subjects
            .iter()
            .all(|subject| subject.as_str().is_some_and(is_subject))
        {
            return Err("a subject is *, usergroups.<id> or users.<id>");
        }
    }
    Ok(())
}

fn is_subject(text: &str) -> bool {
    let id = text
        .strip_prefix("usergroups.")
        .or_else(|| text.strip_prefix("users."));
    text == "*" || id.is_some_and(|id| id.parse::<pilvi_model::ObjectId>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn what_is_not_understood_is_closed() {
        let rows = [
            (json!({}), Mode::None),
            (json!({"accessControl": null}), Mode::None),
            (json!({"accessControl": "none"}), Mode::None),
            (json!({"accessControl": "custom"}), Mode::Custom),
            (json!({"accessControl": "eds"}), Mode::Eds),
            (json!({"accessControl": "None"}), Mode::Custom),
            (json!({"accessControl": 0}), Mode::Custom),
        ];
        for (config, mode) in rows {
            assert_eq!(mode_of(&object(config.clone())), mode, "{config}");
        }
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let before = object(json!({"accessControl": "custom", "other": 1}));
        let body = json!({"name": "n", "permissions": {"read": ["*"]}, "unknown": 1});
        let change = Change::read(object(body)).unwrap();
        assert_eq!(change.name.as_deref(), Some("n"));
        let after = json!({"accessControl": "custom", "other": 1, "permissions": {"read": ["*"]}});
        assert_eq!(change.apply(&before).unwrap(), object(after));
    }

    #[test]
    fn turning_the_identity_provider_off_opens_nothing() {
        let before = object(json!({"accessControl": "custom"}));
        let change = Change::read(object(json!({"identityProvider": null}))).unwrap();
        assert_eq!(mode_of(&change.apply(&before).unwrap()), Mode::Custom);
        let before = object(json!({"accessControl": "eds", "identityProvider": provider()}));
        assert_eq!(mode_of(&change.apply(&before).unwrap()), Mode::Custom);
    }

    fn provider() -> Value {
        json!({"type": "eds", "backendId": "5417e5485a3d8b418a01adb7"})
    }

    #[test]
    fn naming_an_identity_provider_asks_for_its_users() {
        let change = Change::read(object(json!({"identityProvider": provider()}))).unwrap();
        let after = change.apply(&Map::new()).unwrap();
        assert_eq!(mode_of(&after), Mode::Eds);
        let both = json!({"identityProvider": provider(), "accessControl": "custom"});
        let after = Change::read(object(both)).unwrap().apply(&Map::new());
        assert_eq!(mode_of(&after.unwrap()), Mode::Custom);

        let alone = Change::read(object(json!({"accessControl": "eds"}))).unwrap();
        let error = alone.apply(&Map::new()).unwrap_err();
        assert_eq!(error.fields[0].property, IDENTITY_PROVIDER);
        assert!(alone.apply(&after_with_provider()).is_ok());
    }

    fn after_with_provider() -> Map<String, Value> {
        object(json!({"accessControl": "custom", "identityProvider": provider()}))
    }

    #[test]
    fn a_user_passes_by_id_by_group_or_as_one_of_all() {
        let id = "532c410072fc38d95600000b";
        let user = AppUser {
            id: "5417e5485a3d8b418a01adb8".parse().unwrap(),
            groups: vec![id.parse().unwrap()],
        };
        let rows = [
            (json!(null), true),
            (json!({}), false),
            (json!({"write": ["*"]}), false),
            (json!({"read": []}), false),
            (json!({"read": ["*"]}), true),
            (
                json!({"read": ["usergroups.532c410072fc38d95600000b"]}),
                true,
            ),
            (
                json!({"read": ["usergroups.5417e5485a3d8b418a01adb8"]}),
                false,
            ),
            (json!({"read": ["users.5417e5485a3d8b418a01adb8"]}), true),
            (json!({"read": ["users.532c410072fc38d95600000b"]}), false),
            (json!({"read": ["x.*", 5, "users."]}), false),
        ];
        for (permissions, passes) in rows {
            let settings = Settings {
                name: String::new(),
                mode: Mode::Eds,
                identity_provider: provider(),
                permissions: permissions.clone(),
                compression: false,
                events: Value::Null,
                presence: Value::Null,
                history: Value::Null,
            };
            assert_eq!(settings.permit("read", &user), passes, "{permissions}");
        }
    }

    #[test]
    fn a_change_that_breaks_a_rule() {
        let rows = [
            json!({"name": ""}),
            json!({"name": 1}),
            json!({"name": "n".repeat(256)}),
            json!({"accessControl": "open"}),
            json!({"accessControl": null}),
            json!({"identityProvider": "eds"}),
            json!({"identityProvider": {"backendId": "5417e5485a3d8b418a01adb7"}}),
            json!({"identityProvider": {"type": "eds", "backendId": "INVALID"}}),
            json!({"identityProvider": {"type": "eds", "backendId": "5417e5485a3d8b418a01adb7", "uri": 1}}),
            json!({"permissions": []}),
            json!({"permissions": {"read": "*"}}),
            json!({"permissions": {"admin": ["*"]}}),
            json!({"permissions": {"read": ["usergroups.*"]}}),
            json!({"permissions": {"write": [1]}}),
            json!({"compression": "on"}),
            json!({"events": {"url": "example"}}),
            json!({"presence": ["room.*"]}),
            json!({"history": {"tag": "room.*"}}),
        ];
        for body in rows {
            let error = Change::read(object(body.clone())).unwrap_err();
            let key = object(body).keys().next().cloned();
            assert_eq!(
                error.fields.first().map(|field| field.property.clone()),
                key
            );
        }
    }

    #[test]
    fn a_new_gateway_is_open_unless_asked_otherwise() {
        let initial = |asked| Change::initial(object(asked));
        assert_eq!(
            initial(json!({"runtimeSize": "s"})).unwrap(),
            object(json!({"accessControl": "none"}))
        );
        assert_eq!(
            initial(json!({"accessControl": "custom"})).unwrap(),
            object(json!({"accessControl": "custom"}))
        );
        let of_users = initial(json!({"identityProvider": provider()})).unwrap();
        assert_eq!(mode_of(&of_users), Mode::Eds);
        assert!(initial(json!({"accessControl": "eds"})).is_err());
        let error = initial(json!({"accesscontrol": "custom"})).unwrap_err();
        assert_eq!(error.fields[0].property, "config.accesscontrol");
    }
}
