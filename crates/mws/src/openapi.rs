//! The description of gateways that programs read: OpenAPI 3.1, made from the table of calls.
//!
//! The calls, who may make them, and the names of what they take and give are those of the table of routes; what
//! these names mean is in `schemas`. `pilvi openapi mws` prints the document, and `docs/openapi/mws.json` is a copy
//! that a test compares.

mod schemas;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::gateway::Act;
use crate::limits::Limits;
use crate::routes::{Place, ROUTES, Route, Verb};

/// The version of the specification that the document is written in.
const OPENAPI: &str = "3.1.1";

/// Where a gateway is in a cloud.
const BASE: &str = "/v1/gateways/{gateway}";

const ABOUT: &str = "Messages to many sockets at once. A client gets an address, opens a socket with it, and listens; \
    whoever may send posts messages to all sockets, to some, or to those that have a tag. JSON in a request is read \
    whatever its Content-Type says, and unknown members and parameters are ignored. Every reply has the header \
    X-Request-Id: the request's own, or a new one. The same calls are below /v1/instances/{gateway}, as clients of \
    early 2014 have it, and below /v1 where `pilvi gateway` runs alone.";

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "Pilvi: Managed WebSocket",
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
        "webhooks": {"event": told()},
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A security token of the gateway, the token of its account, or the access token of a \
                    user of the data backend that the gateway trusts.",
            }},
            "parameters": parameters(),
            "schemas": schemas::all(),
            "responses": refusals(),
        },
    })
}

/// The text of the document, as `docs/openapi/mws.json` keeps it.
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn tags() -> Value {
    let mut names: Vec<&str> = Vec::new();
    for name in ROUTES.iter().map(tag) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.iter().map(|name| json!({ "name": name })).collect()
}

/// Calls that are about one tag.
const OF_TAGS: [&str; 2] = ["/presence", "/history"];

/// Calls stand together by the noun in their paths.
fn tag(route: &Route) -> &'static str {
    route.path.split('/').nth(1).unwrap_or_default()
}

fn paths() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths
            .entry(format!("{BASE}{}", route.path))
            .or_insert_with(|| json!({"parameters": of_path(route)}));
        path[verb(route.verb)] = operation(route);
    }
    paths.insert("/".to_owned(), json!({"get": event_stream()}));
    Value::Object(paths)
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Put => "put",
        Verb::Delete => "delete",
    }
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "tags": [tag(route)],
        "summary": route.summary,
        "description": needs(route),
        "security": security(route),
    });
    let beside: Vec<Value> = of_query(route).iter().map(|name| parameter(name)).collect();
    if !beside.is_empty() {
        operation["parameters"] = beside.into();
    }
    if !route.takes.is_empty() {
        operation["requestBody"] = json!({
            "required": !matches!(route.takes, "Tags" | "Rotation"),
            "content": {"application/json": {"schema": schema(route.takes)}},
        });
    }
    operation["responses"] = responses(route);
    operation
}

/// `GET /sockets/{id}` is `getSocketsId`: clients that are generated call it so.
fn operation_id(route: &Route) -> String {
    let names = route.path.split(['/', '_']);
    let mut id = verb(route.verb).to_owned();
    for name in names.map(|name| name.trim_matches(['{', '}'])) {
        let (first, rest) = name.split_at(name.len().min(1));
        id.extend([&first.to_ascii_uppercase(), rest]);
    }
    id
}

fn needs(route: &Route) -> String {
    let who = match route.who {
        Act::Read if OF_TAGS.contains(&route.path) => {
            "For the gateway's owner; for whoever names a connected socket that has the tag; and for users, about the \
             tags that their sockets have."
        }
        Act::Read => "For those who may listen, as the gateway's access control says.",
        Act::Write => "For those who may send, as the gateway's access control says.",
        Act::Administer => "For the gateway's owner.",
    };
    let place = match route.place {
        Place::Any => "",
        Place::Cloud => " Not there where `pilvi gateway` runs alone.",
    };
    format!("{who}{place}")
}

/// An open gateway asks for nothing.
fn security(route: &Route) -> Value {
    match route.who {
        Act::Read | Act::Write => json!([{}, {"token": []}]),
        Act::Administer => json!([{"token": []}]),
    }
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn of_path(route: &Route) -> Value {
    let mut names = vec!["Gateway"];
    if route.path.contains("{id}") {
        names.push("Id");
    }
    names.into_iter().map(parameter).collect()
}

/// What goes behind the question mark.
fn of_query(route: &Route) -> &'static [&'static str] {
    match (route.verb, route.path) {
        (Verb::Get, "/sockets") => &["Limit", "Offset"],
        (Verb::Get, "/presence") => &["PresenceTag", "SocketToken", "Limit", "Offset", "AfterTag"],
        (Verb::Get, "/history") => &["HistoryTag", "SocketToken", "After", "Limit"],
        _ => &[],
    }
}

fn parameters() -> Value {
    let of = |place: &str, name: &str, required: bool, about: &str, schema: Value| {
        let mut parameter = json!({"name": name, "in": place, "required": required});
        parameter["description"] = about.into();
        parameter["schema"] = schema;
        parameter
    };
    let limits = Limits::default();
    let tag = json!({"type": "string", "minLength": 1});
    let number = json!({"type": "integer", "minimum": 0});
    json!({
        "Gateway": of("path", "gateway", true, "The gateway's id", schema("Id")),
        "Id": of("path", "id", true, "The id of a socket", schema("SocketId")),
        "Limit": of(
            "query",
            "limit",
            false,
            &format!("How many at most; more than {} are not given at once", limits.page_max),
            number.clone(),
        ),
        "Offset": of("query", "offset", false, "How many to leave out at the beginning", number),
        "PresenceTag": of("query", "tag", false, "Whose members; without it all tags that have some", tag.clone()),
        "HistoryTag": of("query", "tag", true, "Of which messages were kept", tag.clone()),
        "AfterTag": of("query", "after", false, "In the list of all tags, only those behind this one", tag.clone()),
        "SocketToken": of(
            "query",
            "token",
            false,
            "The token of a connected socket that has the tag, for whoever has no other right to ask",
            schema("SocketId"),
        ),
        "After": of("query", "after", false, "Only what came after this message", schema("MessageId")),
    })
}

fn response(about: &str, name: &str) -> Value {
    json!({"description": about, "content": {"application/json": {"schema": schema(name)}}})
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let (status, about) = match route.takes {
        "NewMessage" | "Webhook" => ("201", "It is on its way to whoever is connected"),
        "Tags" if route.verb == Verb::Post => ("201", "The address can be opened"),
        _ => ("200", "Done"),
    };
    let mut success = response(about, route.gives);
    if route.gives == "Message" {
        success["headers"] = json!({"X-Message-Id": {
            "description": "The message's id, by which history and event streams name it",
            "schema": schema("MessageId"),
            "required": true,
        }});
    }
    responses.insert(status.to_owned(), success);
    for status in failures(route) {
        let refusal = json!({"$ref": format!("#/components/responses/{}", refusal_name(status))});
        responses.insert((*status).to_owned(), refusal);
    }
    let other = json!({"$ref": "#/components/responses/Refused"});
    responses.insert("default".to_owned(), other);
    Value::Object(responses)
}

/// The refusals that belong to a call; all others are alike everywhere.
fn failures(route: &Route) -> &'static [&'static str] {
    match (route.who, route.takes.is_empty()) {
        (Act::Read, _) => &["401", "403", "404", "422", "429", "503"],
        (Act::Write, _) => &["401", "403", "404", "413", "422", "503"],
        (Act::Administer, true) if of_query(route).is_empty() => &["401", "404"],
        (Act::Administer, true) => &["401", "404", "422"],
        (Act::Administer, false) => &["401", "404", "413", "422"],
    }
}

fn refusal_name(status: &str) -> &'static str {
    match status {
        "401" => "Unauthorized",
        "403" => "Forbidden",
        "404" => "NotFound",
        "413" => "TooLarge",
        "422" => "Invalid",
        "429" => "TooMany",
        "503" => "Unavailable",
        _ => "Refused",
    }
}

fn refusals() -> Value {
    json!({
        "Unauthorized": response("The token is missing, or opens nothing here", "Refusal"),
        "Forbidden": response("The user may not", "Refusal"),
        "NotFound": response("There is no such gateway or socket", "Refusal"),
        "TooLarge": response("The message is larger than one may be", "Refusal"),
        "Invalid": response("The body is no JSON object, or breaks a rule", "Invalid"),
        "TooMany": response("The gateway, or its account, has as many sockets as it may", "Refusal"),
        "Unavailable": response("Not now; the same request may succeed later", "Refusal"),
        "Refused": response("Any other refusal, with its status as in HTTP", "Refusal"),
    })
}

/// An address that was got for a socket, read as an event stream instead.
fn event_stream() -> Value {
    json!({
        "operationId": "getEvents",
        "tags": ["websocket_uri"],
        "summary": "Listen where web sockets do not get through",
        "description": "The address of a socket with http for ws and https for wss, asked for with Accept: \
            text/event-stream. It can be used once. Any path will do; the token counts.",
        "security": [{}],
        "parameters": [
            {
                "name": "token",
                "in": "query",
                "required": true,
                "description": "The token in the address",
                "schema": schema("SocketId"),
            },
        ],
        "responses": {
            "200": {
                "description": "Messages as they are sent: `data` in lines, `id` with the message's id. An event \
                    `binary` holds base64, an event `close` is the last and holds {\"code\",\"reason\"}.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "410": response("The address was used, or is too old; get a new one", "Refusal"),
            "default": {"$ref": "#/components/responses/Refused"},
        },
    })
}

/// What a gateway with events posts to its app.
fn told() -> Value {
    let header = |name: &str, about: &str| {
        json!({
            "name": name,
            "in": "header",
            "required": true,
            "description": about,
            "schema": {"type": "string"},
        })
    };
    json!({"post": {
        "summary": "Tell the app that a socket connects, says something, or is gone",
        "description": "Signed as Standard Webhooks has it, once the gateway has a secret. The events of one socket \
            come one after the other.",
        "parameters": [
            header("webhook-id", "The same each time that an event is tried again"),
            header("webhook-timestamp", "Seconds since 1970"),
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": schema("Event")}}},
        "responses": {
            "200": {
                "description": "Heard. An empty answer, or one without these members, lets things take their course.",
                "content": {"application/json": {"schema": schema("EventAnswer")}},
            },
            "403": {"description": "The socket that connects is refused, as with 401: it is closed with 1008"},
        },
    }})
}
