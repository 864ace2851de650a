//! What goes beside a body: in the path, behind the question mark, and in headers.

use serde_json::{Map, Value, json};

use crate::once::LENGTH_MAX;
use crate::routes::{Route, Verb, Who};
use crate::search::TYPES_MAX;
use pilvi_model::query::page::{LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX};

/// Every parameter, by the name that references use.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for (name, parameter) in in_path().into_iter().chain(in_query()).chain(in_headers()) {
        all.insert(name.to_owned(), parameter);
    }
    Value::Object(all)
}

type Named = (&'static str, Value);

fn plain(place: &str, name: &str, about: &str, schema: &Value) -> Value {
    json!({"name": name, "in": place, "description": about, "schema": schema})
}

fn in_path() -> Vec<Named> {
    let parameter = |name: &str, about: &str, schema: Value| {
        let mut parameter = plain("path", name, about, &schema);
        parameter["required"] = true.into();
        parameter
    };
    let id = || json!({"$ref": "#/components/schemas/Id"});
    vec![
        (
            "Type",
            parameter(
                "type",
                "A custom object type, without `objects.`",
                json!({"$ref": "#/components/schemas/TypeName"}),
            ),
        ),
        (
            "Id",
            parameter("id", "The id of what the call is about", id()),
        ),
        (
            "TypeId",
            parameter(
                "id",
                "The id of an object type or its name, with or without `objects.`",
                json!({"type": "string", "minLength": 1}),
            ),
        ),
        (
            "Backend",
            parameter("backend", "The backend that a file belongs to", id()),
        ),
        (
            "DownloadToken",
            parameter(
                "token",
                "What the address opens, and until when",
                json!({"type": "string", "minLength": 1}),
            ),
        ),
        (
            "DownloadName",
            parameter(
                "name",
                "The name of the file, for whoever saves it",
                json!({"type": "string", "minLength": 1}),
            ),
        ),
        (
            "DeliveryId",
            parameter(
                "delivery",
                "The id of a delivery",
                json!({"type": "string", "minLength": 1}),
            ),
        ),
    ]
}

fn in_query() -> Vec<Named> {
    let plain = |name: &str, about: &str, schema: Value| plain("query", name, about, &schema);
    let as_json = |name: &str, about: &str| {
        json!({
            "name": name,
            "in": "query",
            "description": about,
            "content": {"application/json": {"schema": super::schema(match name {
                "q" => "Filter",
                "sort" => "Sort",
                "search" => "Search",
                _ => "Include",
            })}},
        })
    };
    vec![
        ("Q", as_json("q", "Only what passes this filter")),
        ("Search", {
            let mut search = as_json("search", "What to look for");
            search["required"] = true.into();
            search
        }),
        ("ObjectTypes", {
            let mut types = plain(
                "objectTypes",
                "The types to search, with commas between them; `objectTypes[]`, once for each, means the same",
                json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": TYPES_MAX}),
            );
            types["required"] = true.into();
            types["explode"] = false.into();
            types
        }),
        ("Sort", as_json("sort", "In this order; by id otherwise")),
        (
            "Include",
            as_json("include", "Expand the references of these properties"),
        ),
        (
            "Limit",
            plain(
                "limit",
                &format!("So many results at most; more than {LIMIT_MAX} means {LIMIT_MAX}"),
                json!({"type": "integer", "minimum": 0, "default": LIMIT_DEFAULT}),
            ),
        ),
        (
            "Offset",
            plain(
                "offset",
                "Leave out so many results",
                json!({"type": "integer", "minimum": 0, "maximum": OFFSET_MAX, "default": 0}),
            ),
        ),
        (
            "After",
            plain(
                "after",
                "`next` of the page before, with the same `q` and `sort`; not together with `offset`",
                json!({"type": "string"}),
            ),
        ),
        (
            "DeliveryState",
            plain(
                "state",
                "Only those in this state",
                json!({"type": "string", "enum": ["pending", "delivered", "failed"]}),
            ),
        ),
        (
            "WithObjects",
            plain(
                "objects",
                "`true`: delete the objects of the type, too; without it a type that has objects stays",
                json!({"type": "string", "enum": ["0", "1", "false", "true"]}),
            ),
        ),
        (
            "Count",
            json!({
                "name": "count",
                "in": "query",
                "description": "When it is there, even empty, the reply is a `Count`",
                "allowEmptyValue": true,
                "schema": {"type": "string"},
            }),
        ),
        (
            "StreamFilter",
            json!({
                "name": "filter",
                "in": "query",
                "description": "Only messages that have these members, all the way down",
                "content": {"application/json": {"schema": super::schema("StreamFilter")}},
            }),
        ),
        (
            "ObjectType",
            plain(
                "objectType",
                "Which type to follow; a ticket says it already",
                json!({"type": "string", "minLength": 1}),
            ),
        ),
        (
            "Since",
            plain(
                "since",
                "Behind this `seq` of a message; without it from now on",
                json!({"type": "string"}),
            ),
        ),
        (
            "Snapshot",
            plain(
                "snapshot",
                "Begin with what matches, unless `since` reaches back",
                json!({"type": "boolean", "default": false}),
            ),
        ),
        (
            "Variant",
            plain(
                "variant",
                "The name of a variant, instead of the file itself",
                json!({"type": "string"}),
            ),
        ),
        (
            "Ticket",
            plain(
                "ticket",
                "Of an address that `live_url` gave; it stands for all headers and for the other parameters",
                json!({"type": "string"}),
            ),
        ),
        (
            "Expand",
            plain(
                "expand",
                "`1`: show users and usergroups whole where the caller may read them",
                json!({"type": "string", "enum": ["0", "1", "false", "true"]}),
            ),
        ),
    ]
}

fn in_headers() -> Vec<Named> {
    let header = |name: &str, about: &str, schema: Value| plain("header", name, about, &schema);
    vec![
        (
            "RequestId",
            header(
                "X-Request-Id",
                "The caller's own id of the request: it comes back with the reply, and in webhooks",
                json!({"type": "string", "pattern": "^[0-9A-Za-z-]{1,64}$"}),
            ),
        ),
        (
            "LastEventId",
            header(
                "Last-Event-ID",
                "Like `since`; browsers send it when they come back",
                json!({"type": "string"}),
            ),
        ),
        ("ContentRange", {
            let mut range = header(
                "Content-Range",
                "Which bytes of the file the body has: `START-END/TOTAL`, END being the first that it has not",
                json!({"type": "string", "examples": ["0-1024/2837"]}),
            );
            range["required"] = true.into();
            range
        }),
        (
            "IdempotencyKey",
            header(
                "Idempotency-Key",
                "A random text: the same create that is sent again within a day is carried out once",
                json!({"type": "string", "minLength": 1, "maxLength": LENGTH_MAX}),
            ),
        ),
    ]
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

/// What all calls on a path have in common.
pub(super) fn of_path(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    if route.path.contains("{type}") {
        parameters.push(reference("Type"));
    }
    if route.path.contains("{id}") {
        let is_type = route.path.starts_with("/v1/object_types/");
        parameters.push(reference(if is_type { "TypeId" } else { "Id" }));
    }
    if route.path.contains("{delivery}") {
        parameters.push(reference("DeliveryId"));
    }
    if route.path.contains("{token}") {
        for name in ["Backend", "DownloadToken", "DownloadName"] {
            parameters.push(reference(name));
        }
    }
    parameters.push(reference("RequestId"));
    parameters
}

/// What a call has beside that.
pub(super) fn of_call(route: &Route) -> Vec<Value> {
    let is_read = route.verb == Verb::Get;
    let names: &[&str] = match (route.who, route.gives) {
        (_, "Objects") if route.path == "/v1/search" => &[
            "ObjectTypes",
            "Search",
            "Q",
            "Sort",
            "Limit",
            "Offset",
            "Count",
            "Include",
        ],
        (_, "Objects") => &["Q", "Sort", "Limit", "Offset", "After", "Count", "Include"],
        (_, "Object" | "File") if is_read => &["Include"],
        _ if route.takes == "Bytes" => &["ContentRange"],
        (_, "RemovedObjectType") => &["WithObjects"],
        (_, "Access") if is_read => &["Expand"],
        (_, "ExpiringUrl") => &["Variant"],
        (_, "StreamUrl") => &["StreamFilter"],
        (_, "LiveUrl") => &["ObjectType", "Q", "Since", "Snapshot"],
        (_, "Events") => &[
            "ObjectType",
            "Q",
            "Since",
            "Snapshot",
            "Ticket",
            "LastEventId",
        ],
        (_, "Deliveries") => &["DeliveryState", "Limit", "Offset"],
        (Who::Create, _) if route.takes == "Properties" => &["IdempotencyKey"],
        _ => &[],
    };
    names.iter().map(|name| reference(name)).collect()
}
