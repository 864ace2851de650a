//! The description of this service that programs read: OpenAPI 3.1, made from the table of calls.
//!
//! The calls, who may make them, and the names of what they take and give are those of [`ROUTES`]; what these names
//! mean is in `schemas`, and what goes beside a body in `parameters`. `pilvi openapi eds` prints the document, and
//! `docs/openapi/eds.json` is a copy that a test compares.

mod files;
mod parameters;
mod schemas;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::routes::{ROUTES, Route, Verb, Who};

/// The version of the specification that the document is written in.
const OPENAPI: &str = "3.1.1";

const ABOUT: &str = "Objects of any shape, the users and usergroups of an app, and who may do what. \
    Every call names its backend in the header Enginio-Backend-Id. JSON in a request is read whatever its \
    Content-Type says, and unknown members and parameters are ignored. Every reply has the header X-Request-Id: the \
    request's own, or a new one.";

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "Pilvi: Enginio Data Storage",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{
            "url": "http://127.0.0.1:8080",
            "description": "A server on this machine, as `pilvi demo` starts it",
        }],
        "tags": tags(),
        "paths": paths(),
        "components": {
            "securitySchemes": security_schemes(),
            "parameters": parameters::all(),
            "schemas": schemas::all(),
            "responses": refusals(),
        },
    })
}

/// The text of the document, as `docs/openapi/eds.json` keeps it.
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn tags() -> Value {
    let mut names: Vec<&str> = ROUTES.iter().map(tag).collect();
    names.dedup();
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// Calls stand together by what is behind `/v1/`.
fn tag(route: &Route) -> &'static str {
    match route.path.split('/').nth(2).unwrap_or_default() {
        "user" => "users",
        "session" => "auth",
        name => name,
    }
}

fn paths() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths
            .entry(route.path)
            .or_insert_with(|| json!({"parameters": parameters::of_path(route)}));
        path[verb(route.verb)] = operation(route);
    }
    Value::Object(paths)
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Put => "put",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
    }
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route)],
        "summary": route.summary,
        "description": needs(route.who),
        "security": security(route),
    });
    let beside = parameters::of_call(route);
    if !beside.is_empty() {
        operation["parameters"] = beside.into();
    }
    if !route.takes.is_empty() {
        operation["requestBody"] = request_body(route);
    }
    operation["responses"] = responses(route);
    operation
}

/// `PUT /v1/objects/{type}/{id}/access` is `putObjectsTypeIdAccess`: clients that are generated call it so.
fn operation_id(route: &Route) -> String {
    let names = route
        .path
        .split(['/', '_'])
        .skip(2)
        .map(|name| name.trim_matches(['{', '}']));
    let mut id = verb(route.verb).to_owned();
    for name in names {
        let (first, rest) = name.split_at(name.len().min(1));
        id.extend([&first.to_ascii_uppercase(), rest]);
    }
    id
}

fn needs(who: Who) -> String {
    match who {
        Who::Anyone => "For everybody.".to_owned(),
        Who::Valid => "For everybody; a credential that comes along must be valid.".to_owned(),
        Who::User => "For the signed-in users of the backend.".to_owned(),
        Who::List => {
            "Needs `read` on the collection, and shows what the caller may read.".to_owned()
        }
        Who::Create => "Needs `create` on the collection.".to_owned(),
        Who::Object(permission) => format!("Needs `{}` on the object.", permission.as_str()),
        Who::Members(membership) => format!(
            "Needs `{}` on the members of the usergroups, or `admin` on this one.",
            membership.as_str()
        ),
        Who::Each => "Each operation needs what it needs as a call of its own.".to_owned(),
        Who::Admin => "For administrators: the security token, or the account's token.".to_owned(),
    }
}

/// The header that names the backend is a scheme, too, so that whoever generates a client sets it once.
fn security_schemes() -> Value {
    let header = |name: &str, about: &str| {
        let kind = "apiKey";
        json!({"type": kind, "in": "header", "name": name, "description": about})
    };
    json!({
        "backend": header("Enginio-Backend-Id", "The backend that the call is about: 24 lower-case hex characters."),
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The access token of a user, the backend's security token, or the token of its account.",
        },
        "masterKey": header("Enginio-Backend-MasterKey", "The backend's security token, as older tools send it."),
        "session": header("Enginio-Backend-Session", "The token of a session of before OAuth2."),
    })
}

/// Which credentials make a difference, each in a line of its own; nothing but the backend stands for anonymous.
fn security(route: &Route) -> Value {
    let with = |scheme: &str| json!({"backend": [], scheme: []});
    let alone = json!({"backend": []});
    match route.who {
        Who::Anyone if route.path == "/v1/session" => json!([with("session")]),
        // The address says everything.
        Who::Anyone if route.gives == "Bytes" => json!([{}]),
        Who::Anyone => json!([alone]),
        Who::User => json!([with("token"), with("session")]),
        Who::Admin => json!([with("token"), with("masterKey")]),
        Who::Valid | Who::List | Who::Create | Who::Object(_) | Who::Members(_) | Who::Each => {
            json!([alone, with("token"), with("session"), with("masterKey")])
        }
    }
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn request_body(route: &Route) -> Value {
    if let Some(content) = files::content(route.takes) {
        return json!({"required": true, "content": content});
    }
    let mut content = json!({"application/json": {"schema": schema(route.takes)}});
    // What signs in is read from forms as well.
    if ["Grant", "Credentials"].contains(&route.takes) || route.path.ends_with("/revoke") {
        content["application/x-www-form-urlencoded"] = json!({"schema": schema(route.takes)});
    }
    json!({"required": true, "content": content})
}

fn response(about: &str, name: &str) -> Value {
    json!({"description": about, "content": {"application/json": {"schema": schema(name)}}})
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for status in successes(route) {
        let about = match *status {
            "201" => "It exists now",
            "206" => "The part that the header Range asks for",
            _ => "Done",
        };
        let kind = match route.gives {
            "Events" => "text/event-stream",
            // Whatever it says that it is.
            "Bytes" => "*/*",
            "Archive" => "application/x-tar",
            _ => "application/json",
        };
        let reply =
            json!({"description": about, "content": {kind: {"schema": schema(route.gives)}}});
        responses.insert((*status).to_owned(), reply);
    }
    for status in failures(route) {
        let name = match *status {
            "400" if route.takes == "Grant" => "GrantRefused",
            status => refusal_name(status),
        };
        let refusal = json!({"$ref": format!("#/components/responses/{name}")});
        responses.insert((*status).to_owned(), refusal);
    }
    let other = json!({"$ref": "#/components/responses/Refused"});
    responses.insert("default".to_owned(), other);
    Value::Object(responses)
}

fn successes(route: &Route) -> &'static [&'static str] {
    match (route.verb, route.takes) {
        // One of this name may be there already.
        (Verb::Post, "NewObjectType" | "NewImport" | "NewIndex") => &["200", "201"],
        (Verb::Post, "NewWebhook" | "Reference") => &["201"],
        (Verb::Get, _) if route.gives == "Bytes" => &["200", "206"],
        (Verb::Post, _) if route.who == Who::Create => &["201"],
        _ => &["200"],
    }
}

/// The refusals that belong to a call; all others are alike everywhere.
fn failures(route: &Route) -> &'static [&'static str] {
    let is_about_one = route.path.contains("{id}");
    match route.who {
        Who::Anyone if route.path == "/v1/auth/identity" => &["400", "401", "429"],
        Who::Anyone if route.path == "/v1/session" => &["400", "401"],
        Who::Anyone if route.gives == "Bytes" => &["403", "404", "429"],
        Who::Anyone => &["400", "429"],
        Who::User if route.verb == Verb::Post => &["400", "401", "429"],
        Who::User | Who::Valid => &["400", "401"],
        Who::List | Who::Create => &["400", "401", "403"],
        Who::Admin if !is_about_one => &["400", "401", "403"],
        Who::Object(_) | Who::Members(_) | Who::Each | Who::Admin => &["400", "401", "403", "404"],
    }
}

fn refusal_name(status: &str) -> &'static str {
    match status {
        "400" => "BadRequest",
        "401" => "Unauthorized",
        "403" => "Forbidden",
        "404" => "NotFound",
        "429" => "TooManyRequests",
        _ => "Refused",
    }
}

fn refusals() -> Value {
    let mut refusals = json!({
        "BadRequest": response("The request cannot be read, or what it asks for breaks a rule", "Refusal"),
        "GrantRefused": response("The credentials are wrong, or the request cannot be read", "GrantRefusal"),
        "Unauthorized": response("A credential is missing, or what was sent is none", "Refusal"),
        "Forbidden": response("The caller may not", "Refusal"),
        "NotFound": response("It does not exist, or is not for the caller to see", "Refusal"),
        "TooManyRequests": response("Too many attempts have failed; later ones are heard again", "Refusal"),
        "Refused": response("Any other refusal, with its status as in HTTP", "Refusal"),
    });
    refusals["TooManyRequests"]["headers"] = json!({"Retry-After": {
        "description": "After how many seconds the next attempt is heard",
        "schema": {"type": "integer", "minimum": 1},
    }});
    refusals
}
