//! Config vars (`mar.md` §2.3), and the environment that a release gives its processes.

use std::collections::BTreeMap;

use pilvi_base::Keyring;
use pilvi_model::app::{STACK_VAR, StackName, VarName, VarValue};
use pilvi_model::{AppId, Error, FieldError, Result};
use pilvi_store::Store;
use pilvi_store::platform::{Release, SealedVar, VarBounds};
use serde_json::{Map, Value};

use crate::Mar;
use crate::caller::Caller;

/// Names and values in the clear.
pub(crate) type Vars = BTreeMap<String, String>;

impl Mar {
    /// The config vars as their owner sees them: with the stack.
    pub(crate) async fn show_vars(&self, app: &AppId) -> Result<Map<String, Value>> {
        let parts = self.parts();
        let stack = self.app(app).await?.stack;
        let vars = config_vars(&parts.store, &parts.keyring, app).await?;
        let mut shown: Map<String, Value> = vars
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        shown.insert(STACK_VAR.to_owned(), stack.as_str().into());
        Ok(shown)
    }

    /// Sets what has a value and removes what is null. The processes get the new vars one after the other, in the
    /// background.
    pub(crate) async fn change_vars(
        &self,
        caller: &Caller,
        asked: Map<String, Value>,
    ) -> Result<()> {
        let change = Change::read(asked)?;
        if let Some(stack) = &change.stack {
            self.check_stack(stack)?;
        }
        let (parts, app) = (self.parts(), &caller.app);
        let set = change.set.iter().map(|(name, value)| SealedVar {
            name: name.clone(),
            value: parts
                .keyring
                .seal(&one_context(app, name), value.expose().as_bytes()),
        });
        let bounds = VarBounds {
            count_max: parts.settings.limits.vars,
            bytes_max: parts.settings.limits.vars_bytes,
        };
        let (set, unset): (Vec<_>, _) = (set.collect(), change.unset);
        let act = caller
            .act("app.vars.change")
            .with("set", names(change.set.iter().map(|(name, _)| name)))
            .with("removed", names(unset.iter()));
        parts.store.change_app_vars(app, set, unset, bounds).await?;
        if let Some(stack) = &change.stack {
            parts.store.set_app_stack(app, stack).await?;
        }
        self.note(act).await;
        self.release_vars(app, caller.author(self).await?);
        Ok(())
    }
}

fn names<'a>(names: impl Iterator<Item = &'a VarName>) -> Vec<String> {
    names.map(ToString::to_string).collect()
}

/// What a request asks for.
#[derive(Debug, Default)]
struct Change {
    set: Vec<(VarName, VarValue)>,
    unset: Vec<VarName>,
    stack: Option<StackName>,
}

impl Change {
    /// All that is wrong is told at once.
    fn read(asked: Map<String, Value>) -> Result<Self> {
        let mut change = Self::default();
        let mut faults: Vec<FieldError> = Vec::new();
        for (name, value) in asked {
            if let Err(error) = change.add(&name, value) {
                faults.extend(error.fields);
            }
        }
        match faults.is_empty() {
            true => Ok(change),
            false => Err(Error::invalid_fields(faults)),
        }
    }

    fn add(&mut self, name: &str, value: Value) -> Result<()> {
        let name: VarName = name.parse()?;
        let text = match value {
            // Nobody can have set a reserved one, so there is nothing to remove.
            Value::Null if name.is_reserved() => return Ok(()),
            Value::Null => {
                self.unset.push(name);
                return Ok(());
            }
            Value::String(text) => text,
            // Clients of Node.js pass on what they are given.
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid(
                    name.as_str(),
                    "must be a text, a number, true, false, or null to remove it",
                ));
            }
        };
        if name.as_str() == STACK_VAR {
            self.stack = Some(text.parse()?);
        } else if name.is_reserved() {
            return Err(Error::invalid(
                name.as_str(),
                "is set by the platform for every process and cannot be changed",
            ));
        } else {
            let value = VarValue::new(&name, text)?;
            self.set.push((name, value));
        }
        Ok(())
    }
}

/// The config vars of an app, in the clear.
pub(crate) async fn config_vars(store: &Store, keyring: &Keyring, app: &AppId) -> Result<Vars> {
    let mut vars = Vars::new();
    for var in store.list_app_vars(app).await? {
        let plain = keyring
            .open_sealed(&one_context(app, &var.name), &var.value)
            .map_err(Error::internal)?;
        let value = String::from_utf8(plain).map_err(Error::internal)?;
        vars.insert(var.name.to_string(), value);
    }
    Ok(vars)
}

/// The variables of a release's processes, except those that differ between processes or are for the sandbox to say
/// (`PORT`, `HOME`): what the build proposes, over it the config vars, over those what the platform sets.
pub(crate) async fn environment(
    store: &Store,
    keyring: &Keyring,
    release: &Release,
) -> Result<Vars> {
    let mut vars = match release.slug {
        Some(slug) => store.find_slug(slug).await?.map(|slug| slug.default_vars),
        None => None,
    }
    .unwrap_or_default();
    // What a buildpack proposes was written by whoever wrote the buildpack.
    vars.retain(|name, _| name.parse::<VarName>().is_ok());
    vars.extend(open(keyring, &release.app, &release.vars)?);
    vars.entry(STACK_VAR.to_owned())
        .or_insert_with(|| release.stack.to_string());
    vars.insert("MAR_APP_ID".to_owned(), release.app.to_string());
    Ok(vars)
}

/// Seals the vars of a release.
pub(crate) fn seal(keyring: &Keyring, app: &AppId, vars: &Vars) -> Result<Vec<u8>> {
    let plain = serde_json::to_vec(vars).map_err(Error::internal)?;
    Ok(keyring.seal(&all_context(app), &plain))
}

/// Opens what [`seal`] made.
pub(crate) fn open(keyring: &Keyring, app: &AppId, sealed: &[u8]) -> Result<Vars> {
    let plain = keyring
        .open_sealed(&all_context(app), sealed)
        .map_err(Error::internal)?;
    serde_json::from_slice(&plain).map_err(Error::internal)
}

pub(crate) fn one_context(app: &AppId, name: &VarName) -> String {
    format!("mar var {app} {name}")
}

pub(crate) fn all_context(app: &AppId) -> String {
    format!("mar release {app}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Change> {
        let Value::Object(asked) = value else {
            unreachable!("tests write objects");
        };
        Change::read(asked)
    }

    #[test]
    fn values_are_texts_and_null_removes() {
        let change = read(
            json!({"A": "1", "B": null, "C": 8080, "D": true, "E": 1.5, "F": "", "HOME": null}),
        )
        .unwrap();
        let set: Vec<(&str, &str)> = change
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(
            set,
            [
                ("A", "1"),
                ("C", "8080"),
                ("D", "true"),
                ("E", "1.5"),
                ("F", "")
            ]
        );
        assert_eq!(change.unset, ["B".parse().unwrap()]);
    }

    #[test]
    fn the_stack_is_chosen_by_its_variable() {
        let change = read(json!({"STACK": "cedar"})).unwrap();
        assert_eq!(change.stack.unwrap().as_str(), "cedar");
        assert!(read(json!({"STACK": "../x"})).is_err());
    }

    #[test]
    fn every_fault_is_told_by_name() {
        let error = read(
            json!({"PORT": "1", "1A": "x", "A": [], "B": {"x": 1}, "MAR_APP_ID": "x", "OK": "x"}),
        )
        .unwrap_err();
        let named: Vec<&str> = error
            .fields
            .iter()
            .map(|field| field.property.as_str())
            .collect();
        assert_eq!(named, ["PORT", "1A", "A", "B", "MAR_APP_ID"]);
    }

    #[test]
    fn the_vars_of_a_release_open_only_for_its_app() {
        let keyring = Keyring::from_bytes([1; 32]);
        let (own, other): (AppId, AppId) = (
            "mar-eu-1-aaaaaaaa".parse().unwrap(),
            "mar-eu-1-bbbbbbbb".parse().unwrap(),
        );
        let vars = Vars::from([("A".to_owned(), "s3cret".to_owned())]);
        let sealed = seal(&keyring, &own, &vars).unwrap();
        assert_eq!(open(&keyring, &own, &sealed).unwrap(), vars);
        assert!(open(&keyring, &other, &sealed).is_err());
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
    }
}
