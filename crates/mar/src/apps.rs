//! An app as a whole: what it is, whether it runs, and how many processes of each type.

use pilvi_core::Resource;
use pilvi_model::app::{ProcessType, StackName};
use pilvi_model::{AppId, Error, FieldError, Result};
use pilvi_store::platform::{App, Wanted};
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::{Mar, ProcessState, ProcessStatus};

/// What an app is doing, in one word (`mar.md` §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppState {
    /// Nothing was ever deployed.
    Created,
    Deploying,
    Starting,
    Running,
    /// By its owner, or because no process is wanted.
    Stopped,
    /// Processes are wanted, and none stays alive.
    Crashed,
}

impl AppState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Deploying => "deploying",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
        }
    }

    fn of(app: &App, deploying: bool, processes: &[ProcessStatus]) -> Self {
        let any = |state| processes.iter().any(|process| process.state == state);
        if deploying {
            Self::Deploying
        } else if app.release.is_none() {
            Self::Created
        } else if app.wanted == Wanted::Stopped {
            Self::Stopped
        } else if any(ProcessState::Running) {
            Self::Running
        } else if any(ProcessState::Starting) {
            Self::Starting
        } else if any(ProcessState::Crashed) {
            Self::Crashed
        } else {
            Self::Stopped
        }
    }
}

impl Mar {
    /// What the app is doing, and its processes.
    pub(crate) async fn status(&self, app: &App) -> Result<(AppState, Vec<ProcessStatus>)> {
        let processes = &self.parts().processes;
        let deploying = processes.is_deploying(&app.id).await?;
        let mut status = processes.status(&app.id).await?;
        status.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((AppState::of(app, deploying, &status), status))
    }

    /// Chooses what the next build is made on; what runs goes on running.
    pub(crate) async fn set_stack(&self, caller: &Caller, stack: &StackName) -> Result<()> {
        self.check_stack(stack)?;
        self.store().set_app_stack(&caller.app, stack).await?;
        self.note(caller.act("app.stack").with("stack", stack.to_string()))
            .await;
        Ok(())
    }

    pub(crate) fn check_stack(&self, stack: &StackName) -> Result<()> {
        let known = (self.parts().settings.stacks)();
        if known.contains(stack) {
            return Ok(());
        }
        let names: Vec<&str> = known.iter().map(StackName::as_str).collect();
        Err(Error::invalid(
            "stack",
            format!(
                "is not on this server, which has {}; its operator can add one with `pilvi stack create`",
                names.join(", ")
            ),
        ))
    }

    /// Starts or stops all processes.
    pub(crate) async fn set_wanted(&self, caller: &Caller, wanted: Wanted) -> Result<()> {
        self.store().set_app_wanted(&caller.app, wanted).await?;
        let event = match wanted {
            Wanted::Running => "app.start",
            Wanted::Stopped => "app.stop",
        };
        self.note(caller.act(event)).await;
        self.parts().processes.apply(&caller.app).await
    }

    /// Changes how many processes of each named type are wanted.
    pub(crate) async fn scale(&self, caller: &Caller, asked: &Map<String, Value>) -> Result<()> {
        let limits = self.parts().settings.limits;
        let counts = counts(asked, limits.processes_per_type)?;
        let memory_max = self.0.quotas.defaults().most(Resource::AppMemoryBytes);
        self.store()
            .scale(&caller.app, counts, limits.processes, memory_max)
            .await?;
        let act = asked
            .iter()
            .fold(caller.act("app.scale"), |act, (name, count)| {
                act.with(name, count.clone())
            });
        self.note(act).await;
        self.parts().processes.apply(&caller.app).await
    }

    /// Replaces all processes by new ones.
    pub(crate) async fn restart(&self, caller: &Caller) -> Result<()> {
        self.parts().processes.restart(&caller.app).await?;
        self.note(caller.act("app.restart")).await;
        Ok(())
    }

    /// Forgets what builds kept for the next build.
    pub(crate) async fn purge_cache(&self, caller: &Caller) -> Result<()> {
        let parts = self.parts();
        crate::folders::remove_tree(parts.folders.cache(&caller.app)).await?;
        self.note(caller.act("app.cache.remove")).await;
        parts.folders.make(&caller.app)
    }

    /// Empties the repository. What runs goes on running.
    pub(crate) async fn reset_repository(&self, caller: &Caller) -> Result<()> {
        self.parts().repositories.reset(caller.app.as_str()).await?;
        self.note(caller.act("app.repository.reset")).await;
        Ok(())
    }

    /// Every process type with its wanted count.
    pub(crate) async fn structure(&self, app: &AppId) -> Result<Map<String, Value>> {
        let formation = self.store().formation(app).await?;
        Ok(formation
            .into_iter()
            .map(|(process_type, count)| (process_type.to_string(), count.into()))
            .collect())
    }
}

/// Counts come as texts from one client and as numbers from another.
fn counts(asked: &Map<String, Value>, most: u32) -> Result<Vec<(ProcessType, u32)>> {
    if asked.is_empty() {
        return Err(Error::bad_request(
            "say how many processes of which type, such as {\"web\": 2}",
        ));
    }
    let mut counts = Vec::new();
    let mut faults = Vec::new();
    for (name, value) in asked {
        let count = match value {
            Value::String(text) => text.trim().parse::<u32>().ok(),
            other => other.as_u64().and_then(|count| u32::try_from(count).ok()),
        };
        let fault = |message: String| FieldError {
            property: name.clone(),
            message,
        };
        match (name.parse::<ProcessType>(), count) {
            (Ok(process_type), Some(count)) if count <= most => counts.push((process_type, count)),
            (Ok(_), _) => faults.push(fault(format!("must be a whole number from 0 to {most}"))),
            (Err(_), _) => faults.push(fault("is no process type of this app".to_owned())),
        }
    }
    match faults.is_empty() {
        true => Ok(counts),
        false => Err(Error::invalid_fields(faults)),
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::app::Size;
    use pilvi_model::{AccountId, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_texts_or_numbers() {
        let read = |value: Value| counts(value.as_object().unwrap(), 10);
        let read_well = read(json!({"web": "2", "worker": 1, "x-y_z": " 0 "})).unwrap();
        let expected = [("web", 2), ("worker", 1), ("x-y_z", 0)];
        let expected = expected.map(|(name, count)| (name.parse().unwrap(), count));
        assert_eq!(read_well, expected);
        for wrong in [
            json!({"web": "11"}),
            json!({"web": 11}),
            json!({"web": -1}),
            json!({"web": "two"}),
            json!({"web": 1.5}),
            json!({"web": null}),
            json!({"web": [1]}),
            json!({"we b": 1}),
            json!({"": 1}),
        ] {
            let error = read(wrong.clone()).unwrap_err();
            assert_eq!(error.fields.len(), 1, "{wrong}");
        }
        assert!(read(json!({})).is_err());
    }

    #[test]
    fn one_word_says_what_an_app_does() {
        use ProcessState::{Crashed, Running, Starting, Stopping};
        let mut app = App {
            id: "mar-eu-1-aaaaaaaa".parse().unwrap(),
            number: 1,
            account: AccountId::random(),
            name: "echo".to_owned(),
            size: Size::MINI,
            stack: StackName::default(),
            wanted: Wanted::Running,
            release: Some(1),
            created_at: Timestamp::from_millis(0),
        };
        let process = |state| ProcessStatus {
            name: "web.1".parse().unwrap(),
            state,
            release: 1,
            started_at: None,
            exit_code: None,
            memory_bytes: None,
        };
        for (states, word) in [
            (vec![Running, Crashed], "running"),
            (vec![Starting, Crashed], "starting"),
            (vec![Crashed, Crashed], "crashed"),
            (vec![Stopping], "stopped"),
            (vec![], "stopped"),
        ] {
            let processes: Vec<_> = states.iter().copied().map(process).collect();
            assert_eq!(AppState::of(&app, false, &processes).as_str(), word);
            assert_eq!(AppState::of(&app, true, &processes).as_str(), "deploying");
        }
        app.wanted = Wanted::Stopped;
        assert_eq!(
            AppState::of(&app, false, &[process(Stopping)]),
            AppState::Stopped
        );
        app.release = None;
        assert_eq!(AppState::of(&app, false, &[]), AppState::Created);
    }
}
