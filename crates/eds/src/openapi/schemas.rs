//! What the names mean that [`ROUTES`](crate::ROUTES) uses for bodies, and what those are made of.
//!
//! A schema of a request says what is understood, not that anything else is refused: what is not known is ignored, or
//! kept as a property. A schema of a reply says what is always there.

use pilvi_core::passwords;
use pilvi_model::Permission;
use pilvi_model::query::{include, sort};
use pilvi_model::search::{self, phrase};
use pilvi_model::update::CHANGES_MAX;
use pilvi_store::backend::{Change, USERNAME_BYTES_MAX};
use serde_json::{Map, Value, json};

use crate::batch::OPERATIONS_MAX;
use crate::collector::HOURS_MAX;
use crate::indexes::PROPERTY_BYTES_MAX;
use crate::transfers::IMPORT_BYTES_MAX;
use crate::types::ENTRIES_MAX;
use crate::webhooks::signing::OVERLAP_HOURS_MAX;
use crate::webhooks::{HEADERS_MAX, MASK, REPLAYS_MAX, TYPES_MAX};
use pilvi_model::schema::PropertyType;

/// Every schema by its name.
pub(super) fn all() -> Value {
    let groups = [
        scalars(),
        objects(),
        lists(),
        writes(),
        access(),
        people(),
        signing_in(),
        mails(),
        batches(),
        types(),
        indexes(),
        webhooks(),
        transfers(),
        collecting(),
        super::files::schemas(),
        streams(),
        refusals(),
    ];
    let mut all = Map::new();
    for (name, schema) in groups.into_iter().flatten() {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

pub(super) type Named = (&'static str, Value);

pub(super) fn of(name: &str) -> Value {
    super::schema(name)
}

/// An object with these members, of which some are always there. It may have others.
pub(super) fn object(about: &str, required: &[&str], members: Value) -> Value {
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

fn results(item: &str) -> Value {
    object(
        "",
        &["results"],
        json!({"results": {"type": "array", "items": of(item)}}),
    )
}

fn scalars() -> Vec<Named> {
    vec![
        (
            "Id",
            json!({"type": "string", "pattern": "^[0-9a-f]{24}$", "examples": ["51cdbc08989e975ec300772a"]}),
        ),
        (
            "Time",
            json!({
                "type": "string",
                "description": "UTC, always with three digits behind the second",
                "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
                "examples": ["2013-06-28T16:38:32.369Z"],
            }),
        ),
        (
            "TypeName",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_]{1,100}$", "examples": ["todos"]}),
        ),
        (
            "ObjectTypeName",
            json!({
                "type": "string",
                "pattern": "^(objects\\.[A-Za-z0-9_]{1,100}|users|usergroups|files)$",
                "examples": ["objects.todos", "users"],
            }),
        ),
        (
            "Empty",
            json!({"type": "object", "maxProperties": 0, "description": "Done; there is nothing to tell"}),
        ),
    ]
}

fn objects() -> Vec<Named> {
    let reference =
        |about: &str| json!({"$ref": "#/components/schemas/Reference", "description": about});
    vec![
        (
            "Reference",
            object(
                "An object, named by its id and type. Where `include` asks for it, the whole object stands there",
                &["id", "objectType"],
                json!({"id": of("Id"), "objectType": of("ObjectTypeName")}),
            ),
        ),
        (
            "Object",
            object(
                "A stored object: what the server keeps, and the properties that it was given",
                &["id", "objectType", "createdAt", "updatedAt"],
                json!({
                    "id": of("Id"),
                    "objectType": of("ObjectTypeName"),
                    "createdAt": of("Time"),
                    "updatedAt": of("Time"),
                    "creator": reference("The user who created it; none when nobody was signed in"),
                    "updater": reference("The user who wrote it last; none when nobody was signed in"),
                }),
            ),
        ),
        (
            "Properties",
            json!({
                "type": "object",
                "description": "Properties to set. Those that the server keeps (`id`, `objectType`, `createdAt`, \
                    `updatedAt`, `creator`, `updater`) are ignored, so an object that was read may be sent back",
                "propertyNames": {"pattern": r"^(?!\$)[^.\u0000]+$"},
            }),
        ),
    ]
}

fn lists() -> Vec<Named> {
    let key = object(
        "",
        &["sortBy"],
        json!({
            "sortBy": {"type": "string", "minLength": 1},
            "direction": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
        }),
    );
    vec![
        (
            "Filter",
            json!({
                "type": "object",
                "description": "A filter in the language of MongoDB: properties with a value or with operators",
                "examples": [{"completed": false, "priority": {"$gte": 3}}],
            }),
        ),
        (
            "Sort",
            json!({"oneOf": [key, {"type": "array", "maxItems": sort::KEYS_MAX, "items": key}]}),
        ),
        (
            "Include",
            json!({
                "type": "object",
                "description": "The names of properties whose references are expanded",
                "maxProperties": include::NAMES_MAX,
                "additionalProperties": object("", &[], json!({"include": of("Include")})),
                "examples": [{"creator": {}}],
            }),
        ),
        (
            "Search",
            object(
                "What a search looks for",
                &["phrase"],
                json!({
                    "phrase": {
                        "type": "string",
                        "maxLength": phrase::PHRASE_BYTES_MAX,
                        "description": "Words with AND, OR, NOT, quotes, parentheses, and * at the ends of words",
                        "examples": ["cat OR dog", "\"black cat\" -dog*"],
                    },
                    "properties": {
                        "description": "Look only at these; an array, or names with commas between them",
                        "oneOf": [
                            {"type": "array", "items": {"type": "string"}, "maxItems": search::PROPERTIES_MAX},
                            {"type": "string"},
                        ],
                    },
                    "defaultOperator": {
                        "type": "string",
                        "enum": ["OR", "AND"],
                        "default": "OR",
                        "description": "What joins words with nothing between them",
                    },
                    "near": object(
                        "Only objects that are somewhere there",
                        &["point", "distance"],
                        json!({
                            "point": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                            "distance": {"type": "number", "minimum": 0, "description": "In metres"},
                            "property": {"type": "string", "description": "Where the location has to be"},
                        }),
                    ),
                }),
            ),
        ),
        (
            "Query",
            object(
                "What the list was asked for",
                &["query", "limit", "offset"],
                json!({
                    "query": of("Filter"),
                    "limit": {"type": "integer", "minimum": 0},
                    "offset": {"type": "integer", "minimum": 0},
                    "sort": of("Sort"),
                    "include": of("Include"),
                    "objectTypes": {"type": "array", "items": {"type": "string"}},
                    "search": of("Search"),
                }),
            ),
        ),
        (
            "ObjectList",
            object(
                "A page of objects",
                &["query", "results"],
                json!({
                    "query": of("Query"),
                    "results": {"type": "array", "items": of("Object")},
                    "next": {"type": "string", "description": "For `after`, when another page may follow"},
                }),
            ),
        ),
        (
            "Count",
            object(
                "How many there are",
                &["query", "count"],
                json!({"query": of("Query"), "count": {"type": "integer", "minimum": 0}, "results": false}),
            ),
        ),
        ("Objects", json!({"oneOf": [of("ObjectList"), of("Count")]})),
    ]
}

fn writes() -> Vec<Named> {
    let of_properties = |operand: Value| json!({"type": "object", "additionalProperties": operand});
    let number = || of_properties(json!({"type": "number"}));
    let ordered = || of_properties(json!({"type": ["number", "string", "object"]}));
    let any = || of_properties(json!(true));
    let operators = json!({
        "$inc": number(),
        "$mul": number(),
        "$min": ordered(),
        "$max": ordered(),
        "$set": any(),
        "$unset": any(),
        "$push": any(),
        "$addToSet": any(),
        "$pull": any(),
        "$pullAll": of_properties(json!({"type": "array"})),
        "$pop": any(),
        "$rename": of_properties(json!({"type": "string"})),
    });
    vec![(
        "Atomic",
        json!({
            "type": "object",
            "description": format!("Operators and the properties that they change, {CHANGES_MAX} at most"),
            "minProperties": 1,
            "properties": operators,
            "additionalProperties": false,
            "examples": [{"$inc": {"votes": 1}, "$push": {"tags": "new"}}],
        }),
    )]
}

fn access() -> Vec<Named> {
    let lists = |item: Value| {
        let list = |permission: Permission| {
            (
                permission.as_str().to_owned(),
                json!({"type": "array", "maxItems": 1000, "items": item.clone()}),
            )
        };
        Value::Object(Permission::ALL.into_iter().map(list).collect())
    };
    let names = Permission::ALL.map(Permission::as_str);
    vec![
        (
            "Subject",
            object(
                "Whom a permission is given to: a user, a usergroup, `*` for everybody, `authenticated` for everybody \
                 who is signed in, or in templates `creator`. With `expand`, the whole user or usergroup",
                &["id", "objectType"],
                json!({
                    "id": {"type": "string", "pattern": r"^(\*|[A-Za-z0-9_-]{1,64})$"},
                    "objectType": {"type": "string", "enum": ["aclSubject", "users", "usergroups"]},
                }),
            ),
        ),
        (
            "Access",
            object("An access list", &names, lists(of("Subject"))),
        ),
        (
            "AccessChange",
            object("Any of the four lists", &[], lists(of("Subject"))),
        ),
    ]
}

fn people() -> Vec<Named> {
    let username = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": USERNAME_BYTES_MAX,
        "description": format!("Nobody else in the backend has it; {USERNAME_BYTES_MAX} bytes at most"),
    });
    let password = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": passwords::BYTES_MAX,
        "writeOnly": true,
    });
    let text = json!({"type": "string"});
    let members = json!({
        "username": username,
        "password": password,
        "email": text,
        "firstName": text,
        "lastName": text,
    });
    let groups = object(
        "",
        &["id", "objectType", "name"],
        json!({"id": of("Id"), "objectType": {"const": "usergroups"}, "name": true}),
    );
    vec![
        (
            "NewUser",
            object(
                "A user to register, with any properties beside these",
                &["username", "password"],
                members.clone(),
            ),
        ),
        (
            "UserChange",
            object("Properties of a user to set", &[], members),
        ),
        (
            "CurrentUser",
            json!({"allOf": [of("Object"), object(
                "The user who asks",
                &["usergroups", "emailVerified"],
                json!({
                    "usergroups": {"type": "array", "items": groups},
                    "emailVerified": {"type": "boolean"},
                }),
            )]}),
        ),
        (
            "Member",
            json!({
                "anyOf": [of("Object"), of("Reference")],
                "description": "The user, or the reference where the caller may not read the user",
            }),
        ),
    ]
}

fn signing_in() -> Vec<Named> {
    let text = json!({"type": "string"});
    let users = json!({"type": "array", "items": of("Object")});
    let grant = |kind: &str, more: &[&str]| {
        let mut members = json!({"grant_type": {"const": kind}});
        let mut required = vec!["grant_type"];
        for name in more {
            members[*name] = json!({"type": "string"});
            required.push(name);
        }
        object("", &required, members)
    };
    vec![
        (
            "Grant",
            json!({"oneOf": [
                grant("password", &["username", "password"]),
                grant("refresh_token", &["refresh_token"]),
            ]}),
        ),
        (
            "Tokens",
            object(
                "Of a session that has begun, or goes on",
                &[
                    "access_token",
                    "refresh_token",
                    "token_type",
                    "expires_in",
                    "enginio_data",
                ],
                json!({
                    "access_token": text,
                    "refresh_token": {"type": "string", "description": "Serves once"},
                    "token_type": {"const": "bearer"},
                    "expires_in": {"type": "integer", "description": "Seconds that the access token lasts"},
                    "enginio_data": object(
                        "",
                        &["user", "usergroups"],
                        json!({"user": of("Object"), "usergroups": users}),
                    ),
                }),
            ),
        ),
        (
            "Token",
            object(
                "A token or a mailed code",
                &["token"],
                json!({"token": text}),
            ),
        ),
        (
            "Credentials",
            object(
                "",
                &["username", "password"],
                json!({"username": text, "password": {"type": "string", "writeOnly": true}}),
            ),
        ),
        (
            "Session",
            object(
                "A session of before OAuth2",
                &["sessionToken", "user", "usergroups"],
                json!({"sessionToken": text, "user": of("Object"), "usergroups": users}),
            ),
        ),
    ]
}

fn mails() -> Vec<Named> {
    let text = json!({"type": "string", "minLength": 1});
    vec![
        (
            "Whom",
            json!({
                "type": "object",
                "description": "A user, by name or by address",
                "properties": {"username": text, "email": text},
                "anyOf": [{"required": ["username"]}, {"required": ["email"]}],
            }),
        ),
        (
            "NewPassword",
            object(
                "A mailed code, and the password to set with it",
                &["token", "password"],
                json!({
                    "token": text,
                    "password": {
                        "type": "string", "minLength": 1, "maxLength": passwords::BYTES_MAX, "writeOnly": true,
                    },
                }),
            ),
        ),
    ]
}

fn batches() -> Vec<Named> {
    let operation = object(
        "A write, as a call of its own would carry it out",
        &["method", "path"],
        json!({
            "method": {"type": "string", "enum": ["POST", "PUT", "PATCH", "DELETE"]},
            "path": {"type": "string", "examples": ["/v1/objects/todos"]},
            "body": true,
        }),
    );
    let result = object(
        "",
        &["status", "body"],
        json!({
            "status": {"type": "integer", "enum": [200, 201]},
            "body": {"anyOf": [of("Object"), of("Access"), of("Empty")]},
        }),
    );
    vec![
        (
            "Batch",
            object(
                "",
                &["operations"],
                json!({"operations": {"type": "array", "maxItems": OPERATIONS_MAX, "items": operation}}),
            ),
        ),
        (
            "BatchResults",
            object(
                "A result for each operation, in order",
                &["results"],
                json!({"results": {"type": "array", "items": result}}),
            ),
        ),
    ]
}

fn types() -> Vec<Named> {
    let subjects = json!({"type": "array", "items": of("Subject")});
    let collection = object(
        "Who may list and create, and for usergroups who may see and change the members",
        &[],
        json!({
            "read": subjects,
            "create": subjects,
            "members": object("", &[], json!({"read": subjects, "create": subjects, "delete": subjects})),
        }),
    );
    let entries = |item: Value| json!({"type": "array", "maxItems": ENTRIES_MAX, "items": item});
    let parts = || {
        json!({
            "settings": {"type": "object"},
            "properties": entries(of("PropertyType")),
            "validators": entries(of("Validator")),
            "accessControlList": collection,
            "accessControlListTemplate": of("AccessChange"),
        })
    };
    let mut named = parts();
    named["name"] =
        json!({"type": "string", "description": "With or without `objects.`", "minLength": 1});
    let mut shown = parts();
    shown["id"] = json!({"type": "string"});
    shown["name"] = of("ObjectTypeName");
    shown["createdAt"] = of("Time");
    shown["updatedAt"] = of("Time");
    shown["internalProperties"] = json!({"type": "array", "items": of("PropertyType")});
    let always = [
        "id",
        "name",
        "createdAt",
        "updatedAt",
        "settings",
        "properties",
        "internalProperties",
        "validators",
        "accessControlList",
        "accessControlListTemplate",
    ];
    vec![
        (
            "PropertyType",
            object(
                "A property that objects of a type have",
                &["name", "type"],
                json!({
                    "name": {"type": "string", "minLength": 1, "maxLength": 200},
                    "type": {"type": "string", "enum": PropertyType::ALL.map(PropertyType::as_str)},
                    "objectType": {"type": ["string", "null"], "description": "Of a `ref`: the type that it refers to"},
                    "onCreate": {
                        "type": ["object", "null"],
                        "description": "Of a `ref`: with `{\"accessControlList\":\"extend\"}`, objects inherit the \
                            access list of the object that they refer to",
                    },
                    "target": {
                        "type": ["object", "null"],
                        "description": "Of a reference: with `{\"onDelete\":{\"dependency\":…}}` what becomes of the \
                            objects that refer to one that is deleted: `deleteObject`, `clear` or `restrict`",
                    },
                    "indexed": {"type": "boolean"},
                    "inferred": {
                        "type": "boolean",
                        "description": "Somebody used the property and nobody described it. A request that has it \
                            describes nothing",
                    },
                }),
            ),
        ),
        (
            "Validator",
            object(
                "A rule that the values of a property must keep. `options` has a `message` for whoever breaks it, and \
                    under the name of the type, or as `value`, what the type needs",
                &["property", "type"],
                json!({
                    "id": {"type": ["string", "null"]},
                    "name": {"type": "string", "minLength": 1, "maxLength": 200,
                        "description": "`property.type` where it is missing"},
                    "property": {"type": "string", "minLength": 1},
                    "type": {"type": "string", "enum": [
                        "required", "unique", "type", "min", "max", "minLength", "maxLength", "pattern", "enum"]},
                    "options": {"type": ["object", "null"]},
                }),
            ),
        ),
        ("NewObjectType", object("", &["name"], named)),
        (
            "ObjectTypeChange",
            object(
                "What is named takes the place of what was there",
                &[],
                parts(),
            ),
        ),
        ("ObjectType", object("", &always, shown)),
        ("ObjectTypes", results("ObjectType")),
        (
            "RemovedObjectType",
            object(
                "",
                &["objects"],
                json!({"objects": {"type": "integer", "minimum": 0,
                "description": "How many objects went with it"}}),
            ),
        ),
        (
            "Schemas",
            object(
                "Object types in the format of the original's export",
                &["objects"],
                json!({
                    "meta": object("", &[], json!({"type": {"const": "schemas"}})),
                    "objects": {
                        "type": "array",
                        "items": object("", &["object"], json!({"object": of("NewObjectType")})),
                    },
                }),
            ),
        ),
        (
            "ImportedSchemas",
            object(
                "",
                &["results", "warnings"],
                json!({
                    "results": {"type": "array", "items": of("ObjectType")},
                    "warnings": {"type": "array", "items": {"type": "string"},
                        "description": "What was kept and has no effect"},
                }),
            ),
        ),
    ]
}

fn indexes() -> Vec<Named> {
    let property = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": PROPERTY_BYTES_MAX,
        "description": "A property, or a path to one further down; of a reference, its id",
        "examples": ["title", "address.city", "author.id", "createdAt"],
    });
    let time_or_none = || json!({"anyOf": [of("Time"), {"type": "null"}]});
    let count = || json!({"type": "integer", "minimum": 0});
    let of_property = json!({"objectType": of("ObjectTypeName"), "property": property});
    let always = [
        "id",
        "objectType",
        "property",
        "origin",
        "state",
        "progress",
        "createdAt",
        "readyAt",
        "lastUsedAt",
    ];
    vec![
        (
            "NewIndex",
            object(
                "An index to be made",
                &["objectType", "property"],
                of_property,
            ),
        ),
        (
            "Index",
            object(
                "An index. Queries use it when it is ready",
                &always,
                json!({
                    "id": of("Id"),
                    "objectType": of("ObjectTypeName"),
                    "property": {"type": "string"},
                    "origin": {
                        "type": "string",
                        "enum": ["schema", "asked", "slow"],
                        "description": "Who wanted it: the schema, an administrator, or a query that was slow",
                    },
                    "state": {"type": "string", "enum": ["building", "ready", "leaving"]},
                    "progress": object(
                        "How many of the objects that were there before it are in it",
                        &["done", "total"],
                        json!({"done": count(), "total": count()}),
                    ),
                    "createdAt": of("Time"),
                    "readyAt": time_or_none(),
                    "lastUsedAt": time_or_none(),
                }),
            ),
        ),
        ("Indexes", results("Index")),
        (
            "SlowQuery",
            object(
                "Queries of one form that were slow, and the index that would have helped",
                &[
                    "objectType",
                    "query",
                    "count",
                    "worstMs",
                    "firstAt",
                    "lastAt",
                    "index",
                ],
                json!({
                    "objectType": of("ObjectTypeName"),
                    "query": {"type": "string", "description": "Without its values, such as `done = …, by count desc`"},
                    "count": count(),
                    "worstMs": count(),
                    "firstAt": of("Time"),
                    "lastAt": of("Time"),
                    "index": {"anyOf": [of("NewIndex"), {"type": "null"}]},
                }),
            ),
        ),
        ("IndexAdvice", results("SlowQuery")),
    ]
}

fn webhooks() -> Vec<Named> {
    let event = json!({"type": "string", "enum": Change::ALL.map(Change::as_str)});
    let given = || {
        json!({
            "url": {"type": "string", "description": "Where events are sent to, http or https"},
            "events": {
                "type": ["array", "null"],
                "minItems": 1,
                "maxItems": Change::ALL.len(),
                "items": event,
                "description": "All when it is missing or null",
            },
            "objectTypes": {
                "type": ["array", "null"],
                "minItems": 1,
                "maxItems": TYPES_MAX,
                "items": of("ObjectTypeName"),
                "description": "All when it is missing or null",
            },
            "headers": {
                "type": ["object", "null"],
                "maxProperties": HEADERS_MAX,
                "additionalProperties": {"type": "string"},
                "description": format!("Sent with each event. Replies show `{MASK}` for a value; sent back, it stays"),
            },
            "payloadAs": {"type": "string", "enum": ["object", "string"]},
            "enabled": {"type": "boolean", "description": "One that is switched off is told of no changes"},
        })
    };
    let mut shown = given();
    shown["id"] = of("Id");
    shown["signed"] =
        json!({"type": "boolean", "description": "Whether it has a secret to sign with"});
    shown["createdAt"] = of("Time");
    shown["updatedAt"] = of("Time");
    let always = [
        "id",
        "url",
        "events",
        "objectTypes",
        "headers",
        "payloadAs",
        "enabled",
        "signed",
        "createdAt",
        "updatedAt",
    ];
    let secret = json!({
        "type": "string",
        "pattern": "^whsec_[A-Za-z0-9+/]+=*$",
        "description": "What requests are signed with, as Standard Webhooks has it; shown this once",
    });
    let new = json!({"secret": secret});
    let time_or_none = json!({"anyOf": [of("Time"), {"type": "null"}]});
    let delivery = json!({
        "id": {"type": "string"},
        "event": event,
        "objectType": of("ObjectTypeName"),
        "objectId": of("Id"),
        "state": {"type": "string", "enum": ["pending", "delivered", "failed"]},
        "attempts": {"type": "integer", "minimum": 0},
        "lastStatus": {"type": ["integer", "null"], "description": "What the receiver answered last"},
        "lastError": {"type": ["string", "null"]},
        "lastAnswer": {"type": ["string", "null"], "description": "The beginning of the receiver's last answer"},
        "durationMs": {"type": ["integer", "null"], "description": "How long the last attempt took"},
        "requestId": {"type": ["string", "null"], "description": "The request that changed the object"},
        "createdAt": of("Time"),
        "lastAttemptAt": time_or_none,
        "nextAttemptAt": time_or_none,
    });
    let members: Vec<&str> = delivery
        .as_object()
        .into_iter()
        .flat_map(|members| members.keys().map(String::as_str))
        .collect();
    vec![
        ("NewWebhook", object("", &["url"], given())),
        (
            "WebhookChange",
            object("What is not named stays", &[], given()),
        ),
        ("Webhook", object("", &always, shown)),
        ("Webhooks", results("Webhook")),
        (
            "CreatedWebhook",
            json!({"allOf": [of("Webhook"), object("With its secret", &["secret"], new.clone())]}),
        ),
        (
            "Rotation",
            object(
                "How long the old secret signs along",
                &[],
                json!({"overlapHours": {"type": "integer", "minimum": 0, "maximum": OVERLAP_HOURS_MAX}}),
            ),
        ),
        (
            "FreshSecret",
            object(
                "",
                &["id", "secret", "previousUntil"],
                json!({"id": of("Id"), "secret": new["secret"], "previousUntil": time_or_none}),
            ),
        ),
        (
            "Attempt",
            object(
                "How a request to the receiver went",
                &["delivered", "status", "answer", "error", "durationMs"],
                json!({
                    "delivered": {"type": "boolean"},
                    "status": {"type": ["integer", "null"]},
                    "answer": {"type": ["string", "null"]},
                    "error": {"type": ["string", "null"]},
                    "durationMs": {"type": "integer", "minimum": 0},
                }),
            ),
        ),
        (
            "Replayed",
            object(
                "How many were sent again, and how many can be by another call",
                &["replayed", "left"],
                json!({
                    "replayed": {"type": "integer", "minimum": 0, "maximum": REPLAYS_MAX},
                    "left": {"type": "integer", "minimum": 0},
                }),
            ),
        ),
        (
            "WholeDelivery",
            json!({"allOf": [of("Delivery"), object(
                "With what was told, or null where that is not kept any more",
                &["payload", "receivers"],
                json!({
                    "payload": {"type": ["object", "null"]},
                    "receivers": {"anyOf": [{"type": "array", "items": of("Subject")}, {"type": "null"}]},
                }),
            )]}),
        ),
        (
            "Delivery",
            object(
                "An event, and what became of it",
                &members,
                delivery.clone(),
            ),
        ),
        ("Deliveries", results("Delivery")),
    ]
}

/// Removing files that nobody needs.
fn collecting() -> Vec<Named> {
    let count = || json!({"type": "integer", "minimum": 0});
    vec![
        (
            "Collect",
            object(
                "How long nobody must have needed something; without it, as the server is set up",
                &[],
                json!({"olderThanHours": {"type": "integer", "minimum": 0, "maximum": HOURS_MAX}}),
            ),
        ),
        (
            "Collected",
            object(
                "What was removed: files with their variants, unfinished uploads, and the bytes of both",
                &["files", "uploads", "blobs", "bytes"],
                json!({"files": count(), "uploads": count(), "blobs": count(), "bytes": count()}),
            ),
        ),
    ]
}

fn transfers() -> Vec<Named> {
    let count = || json!({"type": "integer", "minimum": 0});
    let sum = json!({
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "The SHA-256 of the archive: an import that was broken off is found by it",
    });
    let progress = object(
        "How far it has come",
        &["step", "done", "of"],
        json!({
            "step": {"type": "string", "enum": ["checksum", "checking", "objects", "files", "placing", ""]},
            "done": count(),
            "of": count(),
        }),
    );
    vec![
        (
            "Archive",
            json!({
                "type": "string",
                "format": "binary",
                "description": "A tar file as `docs/export-format.md` describes it",
            }),
        ),
        (
            "NewImport",
            object(
                "The archive that is going to be brought",
                &["bytes"],
                json!({
                    "bytes": {"type": "integer", "minimum": 1, "maximum": IMPORT_BYTES_MAX},
                    "sha256": sum,
                }),
            ),
        ),
        (
            "ImportStart",
            object(
                "",
                &[],
                json!({
                    "replace": {
                        "type": "boolean",
                        "default": false,
                        "description": "Lose what is in the backend; without this it must be empty",
                    },
                }),
            ),
        ),
        (
            "Import",
            object(
                "An import, and how far it has come. It is forgotten a day after anything happened to it",
                &[
                    "id",
                    "state",
                    "bytes",
                    "received",
                    "replace",
                    "progress",
                    "error",
                    "warnings",
                    "createdAt",
                ],
                json!({
                    "id": of("Id"),
                    "state": {"type": "string", "enum": ["receiving", "running", "done", "failed"]},
                    "bytes": count(),
                    "received": count(),
                    "replace": {"type": "boolean"},
                    "progress": {"anyOf": [progress, {"type": "null"}]},
                    "error": {"type": ["string", "null"], "description": "Why nothing was changed"},
                    "warnings": {"type": "array", "items": {"type": "string"}},
                    "createdAt": of("Time"),
                }),
            ),
        ),
        ("Imports", results("Import")),
    ]
}

/// What follows changes.
fn streams() -> Vec<Named> {
    let text = || json!({"type": "string"});
    let time = || of("Time");
    vec![
        (
            "StreamFilter",
            object(
                "What a message must have",
                &[],
                json!({
                    "event": {"type": "string", "enum": ["create", "update", "delete"]},
                    "data": {"type": "object"},
                }),
            ),
        ),
        (
            "ExpiringUrl",
            object(
                "An address that needs no header, and until when it is good",
                &["expiringUrl", "expiresAt"],
                json!({"expiringUrl": text(), "expiresAt": time()}),
            ),
        ),
        (
            "Bytes",
            json!({"type": "string", "format": "binary", "description": "The bytes of a file, as they were uploaded"}),
        ),
        (
            "StreamUrl",
            object(
                "For a web socket without TLS, to be opened within a minute",
                &["expiringUrl"],
                json!({"expiringUrl": text()}),
            ),
        ),
        (
            "LiveUrl",
            object(
                "Where the query can be followed, and until when each address lets somebody in",
                &[
                    "webSocketUrl",
                    "webSocketUrlExpiresAt",
                    "eventsUrl",
                    "eventsUrlExpiresAt",
                ],
                json!({
                    "webSocketUrl": text(),
                    "webSocketUrlExpiresAt": time(),
                    "eventsUrl": text(),
                    "eventsUrlExpiresAt": time(),
                }),
            ),
        ),
        (
            "Events",
            json!({
                "type": "string",
                "description": "Server-sent events. `event` is `enter`, `update`, `leave`, `resync` or `caught_up`, \
                    `id` a position to go on from, and `data` the message as JSON, as a web socket gets it",
            }),
        ),
    ]
}

fn refusals() -> Vec<Named> {
    let text = || json!({"type": "string", "minLength": 1});
    let entry = json!({
        "type": "object",
        "required": ["message", "reason"],
        "properties": {
            "message": {"type": "string", "minLength": 1, "description": "For people"},
            "reason": {"type": "string", "minLength": 1, "examples": ["BadRequest", "ValidationFailed", "NotFound"]},
            "property": {"type": "string", "description": "The property that breaks a rule"},
        },
        "additionalProperties": false,
    });
    let errors = json!({"type": "array", "minItems": 1, "items": entry});
    let refusal = json!({
        "type": "object",
        "required": ["errors"],
        "properties": {"errors": errors},
        "additionalProperties": false,
    });
    let oauth = object(
        "What OAuth2 says of a failure, and what old clients read",
        &["error", "error_description", "errors"],
        json!({"error": text(), "error_description": text(), "errors": errors}),
    );
    vec![
        ("Refusal", refusal),
        ("GrantRefusal", json!({"anyOf": [oauth, of("Refusal")]})),
    ]
}
