//! Users of an app (`eds.md` §7.1). They are objects, with a name that nobody else has and a password that nobody
//! sees again.

use pilvi_base::Secret;
use pilvi_core::passwords;
use pilvi_model::{Asker, Error, FieldError, Object, ObjectId, ObjectType, Properties, Result};
use pilvi_store::backend::{Mutation, NewUser, check_username};
use serde_json::{Map, Value, json};

use crate::Eds;
use crate::auth;
use crate::caller::Caller;

impl Eds {
    pub(crate) async fn create_user(&self, caller: &Caller, body: Value) -> Result<Object> {
        let (mut members, password) = without_password(body)?;
        let username = members.get("username").unwrap_or(&Value::Null);
        let username = check_new(username, password.as_ref())?.to_owned();
        members.insert("username".to_owned(), username.clone().into());
        let properties = Properties::from_json(Value::Object(members))?;
        let asker = caller.asker.clone();
        caller
            .backend
            .check_new_user(asker, username.clone())
            .await?;
        let password = Secret::new(
            password
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        let user = NewUser {
            id: self.new_id(),
            username,
            password: self.0.people.passwords.hash(&password).await?,
            properties,
        };
        let written = caller
            .backend
            .create_user(user, caller.author(self))
            .await?;
        Ok(self.published(caller, written).object)
    }

    /// Also changes the password, when one is named.
    pub(crate) async fn update_user(
        &self,
        caller: &Caller,
        id: ObjectId,
        body: Value,
    ) -> Result<Object> {
        let (members, password) = without_password(body)?;
        let changes = Properties::from_json(Value::Object(members))?;
        let Some(password) = password else {
            let mutation = Mutation::Update {
                object_type: ObjectType::users(),
                id,
                changes,
            };
            return Ok(self.write(caller, mutation).await?.object);
        };
        let password = checked_password(&password).map_err(invalid)?;
        caller
            .backend
            .check_user_update(caller.asker.clone(), id)
            .await?;
        let hash = self.0.people.passwords.hash(&password).await?;
        let author = caller.author(self);
        let written = caller
            .backend
            .update_user_and_password(id, changes, hash, author)
            .await?;
        Ok(self.published(caller, written).object)
    }

    /// `GET /v1/user`: who asks, with the groups they are in.
    pub(crate) async fn current_user(&self, caller: &Caller) -> Result<Value> {
        let id = signed_in_user(caller)?;
        let found = caller.backend.find_user_with_groups(id).await?;
        let found =
            found.ok_or_else(|| Error::unauthenticated("this user does not exist any more"))?;
        let mut user = auth::parse(&found.user)?;
        let groups = auth::groups(&found)?;
        let short = groups.iter().map(|group| {
            json!({
                "id": group["id"],
                "objectType": group["objectType"],
                "name": group.get("name").unwrap_or(&Value::Null),
            })
        });
        user["usergroups"] = short.collect();
        user["emailVerified"] = found.email_verified.into();
        Ok(user)
    }
}

/// The app's user who asks.
pub(crate) fn signed_in_user(caller: &Caller) -> Result<ObjectId> {
    match &caller.asker {
        Asker::User { id, .. } => Ok(*id),
        Asker::Admin | Asker::Anonymous => Err(Error::unauthenticated(
            "this needs the access token of a user; send it as `Authorization: Bearer TOKEN`",
        )),
    }
}

/// The body without the password, and the password when there is one. It goes no further than to be hashed.
fn without_password(body: Value) -> Result<(Map<String, Value>, Option<Value>)> {
    let Value::Object(mut members) = body else {
        return Err(Error::bad_request(
            "the body must be a JSON object, such as {\"username\":\"…\",\"password\":\"…\"}",
        ));
    };
    let password = members.shift_remove("password");
    Ok((members, password))
}

/// One entry for each thing that is wrong; clients compare the whole list (`eds.md` §3).
fn check_new<'a>(username: &'a Value, password: Option<&Value>) -> Result<&'a str> {
    let name = check_username(username);
    let password = checked_password(password.unwrap_or(&Value::Null));
    let mut faults = Vec::new();
    faults.extend(name.as_ref().err().map(|error| error.fields.clone()));
    faults.extend(password.err());
    match name {
        Ok(name) if faults.is_empty() => Ok(name),
        _ => Err(invalid(faults.concat())),
    }
}

fn checked_password(password: &Value) -> Result<Secret, Vec<FieldError>> {
    let secret = match password {
        Value::String(text) => Secret::new(text.as_str()),
        Value::Null => Secret::new(""),
        _ => {
            return Err(vec![FieldError {
                property: "password".to_owned(),
                message: "must be a text".to_owned(),
            }]);
        }
    };
    match passwords::check(&secret) {
        Ok(()) => Ok(secret),
        Err(error) => Err(error.fields),
    }
}

fn invalid(faults: Vec<FieldError>) -> Error {
    Error::invalid_fields(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: Value) -> Vec<(String, String)> {
        let (members, password) = without_password(body).unwrap();
        let username = members.get("username").unwrap_or(&Value::Null);
        let error = check_new(username, password.as_ref()).unwrap_err();
        let fields = error.fields.into_iter();
        fields
            .map(|field| (field.property, field.message))
            .collect()
    }

    fn fault(property: &str, message: &str) -> (String, String) {
        (property.to_owned(), message.to_owned())
    }

    #[test]
    fn each_thing_that_is_wrong_is_named_once() {
        let no_name = fault("username", "can't be blank");
        let no_password = fault("password", "can't be blank");
        assert_eq!(faults(json!({})), [no_name.clone(), no_password.clone()]);
        for body in [
            json!({"username": "a"}),
            json!({"username": "a", "password": ""}),
        ] {
            assert_eq!(faults(body), std::slice::from_ref(&no_password));
        }
        assert_eq!(faults(json!({"username": " ", "password": "x"})), [no_name]);
        assert_eq!(
            faults(json!({"username": 5, "password": {}})),
            [
                fault("username", "must be a text"),
                fault("password", "must be a text")
            ]
        );
        let long = "x".repeat(passwords::BYTES_MAX + 1);
        assert_eq!(
            faults(json!({"username": "a", "password": long})),
            [fault("password", "can't be longer than 1024 bytes")]
        );
    }

    #[test]
    fn names_may_hold_whatever_people_type() {
        for name in ["first user", "{72b23a9d}", "a+b", "ä", "*"] {
            let body = json!({"username": name, "password": "x"});
            let (members, password) = without_password(body).unwrap();
            assert_eq!(
                check_new(&members["username"], password.as_ref()).unwrap(),
                name
            );
        }
        assert!(without_password(json!([])).is_err());
    }
}
