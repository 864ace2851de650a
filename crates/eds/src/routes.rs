//! What EDS answers to: one table, from which the router, the test of who may do what, and the published description
//! are made. The handlers below it are shape only: typed in, typed out, no rules.

mod collector;
mod downloads;
mod files;
mod indexes;
mod live;
mod objects;
mod people;
mod search;
mod transfers;
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
    /// Everybody, but a credential that comes along must be valid.
    Valid,
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

    route(Get, "/v1/files", || get(files::list), Who::List, "", "Objects", "List or count the files"),
    route(Post, "/v1/files", || post(files::create), Who::Create, "NewFile", "File",
        "Upload a file, or announce one that comes in pieces"),
    route(Post, "/v1/files/collect", || post(collector::collect), Who::Admin, "Collect", "Collected",
        "Remove files that no object names, uploads that nobody goes on with, and bytes of neither"),
    route(Get, "/v1/files/{id}", || get(files::get), Who::Object(P::Read), "", "File", "Read what is known of a file"),
    route(Put, "/v1/files/{id}", || put(files::update), Who::Object(P::Update), "Properties", "File",
        "Set the name, the content type or own properties of a file"),
    route(Patch, "/v1/files/{id}", || axum::routing::patch(files::update), Who::Object(P::Update), "Properties",
        "File", "Set the name, the content type or own properties of a file"),
    route(Delete, "/v1/files/{id}", || delete(objects::delete), Who::Object(P::Delete), "", "Empty",
        "Delete a file, and take it out of the object that names it"),
    route(Put, "/v1/files/{id}/chunk", || put(files::put_chunk), Who::Object(P::Update), "Bytes", "File",
        "Send the next piece of a file"),
    route(Get, "/v1/files/{id}/download_url", || get(downloads::url), Who::Object(P::Read), "", "ExpiringUrl",
        "Get an address under which the bytes of a file, or of a variant, are there for an hour"),
    route(Get, "/v1/downloads/{backend}/{token}/{name}", || get(downloads::fetch), Who::Anyone, "", "Bytes",
        "Read the bytes of a file, or a part of them, under an address from download_url"),

    route(Post, "/v1/batch", || post(objects::batch), Who::Each, "Batch", "BatchResults",
        "Carry out up to 100 writes, all or none"),

    route(Get, "/v1/search", || get(search::search), Who::List, "", "Objects", "Find or count objects by their words"),

    route(Get, "/v1/object_types", || get(types::list), Who::Admin, "", "ObjectTypes", "List the object types"),
    route(Post, "/v1/object_types", || post(types::merge), Who::Admin, "NewObjectType", "ObjectType",
        "Make an object type, or add to the one of this name"),
    route(Get, "/v1/object_types/{id}", || get(types::get), Who::Admin, "", "ObjectType",
        "Read an object type, by its id or its name"),
    route(Put, "/v1/object_types/{id}", || put(types::replace), Who::Admin, "ObjectTypeChange", "ObjectType",
        "Replace parts of an object type"),
    route(Delete, "/v1/object_types/{id}", || delete(types::remove), Who::Admin, "", "RemovedObjectType",
        "Remove an object type, with its objects if you say so"),
    route(Get, "/v1/schema", || get(types::export), Who::Admin, "", "Schemas", "Export all object types"),
    route(Post, "/v1/schema", || post(types::import), Who::Admin, "Schemas", "ImportedSchemas",
        "Put exported object types in the place of those of the same names"),

    // So are indexes: the original said nothing about them but that a property has one.
    route(Get, "/v1/indexes", || get(indexes::list), Who::Admin, "", "Indexes", "List the indexes"),
    route(Post, "/v1/indexes", || post(indexes::create), Who::Admin, "NewIndex", "Index",
        "Have an index made, while everybody goes on writing"),
    route(Get, "/v1/indexes/{id}", || get(indexes::get), Who::Admin, "", "Index", "Read an index, and how far it is"),
    route(Delete, "/v1/indexes/{id}", || delete(indexes::delete), Who::Admin, "", "Empty", "Remove an index"),
    route(Get, "/v1/index_advice", || get(indexes::advice), Who::Admin, "", "IndexAdvice",
        "List queries that were slow, with the index that would have helped"),
    route(Delete, "/v1/index_advice", || delete(indexes::forget_advice), Who::Admin, "", "Empty",
        "Forget what was slow so far"),

    route(Get, "/v1/stream_url", || get(live::stream_url), Who::Valid, "", "StreamUrl",
        "Get an address at which a web socket is told of changes, as they happen"),
    // Live queries are Pilvi's own.
    route(Get, "/v1/live_url", || get(live::live_url), Who::List, "", "LiveUrl",
        "Get addresses at which a query can be followed"),
    route(Get, "/v1/live", || get(live::live), Who::List, "", "Events",
        "Follow a query as an event stream, or as a web socket with a ticket"),

    // No published client manages webhooks; these are Pilvi's own, with the security token.
    route(Get, "/v1/webhooks", || get(webhooks::list), Who::Admin, "", "Webhooks", "List the webhooks"),
    route(Post, "/v1/webhooks", || post(webhooks::create), Who::Admin, "NewWebhook", "CreatedWebhook",
        "Create a webhook"),
    route(Get, "/v1/webhooks/{id}", || get(webhooks::get), Who::Admin, "", "Webhook", "Read a webhook"),
    route(Put, "/v1/webhooks/{id}", || put(webhooks::update), Who::Admin, "WebhookChange", "Webhook",
        "Change a webhook"),
    route(Delete, "/v1/webhooks/{id}", || delete(webhooks::delete), Who::Admin, "", "Empty", "Delete a webhook"),
    route(Get, "/v1/webhooks/{id}/deliveries", || get(webhooks::deliveries), Who::Admin, "", "Deliveries",
        "Read the log of a webhook, newest first"),
    route(Get, "/v1/webhooks/{id}/deliveries/{delivery}", || get(webhooks::delivery), Who::Admin, "", "WholeDelivery",
        "Read a delivery with what it says"),
    route(Post, "/v1/webhooks/{id}/deliveries/{delivery}/replay", || post(webhooks::replay), Who::Admin, "",
        "Delivery", "Send a delivery again"),
    route(Post, "/v1/webhooks/{id}/replay", || post(webhooks::replay_failed), Who::Admin, "", "Replayed",
        "Send the deliveries again that failed"),
    route(Post, "/v1/webhooks/{id}/ping", || post(webhooks::ping), Who::Admin, "", "Attempt",
        "Send a webhook a request that tells of nothing"),
    route(Post, "/v1/webhooks/{id}/secret", || post(webhooks::rotate), Who::Admin, "Rotation", "FreshSecret",
        "Make a new secret to sign with"),

    route(Get, "/v1/export", || get(transfers::export), Who::Admin, "", "Archive",
        "Everything in the backend as an archive"),
    route(Get, "/v1/imports", || get(transfers::list), Who::Admin, "", "Imports", "List the imports, newest first"),
    route(Post, "/v1/imports", || post(transfers::announce), Who::Admin, "NewImport", "Import",
        "Announce an archive, or go on with the same one"),
    route(Get, "/v1/imports/{id}", || get(transfers::get), Who::Admin, "", "Import", "Read how far an import has come"),
    route(Put, "/v1/imports/{id}/chunk", || put(transfers::put_chunk), Who::Admin, "Bytes", "Import",
        "Bring a piece of the archive"),
    route(Post, "/v1/imports/{id}/start", || post(transfers::start), Who::Admin, "ImportStart", "Import",
        "Put what the archive holds into the backend"),
    route(Delete, "/v1/imports/{id}", || delete(transfers::remove), Who::Admin, "", "Empty", "Give an import up"),
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
