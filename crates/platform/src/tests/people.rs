//! Signing up and in, passwords, sessions, and tokens that end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use pilvi_base::Secret;
use pilvi_model::Kind;
use pilvi_store::platform::Person;
use serde_json::{Value, json};

use super::{Answer, World, error};
use crate::{PersonChange, Registration, Settings, SignInFailure, TokenDraft};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(super) const PASSWORD: &str = "correct horse battery";
const WRONG: &str =
    "the e-mail address or the password is wrong, or the address has not been confirmed yet";

pub(super) async fn open_world() -> World {
    world_with(Registration::Open).await
}

async fn world_with(registration: Registration) -> World {
    World::with_settings(Settings {
        registration,
        public_url: "https://cloud.example.org".to_owned(),
        ..Settings::default()
    })
    .await
}

impl World {
    /// A request of nobody in particular.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    pub(super) async fn sign_up(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "name": "Anna", "password": password});
        self.ask("POST", "/v1/user/sign_up", body).await
    }

    async fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password, "client": "laptop"});
        self.ask("POST", "/v1/user/sign_in", body).await
    }

    /// Somebody who signed up and confirmed their address.
    pub(super) async fn join(&self, email: &str) -> Person {
        self.sign_up(email, PASSWORD).await.expect(201);
        let code = self.newest_code(email).await;
        let body = json!({"code": code, "password": PASSWORD});
        self.ask("POST", "/v1/user/verify", body).await.expect(201);
        let found = self.store.find_person_by_email(email.to_owned()).await;
        found.unwrap().unwrap()
    }

    /// The texts of all mails to an address, the oldest first, once everything that runs is done.
    pub(super) async fn mails_for(&self, email: &str) -> Vec<String> {
        self.rest().await;
        let Ok(files) = std::fs::read_dir(self.folder.path().join("mail")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| std::fs::metadata(file).unwrap().modified().unwrap());
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        let to = format!("To: {email}\r\n");
        texts.filter(|text| text.contains(&to)).collect()
    }

    /// The code in the newest mail to an address.
    pub(super) async fn newest_code(&self, email: &str) -> String {
        let mails = self.mails_for(email).await;
        code_in(mails.last().expect("there is a mail"))
    }
}

/// The line that is nothing but a code.
fn code_in(mail: &str) -> String {
    let mut lines = mail.lines().map(str::trim);
    let is_code =
        |line: &&str| line.len() == 32 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    lines.find(is_code).expect("there is a code").to_owned()
}

#[tokio::test]
async fn somebody_signs_up_confirms_the_address_and_signs_in() {
    let world = open_world().await;
    let said = world
        .sign_up(" anna@example.org ", PASSWORD)
        .await
        .expect(201);
    assert!(said["message"].as_str().unwrap().contains("mail"), "{said}");
    // Until the address is confirmed there is nobody.
    let early = world.sign_in("anna@example.org", PASSWORD).await;
    assert_eq!(early.expect(401), error("AccessDenied", WRONG));

    let mails = world.mails_for("anna@example.org").await;
    let code = code_in(&mails[0]);
    let link = format!("https://cloud.example.org/console/verify?code={code}");
    assert!(mails[0].contains(&link), "{}", mails[0]);
    let token = world
        .ask(
            "POST",
            "/v1/user/verify",
            json!({"code": code, "password": PASSWORD}),
        )
        .await
        .expect(201);
    let token = token["access_token"].as_str().unwrap();
    let user = world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);
    assert_eq!(user["email"], "anna@example.org");
    assert_eq!(user["emailVerified"], true);

    // However the address is spelled.
    let signed_in = world
        .sign_in("Anna@Example.org", PASSWORD)
        .await
        .expect(201);
    assert_eq!(signed_in["name"], "laptop");
    let token = signed_in["access_token"].as_str().unwrap();
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);
    // The code serves once.
    let again = world
        .ask(
            "POST",
            "/v1/user/verify",
            json!({"code": code, "password": PASSWORD}),
        )
        .await
        .expect(422);
    assert_eq!(again["errors"][0]["property"], "code");
}

#[tokio::test]
async fn nobody_learns_whose_an_address_is() {
    let world = open_world().await;
    world.join("anna@example.org").await;
    let mails = world.mails_for("anna@example.org").await.len();

    let known = world
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(201);
    let unknown = world
        .sign_up("bert@example.org", PASSWORD)
        .await
        .expect(201);
    assert_eq!(known, unknown);
    let forgot = |email: &'static str| {
        let body = json!({"email": email});
        world.ask("POST", "/v1/user/forgot_password", body)
    };
    let known = forgot("anna@example.org").await.expect(200);
    assert_eq!(known, forgot("nobody@example.org").await.expect(200));
    let known = world.sign_in("anna@example.org", "not the password").await;
    let unknown = world
        .sign_in("nobody@example.org", "not the password")
        .await;
    assert_eq!(known.expect(401), unknown.expect(401));

    // Only the mails tell.
    let told = world.mails_for("anna@example.org").await.split_off(mails);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .any(|mail| mail.contains("You have a login there already"))
    );
    assert_eq!(world.mails_for("nobody@example.org").await.len(), 0);
}

#[tokio::test]
async fn a_strangers_address_can_neither_be_taken_nor_kept_from_them() {
    let world = open_world().await;
    // Somebody signs up with an address that is not theirs, and a password that they know.
    world
        .sign_up("anna@example.org", "the intruder's own")
        .await
        .expect(201);
    let planted = world.newest_code("anna@example.org").await;
    // Its owner follows the link, not knowing that password.
    let body = json!({"code": planted, "password": PASSWORD});
    world.ask("POST", "/v1/user/verify", body).await.expect(401);
    // They sign up themselves, and what was planted is worth nothing any more.
    world.clock.advance(Duration::from_secs(61));
    let person = world.join("anna@example.org").await;
    let body = json!({"code": planted, "password": "the intruder's own"});
    world.ask("POST", "/v1/user/verify", body).await.expect(422);
    let intruder = world
        .sign_in("anna@example.org", "the intruder's own")
        .await;
    intruder.expect(401);
    assert!(person.verified && person.has_password && !person.operator);
}

#[tokio::test]
async fn an_address_does_not_get_mail_after_mail() {
    let world = open_world().await;
    for _ in 0..3 {
        world
            .sign_up("anna@example.org", PASSWORD)
            .await
            .expect(201);
    }
    assert_eq!(world.mails_for("anna@example.org").await.len(), 1);
    world.clock.advance(Duration::from_secs(61));
    world
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(201);
    assert_eq!(world.mails_for("anna@example.org").await.len(), 2);
    // Whoever goes on asking is not heard any more.
    world
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(201);
    let refused = world.sign_up("anna@example.org", PASSWORD).await;
    let wait = refused.headers["retry-after"].to_str().unwrap().to_owned();
    assert!(wait.parse::<u64>().unwrap() > 60, "{wait}");
    refused.expect(429);
}

#[tokio::test]
async fn a_sign_up_ends_with_its_code() {
    let world = open_world().await;
    world
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(201);
    let code = world.newest_code("anna@example.org").await;
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    let body = json!({"code": code, "password": PASSWORD});
    world.ask("POST", "/v1/user/verify", body).await.expect(422);
    world.platform.clear_ended().await.unwrap();
    world.join("anna@example.org").await;
}

#[tokio::test]
async fn who_may_sign_up_is_the_operators_choice() {
    let closed = world_with(Registration::Closed).await;
    let refused = closed
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(403);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("operator")
    );

    let world = world_with(Registration::Invited).await;
    let uninvited = world
        .sign_up("bert@example.org", PASSWORD)
        .await
        .expect(201);
    assert_eq!(world.mails_for("bert@example.org").await.len(), 0);
    let invitation = json!({"email": "Anna@example.org", "role": "developer"});
    let path = world.account_path("/invitations");
    world.call("POST", &path, invitation).await.expect(201);
    let invited = world
        .sign_up("anna@example.org", PASSWORD)
        .await
        .expect(201);
    assert_eq!(invited, uninvited);
    let code = world.newest_code("anna@example.org").await;
    let body = json!({"code": code, "password": PASSWORD});
    let token = world.ask("POST", "/v1/user/verify", body).await.expect(201);
    let token = token["access_token"].as_str().unwrap();
    let waiting = world
        .call_as(token, "GET", "/v1/user/invitations", Value::Null)
        .await
        .expect(200);
    assert_eq!(waiting["results"][0]["role"], "developer");
}

#[tokio::test]
async fn guessing_at_a_password_ends_soon_and_only_for_who_guesses() {
    let world = open_world().await;
    world.join("anna@example.org").await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
    let guess = |password: &str, peer| {
        let password = Secret::new(password);
        let platform = world.platform.clone();
        async move {
            platform
                .verify_password("anna@example.org", &password, peer)
                .await
        }
    };
    for _ in 0..10 {
        assert!(matches!(
            guess("wrong", PEER).await,
            Err(SignInFailure::Wrong)
        ));
    }
    let refused = guess(PASSWORD, PEER).await;
    let Err(SignInFailure::TooMany(wait)) = refused else {
        panic!("{refused:?}")
    };
    assert!(wait > Duration::from_secs(1));
    assert!(guess(PASSWORD, elsewhere).await.is_ok());
    world.clock.advance(wait + Duration::from_secs(1));
    assert!(guess(PASSWORD, PEER).await.is_ok());
}

#[tokio::test]
async fn a_weak_password_is_refused_with_a_reason() {
    let world = open_world().await;
    for weak in [
        "",
        "short",
        "aaaaaaaaaaaaaa",
        "anna@example.org",
        &"x1".repeat(600),
    ] {
        let refused = world.sign_up("anna@example.org", weak).await.expect(422);
        assert_eq!(refused["errors"][0]["property"], "password", "{weak}");
    }
    let refused = world.sign_up("anna", PASSWORD).await.expect(422);
    assert_eq!(refused["errors"][0]["property"], "email");
    assert_eq!(world.mails_for("anna@example.org").await.len(), 0);
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_and_signs_everybody_out() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let (session, _) = world
        .platform
        .start_session(person.id, "", PEER)
        .await
        .unwrap();
    let kept = world
        .platform
        .create_person_token(person.id, TokenDraft::default())
        .await;
    let kept = kept.unwrap().secret;
    world.clock.advance(Duration::from_secs(61));

    let body = json!({"email": "ANNA@example.org"});
    world
        .ask("POST", "/v1/user/forgot_password", body)
        .await
        .expect(200);
    let code = world.newest_code("anna@example.org").await;
    let set = |password: &'static str, revoke: bool| {
        let body = json!({"code": code, "password": password, "revokeTokens": revoke});
        world.ask("POST", "/v1/user/reset_password", body)
    };
    // A weak one costs nothing.
    set("weak", false).await.expect(422);
    set("another good password", false).await.expect(200);
    set("another good password", false).await.expect(422);
    assert!(
        world
            .platform
            .find_session(&session)
            .await
            .unwrap()
            .is_none()
    );
    world
        .sign_in("anna@example.org", PASSWORD)
        .await
        .expect(401);
    world
        .sign_in("anna@example.org", "another good password")
        .await
        .expect(201);
    let user = world.call_as(kept.expose(), "GET", "/v1/user", Value::Null);
    user.await.expect(200);
    let told = world.mails_for("anna@example.org").await;
    assert!(told.last().unwrap().contains("was set anew"), "{told:?}");

    // With everything that opens anything.
    world.clock.advance(Duration::from_secs(61));
    world
        .platform
        .ask_for_password("anna@example.org", PEER)
        .await
        .unwrap();
    let mails = world.mails_for("anna@example.org").await;
    let code = Secret::new(code_in(
        mails
            .iter()
            .rfind(|mail| mail.contains("/console/reset"))
            .unwrap(),
    ));
    let new = Secret::new("a third good password");
    world
        .platform
        .reset_password(&code, &new, true)
        .await
        .unwrap();
    let user = world.call_as(kept.expose(), "GET", "/v1/user", Value::Null);
    user.await.expect(401);
}

#[tokio::test]
async fn a_code_for_a_password_holds_for_an_hour() {
    let world = open_world().await;
    world.join("anna@example.org").await;
    world.clock.advance(Duration::from_secs(61));
    world
        .platform
        .ask_for_password("anna@example.org", PEER)
        .await
        .unwrap();
    let code = Secret::new(world.newest_code("anna@example.org").await);
    assert!(world.platform.find_password_code(&code).await.is_ok());
    world.clock.advance(Duration::from_secs(3600));
    let late = world.platform.find_password_code(&code).await.unwrap_err();
    assert_eq!(late.kind, Kind::Invalid);
}

#[tokio::test]
async fn who_has_a_password_must_know_it_to_set_another() {
    let world = open_world().await;
    // The operator of a new server has none, and sets one with the first token.
    let put = |body: Value| world.call("PUT", "/v1/user", body);
    let renewed = put(json!({"name": "Aino", "email": "aino@example.org", "password": PASSWORD}));
    let renewed = renewed.await.expect(200);
    assert_eq!(renewed["name"], "Aino");
    assert_eq!(renewed["email"], "aino@example.org");
    assert_eq!(renewed["emailVerified"], false);
    assert_eq!(renewed["awaitedEmail"], "aino@example.org");
    world
        .sign_in("aino@example.org", PASSWORD)
        .await
        .expect(201);

    // The code in the mail proves the address.
    let code = world.newest_code("aino@example.org").await;
    let proven = world
        .call("POST", "/v1/user/verify", json!({"code": code}))
        .await;
    assert_eq!(proven.expect(200)["emailVerified"], true);

    let missing = put(json!({"password": "another good one"}))
        .await
        .expect(422);
    assert_eq!(missing["errors"][0]["property"], "currentPassword");
    let set = |current: &'static str| {
        let body = json!({"password": "another good one", "currentPassword": current});
        world.call("PUT", "/v1/user/password", body)
    };
    set("not the password").await.expect(422);
    set(PASSWORD).await.expect(200);
    world
        .sign_in("aino@example.org", "another good one")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_person_hears_of_another_password() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let before = world.mails_for("anna@example.org").await.len();
    let (old, new) = (Secret::new(PASSWORD), Secret::new("another good password"));
    let change = |old| {
        world
            .platform
            .change_password(&person, Some(old), &new, None, PEER)
    };
    change(&new).await.unwrap_err();
    assert_eq!(world.mails_for("anna@example.org").await.len(), before);
    change(&old).await.unwrap();
    let mails = world.mails_for("anna@example.org").await;
    assert_eq!(mails.len(), before + 1);
    let told = mails.last().unwrap();
    assert!(
        told.contains("set another password") && !told.contains(new.expose()),
        "{told}"
    );
}

#[tokio::test]
async fn another_address_takes_the_present_password() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    world.clock.advance(Duration::from_secs(61));
    let token = world
        .platform
        .create_person_token(person.id, TokenDraft::default());
    let token = token.await.unwrap().secret.expose().to_owned();
    let put = |body: Value| world.call_as(&token, "PUT", "/v1/user", body);
    let new = "a.new@example.org";
    for (given, message) in [
        (
            Value::Null,
            "currentPassword is required to set another e-mail address",
        ),
        (
            "not the password".into(),
            "currentPassword is not the present password",
        ),
    ] {
        let refused = put(json!({"email": new, "name": "X", "currentPassword": given})).await;
        assert_eq!(refused.expect(422)["errors"][0]["message"], message);
    }
    assert!(world.mails_for(new).await.is_empty());
    let user = put(json!({"email": "Anna@example.org"})).await.expect(200);
    assert_eq!(
        user["name"], "Anna",
        "nothing changes when something is refused"
    );
    let with_all = json!({
        "email": new,
        "password": "another good one",
        "currentPassword": PASSWORD,
    });
    assert_eq!(put(with_all).await.expect(200)["awaitedEmail"], new);
    assert_eq!(world.mails_for(new).await.len(), 1);
}

#[tokio::test]
async fn an_address_is_a_persons_once_it_is_proven() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    world.join("bert@example.org").await;
    world.clock.advance(Duration::from_secs(61));
    let change = |email: &str| {
        let change = PersonChange {
            email: Some(email.to_owned()),
            current: Some(Secret::new(PASSWORD)),
            ..PersonChange::default()
        };
        world.platform.change_person(person.id, change, PEER)
    };
    let renewal = change("a.new@example.org").await.unwrap();
    assert_eq!(renewal.person.email, "anna@example.org");
    assert_eq!(renewal.awaited_email.as_deref(), Some("a.new@example.org"));
    let code = Secret::new(world.newest_code("a.new@example.org").await);
    let confirmed = world.platform.confirm_email(person.id, &code).await;
    assert_eq!(confirmed.unwrap(), "a.new@example.org");
    // The one that was hears of it.
    let told = world.mails_for("anna@example.org").await;
    let told = told.last().unwrap();
    assert!(told.contains("has another from now on"), "{told}");
    assert!(told.contains("a.new@example.org"), "{told}");
    world
        .sign_in("a.new@example.org", PASSWORD)
        .await
        .expect(201);
    world
        .sign_in("anna@example.org", PASSWORD)
        .await
        .expect(401);

    // Somebody else's address: the same answer, and no code.
    let renewal = change("bert@example.org").await.unwrap();
    assert_eq!(renewal.awaited_email.as_deref(), Some("bert@example.org"));
    let told = world.mails_for("bert@example.org").await;
    assert!(
        told.last()
            .unwrap()
            .contains("You have a login there already")
    );
}

#[tokio::test]
async fn two_persons_cannot_prove_one_address() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let change = PersonChange {
        email: Some("both@example.org".to_owned()),
        current: Some(Secret::new(PASSWORD)),
        ..PersonChange::default()
    };
    world
        .platform
        .change_person(person.id, change, PEER)
        .await
        .unwrap();
    let code = Secret::new(world.newest_code("both@example.org").await);
    world.clock.advance(Duration::from_secs(61));
    world.join("both@example.org").await;
    let refused = world.platform.confirm_email(person.id, &code).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
}

#[tokio::test]
async fn nobody_else_gives_somebody_an_address() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let change = PersonChange {
        email: Some("victim@example.org".to_owned()),
        current: Some(Secret::new(PASSWORD)),
        ..PersonChange::default()
    };
    let changed = world.platform.change_person(person.id, change, PEER);
    changed.await.unwrap();
    // The owner of the mailbox follows the link: that must not make it somebody else's.
    let code = world.newest_code("victim@example.org").await;
    let body = json!({"code": code});
    let nobody = world.ask("POST", "/v1/user/verify", body.clone()).await;
    nobody.expect(401);
    let other = world.call("POST", "/v1/user/verify", body.clone()).await;
    other.expect(422);
    let own = world.sign_in("anna@example.org", PASSWORD).await;
    let own = own.expect(201)["access_token"].as_str().unwrap().to_owned();
    let done = world
        .call_as(&own, "POST", "/v1/user/verify", body)
        .await
        .expect(200);
    assert_eq!(done["email"], "victim@example.org");
}

#[tokio::test]
async fn another_password_ends_a_change_of_the_address() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let mut ended = Vec::new();
    for (number, (email, password)) in [
        ("evil-1@example.org", PASSWORD),
        ("evil-2@example.org", "another good password"),
    ]
    .iter()
    .enumerate()
    {
        // Whoever got in for a moment asks for an address of their own, and waits.
        world.clock.advance(Duration::from_secs(61));
        let change = PersonChange {
            email: Some((*email).to_owned()),
            current: Some(Secret::new(*password)),
            ..PersonChange::default()
        };
        let changed = world.platform.change_person(person.id, change, PEER);
        changed.await.unwrap();
        let code = Secret::new(world.newest_code(email).await);
        if number == 0 {
            let asked = world.platform.ask_for_password("anna@example.org", PEER);
            asked.await.unwrap();
            let reset = Secret::new(world.newest_code("anna@example.org").await);
            let new = Secret::new("another good password");
            let done = world.platform.reset_password(&reset, &new, false);
            done.await.unwrap();
        } else {
            let (old, new) = ("another good password", "a third good password");
            let (old, new) = (Secret::new(old), Secret::new(new));
            let done = world
                .platform
                .change_password(&person, Some(&old), &new, None, PEER);
            done.await.unwrap();
        }
        let confirmed = world.platform.confirm_email(person.id, &code).await;
        ended.push(confirmed.unwrap_err().kind);
    }
    assert_eq!(ended, [Kind::Invalid, Kind::Invalid]);
}

#[tokio::test]
async fn who_deletes_their_tokens_with_the_password_deletes_all_kinds() {
    let world = open_world().await;
    let person = world.join("anna@example.org").await;
    let own = world.sign_in("anna@example.org", PASSWORD).await;
    let own = own.expect(201)["access_token"].as_str().unwrap().to_owned();
    let post = async |path: &str| {
        world
            .call_as(&own, "POST", path, json!({"name": "Annas"}))
            .await
    };
    let account = post("/v1/accounts").await.expect(201);
    let account = account["id"].as_str().unwrap().to_owned();
    let token = post(&format!("/v1/accounts/{account}/authorizations")).await;
    let token = token.body["access_token"].as_str().unwrap().to_owned();
    // A program that was let in and has not come back yet.
    let codes = world.platform.begin_device_login("laptop", PEER);
    let codes = codes.await.unwrap();
    let visit = crate::Visit {
        request: pilvi_model::RequestId::from_bytes([1; 16]),
        peer: PEER,
    };
    let approved = pilvi_store::platform::Decision::Approved;
    let decided = world
        .platform
        .decide_device_login(person.id, &codes.user_code, approved, &visit);
    decided.await.unwrap();

    world.clock.advance(Duration::from_secs(61));
    let asked = world.platform.ask_for_password("anna@example.org", PEER);
    asked.await.unwrap();
    let code = Secret::new(world.newest_code("anna@example.org").await);
    let new = Secret::new("another good password");
    let done = world.platform.reset_password(&code, &new, true);
    done.await.unwrap();
    let path = format!("/v1/accounts/{account}");
    for token in [&own, &token] {
        world
            .call_as(token, "GET", &path, Value::Null)
            .await
            .expect(401);
    }
    let polled = world
        .platform
        .poll_device_login(&codes.device_code, &visit)
        .await;
    assert!(matches!(polled.unwrap(), crate::device::Polled::Over));
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
    let world = open_world().await;
    let day = Duration::from_secs(24 * 3600);
    let start = || world.platform.start_session(world.person, "Browser", PEER);
    let (secret, session) = start().await.unwrap();
    assert!(secret.expose().starts_with("pilvi_ses_"));
    let is_alive = async || {
        let found = world.platform.find_session(&secret).await.unwrap();
        found.is_some()
    };
    // It is used every six days, until it is a month old.
    for _ in 0..4 {
        world.clock.advance(6 * day);
        assert!(is_alive().await);
    }
    world.clock.advance(6 * day);
    assert!(!is_alive().await);
    let (idle, _) = start().await.unwrap();
    world.clock.advance(7 * day);
    assert!(world.platform.find_session(&idle).await.unwrap().is_none());
    world.platform.clear_ended().await.unwrap();
    assert_eq!(
        world.platform.list_sessions(world.person).await.unwrap(),
        []
    );
    let gone = world.platform.end_session(world.person, session.id).await;
    assert_eq!(gone.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn a_person_sees_and_ends_their_own_sessions_only() {
    let world = open_world().await;
    let other = world.join("anna@example.org").await.id;
    let platform = &world.platform;
    let mut secrets = Vec::new();
    for _ in 0..3 {
        secrets.push(
            platform
                .start_session(world.person, "a\u{1b}[2Jb", PEER)
                .await
                .unwrap(),
        );
        world.clock.advance(Duration::from_secs(1));
    }
    let (theirs, their_session) = platform.start_session(other, "", PEER).await.unwrap();
    let listed = platform.list_sessions(world.person).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|session| session.id).collect();
    let newest_first: Vec<_> = secrets
        .iter()
        .rev()
        .map(|(_, session)| session.id)
        .collect();
    assert_eq!(ids, newest_first);
    assert_eq!(listed[0].agent, "a[2Jb");

    let foreign = platform.end_session(world.person, their_session.id).await;
    assert_eq!(foreign.unwrap_err().kind, Kind::NotFound);
    platform
        .end_session(world.person, secrets[0].1.id)
        .await
        .unwrap();
    platform
        .end_other_sessions(world.person, Some(secrets[1].1.id))
        .await
        .unwrap();
    let alive = [&secrets[0].0, &secrets[1].0, &secrets[2].0, &theirs];
    let mut found = Vec::new();
    for secret in alive {
        found.push(platform.find_session(secret).await.unwrap().is_some());
    }
    assert_eq!(found, [false, true, false, true]);
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_sessions() {
    let world = open_world().await;
    let mut first = None;
    for _ in 0..21 {
        let (secret, _) = world
            .platform
            .start_session(world.person, "", PEER)
            .await
            .unwrap();
        first.get_or_insert(secret);
    }
    assert_eq!(
        world
            .platform
            .list_sessions(world.person)
            .await
            .unwrap()
            .len(),
        20
    );
    let oldest = world.platform.find_session(&first.unwrap()).await.unwrap();
    assert!(oldest.is_none());
}

#[tokio::test]
async fn no_route_takes_a_session_for_a_token() {
    let world = open_world().await;
    let (secret, _) = world
        .platform
        .start_session(world.person, "", PEER)
        .await
        .unwrap();
    let cookie = format!("__Host-pilvi={}", secret.expose());
    let request = Request::builder().uri("/v1/user").header("cookie", cookie);
    world
        .send(request.body(Body::empty()).unwrap())
        .await
        .expect(401);
    world
        .call_as(secret.expose(), "GET", "/v1/user", Value::Null)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let world = open_world().await;
    let made = world.call(
        "POST",
        "/v1/authorizations",
        json!({"expiresAt": "2015-03-19T09:00:00Z"}),
    );
    let made = made.await.expect(201);
    assert_eq!(made["expiresAt"], "2015-03-19T09:00:00Z");
    let token = made["access_token"].as_str().unwrap();
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(24 * 3600 - 1));
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);
    world.clock.advance(Duration::from_secs(1));
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(401);
    // It is shown as ended for a while, and then forgotten.
    world.platform.clear_ended().await.unwrap();
    let listed = async || world.get("/v1/authorizations").await.expect(200)["results"].clone();
    assert_eq!(listed().await.as_array().unwrap().len(), 2);
    world.clock.advance(Duration::from_secs(31 * 24 * 3600));
    world.platform.clear_ended().await.unwrap();
    assert_eq!(listed().await.as_array().unwrap().len(), 1);

    for wrong in [json!("2015-03-18T09:00:00Z"), json!("tomorrow"), json!(7)] {
        let refused = world.call("POST", "/v1/authorizations", json!({"expiresAt": wrong}));
        let refused = refused.await.expect(422);
        assert_eq!(refused["errors"][0]["property"], "expiresAt", "{refused}");
    }
}

#[tokio::test]
async fn it_is_known_when_a_token_was_used_last_to_the_hour() {
    let world = open_world().await;
    let made = world
        .call("POST", "/v1/authorizations", json!({"name": "ci"}))
        .await;
    let made = made.expect(201);
    let token = made["access_token"].as_str().unwrap();
    let used = async || {
        let listed = world.get("/v1/authorizations").await.expect(200);
        let found = listed["results"].as_array().unwrap().iter();
        let mut found = found.filter(|found| found["name"] == "ci");
        found.next().unwrap()["lastUsedAt"].clone()
    };
    assert_eq!(used().await, Value::Null);
    let call = || world.call_as(token, "GET", "/v1/user", Value::Null);
    call().await.expect(200);
    assert_eq!(used().await, "2015-03-18T09:00:00Z");
    world.clock.advance(Duration::from_secs(3599));
    call().await.expect(200);
    assert_eq!(used().await, "2015-03-18T09:00:00Z");
    world.clock.advance(Duration::from_secs(1));
    call().await.expect(200);
    assert_eq!(used().await, "2015-03-18T10:00:00Z");
}

#[tokio::test]
async fn an_address_that_an_operator_mistyped_opens_nothing() {
    let world = open_world().await;
    let body = json!({"email": "slip@example.org", "password": PASSWORD});
    world.call("PUT", "/v1/user", body).await.expect(200);
    let asked = async || {
        world.clock.advance(Duration::from_secs(61));
        let asked = world.platform.ask_for_password("slip@example.org", PEER);
        asked.await.unwrap();
        let mails = world.mails_for("slip@example.org").await;
        let resets = mails.iter().filter(|mail| mail.contains("/console/reset?"));
        resets.count()
    };
    assert_eq!(asked().await, 0);
    // Once it is theirs it is like that of anybody.
    let code = Secret::new(world.newest_code("slip@example.org").await);
    let confirmed = world.platform.confirm_email(world.person, &code);
    confirmed.await.unwrap();
    assert_eq!(asked().await, 1);
}
