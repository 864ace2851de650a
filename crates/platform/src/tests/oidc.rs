//! Single sign-on against a provider of our own, which can lie in every way.

mod provider;

use std::sync::LazyLock;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_model::{AccountId, Error, Kind, PersonId, RequestId};
use pilvi_store::platform::Person;
use serde_json::{Value, json};

use super::World;
use crate::{
    Departure, Outcome, ProviderSettings, Purpose, Registration, Returned, Settings, Visit,
};
use provider::Provider;

const BASE: &str = "https://cloud.example.org";

fn visit() -> &'static Visit {
    static VISIT: LazyLock<Visit> = LazyLock::new(|| Visit {
        request: RequestId::from_bytes([3; 16]),
        peer: "192.0.2.7".parse().unwrap(),
    });
    &VISIT
}

fn settings(registration: Registration, providers: &[(&str, &Provider)]) -> Settings {
    let providers = providers.iter().map(|(name, provider)| {
        let secret = Some(Secret::new("s3cret & more"));
        ProviderSettings::new(provider.issuer(), "pilvi", secret, Some(name)).unwrap()
    });
    Settings {
        registration,
        sign_on: providers.collect(),
        ..Settings::default()
    }
}

/// A server with one provider, at which Anna has an account.
async fn world(registration: Registration) -> (World, Provider) {
    let provider = Provider::start().await;
    let settings = settings(registration, &[("Example", &provider)]);
    let world = World::with_settings(settings).await;
    provider.set_clock(world.clock.clone());
    (world, provider)
}

impl World {
    async fn depart(&self, purpose: Purpose) -> Departure {
        self.platform
            .depart("example", BASE, purpose)
            .await
            .unwrap()
    }

    async fn come_back(&self, flow: &Secret, returned: Returned) -> Result<Outcome, Error> {
        let back = self
            .platform
            .come_back("example", Some(flow), returned, visit());
        back.await
    }

    /// The whole way there and back.
    async fn try_sign_on(&self, provider: &Provider) -> Result<PersonId, Error> {
        let purpose = Purpose::SignIn { next: None };
        let departure = self.platform.depart("example", BASE, purpose).await?;
        let returned = provider.authorize(&departure.url);
        match self.come_back(&departure.flow, returned).await? {
            Outcome::SignedIn { person, .. } => Ok(person),
            Outcome::MayLink { .. } => panic!("nobody asked to link"),
        }
    }

    async fn refused(&self, provider: &Provider) -> Error {
        self.try_sign_on(provider).await.unwrap_err()
    }

    async fn person(&self, id: PersonId) -> Person {
        self.store.find_person(id).await.unwrap().unwrap()
    }

    /// What somebody brings back who went to link.
    async fn voucher(&self, person: PersonId, provider: &Provider) -> Secret {
        let departure = self.depart(Purpose::Link(person)).await;
        let returned = provider.authorize(&departure.url);
        match self.come_back(&departure.flow, returned).await.unwrap() {
            Outcome::MayLink { voucher } => voucher,
            Outcome::SignedIn { .. } => panic!("nobody asked to sign in"),
        }
    }

    async fn is_nobody(&self, email: &str) -> bool {
        let found = self.store.find_person_by_email(email.to_owned()).await;
        found.unwrap().is_none()
    }

    async fn identities(&self, person: PersonId) -> usize {
        self.platform.list_identities(person).await.unwrap().len()
    }
}

#[tokio::test]
async fn the_first_sign_in_makes_a_person_and_the_next_finds_them() {
    let (world, provider) = world(Registration::Open).await;
    let anna = world.try_sign_on(&provider).await.unwrap();
    let person = world.person(anna).await;
    assert_eq!(
        (person.email.as_str(), person.name.as_str()),
        ("anna@example.org", "Anna K")
    );
    assert!(person.verified && !person.operator && !person.has_password);
    // The address changes at the provider, the subject does not.
    provider.claim("email", json!("anna@example.net"));
    provider.claim("email_verified", json!(false));
    assert_eq!(world.try_sign_on(&provider).await.unwrap(), anna);
    assert_eq!(world.person(anna).await.email, "anna@example.org");
    // Another subject with the address that Anna had there is somebody else.
    provider.claim("sub", json!("another"));
    provider.claim("email_verified", json!(true));
    assert_ne!(world.try_sign_on(&provider).await.unwrap(), anna);
}

#[tokio::test]
async fn what_the_provider_is_told_and_asked_is_what_the_standards_say() {
    let (world, provider) = world(Registration::Open).await;
    let next = Some("/console/device?user_code=BCDF-GHJK".to_owned());
    let departure = world.depart(Purpose::SignIn { next: next.clone() }).await;
    let asked = provider::query(&departure.url);
    assert!(
        departure
            .url
            .starts_with(&format!("{}/authorize?", provider.issuer()))
    );
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "pilvi"),
        (
            "redirect_uri",
            "https://cloud.example.org/console/oidc/example/callback",
        ),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(asked[name], value);
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert!(asked[name].len() >= 32, "{name}");
        assert!(!departure.flow.expose().contains(&asked[name]), "{name}");
    }
    let returned = provider.authorize(&departure.url);
    let outcome = world.come_back(&departure.flow, returned).await.unwrap();
    assert!(matches!(outcome, Outcome::SignedIn { next: there, .. } if there == next));
    let another = world.depart(Purpose::SignIn { next: None }).await;
    let other = provider::query(&another.url);
    assert!(
        ["state", "nonce", "code_challenge"]
            .iter()
            .all(|name| asked[*name] != other[*name])
    );
}

#[tokio::test]
async fn newcomers_are_those_that_the_server_takes() {
    let (closed, provider) = world(Registration::Closed).await;
    assert_eq!(closed.refused(&provider).await.kind, Kind::Forbidden);
    assert!(closed.is_nobody("anna@example.org").await);

    let (invited, provider) = world(Registration::Invited).await;
    assert_eq!(invited.refused(&provider).await.kind, Kind::Forbidden);
    invite(&invited, invited.account, "Anna@Example.org").await;
    provider.claim("email_verified", json!(false));
    assert_eq!(invited.refused(&provider).await.kind, Kind::Forbidden);
    assert!(invited.is_nobody("anna@example.org").await);
    provider.claim("email_verified", json!(true));
    let anna = invited.try_sign_on(&provider).await.unwrap();
    assert_eq!(invited.identities(anna).await, 1);
}

async fn invite(world: &World, account: AccountId, email: &str) {
    let path = format!("/v1/accounts/{account}/invitations");
    let body = json!({"email": email, "role": "viewer"});
    world.call("POST", &path, body).await.expect(201);
}

/// Whoever can write any address into a form at the provider must not become whoever has it here.
#[tokio::test]
async fn an_address_links_only_where_both_sides_know_that_it_is_theirs() {
    let (world, provider) = world(Registration::Open).await;
    let victim = world
        .platform
        .create_person("anna@example.org".to_owned(), "Victim".to_owned());
    let victim = victim.await.unwrap();
    for flag in [json!(false), json!("false"), Value::Null, json!(1)] {
        provider.claim("email_verified", flag.clone());
        let refused = world.refused(&provider).await;
        assert_eq!(refused.kind, Kind::Forbidden, "{flag}");
        assert!(
            refused
                .message
                .contains("does not say that your e-mail address is verified")
        );
        // It does not tell whether the address is somebody's.
        provider.claim("email", json!("nobody@example.org"));
        assert_eq!(world.refused(&provider).await.message, refused.message);
        provider.claim("email", json!("anna@example.org"));
    }
    // Verified there, and not here: somebody may have made a person with Anna's address and waits for her.
    provider.claim("email_verified", json!(true));
    let refused = world.refused(&provider).await;
    assert!(refused.message.contains("never verified"), "{refused}");
    assert_eq!(world.identities(victim).await, 0);

    // Whoever looks after the server is not opened by any provider's word.
    provider.claim("email", json!("Operator@localhost"));
    let refused = world.refused(&provider).await;
    assert!(
        refused.message.contains("only after linking it"),
        "{refused}"
    );
    assert_eq!(world.identities(world.person).await, 0);

    // Verified on both sides, however it is spelled.
    provider.claim("sub", json!("bob"));
    provider.claim("email", json!("bob@example.org"));
    let bob = world.try_sign_on(&provider).await.unwrap();
    world
        .platform
        .unlink_identity(bob, 99, visit())
        .await
        .unwrap_err();
    provider.claim("sub", json!("bob-again"));
    provider.claim("email", json!("Bob@Example.ORG"));
    assert_eq!(world.try_sign_on(&provider).await.unwrap(), bob);
    assert_eq!(world.identities(bob).await, 2);
    assert!(world.tasks.drain(Duration::from_secs(10)).await);
    let mails = std::fs::read_dir(world.folder.path().join("mail")).unwrap();
    let mails = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap());
    let mails: Vec<_> = mails.collect();
    assert_eq!(mails.len(), 1, "Bob is told, and nobody else");
    assert!(mails[0].contains("To: bob@example.org") && mails[0].contains("Example"));
}

#[tokio::test]
async fn whoever_did_not_leave_from_here_does_not_come_back() {
    let (world, provider) = world(Registration::Open).await;
    let departure = world.depart(Purpose::SignIn { next: None }).await;
    let other = world.depart(Purpose::SignIn { next: None }).await;
    let refuse = |returned: Returned, flow: Option<Secret>| {
        let world = &world;
        async move {
            let back = world
                .platform
                .come_back("example", flow.as_ref(), returned, visit());
            assert_eq!(back.await.unwrap_err().kind, Kind::BadRequest);
        }
    };
    let back = || provider.authorize(&departure.url);
    refuse(back(), None).await;
    refuse(back(), Some(Secret::new(""))).await;
    refuse(back(), Some(Secret::new("AAAA"))).await;
    // Another sign-in's flow: somebody was made to come back with a stranger's code.
    refuse(back(), Some(other.flow.clone())).await;
    let without_state = Returned {
        state: None,
        ..back()
    };
    refuse(without_state, Some(departure.flow.clone())).await;
    let with_code_as_state = Returned {
        state: Some(Secret::new("x")),
        ..back()
    };
    refuse(with_code_as_state, Some(departure.flow.clone())).await;
    // A voucher is no flow.
    let voucher = world.voucher(world.person, &provider).await;
    refuse(back(), Some(voucher)).await;
    assert!(world.is_nobody("anna@example.org").await);

    // The same return works once.
    let returned = back();
    let again = Returned {
        code: returned.code.clone(),
        state: returned.state.clone(),
        issuer: returned.issuer.clone(),
        error: None,
    };
    world.come_back(&departure.flow, returned).await.unwrap();
    let exchanges = provider.count("/token");
    refuse(again, Some(departure.flow.clone())).await;
    assert_eq!(provider.count("/token"), exchanges, "it is not even asked");

    // Too late.
    world.clock.advance(Duration::from_secs(600));
    refuse(provider.authorize(&other.url), Some(other.flow.clone())).await;
}

/// Two providers: what one says is never taken for the words of the other.
#[tokio::test]
async fn providers_cannot_speak_for_one_another() {
    let (honest, evil) = (Provider::start().await, Provider::start().await);
    let providers = [("Example", &honest), ("Evil", &evil)];
    let world = World::with_settings(settings(Registration::Open, &providers)).await;
    for provider in [&honest, &evil] {
        provider.set_clock(world.clock.clone());
    }
    let anna = world.try_sign_on(&honest).await.unwrap();
    // The same subject at another issuer is somebody else.
    evil.claim("email", json!("mallory@example.org"));
    let depart = |provider| {
        world
            .platform
            .depart(provider, BASE, Purpose::SignIn { next: None })
    };
    let departure = depart("evil").await.unwrap();
    let returned = evil.authorize(&departure.url);
    let back = world
        .platform
        .come_back("evil", Some(&departure.flow), returned, visit());
    let Outcome::SignedIn { person, .. } = back.await.unwrap() else {
        panic!("nobody is signed in")
    };
    assert_ne!(person, anna);

    // A flow of one at the callback of the other.
    let departure = depart("evil").await.unwrap();
    let returned = evil.authorize(&departure.url);
    let back = world.come_back(&departure.flow, returned).await;
    assert_eq!(back.unwrap_err().kind, Kind::BadRequest);

    // A token of one, delivered by the other.
    evil.claim("iss", json!(honest.issuer()));
    let departure = depart("evil").await.unwrap();
    let returned = evil.authorize(&departure.url);
    let back = world
        .platform
        .come_back("evil", Some(&departure.flow), returned, visit());
    assert_eq!(back.await.unwrap_err().kind, Kind::Unavailable);

    // An answer that says that it comes from the other (RFC 9207), or says nothing though it promised to.
    let departure = depart("example").await.unwrap();
    let mut returned = honest.authorize(&departure.url);
    returned.issuer = Some(evil.issuer().to_owned());
    let back = world.come_back(&departure.flow, returned).await;
    assert_eq!(back.unwrap_err().kind, Kind::Forbidden);

    honest.describe(
        "authorization_response_iss_parameter_supported",
        json!(true),
    );
    world.clock.advance(Duration::from_secs(3600));
    let departure = depart("example").await.unwrap();
    let mut returned = honest.authorize(&departure.url);
    returned.issuer = None;
    let back = world.come_back(&departure.flow, returned).await;
    assert_eq!(back.unwrap_err().kind, Kind::Forbidden);
}

#[tokio::test]
async fn a_token_that_is_not_for_this_sign_in_signs_nobody_in() {
    let (world, provider) = world(Registration::Open).await;
    for (name, value) in [
        ("iss", json!("https://id.example.org")),
        ("aud", json!("another-client")),
        ("nonce", json!("another-nonce")),
        ("exp", json!(1)),
        ("iat", json!(1)),
        ("sub", json!("")),
    ] {
        provider.claim(name, value);
        assert_eq!(
            world.refused(&provider).await.kind,
            Kind::Unavailable,
            "{name}"
        );
        provider.forget_claim(name);
    }
    provider.sign_with(9);
    assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
    provider.sign_with(1);
    provider.sign_as("none");
    assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
    assert!(world.is_nobody("anna@example.org").await);
    provider.sign_as("EdDSA");
    world.try_sign_on(&provider).await.unwrap();
}

#[tokio::test]
async fn keys_change_without_anybody_noticing_and_made_up_ones_cost_nothing() {
    let (world, provider) = world(Registration::Open).await;
    world.try_sign_on(&provider).await.unwrap();
    world.try_sign_on(&provider).await.unwrap();
    assert_eq!(provider.count("/keys"), 1);
    assert_eq!(provider.count("/.well-known/openid-configuration"), 1);
    world.clock.advance(Duration::from_secs(30));
    provider.rotate(2);
    world.try_sign_on(&provider).await.unwrap();
    assert_eq!(provider.count("/keys"), 2);
    // A token that no key has signed asks again, and then not for half a minute.
    provider.sign_with(9);
    for _ in 0..5 {
        world.refused(&provider).await;
    }
    assert_eq!(provider.count("/keys"), 2);
    world.clock.advance(Duration::from_secs(30));
    for _ in 0..5 {
        world.refused(&provider).await;
    }
    assert_eq!(provider.count("/keys"), 3);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be_and_left_alone() {
    let (world, provider) = world(Registration::Open).await;
    const DISCOVERY: &str = "/.well-known/openid-configuration";
    provider.fail(DISCOVERY, "HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n");
    for _ in 0..3 {
        let refused = world.refused(&provider).await;
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(
            refused.message.starts_with("Example does not answer"),
            "{refused}"
        );
    }
    assert_eq!(provider.count(DISCOVERY), 1);
    provider.heal(DISCOVERY);
    world.clock.advance(Duration::from_secs(5));
    world.try_sign_on(&provider).await.unwrap();
    for path in ["/token", "/keys"] {
        world.clock.advance(Duration::from_secs(3601));
        provider.fail(path, "");
        assert_eq!(
            world.refused(&provider).await.kind,
            Kind::Unavailable,
            "{path}"
        );
        provider.heal(path);
    }
    provider.fail("/token", "HTTP/1.1 200 OK\r\n\r\n{\"id_token\":\"");
    assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
    let refusal =
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\n\r\n{\"error\":\"invalid_grant\"}";
    provider.fail("/token", refusal);
    assert_eq!(world.refused(&provider).await.kind, Kind::Forbidden);
    provider.heal("/token");
    // Its keys could not be had a moment ago; it is left alone for a while, however many come.
    let asked = provider.count("/keys");
    for _ in 0..3 {
        assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
    }
    assert_eq!(provider.count("/keys"), asked);
    world.clock.advance(Duration::from_secs(5));
    world.try_sign_on(&provider).await.unwrap();
}

/// What a provider says about itself is believed within bounds.
#[tokio::test]
async fn a_description_leads_nowhere_else() {
    let (world, provider) = world(Registration::Open).await;
    let inner = Provider::start().await;
    let other = |path: &str| json!(format!("{}{path}", inner.issuer()));
    for (member, value) in [
        ("issuer", json!("https://id.example.org")),
        ("issuer", json!(format!("{}/", provider.issuer()))),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("/authorize")),
        ("token_endpoint", json!("file:///etc/passwd")),
        ("token_endpoint", other("/token")),
        ("jwks_uri", other("/keys")),
        ("token_endpoint", json!("http://169.254.169.254/token")),
    ] {
        provider.describe(member, value.clone());
        let refused = world.refused(&provider).await;
        assert_eq!(refused.kind, Kind::Unavailable, "{member} {value}");
        provider.describe(member, Value::Null);
        world.clock.advance(Duration::from_secs(3601));
    }
    // The userinfo page is asked only when the token does not say the address.
    provider.describe("userinfo_endpoint", other("/me"));
    provider.hide_email();
    world.refused(&provider).await;
    assert_eq!(inner.requests(), 0, "nobody else was asked");

    provider.describe("userinfo_endpoint", Value::Null);
    const DISCOVERY: &str = "/.well-known/openid-configuration";
    for answer in [
        format!(
            "HTTP/1.1 302 Found\r\nLocation: {}{DISCOVERY}\r\nContent-Length: 0\r\n\r\n",
            inner.issuer()
        ),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}",
            " ".repeat(300_000)
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_owned(),
    ] {
        world.clock.advance(Duration::from_secs(3601));
        provider.fail(DISCOVERY, &answer);
        assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
    }
    assert_eq!(inner.requests(), 0);
}

#[tokio::test]
async fn an_address_may_stand_on_the_providers_page_about_the_person() {
    let (world, provider) = world(Registration::Open).await;
    provider.hide_email();
    let anna = world.try_sign_on(&provider).await.unwrap();
    assert_eq!(world.person(anna).await.email, "anna@example.org");
    provider.claim("sub", json!("bob"));
    provider.page_about("anna");
    assert_eq!(world.refused(&provider).await.kind, Kind::Unavailable);
}

#[tokio::test]
async fn who_declines_at_the_provider_is_told_so() {
    let (world, _provider) = world(Registration::Open).await;
    for (error, kind) in [
        (Some("access_denied"), Kind::Forbidden),
        (Some("server_error"), Kind::Unavailable),
        (Some("<script>alert(1)</script>"), Kind::Forbidden),
        (None, Kind::Forbidden),
    ] {
        let departure = world.depart(Purpose::SignIn { next: None }).await;
        let returned = Returned {
            state: Some(Secret::new(
                provider::query(&departure.url)["state"].as_str(),
            )),
            error: error.map(str::to_owned),
            ..Returned::default()
        };
        let refused = world
            .come_back(&departure.flow, returned)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, kind);
        assert!(!refused.message.contains("script"), "{refused}");
    }
    let nowhere = world
        .platform
        .depart("nobody", BASE, Purpose::SignIn { next: None });
    assert_eq!(nowhere.await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn a_person_links_and_unlinks_what_is_theirs() {
    let (world, provider) = world(Registration::Open).await;
    let neighbour = world.add_neighbour().await.person;
    let voucher = world.voucher(world.person, &provider).await;
    let link = |person, voucher: &Secret| {
        let (world, voucher) = (&world, voucher.clone());
        async move {
            world
                .platform
                .link_identity(person, &voucher, visit())
                .await
        }
    };
    let offered = world
        .platform
        .offered_identity(world.person, &voucher)
        .unwrap();
    assert_eq!(
        (offered.provider.as_str(), offered.label.as_str()),
        ("Example", "anna@example.org")
    );
    // In another person's hands it is worth nothing.
    assert_eq!(
        link(neighbour, &voucher).await.unwrap_err().kind,
        Kind::BadRequest
    );
    link(world.person, &voucher).await.unwrap();
    link(world.person, &voucher).await.unwrap();
    assert_eq!(world.identities(world.person).await, 1);
    assert_eq!(world.try_sign_on(&provider).await.unwrap(), world.person);
    // What is linked to one is not linked to another.
    let theirs = world.voucher(neighbour, &provider).await;
    assert_eq!(
        link(neighbour, &theirs).await.unwrap_err().kind,
        Kind::Conflict
    );

    // The last way in stays.
    let [linked] = &world.platform.list_identities(world.person).await.unwrap()[..] else {
        panic!("not one identity")
    };
    let (id, platform) = (linked.record.id, &world.platform);
    let unlinked = platform.unlink_identity(neighbour, id, visit()).await;
    assert_eq!(unlinked.unwrap_err().kind, Kind::NotFound);
    let unlinked = platform.unlink_identity(world.person, id, visit()).await;
    assert_eq!(unlinked.unwrap_err().kind, Kind::Conflict);
    platform
        .set_password(world.person, &Secret::new("a long enough password"))
        .await
        .unwrap();
    platform
        .unlink_identity(world.person, id, visit())
        .await
        .unwrap();
    assert_ne!(world.try_sign_on(&provider).await.unwrap(), world.person);

    // A voucher does not wait for ever.
    provider.claim("sub", json!("later"));
    let late = world.voucher(world.person, &provider).await;
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(
        link(world.person, &late).await.unwrap_err().kind,
        Kind::BadRequest
    );
}

#[tokio::test]
async fn identities_of_a_person_are_bounded() {
    let (world, provider) = world(Registration::Open).await;
    for number in 0..11 {
        provider.claim("sub", json!(format!("s{number}")));
        let voucher = world.voucher(world.person, &provider).await;
        let linked = world
            .platform
            .link_identity(world.person, &voucher, visit());
        match number {
            10 => assert_eq!(linked.await.unwrap_err().kind, Kind::OverLimit),
            _ => linked.await.unwrap(),
        }
    }
}
