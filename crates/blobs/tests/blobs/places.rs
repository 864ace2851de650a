//! The two places that blobs can be in: a folder, and a bucket of a real S3 server.

use std::net::SocketAddr;
use std::path::Path;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pilvi_base::disk::Reserve;
use pilvi_base::{Secret, TaskGroup};
use pilvi_blobs::{Blobs, S3Settings};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;

const BUCKET: &str = "pilvi-files";
const KEY: &str = "AKPILVI";
const SECRET: &str = "not a secret at all";

pub(crate) const NO_RESERVE: Reserve = Reserve {
    bytes: 0,
    percent: 0,
};

/// A place, and everything that is to end with it.
pub(crate) struct Place {
    pub(crate) blobs: Blobs,
    pub(crate) folder: TempDir,
    pub(crate) server: Option<S3>,
}

impl Place {
    pub(crate) async fn folder() -> Self {
        let folder = TempDir::new().unwrap();
        let blobs = Blobs::folder(&folder.path().join("files"), NO_RESERVE).await;
        Self {
            blobs: blobs.unwrap(),
            folder,
            server: None,
        }
    }

    pub(crate) async fn bucket() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir_all(folder.path().join("s3").join(BUCKET)).unwrap();
        let server = S3::start(&folder.path().join("s3")).await;
        let blobs = server.client(&folder.path().join("drafts"), SECRET).await;
        Self {
            blobs,
            folder,
            server: Some(server),
        }
    }
}

/// A server that keeps its buckets in a folder.
pub(crate) struct S3 {
    pub(crate) address: SocketAddr,
    tasks: TaskGroup,
}

impl S3 {
    pub(crate) async fn start(root: &Path) -> Self {
        let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskGroup::new();
        let group = tasks.clone();
        tasks.spawn("s3", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, ending) = (service.clone(), group.clone());
                group.spawn("s3 connection", async move {
                    let serving =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        () = ending.stopping() => {}
                    }
                });
                if group.is_stopping() {
                    break;
                }
            }
        });
        Self { address, tasks }
    }

    /// Ends all connections. The next attempt to connect ends the listener.
    pub(crate) async fn stop(&self) {
        self.tasks.stop();
        let _ = tokio::net::TcpStream::connect(self.address).await;
        assert!(self.tasks.drain(std::time::Duration::from_secs(10)).await);
    }

    pub(crate) async fn client(&self, drafts: &Path, secret: &str) -> Blobs {
        let settings = S3Settings {
            bucket: BUCKET.to_owned(),
            prefix: "a/b".to_owned(),
            endpoint: Some(format!("http://{}", self.address)),
            region: "eu-1".to_owned(),
            access_key_id: KEY.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: None,
        };
        Blobs::s3(&settings, drafts, NO_RESERVE).await.unwrap()
    }
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}
