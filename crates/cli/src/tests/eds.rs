//! Data backends, and what is done with what is in them.

use std::fs;

use serde_json::{Value, json};

use super::server::Server;
use super::{Desk, Seen, TOKEN};

const ID: &str = "532831a2698b3c6ae8091d6d";
/// The security token of the backend.
const KEY: &str = "7d31-security";
const OBJECT: &str = "51cdbc08989e975ec300772a";

fn instance(openness: &str) -> Value {
    json!({
        "id": ID, "name": "Notes", "tags": ["mine"], "serviceProviderId": "eds", "datacenterId": "eu-1",
        "accountId": "46738209", "config": {"openness": openness}, "createdAt": "2015-05-13T10:00:00Z",
    })
}

/// A server with one backend.
fn server() -> Server {
    let server = Server::start();
    let address = server.address();
    let services = ["eds", "mws"].map(|id| json!({"id": id, "url": format!("http://{address}")}));
    let here = json!({"results": [{"id": "eu-1", "description": "Here", "services": services}]});
    let keys =
        json!({"results": [{"id": 3, "access_token": KEY, "createdAt": "2015-05-13T10:00:00Z"}]});
    server
        .on("GET /v1/datacenters", 200, here)
        .on(
            "GET /v1/accounts/46738209/instances?provider=eds",
            200,
            json!({"results": [instance("private")]}),
        )
        .on(&format!("GET /v1/instances/{ID}"), 200, instance("private"))
        .on(&format!("GET /v1/instances/{ID}/authorizations"), 200, keys)
}

fn types(server: &Server, words: &str) -> Seen {
    Desk::new().types(server, words)
}

fn todo(id: &str, title: &str) -> Value {
    json!({
        "id": id, "objectType": "objects.todos", "createdAt": "2015-05-13T10:00:00.000Z",
        "updatedAt": "2015-05-13T10:00:01.000Z", "title": title, "done": false,
    })
}

#[test]
fn create_is_private_unless_asked_otherwise() {
    let server = Server::start().on(
        "POST /v1/accounts/46738209/instances",
        201,
        instance("private"),
    );
    assert_eq!(
        types(&server, "eds create Notes --tag mine"),
        Seen::good(
            "Created the data backend 532831a2698b3c6ae8091d6d, called Notes.\n\
             It is private: what a user creates is theirs until they share it.\n\
             \n\
             Put something in and look at it:\n\
             \x20 pilvi eds --backend 532831a2698b3c6ae8091d6d insert notes text=Hello\n\
             \x20 pilvi eds --backend 532831a2698b3c6ae8091d6d query notes\n\
             Its security token, for your programs:\n\
             \x20 pilvi eds --backend 532831a2698b3c6ae8091d6d token\n"
        )
    );
    let (_, body) = server.only("POST");
    assert_eq!(
        body,
        json!({"name": "Notes", "serviceProviderId": "eds", "tags": ["mine"], "config": {"openness": "private"}})
    );
}

#[test]
fn an_open_one_says_so() {
    let server = Server::start().on(
        "POST /v1/accounts/46738209/instances",
        201,
        instance("open"),
    );
    let seen = types(&server, "eds create Notes --open");
    assert_eq!(seen.code, 0);
    let said = "It is open: everybody who knows its id may read and change everything in it.";
    assert_eq!(seen.out.lines().nth(1), Some(said));
    assert_eq!(
        seen.err,
        "Leave out --open for one that only its own users and its token may use.\n"
    );
    assert_eq!(server.only("POST").1["config"], json!({"openness": "open"}));
}

#[test]
fn list_tells_who_may_use_what() {
    let mut open = instance("open");
    open["name"] = "Demo".into();
    open["config"] = json!({});
    let server = server().on(
        "GET /v1/accounts/46738209/instances?provider=eds",
        200,
        json!({"results": [instance("private"), open]}),
    );
    let seen = types(&server, "eds list");
    assert_eq!(
        seen.out,
        "ID                        NAME   ACCESS   TAGS\n\
         532831a2698b3c6ae8091d6d  Notes  private  mine\n\
         532831a2698b3c6ae8091d6d  Demo   open     mine\n"
    );
    assert_eq!(
        seen.err,
        "Whoever knows the id of an open one may use it.\n"
    );
}

#[test]
fn show_tells_the_address_for_programs() {
    let server = server();
    let address = server.address();
    assert_eq!(
        types(&server, "eds show"),
        Seen::good(&format!(
            "Id          532831a2698b3c6ae8091d6d\n\
             Name        Notes\n\
             Access      private: what a user creates is theirs until they share it\n\
             Address     http://{address}/v1\n\
             Datacenter  eu-1\n\
             Cloud       46738209\n\
             Tags        mine\n\
             Created     2015-05-13T10:00:00Z\n"
        ))
    );
}

#[test]
fn a_backend_is_named_by_its_id_or_its_name_or_is_the_only_one() {
    let server = server();
    for words in [
        "eds token",
        "eds --backend Notes token",
        "eds token --backend 532831a2698b3c6ae8091d6d",
    ] {
        assert_eq!(types(&server, words), Seen::good(&format!("{KEY}\n")));
    }
    let none = types(&server, "eds --backend Other token");
    let err = "error: you have no data backend called Other\n\
               try: see `pilvi eds list` for those that you have\n";
    assert_eq!(none, Seen::bad(4, err));
    let mut other = instance("private");
    other["id"] = "532831a2698b3c6ae8091d6e".into();
    let both = json!({"results": [instance("private"), other]});
    let server = server.on(
        "GET /v1/accounts/46738209/instances?provider=eds",
        200,
        both,
    );
    let several = types(&server, "eds token");
    let err = "error: there are several data backends: 532831a2698b3c6ae8091d6d (Notes), \
               532831a2698b3c6ae8091d6e (Notes)\n\
               try: name one with --backend ID\n";
    assert_eq!(several, Seen::bad(2, err));
    let nothing = json!({"results": []});
    let server = server.on(
        "GET /v1/accounts/46738209/instances?provider=eds",
        200,
        nothing,
    );
    let err = "error: you have no data backend yet\ntry: create one with `pilvi eds create NAME`\n";
    assert_eq!(types(&server, "eds query todos"), Seen::bad(4, err));
}

#[test]
fn an_instance_of_another_service_is_not_taken() {
    let mut gateway = instance("private");
    gateway["serviceProviderId"] = "mws".into();
    let server = server().on(&format!("GET /v1/instances/{ID}"), 200, gateway);
    let seen = types(&server, &format!("eds --backend {ID} remove --yes"));
    let err = format!(
        "error: {ID} is no data backend\ntry: see `pilvi eds list` for those that you have\n"
    );
    assert_eq!(seen, Seen::bad(4, &err));
}

#[test]
fn a_viewer_is_told_why_there_is_no_token() {
    let message = json!({"error": {"reason": "Forbidden", "message": "your role in this account is that of a viewer"}});
    let server = server().on(
        &format!("GET /v1/instances/{ID}/authorizations"),
        403,
        message,
    );
    let err = "error: your role in this account is that of a viewer\n\
               try: see `pilvi clouds members` for whom to ask; --anonymous does what everybody may do\n";
    assert_eq!(types(&server, "eds query todos"), Seen::bad(7, err));
}

#[test]
fn the_token_of_a_cloud_opens_its_backends_itself() {
    let refused =
        json!({"error": {"reason": "Forbidden", "message": "use a personal access token"}});
    let resource = "GET /v1/objects/todos?count=1";
    let server = server()
        .on(
            &format!("GET /v1/instances/{ID}/authorizations"),
            403,
            refused.clone(),
        )
        .on("GET /v1/user", 403, refused)
        .on(resource, 200, json!({"query": {}, "count": 1}));
    assert_eq!(types(&server, "eds count todos"), Seen::good("1\n"));
    let asked = server.asked();
    let call = asked.iter().find(|asked| asked.what == resource).unwrap();
    assert_eq!(call.authorization, Some(format!("Bearer {TOKEN}")));
}

#[test]
fn remove_needs_a_yes() {
    let server = server().on(&format!("DELETE /v1/instances/{ID}"), 200, json!({}));
    let seen = types(&server, "eds remove");
    assert_eq!(seen.code, 2);
    assert!(
        seen.err.ends_with("try: add --yes when you mean it\n"),
        "{}",
        seen.err
    );
    let done = "Removed 532831a2698b3c6ae8091d6d. While it is kept, this brings it back: \
                pilvi instances restore 532831a2698b3c6ae8091d6d\n";
    assert_eq!(types(&server, "eds remove --yes"), Seen::good(done));
    let server = server.on(
        &format!("DELETE /v1/instances/{ID}?now=true"),
        200,
        json!({}),
    );
    let done =
        "Removed 532831a2698b3c6ae8091d6d (Notes) with its objects, users, webhooks and tokens.\n";
    assert_eq!(types(&server, "eds remove --yes --now"), Seen::good(done));
}

#[test]
fn tokens_are_listed_by_number_and_not_in_full() {
    let made = json!({"id": 4, "access_token": "another", "createdAt": "2015-05-13T11:00:00Z"});
    let server = server()
        .on(
            &format!("POST /v1/instances/{ID}/authorizations"),
            201,
            made,
        )
        .on(
            &format!("DELETE /v1/instances/{ID}/authorizations/3"),
            200,
            json!({}),
        );
    assert_eq!(
        types(&server, "eds token list"),
        Seen::good("NUMBER  TOKEN      CREATED\n3       7d31-sec…  2015-05-13T10:00:00Z\n")
    );
    assert_eq!(types(&server, "eds token new"), Seen::good("another\n"));
    let gone = "Removed the token 3. It opens nothing any more.\n";
    assert_eq!(types(&server, "eds token remove 3"), Seen::good(gone));
    let seen = types(&server, "eds token remove 9");
    assert_eq!(seen.code, 4);
    assert!(
        seen.err
            .ends_with("try: see `pilvi eds token list` for the numbers\n"),
        "{}",
        seen.err
    );
}

#[test]
fn query_prints_a_table_with_the_token_of_the_backend() {
    let answer = json!({"query": {}, "results": [todo(OBJECT, "Buy milk"), todo("2", "Rest")]});
    let resource = "GET /v1/objects/todos?limit=100";
    let server = server().on(resource, 200, answer);
    assert_eq!(
        types(&server, "eds query todos"),
        Seen::good(
            "ID                        title     done   UPDATED\n\
             51cdbc08989e975ec300772a  Buy milk  false  2015-05-13T10:00:01.000Z\n\
             2                         Rest      false  2015-05-13T10:00:01.000Z\n"
        )
    );
    for asked in server.asked() {
        let expected = if asked.what == resource { KEY } else { TOKEN };
        assert_eq!(
            asked.authorization,
            Some(format!("Bearer {expected}")),
            "{}",
            asked.what
        );
    }
}

#[test]
fn query_asks_for_what_was_typed() {
    let resource = "GET /v1/objects/todos?limit=2&q=%7B%22done%22%3Afalse%2C%22title%22%3A%22A%20b%22%7D\
                    &sort=%5B%7B%22sortBy%22%3A%22createdAt%22%2C%22direction%22%3A%22desc%22%7D%5D\
                    &include=%7B%22list%22%3A%7B%7D%7D&offset=4";
    let server = server().on(resource, 200, json!({"results": [], "query": {}}));
    let words = [
        "eds",
        "query",
        "todos",
        "done:=false",
        "title=A b",
        "-n",
        "2",
        "--sort",
        "-createdAt",
        "--offset",
        "4",
        "--include",
        "list",
    ];
    let seen = Desk::new().types_words(&server, &words);
    assert_eq!((seen.code, &*seen.out), (0, ""), "{}", seen.err);
    assert_eq!(seen.err, "There are no such todos.\n");
}

#[test]
fn search_asks_for_words_in_several_types() {
    let resource = "GET /v1/search?objectTypes=objects.todos%2Cusers\
                    &search=%7B%22phrase%22%3A%22milk%20-bread%22%2C%22properties%22%3A%5B%22title%22%5D%2C\
                    %22defaultOperator%22%3A%22AND%22%7D&limit=1\
                    &sort=%5B%7B%22sortBy%22%3A%22title%22%2C%22direction%22%3A%22asc%22%7D%5D";
    let found = json!({"results": [todo(OBJECT, "Buy milk")], "query": {}});
    let server = server().on(resource, 200, found);
    let words = [
        "eds",
        "search",
        "todos,users",
        "milk -bread",
        "--in",
        "title",
        "--all-words",
        "-n",
        "1",
        "--sort",
        "title",
        "--fields",
        "objectType,title",
    ];
    let seen = Desk::new().types_words(&server, &words);
    assert_eq!(
        seen.out,
        "ID                        objectType     title     UPDATED\n\
         51cdbc08989e975ec300772a  objects.todos  Buy milk  2015-05-13T10:00:01.000Z\n",
        "{}",
        seen.err
    );
    assert!(seen.err.starts_with("There may be more"), "{}", seen.err);
}

#[test]
fn search_counts_and_says_when_there_is_nothing() {
    let asked = "search?objectTypes=objects.todos&search=%7B%22phrase%22%3A%22NOT%20dog%22%7D";
    let server = server()
        .on(
            &format!("GET /v1/{asked}&count=1"),
            200,
            json!({"query": {}, "count": 17}),
        )
        .on(
            &format!("GET /v1/{asked}&limit=20"),
            200,
            json!({"query": {}, "results": []}),
        );
    let count = Desk::new().types_words(&server, &["eds", "search", "todos", "NOT dog", "--count"]);
    assert_eq!(count, Seen::good("17\n"));
    let nothing = Desk::new().types_words(&server, &["eds", "search", "todos", "NOT dog"]);
    assert_eq!(
        (nothing.code, &*nothing.out, &*nothing.err),
        (0, "", "Nothing was found.\n")
    );
}

#[test]
fn lines_go_on_from_page_to_page() {
    let first = json!({"results": [{"id": "1"}], "query": {}, "next": "c/1"});
    let second = json!({"results": [{"id": "2"}], "query": {}});
    let server = server()
        .on("GET /v1/objects/todos?limit=1000", 200, first)
        .on("GET /v1/objects/todos?limit=1000&after=c%2F1", 200, second);
    let seen = types(&server, "eds query todos --lines");
    assert_eq!(seen, Seen::good("{\"id\":\"1\"}\n{\"id\":\"2\"}\n"));
}

#[test]
fn a_table_of_more_than_a_page_is_not_promised() {
    let seen = types(&server(), "eds query todos --limit 5000");
    let err = "error: a table holds at most 1000 objects\ntry: print more of them with --lines\n";
    assert_eq!(seen, Seen::bad(2, err));
}

#[test]
fn count_and_get() {
    let server = server()
        .on(
            "GET /v1/users?count=1&q=%7B%22email%22%3A%22a%40b%22%7D",
            200,
            json!({"query": {}, "count": 17}),
        )
        .on(
            &format!("GET /v1/objects/todos/{OBJECT}"),
            200,
            todo(OBJECT, "Buy milk"),
        );
    assert_eq!(
        types(&server, "eds count users email=a@b"),
        Seen::good("17\n")
    );
    assert_eq!(
        types(&server, &format!("eds get todos {OBJECT}")),
        Seen::good(
            "id          51cdbc08989e975ec300772a\n\
             objectType  objects.todos\n\
             createdAt   2015-05-13T10:00:00.000Z\n\
             updatedAt   2015-05-13T10:00:01.000Z\n\
             title       Buy milk\n\
             done        false\n"
        )
    );
    let missing = types(&server, "eds get todos 1");
    assert_eq!(missing.code, 4);
    assert!(
        missing
            .err
            .ends_with("try: see `pilvi eds query todos` for those that there are\n"),
        "{}",
        missing.err
    );
}

#[test]
fn anonymous_shows_no_token_to_the_backend() {
    let resource = "GET /v1/objects/todos?count=1";
    let refused = json!({"errors": [{"message": "sign in", "reason": "Unauthorized"}]});
    let server = server().on(resource, 401, refused);
    let err = "error: 532831a2698b3c6ae8091d6d does not let everybody do this\ntry: leave out --anonymous\n";
    assert_eq!(
        types(&server, "eds --anonymous count todos"),
        Seen::bad(3, err)
    );
    let asked = server.asked();
    let call = asked.iter().find(|asked| asked.what == resource).unwrap();
    assert_eq!(call.authorization, None);
    assert!(
        !asked
            .iter()
            .any(|asked| asked.what.ends_with("/authorizations"))
    );
}

#[test]
fn one_object_is_inserted_from_the_command_line() {
    let server = server().on("POST /v1/objects/todos", 201, todo(OBJECT, "Buy milk"));
    let words = ["eds", "insert", "todos", "title=Buy milk", "done:=false"];
    let seen = Desk::new().types_words(&server, &words);
    assert!(
        seen.out
            .starts_with("id          51cdbc08989e975ec300772a\n"),
        "{}",
        seen.out
    );
    assert_eq!(
        server.only("POST").1,
        json!({"title": "Buy milk", "done": false})
    );
}

#[test]
fn many_are_inserted_from_a_file_or_from_standard_input() {
    let answer = json!({"results": [{"status": 201, "body": {"id": "1"}}, {"status": 201, "body": {"id": "2"}}]});
    let text = "{\"n\":1}\n\n{\"n\":2,\"id\":\"old\"}\n";
    let desk = Desk::new().with_input(text);
    fs::write(desk.path().join("todos.ndjson"), text).unwrap();
    for words in ["eds insert todos --file todos.ndjson", "eds insert todos -"] {
        let server = server().on("POST /v1/batch", 200, answer.clone());
        assert_eq!(
            desk.types(&server, words),
            Seen::good("Inserted 2 objects.\n")
        );
        let operation =
            |body: Value| json!({"method": "POST", "path": "/v1/objects/todos", "body": body});
        let operations = [json!({"n": 1}), json!({"n": 2, "id": "old"})].map(operation);
        assert_eq!(server.only("POST").1, json!({ "operations": operations }));
    }
    let server = server().on("POST /v1/batch", 200, answer);
    let seen = desk.types(&server, "eds insert todos - --json");
    assert_eq!(seen, Seen::good("{\"id\":\"1\"}\n{\"id\":\"2\"}\n"));
}

#[test]
fn a_refused_object_is_found_by_its_line() {
    let refused = json!({"errors": [{"message": "operations[1]: title: is required", "reason": "ValidationFailed"}]});
    let server = server().on("POST /v1/batch", 400, refused);
    let desk = Desk::new().with_input("{}\n\n{}\n");
    let seen = desk.types(&server, "eds insert todos -");
    assert_eq!(seen.code, 5);
    let what = "error: line 3: title: is required; nothing was inserted before\n";
    assert!(seen.err.starts_with(what), "{}", seen.err);
}

#[test]
fn a_line_that_is_no_json_stops_the_rest() {
    let done = json!({"results": vec![json!({"status": 201, "body": {}}); 100]});
    let server = server().on("POST /v1/batch", 200, done);
    let desk = Desk::new().with_input(&("{}\n".repeat(100) + "hello\n"));
    let seen = desk.types(&server, "eds insert todos -");
    assert_eq!(
        seen,
        Seen::bad(
            2,
            "error: line 101 is no JSON object: expected value at line 1 column 1; 100 objects were inserted before \
             and stay\n\
             try: give one JSON object a line; `pilvi eds query TYPE --lines` prints such lines\n"
        )
    );
}

#[test]
fn update_and_delete() {
    let server = server()
        .on(
            &format!("PUT /v1/objects/todos/{OBJECT}"),
            200,
            todo(OBJECT, "Buy oats"),
        )
        .on(
            &format!("DELETE /v1/objects/todos/{OBJECT}"),
            200,
            json!({}),
        );
    let seen = types(
        &server,
        &format!("eds update todos {OBJECT} title=Oats place:=null"),
    );
    assert!(
        seen.out.contains("\ntitle       Buy oats\n"),
        "{}",
        seen.out
    );
    assert_eq!(
        server.only("PUT").1,
        json!({"title": "Oats", "place": null})
    );
    assert_eq!(
        types(&server, &format!("eds delete todos {OBJECT}")),
        Seen::good("Deleted 51cdbc08989e975ec300772a.\n")
    );
    let seen = types(&server, &format!("eds delete todos {OBJECT} 2"));
    assert_eq!(seen.code, 4);
    let what = "error: 2 was not deleted (1 before it were deleted): ";
    assert!(seen.err.starts_with(what), "{}", seen.err);
}

#[test]
fn operators_go_to_their_own_address() {
    let server = server().on(
        &format!("PUT /v1/objects/todos/{OBJECT}/atomic"),
        200,
        todo(OBJECT, "Buy milk"),
    );
    let words = [
        "eds",
        "update",
        "todos",
        OBJECT,
        "--atomic",
        "{\"$inc\":{\"n\":1}}",
    ];
    assert_eq!(Desk::new().types_words(&server, &words).code, 0);
    assert_eq!(server.only("PUT").1, json!({"$inc": {"n": 1}}));
}

#[test]
fn watch_prints_what_is_told_and_ends_after_so_many() {
    let mut created = todo("2", "New");
    created["updatedAt"] = created["createdAt"].clone();
    let changed = todo(OBJECT, "Buy milk");
    let messages = [
        json!({"event": "caught_up", "seq": "1-0"}),
        json!({"event": "enter", "seq": "2-0", "data": created}),
        json!({"event": "update", "seq": "3-0", "data": changed}),
        json!({"event": "leave", "seq": "4-0", "data": {"id": "3", "objectType": "objects.todos"}}),
        json!({"event": "leave", "seq": "5-0", "data": {"id": "2", "objectType": "objects.todos", "deleted": true}}),
    ];
    let events = messages
        .map(|message| format!("data: {message}\n\n"))
        .concat();
    let server = server().on("GET /v1/live?objectType=objects.todos", 200, events);
    let seen = types(&server, "eds watch todos --count 4");
    assert_eq!(
        (seen.code, &*seen.out),
        (
            0,
            "2015-05-13T10:00:00.000Z  created  2  {\"title\":\"New\",\"done\":false}\n\
             2015-05-13T10:00:01.000Z  changed  51cdbc08989e975ec300772a  {\"title\":\"Buy milk\",\"done\":false}\n\
             left  3\n\
             deleted  2\n"
        )
    );
    assert_eq!(seen.err, "Watching todos, until Ctrl-C.\n");
    let seen = types(&server, "eds watch todos --count 1 --json");
    let line: Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(
        (&line["event"], &line["data"]["id"]),
        (&json!("enter"), &json!("2"))
    );
}

#[test]
fn watch_comes_back_to_where_it_was() {
    let first = format!(
        "data: {}\n\n",
        json!({"event": "enter", "seq": "7-0a", "data": todo("2", "New")})
    );
    let second = format!(
        "data: {}\n\n",
        json!({"event": "leave", "seq": "8-0b", "data": {"id": "2"}})
    );
    let query = "objectType=objects.todos&q=%7B%22done%22%3Afalse%7D";
    let server = server()
        .on(&format!("GET /v1/live?{query}"), 200, first)
        .on(&format!("GET /v1/live?{query}&since=7-0a"), 200, second);
    let seen = types(&server, "eds watch todos done:=false --count 2");
    assert_eq!(seen.code, 0, "{}", seen.err);
    assert!(seen.out.ends_with("left  2\n"), "{}", seen.out);
    assert!(
        seen.err
            .contains("the server ended the stream; trying again in 1 s"),
        "{}",
        seen.err
    );
}

fn described() -> Value {
    let everyone = json!([{"id": "*", "objectType": "aclSubject"}]);
    let authenticated = json!([{"id": "authenticated", "objectType": "aclSubject"}]);
    let creator = json!([{"id": "creator", "objectType": "aclSubject"}]);
    json!({
        "id": "5", "name": "objects.todos",
        "properties": [
            {"name": "title", "type": "string", "indexed": true},
            {"name": "list", "type": "ref", "objectType": "objects.lists", "indexed": false,
             "onCreate": {"accessControlList": "extend"},
             "target": {"onDelete": {"dependency": "deleteObject"}}},
            {"name": "color", "type": "string", "indexed": false, "inferred": true},
        ],
        "validators": [{"name": "title.required", "property": "title", "type": "required"}],
        "accessControlList": {"read": everyone, "create": authenticated},
        "accessControlListTemplate": {"read": everyone, "update": creator, "delete": [], "admin": creator},
    })
}

#[test]
fn types_are_listed_and_shown() {
    let server = server()
        .on(
            "GET /v1/object_types",
            200,
            json!({"results": [described()]}),
        )
        .on("GET /v1/object_types/objects.todos", 200, described());
    assert_eq!(
        types(&server, "eds types"),
        Seen::good(
            "TYPE   PROPERTIES          LIST      CREATE\n\
             todos  title, list, color  everyone  authenticated\n"
        )
    );
    assert_eq!(
        types(&server, "eds types show todos"),
        Seen::good(
            "Type                 todos\n\
             Listed by            everyone\n\
             Created by           authenticated\n\
             New ones read by     everyone\n\
             New ones changed by  creator\n\
             New ones deleted by  nobody\n\
             New ones shared by   creator\n\
             \n\
             PROPERTY  TYPE    REFERS TO      RIGHTS     RULES\n\
             title     string                            required, indexed\n\
             list      ref     objects.lists  inherited  goes with its target\n\
             color     string                            only seen in use\n"
        )
    );
}

#[test]
fn rules_are_said_in_words() {
    let server = server().on("POST /v1/object_types", 201, described());
    let words = "eds types set cards title:string n:number board:ref=boards --required title --unique title,n \
                 --strict n --indexed title --delete-with board --stream";
    assert_eq!(types(&server, words).code, 0);
    let rule = |name: &str, kind: &str| json!({"property": name, "type": kind, "options": {}});
    assert_eq!(
        server.only("POST").1,
        json!({
            "properties": [
                {"name": "title", "type": "string", "indexed": true},
                {"name": "n", "type": "number"},
                {"name": "board", "type": "ref", "objectType": "objects.boards",
                 "target": {"onDelete": {"dependency": "deleteObject"}}},
            ],
            "validators": [
                rule("title", "required"), rule("title", "unique"), rule("n", "unique"), rule("n", "type"),
            ],
            "settings": {"websocket": true},
            "name": "objects.cards",
        })
    );
    for wrong in [
        "--strict x",
        "--indexed x",
        "--clear x",
        "--restrict x",
        "--delete-with x",
    ] {
        let seen = types(
            &server,
            &format!("eds types set cards title:string {wrong}"),
        );
        assert_eq!(seen.code, 2, "{wrong}");
    }
}

#[test]
fn a_type_is_removed_alone_or_with_its_objects() {
    let server = server()
        .on(
            "DELETE /v1/object_types/objects.todos",
            200,
            json!({"objects": 0}),
        )
        .on(
            "DELETE /v1/object_types/objects.todos?objects=true",
            200,
            json!({"objects": 3}),
        );
    let seen = types(&server, "eds types remove todos --yes");
    assert_eq!(seen, Seen::good("Removed the type todos.\n"));
    let seen = types(&server, "eds types remove todos --objects --yes");
    assert_eq!(seen, Seen::good("Removed the type todos with 3 objects.\n"));
}

#[test]
fn a_type_is_described_in_words() {
    let server = server().on("POST /v1/object_types", 201, described());
    let words = "eds types set todos title:string list:ref=lists --inherit list";
    assert_eq!(types(&server, words).code, 0);
    let inherited = json!({"accessControlList": "extend"});
    assert_eq!(
        server.only("POST").1,
        json!({
            "properties": [
                {"name": "title", "type": "string"},
                {"name": "list", "type": "ref", "objectType": "objects.lists", "onCreate": inherited},
            ],
            "name": "objects.todos",
        })
    );
    let seen = types(&server, "eds types set todos title:string --inherit list");
    assert_eq!(seen.code, 2);
}

#[test]
fn rights_that_are_not_named_stay() {
    let server = server()
        .on("GET /v1/object_types/objects.todos", 200, described())
        .on("PUT /v1/object_types/objects.todos", 200, described());
    let words = "eds types access todos --create everyone --new-read creator,usergroups.7";
    assert_eq!(types(&server, words).code, 0);
    let (_, body) = server.only("PUT");
    let everyone = json!([{"id": "*", "objectType": "aclSubject"}]);
    assert_eq!(
        body["accessControlList"],
        json!({"read": everyone, "create": everyone})
    );
    let template = &body["accessControlListTemplate"];
    assert_eq!(
        template["read"],
        json!([{"id": "creator", "objectType": "aclSubject"}, {"id": "7", "objectType": "usergroups"}])
    );
    assert_eq!(
        template["update"],
        described()["accessControlListTemplate"]["update"]
    );
    assert_eq!(types(&server, "eds types access todos").code, 2);
}

fn anna() -> Value {
    json!({
        "id": "7", "objectType": "users", "username": "anna", "email": "anna@example.org", "firstName": "Anna",
        "createdAt": "2015-05-13T10:00:00.000Z",
    })
}

const FIND_ANNA: &str = "GET /v1/users?limit=2\
     &q=%7B%22%24or%22%3A%5B%7B%22username%22%3A%22anna%22%7D%2C%7B%22id%22%3A%22anna%22%7D%5D%7D";

#[test]
fn users_come_and_go() {
    let server = server()
        .on("GET /v1/users?limit=100", 200, json!({"results": [anna()]}))
        .on(FIND_ANNA, 200, json!({"results": [anna()]}))
        .on("POST /v1/users", 201, anna())
        .on("PUT /v1/users/7", 200, anna())
        .on("DELETE /v1/users/7", 200, json!({}));
    assert_eq!(
        types(&server, "eds users"),
        Seen::good(
            "ID  USERNAME  EMAIL             NAME  CREATED\n\
             7   anna      anna@example.org  Anna  2015-05-13T10:00:00.000Z\n"
        )
    );
    let desk = Desk::new().with_input("korvapuusti\n");
    assert_eq!(
        desk.types(&server, "eds users create anna email=anna@example.org"),
        Seen::good("Registered anna (7).\n")
    );
    assert_eq!(
        server.only("POST").1,
        json!({"email": "anna@example.org", "username": "anna", "password": "korvapuusti"})
    );
    assert_eq!(
        desk.types(&server, "eds users password anna"),
        Seen::good("anna has another password. Who is signed in stays so for up to eight hours.\n")
    );
    assert_eq!(server.only("PUT").1, json!({"password": "korvapuusti"}));
    assert_eq!(types(&server, "eds users remove anna").code, 2);
    assert_eq!(
        types(&server, "eds users remove anna --yes"),
        Seen::good("Removed anna, who can no longer sign in.\n")
    );
}

#[test]
fn a_password_is_not_shown_even_if_the_server_repeats_it() {
    let refused =
        json!({"errors": [{"message": "hunter2 is too short", "reason": "ValidationFailed"}]});
    let server = server().on("POST /v1/users", 400, refused);
    let desk = Desk::new().with_input("hunter2\n");
    let seen = desk.types(&server, "eds users create anna");
    assert_eq!(seen.code, 5);
    assert!(
        seen.err.starts_with("error: [secret] is too short\n"),
        "{}",
        seen.err
    );
    let seen = types(&server, "eds users create anna");
    assert_eq!(seen.code, 2);
    assert!(
        seen.err.starts_with("error: no password was given\n"),
        "{}",
        seen.err
    );
}

#[test]
fn a_name_that_looks_like_an_id_does_not_stand_in_for_it() {
    let mut other = anna();
    other["id"] = "8".into();
    other["username"] = "7".into();
    let find = FIND_ANNA.replace("anna", "7");
    let server = server()
        .on(&find, 200, json!({"results": [other, anna()]}))
        .on("DELETE /v1/users/7", 200, json!({}));
    assert_eq!(
        types(&server, "eds users remove 7 --yes"),
        Seen::good("Removed anna, who can no longer sign in.\n")
    );
}

#[test]
fn groups_have_members() {
    let group = json!({"id": "9", "objectType": "usergroups", "name": "admins"});
    let find = "GET /v1/usergroups?limit=2\
                &q=%7B%22%24or%22%3A%5B%7B%22name%22%3A%22admins%22%7D%2C%7B%22id%22%3A%22admins%22%7D%5D%7D";
    let server = server()
        .on(find, 200, json!({"results": [group]}))
        .on(FIND_ANNA, 200, json!({"results": [anna()]}))
        .on("POST /v1/usergroups/9/members", 201, anna())
        .on("DELETE /v1/usergroups/9/members", 200, json!({}));
    assert_eq!(
        types(&server, "eds groups add admins anna"),
        Seen::good("anna is in admins now.\n")
    );
    let reference = json!({"id": "7", "objectType": "users"});
    assert_eq!(server.only("POST").1, reference);
    assert_eq!(
        types(&server, "eds groups drop admins anna"),
        Seen::good("anna is no longer in admins.\n")
    );
    assert_eq!(server.only("DELETE").1, reference);
    let both = json!({"results": [group, {"id": "10", "name": "admins"}]});
    let server = server.on(find, 200, both);
    assert_eq!(types(&server, "eds groups members admins").code, 2);
}

#[test]
fn access_is_granted_and_withdrawn() {
    let list = json!({
        "read": [{"id": "*", "objectType": "aclSubject"}], "update": [], "delete": [],
        "admin": [{"id": "7", "objectType": "users"}],
    });
    let resource = format!("/v1/objects/todos/{OBJECT}/access");
    let server = server()
        .on(&format!("GET {resource}"), 200, list.clone())
        .on(&format!("PUT {resource}"), 200, list.clone())
        .on(&format!("POST {resource}"), 200, list.clone())
        .on(&format!("DELETE {resource}"), 200, list);
    let shown = "Read    everyone\nUpdate  nobody\nDelete  nobody\nAdmin   users.7\n";
    for words in ["show", "grant", "withdraw"] {
        let rest = if words == "show" {
            ""
        } else {
            "read everyone users.7"
        };
        let seen = types(
            &server,
            &format!("eds access {words} todos {OBJECT} {rest}"),
        );
        assert_eq!(seen, Seen::good(shown));
    }
    let both = json!({"read": [{"id": "*", "objectType": "aclSubject"}, {"id": "7", "objectType": "users"}]});
    assert_eq!(server.only("PUT").1, both);
    assert_eq!(server.only("DELETE").1, both);
    let seen = types(
        &server,
        &format!("eds access set todos {OBJECT} --admin users.7"),
    );
    assert_eq!(seen, Seen::good(shown));
    assert_eq!(
        server.only("POST").1,
        json!({"read": [], "update": [], "delete": [], "admin": [{"id": "7", "objectType": "users"}]})
    );
}

fn webhook() -> Value {
    json!({
        "id": "8", "url": "https://example.com/hook", "events": ["create", "delete"], "objectTypes": ["objects.todos"],
        "headers": {"Authorization": "********"}, "payloadAs": "object", "enabled": true, "signed": true,
        "createdAt": "2015-05-13T10:00:00.000Z", "updatedAt": "2015-05-13T10:00:00.000Z",
    })
}

#[test]
fn webhooks_are_created_and_looked_after() {
    let delivery = json!({
        "id": "8-1", "event": "create", "objectType": "objects.todos", "objectId": OBJECT, "state": "failed",
        "attempts": 5, "lastStatus": 500, "lastError": "no", "createdAt": "2015-05-13T10:00:00.000Z",
        "lastAttemptAt": null, "nextAttemptAt": null,
    });
    let server = server()
        .on("POST /v1/webhooks", 201, {
            let mut created = webhook();
            created["secret"] = json!("whsec_c2VjcmV0");
            created
        })
        .on("GET /v1/webhooks", 200, json!({"results": [webhook()]}))
        .on("GET /v1/webhooks/8", 200, webhook())
        .on("PUT /v1/webhooks/8", 200, webhook())
        .on("DELETE /v1/webhooks/8", 200, json!({}))
        .on(
            "GET /v1/webhooks/8/deliveries?limit=20&offset=0",
            200,
            json!({"results": [delivery]}),
        );
    let words = [
        "eds",
        "webhooks",
        "create",
        "https://example.com/hook",
        "--event",
        "create",
        "--event",
        "delete",
        "--type",
        "todos",
        "--header",
        "Authorization: Bearer x",
    ];
    let seen = Desk::new().types_words(&server, &words);
    assert_eq!(
        seen.out,
        "Created the webhook 8. It tells https://example.com/hook.\n"
    );
    assert!(
        seen.err
            .contains("signed with whsec_c2VjcmV0, which is not shown again"),
        "{}",
        seen.err
    );
    assert_eq!(
        server.only("POST").1,
        json!({
            "events": ["create", "delete"], "objectTypes": ["objects.todos"],
            "headers": {"Authorization": "Bearer x"}, "url": "https://example.com/hook",
        })
    );
    assert_eq!(
        types(&server, "eds webhooks"),
        Seen::good(
            "ID  URL                       EVENTS          TYPES\n\
             8   https://example.com/hook  create, delete  objects.todos\n"
        )
    );
    let shown = "Id       8\n\
                 Url      https://example.com/hook\n\
                 Events   create, delete\n\
                 Types    objects.todos\n\
                 Headers  Authorization\n\
                 Payload  as object\n\
                 Signed   yes\n\
                 Created  2015-05-13T10:00:00.000Z\n\
                 Changed  2015-05-13T10:00:00.000Z\n";
    assert_eq!(types(&server, "eds webhooks show 8"), Seen::good(shown));
    assert_eq!(
        types(&server, "eds webhooks change 8 --payload-as string"),
        Seen::good(shown)
    );
    assert_eq!(server.only("PUT").1, json!({"payloadAs": "string"}));
    assert_eq!(types(&server, "eds webhooks change 8").code, 2);
    assert_eq!(
        types(&server, "eds webhooks deliveries 8"),
        Seen::good(
            "ID   CREATED                   EVENT   OBJECT                                  STATE   TRIES  STATUS  \
             ERROR\n\
             8-1  2015-05-13T10:00:00.000Z  create  objects.todos 51cdbc08989e975ec300772a  failed  5      500     \
             no\n"
        )
    );
    assert_eq!(
        types(&server, "eds webhooks remove 8"),
        Seen::good("Removed the webhook 8.\n")
    );
    let missing = types(&server, "eds webhooks show 9");
    assert!(
        missing
            .err
            .ends_with("try: see `pilvi eds webhooks` for those that there are\n"),
        "{}",
        missing.err
    );
}

#[test]
fn a_delivery_is_looked_into_and_sent_again() {
    let delivery = json!({
        "id": "8-1", "event": "create", "objectType": "objects.todos", "objectId": OBJECT, "state": "failed",
        "attempts": 9, "lastStatus": 500, "lastError": "the target answered 500", "lastAnswer": "broken",
        "durationMs": 12, "requestId": "r", "createdAt": "2015-05-13T10:00:00.000Z",
        "lastAttemptAt": "2015-05-13T12:00:00.000Z", "nextAttemptAt": null,
        "payload": {"object": {}, "meta": {}}, "receivers": [],
    });
    let server = server()
        .on(
            "GET /v1/webhooks/8/deliveries?limit=20&offset=0&state=failed",
            200,
            json!({"results": []}),
        )
        .on("GET /v1/webhooks/8/deliveries/8-1", 200, delivery.clone())
        .on("POST /v1/webhooks/8/deliveries/8-1/replay", 200, delivery)
        .on(
            "POST /v1/webhooks/8/replay",
            200,
            json!({"replayed": 1000, "left": 7}),
        );
    let seen = types(&server, "eds webhooks deliveries 8 --state failed");
    assert_eq!((seen.code, seen.out.as_str()), (0, ""));
    assert_eq!(seen.err, "There are no deliveries to be shown.\n");
    let shown = "Id       8-1\n\
                 Event    create\n\
                 Object   objects.todos 51cdbc08989e975ec300772a\n\
                 State    failed\n\
                 Tries    9\n\
                 Status   500\n\
                 Error    the target answered 500\n\
                 Answer   broken\n\
                 Took     12 ms\n\
                 Request  r\n\
                 Created  2015-05-13T10:00:00.000Z\n\
                 Tried    2015-05-13T12:00:00.000Z\n\
                 Payload  {\"object\":{},\"meta\":{}}\n";
    assert_eq!(
        types(&server, "eds webhooks delivery 8-1"),
        Seen::good(shown)
    );
    assert_eq!(
        types(&server, "eds webhooks replay 8-1"),
        Seen::good("Sending 8-1 again.\n")
    );
    assert_eq!(
        types(&server, "eds webhooks replay --failed 8"),
        Seen::good("Sending 1000 deliveries again; 7 are left for another call.\n")
    );
    assert_eq!(types(&server, "eds webhooks delivery 8").code, 2);
}

#[test]
fn a_webhook_is_pinged_and_gets_a_new_secret() {
    let heard =
        json!({"delivered": true, "status": 204, "answer": "", "error": null, "durationMs": 5});
    let unheard = json!({
        "delivered": false, "status": 500, "answer": "no", "error": "the target answered 500: no", "durationMs": 5,
    });
    let fresh = json!({
        "id": "8", "secret": "whsec_c2VjcmV0", "previousUntil": "2015-05-14T10:00:00.000Z",
    });
    let server = server()
        .on("POST /v1/webhooks/8/ping", 200, heard)
        .on("POST /v1/webhooks/9/ping", 200, unheard)
        .on("POST /v1/webhooks/8/secret", 200, fresh);
    assert_eq!(
        types(&server, "eds webhooks ping 8"),
        Seen::good("The target answered 204 in 5 ms.\n")
    );
    let seen = types(&server, "eds webhooks ping 9");
    assert_eq!(seen.code, 1);
    assert!(
        seen.err.contains("the target answered 500: no"),
        "{}",
        seen.err
    );
    let seen = types(&server, "eds webhooks secret 8 --overlap-hours 24");
    assert_eq!(seen.out, "whsec_c2VjcmV0\n");
    assert!(
        seen.err.contains("until 2015-05-14T10:00:00.000Z"),
        "{}",
        seen.err
    );
}

#[test]
fn a_webhook_to_a_gateway_brings_its_token() {
    let gateway = json!({
        "id": "5417e5485a3d8b418a01adb7", "name": "live", "serviceProviderId": "mws", "datacenterId": "eu-1",
    });
    let keys = json!({"results": [{"id": 1, "access_token": "gateway-key"}]});
    let refused =
        json!({"errors": [{"message": "Bearer gateway-key is odd", "reason": "ValidationFailed"}]});
    let server = server()
        .on(
            "GET /v1/accounts/46738209/instances?provider=mws",
            200,
            json!({"results": [gateway]}),
        )
        .on(
            "GET /v1/instances/5417e5485a3d8b418a01adb7/authorizations",
            200,
            keys,
        )
        .on("POST /v1/webhooks", 400, refused);
    let seen = types(&server, "eds webhooks create --to-gateway live");
    let address = server.address();
    assert_eq!(
        server.only("POST").1,
        json!({
            "url": format!("http://{address}/v1/gateways/5417e5485a3d8b418a01adb7/webhook_receivers/enginio"),
            "headers": {"Authorization": "Bearer gateway-key"},
        })
    );
    assert_eq!(seen.code, 5);
    assert!(
        seen.err.starts_with("error: Bearer [secret] is odd\n"),
        "{}",
        seen.err
    );
}

#[test]
fn what_is_mistyped_is_told_before_anything_is_sent() {
    use clap::Parser as _;
    for (words, hint) in [
        (&["insert", "todos"][..], "required"),
        (&["insert", "todos", "title"], "write NAME=TEXT"),
        (&["query", "todos", "{\"a\":"], "cannot be read"),
        (
            &["access", "grant", "todos", "1", "read", "anna"],
            "write everyone",
        ),
        (&["watch", "todos", "--count", "0"], "0 is not in 1.."),
        (&["webhooks", "create"], "required"),
        (
            &["webhooks", "create", "http://x", "--header", "x"],
            "write NAME: VALUE",
        ),
        (&["types", "set", "todos", "title"], "write NAME:TYPE"),
    ] {
        let line = [&["pilvi", "eds"], words].concat();
        let error = super::Line::try_parse_from(&line).unwrap_err().to_string();
        assert!(error.contains(hint), "{line:?}: {error}");
    }
}

fn index(property: &str, state: &str, done: u64) -> Value {
    json!({
        "id": format!("{property}-id"), "objectType": "objects.todos", "property": property, "origin": "slow",
        "state": state, "progress": {"done": done, "total": 200}, "createdAt": "2015-05-13T10:00:00.000Z",
        "readyAt": null, "lastUsedAt": null,
    })
}

#[test]
fn indexes_are_listed_made_and_removed() {
    let both = json!({"results": [index("title", "building", 50), index("done", "ready", 200)]});
    let server = server()
        .on("GET /v1/indexes", 200, both)
        .on("POST /v1/indexes", 201, index("title", "building", 0))
        .on(
            "GET /v1/indexes/title-id",
            200,
            index("title", "ready", 200),
        )
        .on("DELETE /v1/indexes/title-id", 200, json!({}));
    assert_eq!(
        types(&server, "eds indexes"),
        Seen::good(
            "TYPE   PROPERTY  STATE          FROM          LAST USED\n\
             todos  title     building 25 %  a slow query\n\
             todos  done      ready          a slow query\n"
        )
    );
    assert_eq!(
        types(&server, "eds indexes create todos title"),
        Seen::good(
            "The index of todos title is being made; see `pilvi eds indexes` for how far it is.\n"
        )
    );
    let (_, body) = server.only("POST");
    assert_eq!(
        body,
        json!({"objectType": "objects.todos", "property": "title"})
    );
    assert_eq!(
        types(&server, "eds indexes create todos title --wait"),
        Seen::good("The index of todos title is ready.\n")
    );
    assert_eq!(
        types(&server, "eds indexes remove todos title"),
        Seen::good("Removed the index of todos title.\n")
    );
    let missing = types(&server, "eds indexes remove todos other");
    assert_eq!(missing.code, 4);
    assert!(
        missing
            .err
            .ends_with("try: see `pilvi eds indexes` for those that there are\n"),
        "{missing:?}"
    );
}

#[test]
fn slow_queries_are_listed_with_the_index_that_helps() {
    let slow = |query: &str, index: Value| {
        json!({
            "objectType": "objects.todos", "query": query, "count": 7, "worstMs": 120, "index": index,
            "firstAt": "2015-05-13T10:00:00.000Z", "lastAt": "2015-05-13T10:00:00.000Z",
        })
    };
    let wanted = json!({"objectType": "objects.todos", "property": "title"});
    let advice = json!({"results": [slow("title = …", wanted.clone()), slow("title = …, by done", wanted.clone()),
        slow("done regex …", Value::Null)]});
    let server = server()
        .on("GET /v1/index_advice", 200, advice)
        .on("DELETE /v1/index_advice", 200, json!({}))
        .on("POST /v1/indexes", 201, index("title", "building", 0));
    assert_eq!(
        types(&server, "eds indexes advise"),
        Seen::good(
            "TYPE   QUERY               TIMES  WORST   INDEX THAT HELPS\n\
             todos  title = …           7      120 ms  title\n\
             todos  title = …, by done  7      120 ms  title\n\
             todos  done regex …        7      120 ms\n"
        )
    );
    assert_eq!(
        types(&server, "eds indexes advise --create"),
        Seen::good("The index of todos title is building 0 %.\n")
    );
    let (_, body) = server.only("POST");
    assert_eq!(body, wanted);
    assert_eq!(
        types(&server, "eds indexes advise --forget"),
        Seen::good("Forgot what was slow so far.\n")
    );
}
