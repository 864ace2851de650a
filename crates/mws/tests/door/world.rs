//! A server with one account and two gateways, and a client that writes its requests by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pilvi_base::secret::random_hex;
use pilvi_base::{Clock, Keyring, Secret, TaskGroup};
use pilvi_core::{AppUsers, Directory, Identity, Rates, rate};
use pilvi_model::{AccountId, Instance, PersonId, Provider, Timestamp};
use pilvi_mws::{Limits, Mws};
use pilvi_store::Store;
use pilvi_store::platform::{Account, Holder, NewToken, Person};
use pilvi_web::ca::LocalCa;
use pilvi_web::{Door, Hosts, Service};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::peer::{Frame, Input, client_frame};

pub(crate) const OPEN: &str = "5417e5485a3d8b418a01adb7";
pub(crate) const CLOSED: &str = "532c410072fc38d95600000b";
/// A data backend of the same account.
pub(crate) const USERS: &str = "532831a2698b3c6ae8091d6d";

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) type TcpPeer = Peer<OwnedReadHalf, OwnedWriteHalf>;
pub(crate) type TlsPeer = Peer<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>;

pub(crate) struct World {
    pub(crate) mws: Mws,
    pub(crate) directory: Directory,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    pub(crate) address: SocketAddr,
    secure_address: SocketAddr,
    authority: CertificateDer<'static>,
    pub(crate) account_token: Secret,
    store: Store,
    _folder: TempDir,
}

/// The client's end of a socket after the handshake.
pub(crate) struct Peer<R, W> {
    read: R,
    write: W,
    input: Input,
}

/// A client's end that only speaks.
pub(crate) struct Speaker<W>(W);

impl<W: AsyncWrite + Unpin> Speaker<W> {
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let frame = client_frame(opcode, payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The same, and whether there was still somebody to take it.
    pub(crate) async fn try_send(&mut self, opcode: u8, payload: &[u8]) -> bool {
        let frame = client_frame(opcode, payload);
        self.0.write_all(&frame).await.is_ok()
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Peer<R, W> {
    pub(crate) fn new(read: R, write: W) -> Self {
        Self {
            read,
            write,
            input: Input::default(),
        }
    }

    /// One half that only listens, and one that only speaks.
    pub(crate) fn into_parts(self) -> (Peer<R, tokio::io::Sink>, Speaker<W>) {
        let listening = Peer {
            read: self.read,
            write: tokio::io::sink(),
            input: self.input,
        };
        (listening, Speaker(self.write))
    }

    /// The next frame; `None` when the server ended the connection between two.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(frame) = self.input.next() {
                return Some(frame);
            }
            match self.read.read(&mut buffer).await {
                Ok(count @ 1..) => self.input.add(&buffer[..count]),
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "the connection ended in a frame");
                    return None;
                }
            }
        }
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&client_frame(opcode, payload)).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }
}

/// A reply: its status, its head as it was written, its JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) json: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    /// Whose gateways ask `users` who somebody is.
    pub(crate) async fn with_users(users: Arc<dyn AppUsers>) -> Self {
        Self::build(Limits::default(), Some(users)).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::build(limits, None).await
    }

    /// One gateway in mode `none`, one in mode `custom`. The token of each is its id and `-token`.
    async fn build(limits: Limits, users: Option<Arc<dyn AppUsers>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), pilvi_store::Limits::default())
            .await
            .unwrap();
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_394_778_531));
        let now = Timestamp::from(clock.now());
        let (account, account_token) = add_account(&store, now, "owner@example.org").await;
        add_gateway(&store, account, OPEN, json!({}), now).await;
        add_gateway(
            &store,
            account,
            CLOSED,
            json!({"accessControl": "custom"}),
            now,
        )
        .await;

        let tasks = TaskGroup::new();
        let directory = Directory::new(store.clone(), tasks.clone());
        let mut mws = Mws::new(
            Identity::new(store.clone()),
            directory.clone(),
            clock.clone(),
            limits,
            tasks.clone(),
        )
        .unwrap()
        .with_rates(Rates::new(rate::Settings::default(), clock.clone()))
        .with_keyring(Keyring::from_bytes([7; 32]));
        if let Some(users) = users {
            add_backend(&store, account, now).await;
            mws = mws.with_users(users);
        }
        let door = Door::new(Hosts::shared(), pilvi_web::Limits::default())
            .site(Service::Mws, mws.site())
            .sockets(Arc::new(mws.clone()));
        let door = Arc::new(door);
        let authority = LocalCa::open_or_make(folder.path(), &Clock::system()).unwrap();
        let certificate = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes());
        let tls = Arc::new(authority).server_config(&[]).unwrap();
        let address = listen(&door, None, &tasks).await;
        let secure_address = listen(&door, Some(tls), &tasks).await;
        Self {
            mws,
            directory,
            clock,
            tasks,
            address,
            secure_address,
            authority: certificate.unwrap(),
            account_token,
            store,
            _folder: folder,
        }
    }

    /// From now on the data backend belongs to somebody else.
    pub(crate) async fn give_backend_away(&self) {
        self.directory.retire(USERS).await.unwrap();
        self.store.delete_instance(USERS).await.unwrap();
        let now = Timestamp::from(self.clock.now());
        let (account, _) = add_account(&self.store, now, "other@example.org").await;
        add_backend(&self.store, account, now).await;
    }

    /// Sends a request as it stands in the arguments and reads the whole reply.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Reply {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             {headers}\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut reply = Vec::new();
        within(async {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_end(&mut reply).await.unwrap();
        })
        .await;
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        Reply {
            status: head[9..12].parse().unwrap(),
            head: head.to_owned(),
            json: serde_json::from_str(body).unwrap(),
        }
    }

    /// A request below a gateway's base, with its security token.
    pub(crate) async fn admin(
        &self,
        method: &str,
        gateway: &str,
        path: &str,
        body: &Value,
    ) -> Reply {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let path = format!("/v1/gateways/{gateway}{path}");
        let headers = format!("Authorization: Bearer {gateway}-token\r\n");
        self.request(method, &path, &headers, &body).await
    }

    /// Reserves a socket and gives its token.
    pub(crate) async fn reserve(&self, gateway: &str, tags: &[&str]) -> String {
        let reply = self
            .admin("POST", gateway, "/sockets", &json!({"tags": tags}))
            .await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json["id"].as_str().unwrap().to_owned()
    }

    /// Opens a WebSocket with whatever token; the handshake must succeed.
    pub(crate) async fn connect(&self, token: &str) -> TcpPeer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (read, write) = stream.into_split();
        handshake(read, write, token, "").await
    }

    /// The same, and both sides may compress.
    pub(crate) async fn connect_deflating(&self, token: &str) -> TcpPeer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (read, write) = stream.into_split();
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        handshake(read, write, token, offer).await
    }

    /// The status of an upgrade.
    pub(crate) async fn upgrade(&self, path: &str, headers: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let mut line = [0; "HTTP/1.1 101".len()];
        within(async {
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_exact(&mut line).await.unwrap();
        })
        .await;
        let line = std::str::from_utf8(&line).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The same under TLS, trusting the server's own authority alone.
    pub(crate) async fn connect_securely(&self, token: &str) -> TlsPeer {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.secure_address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within(connector.connect(name, stream)).await.unwrap();
        let (read, write) = split(stream);
        handshake(read, write, token, "").await
    }

    /// Reserves and opens a socket.
    pub(crate) async fn join(&self, gateway: &str, tags: &[&str]) -> (String, TcpPeer) {
        let token = self.reserve(gateway, tags).await;
        let peer = self.connect(&token).await;
        (token, peer)
    }

    pub(crate) async fn publish(&self, gateway: &str, data: &str, receivers: Value) {
        let body = json!({"data": data, "receivers": receivers});
        let reply = self.admin("POST", gateway, "/messages", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
}

async fn handshake<R, W>(mut read: R, mut write: W, token: &str, headers: &str) -> Peer<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let request = format!(
        "GET /any/path?token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{headers}\r\n"
    );
    let head = within(async {
        write.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(read.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    })
    .await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Peer::new(read, write)
}

/// The next frame, in time.
pub(crate) async fn next<R, W>(peer: &mut Peer<R, W>) -> Option<Frame>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    within(peer.receive()).await
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("done before the deadline")
}

async fn listen(
    door: &Arc<Door>,
    tls: Option<Arc<rustls::ServerConfig>>,
    tasks: &TaskGroup,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn("door", door.clone().serve(listener, tls, tasks.clone()));
    address
}

async fn add_account(store: &Store, now: Timestamp, email: &str) -> (AccountId, Secret) {
    let person = Person::new(PersonId::random(), email, "Owner", now);
    let account = Account {
        id: AccountId::random(),
        name: "Account".to_owned(),
        datacenter: "eu-1".to_owned(),
        vpc: false,
        created_at: now,
    };
    let (owner, id) = (person.id, account.id);
    let secret = Secret::new(random_hex::<20>());
    let holder = Holder::Member {
        account: id,
        person: owner,
    };
    store.insert_person(person).await.unwrap();
    let token = token(holder, &secret, now);
    store
        .insert_account(account, owner, token, 10)
        .await
        .unwrap();
    (id, secret)
}

async fn add_gateway(store: &Store, account: AccountId, id: &str, config: Value, now: Timestamp) {
    let config = match config {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    add_instance(store, Provider::Mws, account, id, config, now).await;
}

async fn add_backend(store: &Store, account: AccountId, now: Timestamp) {
    add_instance(store, Provider::Eds, account, USERS, Map::new(), now).await;
}

async fn add_instance(
    store: &Store,
    provider: Provider,
    account: AccountId,
    id: &str,
    config: Map<String, Value>,
    now: Timestamp,
) {
    let instance = Instance {
        id: id.to_owned(),
        provider,
        account,
        name: "instance".to_owned(),
        tags: vec![],
        config,
        datacenter: "eu-1".to_owned(),
        created_at: now,
    };
    store.insert_instance(instance, 10).await.unwrap();
    let secret = Secret::new(format!("{id}-token"));
    let holder = Holder::Instance(id.to_owned());
    let token = token(holder, &secret, now);
    assert!(store.release_instance(id, token).await.unwrap());
}

fn token(holder: Holder, secret: &Secret, now: Timestamp) -> NewToken {
    NewToken {
        holder,
        digest: secret.digest(),
        generation: 0,
        name: None,
        created_at: now,
        expires_at: None,
    }
}
