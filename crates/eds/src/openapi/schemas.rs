//! What the names mean that [`ROUTES`](crate::ROUTES) uses for bodies, and what those are made of.
//!
//! A schema of a request says what is understood, not that anything else is refused: what is not known is ignored, or
//! kept as a property. A schema of a reply says what is always there.

use pilvi_core::passwords;
use pilvi_model::Permission;
use pilvi_model::query::{include, sort};
use pilvi_model::update::CHANGES_MAX;
use pilvi_store::backend::{Change, USERNAME_BYTES_MAX};
use serde_json::{Map, Value, json};

use crate::batch::OPERATIONS_MAX;
use crate::types::{ENTRIES_MAX, PROPERTY_TYPES};
use crate::webhooks::{HEADERS_MAX, MASK, TYPES_MAX};

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
        webhooks(),
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
                    "type": {"type": "string", "enum": PROPERTY_TYPES},
                    "objectType": {"type": ["string", "null"], "description": "Of a `ref`: the type that it refers to"},
                    "onCreate": {
                        "type": ["object", "null"],
                        "description": "Of a `ref`: with `{\"accessControlList\":\"extend\"}`, objects inherit the \
                            access list of the object that they refer to",
                    },
                    "indexed": {"type": "boolean"},
                }),
            ),
        ),
        (
            "Validator",
            object(
                "",
                &["name"],
                json!({"name": {"type": "string", "minLength": 1, "maxLength": 200}}),
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
        })
    };
    let mut shown = given();
    shown["id"] = of("Id");
    shown["createdAt"] = of("Time");
    shown["updatedAt"] = of("Time");
    let always = [
        "id",
        "url",
        "events",
        "objectTypes",
        "headers",
        "payloadAs",
        "createdAt",
        "updatedAt",
    ];
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
