//! The files of a sandbox.

use std::fs;

use pilvi_runtime::{Ending, From, Mount};

use crate::world::{World, exec_to_end, is_possible};

#[tokio::test(flavor = "multi_thread")]
async fn folders_below_one_that_only_root_may_enter_can_be_shown() {
    if !is_possible() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let world = World::new("folders").await;
    let data = world.path("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let slug = world.folder("data/slug", 200_001);
    fs::write(slug.join("file"), "text\n").unwrap();
    let build = world.folder("data/build", 200_001);
    let (mut spec, output) = world.spec(&[
        "sh",
        "-c",
        "cat /slug/file; echo x > /slug/file; echo y > /build/new; ls -n /build",
    ]);
    let mount = |at: &str, path: &std::path::Path, writable| Mount {
        at: at.into(),
        from: From::Folder {
            path: path.to_owned(),
            writable,
        },
    };
    spec.mounts
        .extend([mount("/slug", &slug, false), mount("/build", &build, true)]);
    world.launch(spec).await.exited().await;
    let text = output.text();
    assert!(
        text.starts_with("text\n") && text.contains("Read-only file system"),
        "{text}"
    );
    assert!(text.contains("5000 5000 2 "), "{text}");
    assert_eq!(fs::read_to_string(build.join("new")).unwrap(), "y\n");
    let metadata = fs::metadata(build.join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 200_001);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layered_folder_takes_changes_and_keeps_what_is_below() {
    if !is_possible() {
        return;
    }
    let world = World::new("layered").await;
    let slug = world.folder("slug", 200_001);
    fs::create_dir(slug.join("folder")).unwrap();
    fs::write(slug.join("folder/file"), "old\n").unwrap();
    fs::write(slug.join("other"), "other\n").unwrap();
    for path in ["folder", "folder/file", "other"] {
        std::os::unix::fs::chown(slug.join(path), Some(200_001), Some(200_001)).unwrap();
    }
    let line = "cd /app && echo new > folder/file && rm other && mkdir other && touch other/made && mv folder moved && \
                cat moved/file && ls -A . other && head -c 2000000 /dev/zero > large";
    let (mut spec, output) = world.spec(&["sh", "-c", line]);
    spec.mounts.push(Mount {
        at: "/app".into(),
        from: From::Layered {
            lower: slug.clone(),
            upper_bytes: 1 << 20,
        },
    });
    let exit = world.launch(spec).await.exited().await;
    let text = output.text();
    assert!(
        text.starts_with("new\n.:\nmoved\nother\n\nother:\nmade\n"),
        "{text}"
    );
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(exit.ending, Ending::Code(1));
    assert_eq!(
        fs::read_to_string(slug.join("folder/file")).unwrap(),
        "old\n"
    );
    assert_eq!(fs::read_to_string(slug.join("other")).unwrap(), "other\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writable_places_in_memory_are_private_and_start_empty() {
    if !is_possible() {
        return;
    }
    let world = World::new("memory").await;
    let (mut spec, _) = world.spec(&["sh", "-c", "touch /tmp/mine /dev/shm/mine; exec sleep 1000"]);
    spec.mounts.push(Mount {
        at: "/var/cache/deep".into(),
        from: From::Memory { bytes: 1 << 20 },
    });
    let sandbox = world.launch(spec).await;
    let (_, text) = exec_to_end(
        &sandbox,
        &[
            "sh",
            "-c",
            "cd /var/cache/deep && echo x > y && cat y; stat -c %a /tmp",
        ],
    )
    .await;
    assert_eq!(text, "x\n1777\n");
    let (mut spec, output) = world.spec(&["sh", "-c", "ls -A /tmp /dev/shm; ls /var"]);
    spec.name = "other/web.1".into();
    spec.uid = 200_002;
    world.launch(spec).await.exited().await;
    assert!(output.text().starts_with("/dev/shm:\n\n/tmp:\n"));
    world.end().await;
}
