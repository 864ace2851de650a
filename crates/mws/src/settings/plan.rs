//! What a gateway does beyond the plain way of a message, made ready once for each configuration.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use pilvi_model::{GatewayId, Instance};

use super::compression::{self, COMPRESSION};
use super::events::{self, EVENTS, EVENTS_SECRET, EventPlan};
use super::history::{self, HISTORY, HistoryPlan};
use super::presence::{self, PRESENCE, PresencePlan};

/// As many as the directory remembers instances; the others are read again.
const PLANS_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

/// The additions of one gateway. New gateways have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Its sockets may compress.
    pub(crate) compression: bool,
    /// What its app is told.
    pub(crate) events: Option<Arc<EventPlan>>,
    pub(crate) presence: Option<Arc<PresencePlan>>,
    pub(crate) history: Option<Arc<HistoryPlan>>,
}

impl Plan {
    pub(crate) fn of(instance: &Instance) -> Self {
        let kept = |key| instance.config.get(key);
        Self {
            compression: kept(COMPRESSION).is_some_and(compression::plan),
            events: kept(EVENTS)
                .and_then(|events| events::plan(events, kept(EVENTS_SECRET)))
                .map(Arc::new),
            presence: kept(PRESENCE).and_then(presence::plan).map(Arc::new),
            history: kept(HISTORY).and_then(history::plan).map(Arc::new),
        }
    }
}

#[cfg(test)]
impl Plan {
    /// The plan of a gateway that is set up like this.
    pub(crate) fn testing(configuration: &serde_json::Value) -> Self {
        let body = configuration.as_object().cloned().unwrap_or_default();
        let change = super::Change::read(body).unwrap();
        let config = change.apply(&serde_json::Map::new()).unwrap();
        Self::of(&Instance {
            id: "5417e5485a3d8b418a01adb7".to_owned(),
            provider: pilvi_model::Provider::Mws,
            account: "46738209-a745-4841-8eeb-1ca0672aa6b8".parse().unwrap(),
            name: "g".to_owned(),
            tags: Vec::new(),
            config,
            datacenter: "eu-1".to_owned(),
            created_at: pilvi_model::Timestamp::from_millis(0),
        })
    }
}

/// The plans of gateways that were asked for lately. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    /// Of gateways without additions.
    plain: Arc<Plan>,
    /// With the configuration that each was made of. A plain mutex, held for a look-up.
    known: Arc<Mutex<LruCache<GatewayId, Known>>>,
}

#[derive(Debug)]
struct Known {
    instance: Arc<Instance>,
    plan: Arc<Plan>,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            plain: Arc::default(),
            known: Arc::new(Mutex::new(LruCache::new(PLANS_MAX))),
        }
    }
}

impl Plans {
    /// The plan of a gateway as its instance is configured.
    pub(crate) fn of(&self, gateway: GatewayId, instance: &Arc<Instance>) -> Arc<Plan> {
        let added = [COMPRESSION, EVENTS, PRESENCE, HISTORY];
        if !added.iter().any(|key| instance.config.contains_key(*key)) {
            return Arc::clone(&self.plain);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&gateway)
            && Arc::ptr_eq(&found.instance, instance)
        {
            return Arc::clone(&found.plan);
        }
        let plan = Arc::new(Plan::of(instance));
        let instance = Arc::clone(instance);
        known.put(
            gateway,
            Known {
                instance,
                plan: Arc::clone(&plan),
            },
        );
        plan
    }
}

#[cfg(test)]
mod tests {
    use pilvi_model::{Provider, Timestamp};
    use serde_json::{Map, Value, json};

    use super::*;

    const GATEWAY: &str = "5417e5485a3d8b418a01adb7";

    fn instance(config: &Value) -> Arc<Instance> {
        Arc::new(Instance {
            id: GATEWAY.to_owned(),
            provider: Provider::Mws,
            account: "46738209-a745-4841-8eeb-1ca0672aa6b8".parse().unwrap(),
            name: "g".to_owned(),
            tags: Vec::new(),
            config: config.as_object().cloned().unwrap_or_else(Map::new),
            datacenter: "eu-1".to_owned(),
            created_at: Timestamp::from_millis(0),
        })
    }

    #[test]
    fn a_plan_is_made_once_for_a_configuration() {
        let plans = Plans::default();
        let gateway = GATEWAY.parse().unwrap();
        let plain = plans.of(gateway, &instance(&json!({"accessControl": "none"})));
        assert_eq!(*plain, Plan::default());

        let compressing = instance(&json!({"compression": true}));
        let first = plans.of(gateway, &compressing);
        assert!(first.compression && first.events.is_none());
        assert!(Arc::ptr_eq(&first, &plans.of(gateway, &compressing)));

        let changed = instance(&json!({
            "compression": false,
            "events": {"url": "https://a.example", "events": ["message"]},
            "presence": {"tags": ["room.*"]},
            "history": [{"tag": "room.*"}],
        }));
        let second = plans.of(gateway, &changed);
        assert!(!second.compression && second.events.as_ref().unwrap().message);
        assert!(second.presence.as_ref().unwrap().matches("room.1"));
        assert!(
            second
                .history
                .as_ref()
                .unwrap()
                .rule_for("room.1")
                .is_some()
        );
    }
}
