//! Files in a bucket of a real S3 server, and what clients hear when it does not answer.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pilvi_e2e::api::text;
use pilvi_e2e::http::Request;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::world::{announce, content, download, files_below, piece, start, upload};

const BUCKET: &str = "pilvi-files";
const KEY: &str = "AKPILVI";
const SECRET: &str = "not a secret at all";

/// An S3 server on a thread of its own. It keeps its buckets in a folder.
struct S3 {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl S3 {
    fn start(root: &Path, at: SocketAddr) -> Self {
        let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let ending = Arc::new(AtomicBool::new(false));
        let (told, address) = std::sync::mpsc::sync_channel(1);
        let thread = {
            let ending = Arc::clone(&ending);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::bind(at).await.unwrap();
                    told.send(listener.local_addr().unwrap()).unwrap();
                    let mut connections = tokio::task::JoinSet::new();
                    while let Ok((stream, _)) = listener.accept().await {
                        if ending.load(Ordering::SeqCst) {
                            return;
                        }
                        let serving = http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service.clone());
                        connections.spawn(serving);
                    }
                });
            })
        };
        Self {
            address: address.recv().unwrap(),
            ending,
            thread: Some(thread),
        }
    }

    fn stop(mut self) -> SocketAddr {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
        self.address
    }
}

#[test]
fn files_live_in_a_bucket_and_nothing_of_them_on_the_disk() {
    let folder = TempDir::new().unwrap();
    let (data, root) = (folder.path().join("data"), folder.path().join("s3"));
    std::fs::create_dir_all(root.join(BUCKET)).unwrap();
    let s3 = S3::start(&root, SocketAddr::from(([127, 0, 0, 1], 0)));
    let endpoint = format!("http://{}", s3.address);
    let place = format!("s3://{BUCKET}/house");
    let words = [
        "--files",
        &place,
        "--s3-endpoint",
        &endpoint,
        "--s3-access-key-id",
        KEY,
        "--s3-secret-access-key",
        SECRET,
    ];
    let server = start(&data, &words);
    let backend = server.cloud().create_backend("files");
    // Small enough for one request, and larger than a part.
    let (small, large) = (content(1000), content(9 << 20));
    let ids = [&small, &large].map(|bytes| text(&upload(&backend, bytes).must_be(201), "/id"));
    let pieces = announce(&backend);
    for (start, end) in [(0, 600), (600, 1000)] {
        let request = piece(&pieces, start, &large[start..end], 1000);
        backend.send_as_admin(request).must_be(200);
    }
    assert!(download(&server, &backend, &ids[0]).body == small);
    assert!(download(&server, &backend, &ids[1]).body == large);
    assert!(download(&server, &backend, &pieces).body == large[..1000]);
    assert!(files_below(&data.join("files")).is_empty());
    let kept = root.join(BUCKET).join("house").join(&backend.id);
    // The pieces came to the same bytes as the small one.
    assert_eq!(files_below(&kept).len(), 2, "{:?}", files_below(&kept));
    assert!(!server.log().contains(SECRET), "{}", server.log());

    // While the bucket is away, everything else works.
    let path = format!("/v1/files/{}/download_url", ids[0]);
    let url = backend.send_as_admin(Request::get(path)).must_be(200);
    let url = text(&url, "/expiringUrl");
    let at = s3.stop();
    let path = &url[url.find("/v1/downloads/").unwrap()..];
    for refused in [
        Request::get(path).send(server.http),
        upload(&backend, b"another"),
    ] {
        let refused = refused.must_be(503);
        let message = text(&refused, "/errors/0/message");
        assert!(
            message.contains("store of files cannot be reached"),
            "{message}"
        );
        assert!(!message.contains("127.0.0.1"), "{message}");
    }
    backend.create("notes", &serde_json::json!({"n": 1}));
    let s3 = S3::start(&root, at);
    assert!(Request::get(path).send(server.http).body == small);
    server.stop();
    s3.stop();
}

#[test]
fn settings_of_a_bucket_that_lack_a_key_do_not_start_a_server() {
    let data = TempDir::new().unwrap();
    let mut command = std::process::Command::new(pilvi_e2e::process::binary());
    command
        .args([
            "serve",
            "--json",
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.1:0",
        ])
        .args(["--ssh", "127.0.0.1:0", "--files", "s3://bucket", "--data"])
        .arg(data.path());
    let ended = pilvi_e2e::child::Client::start("pilvi serve", &mut command)
        .ended(std::time::Duration::from_secs(30));
    assert!(!ended.status.success(), "{}", ended.report());
    assert!(
        ended.report().contains("s3-access-key-id"),
        "{}",
        ended.report()
    );
}
