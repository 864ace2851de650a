//! The shapes of requests and replies (`mar.md` §2).

use pilvi_base::Secret;
use pilvi_model::app::{ProcessTypes, SlugTag, StackName};
use pilvi_model::{Error, Result};
use pilvi_store::platform::{App, Certificate, Release, Slug};
use serde_json::{Map, Value, json};

use crate::apps::AppState;
use crate::certificates::{self, Upload};
use crate::settings::Settings;
use crate::{Executed, ProcessStatus};

/// What is known of an app when it is shown.
pub(crate) struct Shown<'a> {
    pub app: &'a App,
    pub state: AppState,
    pub structure: Map<String, Value>,
    pub certificate: Option<Certificate>,
    pub settings: &'a Settings,
}

/// The app object. From `httpsUrl` on it has what the hosted platform's did not.
pub(crate) fn app(shown: Shown<'_>) -> Value {
    let Shown {
        app,
        state,
        structure,
        certificate,
        settings,
    } = shown;
    let addresses = &settings.addresses;
    json!({
        "id": app.id.as_str(),
        "name": app.name,
        "type": "app",
        "size": app.size.units(),
        "state": state.as_str(),
        "stack": app.stack.as_str(),
        "structure": structure,
        "sslCertificate": certificate.as_ref().map(|certificate| ssl_certificate(app, certificate)),
        "url": addresses.url(&app.id),
        "gitUrl": addresses.git_url(&app.id),
        "httpsUrl": addresses.https_url(&app.id),
        "gitSshUrl": addresses.git_ssh_url(&app.id),
        "gitHttpsUrl": addresses.git_https_url(&app.id),
        "release": app.release,
        "layersMissing": settings.layers_missing,
        "createdAt": app.created_at.to_string(),
    })
}

pub(crate) fn ssl_certificate(app: &App, certificate: &Certificate) -> Value {
    json!({
        "name": app.id.as_str(),
        "expiresAt": certificate.expires_at.to_string(),
        "names": certificates::names_of(certificate),
    })
}

pub(crate) fn status(state: AppState, processes: &[ProcessStatus]) -> Value {
    let processes: Vec<Value> = processes.iter().map(process).collect();
    json!({"state": state.as_str(), "processes": processes})
}

fn process(process: &ProcessStatus) -> Value {
    json!({
        "id": process.name.to_string(),
        "type": process.name.process_type.as_str(),
        "number": process.name.number,
        "state": process.state.as_str(),
        "startedAt": process.started_at.map(|at| at.to_string()),
        "exitCode": process.exit_code,
        "memory": process.memory_bytes,
        "release": process.release,
    })
}

/// Both streams are texts, also when there is nothing in them.
pub(crate) fn executed(executed: &Executed) -> Value {
    json!({
        "stderr": executed.stderr,
        "stdout": executed.stdout,
        "exitCode": executed.exit_code,
    })
}

pub(crate) fn slug(slug: &Slug) -> Value {
    json!({
        "tag": slug.tag.as_str(),
        "createdAt": slug.created_at.to_string(),
        "deployedAt": slug.deployed_at.map(|at| at.to_string()),
        "size": slug.bytes,
        "stack": slug.stack.as_str(),
        "process_types": slug.process_types.to_json(),
    })
}

pub(crate) fn release(release: &Release) -> Value {
    json!({
        "number": release.number,
        "state": release.state.as_str(),
        "tag": release.tag.as_str(),
        "reason": release.reason,
        "author": release.author,
        "stack": release.stack.as_str(),
        "process_types": release.process_types.to_json(),
        "createdAt": release.created_at.to_string(),
    })
}

/// A deploy that is done, or that goes on by itself.
pub(crate) fn deployed(done: Option<&Release>) -> Value {
    match done {
        Some(done) => json!({"state": "running", "release": done.number}),
        None => json!({"state": "deploying", "release": null}),
    }
}

pub(crate) fn results(results: impl IntoIterator<Item = Value>) -> Value {
    json!({"results": results.into_iter().collect::<Vec<_>>()})
}

/// The body as an object; a null is an empty one.
pub(crate) fn object(body: Value) -> Result<Map<String, Value>> {
    match body {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::bad_request("the body must be a JSON object")),
    }
}

/// Reads `{"stack"}`.
pub(crate) fn stack(body: Value) -> Result<StackName> {
    required_text(&object(body)?, "stack")?.parse()
}

/// Reads `{"name"}` of a domain.
pub(crate) fn domain(body: Value) -> Result<String> {
    required_text(&object(body)?, "name").map(str::to_owned)
}

/// Reads `{"cmd","processId"}`.
pub(crate) fn command(body: Value) -> Result<(String, String)> {
    let members = object(body)?;
    let command = required_text(&members, "cmd")?;
    let process = required_text(&members, "processId")?;
    Ok((command.to_owned(), process.to_owned()))
}

/// Reads `{"tag","process_types"}`.
pub(crate) fn new_slug(body: Value) -> Result<(SlugTag, ProcessTypes)> {
    let members = object(body)?;
    let tag = required_text(&members, "tag")?.parse()?;
    let types = match members.get("process_types") {
        None | Some(Value::Null) => ProcessTypes::default(),
        Some(Value::Object(types)) => ProcessTypes::from_json(types)?,
        Some(_) => return Err(Error::invalid("process_types", "must be an object")),
    };
    Ok((tag, types))
}

/// Reads `{"name","privateKey","certificateBody","certificateChain"}`. The name is the app's own in every request of
/// the classic command line, and says nothing.
pub(crate) fn certificate(body: Value) -> Result<Upload> {
    let members = object(body)?;
    let chain = match members.get("certificateChain") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(_) => Some(required_text(&members, "certificateChain")?.to_owned()),
    };
    Ok(Upload {
        certificate_body: required_text(&members, "certificateBody")?.to_owned(),
        private_key: Secret::new(required_text(&members, "privateKey")?),
        certificate_chain: chain,
    })
}

fn required_text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str> {
    match members.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(Error::invalid(name, "is required")),
        Some(_) => Err(Error::invalid(name, "must be a string")),
    }
}
