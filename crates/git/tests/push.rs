//! Pushes by the real `git` and `ssh`, through both doors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{APP, Mood, PATIENCE, Server, ended, kill_all, soon, until_said};
use pilvi_git::{Limits, SshLimits};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_deployed_and_its_lines_are_read_while_it_waits() {
    let server = Server::start().await;
    server.work("work").await;
    for (number, url) in server.urls().iter().enumerate() {
        server
            .commit("work", "again.txt", &format!("{number}"))
            .await;
        let said = server.ok("work", &["push", url, "master"]).await;
        let lines: Vec<_> = said.lines().map(str::trim_end).collect();
        assert!(
            lines.contains(&"remote: -----> Building again.txt hello.txt"),
            "{said}"
        );
        assert!(
            lines.contains(&"remote:        Uploading ... done."),
            "{said}"
        );
        let head = server.head_of("work").await;
        assert_eq!(server.served("refs/heads/master").await.unwrap(), head);
        let seen = server.deployer.seen.lock().unwrap();
        let (push, _) = seen.last().unwrap();
        assert_eq!((&*push.app, &*push.deploy.commit), (APP, &*head));
        assert_eq!(push.deploy.previous.is_some(), number > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_rejects_the_push_and_nothing_of_it_stays() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Reject);
    for url in server.urls() {
        let said = server.fails("work", &["push", &url, "master"]).await;
        assert!(said.contains("remote: The build has failed."), "{said}");
        assert!(
            said.contains("! [remote rejected] master -> master (pre-receive hook declined)"),
            "{said}"
        );
        assert_eq!(server.served("refs/heads/master").await, None);
        assert!(server.quarantines().is_empty());
    }
    server.mood(Mood::Accept);
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_before_the_push_is_over() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Wait);
    for url in server.urls() {
        server.commit("work", "again.txt", &url).await;
        let mut push = server.push_in_background("work", &url);
        until_said(&mut push, "-----> Building").await;
        assert!(push.try_wait().unwrap().is_none());
        server.deployer.go.notify_one();
        let (succeeded, said) = ended(push).await;
        assert!(succeeded, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_is_deployed_too_and_a_clone_then_begins_with_it() {
    let server = Server::start().await;
    server.work("work").await;
    server.ok("work", &["branch", "main"]).await;
    let url = server.ssh_url();
    server.ok("work", &["push", &url, "main"]).await;
    assert_eq!(server.deployed(), ["main"]);
    server.ok(".", &["clone", "-q", &url, "clone"]).await;
    let branch = server.ok("clone", &["branch", "--show-current"]).await;
    assert_eq!(branch.trim(), "main");
    server.ok("work", &["push", &url, "master"]).await;
    let head = server.served("HEAD").await;
    assert_eq!(head, server.served("refs/heads/master").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_master_and_main_in_one_push_master_is_deployed_once() {
    let server = Server::start().await;
    server.work("work").await;
    server.ok("work", &["branch", "main"]).await;
    let said = server
        .ok("work", &["push", &server.ssh_url(), "main", "master"])
        .await;
    assert!(
        said.contains("remote: Stored, but not deployed: main. Only master is deployed"),
        "{said}"
    );
    assert_eq!(server.deployed(), ["master"]);
    assert!(server.served("refs/heads/main").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_branches_and_tags_are_stored_with_a_line() {
    let server = Server::start().await;
    server.work("work").await;
    server.ok("work", &["tag", "-a", "v1", "-m", "first"]).await;
    server.ok("work", &["branch", "feature"]).await;
    for url in server.urls() {
        let said = server.ok("work", &["push", &url, "feature", "v1"]).await;
        assert!(
            said.contains("remote: Stored, but not deployed: feature. Push to master"),
            "{said}"
        );
        assert!(said.contains("remote: Stored tags: v1."), "{said}");
        assert!(server.served("refs/heads/feature").await.is_some());
        assert!(server.served("refs/tags/v1").await.is_some());
        let said = server
            .ok("work", &["push", &url, "--delete", "feature", "v1"])
            .await;
        assert!(said.contains("remote: Deleted: feature, v1."), "{said}");
        assert_eq!(server.served("refs/heads/feature").await, None);
    }
    assert!(server.deployed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_branch_takes_the_others_with_it() {
    let server = Server::start().await;
    server.work("work").await;
    server.ok("work", &["branch", "feature"]).await;
    server.mood(Mood::Reject);
    let said = server
        .fails("work", &["push", &server.ssh_url(), "master", "feature"])
        .await;
    assert!(
        said.contains("! [remote rejected] feature -> feature (pre-receive hook declined)"),
        "{said}"
    );
    assert_eq!(server.served("refs/heads/feature").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_push_is_deployed_and_said() {
    let server = Server::start().await;
    server.work("work").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    for url in server.urls() {
        server
            .ok("work", &["commit", "-q", "--amend", "-m", &url])
            .await;
        let said = server.fails("work", &["push", &url, "master"]).await;
        assert!(said.contains("rejected"), "{said}");
        let said = server
            .ok("work", &["push", "--force", &url, "master"])
            .await;
        assert!(
            said.contains("remote: The history of master is replaced"),
            "{said}"
        );
        assert_eq!(
            server.served("refs/heads/master").await.unwrap(),
            server.head_of("work").await
        );
    }
    assert_eq!(server.deployed().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_cannot_be_deleted() {
    let server = Server::start().await;
    server.work("work").await;
    for url in server.urls() {
        server.ok("work", &["push", &url, "master"]).await;
        let said = server
            .fails("work", &["push", &url, "--delete", "master"])
            .await;
        assert!(
            said.contains("remote: The branch master is what is deployed"),
            "{said}"
        );
        assert!(server.served("refs/heads/master").await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_nothing_is_no_deploy() {
    let server = Server::start().await;
    server.work("work").await;
    for url in server.urls() {
        server.ok("work", &["push", &url, "master"]).await;
        let said = server.ok("work", &["push", &url, "master"]).await;
        assert!(said.contains("Everything up-to-date"), "{said}");
    }
    assert_eq!(server.deployed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_no_branches_or_tags_are_refused() {
    let server = Server::start().await;
    server.work("work").await;
    let said = server
        .fails(
            "work",
            &["push", &server.ssh_url(), "master:refs/for/master"],
        )
        .await;
    assert!(said.contains("refs/for/master is neither"), "{said}");
    assert_eq!(server.served("refs/for/master").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_rules_hold_and_submodules_are_not_there() {
    let server = Server::start().await;
    server.work("work").await;
    std::fs::write(server.path("work/secret.txt"), "x").unwrap();
    server
        .commit(
            "work",
            ".gitattributes",
            "secret.txt export-ignore\n.gitattributes export-ignore",
        )
        .await;
    let head = server.head_of("work").await;
    let link = format!("160000,{head},sub");
    server
        .ok("work", &["update-index", "--add", "--cacheinfo", &link])
        .await;
    server
        .ok("work", &["commit", "-q", "-m", "a submodule"])
        .await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    let seen = server.deployer.seen.lock().unwrap();
    assert_eq!(seen[0].1, ["hello.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_the_limit_is_refused_in_words() {
    let limits = Limits {
        push_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    server.work("work").await;
    // Much more than fits into all buffers on the way.
    let noise: Vec<u8> = (0..3 << 20)
        .flat_map(|_| pilvi_base::secret::random_bytes::<8>())
        .collect();
    std::fs::write(server.path("work/large.bin"), noise).unwrap();
    server.commit("work", "more.txt", "more").await;
    for url in server.urls() {
        let said = server.fails("work", &["push", &url, "master"]).await;
        assert!(
            said.contains("remote: fatal: pack exceeds maximum allowed size (1024.00 KiB)"),
            "{said}"
        );
        assert!(
            said.contains("! [remote rejected] master -> master"),
            "{said}"
        );
        server.quiet().await;
        assert!(server.quarantines().is_empty());
    }
    assert!(server.deployed().is_empty());
    // The limit is one of a push and not of the history.
    server
        .ok(
            "work",
            &["push", &server.ssh_url(), "HEAD~1:refs/heads/master"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_full_takes_no_push_until_it_is_reset() {
    let limits = Limits {
        repository_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    server.work("work").await;
    let noise: Vec<u8> = (0..1 << 18)
        .flat_map(|_| pilvi_base::secret::random_bytes::<8>())
        .collect();
    std::fs::write(server.path("work/large.bin"), noise).unwrap();
    server.commit("work", "more.txt", "more").await;
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    server.commit("work", "more.txt", "even more").await;
    let said = server
        .fails("work", &["push", &server.ssh_url(), "master"])
        .await;
    assert!(said.contains("mar repo:reset"), "{said}");
    server.repositories.reset(APP).await.unwrap();
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
    assert!(server.repositories.size(APP).await.unwrap() > 1 << 20);
    server.repositories.remove(APP).await.unwrap();
    assert_eq!(server.repositories.size(APP).await.unwrap(), 0);
    server.repositories.remove(APP).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_objects_are_not_kept() {
    let server = Server::start().await;
    server.work("work").await;
    let tree = server.ok("work", &["rev-parse", "HEAD^{tree}"]).await;
    // A commit without an author.
    let commit = format!(
        "tree {}\ncommitter A <a@b> 1400000000 +0000\n\nbroken\n",
        tree.trim()
    );
    std::fs::write(server.path("commit"), commit).unwrap();
    let arguments = [
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        "../commit",
    ];
    let broken = server.ok("work", &arguments).await;
    let refspec = format!("{}:refs/heads/master", broken.trim());
    let said = server
        .fails("work", &["push", &server.ssh_url(), &refspec])
        .await;
    assert!(said.contains("missingAuthor"), "{said}");
    assert!(server.deployed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_one_app_come_one_after_the_other() {
    let server = Server::start().await;
    server.work("work").await;
    server.work("other").await;
    server.ok("other", &["branch", "-m", "main"]).await;
    server.mood(Mood::Wait);
    let [ssh, http] = server.urls();
    let mut first = server.push_in_background("work", &ssh);
    until_said(&mut first, "-----> Building").await;
    server.begun().await;
    let mut command = server.git("other", &["push", &http, "main"]);
    let mut second = command.stderr(Stdio::piped()).spawn().unwrap();
    until_said(
        &mut second,
        "remote: Another push of this app is being deployed.",
    )
    .await;
    assert_eq!(server.deployed(), ["master"]);
    server.deployer.go.notify_one();
    assert!(ended(first).await.0);
    server.begun().await;
    assert_eq!(server.deployed(), ["master", "main"]);
    server.deployer.go.notify_one();
    assert!(ended(second).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_moved_while_a_push_waited_is_not_deployed_over() {
    let server = Server::start().await;
    server.work("work").await;
    server.work("other").await;
    server.commit("other", "other.txt", "other").await;
    server.mood(Mood::Wait);
    let mut first = server.push_in_background("work", &server.http_url());
    until_said(&mut first, "-----> Building").await;
    let mut second = server.push_in_background("other", &server.ssh_url());
    until_said(&mut second, "remote: Another push").await;
    server.deployer.go.notify_one();
    assert!(ended(first).await.0);
    let (succeeded, said) = ended(second).await;
    assert!(
        !succeeded && said.contains("Somebody else has pushed master meanwhile"),
        "{said}"
    );
    assert_eq!(server.deployed(), ["master"]);
    assert_eq!(
        server.served("refs/heads/master").await.unwrap(),
        server.head_of("work").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_pushes_wait_than_the_limit_allows() {
    let limits = Limits {
        waiting_max: 0,
        processes_per_app_max: 2,
        process_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let url = server.ssh_url();
    let mut first = server.push_in_background("work", &url);
    until_said(&mut first, "-----> Building").await;
    let said = server.fails("work", &["push", &url, "master:main"]).await;
    assert!(
        said.contains("remote: Too many pushes of this app are waiting already."),
        "{said}"
    );
    // A branch that is only stored need not wait.
    server.ok("work", &["push", &url, "master:feature"]).await;
    server.deployer.go.notify_one();
    assert!(ended(first).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_bounded_and_the_refusal_says_so() {
    let limits = Limits {
        processes_per_app_max: 1,
        process_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let mut first = server.push_in_background("work", &server.ssh_url());
    until_said(&mut first, "-----> Building").await;
    for url in server.urls() {
        let said = server.fails("work", &["fetch", &url, "master"]).await;
        assert!(
            said.contains("There are too many pushes and fetches at the moment."),
            "{said}"
        );
    }
    server.deployer.go.notify_one();
    assert!(ended(first).await.0);
    server
        .ok("work", &["fetch", &server.ssh_url(), "master"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_cancels_its_build_and_leaves_nothing() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Wait);
    for url in server.urls() {
        let mut push = server.push_in_background("work", &url);
        until_said(&mut push, "-----> Building").await;
        kill_all(&mut push).await;
        let abandoned = soon(
            "the build is abandoned",
            server.deployer.abandoned.acquire(),
        )
        .await;
        abandoned.unwrap().forget();
        server.quiet().await;
        assert!(server.quarantines().is_empty());
        assert_eq!(server.served("refs/heads/master").await, None);
    }
    server.mood(Mood::Accept);
    server
        .ok("work", &["push", &server.ssh_url(), "master"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_while_it_waits_gives_up_its_place() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let [ssh, http] = server.urls();
    let mut first = server.push_in_background("work", &ssh);
    until_said(&mut first, "-----> Building").await;
    let mut second = server.push_in_background("work", &http);
    until_said(&mut second, "remote: Another push").await;
    kill_all(&mut second).await;
    server.deployer.go.notify_one();
    assert!(ended(first).await.0);
    server.quiet().await;
    assert_eq!(server.deployed(), ["master"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_heed_is_parted_from_its_push() {
    let limits = Limits {
        farewell: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::with(limits, SshLimits::default()).await;
    server.work("work").await;
    server.mood(Mood::Stubborn);
    let mut push = server.push_in_background("work", &server.ssh_url());
    until_said(&mut push, "-----> Building").await;
    kill_all(&mut push).await;
    server.quiet().await;
    assert!(server.quarantines().is_empty());
    assert_eq!(server.served("refs/heads/master").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_pushes_first() {
    let server = Server::start().await;
    server.work("work").await;
    server.mood(Mood::Wait);
    let mut push = server.push_in_background("work", &server.ssh_url());
    until_said(&mut push, "-----> Building").await;
    assert!(server.tasks.drain(PATIENCE).await);
    let (succeeded, said) = ended(push).await;
    assert!(!succeeded, "{said}");
    assert!(said.contains("pre-receive hook declined"), "{said}");
    assert!(server.quarantines().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_developers_own_configuration_does_not_reach_the_server() {
    let server = Server::start().await;
    server.work("work").await;
    // The files where a git of this user would look for its settings.
    std::fs::write(
        server.path(".gitconfig"),
        "[receive]\n\tdenyDeletes = true\n[core]\n\thooksPath = /nowhere\n",
    )
    .unwrap();
    let url = server.ssh_url();
    server
        .ok("work", &["push", &url, "master", "master:feature"])
        .await;
    server
        .ok("work", &["push", &url, "--delete", "feature"])
        .await;
    assert_eq!(server.deployed(), ["master"]);
}
