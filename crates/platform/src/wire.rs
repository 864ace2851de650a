//! The JSON of requests and replies (`platform.md` §5, §6.1).

use pilvi_base::Secret;
use pilvi_model::{Error, Result, Timestamp};
use pilvi_store::platform as store;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::drafts::Faults;
use crate::settings::Datacenter;
use crate::{AccountDraft, InstanceDraft, IssuedToken, SshKeyDraft, TokenDraft};

/// Lists are objects with an array `results`.
#[derive(Serialize)]
pub(crate) struct List<T> {
    results: Vec<T>,
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self {
            results: items.into_iter().collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Person {
    id: String,
    email: String,
    name: String,
    #[serde(rename = "emailVerified")]
    verified: bool,
    operator: bool,
}

impl From<store::Person> for Person {
    fn from(person: store::Person) -> Self {
        Self {
            id: person.id.to_string(),
            email: person.email,
            name: person.name,
            verified: person.verified,
            operator: person.operator,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account<'a> {
    id: String,
    name: String,
    datacenter: AccountDatacenter<'a>,
    vpc: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

#[derive(Serialize)]
struct AccountDatacenter<'a> {
    id: String,
    description: &'a str,
}

impl<'a> Account<'a> {
    /// `datacenter` is the account's, unless the server does not have it any more.
    pub(crate) fn new(
        account: store::Account,
        datacenter: Option<&'a Datacenter>,
        role: Option<store::Role>,
    ) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name,
            datacenter: AccountDatacenter {
                id: account.datacenter,
                description: datacenter.map_or("", |known| &known.description),
            },
            vpc: account.vpc,
            created_at: account.created_at.to_string(),
            role: role.map(store::Role::as_str),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Instance<'a> {
    id: &'a str,
    name: &'a str,
    tags: &'a [String],
    service_provider_id: &'static str,
    service_provider: ServiceProvider,
    datacenter_id: &'a str,
    account_id: String,
    config: Map<String, Value>,
    created_at: String,
}

#[derive(Serialize)]
struct ServiceProvider {
    id: &'static str,
    title: &'static str,
}

impl<'a> Instance<'a> {
    pub(crate) fn new(instance: &'a pilvi_model::Instance, config: Map<String, Value>) -> Self {
        let provider = instance.provider;
        Self {
            id: &instance.id,
            name: &instance.name,
            tags: &instance.tags,
            service_provider_id: provider.as_str(),
            service_provider: ServiceProvider {
                id: provider.as_str(),
                title: provider.title(),
            },
            datacenter_id: &instance.datacenter,
            account_id: instance.account.to_string(),
            config,
            created_at: instance.created_at.to_string(),
        }
    }
}

/// An instance that can be restored, and until when.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedInstance<'a> {
    #[serde(flatten)]
    instance: Instance<'a>,
    deleted_at: String,
    removed_at: String,
}

impl<'a> DeletedInstance<'a> {
    pub(crate) fn new(
        instance: Instance<'a>,
        deleted_at: Timestamp,
        removed_at: Timestamp,
    ) -> Self {
        Self {
            instance,
            deleted_at: text(deleted_at),
            removed_at: text(removed_at),
        }
    }
}

/// A token: with its value in the classic snake case, where the caller may see it, and without it elsewhere.
#[derive(Serialize)]
pub(crate) struct Authorization {
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "expiresAt", skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(rename = "lastUsedAt", skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
}

impl Authorization {
    pub(crate) fn hidden(token: store::Token) -> Self {
        Self::new(token, None)
    }

    pub(crate) fn shown(token: IssuedToken) -> Self {
        Self::new(token.record, Some(&token.secret))
    }

    fn new(token: store::Token, secret: Option<&Secret>) -> Self {
        Self {
            id: token.id,
            access_token: secret.map(|secret| secret.expose().to_owned()),
            name: token.name,
            created_at: text(token.created_at),
            expires_at: token.expires_at.map(text),
            used_at: token.used_at.map(text),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SshKey {
    id: i64,
    name: String,
    fingerprint: String,
    created_at: String,
}

impl From<store::SshKey> for SshKey {
    fn from(key: store::SshKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            fingerprint: key.fingerprint,
            created_at: text(key.created_at),
        }
    }
}

pub(crate) fn text(moment: Timestamp) -> String {
    moment.to_string()
}

#[derive(Serialize)]
pub(crate) struct DatacenterWithServices<'a> {
    pub(crate) id: &'a str,
    pub(crate) description: &'a str,
    pub(crate) services: &'a [ServiceAddress],
}

/// Where a service is found. The address has neither `/v1` nor a slash at its end.
#[derive(Serialize)]
pub(crate) struct ServiceAddress {
    pub(crate) id: &'static str,
    pub(crate) url: String,
}

/// Reads `{"name","datacenter","vpc"}`.
pub(crate) fn account_draft(body: Value) -> Result<AccountDraft> {
    let mut fields = Fields::of(body)?;
    let draft = AccountDraft {
        name: fields.text("name").unwrap_or_default(),
        datacenter: fields.text("datacenter"),
        vpc: fields.flag("vpc").unwrap_or_default(),
    };
    fields.faults.finish()?;
    Ok(draft)
}

/// Reads `{"name"}`.
pub(crate) fn account_name(body: Value) -> Result<String> {
    let mut fields = Fields::of(body)?;
    let name = fields.text("name").unwrap_or_default();
    fields.faults.finish()?;
    Ok(name)
}

/// Reads `{"name","serviceProviderId","datacenterId","tags","config","id"}`.
pub(crate) fn instance_draft(body: Value) -> Result<InstanceDraft> {
    let mut fields = Fields::of(body)?;
    let draft = InstanceDraft {
        name: fields.text("name").unwrap_or_default(),
        provider: fields.text("serviceProviderId").unwrap_or_default(),
        datacenter: fields.text("datacenterId"),
        tags: fields.texts("tags").unwrap_or_default(),
        config: fields.object("config").unwrap_or_default(),
        id: fields.text("id"),
    };
    fields.faults.finish()?;
    Ok(draft)
}

/// Reads `{"name","tags"}`, both optional.
pub(crate) fn instance_change(body: Value) -> Result<(Option<String>, Option<Vec<String>>)> {
    let mut fields = Fields::of(body)?;
    let change = (fields.text("name"), fields.texts("tags"));
    fields.faults.finish()?;
    Ok(change)
}

/// Reads `{"name","key"}`.
pub(crate) fn ssh_key_draft(body: Value) -> Result<SshKeyDraft> {
    let mut fields = Fields::of(body)?;
    let draft = SshKeyDraft {
        name: fields.text("name").unwrap_or_default(),
        key: fields.text("key").unwrap_or_default(),
    };
    fields.faults.finish()?;
    Ok(draft)
}

/// Reads `{"name","expiresAt"}`, both optional.
pub(crate) fn token_draft(body: Value) -> Result<TokenDraft> {
    let mut fields = Fields::of(body)?;
    let draft = TokenDraft {
        name: fields.text("name"),
        expires_at: fields.moment("expiresAt"),
    };
    fields.faults.finish()?;
    Ok(draft)
}

/// The members of a JSON object, taken one by one. A null counts as missing, because the command line sends one for
/// an option that was not given. Members that nobody takes are ignored.
pub(crate) struct Fields {
    members: Map<String, Value>,
    pub(crate) faults: Faults,
}

impl Fields {
    pub(crate) fn of(body: Value) -> Result<Self> {
        let members = match body {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            _ => return Err(Error::bad_request("the body must be a JSON object")),
        };
        Ok(Self {
            members,
            faults: Faults::default(),
        })
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.refuse(name, "must be a string"),
        }
    }

    pub(crate) fn moment(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        // With or without milliseconds, as our own replies write it.
        let whole = match text.strip_suffix('Z') {
            Some(seconds) if !seconds.contains('.') => format!("{seconds}.000Z"),
            _ => text,
        };
        let moment = Timestamp::from_millis_text(&whole);
        moment.or_else(|| self.refuse(name, "must be a time such as 2027-01-31T12:00:00Z"))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.refuse(name, "must be true or false"),
        }
    }

    fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(object) => Some(object),
            _ => self.refuse(name, "must be an object"),
        }
    }

    fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let texts = match self.take(name)? {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.or_else(|| self.refuse(name, "must be an array of strings"))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn refuse<T>(&mut self, name: &str, message: &str) -> Option<T> {
        self.faults.add(name, message);
        None
    }
}
