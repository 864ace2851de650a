//! Hosts that belong to apps: whoever asks for one of these is the router's.

use std::sync::Arc;

use axum::body::Body;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use pilvi_edge::{Edge, Ends};

use crate::arrival::REQUEST_ID;
use crate::{Arrival, Hosts, Refusal};

/// The router, and the hosts that are not its own although they look like it.
#[derive(Clone, Debug)]
pub(crate) struct Apps {
    pub(crate) edge: Edge,
    hosts: Arc<Hosts>,
}

impl Apps {
    pub(crate) fn new(edge: Edge, hosts: &Hosts) -> Self {
        Self {
            edge,
            hosts: Arc::new(hosts.clone()),
        }
    }

    /// Whether requests for this host go to an app. A service that has a host of its own keeps it.
    pub(crate) fn own(&self, host: &str) -> bool {
        self.edge.owns(host) && self.hosts.owner(host).is_none()
    }

    /// Has a request answered that does not come over the router's own connections: over HTTP/2, in process, or with a
    /// head that had to be refused.
    pub(crate) async fn answer(
        &self,
        mut request: Request<Body>,
        arrival: &Arrival,
    ) -> Response<Body> {
        let id = arrival.request_id.as_str();
        if let Some(refusal) = request.extensions_mut().remove::<Refusal>() {
            let headers = request.headers();
            let refused = self
                .edge
                .refuse(refusal.status, &refusal.message, headers, id);
            return refused.map(Body::new);
        }
        if let Ok(id) = HeaderValue::from_str(id) {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        if request.uri().authority().is_none()
            && !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&arrival.host)
        {
            request.headers_mut().insert(HOST, host);
        }
        let ends = Ends {
            peer: arrival.peer,
            local: arrival.local,
            secure: arrival.secure,
        };
        self.edge.forward(request, ends).await.map(Body::new)
    }
}
