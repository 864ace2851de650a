//! Which service a request is for.
//!
//! All services can live on one host, because the old clients tell them apart by headers and paths; where hosts
//! are configured, the host alone decides.

use std::collections::HashMap;
use std::net::IpAddr;

use http::header::ACCESS_CONTROL_REQUEST_HEADERS;
use http::{HeaderMap, Method};

use crate::Service;

/// Hosts that belong to one service each. On any other host the request itself decides.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Who has every request, whatever it is for.
    only: Option<Service>,
    services: HashMap<String, Service>,
    /// Where the pages of the console are, beside addresses and `localhost`; `None`: on every host.
    pages: Option<Vec<String>>,
}

impl Hosts {
    /// All services on every host.
    pub fn shared() -> Self {
        Self::default()
    }

    /// Everything for one service, on every host.
    pub fn of(service: Service) -> Self {
        Self {
            only: Some(service),
            ..Self::default()
        }
    }

    /// The classic names under `domain`: `api.`, `eds.`, `mws-<datacenter>.`, `mar-<datacenter>.` and
    /// `git-mar-<datacenter>.`.
    pub fn of_domain(domain: &str, datacenter: &str) -> Self {
        Self::shared().and_of_domain(domain, datacenter)
    }

    /// The same beside what there is.
    #[must_use]
    pub fn and_of_domain(self, domain: &str, datacenter: &str) -> Self {
        self.with(&format!("api.{domain}"), Service::Platform)
            .with(&format!("eds.{domain}"), Service::Eds)
            .with(&format!("mws-{datacenter}.{domain}"), Service::Mws)
            .with(&format!("mar-{datacenter}.{domain}"), Service::Mar)
            .with(&format!("git-mar-{datacenter}.{domain}"), Service::Git)
    }

    /// Gives `host`, without a port, to one service.
    #[must_use]
    pub fn with(mut self, host: &str, service: Service) -> Self {
        self.services.insert(host.to_ascii_lowercase(), service);
        self
    }

    /// Shows the pages of the console only on these names and those below them, on addresses, and on `localhost`. Any
    /// other name that leads here was an app's, and its visitors are not to be asked for a password.
    #[must_use]
    pub fn with_pages_on(mut self, names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase());
        self.pages = Some(names.collect());
        self
    }

    /// All of them.
    pub fn names(&self) -> Vec<String> {
        self.services.keys().cloned().collect()
    }

    pub(crate) fn owner(&self, host: &str) -> Option<Service> {
        if self.only.is_some() || self.services.is_empty() {
            return self.only;
        }
        self.services
            .get(&without_port(host).to_ascii_lowercase())
            .copied()
    }

    fn shows_pages(&self, host: &str) -> bool {
        let Some(names) = &self.pages else {
            return true;
        };
        let host = without_port(host).to_ascii_lowercase();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_below = |name: &String| {
            host.strip_suffix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        is_address || host == "localhost" || names.iter().any(is_below)
    }
}

/// `host` of `host:port`; an IPv6 address keeps its brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Decides by host, then by the headers that only EDS clients send, then by path. `path` is in its one spelling
/// ([`one_spelling`]).
pub(crate) fn service_for(
    hosts: &Hosts,
    host: &str,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Service {
    let owner = hosts.owner(host);
    let has_accounts = owner.is_none_or(|owner| matches!(owner, Service::Eds | Service::Platform));
    // Tools send the headers of a backend with these, too.
    if has_accounts && path.starts_with("/v1/account/") {
        return Service::Account;
    }
    if asks_to_listen(method, path) {
        return Service::Mws;
    }
    if let Some(owner) = owner {
        // The pages live beside the interface that they are a door to.
        return match owner {
            Service::Platform if is_a_page(path) => Service::Console,
            owner => owner,
        };
    }
    if names_a_backend(method, headers) {
        return Service::Eds;
    }
    if is_a_page(path) && hosts.shows_pages(host) {
        return Service::Console;
    }
    service_by_path(path)
}

/// Whether a page on another site asks for leave to open the address of sockets, which has no path, as an event stream.
/// Nobody is asked for leave to look at the console.
fn asks_to_listen(method: &Method, path: &str) -> bool {
    method == Method::OPTIONS && path == "/"
}

/// The pages of the console, and the page that nobody else has.
fn is_a_page(path: &str) -> bool {
    matches!(path, "/" | "/console" | "/favicon.ico") || path.starts_with("/console/")
}

fn service_by_path(path: &str) -> Service {
    let mut segments = path.split('/').skip(1);
    match (segments.next(), segments.next()) {
        (Some("todo"), _) => Service::Page,
        (Some("git"), _) => Service::Git,
        (Some("v1"), Some("apps")) => Service::Mar,
        (Some("v1"), Some("gateways")) => Service::Mws,
        (Some("v1"), Some("instances")) if is_gateway_resource(segments.nth(1)) => Service::Mws,
        (Some("v1"), Some(first)) if is_only_in_eds(first) => Service::Eds,
        _ => Service::Platform,
    }
}

/// Paths that no other service has, so that a request without its backend id is refused in EDS's words.
fn is_only_in_eds(first: &str) -> bool {
    matches!(
        first,
        "objects"
            | "users"
            | "usergroups"
            | "files"
            | "downloads"
            | "search"
            | "auth"
            | "webhooks"
            | "stream_url"
            | "stream"
            | "live_url"
            | "live"
            | "object_types"
            | "schema"
            | "session"
    )
}

/// What a gateway has below the older address `/v1/instances/{id}` (`mws.md` §1, §3). The platform's own
/// resources there, such as `authorizations`, stay the platform's.
fn is_gateway_resource(name: Option<&str>) -> bool {
    matches!(
        name,
        Some(
            "websocket_uri"
                | "messages"
                | "sockets"
                | "webhook_receivers"
                | "configuration"
                | "presence"
                | "history"
                | "events"
        )
    )
}

/// Only EDS clients send `Enginio-Backend-…`; a preflight asks for it instead.
fn names_a_backend(method: &Method, headers: &HeaderMap) -> bool {
    const PREFIX: &str = "enginio-backend-";
    let sent = || headers.keys().any(|name| name.as_str().starts_with(PREFIX));
    let asked = || {
        let names = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        names
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim().to_ascii_lowercase().starts_with(PREFIX))
    };
    sent() || (method == Method::OPTIONS && asked())
}

/// The one spelling of a path: no doubled slash, none at the end. `None` when it already has it.
///
/// Clients send `/v1/objects/todos/` and mean `/v1/objects/todos`; they follow no redirect.
pub(crate) fn one_spelling(path: &str) -> Option<String> {
    let tidy = path.starts_with('/') && (path.len() == 1 || !path.ends_with('/'));
    if tidy && !path.contains("//") {
        return None;
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut spelled = String::with_capacity(path.len());
    for segment in segments {
        spelled.push('/');
        spelled.push_str(segment);
    }
    if spelled.is_empty() {
        spelled.push('/');
    }
    Some(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in pairs {
            map.insert(name, value.parse().unwrap());
        }
        map
    }

    fn on_shared(method: &Method, path: &str, pairs: &[(&'static str, &'static str)]) -> Service {
        service_for(
            &Hosts::shared(),
            "127.0.0.1:8080",
            method,
            path,
            &headers(pairs),
        )
    }

    #[test]
    fn on_a_shared_host_the_path_decides() {
        use Service::{Account, Console, Eds, Git, Mar, Mws, Page, Platform};
        let table = [
            ("/v1/apps", Mar),
            ("/v1/apps/mar-eu-1-twwto7g0/env_vars", Mar),
            ("/git/mar-eu-1-twwto7g0/info/refs", Git),
            ("/v1/appsx", Platform),
            ("/", Console),
            ("/favicon.ico", Console),
            ("/console", Console),
            ("/console/sign-in", Console),
            ("/consoles", Platform),
            ("/v1", Platform),
            ("/v1/user", Platform),
            ("/v1/user/accounts", Platform),
            ("/v1/user/ssh_keys", Platform),
            ("/v1/accounts", Platform),
            ("/v1/accounts/1/authorizations", Platform),
            ("/v1/authorizations", Platform),
            ("/v1/datacenters", Platform),
            ("/v1/instances/53ff", Platform),
            ("/v1/instances/53ff/authorizations", Platform),
            ("/v1/instances/53ff/websocket_uri", Mws),
            ("/v1/instances/53ff/messages", Mws),
            ("/v1/instances/53ff/sockets", Mws),
            ("/v1/instances/53ff/sockets/7", Mws),
            ("/v1/instances/53ff/webhook_receivers/enginio", Mws),
            ("/v1/instances/53ff/configuration", Mws),
            ("/v1/instances/53ff/presence", Mws),
            ("/v1/instances/53ff/history", Mws),
            ("/v1/instances/53ff/events/test", Mws),
            ("/v1/gateways/53ff/messages", Mws),
            ("/v1/gateways", Mws),
            ("/v1/objects/todos", Eds),
            ("/v1/objects", Eds),
            ("/v1/users", Eds),
            ("/v1/users/53ff/access", Eds),
            ("/v1/usergroups/53ff/members", Eds),
            ("/v1/files/53ff", Eds),
            ("/v1/downloads/53ff/abc/a.png", Eds),
            ("/v1/search", Eds),
            ("/v1/auth/identity", Eds),
            ("/v1/auth/oauth2/token", Eds),
            ("/v1/webhooks/53ff/deliveries", Eds),
            ("/v1/stream_url", Eds),
            ("/v1/object_types", Eds),
            ("/v1/schema", Eds),
            ("/v1/account/apps", Account),
            ("/v1/session", Eds),
            ("/v1/objectsx", Platform),
            ("/todo", Page),
            ("/todo/app.js", Page),
            ("/todos", Platform),
        ];
        for (path, service) in table {
            assert_eq!(on_shared(&Method::GET, path, &[]), service, "{path}");
        }
    }

    #[test]
    fn a_backend_header_means_eds_on_any_path() {
        let id = [("enginio-backend-id", "51cdbc08989e975ec300772a")];
        for path in ["/v1/user", "/v1/anything", "/v1/instances/1/messages"] {
            assert_eq!(on_shared(&Method::GET, path, &id), Service::Eds, "{path}");
        }
        // But for the account interface, whose callers leave such headers from calls before.
        for path in ["/v1/account/apps", "/v1/account/auth/oauth2/token"] {
            assert_eq!(
                on_shared(&Method::GET, path, &id),
                Service::Account,
                "{path}"
            );
        }
        let session = [("enginio-backend-session", "x")];
        assert_eq!(on_shared(&Method::GET, "/v1/user", &session), Service::Eds);
    }

    #[test]
    fn a_preflight_that_asks_for_a_backend_header_means_eds() {
        let asked = [(
            "access-control-request-headers",
            "authorization, Enginio-Backend-Id",
        )];
        assert_eq!(
            on_shared(&Method::OPTIONS, "/v1/user", &asked),
            Service::Eds
        );
        assert_eq!(
            on_shared(&Method::GET, "/v1/user", &asked),
            Service::Platform
        );
        let other = [("access-control-request-headers", "authorization")];
        assert_eq!(
            on_shared(&Method::OPTIONS, "/v1/user", &other),
            Service::Platform
        );
    }

    #[test]
    fn a_door_of_one_service_has_nothing_else() {
        let hosts = Hosts::of(Service::Mws);
        let backend = headers(&[("enginio-backend-id", "51cdbc08989e975ec300772a")]);
        for path in [
            "/",
            "/v1/messages",
            "/v1/account/apps",
            "/console",
            "/git/x/info/refs",
        ] {
            let service = service_for(&hosts, "any.example:5000", &Method::GET, path, &backend);
            assert_eq!(service, Service::Mws, "{path}");
        }
    }

    #[test]
    fn leave_to_listen_is_the_gateways_to_give() {
        let none = HeaderMap::new();
        let hosts = Hosts::of_domain("example.org", "eu-1");
        for host in ["api.example.org", "mws-eu-1.example.org", "127.0.0.1:8080"] {
            let found = |method| service_for(&hosts, host, &method, "/", &none);
            assert_eq!(found(Method::OPTIONS), Service::Mws, "{host}");
        }
        assert_eq!(
            on_shared(&Method::OPTIONS, "/console", &[]),
            Service::Console
        );
    }

    #[test]
    fn a_configured_host_decides_alone() {
        let hosts = Hosts::of_domain("example.org", "eu-1");
        let id = headers(&[("enginio-backend-id", "51cdbc08989e975ec300772a")]);
        let table = [
            ("api.example.org", Service::Platform),
            ("API.Example.org:8443", Service::Platform),
            ("mws-eu-1.example.org", Service::Mws),
            ("mar-eu-1.example.org", Service::Mar),
            ("git-mar-eu-1.example.org", Service::Git),
            ("eds.example.org:80", Service::Eds),
            ("other.example.org", Service::Eds),
            ("[::1]:8080", Service::Eds),
        ];
        for (host, service) in table {
            let found = service_for(&hosts, host, &Method::GET, "/v1/user", &id);
            assert_eq!(found, service, "{host}");
        }
        for (host, service) in [
            ("api.example.org", Service::Account),
            ("eds.example.org", Service::Account),
            ("other.example.org", Service::Account),
            ("mws-eu-1.example.org", Service::Mws),
        ] {
            let path = "/v1/account/apps";
            let found = service_for(&hosts, host, &Method::GET, path, &id);
            assert_eq!(found, service, "{host}");
        }
        let page = |host| {
            let none = HeaderMap::new();
            service_for(&hosts, host, &Method::GET, "/console/profile", &none)
        };
        assert_eq!(page("api.example.org"), Service::Console);
        assert_eq!(page("eds.example.org"), Service::Eds);
        assert_eq!(page("pilvi.example.org"), Service::Console);
    }

    #[test]
    fn the_console_is_on_our_own_names_only() {
        let hosts = Hosts::of_domain("apps.example.net", "eu-1")
            .with_pages_on(["Cloud.example.org".to_owned()]);
        let table = [
            ("cloud.example.org", Service::Console),
            ("CLOUD.example.org:8443", Service::Console),
            ("www.cloud.example.org", Service::Console),
            ("api.apps.example.net", Service::Console),
            ("127.0.0.1:8080", Service::Console),
            ("[::1]:8080", Service::Console),
            ("localhost:8080", Service::Console),
            ("notcloud.example.org", Service::Platform),
            ("www.example.com", Service::Platform),
            ("", Service::Platform),
        ];
        for (host, service) in table {
            for path in ["/", "/console", "/console/sign-in"] {
                let found = service_for(&hosts, host, &Method::GET, path, &HeaderMap::new());
                assert_eq!(found, service, "{host}{path}");
            }
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (path, spelled) in [
            ("/v1/objects/todos/", Some("/v1/objects/todos")),
            ("/v1//objects///todos", Some("/v1/objects/todos")),
            ("//", Some("/")),
            ("", Some("/")),
            ("/", None),
            ("/v1/objects/todos", None),
        ] {
            assert_eq!(one_spelling(path).as_deref(), spelled, "{path}");
        }
    }
}
