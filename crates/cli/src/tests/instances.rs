//! What all instances have in common, tokens and datacenters.

use serde_json::{Value, json};

use super::server::Server;
use super::{APP, Desk, Seen};

fn echo() -> Value {
    json!({
        "id": APP, "name": "echo", "tags": ["talk", "qt"], "serviceProviderId": "mar",
        "serviceProvider": {"id": "mar", "title": "Managed Application Runtime"}, "datacenterId": "eu-1",
        "accountId": "46738209", "createdAt": "2026-11-23T18:00:00Z",
        "config": {"runtimeSize": 1, "runtimeType": "app"}, "deletedAt": "2026-11-24T18:00:00Z",
        "removedAt": "2026-12-01T18:00:00Z",
    })
}

fn types(server: &Server, words: &str) -> Seen {
    Desk::new().types(server, words)
}

#[test]
fn instances_of_all_services_are_listed() {
    let todo = json!({"id": "5418203dd9a839178e000065", "name": "todo", "tags": [], "serviceProviderId": "eds"});
    let server = Server::start()
        .on(
            "GET /v1/accounts/46738209/instances?provider=",
            200,
            json!({"results": [echo(), todo]}),
        )
        .on(
            "GET /v1/accounts/46738209/instances?provider=mws",
            200,
            json!({"results": []}),
        )
        .on(
            "GET /v1/accounts/46738209/instances?provider=&deleted=true",
            200,
            json!({"results": [echo()]}),
        );
    assert_eq!(
        types(&server, "instances list"),
        Seen::good(
            "ID                        SERVICE  NAME  TAGS\n\
             mar-eu-1-twwto7g0         mar      echo  talk, qt\n\
             5418203dd9a839178e000065  eds      todo\n"
        )
    );
    assert_eq!(
        types(&server, "instances list --deleted"),
        Seen::good(
            "ID                 SERVICE  NAME  TAGS      REMOVED               KEPT UNTIL\n\
             mar-eu-1-twwto7g0  mar      echo  talk, qt  2026-11-24T18:00:00Z  2026-12-01T18:00:00Z\n"
        )
    );
    let seen = types(&server, "instances list --provider mws");
    assert!(
        seen.err.starts_with("There are no instances yet."),
        "{}",
        seen.err
    );
}

#[test]
fn an_instance_is_shown_renamed_tagged_removed_and_restored() {
    let of = |method: &str| format!("{method} /v1/instances/{APP}");
    let server = Server::start()
        .on(&of("GET"), 200, echo())
        .on(&of("PUT"), 200, echo())
        .on(&of("DELETE"), 200, json!({}))
        .on(&format!("{}?now=true", of("DELETE")), 200, json!({}))
        .on(&format!("{}/restore", of("POST")), 200, echo());
    assert_eq!(
        types(&server, &format!("instances show {APP}")),
        Seen::good(
            "Id          mar-eu-1-twwto7g0\n\
             Name        echo\n\
             Service     Managed Application Runtime\n\
             Tags        talk, qt\n\
             Cloud       46738209\n\
             Datacenter  eu-1\n\
             Created     2026-11-23T18:00:00Z\n\
             Config      runtimeSize=1\n\
             \x20           runtimeType=app\n"
        )
    );
    assert_eq!(
        types(&server, &format!("instances rename {APP} todo")),
        Seen::good("mar-eu-1-twwto7g0 is called todo now.\n")
    );
    assert_eq!(server.only("PUT").1, json!({"name": "todo"}));
    let put = |words: &str| {
        let seen = types(&server, &format!("instances tag {APP} {words}"));
        let asked = server.asked();
        (
            seen.out,
            serde_json::from_str(&asked.last().unwrap().body).unwrap(),
        )
    };
    let said = "The tags of mar-eu-1-twwto7g0 are a, b now.\n";
    assert_eq!(put("a b"), (said.to_owned(), json!({"tags": ["a", "b"]})));
    let said = "mar-eu-1-twwto7g0 has no tags now.\n";
    assert_eq!(put("--clear"), (said.to_owned(), json!({"tags": []})));
    let err = "error: mar-eu-1-twwto7g0 would be removed with everything that belongs to it\n\
               try: add --yes when you mean it\n";
    assert_eq!(
        types(&server, &format!("instances remove {APP}")),
        Seen::bad(2, err)
    );
    assert_eq!(
        types(&server, &format!("instances remove {APP} --yes")),
        Seen::good(
            "Removed mar-eu-1-twwto7g0. While it is kept, this brings it back: \
             pilvi instances restore mar-eu-1-twwto7g0\n"
        )
    );
    assert_eq!(
        types(&server, &format!("instances remove {APP} --yes --now")),
        Seen::good("Removed mar-eu-1-twwto7g0, which cannot be brought back.\n")
    );
    assert_eq!(
        types(&server, &format!("instances restore {APP}")),
        Seen::good("mar-eu-1-twwto7g0 is back, with its tokens and data.\n")
    );
}

#[test]
fn an_instance_is_found_by_its_name() {
    let of = |method: &str| format!("{method} /v1/instances/{APP}");
    let list = "GET /v1/accounts/46738209/instances?provider=";
    let other =
        json!({"id": "5418203dd9a839178e000065", "name": "todo", "serviceProviderId": "eds"});
    let twice = json!([other, {"id": "5418203dd9a839178e000066", "name": "todo"}, echo()]);
    let server = Server::start()
        .on(list, 200, json!({ "results": twice }))
        .on(
            &format!("{list}&deleted=true"),
            200,
            json!({"results": [echo()]}),
        )
        .on(&of("PUT"), 200, echo())
        .on(&of("DELETE"), 200, json!({}))
        .on(&format!("{}/restore", of("POST")), 200, echo());
    assert_eq!(
        types(&server, "instances"),
        types(&server, "instances list")
    );
    assert_eq!(
        types(&server, "instances rename echo hello"),
        Seen::good("echo is called hello now.\n")
    );
    assert_eq!(
        types(&server, "instances remove echo --yes"),
        Seen::good(
            "Removed mar-eu-1-twwto7g0. While it is kept, this brings it back: \
             pilvi instances restore mar-eu-1-twwto7g0\n"
        )
    );
    assert_eq!(
        types(&server, "instances restore echo"),
        Seen::good("echo is back, with its tokens and data.\n")
    );
    let err = "error: several instances are called todo\n\
               try: name it by its id, which `pilvi instances list` shows\n";
    assert_eq!(types(&server, "instances show todo"), Seen::bad(2, err));
    let err = "error: you have no instance called ehco\ntry: see `pilvi instances list` for what there is\n";
    assert_eq!(types(&server, "instances usage ehco"), Seen::bad(4, err));
    let err = "error: no instance called ehco waits to be brought back\n\
               try: see `pilvi instances list --deleted` for what there is\n";
    assert_eq!(types(&server, "instances restore ehco"), Seen::bad(4, err));
}

#[test]
fn what_cannot_be_brought_back_says_what_can() {
    let said = json!({"error": {"reason": "NotFound", "message": "There is no such instance."}});
    let server = Server::start().on(&format!("POST /v1/instances/{APP}/restore"), 404, said);
    let err = "error: There is no such instance\n\
               try: see `pilvi instances list --deleted` for what can be brought back\n";
    assert_eq!(
        types(&server, &format!("instances restore {APP}")),
        Seen::bad(4, err)
    );
}

#[test]
fn tokens_are_listed_made_and_removed() {
    let token = json!({"id": 17, "name": "laptop", "createdAt": "2026-11-23T18:00:00Z", "lastUsedAt": null,
                       "expiresAt": "2027-01-31T00:00:00Z"});
    let made = json!({"id": 18, "access_token": "new-token"});
    let server = Server::start()
        .on("GET /v1/authorizations", 200, json!({"results": [token]}))
        .on("POST /v1/authorizations", 201, made)
        .on("DELETE /v1/authorizations/17", 200, json!({}));
    assert_eq!(
        types(&server, "tokens"),
        Seen::good(
            "ID  NAME    CREATED               LAST USED  EXPIRES\n\
             17  laptop  2026-11-23T18:00:00Z             2027-01-31T00:00:00Z\n"
        )
    );
    let seen = types(
        &server,
        "tokens create laptop --expires 2027-01-31T00:00:00Z",
    );
    assert_eq!((seen.code, &*seen.out), (0, "new-token\n"));
    assert_eq!(
        seen.err,
        "This is token 18. Remove it with: pilvi tokens remove 18\n"
    );
    let expected = json!({"name": "laptop", "expiresAt": "2027-01-31T00:00:00Z"});
    assert_eq!(server.only("POST").1, expected);
    assert_eq!(
        types(&server, "tokens remove 17"),
        Seen::good("Removed the token 17. It is refused from now on.\n")
    );
}

#[test]
fn tokens_of_a_cloud_and_of_an_instance_are_shown() {
    let token = json!({"id": 3, "access_token": "shown", "createdAt": "2026-11-23T18:00:00Z"});
    let list = json!({"results": [token]});
    let server = Server::start()
        .on(
            "GET /v1/accounts/46738209/authorizations",
            200,
            list.clone(),
        )
        .on(
            &format!("GET /v1/instances/{APP}/authorizations"),
            200,
            list,
        );
    let expected = "ID  TOKEN  CREATED\n3   shown  2026-11-23T18:00:00Z\n";
    assert_eq!(types(&server, "tokens --of-cloud"), Seen::good(expected));
    assert_eq!(
        types(&server, &format!("tokens list --instance {APP}")),
        Seen::good(expected)
    );
}

#[test]
fn datacenters_are_listed_with_their_services() {
    let server = Server::start();
    let expected = format!(
        "ID    DESCRIPTION  SERVICES\neu-1  Here         mar http://{}\n",
        server.address()
    );
    assert_eq!(types(&server, "datacenters"), Seen::good(&expected));
}
