//! What the names mean that [`ROUTES`](crate::routes::ROUTES) uses for bodies, and what those are made of.
//!
//! A schema of a request says what is understood, not that anything else is refused: what is not known is ignored. A
//! schema of a reply says what is always there.

use serde_json::{Map, Value, json};

use crate::limits::Limits;

/// Every schema by its name.
pub(super) fn all() -> Value {
    let groups = [
        scalars(),
        sockets(),
        messages(),
        configuration(),
        presence(),
        history(),
        events(),
        refusals(),
    ];
    let mut all = Map::new();
    for (name, schema) in groups.into_iter().flatten() {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

type Named = (&'static str, Value);

fn of(name: &str) -> Value {
    super::schema(name)
}

/// An object with these members, of which some are always there. It may have others.
fn object(about: &str, required: &[&str], members: Value) -> Value {
    let mut schema = json!({"type": "object"});
    if !about.is_empty() {
        schema["description"] = about.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema["properties"] = members;
    schema
}

fn list(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}

fn texts() -> Value {
    list(&json!({"type": "string"}))
}

fn results(about: &str, item: &str) -> Value {
    object(about, &["results"], json!({"results": list(&of(item))}))
}

/// `null`, or what the schema says.
fn nullable(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn scalars() -> Vec<Named> {
    vec![
        (
            "Id",
            json!({"type": "string", "pattern": "^[0-9a-f]{24}$", "examples": ["532831a2698b3c6ae8091d6d"]}),
        ),
        (
            "SocketId",
            json!({
                "type": "string",
                "description": "The token in the address of a socket, which is its id as well",
                "pattern": "^[0-9a-f]{64}$",
            }),
        ),
        (
            "MessageId",
            json!({
                "type": "string",
                "description": "Later messages have greater ones",
                "minLength": 1,
                "examples": ["01932d1f-5a6c-7000-8000-00000000002a"],
            }),
        ),
        (
            "Second",
            json!({
                "type": "string",
                "description": "UTC, in whole seconds",
                "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$",
                "examples": ["2014-03-14T06:33:51Z"],
            }),
        ),
        (
            "Time",
            json!({
                "type": "string",
                "description": "UTC, with or without parts of the second",
                "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$",
            }),
        ),
        (
            "Encoding",
            json!({
                "description": "How bytes that are no text stand in JSON",
                "enum": ["base64"],
            }),
        ),
        (
            "Empty",
            json!({"type": "object", "maxProperties": 0, "description": "Done; there is nothing to tell"}),
        ),
    ]
}

fn sockets() -> Vec<Named> {
    let limits = Limits::default();
    let uri = json!({
        "type": "string",
        "description": "Opens one socket, once",
        "pattern": r"^wss?://[^/]+/\?token=[0-9a-f]{64}$",
    });
    let a_tag = json!({
        "anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
        "description": format!("Up to {} bytes; what is no text becomes one", limits.tag_bytes_max),
    });
    let mut tags = list(&a_tag);
    tags["maxItems"] = limits.tags_per_socket_max.into();
    vec![
        (
            "SocketUri",
            object(
                "",
                &["expiresAt", "uri", "tags"],
                json!({"expiresAt": of("Second"), "uri": uri, "tags": texts()}),
            ),
        ),
        ("Tags", object("", &[], json!({"tags": nullable(&tags)}))),
        (
            "NewSocket",
            object(
                "",
                &["id", "tags", "expiresAt", "uri"],
                json!({"id": of("SocketId"), "tags": texts(), "expiresAt": of("Second"), "uri": uri}),
            ),
        ),
        (
            "Socket",
            object(
                "A connected socket",
                &["id", "connectedAt", "createdAt", "tags"],
                json!({
                    "id": of("SocketId"),
                    "connectedAt": of("Second"),
                    "createdAt": {"$ref": "#/components/schemas/Second", "description": "The same as connectedAt"},
                    "tags": texts(),
                }),
            ),
        ),
        (
            "TaggedSocket",
            json!({
                "description": "The socket as it is now: connected, or still to be opened",
                "anyOf": [of("Socket"), of("NewSocket")],
            }),
        ),
        ("Sockets", results("", "Socket")),
    ]
}

fn messages() -> Vec<Named> {
    let limits = Limits::default();
    vec![
        (
            "Receivers",
            object(
                &format!(
                    "A socket that any of them names gets the message, once. {} names at most",
                    limits.receivers_max
                ),
                &[],
                json!({
                    "sockets": {
                        "anyOf": [texts(), {"type": "null"}],
                        "description": "Ids of sockets, or * for all",
                    },
                    "tags": {"anyOf": [texts(), {"type": "null"}], "description": "Every socket that has one of them"},
                }),
            ),
        ),
        (
            "NewMessage",
            object(
                "",
                &["data", "receivers"],
                json!({
                    "data": {
                        "not": {"type": "null"},
                        "description": format!(
                            "What arrives, up to {} bytes: a text as it is, anything else as its compact JSON",
                            limits.data_bytes_max
                        ),
                    },
                    "encoding": {
                        "$ref": "#/components/schemas/Encoding",
                        "description": "Sends the bytes that the data stands for, in a binary frame",
                    },
                    "receivers": of("Receivers"),
                }),
            ),
        ),
        (
            "Message",
            object(
                "",
                &["data", "receivers"],
                json!({"data": {"type": "string"}, "encoding": of("Encoding"), "receivers": of("Receivers")}),
            ),
        ),
        (
            "Webhook",
            object(
                "What a webhook of a data backend sends",
                &["payload", "receivers"],
                json!({
                    "payload": {
                        "type": ["object", "string"],
                        "description": "What arrives: a text as it is, an object as its compact JSON",
                    },
                    "receivers": list(&object(
                        "Becomes the tag `<objectType>.<id>`; `aclSubject.*` stands for all sockets",
                        &["id", "objectType"],
                        json!({"id": {"type": "string"}, "objectType": {"type": "string"}}),
                    )),
                }),
            ),
        ),
    ]
}

fn configuration() -> Vec<Named> {
    let subjects = list(&json!({
        "type": "string",
        "pattern": r"^(\*|users\.[0-9a-f]{24}|usergroups\.[0-9a-f]{24})$",
    }));
    let members = || {
        json!({
            "name": {"type": "string", "minLength": 1},
            "accessControl": {
                "enum": ["none", "eds", "custom"],
                "description": "Who may listen and send: everybody, users of a data backend, or only the owner",
            },
            "identityProvider": nullable(&of("IdentityProvider")),
            "permissions": nullable(&of("Permissions")),
            "compression": {"type": "boolean", "description": "Sockets may compress what they send and receive"},
            "events": nullable(&of("EventSettings")),
            "presence": nullable(&of("PresenceSettings")),
            "history": nullable(&list(&of("HistoryRule"))),
        })
    };
    let always = [
        "name",
        "accessControl",
        "identityProvider",
        "permissions",
        "compression",
        "events",
        "presence",
        "history",
    ];
    vec![
        ("Configuration", object("", &always, members())),
        (
            "ConfigurationChange",
            object("What is not named stays as it is", &[], members()),
        ),
        (
            "IdentityProvider",
            object(
                "The data backend whose users may come",
                &["type", "backendId"],
                json!({"type": {"const": "eds"}, "backendId": of("Id")}),
            ),
        ),
        (
            "Permissions",
            object(
                "Which of its users may; a list that is missing holds nobody",
                &[],
                json!({"read": subjects, "write": subjects}),
            ),
        ),
        (
            "EventSettings",
            object(
                "Where the app is told what sockets do, and of what",
                &["url"],
                json!({
                    "url": {"type": "string", "pattern": "^https?://", "maxLength": 2048},
                    "events": nullable(&list(&json!({"enum": ["connect", "message", "disconnect"]}))),
                }),
            ),
        ),
        (
            "PresenceSettings",
            object(
                "Of which tags it is told who is there",
                &["tags"],
                json!({"tags": {"type": "array", "items": of("TagPattern"), "minItems": 1, "maxItems": 20}}),
            ),
        ),
        (
            "HistoryRule",
            object(
                "Which messages are kept; a tag goes by the first rule about it",
                &["tag"],
                json!({
                    "tag": of("TagPattern"),
                    "messages": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                    "bytes": {"type": "integer", "minimum": 1, "maximum": 1 << 20, "default": 256 << 10},
                    "seconds": {"type": "integer", "minimum": 1, "maximum": 86_400, "default": 3600},
                    "replay": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 1000,
                        "default": 0,
                        "description": "How many of them a new socket gets first",
                    },
                }),
            ),
        ),
        (
            "TagPattern",
            json!({
                "type": "string",
                "description": "A tag, or the beginning of tags followed by *",
                "minLength": 1,
                "examples": ["lobby", "room.*"],
            }),
        ),
    ]
}

fn presence() -> Vec<Named> {
    let count = json!({"type": "integer", "minimum": 0});
    vec![
        (
            "Presence",
            object(
                "The members of one tag, or all tags that have some",
                &["results"],
                json!({
                    "tag": {"type": "string"},
                    "count": count,
                    "results": list(&json!({"anyOf": [of("Member"), of("PresentTag")]})),
                }),
            ),
        ),
        (
            "Member",
            object(
                "A connected socket, as others see it",
                &["id", "since"],
                json!({
                    "id": {"type": "string", "description": "Says nothing of the socket's own id"},
                    "user": {"type": "string", "description": "Whose it is, where that is known"},
                    "since": of("Time"),
                    "socket": {"$ref": "#/components/schemas/SocketId", "description": "For the owner alone"},
                }),
            ),
        ),
        (
            "PresentTag",
            object(
                "",
                &["tag", "count"],
                json!({"tag": {"type": "string"}, "count": count}),
            ),
        ),
    ]
}

fn history() -> Vec<Named> {
    vec![
        (
            "History",
            object(
                "Messages that were kept, oldest first",
                &["results", "complete"],
                json!({
                    "results": list(&of("KeptMessage")),
                    "complete": {
                        "type": "boolean",
                        "description": "Whether nothing is missing behind the message that was named",
                    },
                }),
            ),
        ),
        (
            "KeptMessage",
            object(
                "",
                &["id", "at", "data"],
                json!({
                    "id": of("MessageId"),
                    "at": of("Time"),
                    "data": {"type": "string"},
                    "encoding": of("Encoding"),
                }),
            ),
        ),
    ]
}

fn events() -> Vec<Named> {
    vec![
        (
            "Rotation",
            object(
                "",
                &[],
                json!({"overlapHours": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": pilvi_core::signing::OVERLAP_HOURS_MAX,
                    "default": 24,
                    "description": "For how long the secret before signs along",
                }}),
            ),
        ),
        (
            "FreshSecret",
            object(
                "Shown now and never again",
                &["secret"],
                json!({
                    "secret": {"type": "string", "pattern": "^whsec_"},
                    "previousUntil": {
                        "anyOf": [of("Time"), {"type": "null"}],
                        "description": "How long the secret before signs along",
                    },
                }),
            ),
        ),
        (
            "Attempt",
            object(
                "How posting an event went",
                &[
                    "delivered",
                    "status",
                    "answer",
                    "error",
                    "signed",
                    "durationMs",
                ],
                json!({
                    "delivered": {"type": "boolean"},
                    "status": {"type": ["integer", "null"], "description": "What the app answered, if it did"},
                    "answer": {"type": ["string", "null"], "description": "The beginning of its answer"},
                    "error": {"type": ["string", "null"], "description": "What was wrong with it"},
                    "signed": {"type": "boolean", "description": "Whether there is a secret to sign with"},
                    "durationMs": {"type": "integer", "minimum": 0},
                }),
            ),
        ),
        (
            "Event",
            object(
                "",
                &["type", "timestamp", "data"],
                json!({
                    "type": {"enum": ["connect", "message", "disconnect", "test"]},
                    "timestamp": of("Time"),
                    "data": of("EventData"),
                }),
            ),
        ),
        (
            "EventData",
            object(
                "What there is to say depends on the type",
                &["gateway"],
                json!({
                    "gateway": of("Id"),
                    "socket": of("EventSocket"),
                    "request": object(
                        "Of connect: what the client's request said",
                        &["address", "query"],
                        json!({
                            "address": {"type": "string"},
                            "origin": {"type": ["string", "null"]},
                            "userAgent": {"type": ["string", "null"]},
                            "query": {"type": "object", "description": "Without the token"},
                        }),
                    ),
                    "sequence": {"type": "integer", "minimum": 1, "description": "Of message: from 1 for each socket"},
                    "data": {"type": "string", "description": "Of message"},
                    "encoding": of("Encoding"),
                    "code": {"type": "integer", "description": "Of disconnect: how the socket was closed"},
                    "reason": {"type": "string"},
                    "clean": {"type": "boolean", "description": "Of disconnect: both sides said goodbye"},
                }),
            ),
        ),
        (
            "EventSocket",
            object(
                "Of all but test",
                &["id", "tags", "connectedAt", "transport"],
                json!({
                    "id": of("SocketId"),
                    "tags": texts(),
                    "connectedAt": of("Time"),
                    "transport": {"enum": ["websocket", "eventstream"]},
                    "user": {"type": "string", "description": "Whose it is, where that is known"},
                }),
            ),
        ),
        (
            "EventAnswer",
            object(
                "",
                &[],
                json!({
                    "refuse": {"type": "boolean", "description": "To connect: closes the socket with 1008"},
                    "reason": {"type": "string", "description": "Why, for the client"},
                    "tags": {
                        "description": "To connect: tags to add. To message: tags to add and to remove",
                        "anyOf": [texts(), object("", &[], json!({"add": texts(), "remove": texts()}))],
                    },
                    "reply": {"description": "Goes to the socket: a text as it is, anything else as its compact JSON"},
                    "encoding": of("Encoding"),
                }),
            ),
        ),
    ]
}

fn refusals() -> Vec<Named> {
    let text = json!({"type": "string", "minLength": 1});
    vec![
        (
            "Refusal",
            object(
                "",
                &["error"],
                json!({"error": object(
                    "",
                    &["reason", "message"],
                    json!({"reason": text, "message": text}),
                )}),
            ),
        ),
        (
            "Invalid",
            json!({"anyOf": [of("Refusal"), of("BrokenRules")]}),
        ),
        (
            "BrokenRules",
            object(
                "",
                &["errors"],
                json!({"errors": list(&object(
                    "",
                    &["reason", "property", "message"],
                    json!({"reason": text, "property": text, "message": text}),
                ))}),
            ),
        ),
    ]
}
