//! The kernel's link, addresses, routes and neighbours reach the stack, in
//! network namespaces without a name, which go with the threads in them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fullbore::engine::netlink::{Feed, KernelSync, NetlinkError};
use fullbore::stack::kernel::{KernelConfig, KernelRequest, KernelUpdate, NeighbourState};
use fullbore::stack::route::RouteKind;

const PATIENCE: Duration = Duration::from_secs(10);
/// Times that a neighbour table is rewritten to flood the news.
const ROUNDS: u8 = 30;

fn enter_new_namespace() {
    // SAFETY: no memory is involved; only this thread changes its namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("cannot run `ip` of iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs `work` in a namespace that has `fbn0`, joined to `fbn1` in another.
fn with_pair(work: impl FnOnce() + Send + 'static) {
    let (path_out, path_in) = mpsc::channel::<String>();
    let (done, wait) = mpsc::channel::<()>();
    let (ready, up) = mpsc::channel::<()>();
    let (moved, arrived) = mpsc::channel::<()>();
    let peer = std::thread::spawn(move || {
        enter_new_namespace();
        // SAFETY: only reads this thread's number.
        let thread = unsafe { libc::gettid() };
        let path = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        path_out.send(path).unwrap();
        arrived.recv_timeout(PATIENCE).unwrap();
        ip("addr add 192.0.2.2/24 dev fbn1");
        ip("addr add 2001:db8::2/64 dev fbn1 nodad");
        ip("link set fbn1 up");
        ready.send(()).unwrap();
        let _ = wait.recv();
    });
    let path = path_in.recv_timeout(PATIENCE).unwrap();
    let local = std::thread::spawn(move || {
        enter_new_namespace();
        ip("link add fbn0 type veth peer name fbn1");
        ip(&format!("link set fbn1 netns {path}"));
        moved.send(()).unwrap();
        up.recv_timeout(PATIENCE).unwrap();
        ip("addr add 192.0.2.1/24 dev fbn0");
        ip("addr add 2001:db8::1/64 dev fbn0 nodad");
        ip("link set fbn0 up");
        work();
    });
    let outcome = local.join();
    drop(done);
    let peer = peer.join();
    if let Err(panic) = outcome.and(peer) {
        std::panic::resume_unwind(panic);
    }
}

/// The next update that `pick` accepts.
fn expect<T>(feed: &Feed, what: &str, mut pick: impl FnMut(&KernelUpdate) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while Instant::now() < end {
        match feed.poll() {
            Some(update) => match pick(&update) {
                Some(found) => return found,
                None => seen.push(update),
            },
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    panic!("no update with {what}; came: {seen:#?}");
}

fn config<T>(feed: &Feed, what: &str, pick: impl Fn(&KernelConfig) -> Option<T>) -> T {
    expect(feed, what, |update| match update {
        KernelUpdate::Config(config) => pick(config),
        _ => None,
    })
}

fn neighbour<T>(
    feed: &Feed,
    what: &str,
    of: &str,
    pick: impl Fn(NeighbourState) -> Option<T>,
) -> T {
    let of: IpAddr = of.parse().unwrap();
    expect(feed, what, |update| match update {
        KernelUpdate::Neighbour(ip, state) if *ip == of => pick(*state),
        KernelUpdate::Neighbours(all) => all
            .iter()
            .find(|(ip, _)| *ip == of)
            .and_then(|(_, state)| pick(*state)),
        _ => None,
    })
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn addresses_routes_and_link_are_followed() {
    with_pair(|| {
        let (sync, feeds) = KernelSync::start("fbn0", vec![None, None]).unwrap();
        let first = &feeds[0];
        let address = "192.0.2.1/24".parse().unwrap();
        assert!(sync.config().addresses.contains(&address));
        config(first, "the first address and the link up", |c| {
            (c.addresses.contains(&address) && c.link.up).then_some(())
        });

        ip("addr add 198.51.100.1/24 dev fbn0");
        for feed in &feeds {
            config(feed, "a second address", |c| {
                let added = "198.51.100.1/24".parse().unwrap();
                c.addresses.contains(&added).then_some(())
            });
        }
        ip("link set lo up");
        ip("route add 203.0.113.0/24 via 192.0.2.2 mtu 1400 metric 7");
        ip("route add unreachable 203.0.113.128/25");
        ip("route add default dev lo");
        ip("route add 2001:db8:1::/48 via 2001:db8::2");
        config(first, "the routes", |c| {
            let find = |to: &str| {
                let to = to.parse().unwrap();
                c.routes.iter().find(|r| r.to == to).copied()
            };
            // A dump may have come before the last of them.
            let v6 = find("2001:db8:1::/48")?;
            assert_eq!(v6.gateway, Some("2001:db8::2".parse().unwrap()));
            let route = find("203.0.113.0/24")?;
            assert_eq!(route.gateway, Some("192.0.2.2".parse().unwrap()));
            assert_eq!((route.mtu, route.metric), (Some(1400), 7));
            assert_eq!(route.kind, RouteKind::Here);
            assert_eq!(find("203.0.113.128/25")?.kind, RouteKind::Refused);
            assert_eq!(find("0.0.0.0/0")?.kind, RouteKind::Elsewhere);
            Some(())
        });
        ip("route del 203.0.113.0/24");
        ip("addr del 198.51.100.1/24 dev fbn0");
        ip("link set fbn0 mtu 1300");
        config(first, "what is left after deletions", |c| {
            let route = "203.0.113.0/24".parse().unwrap();
            let address = "198.51.100.1/24".parse().unwrap();
            (c.link.mtu == 1300
                && !c.addresses.contains(&address)
                && c.routes.iter().all(|r| r.to != route))
            .then_some(())
        });
        ip("link set fbn0 down");
        config(first, "the link down", |c| (!c.link.up).then_some(()));
        ip("link del fbn0");
        config(first, "no link", |c| (c.link.index == 0).then_some(()));
        let start = Instant::now();
        drop(sync);
        assert!(start.elapsed() < Duration::from_secs(1), "slow to end");
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn neighbours_are_followed_and_resolved_on_request() {
    with_pair(|| {
        let (_sync, feeds) = KernelSync::start("fbn0", vec![None]).unwrap();
        let feed = &feeds[0];
        for peer in ["192.0.2.2", "2001:db8::2"] {
            feed.request(KernelRequest::Resolve(peer.parse().unwrap()));
            let mac = neighbour(feed, "the peer reachable", peer, |state| match state {
                NeighbourState::Reachable(mac) => Some(mac),
                _ => None,
            });
            assert!(mac.is_unicast());
        }
        feed.request(KernelRequest::Resolve("192.0.2.77".parse().unwrap()));
        neighbour(feed, "nobody's failure", "192.0.2.77", |state| {
            (state == NeighbourState::Failed).then_some(())
        });
        ip("neigh replace 192.0.2.2 lladdr 02:00:5e:10:00:01 nud permanent dev fbn0");
        let by_hand = NeighbourState::Reachable("02:00:5e:10:00:01".parse().unwrap());
        neighbour(feed, "the address set by hand", "192.0.2.2", |state| {
            (state == by_hand).then_some(())
        });
        ip("neigh del 192.0.2.2 dev fbn0");
        neighbour(feed, "the neighbour's end", "192.0.2.2", |state| {
            matches!(state, NeighbourState::Gone | NeighbourState::Failed).then_some(())
        });
    });
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn an_engine_that_does_not_read_still_gets_the_final_state() {
    with_pair(|| {
        let (_sync, feeds) = KernelSync::start("fbn0", vec![None]).unwrap();
        let mut batch = String::new();
        // More than the thread's socket holds, so that news is lost.
        for round in 1..=ROUNDS {
            for host in 10..250 {
                batch += &format!(
                    "neigh replace 192.0.2.{host} lladdr 02:00:00:00:{round:02x}:{host:02x} \
                     nud permanent dev fbn0\n"
                );
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        ip(&format!("-batch {}", file.path().display()));
        // Long enough for the thread to find the channel full.
        std::thread::sleep(Duration::from_millis(300));
        let mut last = HashMap::new();
        let right = |last: &HashMap<IpAddr, NeighbourState>| {
            (10..250u8).all(|host| {
                let mac = format!("02:00:00:00:{ROUNDS:02x}:{host:02x}")
                    .parse()
                    .unwrap();
                last.get(&IpAddr::from([192, 0, 2, host])) == Some(&NeighbourState::Reachable(mac))
            })
        };
        let end = Instant::now() + PATIENCE;
        while !right(&last) {
            assert!(Instant::now() < end, "the final state never came");
            match feeds[0].poll() {
                Some(KernelUpdate::Neighbours(all)) => last = all.iter().copied().collect(),
                Some(KernelUpdate::Neighbour(ip, state)) => drop(last.insert(ip, state)),
                Some(KernelUpdate::Config(_)) => {}
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    });
}

#[test]
fn a_missing_interface_is_named() {
    let error = KernelSync::start("fb-none0", vec![None]).map(drop);
    let error = error.unwrap_err();
    assert!(matches!(&error, NetlinkError::NoInterface(name) if name == "fb-none0"));
    assert!(error.to_string().contains("fb-none0"), "{error}");
}
