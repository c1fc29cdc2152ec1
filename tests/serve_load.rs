//! Many transfers at once and one after the other: curl on the kernel's TCP
//! at one end, a server of ours on AF_XDP at the other.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{DEVICE, Net, Options, Side, require_root, wait_for};
use fullbore::cli::node::{EngineOptions, Node, NodeOptions};
use fullbore::transfer::app::{Server, ServerOptions};

/// A server in namespace A.
struct Served {
    node: Node,
    server: Server,
}

fn serve(net: &Net, dir: &Path, change: impl FnOnce(&mut NodeOptions) + Send) -> Served {
    let mut options = ServerOptions::new(dir.to_owned());
    options.writable = true;
    let server = Server::start(options).expect("the server starts");
    let name = DEVICE.to_owned();
    let mut node = NodeOptions::new(name);
    change(&mut node);
    let engines = node.engines.len();
    let node = net.enter(Side::A, || Node::start(&node, |_| server.app()));
    let node = node.expect("the node starts");
    wait_for("the server to listen", Duration::from_secs(5), || {
        server.listening() == engines
    });
    Served { node, server }
}

impl Served {
    /// Stops, and checks that every frame came back.
    fn finish(self) -> fullbore::stats::Snapshot {
        let counters = self.node.board().clone();
        self.node.stop();
        for end in self.node.join().expect("the engines end in order") {
            assert_eq!(end.ledger.outstanding(), 0, "{}", end.ledger);
        }
        drop(self.server);
        counters.total()
    }
}

/// Bytes that differ from file to file.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn curl(net: &Net) -> Command {
    let mut command = net.command(Side::B, "curl");
    command.args(["-sS", "--fail", "--max-time", "300"]);
    command
}

#[test]
#[ignore = "needs root"]
fn a_hundred_downloads_at_once_are_intact() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let data = content(10 << 20, 1);
    std::fs::write(dir.path().join("ten"), &data).unwrap();
    let served = serve(&net, dir.path(), |_| ());
    let out = tempfile::tempdir().unwrap();
    let url = format!("http://{}/ten", Side::A.ipv4());
    let started: Vec<_> = (0..100)
        .map(|i| {
            let file = out.path().join(i.to_string());
            curl(&net).arg("-o").arg(&file).arg(&url).spawn().unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    for i in 0..100 {
        let file = out.path().join(i.to_string());
        assert!(std::fs::read(file).unwrap() == data, "download {i}");
    }
    served.finish();
}

#[test]
#[ignore = "needs root"]
fn ten_thousand_small_ones_are_intact_with_and_without_keep_alive() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let data = content(600, 2);
    std::fs::write(dir.path().join("small"), &data).unwrap();
    let served = serve(&net, dir.path(), |_| ());
    let url = format!("http://{}/small?[1-10000]", Side::A.ipv4());
    for keep_alive in [true, false] {
        let mut command = curl(&net);
        if !keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        let output = command.arg(&url).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let all = output
            .stdout
            .chunks(data.len())
            .filter(|c| *c == data)
            .count();
        assert_eq!(all, 10_000, "keep-alive: {keep_alive}");
    }
    let totals = served.server.stats().totals();
    assert_eq!(totals.ok, 20_000);
    assert_eq!(totals.connections, 10_001);
    served.finish();
}

#[test]
#[ignore = "needs root"]
fn two_queues_two_engines_and_flows_on_both() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let data = content(3 << 20, 3);
    std::fs::write(dir.path().join("file"), &data).unwrap();
    let served = serve(&net, dir.path(), |node| {
        node.engines = (0..2)
            .map(|n| EngineOptions {
                queues: vec![n],
                core: Some(n as usize),
            })
            .collect();
    });
    let url = format!("http://{}/file", Side::A.ipv4());
    let out = tempfile::tempdir().unwrap();
    // The veth picks the queue by the flow's hash: of twenty flows some go
    // each way.
    let started: Vec<_> = (0..20)
        .map(|i| {
            let file = out.path().join(i.to_string());
            curl(&net).arg("-o").arg(&file).arg(&url).spawn().unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    for i in 0..20 {
        assert!(
            std::fs::read(out.path().join(i.to_string())).unwrap() == data,
            "download {i}"
        );
    }
    std::thread::sleep(Duration::from_millis(300));
    for (n, snapshot) in served.node.board().read().iter().enumerate() {
        assert!(snapshot.tcp.accepted > 0, "engine {n} has served nobody");
    }
    served.finish();
}

#[test]
#[ignore = "needs root"]
fn uploads_survive_loss_and_reordering() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let dir = tempfile::tempdir().unwrap();
    let data = content(4 << 20, 4);
    let file = dir.path().join("original");
    std::fs::write(&file, &data).unwrap();
    let faults = "loss=1%,dup=1%,reorder=5%,corrupt=0.1%,delay=2ms,seed=5";
    let served = serve(&net, dir.path(), |node| {
        node.faults = Some(faults.parse().unwrap());
    });
    for address in [Side::A.ipv4().to_string(), format!("[{}]", Side::A.ipv6())] {
        let done = curl(&net)
            .arg("-T")
            .arg(&file)
            .arg(format!("http://{address}/copy"))
            .output()
            .unwrap();
        assert!(done.status.success(), "{faults}: {done:?}");
        assert!(
            std::fs::read(dir.path().join("copy")).unwrap() == data,
            "{faults}"
        );
        let done = curl(&net)
            .arg(format!("http://{address}/copy"))
            .output()
            .unwrap();
        assert!(done.stdout == data, "{faults}");
        std::fs::remove_file(dir.path().join("copy")).unwrap();
    }
    served.finish();
}

#[test]
#[ignore = "needs root"]
fn frames_of_several_chunks_carry_files_both_ways() {
    if !require_root() {
        return;
    }
    let data = content(8 << 20, 6);
    // The MTUs of the two ends, and the size of our chunks.
    for (mtu, far, chunk) in [
        (9000, 9000, 2048),
        (9000, 9000, 4096),
        (65_535, 65_535, 4096),
        (9000, 1500, 4096),
        (4000, 9000, 2048),
    ] {
        let net = Net::pair(Options {
            mtu,
            ..Options::default()
        });
        let far_mtu = far.to_string();
        net.run(Side::B, "ip", &["link", "set", DEVICE, "mtu", &far_mtu]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("original");
        std::fs::write(&file, &data).unwrap();
        let served = serve(&net, dir.path(), |node| node.umem.chunk_size = chunk);
        let case = format!("MTU {mtu} and {far}, chunks of {chunk}");
        for address in [Side::A.ipv4().to_string(), format!("[{}]", Side::A.ipv6())] {
            let done = curl(&net)
                .arg("-T")
                .arg(&file)
                .arg(format!("http://{address}/copy"))
                .output()
                .unwrap();
            assert!(done.status.success(), "{case}: {done:?}");
            let copy = dir.path().join("copy");
            assert!(std::fs::read(&copy).unwrap() == data, "{case}");
            let done = curl(&net)
                .arg(format!("http://{address}/copy"))
                .output()
                .unwrap();
            assert!(done.stdout == data, "{case}");
            std::fs::remove_file(copy).unwrap();
        }
        let counters = served.finish();
        assert_eq!(counters.link.rx_oversize, 0, "{case}");
        // Twice the file each way: the frames were as long as they could be.
        let frames = counters.link.rx_frames.max(counters.tcp.segments_out);
        let payload = 2 * data.len() as u64;
        let whole = u64::from(mtu.min(far)).min(16_000);
        let most = payload / (whole / 3);
        assert!(frames <= most, "{case}: {frames} frames, {most} at most");
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_hears_answers_on_every_queue() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        queues: 2,
        ..Options::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let data = content(8 << 20, 6);
    std::fs::write(dir.path().join("file"), &data).unwrap();
    let served = serve(&net, dir.path(), |node| {
        node.engines[0].queues = vec![0, 1];
    });
    let out = dir.path().join("got");
    let url = format!("http://{}/file", Side::A.ipv4());
    let done = net
        .command(Side::B, env!("CARGO_BIN_EXE_fullbore"))
        .args(["get", &url, "--on", DEVICE, "-j", "8", "-o"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(std::fs::read(&out).unwrap() == data);
    served.finish();
}
