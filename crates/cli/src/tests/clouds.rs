//! Clouds, who shares them, and their log and limits.

use serde_json::{Value, json};

use super::server::Server;
use super::{APP, Desk, Seen};
use crate::connection::Environment;

const CLOUD: &str = "/v1/accounts/46738209";

fn refused(reason: &str, message: &str) -> Value {
    json!({"error": {"reason": reason, "message": message}})
}

fn members() -> Value {
    json!({"results": [
        {"id": "p1", "email": "anna@example.org", "name": "Anna", "role": "owner"},
        {"id": "p2", "email": "ben@example.org", "name": "Ben", "role": "viewer"},
    ]})
}

fn server() -> Server {
    Server::start().on(&format!("GET {CLOUD}/members"), 200, members())
}

fn types(server: &Server, words: &str) -> Seen {
    Desk::new().types(server, &format!("clouds {words}"))
}

#[test]
fn clouds_are_listed_and_the_chosen_one_is_marked() {
    let clouds = json!({"results": [
        {"id": "a1", "name": "Work", "datacenter": {"id": "eu-1"}, "role": "viewer"},
        {"id": "a2", "name": "Home", "datacenter": {"id": "eu-1"}, "role": "owner"},
    ]});
    let server = Server::start().on("GET /v1/user/accounts", 200, clouds);
    let desk = Desk {
        environment: Environment {
            account: Some("Home".into()),
            ..Environment::default()
        },
        ..Desk::new()
    };
    let expected = "ID  NAME  ROLE    DATACENTER  CHOSEN\n\
                    a1  Work  viewer  eu-1\n\
                    a2  Home  owner   eu-1        yes\n";
    assert_eq!(desk.types(&server, "clouds list"), Seen::good(expected));
    assert_eq!(desk.types(&server, "clouds"), Seen::good(expected));
}

#[test]
fn a_cloud_is_created_shown_renamed_and_removed() {
    let cloud = json!({"id": "46738209", "name": "My Cloud", "role": "owner", "createdAt": "2026-11-23T18:00:00Z",
                       "datacenter": {"id": "eu-1", "description": "Here"}});
    let server = server()
        .on("POST /v1/accounts", 201, cloud.clone())
        .on(&format!("GET {CLOUD}"), 200, cloud.clone())
        .on(&format!("PUT {CLOUD}"), 200, cloud)
        .on(&format!("DELETE {CLOUD}"), 200, json!({}));
    let desk = Desk::new();
    let words = ["clouds", "create", "My Cloud", "--datacenter", "eu-1"];
    assert_eq!(
        desk.types_words(&server, &words),
        Seen::good("Created the cloud My Cloud (46738209).\n")
    );
    assert_eq!(
        server.only("POST").1,
        json!({"name": "My Cloud", "datacenter": "eu-1"})
    );
    assert_eq!(
        desk.types(&server, "clouds show"),
        Seen::good(
            "Id          46738209\nName        My Cloud\nYour role   owner\nDatacenter  eu-1 Here\n\
             Created     2026-11-23T18:00:00Z\n"
        )
    );
    assert_eq!(
        desk.types_words(&server, &["clouds", "rename", "My Cloud", "Ours"]),
        Seen::good("The cloud My Cloud is called Ours now.\n")
    );
    assert_eq!(
        server.only("PUT"),
        (format!("PUT {CLOUD}"), json!({"name": "Ours"}))
    );
    let err = "error: My Cloud would be removed with its members, tokens and log\n\
               try: add --yes when you mean it\n";
    assert_eq!(types(&server, "remove 46738209"), Seen::bad(2, err));
    assert_eq!(
        types(&server, "remove 46738209 --yes"),
        Seen::good("Removed the cloud My Cloud.\n")
    );
}

#[test]
fn a_cloud_in_which_nothing_is_says_so() {
    let server = server()
        .on(&format!("GET {CLOUD}/usage"), 200, json!({"results": []}))
        .on(
            &format!("GET {CLOUD}/log?limit=50"),
            200,
            json!({"results": []}),
        )
        .on(
            &format!("GET {CLOUD}/log?limit=50&event=instance.create"),
            200,
            json!({"results": []}),
        );
    for (words, said) in [
        ("usage", "There are no instances yet, so nothing is used.\n"),
        ("log", "Nothing has happened yet.\n"),
        (
            "log --event instance.create",
            "Nothing of that kind has happened.\n",
        ),
    ] {
        assert_eq!(types(&server, words), Seen::bad(0, said), "{words}");
    }
}

#[test]
fn a_cloud_with_instances_says_where_they_are() {
    let said = refused("Conflict", "The cloud holds 2 instances.");
    let server = server().on(&format!("DELETE {CLOUD}"), 409, said);
    let err = "error: The cloud holds 2 instances\n\
               try: see `pilvi instances list` and `pilvi instances list --deleted` for what is in it\n";
    assert_eq!(types(&server, "remove 46738209 --yes"), Seen::bad(5, err));
}

#[test]
fn a_cloud_is_chosen_for_a_context() {
    let clouds = json!({"results": [{"id": "a1", "name": "Work"}, {"id": "a2", "name": "Home"}]});
    let server = Server::start()
        .on("GET /v1/user/accounts", 200, clouds)
        .on("GET /v1/user", 200, json!({"id": "p1"}))
        .on("GET /v1/accounts/a2/members", 200, members());
    let desk = Desk::new();
    let seen = desk.types(&server, "clouds use Home");
    assert_eq!(seen.code, 2);
    assert!(
        seen.err.contains("sign in with `pilvi login`"),
        "{}",
        seen.err
    );
    assert_eq!(desk.types(&server, "login").code, 0);
    let seen = desk.types_all(&["pilvi", "clouds", "use", "Home"]);
    assert_eq!(
        seen,
        Seen::good("From now on the cloud Home (a2) is meant.\n")
    );
    let seen = desk.types_all(&["pilvi", "clouds", "members"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    let seen = desk.types_all(&["pilvi", "clouds", "use", "--none"]);
    assert_eq!(
        seen,
        Seen::good("No cloud in particular is meant any more.\n")
    );
    assert_eq!(desk.types_all(&["pilvi", "clouds", "members"]).code, 2);
    let err = "error: you are in no cloud with the name or id Elsewhere\n\
               try: see `pilvi clouds list` for those that there are\n";
    let seen = desk.types_all(&["pilvi", "clouds", "use", "Elsewhere"]);
    assert_eq!(seen, Seen::bad(4, err));
}

#[test]
fn two_clouds_of_one_name_need_the_id() {
    let clouds = json!({"results": [{"id": "a1", "name": "Work"}, {"id": "a2", "name": "Work"}]});
    let server = Server::start().on("GET /v1/user/accounts", 200, clouds);
    let err =
        "error: several clouds are called Work: a1 (Work), a2 (Work)\ntry: name it by its id\n";
    assert_eq!(types(&server, "show Work"), Seen::bad(2, err));
}

#[test]
fn members_are_listed_given_roles_and_removed() {
    let server = server()
        .on(
            &format!("PUT {CLOUD}/members/p2"),
            200,
            json!({"role": "developer"}),
        )
        .on(&format!("DELETE {CLOUD}/members/p2"), 200, json!({}));
    assert_eq!(
        types(&server, "members"),
        Seen::good(
            "ID  E-MAIL            NAME  ROLE\n\
             p1  anna@example.org  Anna  owner\n\
             p2  ben@example.org   Ben   viewer\n"
        )
    );
    assert_eq!(
        types(&server, "members role ben@example.org developer"),
        Seen::good("ben@example.org is developer of this cloud now.\n")
    );
    assert_eq!(server.only("PUT").1, json!({"role": "developer"}));
    assert_eq!(
        types(&server, "members remove p2 --yes"),
        Seen::good("Removed ben@example.org from this cloud.\n")
    );
    let err = "error: eve@example.org is no member of this cloud\n\
               try: see `pilvi clouds members` for its members\n";
    assert_eq!(
        types(&server, "members remove eve@example.org --yes"),
        Seen::bad(4, err)
    );
}

#[test]
fn the_last_owner_is_told_what_to_do() {
    let said = refused("Conflict", "A cloud needs an owner.");
    let server = server()
        .on(
            "GET /v1/user",
            200,
            json!({"id": "p1", "email": "anna@example.org"}),
        )
        .on(&format!("DELETE {CLOUD}/members/p1"), 409, said);
    let err = "error: A cloud needs an owner\n\
               try: make somebody else an owner first (`pilvi clouds members role ADDRESS owner`)\n";
    assert_eq!(types(&server, "leave --yes"), Seen::bad(5, err));
}

#[test]
fn people_are_invited_and_invitations_withdrawn() {
    let invitation = json!({"id": 5, "email": "ben@example.org", "role": "viewer",
                            "expiresAt": "2026-11-30T18:00:00Z"});
    let server = Server::start()
        .on(
            &format!("POST {CLOUD}/invitations"),
            201,
            invitation.clone(),
        )
        .on(
            &format!("GET {CLOUD}/invitations"),
            200,
            json!({"results": [invitation]}),
        )
        .on(&format!("DELETE {CLOUD}/invitations/5"), 200, json!({}));
    assert_eq!(
        types(&server, "invite ben@example.org --role viewer"),
        Seen::good(
            "Invited ben@example.org to the cloud My Cloud as viewer. The mail says what to do next.\n"
        )
    );
    assert_eq!(
        server.only("POST").1,
        json!({"email": "ben@example.org", "role": "viewer"})
    );
    assert_eq!(
        types(&server, "invitations"),
        Seen::good(
            "ID  E-MAIL           ROLE    EXPIRES\n5   ben@example.org  viewer  2026-11-30T18:00:00Z\n"
        )
    );
    assert_eq!(
        types(&server, "invitations withdraw ben@example.org"),
        Seen::good("Withdrew the invitation of ben@example.org.\n")
    );
}

#[test]
fn the_log_ends_with_the_newest() {
    let log = json!({"results": [
        {"id": 9, "time": "2026-11-23T18:02:00Z", "event": "instance.delete", "subject": "mar-eu-1-twwto7g0",
         "by": "person", "user": {"id": "p1", "email": "anna@example.org"}, "detail": {}},
        {"id": 8, "time": "2026-11-23T18:01:00Z", "event": "instance.create", "subject": "mar-eu-1-twwto7g0",
         "by": "account", "detail": {"name": "echo", "size": 1}},
    ]});
    let server = Server::start().on(
        &format!("GET {CLOUD}/log?limit=2&before=10&event=instance%2A"),
        200,
        log,
    );
    let server = server.on(
        "GET /v1/server/log?limit=50",
        403,
        refused("Forbidden", "Operators only."),
    );
    let err = "error: Operators only\ntry: without --server, this is the log of your cloud\n";
    assert_eq!(types(&server, "log --server"), Seen::bad(7, err));
    assert_eq!(
        types(&server, "log -n 2 --before 10 --event instance*"),
        Seen::good(
            "ID  TIME                  WHO               EVENT            SUBJECT            DETAIL\n\
             8   2026-11-23T18:01:00Z  account           instance.create  mar-eu-1-twwto7g0  name=echo size=1\n\
             9   2026-11-23T18:02:00Z  anna@example.org  instance.delete  mar-eu-1-twwto7g0\n"
        )
    );
}

#[test]
fn an_invitation_is_answered_by_its_code_or_its_number() {
    let cloud = json!({"id": "a7", "name": "Ours", "role": "viewer"});
    let waiting = json!({"id": 5, "role": "viewer", "account": {"id": "a7", "name": "Ours"},
                         "invitedBy": "anna@example.org", "expiresAt": "2026-11-30T18:00:00Z"});
    let server = Server::start()
        .on(
            "GET /v1/user/invitations",
            200,
            json!({"results": [waiting]}),
        )
        .on("POST /v1/user/invitations", 201, cloud.clone())
        .on("POST /v1/user/invitations/5", 201, cloud)
        .on("DELETE /v1/user/invitations/5", 200, json!({}));
    let joined = Seen::good("You are in the cloud Ours (a7) now, as viewer.\n");
    let seen = Desk::new()
        .with_input("a1b2c3\n")
        .types(&server, "clouds join");
    assert_eq!(seen, joined);
    assert_eq!(server.only("POST").1, json!({"code": "a1b2c3"}));
    assert_eq!(types(&server, "join 5"), joined);
    assert_eq!(
        types(&server, "invited"),
        Seen::good(
            "ID  CLOUD  ROLE    INVITED BY        EXPIRES\n\
             5   Ours   viewer  anna@example.org  2026-11-30T18:00:00Z\n"
        )
    );
    assert_eq!(
        types(&server, "decline 5"),
        Seen::good("Declined the invitation 5.\n")
    );
}

#[test]
fn quotas_are_shown_and_set() {
    let quotas = json!({
        "instances": {"limit": 200, "used": 3, "default": true},
        "edsStorageBytes": {"limit": 10_737_418_240_u64, "used": 1_610_612_736, "default": false},
    });
    let server = Server::start()
        .on(&format!("GET {CLOUD}/quotas"), 200, quotas.clone())
        .on(&format!("PUT {CLOUD}/quotas"), 200, quotas);
    let expected = Seen::good(
        "QUOTA            LIMIT    USED    SET\n\
         instances        200      3       by default\n\
         edsStorageBytes  10.0 GB  1.5 GB  for this cloud\n",
    );
    assert_eq!(types(&server, "quotas"), expected);
    let changed = types(
        &server,
        "quotas instances=20 edsStorageBytes=10GB sockets=default",
    );
    assert_eq!(changed, expected);
    assert_eq!(
        server.only("PUT").1,
        json!({"instances": 20, "edsStorageBytes": 10_737_418_240_u64, "sockets": null})
    );
    for words in ["quotas instances", "quotas instances=many", "quotas =5"] {
        assert_eq!(types(&server, words).code, 2, "{words}");
    }
    let server = server.on(
        &format!("PUT {CLOUD}/quotas"),
        403,
        refused("Forbidden", "Operators only."),
    );
    let err =
        "error: Operators only\ntry: see `pilvi clouds quotas` for what the cloud may use now\n";
    assert_eq!(types(&server, "quotas instances=5"), Seen::bad(7, err));
}

#[test]
fn usage_is_told_for_each_instance_and_for_all() {
    let app = json!({"instanceId": APP, "serviceProviderId": "mar", "measuredAt": "2026-11-23T18:00:00Z",
                     "memoryBytes": 268_435_456, "diskBytes": 1024, "processes": 1});
    let backend = json!({"instanceId": "5418203dd9a839178e000065", "serviceProviderId": "eds", "storageBytes": 2048});
    let all = json!({"accountId": "46738209", "storageBytes": 2048, "memoryBytes": 268_435_456, "diskBytes": 1024,
                     "processes": 1, "results": [app, backend]});
    let server = Server::start()
        .on(&format!("GET {CLOUD}/usage"), 200, all)
        .on(&format!("GET /v1/instances/{APP}/usage"), 200, app);
    assert_eq!(
        types(&server, "usage"),
        Seen::good(
            "INSTANCE                  SERVICE  STORAGE  MEMORY    DISK    PROCESSES  SOCKETS\n\
             mar-eu-1-twwto7g0         mar               256.0 MB  1.0 KB  1\n\
             5418203dd9a839178e000065  eds      2.0 KB\n\
             all                                2.0 KB   256.0 MB  1.0 KB  1\n"
        )
    );
    assert_eq!(
        Desk::new().types(&server, &format!("instances usage {APP}")),
        Seen::good(
            "Instance   mar-eu-1-twwto7g0\n\
             Memory     256.0 MB\n\
             Disk       1.0 KB\n\
             Processes  1\n\
             Measured   2026-11-23T18:00:00Z\n"
        )
    );
}
