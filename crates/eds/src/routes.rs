//! What EDS answers to: one table, from which the router, the test of who may do what, and the published description
//! are made. The handlers below it are shape only: typed in, typed out, no rules.

mod objects;
mod people;
mod types;
mod webhooks;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::routing::{MethodRouter, delete, get, post, put};
use http::request::Parts;
use pilvi_model::query::{Parameters, Query};
use pilvi_model::{Error, ObjectId, ObjectType, Permission};
use pilvi_web::{Params, Refusal, Reply};

use crate::{Eds, audit};

pub(crate) type Answer = Result<Reply, Refusal>;

/// One call: a verb on a path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub verb: Verb,
    /// As axum writes it; `{type}` is a custom type's name without `objects.`.
    pub path: &'static str,
    pub who: Who,
    /// The schema of the request's body, as `openapi::schemas` names it; empty: none.
    pub takes: &'static str,
    /// The schema of the reply.
    pub gives: &'static str,
    /// One line for people.
    pub summary: &'static str,
    handler: fn() -> MethodRouter<Eds>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    /// No verb of the old clients; it means what PUT means here: change what is named.
    Patch,
    Delete,
}

/// Who may make a call. Administrators always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody: the call brings what it needs with it, such as a password.
    Anyone,
    /// Whoever is signed in to the backend.
    User,
    /// Whoever has `read` on the collection; they get what they may read of it.
    List,
    /// Whoever has `create` on the collection.
    Create,
    /// Whoever has the permission on the object.
    Object(Permission),
    /// Whoever has this permission for the group's members, or administers the group.
    Members(Membership),
    /// Decided for each operation in the call.
    Each,
    /// Administrators.
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Read,
    Create,
    Delete,
}

impl Membership {
    /// The key among the `members` of an access list.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

const fn route(
    verb: Verb,
    path: &'static str,
    handler: fn() -> MethodRouter<Eds>,
    who: Who,
    takes: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Route {
    Route {
        verb,
        path,
        who,
        takes,
        gives,
        summary,
        handler,
    }
}

use Permission as P;
use Verb::{Delete, Get, Patch, Post, Put};

/// All calls.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route(Get, "/v1/objects/{type}", || get(objects::list), Who::List, "", "Objects",
        "List or count the objects of a type"),
    route(Post, "/v1/objects/{type}", || post(objects::create), Who::Create, "Properties", "Object",
        "Create an object"),
    route(Get, "/v1/objects/{type}/{id}", || get(objects::get), Who::Object(P::Read), "", "Object",
        "Read an object"),
    route(Put, "/v1/objects/{type}/{id}", || put(objects::update), Who::Object(P::Update), "Properties", "Object",
        "Set properties of an object"),
    route(Patch, "/v1/objects/{type}/{id}", || axum::routing::patch(objects::update), Who::Object(P::Update),
        "Properties", "Object", "Set properties of an object"),
    route(Delete, "/v1/objects/{type}/{id}", || delete(objects::delete), Who::Object(P::Delete), "", "Empty",
        "Delete an object"),
    route(Put, "/v1/objects/{type}/{id}/atomic", || put(objects::update_atomically), Who::Object(P::Update), "Atomic",
        "Object", "Change an object by operators"),

    route(Get, "/v1/objects/{type}/{id}/access", || get(objects::get_access), Who::Object(P::Admin), "", "Access",
        "Read the access list of an object"),
    route(Post, "/v1/objects/{type}/{id}/access", || post(objects::set_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Replace the access list of an object"),
    route(Put, "/v1/objects/{type}/{id}/access", || put(objects::add_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Add subjects to the access list of an object"),
    route(Delete, "/v1/objects/{type}/{id}/access", || delete(objects::withdraw_access), Who::Object(P::Admin),
        "AccessChange", "Access", "Withdraw subjects from the access list of an object"),

    route(Get, "/v1/users", || get(objects::list), Who::List, "", "Objects", "List or count the users"),
    route(Post, "/v1/users", || post(people::create_user), Who::Create, "NewUser", "Object", "Register a user"),
    route(Get, "/v1/users/{id}", || get(objects::get), Who::Object(P::Read), "", "Object", "Read a user"),
    route(Put, "/v1/users/{id}", || put(people::update_user), Who::Object(P::Update), "UserChange", "Object",
        "Set properties of a user, or the password"),
    route(Patch, "/v1/users/{id}", || axum::routing::patch(people::update_user), Who::Object(P::Update),
        "UserChange", "Object", "Set properties of a user, or the password"),
    route(Delete, "/v1/users/{id}", || delete(objects::delete), Who::Object(P::Delete), "", "Empty",
        "Delete a user, with memberships and sessions"),
    route(Put, "/v1/users/{id}/atomic", || put(objects::update_atomically), Who::Object(P::Update), "Atomic", "Object",
        "Change a user by operators"),
    route(Get, "/v1/users/{id}/access", || get(objects::get_access), Who::Object(P::Admin), "", "Access",
        "Read the access list of a user"),
    route(Post, "/v1/users/{id}/access", || post(objects::set_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Replace the access list of a user"),
    route(Put, "/v1/users/{id}/access", || put(objects::add_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Add subjects to the access list of a user"),
    route(Delete, "/v1/users/{id}/access", || delete(objects::withdraw_access), Who::Object(P::Admin),
        "AccessChange", "Access", "Withdraw subjects from the access list of a user"),
    route(Get, "/v1/user", || get(people::current_user), Who::User, "", "CurrentUser",
        "Read the user who asks, with their usergroups"),

    route(Get, "/v1/usergroups", || get(objects::list), Who::List, "", "Objects", "List or count the usergroups"),
    route(Post, "/v1/usergroups", || post(objects::create), Who::Create, "Properties", "Object",
        "Create a usergroup"),
    route(Get, "/v1/usergroups/{id}", || get(objects::get), Who::Object(P::Read), "", "Object", "Read a usergroup"),
    route(Put, "/v1/usergroups/{id}", || put(objects::update), Who::Object(P::Update), "Properties", "Object",
        "Set properties of a usergroup"),
    route(Patch, "/v1/usergroups/{id}", || axum::routing::patch(objects::update), Who::Object(P::Update),
        "Properties", "Object", "Set properties of a usergroup"),
    route(Delete, "/v1/usergroups/{id}", || delete(objects::delete), Who::Object(P::Delete), "", "Empty",
        "Delete a usergroup"),
    route(Put, "/v1/usergroups/{id}/atomic", || put(objects::update_atomically), Who::Object(P::Update), "Atomic",
        "Object", "Change a usergroup by operators"),
    route(Get, "/v1/usergroups/{id}/access", || get(objects::get_access), Who::Object(P::Admin), "", "Access",
        "Read the access list of a usergroup"),
    route(Post, "/v1/usergroups/{id}/access", || post(objects::set_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Replace the access list of a usergroup"),
    route(Put, "/v1/usergroups/{id}/access", || put(objects::add_access), Who::Object(P::Admin), "AccessChange",
        "Access", "Add subjects to the access list of a usergroup"),
    route(Delete, "/v1/usergroups/{id}/access", || delete(objects::withdraw_access), Who::Object(P::Admin),
        "AccessChange", "Access", "Withdraw subjects from the access list of a usergroup"),
    route(Get, "/v1/usergroups/{id}/members", || get(people::list_members), Who::Members(Membership::Read), "",
        "Objects", "List or count the members of a usergroup"),
    route(Post, "/v1/usergroups/{id}/members", || post(people::add_member), Who::Members(Membership::Create),
        "Reference", "Member", "Add a user to a usergroup"),
    route(Delete, "/v1/usergroups/{id}/members", || delete(people::remove_member),
        Who::Members(Membership::Delete), "Reference", "Empty", "Remove a user from a usergroup"),

    route(Post, "/v1/auth/oauth2/token", || post(people::grant), Who::Anyone, "Grant", "Tokens",
        "Sign in with a name and a password, or renew a session"),
    route(Post, "/v1/auth/oauth2/revoke", || post(people::revoke), Who::Anyone, "Token", "Empty",
        "End the session of a token"),
    route(Post, "/v1/auth/identity", || post(people::identify), Who::Anyone, "Credentials", "Session",
        "Sign in as clients did before OAuth2"),
    route(Get, "/v1/session", || get(people::show_session), Who::Anyone, "", "Session",
        "Read the session of the header Enginio-Backend-Session"),
    route(Delete, "/v1/session", || delete(people::end_session), Who::Anyone, "", "Empty",
        "End the session of the header Enginio-Backend-Session"),
    route(Post, "/v1/auth/password_reset", || post(people::request_password_reset), Who::Anyone, "Whom", "Empty",
        "Mail a code for a new password"),
    route(Post, "/v1/auth/password_reset/confirm", || post(people::reset_password), Who::Anyone, "NewPassword",
        "Empty", "Set a new password with a mailed code"),
    route(Post, "/v1/auth/email_verification", || post(people::request_email_verification), Who::User, "", "Empty",
        "Mail a code to the address of the user who asks"),
    route(Post, "/v1/auth/email_verification/confirm", || post(people::confirm_email), Who::Anyone, "Token",
        "Empty", "Prove an address with a mailed code"),

    route(Post, "/v1/batch", || post(objects::batch), Who::Each, "Batch", "BatchResults",
        "Carry out up to 100 writes, all or none"),

    route(Get, "/v1/object_types", || get(types::list), Who::Admin, "", "ObjectTypes", "List the object types"),
    route(Post, "/v1/object_types", || post(types::merge), Who::Admin, "NewObjectType", "ObjectType",
        "Make an object type, or add to the one of this name"),
    route(Get, "/v1/object_types/{id}", || get(types::get), Who::Admin, "", "ObjectType",
        "Read an object type, by its id or its name"),
    route(Put, "/v1/object_types/{id}", || put(types::replace), Who::Admin, "ObjectTypeChange", "ObjectType",
        "Replace parts of an object type"),

    // No published client manages webhooks; these are Pilvi's own, with the security token.
    route(Get, "/v1/webhooks", || get(webhooks::list), Who::Admin, "", "Webhooks", "List the webhooks"),
    route(Post, "/v1/webhooks", || post(webhooks::create), Who::Admin, "NewWebhook", "Webhook",
        "Create a webhook"),
    route(Get, "/v1/webhooks/{id}", || get(webhooks::get), Who::Admin, "", "Webhook", "Read a webhook"),
    route(Put, "/v1/webhooks/{id}", || put(webhooks::update), Who::Admin, "WebhookChange", "Webhook",
        "Change a webhook"),
    route(Delete, "/v1/webhooks/{id}", || delete(webhooks::delete), Who::Admin, "", "Empty", "Delete a webhook"),
    route(Get, "/v1/webhooks/{id}/deliveries", || get(webhooks::deliveries), Who::Admin, "", "Deliveries",
        "Read the log of a webhook, newest first"),
];

/// The router of all calls.
pub(crate) fn table(eds: Eds) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = audit::watched(&eds, route, (route.handler)());
        router.route(route.path, handler)
    });
    router.with_state(eds)
}

/// The collection that a path is about: a custom type, or one of the built-in ones.
#[derive(Clone, Debug)]
pub(crate) struct Collection(pub ObjectType);

/// The object that a path is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub object_type: ObjectType,
    pub id: ObjectId,
}

impl FromRequestParts<Eds> for Collection {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let params = path_params(parts, eds).await?;
        let object_type = match param(&params, "type") {
            Some(name) => ObjectType::custom(name)?,
            None => built_in(parts.uri.path())?,
        };
        Ok(Self(object_type))
    }
}

impl FromRequestParts<Eds> for Target {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, eds: &Eds) -> Result<Self, Refusal> {
        let Collection(object_type) = Collection::from_request_parts(parts, eds).await?;
        let params = path_params(parts, eds).await?;
        let id = object_id(param(&params, "id").unwrap_or_default())?;
        Ok(Self { object_type, id })
    }
}

/// An id of a path; a malformed one is that of an object that does not exist (`eds.md` §3).
pub(crate) fn object_id(text: &str) -> Result<ObjectId, Error> {
    text.parse().map_err(|_| {
        Error::not_found("there is no such object; an id is 24 lower-case hex characters")
    })
}

async fn path_params(parts: &mut Parts, eds: &Eds) -> Result<RawPathParams, Refusal> {
    let params = RawPathParams::from_request_parts(parts, eds).await;
    params.map_err(|_| Error::bad_request("the path cannot be read").into())
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    let mut params = params.iter();
    params.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// `/v1/users/…` is about `users`.
fn built_in(path: &str) -> Result<ObjectType, Error> {
    path.split('/').nth(2).unwrap_or_default().parse()
}

/// The parameters of a list call.
pub(crate) fn query(params: &Params) -> Result<Query, Error> {
    Query::parse(&Parameters {
        q: params.given("q"),
        sort: params.given("sort"),
        limit: params.given("limit"),
        offset: params.given("offset"),
        after: params.given("after"),
        include: params.given("include"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_once() {
        for (place, route) in ROUTES.iter().enumerate() {
            assert!(route.path.starts_with("/v1/"), "{route:?}");
            assert!(
                !route.summary.is_empty() && !route.gives.is_empty(),
                "{route:?}"
            );
            let same = |other: &&Route| (other.verb, other.path) == (route.verb, route.path);
            assert_eq!(
                ROUTES.iter().position(|other| same(&other)),
                Some(place),
                "{route:?}"
            );
        }
    }

    #[test]
    fn a_built_in_collection_is_named_by_the_path() {
        assert_eq!(built_in("/v1/users/x").unwrap().as_str(), "users");
        assert_eq!(built_in("/v1/usergroups").unwrap().as_str(), "usergroups");
        assert!(built_in("/v1/objects").is_err());
    }
}
