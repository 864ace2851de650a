//! Who is in which usergroup (`eds.md` §7.2). The groups themselves are objects like others.

use pilvi_model::query::Query;
use pilvi_model::{Error, ObjectId, Result};
use serde_json::{Value, json};

use crate::Eds;
use crate::caller::Caller;
use crate::include::Listed;

impl Eds {
    /// Adds a user to a group and gives the user's object: whole, or its reference where the caller may not read it.
    pub(crate) async fn add_member(
        &self,
        caller: &Caller,
        group: ObjectId,
        body: Option<&Value>,
    ) -> Result<String> {
        let user = named_user(body)?;
        let author = caller.author(self);
        let object = caller.backend.add_member(group, user, author).await?;
        let reference = || json!({"id": user.to_string(), "objectType": "users"}).to_string();
        Ok(object.map_or_else(reference, |object| object.text))
    }

    pub(crate) async fn remove_member(
        &self,
        caller: &Caller,
        group: ObjectId,
        body: Option<&Value>,
    ) -> Result<()> {
        let user = named_user(body)?;
        let author = caller.author(self);
        caller.backend.remove_member(group, user, author).await
    }

    /// The members on the page.
    pub(crate) async fn list_members(
        &self,
        caller: &Caller,
        group: ObjectId,
        query: &Query,
    ) -> Result<Listed> {
        let asker = caller.asker.clone();
        let texts = caller.backend.list_members(asker, group, query).await?;
        self.listed(caller, query, texts).await
    }

    pub(crate) async fn count_members(
        &self,
        caller: &Caller,
        group: ObjectId,
        query: Query,
    ) -> Result<u64> {
        let asker = caller.asker.clone();
        caller
            .backend
            .count_members(asker, group, query.filter)
            .await
    }
}

/// The user that a body refers to. The Qt library cannot send one with a DELETE, and says `null` from Ruby.
fn named_user(body: Option<&Value>) -> Result<ObjectId> {
    let malformed = || {
        Error::bad_request(
            "the body must refer to a user, such as {\"id\":\"…\",\"objectType\":\"users\"}",
        )
    };
    let reference = body.and_then(Value::as_object).ok_or_else(malformed)?;
    let kind = reference.get("objectType").and_then(Value::as_str);
    let id = reference.get("id").and_then(Value::as_str);
    match (id, kind) {
        (Some(id), None | Some("users")) => id
            .parse()
            .map_err(|_| Error::not_found("there is no such user")),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::Kind;

    use super::*;

    #[test]
    fn a_member_is_a_reference_to_a_user() {
        let id = "51cdbc08989e975ec300772a";
        for body in [
            json!({"id": id, "objectType": "users"}),
            json!({"id": id}),
            json!({"id": id, "objectType": "users", "username": "anna"}),
        ] {
            assert_eq!(named_user(Some(&body)).unwrap().to_string(), id);
        }
        for (body, kind) in [
            (None, Kind::BadRequest),
            (Some(json!(null)), Kind::BadRequest),
            (Some(json!({})), Kind::BadRequest),
            (Some(json!({"id": 5})), Kind::BadRequest),
            (
                Some(json!({"id": id, "objectType": "usergroups"})),
                Kind::BadRequest,
            ),
            (Some(json!({"id": "INVALID_ID"})), Kind::NotFound),
        ] {
            assert_eq!(
                named_user(body.as_ref()).unwrap_err().kind,
                kind,
                "{body:?}"
            );
        }
    }
}
