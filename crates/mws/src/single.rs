//! The one gateway of a process that is nothing else (`mws.md` §10): no accounts, no database, a token from outside.

use std::sync::Arc;

use pilvi_base::Secret;
use pilvi_core::signing::Signing;
use pilvi_model::{AccountId, Error, FieldError, GatewayId, Instance, Provider, Result, Timestamp};
use serde_json::{Map, Value};

use crate::settings::Change;

/// A gateway as whoever starts it describes it.
#[derive(Clone, Debug)]
pub struct SingleGateway {
    instance: Arc<Instance>,
    security_token: Option<Secret>,
    public_base: Option<String>,
    signing: Signing,
}

impl SingleGateway {
    /// A gateway that is set up as `PUT /configuration` would set one up. It is open to everybody where the
    /// configuration does not say otherwise.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Invalid`] with every key that is unknown or has a value that it cannot have.
    pub fn new(configuration: Map<String, Value>, started_at: Timestamp) -> Result<Self> {
        let names: Vec<String> = configuration.keys().cloned().collect();
        let change = Change::read(configuration)?;
        let known = change.keys();
        let unknown = names.into_iter().filter(|name| !known.contains(name));
        let faults: Vec<FieldError> = unknown.map(unknown_key).collect();
        if !faults.is_empty() {
            return Err(Error::invalid_fields(faults));
        }
        let config = change.apply(&Map::new())?;
        let instance = Instance {
            id: GatewayId::from_bytes([0; 12]).to_string(),
            provider: Provider::Mws,
            account: AccountId::random(),
            name: change.name.unwrap_or_else(|| "MWS".to_owned()),
            tags: Vec::new(),
            config,
            datacenter: String::new(),
            created_at: started_at,
        };
        Ok(Self {
            instance: Arc::new(instance),
            security_token: None,
            public_base: None,
            signing: Signing::default(),
        })
    }

    /// The token that opens everything. Until this is called nobody administers the gateway; an empty one opens
    /// nothing either.
    #[must_use]
    pub fn with_security_token(mut self, token: Secret) -> Self {
        self.security_token = (!token.expose().is_empty()).then_some(token);
        self
    }

    /// Where sockets connect to, such as `wss://mws.example.org`. Until this is called it is where the caller
    /// connected to.
    #[must_use]
    pub fn with_public_base(mut self, base: impl Into<String>) -> Self {
        self.public_base = Some(base.into());
        self
    }

    /// Events are signed with this. Until it is called they are not.
    #[must_use]
    pub fn with_signing(mut self, signing: Signing) -> Self {
        self.signing = signing;
        self
    }

    pub(crate) fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.instance)
    }

    pub(crate) fn public_base(&self) -> Option<&str> {
        self.public_base.as_deref()
    }

    pub(crate) fn signing(&self) -> &Signing {
        &self.signing
    }

    pub(crate) fn is_opened_by(&self, token: &Secret) -> bool {
        self.security_token.as_ref() == Some(token)
    }
}

fn unknown_key(property: String) -> FieldError {
    FieldError {
        property,
        message: "is not a key of a gateway's configuration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn single(configuration: Value) -> Result<SingleGateway> {
        let Value::Object(configuration) = configuration else {
            panic!("{configuration} is no object")
        };
        SingleGateway::new(configuration, Timestamp::from_millis(0))
    }

    #[test]
    fn no_token_and_an_empty_one_open_nothing() {
        let gateway = single(json!({})).unwrap();
        let empty = Secret::new("");
        assert!(!gateway.is_opened_by(&empty));
        let gateway = gateway.with_security_token(empty.clone());
        assert!(!gateway.is_opened_by(&empty));
        let gateway = gateway.with_security_token(Secret::new("secret"));
        assert!(!gateway.is_opened_by(&empty));
        assert!(!gateway.is_opened_by(&Secret::new("secre")));
        assert!(gateway.is_opened_by(&Secret::new("secret")));
        assert!(!format!("{gateway:?}").contains("\"secret\""));
    }

    #[test]
    fn a_configuration_has_only_keys_of_a_gateway() {
        assert!(single(json!({"name": "n", "accessControl": "custom"})).is_ok());
        let error = single(json!({"accesscontrol": "custom", "name": "n"})).unwrap_err();
        assert_eq!(error.fields.len(), 1);
        assert_eq!(error.fields[0].property, "accesscontrol");
        let error = single(json!({"accessControl": "eds"})).unwrap_err();
        assert_eq!(error.fields[0].property, "identityProvider");
    }
}
