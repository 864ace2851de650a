//! What a service brings to the door.

use std::sync::Arc;

use axum::Router;
use http::StatusCode;
use serde_json::Value;

use crate::{Cors, Refusal};

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Enginio Data Storage.
    Eds,
    /// Managed WebSocket.
    Mws,
    /// Managed Application Runtime.
    Mar,
    /// Git over HTTP.
    Git,
    /// Accounts, instances and tokens.
    Platform,
    /// The account interface of the original, which has paths of the platform and manners of EDS.
    Account,
    /// The pages that people sign in on.
    Console,
    /// The page of `pilvi demo`.
    Page,
}

/// One service at the door: its routes and its manners.
#[derive(Clone)]
pub struct Site {
    /// The full paths of the service, `/v1/…`, in one spelling: no doubled and no trailing slash.
    pub router: Router,
    pub manners: Arc<dyn Manners>,
}

/// How one service answers: the shape of its refusals, its CORS rules, and how much it takes.
pub trait Manners: Send + Sync + 'static {
    /// Status and JSON body of a refusal in the service's documented shape.
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value);

    /// What browsers on other sites may do.
    fn cors(&self) -> Cors;

    /// The largest request body, in bytes.
    fn body_max_bytes(&self) -> usize {
        1 << 20
    }

    /// The same for one path, in its one spelling: some take files, which their handlers read piece by piece.
    fn body_max_bytes_at(&self, path: &str) -> usize {
        let _ = path;
        self.body_max_bytes()
    }
}

/// The manners of a door without a site for the request: the common form of the old platform (`platform.md` §4).
pub(crate) struct Unclaimed;

impl Manners for Unclaimed {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let body = serde_json::json!({
            "error": { "reason": refusal.reason, "message": refusal.message }
        });
        (refusal.status, body)
    }

    fn cors(&self) -> Cors {
        Cors::None
    }
}
