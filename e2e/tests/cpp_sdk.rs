//! The C++ SDK reads replies by itself (`eds.md` §2.5): it looks for a line that begins with exactly
//! `Content-Length: `, wants a number above zero there, reads so many bytes and takes whatever comes next for the next
//! reply. It knows neither chunks nor compression. Here its reading is done again, over everything that a data backend
//! answers to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use pilvi_e2e::http::Connection;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

/// One connection of the SDK, which sends no header that it need not and does not even say what a body is.
struct Sdk {
    connection: Connection,
    to: SocketAddr,
    backend: String,
    /// It has none; an administrator's is for the calls that it does not make.
    token: Option<String>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)));
        assert!(value.is_object(), "{value}");
        value
    }

    #[track_caller]
    fn must_be(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }
}

impl Sdk {
    fn connect(server: &Server) -> Self {
        Self {
            connection: Connection::open(server.http),
            to: server.http,
            backend: server.backend().id,
            token: None,
        }
    }

    fn send(
        &mut self,
        verb: &str,
        target: &str,
        body: Option<&[u8]>,
        kind: Option<&str>,
    ) -> Answer {
        let mut request = format!(
            "{verb} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: qtc-sdk-cpp/1.0\r\nAccept-Encoding: *\r\n\
             Enginio-Backend-Id: {}\r\n",
            self.backend
        );
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(kind) = kind {
            request.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.connection.write(&bytes);
        self.answer(&format!("{verb} {target}"))
    }

    fn call(&mut self, verb: &str, target: &str, body: &Value) -> Answer {
        let text = body.to_string();
        self.send(
            verb,
            target,
            (!body.is_null()).then_some(text.as_bytes()),
            None,
        )
    }

    /// What the SDK's own parser makes of the bytes that come.
    fn answer(&mut self, asked: &str) -> Answer {
        let head = self
            .connection
            .head()
            .unwrap_or_else(|| panic!("{asked}: no reply"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("{asked}: this is no reply: {head}"));
        let (mut length, mut closes) = (None, false);
        for line in lines {
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{asked}: `{line}` has no `: ` in it"));
            assert_eq!(
                name,
                canonical(name),
                "{asked}: a header is spelled differently"
            );
            assert!(!value.starts_with(' '), "{asked}: {line:?}");
            match name {
                "Content-Length" => {
                    assert!(length.is_none(), "{asked}: two lengths");
                    length = Some(value.parse::<usize>().unwrap());
                }
                "Connection" => closes = value == "close",
                "Transfer-Encoding" | "Content-Encoding" => panic!("{asked}: {line}"),
                _ => {}
            }
        }
        let length = length.unwrap_or_else(|| panic!("{asked}: no length: {head}"));
        assert!(length > 0, "{asked}: an empty body: {head}");
        let body = self.connection.exactly(length);
        if closes {
            assert_eq!(self.connection.rest(), b"", "{asked}: more than it said");
            self.connection = Connection::open(self.to);
        }
        Answer { status, body }
    }
}

/// `etag` and `X-REQUEST-ID` as `Etag` and `X-Request-Id`: what HTTP libraries of that time wrote.
fn canonical(name: &str) -> String {
    let part = |part: &str| match part {
        "ETag" => part.to_owned(),
        _ => {
            let (first, rest) = part.split_at(1.min(part.len()));
            first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
        }
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

#[test]
fn a_program_of_the_sdk_gets_through_its_day() {
    let server = Server::demo();
    let sdk = &mut Sdk::connect(&server);
    let todo = sdk
        .call(
            "POST",
            "/v1/objects/todos",
            &json!({"title": "Milk", "done": false}),
        )
        .must_be(201);
    let path = format!("/v1/objects/todos/{}", todo["id"].as_str().unwrap());
    assert_eq!(sdk.call("GET", &path, &Value::Null).must_be(200), todo);
    let changed = sdk.call("PUT", &path, &json!({"done": true})).must_be(200);
    assert_eq!(changed["done"], true);
    let counted = sdk
        .call("PUT", &format!("{path}/atomic"), &json!({"$inc": {"n": 2}}))
        .must_be(200);
    assert_eq!(counted["n"], 2);
    for list in [
        "/v1/objects/todos",
        "/v1/objects/todos/",
        r#"/v1/objects/todos?q={"done":true}"#,
        "/v1/objects/todos?limit=1&offset=0",
    ] {
        let listed = sdk.call("GET", list, &Value::Null).must_be(200);
        assert_eq!(listed["results"], json!([counted]), "{list}");
    }
    let count = sdk
        .call("GET", "/v1/objects/todos?count=", &Value::Null)
        .must_be(200);
    assert_eq!(count["count"], 1);
    let nothing = sdk
        .call("GET", "/v1/objects/nothing", &Value::Null)
        .must_be(200);
    assert_eq!(nothing["results"], json!([]));
    let shared = json!({"read": [{"id": "*", "objectType": "aclSubject"}]});
    // Its callers are nobody, and nobody may share.
    sdk.call("PUT", &format!("{path}/access"), &shared)
        .must_be(401);

    let user = sdk
        .call(
            "POST",
            "/v1/users",
            &json!({"username": "ann", "password": "secret"}),
        )
        .must_be(201);
    let group = sdk
        .call("POST", "/v1/usergroups", &json!({"name": "friends"}))
        .must_be(201);
    let members = format!("/v1/usergroups/{}/members", group["id"].as_str().unwrap());
    let member = json!({"id": user["id"], "objectType": "users"});
    sdk.call("POST", &members, &member).must_be(201);
    let listed = sdk.call("GET", &members, &Value::Null).must_be(200);
    assert_eq!(listed["results"][0]["id"], user["id"]);
    assert_eq!(
        sdk.call("DELETE", &members, &member).must_be(200),
        json!({})
    );
    let form = "grant_type=password&username=ann&password=secret";
    let kind = Some("application/x-www-form-urlencoded");
    let tokens = sdk
        .send("POST", "/v1/auth/oauth2/token", Some(form.as_bytes()), kind)
        .must_be(200);
    assert!(tokens["access_token"].is_string());

    assert_eq!(
        sdk.call("DELETE", &path, &Value::Null).must_be(200),
        json!({})
    );
    let missing = sdk.call("DELETE", &path, &Value::Null).must_be(404);
    assert_eq!(missing["errors"][0]["reason"], "NotFound");
    server.stop();
}

#[test]
fn its_files_go_up_and_come_down() {
    let server = Server::demo();
    let sdk = &mut Sdk::connect(&server);
    let todo = sdk
        .call("POST", "/v1/objects/todos", &json!({"title": "Milk"}))
        .must_be(201);
    let target = json!({"targetFileProperty":
        {"id": todo["id"], "objectType": "objects.todos", "propertyName": "file"}});
    // Its boundary is base64.
    let boundary = "MTIz+NDU2/Nzg5==";
    let bytes = b"\x00\x01binary\r\n--not the boundary\r\n\xff";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"object\"\r\n\r\n{target}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"milk.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    let file = sdk
        .send("POST", "/v1/files", Some(&body), Some(&kind))
        .must_be(201);
    assert_eq!(
        (&file["fileName"], &file["fileSize"]),
        (&json!("milk.bin"), &json!(bytes.len()))
    );
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    let shown = sdk.call("GET", &path, &Value::Null).must_be(200);
    assert_eq!(shown["status"], "complete");

    let url = sdk
        .call("GET", &format!("{path}/download_url"), &Value::Null)
        .must_be(200);
    let url = url["expiringUrl"].as_str().unwrap();
    let place = url.find("/v1/").unwrap();
    let down = sdk.send("GET", &url[place..], None, None);
    assert_eq!((down.status, down.body.as_slice()), (200, bytes.as_slice()));

    // It takes a file off an object by setting the property to null.
    let object = format!("/v1/objects/todos/{}", todo["id"].as_str().unwrap());
    let taken = sdk
        .call("PUT", &object, &json!({"file": null}))
        .must_be(200);
    assert_eq!(taken["file"], Value::Null);

    let announced = sdk
        .call(
            "POST",
            "/v1/files",
            &json!({"file": {"fileName": "two.bin"}}),
        )
        .must_be(201);
    assert_eq!(announced["status"], "empty");
    let chunk = format!("/v1/files/{}/chunk", announced["id"].as_str().unwrap());
    let put = |sdk: &mut Sdk, range: &str, bytes: &[u8]| {
        let mut request = format!(
            "PUT {chunk} HTTP/1.1\r\nHost: 127.0.0.1\r\nEnginio-Backend-Id: {}\r\nContent-Range: {range}\r\n\
             Content-Length: {}\r\n\r\n",
            sdk.backend,
            bytes.len()
        )
        .into_bytes();
        request.extend_from_slice(bytes);
        sdk.connection.write(&request);
        sdk.answer(&chunk)
    };
    assert_eq!(
        put(sdk, "0-4/6", b"abcd").must_be(200)["status"],
        "incomplete"
    );
    assert_eq!(put(sdk, "4-6/6", b"ef").must_be(200)["status"], "complete");
    server.stop();
}

/// Everything that is published, asked without and with what it needs: whatever comes, the SDK can read it.
#[test]
fn it_can_read_whatever_a_backend_says() {
    let server = Server::demo();
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi/eds.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(copy).unwrap()).unwrap();
    let todo = server.backend().create("todos", &json!({"title": "x"}));
    let mut asked = 0;
    for token in [None, Some(server.backend().token), Some("none".to_owned())] {
        let mut sdk = Sdk::connect(&server);
        sdk.token = token;
        for (path, verbs) in document["paths"].as_object().unwrap() {
            for (verb, call) in verbs.as_object().unwrap() {
                if verb == "parameters" || streams(call) {
                    continue;
                }
                let verb = verb.to_uppercase();
                for id in [
                    todo["id"].as_str().unwrap(),
                    "000000000000000000000000",
                    "no id",
                ] {
                    let target = fill_in(path, &id.replace(' ', "%20"));
                    let body = match verb.as_str() {
                        "GET" | "DELETE" => Value::Null,
                        _ => json!({}),
                    };
                    let answer = sdk.call(&verb, &target, &body);
                    if answer.status >= 400 {
                        let refusal = answer.json();
                        let first = &refusal["errors"][0];
                        let is_told =
                            |part: &str| first[part].as_str().is_some_and(|text| !text.is_empty());
                        assert!(
                            is_told("message") && is_told("reason"),
                            "{verb} {target}: {refusal}"
                        );
                    }
                    asked += 1;
                }
            }
        }
        // What is not there, and what is not meant so.
        for (verb, target, status) in [
            ("GET", "/v1/nothing", 404),
            ("PATCH", "/v1/objects/todos", 405),
            ("PUT", "/v1/batch", 405),
        ] {
            sdk.call(verb, target, &Value::Null).must_be(status);
        }
    }
    assert!(asked > 300, "only {asked} calls");
    server.stop();
}

/// What ends when the caller goes, or is an archive of any length, cannot say how long it is. The SDK asks for neither.
fn streams(call: &Value) -> bool {
    let content = call["responses"]["200"]["content"].as_object();
    content.is_some_and(|kinds| kinds.keys().any(|kind| kind != "application/json"))
}

fn fill_in(path: &str, id: &str) -> String {
    let part = |part: &str| match part {
        "{type}" => "todos".to_owned(),
        part if part.starts_with('{') => id.to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
