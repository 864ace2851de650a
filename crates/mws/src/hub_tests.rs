//! Several reactors, turned by the test.

use std::time::Duration;

use pilvi_model::Kind;
use serde_json::json;

use super::*;
use crate::peer::Frame;
use crate::roster::TagChange;
use crate::settings::plan::Plan;
use crate::stage::{Client, Stage, everyone, ours, to_sockets, to_tags};

fn theirs() -> GatewayId {
    GatewayId::from_bytes([2; 12])
}

#[test]
fn messages_never_cross_gateways() {
    let mut stage = Stage::with_reactors(2, Limits::default());
    let mut mine = stage.join(ours(), &["t"]);
    let mut other = stage.join(theirs(), &["t"]);
    for (to, text) in [
        (everyone(), "everyone"),
        (to_sockets(&[mine.id]), "socket"),
        (to_tags(&["t"]), "tag"),
    ] {
        stage.publish(ours(), &to, text);
        assert_eq!(stage.receive(&mut mine), Some(Frame::text(text)));
    }
    stage.publish(theirs(), &to_sockets(&[mine.id, other.id]), "foreign");
    assert_eq!(stage.receive(&mut other), Some(Frame::text("foreign")));
    assert_eq!(mine.poll(), None);

    let (hub, id) = (stage.hub.clone(), mine.id);
    let found = stage.ask(async move {
        let foreign = hub.find(theirs(), id).await.unwrap();
        let ended = hub.end(theirs(), id, Farewell::NORMAL).await.unwrap();
        (foreign, ended, hub.find(ours(), id).await.unwrap())
    });
    assert!(matches!(found, (None, false, Some(connected)) if connected.id == id));
}

#[test]
fn every_receiver_on_every_reactor_gets_a_message_once() {
    let mut stage = Stage::with_reactors(3, Limits::default());
    let mut clients: Vec<Client> = (0..9)
        .map(|number| {
            let tags: &[&str] = [&["a"][..], &["a", "b"], &[]][number % 3];
            stage.join(ours(), tags)
        })
        .collect();
    let named = [clients[2].id, clients[3].id];
    let to = Receivers {
        sockets: named.to_vec(),
        ..to_tags(&["b", "a", "b"])
    };
    stage.publish(ours(), &to, "some");
    stage.broadcast("all");
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 3 < 2 || named.contains(&client.id) {
            assert_eq!(stage.receive(client), Some(Frame::text("some")));
        }
        assert_eq!(stage.receive(client), Some(Frame::text("all")));
    }
    assert_eq!(stage.counts().deliveries, 7 + 9);
}

#[test]
fn the_sockets_of_a_gateway_are_spread_over_the_reactors() {
    let mut stage = Stage::with_reactors(4, Limits::default());
    // Alternating, so that a choice by the sum alone would give each gateway half of the reactors.
    let _clients: Vec<Client> = (0..16)
        .map(|number| stage.join([ours(), theirs()][number % 2], &[]))
        .collect();
    for gateway in [ours(), theirs()] {
        let lane = stage.hub.lane(gateway).unwrap();
        let on = lane.on.iter().map(|count| count.load(Ordering::SeqCst));
        assert_eq!(on.collect::<Vec<_>>(), [2, 2, 2, 2]);
    }
    for reactor in stage.hub.reactors() {
        assert_eq!(reactor.sockets, 4);
    }
}

#[test]
fn pages_over_all_reactors_hold_every_socket_once_and_in_the_same_order() {
    let mut stage = Stage::with_reactors(3, Limits::default());
    let clients: Vec<Client> = (0..10).map(|_| stage.join(ours(), &["t"])).collect();
    let all = stage.listed(ours());
    let mut sorted = all.clone();
    sorted.sort();
    let mut ids: Vec<SocketId> = clients.iter().map(|client| client.id).collect();
    ids.sort();
    assert_eq!(sorted, ids);
    for limit in 1..=11 {
        let mut paged = Vec::new();
        for offset in (0..12).step_by(limit) {
            let hub = stage.hub.clone();
            let page = stage.ask(async move { hub.page(ours(), offset, limit).await });
            paged.extend(page.unwrap().iter().map(|socket| socket.id));
        }
        assert_eq!(paged, all, "{limit}");
    }
}

#[test]
fn an_ended_socket_is_gone_at_once_and_ended_once() {
    let mut stage = Stage::with_reactors(2, Limits::default());
    let _other = stage.join(ours(), &[]);
    let mut client = stage.join(ours(), &[]);
    let (hub, id) = (stage.hub.clone(), client.id);
    let ended = stage.ask(async move {
        let first = hub.end(ours(), id, Farewell::NORMAL).await.unwrap();
        let found = hub.find(ours(), id).await.unwrap();
        (
            first,
            found,
            hub.end(ours(), id, Farewell::NORMAL).await.unwrap(),
        )
    });
    assert_eq!(ended, (true, None, false));
    assert_eq!(stage.receive(&mut client), Some(Frame::close(1000, "")));
}

#[test]
fn a_gateway_without_sockets_is_forgotten() {
    let mut stage = Stage::with_reactors(2, Limits::default());
    let first = stage.join(ours(), &[]);
    let second = stage.join(ours(), &[]);
    drop(first);
    stage.until(|stage| stage.hub.sockets() == 1);
    assert!(stage.hub.lane(ours()).is_some());
    drop(second);
    stage.until(|stage| stage.hub.sockets() == 0);
    assert!(stage.hub.lane(ours()).is_none());
    assert_eq!(stage.hub.shared.descriptors.load(Ordering::SeqCst), 0);
    stage.broadcast("to nobody");
}

#[test]
fn sockets_are_bounded_per_gateway_and_overall() {
    let mut stage = Stage::new(Limits {
        sockets_max: 4,
        sockets_per_gateway_max: 2,
        ..Limits::default()
    });
    let _two = [stage.join(ours(), &[]), stage.join(ours(), &[])];
    let berth = stage.hub.berth().unwrap();
    let berth = berth
        .seat(ours(), Share::boundless())
        .expect_err("the gateway is full");
    let _third = berth
        .seat(theirs(), Share::boundless())
        .expect("the other one is not");
    let _away = stage.turn_away(Farewell::FULL);
    assert!(
        stage.hub.berth().is_none(),
        "who is turned away has a descriptor, too"
    );
    assert_eq!(stage.hub.sockets(), 3);
}

#[test]
fn a_message_waits_while_many_are_on_the_way_and_only_for_its_own_gateway() {
    let mut stage = Stage::new(Limits {
        batch_messages_max: 3,
        ..Limits::default()
    });
    let mut client = stage.join(ours(), &[]);
    let _other = stage.join(theirs(), &[]);
    for text in ["1", "2", "3"] {
        stage.broadcast(text);
    }
    let publish = |stage: &Stage, gateway| {
        let accepted = stage
            .hub
            .publish(gateway, everyone(), Bytes::from_static(b"\x81\x014"));
        let accepted = stage.runtime.block_on(accepted);
        accepted.map(drop).map_err(|error| error.kind)
    };
    assert_eq!(publish(&stage, ours()), Err(Kind::Unavailable));
    assert_eq!(publish(&stage, theirs()), Ok(()));
    stage.turn();
    assert_eq!(publish(&stage, ours()), Ok(()));
    for text in ["1", "2", "3", "4"] {
        assert_eq!(stage.receive(&mut client), Some(Frame::text(text)));
    }
}

#[test]
fn sockets_are_bounded_over_all_gateways_of_an_account() {
    let mut stage = Stage::new(Limits::default());
    let share = |account: &str| Share {
        account: account.parse().unwrap(),
        most: 2,
    };
    let one = share("46738209-a745-4841-8eeb-1ca0672aa6b8");
    let other = share("46738209-a745-4841-8eeb-1ca0672aa6b9");
    let foreign = GatewayId::from_bytes([3; 12]);
    let mut seats: Vec<Seat> = [ours(), theirs()]
        .map(|gateway| stage.hub.berth().unwrap().seat(gateway, one).unwrap())
        .into();
    assert_eq!(stage.hub.sockets_of_account(one.account), 2);
    let berth = stage.hub.berth().unwrap();
    let berth = berth.seat(ours(), one).expect_err("the account is full");
    seats.push(berth.seat(foreign, other).expect("the other one is not"));
    assert_eq!(stage.hub.sockets_of(ours()), 1);
    drop(seats.remove(0));
    stage
        .hub
        .berth()
        .unwrap()
        .seat(theirs(), one)
        .expect("there is room again");
    seats.clear();
    stage.turn();
    assert!(stage.hub.shared.accounts().is_empty());
    assert_eq!(stage.hub.sockets(), 0);
}

/// Publishers that flood a gateway are sent away, not collected.
#[test]
fn messages_that_wait_are_bounded_in_number_and_bytes() {
    let frame = Bytes::from_static(b"\x81\x011");
    for (messages, bytes) in [(2, 1 << 20), (100, 2 * frame.len())] {
        let mut stage = Stage::new(Limits {
            batch_messages_max: 1,
            waiting_messages_max: messages,
            waiting_bytes_max: bytes,
            ..Limits::default()
        });
        let _client = stage.join(ours(), &[]);
        stage.broadcast("1");
        let (hub, frame) = (stage.hub.clone(), frame.clone());
        let publish = || Box::pin(hub.publish(ours(), everyone(), frame.clone()));
        stage.runtime.block_on(async {
            let mut waiting = [publish(), publish()];
            for waiting in &mut waiting {
                let now = futures_util::poll!(waiting);
                assert!(now.is_pending());
            }
            let refused = publish().await.unwrap_err();
            assert_eq!(refused.kind, Kind::Unavailable);
            drop(waiting);
            assert!(futures_util::poll!(publish()).is_pending());
        });
        let lane = stage.hub.lane(ours()).unwrap();
        assert_eq!(lane.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(lane.waiting_bytes.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn the_room_of_a_gateway_is_bounded_in_bytes_and_a_large_message_passes_alone() {
    let limits = Limits::default();
    let most = limits.batch_bytes_max;
    assert_eq!(permits(&limits, 10 * most) as usize, most);
    assert_eq!(permits(&limits, most - 1) as usize, most - 1);
    assert_eq!(
        permits(&limits, 1) as usize,
        most / limits.batch_messages_max
    );
    let fits = limits.batch_messages_max <= limits.queue_messages_max;
    assert!(
        fits && most <= limits.queue_bytes_max,
        "one batch makes nobody a slow reader"
    );
}

#[test]
fn a_reactor_that_breaks_down_starts_again() {
    let limits = Arc::new(Limits {
        reactors: 1,
        close_patience: Duration::from_millis(10),
        ..Limits::default()
    });
    let (hub, reactors) = Hub::with_reactors(
        limits,
        &Arc::default(),
        Clock::system(),
        &Presence::default(),
    )
    .unwrap();
    let [mut reactor] = <[Reactor; 1]>::try_from(reactors).unwrap();
    reactor.break_down();
    let thread = std::thread::spawn(move || keep_running(reactor));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let (sender, answer) = oneshot::channel();
    let question = Question::Page {
        offset: 0,
        limit: 1,
        answer: sender,
    };
    let inbox = &hub.shared.stations[0].inbox;
    inbox.push(Command::Ask(ours(), question));
    assert_eq!(runtime.unwrap().block_on(answer).unwrap().total, 0);
    hub.close();
    thread.join().unwrap();
}

#[test]
fn a_newcomer_misses_nothing_and_gets_nothing_twice_while_somebody_publishes() {
    const NEWCOMERS: usize = 200;
    const REPLAYED: usize = 100;
    let mut stage = Stage::with_reactors(2, Limits::default());
    let rule = json!({"tag": "t", "messages": 1000, "bytes": 1 << 20, "replay": REPLAYED});
    let plan = Plan::testing(&json!({ "history": [rule] }));
    let history = plan.history.clone().unwrap();
    let hub = stage.hub.clone();
    let [published, stop] = [0, 0].map(|number| Arc::new(AtomicUsize::new(number)));
    let (counter, stopped) = (Arc::clone(&published), Arc::clone(&stop));
    let publisher = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let publish = |text: String| {
            let frame = crate::frame::text(&text);
            hub.publish_and_keep(ours(), to_tags(&["t"]), frame, &history)
        };
        runtime.unwrap().block_on(async {
            while stopped.load(Ordering::SeqCst) == 0 {
                let number = counter.load(Ordering::SeqCst);
                publish(number.to_string()).await.unwrap();
                counter.store(number + 1, Ordering::SeqCst);
            }
            publish("end".to_owned()).await.unwrap();
        });
    });
    let arriving = (0..NEWCOMERS).map(|_| stage.arrive(ours(), &["t"]));
    let (newcomers, clients): (Vec<_>, Vec<_>) = arriving
        .map(|arriving| (arriving.newcomer, arriving.client))
        .unzip();
    let hub = stage.hub.clone();
    let counter = Arc::clone(&published);
    let joiner = std::thread::spawn(move || {
        let join = |newcomer| {
            let before = counter.load(Ordering::SeqCst);
            // Somebody publishes at this moment.
            while counter.load(Ordering::SeqCst) == before {
                std::thread::yield_now();
            }
            hub.join_with(newcomer, &plan);
            before
        };
        newcomers.into_iter().map(join).collect::<Vec<usize>>()
    });
    stage.until(|_| joiner.is_finished());
    stop.store(1, Ordering::SeqCst);
    stage.until(|_| publisher.is_finished());
    publisher.join().unwrap();
    let clients: Vec<Client> = clients
        .into_iter()
        .map(|client| stage.opened(client))
        .collect();
    let clients = clients.into_iter().zip(joiner.join().unwrap());
    for (mut client, before) in clients {
        let mut numbers = Vec::new();
        loop {
            let frame = stage.receive(&mut client).unwrap();
            let text = String::from_utf8(frame.payload).unwrap();
            match text.parse::<usize>() {
                Ok(number) => numbers.push(number),
                Err(_) => break,
            }
        }
        let missed = before.min(REPLAYED);
        assert!(numbers.len() >= missed, "{} of {missed}", numbers.len());
        let first = published.load(Ordering::SeqCst) - numbers.len();
        let expected: Vec<usize> = (first..published.load(Ordering::SeqCst)).collect();
        assert_eq!(numbers, expected);
        assert_eq!(client.poll(), None);
    }
}

#[test]
fn tags_and_members_of_all_reactors_are_one_list() {
    let mut stage = Stage::with_reactors(3, Limits::default());
    let plan = Plan::testing(&json!({"presence": {"tags": ["r.*"]}}));
    let mut clients = Vec::new();
    for number in 0..9 {
        let own = format!("r.{}", number % 4);
        let arriving = stage.arrive(ours(), &["r.all", &own, "unwatched"]);
        stage.hub.join_with(arriving.newcomer, &plan);
        clients.push(stage.opened(arriving.client));
    }
    let hub = stage.hub.clone();
    let (first, rest, members) = stage.ask(async move {
        let first = hub.watched(ours(), None, 2).await.unwrap();
        let rest = hub
            .watched(ours(), Some(Arc::from("r.1")), 9)
            .await
            .unwrap();
        let mut members = Vec::new();
        for offset in [0, 4, 8] {
            let section = hub.members(ours(), &Arc::from("r.all"), offset, 4).await;
            let section = section.unwrap();
            assert_eq!(section.total, 9);
            members.extend(section.sockets.into_iter().map(|socket| socket.id));
        }
        (first, rest, members)
    });
    let counted = |tags: Vec<(Arc<str>, usize)>| -> Vec<(String, usize)> {
        let tags = tags.into_iter();
        tags.map(|(tag, count)| (tag.to_string(), count)).collect()
    };
    assert_eq!(counted(first), [("r.0".into(), 3), ("r.1".into(), 2)]);
    assert_eq!(
        counted(rest),
        [("r.2".into(), 2), ("r.3".into(), 2), ("r.all".into(), 9)]
    );
    let mut expected: Vec<SocketId> = clients.iter().map(|client| client.id).collect();
    let mut members = members;
    expected.sort();
    members.sort();
    assert_eq!(members, expected);
}

#[test]
fn a_socket_can_be_given_other_tags_wherever_it_is_but_not_too_many() {
    let limits = Limits {
        tags_per_socket_max: 2,
        ..Limits::default()
    };
    let mut stage = Stage::with_reactors(2, limits);
    let mut clients = [stage.join(ours(), &["a"]), stage.join(ours(), &["a"])];
    let ids = [clients[0].id, clients[1].id];
    let tag = |name: &str| -> Vec<Arc<str>> { vec![Arc::from(name)] };
    let hub = stage.hub.clone();
    let change = TagChange::Replace(tag("b"));
    let more = |names: &[&str]| TagChange::Edit {
        add: names.iter().map(|name| Arc::from(*name)).collect(),
        remove: Vec::new(),
    };
    let [some, too_many] = [more(&["c"]), more(&["d", "e"])];
    let outcomes = stage.ask(async move {
        let replaced = hub.retag(ours(), ids[0], change).await.unwrap().unwrap();
        let edited = hub.retag(ours(), ids[1], some).await.unwrap().unwrap();
        let refused = hub.retag(ours(), ids[1], too_many).await.unwrap().unwrap();
        let foreign = hub
            .retag(theirs(), ids[0], TagChange::Replace(Vec::new()))
            .await;
        (
            replaced.unwrap().tags,
            edited.unwrap().tags,
            refused.is_err(),
            foreign.unwrap(),
        )
    });
    assert!(matches!(outcomes, (_, _, true, None)), "{outcomes:?}");
    assert_eq!(outcomes.0, tag("b"));
    assert_eq!(outcomes.1.len(), 2);
    stage.publish(ours(), &to_tags(&["a", "c"]), "to the second");
    stage.publish(ours(), &to_tags(&["b"]), "to the first");
    let texts = clients.each_mut().map(|client| stage.receive(client));
    let expected = ["to the first", "to the second"].map(|text| Some(Frame::text(text)));
    assert_eq!(texts, expected);
}

#[test]
fn a_gateway_compresses_while_it_has_sockets_that_take_it() {
    let stage = Stage::new(Limits::default());
    let seat = || {
        let berth = stage.hub.berth().unwrap();
        berth
            .seat(ours(), Share::boundless())
            .expect("there is room")
    };
    let plain = seat();
    let lane = stage.hub.lane(ours()).unwrap();
    let spoken = || {
        let mut formats = Format::ALL.to_vec();
        formats.retain(|format| lane.speaks(*format));
        formats
    };
    assert_eq!(spoken(), []);
    let first = seat().in_format(Format::Deflated);
    let second = seat().in_format(Format::Deflated);
    let narrow = seat().in_format(Format::Narrow);
    assert_eq!(spoken(), [Format::Deflated, Format::Narrow]);
    drop((first, narrow, plain));
    assert_eq!(spoken(), [Format::Deflated]);
    drop(second.in_format(Format::EventStream));
    assert_eq!(spoken(), []);
}
