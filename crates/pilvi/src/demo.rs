//! `pilvi demo`: the main job in one command, on a throw-away data folder.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request};
use pilvi_base::Secret;
use pilvi_model::{AccountId, PersonId};
use pilvi_platform::{Caller, FirstStart, InstanceDraft, Platform};
use serde_json::{Value, json};

use crate::arguments::{ServeOptions, SignUps};
use crate::listeners::Listeners;
use crate::own_door::OwnDoor;
use crate::page;
use crate::running::{Running, ways_in};
use crate::serve::Cloud;

pub(crate) async fn run(options: &ServeOptions, data: Option<&Path>) -> anyhow::Result<()> {
    let mut options = options.clone();
    // Whoever tries it out may try that, too.
    options.people.registration.get_or_insert(SignUps::Open);
    let options = &options;
    let listeners = Listeners::bind(options)?;
    let temporary = tempfile::Builder::new()
        .prefix("pilvi-demo-")
        .tempdir()
        .context("could not make a data folder")?;
    let cloud = Cloud::build(
        data.unwrap_or(temporary.path()),
        options,
        &listeners.addresses,
    )
    .await?;
    let Some(first) = cloud.first_start.clone() else {
        bail!(
            "the data folder holds a server already; start that with `pilvi serve`, or leave --data out"
        )
    };
    let sample = Sample::make(&cloud.platform, first, &options.apps.apps_domain).await?;
    let page = page::site(&sample.eds.id, &sample.mws.id);
    let running = cloud.open(listeners, Some(page)).await?;
    sample.connect(&running).await?;
    match options.json {
        true => println!("{}", sample.announcement(&running)),
        false => print!("{}", sample.welcome(&running)),
    }
    running.until_stopped().await
}

/// What the demo sets up.
struct Sample {
    first: FirstStart,
    apps_domain: String,
    eds: SampleInstance,
    mws: SampleInstance,
    app: SampleInstance,
}

struct SampleInstance {
    id: String,
    token: Secret,
}

impl Sample {
    async fn make(
        platform: &Platform,
        first: FirstStart,
        apps_domain: &str,
    ) -> anyhow::Result<Self> {
        let make = |provider, name| {
            SampleInstance::make(platform, first.person, first.account, provider, name)
        };
        let eds = make("eds", "Todos").await?;
        let mws = make("mws", "Todo messages").await?;
        let app = make("mar", "Hello").await?;
        Ok(Self {
            first,
            apps_domain: apps_domain.to_owned(),
            eds,
            mws,
            app,
        })
    }

    /// Makes the webhook that tells the gateway of every change, through the same call that anybody would use.
    async fn connect(&self, running: &Running) -> anyhow::Result<()> {
        let origin = format!("http://{}", running.addresses.http);
        let webhook = json!({
            "url": format!("{origin}/v1/gateways/{}/webhook_receivers/enginio", self.mws.id),
            "objectTypes": ["objects.todos"],
            "headers": {"Authorization": format!("Bearer {}", self.mws.token.expose())},
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{origin}/v1/webhooks"))
            .header("enginio-backend-id", &self.eds.id)
            .header(
                "authorization",
                format!("Bearer {}", self.eds.token.expose()),
            )
            .body(Bytes::from(webhook.to_string()))?;
        let answer = OwnDoor::answer(Arc::clone(&running.door), request).await;
        if !answer.status().is_success() {
            bail!(
                "the webhook could not be made: {}",
                String::from_utf8_lossy(answer.body())
            );
        }
        Ok(())
    }

    fn announcement(&self, running: &Running) -> Value {
        let mut line = running.announcement();
        line["eds"] = json!({"backendId": self.eds.id, "token": self.eds.token.expose()});
        line["mws"] = json!({"gatewayId": self.mws.id, "token": self.mws.token.expose()});
        line["app"] = json!({
            "id": self.app.id,
            "token": self.app.token.expose(),
            "host": self.host(),
            "git": self.remote(&format!("http://{}", running.addresses.http)),
        });
        line["page"] = json!(format!("http://{}/todo/", running.addresses.http));
        line
    }

    /// Where the app answers once something was pushed.
    fn host(&self) -> String {
        format!("{}.{}", self.app.id, self.apps_domain)
    }

    /// Where to push the app, with the token that opens it.
    fn remote(&self, http: &str) -> String {
        let authority = http.trim_start_matches("http://");
        format!(
            "http://x:{}@{authority}/git/{}",
            self.app.token.expose(),
            self.app.id
        )
    }

    fn welcome(&self, running: &Running) -> String {
        let http = format!("http://{}", running.addresses.http);
        let (backend, gateway) = (&self.eds.id, &self.mws.id);
        let mut text = format!(
            "Pilvi runs, with nothing installed and nothing configured.\n\
             \n\
             Open this page in two windows:\n\
             \n    {http}/todo/\n\
             \n\
             addresses    {http}  https://{}\n\
             account      {}\n\
             token        {}\n\
             EDS backend  {backend}  security token {}\n\
             MWS gateway  {gateway}  security token {}\n\
             MAR app      {}  nothing pushed yet\n\
             \n\
             {}\
             \n\
             Or take the steps by hand.\n",
            running.addresses.https,
            self.first.account,
            self.first.token.expose(),
            self.eds.token.expose(),
            self.mws.token.expose(),
            self.app.id,
            ways_in(running.addresses.http),
        );
        for (what, line) in self.steps(&http) {
            let _ = write!(text, "\n{what}\n    {line}\n");
        }
        text.push_str("\nCtrl-C stops it and deletes its data.\n");
        text
    }

    /// The main job by hand, one line to paste for each step.
    fn steps(&self, http: &str) -> [(&'static str, String); 8] {
        let backend = format!("-H 'Enginio-Backend-Id: {}'", self.eds.id);
        let gateway = format!("{http}/v1/gateways/{}", self.mws.id);
        let account = format!("{http}/v1/accounts/{}", self.first.account);
        let bearer = |token: &Secret| format!("-H 'Authorization: Bearer {}'", token.expose());
        let todo = json!({"title": "Bring milk", "completed": false});
        let hello = json!({"data": "Hello", "receivers": {"sockets": ["*"], "tags": null}});
        let mine = json!({"name": "Mine", "serviceProviderId": "eds"});
        [
            (
                "Write an object; every open page shows it:",
                format!("curl -s {http}/v1/objects/todos {backend} -d '{todo}'"),
            ),
            (
                "Ask for those that are open:",
                format!(
                    "curl -s -G {http}/v1/objects/todos {backend} --data-urlencode 'q={}'",
                    json!({"completed": false})
                ),
            ),
            (
                "Fetch the address for one WebSocket connection (it serves once):",
                format!("curl -s {gateway}/websocket_uri"),
            ),
            (
                "Send something to every connected socket:",
                format!("curl -s {gateway}/messages -d '{hello}'"),
            ),
            (
                "See the webhook that connects the two:",
                format!(
                    "curl -s {http}/v1/webhooks {backend} {}",
                    bearer(&self.eds.token)
                ),
            ),
            (
                "Push an app, and read how it is built and started:",
                format!(
                    "mkdir hello && cd hello && git init -q -b master && echo '<h1>Hello</h1>' >index.html \
                     && git add . && git -c user.name=Me -c user.email=me@localhost commit -qm Hello \
                     && git push {} master",
                    self.remote(http)
                ),
            ),
            (
                "See it answer, as a browser does that opens its address:",
                format!("curl -s {http}/ -H 'Host: {}'", self.host()),
            ),
            (
                "Make a backend of your own:",
                format!(
                    "curl -s {account}/instances {} -d '{mine}'",
                    bearer(&self.first.token)
                ),
            ),
        ]
    }
}

impl SampleInstance {
    async fn make(
        platform: &Platform,
        person: PersonId,
        account: AccountId,
        provider: &str,
        name: &str,
    ) -> anyhow::Result<Self> {
        let caller = Caller::Person(person);
        let draft = InstanceDraft {
            name: name.to_owned(),
            provider: provider.to_owned(),
            ..InstanceDraft::default()
        };
        let instance = platform.create_instance(&caller, account, draft).await?;
        let tokens = platform.list_instance_tokens(&caller, &instance.id).await?;
        let token = tokens
            .into_iter()
            .next()
            .context("a new instance has no token")?;
        Ok(Self {
            id: instance.id,
            token: token.secret,
        })
    }
}
