//! Users, members, sessions and vouchers of a backend, on real SQLite in a temporary folder.

use std::time::Duration;

use pilvi_model::query::{Parameters, Query};
use pilvi_model::update::Update;
use pilvi_model::{
    AccessChange, AccessList, Asker, FieldError, Kind, ObjectId, ObjectType, Properties, RequestId,
    Timestamp,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Author, Backend, Member, Mutation, NewUser, NewVoucher, Presented, Purpose, Refresh, Renewal,
    SessionKind, SignedIn, Tokens, Whom,
};
use crate::{Limits, Store};

const HOUR: u64 = 3_600_000;

struct World {
    store: Store,
    backend: Backend,
    _folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Limits::default()).await.unwrap();
    let id = ObjectId::from_bytes([9; 12]);
    store.create_backend(id).await.unwrap();
    let backend = store.backend(id);
    World {
        store,
        backend,
        _folder: folder,
    }
}

/// A private one beside it.
async fn private(world: &World) -> Backend {
    let id = ObjectId::from_bytes([8; 12]);
    world.store.create_private_backend(id, at(0)).await.unwrap();
    world.store.backend(id)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_400_000_000_000 + millis)
}

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

fn by(asker: Asker) -> Author {
    Author {
        asker,
        request: RequestId::from_bytes([7; 16]),
        at: at(0),
    }
}

fn user(number: u8) -> Asker {
    Asker::User {
        id: id(number),
        groups: Vec::new(),
    }
}

fn properties(value: Value) -> Properties {
    Properties::from_json(value).unwrap()
}

fn new_user(number: u8, name: &str) -> NewUser {
    NewUser {
        id: id(number),
        username: name.to_owned(),
        password: format!("hash of {name}"),
        properties: properties(json!({"username": name, "email": format!("{name}@example.org")})),
    }
}

async fn add_user(backend: &Backend, number: u8, name: &str) -> Value {
    let created = backend.create_user(new_user(number, name), by(Asker::Anonymous));
    created.await.unwrap().object.to_json().unwrap()
}

async fn add_group(backend: &Backend, number: u8, asker: Asker) {
    let create = Mutation::Create {
        id: id(number),
        object_type: ObjectType::usergroups(),
        properties: properties(json!({"name": format!("group {number}")})),
    };
    backend.write(create, by(asker)).await.unwrap();
}

fn update(number: u8, changes: Value) -> Mutation {
    Mutation::Update {
        object_type: ObjectType::users(),
        id: id(number),
        changes: properties(changes),
    }
}

fn tokens(number: u8) -> Tokens {
    Tokens {
        access: [number; 32],
        access_expires: at(8 * HOUR),
        refresh: Some(Refresh {
            digest: [number + 100; 32],
            family: [200; 32],
            expires: at(24 * HOUR),
        }),
    }
}

/// Of a login of their own.
fn apart(number: u8) -> Tokens {
    let mut tokens = tokens(number);
    tokens.refresh.as_mut().unwrap().family = [number; 32];
    tokens
}

async fn sign_in(backend: &Backend, user: u8, name: &str, token: u8) -> Option<SignedIn> {
    let password = format!("hash of {name}");
    let begun = backend.open_session(
        id(user),
        password,
        SessionKind::OAuth2,
        tokens(token),
        at(0),
    );
    begun.await.unwrap()
}

async fn holder(backend: &Backend, token: u8) -> Option<Member> {
    backend.find_session([token; 32], at(1)).await.unwrap()
}

fn query(q: &str) -> Query {
    Query::parse(&Parameters {
        q: Some(q),
        ..Parameters::default()
    })
    .unwrap()
}

fn names(texts: &[String]) -> Vec<String> {
    let documents = texts
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap());
    documents
        .map(|document| document["username"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_user_is_their_own_creator_and_has_a_name_of_their_own() {
    let World { backend, .. } = &world().await;
    let anna = add_user(backend, 1, "anna").await;
    let myself = json!({"id": id(1).to_string(), "objectType": "users"});
    assert_eq!(anna["creator"], myself);
    assert!(!anna.to_string().contains("hash"));
    let asker = Asker::Anonymous;
    let access = backend
        .find_access(Asker::Admin, ObjectType::users(), id(1))
        .await
        .unwrap();
    assert_eq!(access.to_json()["admin"], json!([myself]));

    let taken = [FieldError {
        property: "username".to_owned(),
        message: "has already been taken".to_owned(),
    }];
    let again = backend.create_user(new_user(2, "anna"), by(asker.clone()));
    assert_eq!(again.await.unwrap_err().fields, taken);
    let check = backend.check_new_user(asker.clone(), "anna".to_owned());
    assert_eq!(check.await.unwrap_err().fields, taken);
    let found = backend.find_object(asker, ObjectType::users(), id(2)).await;
    assert!(
        found.unwrap().is_none(),
        "nothing of the refused one is kept"
    );

    add_user(backend, 2, "bea").await;
    let renamed = backend.write(update(2, json!({"username": "anna"})), by(Asker::Admin));
    assert_eq!(renamed.await.unwrap_err().fields, taken);
}

#[tokio::test]
async fn nobody_makes_a_user_without_a_password() {
    let World { backend, .. } = &world().await;
    let create = Mutation::Create {
        id: id(1),
        object_type: ObjectType::users(),
        properties: properties(json!({"username": "anna"})),
    };
    let error = backend.write(create, by(Asker::Admin)).await.unwrap_err();
    assert_eq!(error.fields[0].property, "password");
}

#[tokio::test]
async fn a_name_follows_every_kind_of_change() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    let login = |name: &str| backend.find_login(name.to_owned());
    let renamed = backend.write(update(1, json!({"username": "ann"})), by(Asker::Admin));
    renamed.await.unwrap();
    assert!(login("anna").await.unwrap().is_none());
    let atomic = Mutation::Atomic {
        object_type: ObjectType::users(),
        id: id(1),
        update: Update::from_json(
            &json!({"$set": {"username": "annika"}}),
            &ObjectType::users(),
        )
        .unwrap(),
    };
    backend.write(atomic, by(Asker::Admin)).await.unwrap();
    assert_eq!(login("annika").await.unwrap().unwrap().id, id(1));
    for wrong in [json!(""), json!(null), json!(5), json!("x".repeat(513))] {
        let change = update(1, json!({ "username": wrong }));
        let error = backend.write(change, by(Asker::Admin)).await.unwrap_err();
        assert_eq!(error.fields[0].property, "username", "{wrong}");
    }
}

#[tokio::test]
async fn a_session_is_found_until_it_expires_or_ends() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    add_group(backend, 5, Asker::Anonymous).await;
    let added = backend.add_member(id(5), id(1), by(Asker::Anonymous));
    added.await.unwrap();
    let signed_in = sign_in(backend, 1, "anna", 1).await.unwrap();
    assert!(signed_in.user.contains("anna"));
    assert_eq!(signed_in.groups.len(), 1);
    let member = Member {
        id: id(1),
        groups: vec![id(5)],
    };
    assert_eq!(holder(backend, 1).await, Some(member));
    assert_eq!(holder(backend, 2).await, None);
    assert_eq!(holder(backend, 101).await, None, "it only renews");
    let late = backend.find_session([1; 32], at(8 * HOUR)).await.unwrap();
    assert_eq!(late, None);

    assert!(backend.end_session([101; 32], at(1)).await.unwrap());
    assert_eq!(holder(backend, 1).await, None);
    assert!(!backend.end_session([1; 32], at(1)).await.unwrap());
}

#[tokio::test]
async fn whoever_signs_in_sees_of_their_groups_what_they_may_read() {
    let world = world().await;
    let backend = &private(&world).await;
    for (number, name) in [(1, "anna"), (2, "bea")] {
        add_user(backend, number, name).await;
    }
    add_group(backend, 5, user(1)).await;
    backend.add_member(id(5), id(2), by(user(1))).await.unwrap();
    let seen = sign_in(backend, 2, "bea", 1).await.unwrap().groups;
    let reference = json!({"id": id(5).to_string(), "objectType": "usergroups"});
    assert_eq!(seen, [reference.to_string()], "it is not shared with them");
    assert_eq!(holder(backend, 1).await.unwrap().groups, [id(5)]);

    let members = json!({"read": [reference]});
    let share = Mutation::Access {
        object_type: ObjectType::usergroups(),
        id: id(5),
        change: AccessChange::Add(AccessList::from_json(&members).unwrap()),
    };
    backend.write(share, by(user(1))).await.unwrap();
    let seen = sign_in(backend, 2, "bea", 2).await.unwrap().groups;
    assert!(seen[0].contains("group 5"), "{seen:?}");
}

#[tokio::test]
async fn large_groups_do_not_make_a_login_large() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    for number in 10..14 {
        add_group(backend, number, Asker::Anonymous).await;
        let grow = Mutation::Update {
            object_type: ObjectType::usergroups(),
            id: id(number),
            changes: properties(json!({"description": "x".repeat(600 << 10)})),
        };
        backend.write(grow, by(Asker::Anonymous)).await.unwrap();
        let added = backend.add_member(id(number), id(1), by(Asker::Anonymous));
        added.await.unwrap();
    }
    let groups = sign_in(backend, 1, "anna", 1).await.unwrap().groups;
    assert_eq!(groups.len(), 4);
    let bytes: usize = groups.iter().map(String::len).sum();
    assert!(bytes < 2 << 20, "{bytes}");
    for (text, number) in groups.iter().zip(10..) {
        let group: Value = serde_json::from_str(text).unwrap();
        assert_eq!(group["id"], id(number).to_string());
        assert_eq!(group["objectType"], "usergroups");
    }
}

#[tokio::test]
async fn a_session_needs_the_password_that_still_holds() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    assert!(sign_in(backend, 1, "bea", 1).await.is_none());
    assert!(sign_in(backend, 2, "anna", 1).await.is_none());
    assert_eq!(holder(backend, 1).await, None);
}

#[tokio::test]
async fn a_refresh_token_serves_once_and_leaves_the_access_token() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    let renew = |with: u8, to: u8, now| {
        let family = [200; 32];
        backend.renew_session(Presented::new([with; 32], family), tokens(to), now)
    };
    let renewed = renew(101, 2, at(1)).await.unwrap();
    assert!(matches!(renewed, Renewal::Done(_)));
    let renewed = renew(102, 3, at(1)).await.unwrap();
    assert!(matches!(renewed, Renewal::Done(_)));
    for token in [1, 2, 3] {
        assert_eq!(holder(backend, token).await.unwrap().id, id(1), "{token}");
    }
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_what_descends_from_it() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    let elsewhere = backend.open_session(
        id(1),
        "hash of anna".to_owned(),
        SessionKind::OAuth2,
        apart(50),
        at(0),
    );
    elsewhere.await.unwrap().unwrap();
    let renew = |with: u8, to: u8| {
        let family = [200; 32];
        backend.renew_session(Presented::new([with; 32], family), tokens(to), at(1))
    };
    renew(101, 2).await.unwrap();
    renew(102, 3).await.unwrap();
    // Whoever stole the first one, or the user after the thief was faster.
    let again = renew(101, 4).await.unwrap();
    assert!(matches!(again, Renewal::Reused(user) if user == id(1)));
    for token in [1, 2, 3, 4] {
        assert_eq!(holder(backend, token).await, None, "{token}");
    }
    let newest = renew(103, 5).await.unwrap();
    assert!(matches!(newest, Renewal::Unknown), "it ended with the rest");
    assert!(holder(backend, 50).await.is_some(), "another login");
}

#[tokio::test]
async fn whoever_takes_a_refresh_token_back_takes_back_what_it_descends_from() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    for (with, to) in [(101, 2), (102, 3)] {
        let presented = Presented::new([with; 32], [200; 32]);
        let renewed = backend.renew_session(presented, tokens(to), at(1)).await;
        assert!(matches!(renewed.unwrap(), Renewal::Done(_)));
    }
    // An access token stands for itself: a client that renewed may clear the one before away.
    assert!(backend.end_session([1; 32], at(1)).await.unwrap());
    assert!(holder(backend, 3).await.is_some());
    assert!(backend.end_session([103; 32], at(1)).await.unwrap());
    for token in [2, 3] {
        assert_eq!(holder(backend, token).await, None, "{token}");
    }
}

#[tokio::test]
async fn what_was_never_a_refresh_token_ends_nothing() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    let renew = |with: u8, family: u8| {
        let presented = Presented::new([with; 32], [family; 32]);
        backend.renew_session(presented, apart(2), at(1))
    };
    for (with, family) in [(1, 1), (77, 77), (200, 1)] {
        let renewed = renew(with, family).await.unwrap();
        assert!(matches!(renewed, Renewal::Unknown), "{with}");
    }
    assert!(holder(backend, 1).await.is_some());
    let late = Presented::new([101; 32], [200; 32]);
    let late = backend.renew_session(late, tokens(2), at(24 * HOUR)).await;
    assert!(matches!(late.unwrap(), Renewal::Unknown), "too late");
}

#[tokio::test]
async fn a_new_password_leaves_access_tokens_and_nothing_to_renew() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    let hash = "hash of new".to_owned();
    let change = properties(json!({"firstName": "Anna"}));
    let changed = backend.update_user_and_password(id(1), change, hash, by(user(1)));
    let text = changed.await.unwrap().object.text;
    assert!(text.contains("firstName") && !text.contains("hash"));
    assert!(holder(backend, 1).await.is_some());
    let presented = Presented::new([101; 32], [200; 32]);
    let renewed = backend.renew_session(presented, tokens(2), at(1)).await;
    assert!(matches!(renewed.unwrap(), Renewal::Unknown));
    assert!(
        holder(backend, 1).await.is_some(),
        "the token was not used twice"
    );
    assert!(sign_in(backend, 1, "anna", 3).await.is_none());
    assert!(sign_in(backend, 1, "new", 3).await.is_some());
}

#[tokio::test]
async fn expired_sessions_go_when_new_ones_come() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    let later = at(24 * HOUR);
    let next = backend.open_session(
        id(1),
        "hash of anna".to_owned(),
        SessionKind::Identity,
        Tokens {
            access: [2; 32],
            access_expires: at(48 * HOUR),
            refresh: None,
        },
        later,
    );
    assert!(next.await.unwrap().is_some());
    let left: i64 = backend
        .database
        .read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?)
        })
        .await
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_deleted_user_is_gone_from_everywhere() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    add_group(backend, 5, Asker::Anonymous).await;
    let added = backend.add_member(id(5), id(1), by(Asker::Anonymous));
    added.await.unwrap();
    sign_in(backend, 1, "anna", 1).await.unwrap();
    assert!(issue(backend, 1, Purpose::Password, 7, 0).await);
    let delete = Mutation::Delete {
        object_type: ObjectType::users(),
        id: id(1),
    };
    backend.write(delete, by(Asker::Anonymous)).await.unwrap();
    assert_eq!(holder(backend, 1).await, None);
    let everyone = query("{}");
    let members = backend.list_members(Asker::Admin, id(5), &everyone).await;
    assert!(members.unwrap().is_empty());
    for table in ["users", "members", "sessions", "vouchers"] {
        let rows: i64 = backend
            .database
            .read(move |connection| {
                let sql = format!("SELECT count(*) FROM {table}");
                Ok(connection.query_row(&sql, [], |row| row.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    // The name is free again.
    add_user(backend, 2, "anna").await;
}

#[tokio::test]
async fn members_are_added_once_listed_by_query_and_removed() {
    let World { backend, .. } = &world().await;
    for (number, name) in [(1, "anna"), (2, "bea"), (3, "cara")] {
        add_user(backend, number, name).await;
    }
    add_group(backend, 5, Asker::Anonymous).await;
    add_group(backend, 6, Asker::Anonymous).await;
    let anybody = || by(Asker::Anonymous);
    for member in [1, 2] {
        let added = backend.add_member(id(5), id(member), anybody()).await;
        assert_eq!(added.unwrap().unwrap().id, id(member));
    }
    let again = backend
        .add_member(id(5), id(1), anybody())
        .await
        .unwrap_err();
    assert_eq!((again.kind, again.fields.len()), (Kind::Invalid, 1));
    for (group, member) in [(7, 1), (5, 9)] {
        let error = backend.add_member(id(group), id(member), anybody()).await;
        assert_eq!(error.unwrap_err().kind, Kind::NotFound);
    }

    let list = async |group: u8, q: &str| {
        let query = query(q);
        let listed = backend.list_members(Asker::Anonymous, id(group), &query);
        names(&listed.await.unwrap())
    };
    assert_eq!(list(5, "{}").await, ["anna", "bea"]);
    assert_eq!(list(5, r#"{"username":"bea"}"#).await, ["bea"]);
    assert!(list(5, r#"{"username":"cara"}"#).await.is_empty());
    assert!(list(6, "{}").await.is_empty());
    let counted = backend.count_members(Asker::Anonymous, id(5), query("{}").filter);
    assert_eq!(counted.await.unwrap(), 2);

    backend
        .remove_member(id(5), id(1), anybody())
        .await
        .unwrap();
    let gone = backend.remove_member(id(5), id(1), anybody()).await;
    assert_eq!(gone.unwrap_err().kind, Kind::NotFound);
    assert_eq!(list(5, "{}").await, ["bea"]);
}

#[tokio::test]
async fn in_a_private_backend_a_group_is_run_by_whoever_made_it() {
    let world = world().await;
    let backend = &private(&world).await;
    add_user(backend, 1, "anna").await;
    add_user(backend, 2, "bea").await;
    add_group(backend, 5, user(1)).await;
    let add = |member, asker| backend.add_member(id(5), id(member), by(asker));
    // Who cannot read the group is not told that it is there.
    for (asker, act) in [(user(2), "a stranger"), (Asker::Anonymous, "anybody")] {
        let error = add(2, asker.clone()).await.unwrap_err();
        assert_eq!(error.kind, Kind::NotFound, "{act}");
        let error = backend.list_members(asker, id(5), &query("{}")).await;
        assert_eq!(error.unwrap_err().kind, Kind::NotFound, "{act}");
    }
    assert!(add(1, user(1)).await.unwrap().is_some());
    let other = add(2, user(1)).await.unwrap();
    assert!(other.is_none(), "the other's object is not shown");
    let seen = backend.list_members(user(1), id(5), &query("{}")).await;
    assert_eq!(names(&seen.unwrap()), ["anna"]);
    let all = backend
        .list_members(Asker::Admin, id(5), &query("{}"))
        .await;
    assert_eq!(names(&all.unwrap()), ["anna", "bea"]);
    let removed = backend.remove_member(id(5), id(2), by(user(2))).await;
    assert_eq!(removed.unwrap_err().kind, Kind::NotFound);
    backend
        .remove_member(id(5), id(2), by(Asker::Admin))
        .await
        .unwrap();
}

async fn issue(backend: &Backend, user: u8, purpose: Purpose, number: u8, millis: u64) -> bool {
    let voucher = NewVoucher {
        digest: [number; 32],
        user: id(user),
        purpose,
        life: Duration::from_millis(HOUR),
        spacing: Duration::from_millis(1000),
    };
    backend.issue_voucher(voucher, at(millis)).await.unwrap()
}

#[tokio::test]
async fn a_voucher_sets_a_password_once_and_ends_every_session() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    sign_in(backend, 1, "anna", 1).await.unwrap();
    assert!(issue(backend, 1, Purpose::Password, 7, 0).await);
    let reset =
        |number: u8, now| backend.reset_password([number; 32], "hash of new".to_owned(), now);
    assert_eq!(reset(8, at(1)).await.unwrap(), None, "another voucher");
    assert_eq!(reset(7, at(HOUR)).await.unwrap(), None, "too late");
    let wrong = backend.redeem_email_voucher([7; 32], at(1)).await.unwrap();
    assert_eq!(wrong, None, "it is for something else");
    assert_eq!(reset(7, at(1)).await.unwrap(), Some(id(1)));
    assert_eq!(reset(7, at(1)).await.unwrap(), None, "it is spent");
    assert_eq!(holder(backend, 1).await, None);
    assert!(sign_in(backend, 1, "new", 2).await.is_some());
}

#[tokio::test]
async fn vouchers_are_spaced_and_the_newest_counts() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    assert!(
        !issue(backend, 9, Purpose::Password, 6, 0).await,
        "there is no such user"
    );
    assert!(issue(backend, 1, Purpose::Password, 7, 0).await);
    assert!(!issue(backend, 1, Purpose::Password, 8, 999).await);
    assert!(
        issue(backend, 1, Purpose::Email, 9, 999).await,
        "that is another mail"
    );
    assert!(issue(backend, 1, Purpose::Password, 8, 1000).await);
    let find = |number: u8| backend.find_voucher([number; 32], Purpose::Password, at(2000));
    assert_eq!(find(7).await.unwrap(), None);
    assert_eq!(find(8).await.unwrap(), Some(id(1)));
}

#[tokio::test]
async fn an_address_is_proven_until_it_changes() {
    let World { backend, .. } = &world().await;
    add_user(backend, 1, "anna").await;
    let reachable = async || {
        let found = backend.find_reachable(Whom::Username("anna".to_owned()));
        found.await.unwrap().pop()
    };
    assert!(!reachable().await.unwrap().email_verified);
    assert!(issue(backend, 1, Purpose::Email, 7, 0).await);
    let redeemed = backend.redeem_email_voucher([7; 32], at(1)).await.unwrap();
    assert_eq!(redeemed, Some(id(1)));
    assert!(reachable().await.unwrap().email_verified);

    assert!(issue(backend, 1, Purpose::Password, 8, 0).await);
    let change = update(1, json!({"email": "other@example.org"}));
    backend.write(change, by(Asker::Admin)).await.unwrap();
    let user = reachable().await.unwrap();
    assert_eq!(
        (user.email.as_str(), user.email_verified),
        ("other@example.org", false)
    );
    let stale = backend
        .find_voucher([8; 32], Purpose::Password, at(1))
        .await;
    assert_eq!(
        stale.unwrap(),
        None,
        "it was mailed to the address of before"
    );
    let by_address = backend.find_reachable(Whom::Email("other@example.org".to_owned()));
    assert_eq!(by_address.await.unwrap().len(), 1);

    let none = update(1, json!({"email": ""}));
    backend.write(none, by(Asker::Admin)).await.unwrap();
    assert!(reachable().await.is_none());
}
