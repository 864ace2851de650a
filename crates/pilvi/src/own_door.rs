//! Pilvi's own addresses, answered in process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, Uri};
use pilvi_base::secret::random_bytes;
use pilvi_core::egress::LocalDoor;
use pilvi_edge::Edge;
use pilvi_model::RequestId;
use pilvi_web::{Arrival, Door};

use crate::listeners::Addresses;

/// The most that an answer to ourselves may hold.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// The door together with the addresses under which it is reached.
pub(crate) struct OwnDoor {
    door: Arc<Door>,
    addresses: Addresses,
    /// Such as `http://127.0.0.1:8080`.
    origins: Vec<String>,
    /// Apps answer at these addresses, too, under names of their own.
    edge: Edge,
}

impl OwnDoor {
    pub(crate) fn new(door: Arc<Door>, addresses: Addresses, edge: Edge) -> Self {
        Self {
            door,
            origins: addresses.origins(),
            addresses,
            edge,
        }
    }

    /// Sends a request through the door without a socket.
    pub(crate) async fn answer(door: Arc<Door>, request: Request<Bytes>) -> Response<Bytes> {
        let host = request
            .uri()
            .authority()
            .map_or("localhost", |authority| authority.as_str())
            .to_owned();
        let id = request
            .headers()
            .get("x-request-id")
            .and_then(|id| RequestId::from_caller(id.to_str().ok()?));
        let arrival = Arrival {
            secure: request.uri().scheme_str() == Some("https"),
            ..Arrival::in_process(
                host,
                id.unwrap_or_else(|| RequestId::from_bytes(random_bytes())),
            )
        };
        let (head, body) = door
            .call(request.map(Body::from), arrival)
            .await
            .into_parts();
        let body = axum::body::to_bytes(body, ANSWER_MAX_BYTES)
            .await
            .unwrap_or_default();
        Response::from_parts(head, body)
    }
}

impl LocalDoor for OwnDoor {
    fn covers(&self, target: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (target.scheme_str(), target.authority()) else {
            return false;
        };
        let port = authority
            .port_u16()
            .unwrap_or(if scheme == "https" { 443 } else { 80 });
        let host = authority.host().to_ascii_lowercase();
        let own_port = match scheme {
            "https" => self.addresses.https.port(),
            _ => self.addresses.http.port(),
        };
        self.origins.contains(&format!("{scheme}://{host}:{port}"))
            || (port == own_port && self.edge.knows(&host))
    }

    fn call(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        Box::pin(Self::answer(Arc::clone(&self.door), request))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pilvi_base::TaskGroup;
    use pilvi_edge::{Absence, Route, RouterEvent};
    use pilvi_web::Hosts;

    use super::*;

    struct Silent;

    impl pilvi_edge::Journal for Silent {
        fn note(&self, _: &str, _: RouterEvent<'_>) {}
    }

    #[tokio::test]
    async fn only_our_own_addresses_are_covered() {
        let door = Arc::new(Door::new(Hosts::shared(), pilvi_web::Limits::default()));
        let edge = Edge::new(
            pilvi_edge::Settings::default(),
            Arc::new(Silent),
            TaskGroup::new(),
        );
        edge.publish(Route {
            app: "echo".to_owned(),
            hosts: vec!["echo.localhost".to_owned()],
            upstreams: Vec::new(),
            absence: Absence::NeverDeployed,
            certificate: None,
        });
        let addresses = Addresses {
            http: SocketAddr::from(([127, 0, 0, 1], 80)),
            https: SocketAddr::from(([127, 0, 0, 1], 443)),
            ssh: SocketAddr::from(([127, 0, 0, 1], 22)),
            health: None,
        };
        let own = OwnDoor::new(door, addresses, edge);
        for (target, covered) in [
            ("http://127.0.0.1/v1/x", true),
            ("http://LOCALHOST:80/", true),
            ("http://127.0.0.1:81/", false),
            ("https://127.0.0.1:80/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://echo.localhost/hook", true),
            ("https://Echo.localhost/hook", true),
            ("http://echo.localhost:81/hook", false),
            ("http://other.localhost/hook", false),
            ("/v1/x", false),
        ] {
            assert_eq!(own.covers(&target.parse().unwrap()), covered, "{target}");
        }
    }
}
