//! The real kernel's TCP as a host that crafted frames are exchanged with: a
//! network namespace of its own with one end of a veth pair configured, and a
//! packet socket on the other end.
#![allow(dead_code, reason = "each binary uses its own part")]

pub mod diag;
pub mod wire;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wire::Wire;

/// The device that the kernel's addresses are on.
pub const DEVICE: &str = "fbk0";
/// The other end, of which the kernel makes no use.
const FAR_DEVICE: &str = "fbk1";
/// Ethernet address of the kernel's end.
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ethernet address of whoever speaks through the packet socket.
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Of the far device itself: frames to the peer are not for it, so that the
/// kernel takes none of them.
const FAR_MAC: &str = "02:00:00:00:00:ff";
/// For how long the pair may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the namespace is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The kernel's address, and the prefix length of its network.
    pub host: (Ipv4Addr, u8),
    /// An address of that network: the peer's, and the way to all others.
    pub peer: Ipv4Addr,
    /// Likewise over IPv6, in a network of 64 bits.
    pub ipv6: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Further lines for `ip -batch`.
    pub ip: Vec<String>,
    /// Values below `/proc/sys/net`, as `ipv4/tcp_sack` and `0`.
    pub sysctls: Vec<(String, String)>,
    /// MTU of both devices, in bytes.
    pub mtu: u32,
}

impl Settings {
    /// Settings under which the kernel's answers do not depend on what the
    /// machine was set to, and no rate limit hides one.
    pub fn new(host: (Ipv4Addr, u8), peer: Ipv4Addr) -> Self {
        let sysctls = [
            ("ipv4/tcp_congestion_control", "reno"),
            ("ipv4/tcp_challenge_ack_limit", "2147483647"),
            ("ipv4/tcp_invalid_ratelimit", "0"),
            ("ipv4/tcp_no_metrics_save", "1"),
            ("ipv4/tcp_autocorking", "0"),
            // Used if the peer asks for it.
            ("ipv4/tcp_ecn", "2"),
            ("ipv4/tcp_fastopen", "0"),
            ("ipv4/tcp_comp_sack_nr", "0"),
            ("ipv4/tcp_mtu_probing", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv4/ip_local_port_range", "49152 65535"),
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ];
        Self {
            host,
            peer,
            ipv6: None,
            ip: Vec::new(),
            sysctls: sysctls.map(|(k, v)| (k.into(), v.into())).into(),
            mtu: 1500,
        }
    }

    /// Gives the kernel an IPv6 address as well, in a network of 64 bits, with
    /// the peer at `peer`, which is the way to all others.
    pub fn add_ipv6(&mut self, host: Ipv6Addr, peer: Ipv6Addr) {
        for device in ["all", "default"] {
            self.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "0");
            self.sysctl(&format!("ipv6/conf/{device}/accept_ra"), "0");
            self.sysctl(&format!("ipv6/conf/{device}/router_solicitations"), "0");
        }
        self.ipv6 = Some((host, peer));
        let mac = mac_text(PEER_MAC);
        self.ip.extend([
            format!("addr add {host}/64 dev {DEVICE} nodad"),
            format!("neigh add {peer} lladdr {mac} nud permanent dev {DEVICE}"),
            format!("route add default via {peer}"),
        ]);
    }

    /// Sets a value below `/proc/sys/net`.
    pub fn sysctl(&mut self, key: &str, value: &str) {
        self.sysctls.push((key.into(), value.into()));
    }
}

/// Runs `work` on a thread in a fresh namespace. Threads that it starts are
/// there as well; with the last of them the namespace goes.
pub fn in_namespace<T: Send>(settings: &Settings, work: impl FnOnce(Wire) -> T + Send) -> T {
    let result = std::thread::scope(|scope| scope.spawn(|| work(enter(settings))).join());
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Moves this thread into a fresh namespace for good, and makes the pair.
pub fn enter(settings: &Settings) -> Wire {
    // SAFETY: no memory is involved; only this thread changes its namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "cannot make a network namespace: {error}");
    hurry();
    for (key, value) in &settings.sysctls {
        let path = format!("/proc/sys/net/{key}");
        std::fs::write(&path, value).unwrap_or_else(|e| panic!("{path} = {value}: {e}"));
    }
    let [host, peer] = [HOST_MAC, PEER_MAC].map(mac_text);
    let mut batch = format!(
        "link set lo up\n\
         link add {DEVICE} address {host} mtu {mtu} type veth \
         peer name {FAR_DEVICE} address {FAR_MAC} mtu {mtu}\n\
         addr add {ip}/{prefix} dev {DEVICE}\n",
        mtu = settings.mtu,
        ip = settings.host.0,
        prefix = settings.host.1,
    );
    let _ = write!(
        batch,
        "link set {FAR_DEVICE} promisc on up\n\
         link set {DEVICE} up\n\
         neigh add {gateway} lladdr {peer} nud permanent dev {DEVICE}\n\
         route add default via {gateway}\n",
        gateway = settings.peer,
    );
    for line in &settings.ip {
        batch += line;
        batch.push('\n');
    }
    run("ip", &["-batch", "-"], &batch);
    // Offloads would leave checksums unfilled and segments larger than sent.
    let off = "tx off tso off gso off gro off sg off";
    let args: Vec<&str> = ["-K", DEVICE].into_iter().chain(off.split(' ')).collect();
    run("ethtool", &args, "");
    let wire = Wire::open(FAR_DEVICE);
    wait_until_up(&wire, settings);
    wire
}

/// Puts this thread, and those that it will start, before all ordinary ones:
/// they do little, but late they do the wrong thing. Not being allowed to is
/// no failure.
fn hurry() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` outlives the call; only this thread is changed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) };
}

/// Frames sent before the carrier is there are lost, and the kernel may take
/// note of the carrier for IPv6 as much as a second after that: asks for its
/// Ethernet address until it answers.
fn wait_until_up(wire: &Wire, settings: &Settings) {
    let is_arp = |f: &[u8]| f.get(12..14) == Some(&[8, 6]) && f.get(20..22) == Some(&[0, 2]);
    ask(wire, &arp_request(settings.peer, settings.host.0), is_arp);
    if let Some((host, peer)) = settings.ipv6 {
        let is_advertisement = |f: &[u8]| {
            f.get(12..14) == Some(&[0x86, 0xdd])
                && f.get(20) == Some(&58)
                && f.get(54) == Some(&136)
        };
        ask(wire, &solicitation(peer, host), is_advertisement);
    }
}

/// Sends `question` again and again until an answer comes.
fn ask(wire: &Wire, question: &[u8], is_answer: impl Fn(&[u8]) -> bool) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        wire.send(question);
        let next = Instant::now() + Duration::from_millis(20);
        while let Some((_, frame)) = wire.receive(next) {
            if is_answer(&frame) {
                return;
            }
        }
    }
    panic!("the veth pair does not come up");
}

/// A neighbour solicitation (RFC 4861 section 4.3).
fn solicitation(from: Ipv6Addr, of: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(of.octets());
    message.extend([1, 1]);
    message.extend(PEER_MAC);
    let addresses = [from.octets(), of.octets()].concat();
    let words = [&addresses[..], &message].concat();
    let words = words
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let mut sum = words.sum::<u32>() + 58 + message.len() as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = [HOST_MAC, PEER_MAC].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    frame.extend(addresses);
    frame.extend(message);
    frame
}

fn arp_request(from: Ipv4Addr, of: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(PEER_MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(PEER_MAC);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(of.octets());
    frame
}

fn mac_text(mac: [u8; 6]) -> String {
    let bytes = mac.map(|b| format!("{b:02x}"));
    bytes.join(":")
}

/// Runs a program with `input` to its end; fails the test if it fails.
fn run(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes it; its status tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("its end can be awaited");
    assert!(
        output.status.success(),
        "{program} {}: {}\n{input}{}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
