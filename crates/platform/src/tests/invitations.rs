//! Invitations: by mail, with a code, answered once.

use std::time::Duration;

use pilvi_model::{Kind, PersonId};
use pilvi_store::platform::{CodeBounds, CodePurpose, NewCode, Role};
use serde_json::{Value, json};

use super::World;
use crate::{Caller, InvitationDraft, InvitationKey, Limits};

const GUEST: &str = "guest@example.org";

impl World {
    pub(super) async fn invite(&self, email: &str, role: &str) -> Value {
        let path = self.account_path("/invitations");
        let body = json!({"email": email, "role": role});
        self.call("POST", &path, body).await.expect(201)
    }

    /// Makes an address known to be a person's.
    pub(super) async fn verify(&self, person: PersonId, email: &str) {
        let now = self.platform.now();
        let code = NewCode {
            digest: [9; 32],
            email: email.to_owned(),
            purpose: CodePurpose::Email(person),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(1)),
        };
        let bounds = CodeBounds {
            codes_max: 1,
            spacing: Duration::ZERO,
        };
        assert!(self.store.insert_code(code, bounds).await.unwrap());
        let confirmed = self
            .store
            .confirm_email(person, [9; 32], now)
            .await
            .unwrap();
        assert!(confirmed.is_some());
    }

    /// The code of the only mail to an address.
    pub(super) async fn invitation_code(&self, email: &str) -> String {
        let mails = self.mails_for(email).await;
        assert_eq!(mails.len(), 1, "{mails:?}");
        let mut words = mails[0].split_whitespace();
        let is_code = |word: &&str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
        words.find(is_code).expect("a code").to_owned()
    }

    pub(super) async fn add_guest(&self, email: &str) -> (PersonId, String) {
        let person = self.platform.create_person(email.into(), "P".into()).await;
        let person = person.unwrap();
        let draft = Default::default();
        let token = self.platform.create_person_token(person, draft).await;
        (person, token.unwrap().secret.expose().to_owned())
    }

    pub(super) async fn accept(&self, token: &str, code: &str) -> super::Answer {
        let body = json!({"code": code});
        self.call_as(token, "POST", "/v1/user/invitations", body)
            .await
    }
}

#[tokio::test]
async fn who_brings_the_code_is_a_member_with_the_role() {
    let world = World::new().await;
    let invitation = world.invite(GUEST, "viewer").await;
    assert_eq!(
        invitation,
        json!({
            "id": 1,
            "email": GUEST,
            "role": "viewer",
            "account": {"id": world.account.to_string(), "name": "My Cloud"},
            "invitedBy": "operator@localhost",
            "createdAt": "2015-03-18T09:00:00Z",
            "expiresAt": "2015-03-25T09:00:00Z",
        })
    );
    let path = world.account_path("/invitations");
    let listed = world.get(&path).await.expect(200);
    assert_eq!(listed, json!({"results": [invitation]}));

    // Under whatever address they have a login.
    let (person, token) = world.add_guest("other@example.org").await;
    let code = world.invitation_code(GUEST).await;
    let accepted = world.accept(&token, &format!(" {code}\n")).await;
    let accepted = accepted.expect(201);
    assert_eq!(accepted["id"], world.account.to_string());
    assert_eq!(accepted["role"], "viewer");
    let role = world.store.find_role(world.account, person).await.unwrap();
    assert_eq!(role, Some(Role::Viewer));

    let listed = world.get(&path).await.expect(200);
    assert_eq!(listed, json!({"results": []}));
    let (_, another) = world.add_guest("third@example.org").await;
    world.accept(&another, &code).await.expect(404);
}

#[tokio::test]
async fn the_code_is_nowhere_but_in_the_mail() {
    let world = World::new().await;
    let invitation = world.invite(GUEST, "developer").await.to_string();
    let code = world.invitation_code(GUEST).await;
    assert!(!invitation.contains(&code));
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(code.len())
                .any(|bytes| bytes == code.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn an_invitation_waits_for_whose_address_it_is() {
    let world = World::new().await;
    let id = world.invite("Guest@Example.org", "developer").await["id"].clone();
    let (person, token) = world.add_guest(GUEST).await;
    let waiting = async || {
        let path = "/v1/user/invitations";
        let answer = world.call_as(&token, "GET", path, Value::Null).await;
        answer.expect(200)["results"].as_array().unwrap().len()
    };
    let path = format!("/v1/user/invitations/{id}");
    // An address that nobody has proven may be anybody's.
    assert_eq!(waiting().await, 0);
    let refused = world.call_as(&token, "POST", &path, Value::Null).await;
    refused.expect(404);

    world.verify(person, GUEST).await;
    assert_eq!(waiting().await, 1);
    let (_, stranger) = world.add_guest("stranger@example.org").await;
    let refused = world.call_as(&stranger, "POST", &path, Value::Null).await;
    refused.expect(404);
    let accepted = world.call_as(&token, "POST", &path, Value::Null).await;
    assert_eq!(accepted.expect(201)["role"], "developer");
    assert_eq!(waiting().await, 0);
}

#[tokio::test]
async fn an_invitation_can_be_declined_taken_back_and_expires() {
    let world = World::new().await;
    let (person, token) = world.add_guest(GUEST).await;
    world.verify(person, GUEST).await;
    let own = |id: &Value| format!("/v1/user/invitations/{id}");

    let id = world.invite(GUEST, "viewer").await["id"].clone();
    let declined = world
        .call_as(&token, "DELETE", &own(&id), Value::Null)
        .await;
    declined.expect(200);

    let id = world.invite(GUEST, "viewer").await["id"].clone();
    let path = world.account_path(&format!("/invitations/{id}"));
    world.call("DELETE", &path, Value::Null).await.expect(200);
    world.call("DELETE", &path, Value::Null).await.expect(404);
    let refused = world.call_as(&token, "POST", &own(&id), Value::Null).await;
    refused.expect(404);

    let id = world.invite(GUEST, "viewer").await["id"].clone();
    world.clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
    let refused = world.call_as(&token, "POST", &own(&id), Value::Null).await;
    refused.expect(404);
    let listed = world.get(&world.account_path("/invitations")).await;
    assert_eq!(listed.expect(200), json!({"results": []}));
    let deleted = world
        .store
        .delete_expired_invitations(world.platform.now())
        .await;
    assert_eq!(deleted.unwrap(), 1);
}

#[tokio::test]
async fn a_second_invitation_replaces_the_first() {
    let world = World::new().await;
    world.invite(GUEST, "viewer").await;
    let first = world.invitation_code(GUEST).await;
    world.invite(&GUEST.to_uppercase(), "owner").await;
    let listed = world.get(&world.account_path("/invitations")).await;
    let listed = listed.expect(200);
    assert_eq!(listed["results"].as_array().unwrap().len(), 1);
    assert_eq!(listed["results"][0]["role"], "owner");
    let (_, token) = world.add_guest(GUEST).await;
    world.accept(&token, &first).await.expect(404);
}

#[tokio::test]
async fn members_are_not_invited_and_do_not_join_twice() {
    let world = World::new().await;
    let path = world.account_path("/invitations");
    let body = json!({"email": "Operator@localhost", "role": "viewer"});
    let refused = world.call("POST", &path, body).await.expect(409);
    assert!(refused.to_string().contains("role"), "{refused}");
    // An owner who follows somebody else's invitation stays an owner.
    world.invite(GUEST, "viewer").await;
    let code = world.invitation_code(GUEST).await;
    world.accept(&world.token, &code).await.expect(409);
    let role = world.store.find_role(world.account, world.person).await;
    assert_eq!(role.unwrap(), Some(Role::Owner));
}

#[tokio::test]
async fn what_is_wrong_with_an_invitation_is_said() {
    let world = World::new().await;
    let path = world.account_path("/invitations");
    for (body, property) in [
        (json!({}), "email"),
        (json!({"email": "x"}), "email"),
        (json!({"email": "a@b\r\nBcc: c@d"}), "email"),
        (json!({"email": GUEST, "role": "admin"}), "role"),
        (json!({"email": GUEST, "role": 7}), "role"),
    ] {
        let refused = world.call("POST", &path, body).await.expect(422);
        assert_eq!(refused["errors"][0]["property"], property);
    }
    for body in [json!({}), json!({"code": 1})] {
        let path = "/v1/user/invitations";
        let refused = world.call("POST", path, body).await.expect(422);
        assert_eq!(refused["errors"][0]["property"], "code");
    }
    assert!(world.mails_for(GUEST).await.is_empty());
}

#[tokio::test]
async fn invitations_and_members_are_bounded() {
    let world = World::with_limits(Limits {
        invitations_per_account: 2,
        members_per_account: 2,
        ..Limits::default()
    })
    .await;
    world.invite("a@example.org", "viewer").await;
    world.invite("b@example.org", "viewer").await;
    let path = world.account_path("/invitations");
    let body = json!({"email": "c@example.org"});
    world.call("POST", &path, body).await.expect(429);
    // The same address again is no more than before.
    world.invite("a@example.org", "viewer").await;

    let (_, token) = world.add_guest("b@example.org").await;
    let code = world.invitation_code("b@example.org").await;
    world.accept(&token, &code).await.expect(201);
    let body = json!({"email": "c@example.org"});
    let refused = world.call("POST", &path, body).await.expect(429);
    assert!(refused.to_string().contains("2 members"), "{refused}");
}

#[tokio::test]
async fn nobody_fills_the_mailboxes_of_strangers() {
    let world = World::with_limits(Limits {
        invitations_per_day: 2,
        ..Limits::default()
    })
    .await;
    let path = world.account_path("/invitations");
    let body = json!({"email": GUEST});
    for _ in 0..2 {
        let invited = world.call("POST", &path, body.clone()).await.expect(201);
        let path = world.account_path(&format!("/invitations/{}", invited["id"]));
        world.call("DELETE", &path, Value::Null).await.expect(200);
    }
    let refused = world.call("POST", &path, body.clone()).await.expect(429);
    assert!(refused.to_string().contains("tomorrow"), "{refused}");
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    world.call("POST", &path, body).await.expect(201);
}

#[tokio::test]
async fn invitations_that_come_together_are_counted_like_those_that_come_one_by_one() {
    let world = World::with_limits(Limits {
        invitations_per_day: 2,
        ..Limits::default()
    })
    .await;
    let path = world.account_path("/invitations");
    let invite = |number: u8| {
        let body = json!({"email": format!("guest-{number}@example.org")});
        world.call("POST", &path, body)
    };
    let (one, two, three, four) = tokio::join!(invite(1), invite(2), invite(3), invite(4));
    let answers = [one, two, three, four];
    let invited = answers.iter().filter(|answer| answer.status == 201);
    assert_eq!(invited.count(), 2);
}

#[tokio::test]
async fn a_name_cannot_pass_for_words_of_the_server() {
    let world = World::new().await;
    let draft = InvitationDraft {
        email: GUEST.to_owned(),
        role: Role::Viewer,
    };
    world
        .store
        .rename_account(world.account, "A\nEnter your password at evil".to_owned())
        .await
        .unwrap();
    let caller = Caller::Person(world.person);
    let invited = world
        .platform
        .create_invitation(&caller, world.account, draft);
    invited.await.unwrap();
    let mail = &world.mails_for(GUEST).await[0];
    assert!(mail.contains("A Enter your password"), "{mail}");
}

#[tokio::test]
async fn one_code_makes_one_member() {
    let world = World::new().await;
    world.invite(GUEST, "viewer").await;
    let code = world.invitation_code(GUEST).await;
    let (one, _) = world.add_guest("one@example.org").await;
    let (two, _) = world.add_guest("two@example.org").await;
    let accept = |person| {
        let platform = world.platform.clone();
        let key = InvitationKey::Code(pilvi_base::Secret::new(code.as_str()));
        async move {
            let caller = Caller::Person(person);
            platform.accept_invitation(&caller, key).await
        }
    };
    let (one, two) = tokio::join!(accept(one), accept(two));
    let outcomes = [one, two];
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(accepted, 1);
    for outcome in outcomes {
        if let Err(error) = outcome {
            assert_eq!(error.kind, Kind::NotFound);
        }
    }
}
