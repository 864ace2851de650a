//! Lists of apps, and keys.

use std::fs;

use serde_json::json;

use super::server::Server;
use super::{Desk, Seen};

#[test]
fn list_shows_the_apps_of_all_accounts() {
    let accounts = json!({"results": [{"id": "a1", "name": "Work"}, {"id": "a2", "name": "Home"}]});
    let echo = json!({"id": "mar-eu-1-twwto7g0", "name": "echo", "tags": ["talk", "qt"],
                      "config": {"runtimeSize": 1}});
    let todo = json!({"id": "mar-eu-1-1lcyazw4", "name": "todo", "tags": [], "config": {"runtimeSize": "4"}});
    let server = Server::start()
        .on("GET /v1/user/accounts", 200, accounts)
        .on(
            "GET /v1/accounts/a1/instances?provider=mar",
            200,
            json!({"results": [echo]}),
        )
        .on(
            "GET /v1/accounts/a2/instances?provider=mar",
            200,
            json!({"results": [todo]}),
        );
    assert_eq!(
        Desk::new().types(&server, "mar list"),
        Seen::good(
            "ID                 NAME  SIZE              TAGS      CLOUD\n\
             mar-eu-1-twwto7g0  echo  mini (256 MB)     talk, qt  Work\n\
             mar-eu-1-1lcyazw4  todo  medium (1024 MB)            Home\n"
        )
    );
    let seen = Desk::new().types(&server, "mar list --json");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&seen.out).unwrap(),
        json!({"results": [echo, todo]})
    );
}

#[test]
fn an_empty_list_tells_what_to_do() {
    let server = Server::start().on(
        "GET /v1/accounts/46738209/instances?provider=mar",
        200,
        json!({"results": []}),
    );
    let seen = Desk::new().types(&server, "mar list");
    assert_eq!(
        seen.err,
        "There are no apps yet. Create one with: pilvi mar create NAME\n"
    );
    assert_eq!((seen.code, &*seen.out), (0, ""));
}

#[test]
fn several_accounts_need_a_choice_before_anything_is_made() {
    let accounts = json!({"results": [{"id": "a1", "name": "Work"}, {"id": "a2", "name": "Home"}]});
    let server = Server::start().on("GET /v1/user/accounts", 200, accounts);
    let err = "error: there are several clouds: a1 (Work), a2 (Home)\n\
         try: name one with --account ID, or once and for all with `pilvi clouds use ID`\n";
    assert_eq!(
        Desk::new().types(&server, "mar create echo"),
        Seen::bad(2, err)
    );
}

#[test]
fn keys_are_added_listed_and_removed_by_name() {
    let key = json!({"id": 3, "name": "anna@desk", "fingerprint": "SHA256:abc", "createdAt": "2015-05-13T10:00:00Z"});
    let server = Server::start()
        .on("POST /v1/user/ssh_keys", 201, key.clone())
        .on("GET /v1/user/ssh_keys", 200, json!({"results": [key]}))
        .on("DELETE /v1/user/ssh_keys/3", 200, json!({}));
    let desk = Desk::new();
    fs::create_dir(desk.path().join(".ssh")).unwrap();
    let file = desk.path().join(".ssh/id_ed25519.pub");
    fs::write(file, "ssh-ed25519 AAAAC3 anna@desk\n").unwrap();
    assert_eq!(
        desk.types(&server, "keys add"),
        Seen::good("Added the key anna@desk (SHA256:abc). You can push with it now.\n")
    );
    let expected = json!({"name": "anna@desk", "key": "ssh-ed25519 AAAAC3 anna@desk\n"});
    assert_eq!(server.only("POST").1, expected);
    assert_eq!(
        desk.types(&server, "keys list"),
        Seen::good("ID  NAME       FINGERPRINT\n3   anna@desk  SHA256:abc\n")
    );
    assert_eq!(
        desk.types(&server, "keys"),
        desk.types(&server, "keys list")
    );
    assert_eq!(
        desk.types(&server, "keys remove anna@desk"),
        Seen::good("Removed the key anna@desk. Nobody can push with it any more.\n")
    );
    let err = "error: you have no key with the name or id other\n\
               try: see `pilvi keys` for the keys that there are\n";
    assert_eq!(desk.types(&server, "keys remove other"), Seen::bad(4, err));
}

#[test]
fn a_private_key_never_leaves_the_machine() {
    let server = Server::start();
    let desk = Desk::new();
    let file = desk.path().join("id_ed25519");
    fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n").unwrap();
    let seen = desk.types(&server, "keys add id_ed25519");
    assert_eq!(seen.code, 2);
    assert!(seen.err.contains("nothing was sent"), "{}", seen.err);
    assert_eq!(server.asked(), []);
}
