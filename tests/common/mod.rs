//! Network namespaces for tests with the real kernel: two of them, joined by
//! a veth pair, gone when the test ends in whatever way.
//!
//! Such tests are `#[ignore = "needs root"]` and call [`require_root`] first;
//! `scripts/test` runs them when it is root.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod ends;
pub mod program;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The device in each namespace.
pub const DEVICE: &str = "fb0";

/// Answers whether to go on. Without root a test fails, unless
/// `FULLBORE_ALLOW_SKIP=1` says that it may be left out.
#[must_use]
pub fn require_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    if std::env::var("FULLBORE_ALLOW_SKIP").is_ok_and(|v| v == "1") {
        eprintln!("skipped: needs root for network namespaces and AF_XDP");
        return false;
    }
    panic!(
        "needs root for network namespaces and AF_XDP; \
         FULLBORE_ALLOW_SKIP=1 leaves such tests out"
    );
}

/// An end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// 10.77.0.1 and fd77::1.
    A,
    /// 10.77.0.2 and fd77::2.
    B,
}

/// How the pair is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// MTU of both devices, in bytes.
    pub mtu: u32,
    /// Receive and transmit queues of both devices.
    pub queues: u32,
    /// Leaves checksums to the (absent) hardware, as a kernel on a veth does
    /// by default; AF_XDP receivers then see unfilled checksums.
    pub checksum_offload: bool,
    /// TSO, GSO and GRO on.
    pub segmentation_offload: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mtu: 1500,
            queues: 1,
            checksum_offload: false,
            segmentation_offload: true,
        }
    }
}

/// Two namespaces and the veth pair between them.
#[derive(Debug)]
pub struct Net {
    names: [String; 2],
}

impl Net {
    /// Makes the namespaces, the pair, its addresses (static neighbours are
    /// not set), and waits until both ends can be used.
    pub fn pair(options: Options) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let stem = format!(
            "fb-t{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let net = Self {
            names: [format!("{stem}a"), format!("{stem}b")],
        };
        for name in &net.names {
            run("ip", &["netns", "add", name]);
            quiet_ipv6(name);
        }
        let [a, b] = &net.names;
        let queues = options.queues.to_string();
        let mtu = options.mtu.to_string();
        run(
            "ip",
            &[
                "link",
                "add",
                DEVICE,
                "netns",
                a,
                "mtu",
                &mtu,
                "numrxqueues",
                &queues,
                "numtxqueues",
                &queues,
                "type",
                "veth",
                "peer",
                "name",
                DEVICE,
                "netns",
                b,
                "mtu",
                &mtu,
                "numrxqueues",
                &queues,
                "numtxqueues",
                &queues,
            ],
        );
        for side in [Side::A, Side::B] {
            net.set_up(side, options);
        }
        net.wait_until_running();
        net
    }

    fn set_up(&self, side: Side, options: Options) {
        let ns = self.namespace(side);
        let v4 = format!("{}/24", side.ipv4());
        let v6 = format!("{}/64", side.ipv6());
        run("ip", &["-n", ns, "address", "add", &v4, "dev", DEVICE]);
        run(
            "ip",
            &["-n", ns, "address", "add", &v6, "dev", DEVICE, "nodad"],
        );
        if !options.checksum_offload {
            self.run(side, "ethtool", &["-K", DEVICE, "tx", "off"]);
        }
        if !options.segmentation_offload {
            self.run(
                side,
                "ethtool",
                &["-K", DEVICE, "tso", "off", "gso", "off", "gro", "off"],
            );
        }
        run("ip", &["-n", ns, "link", "set", "lo", "up"]);
        run("ip", &["-n", ns, "link", "set", DEVICE, "up"]);
    }

    fn wait_until_running(&self) {
        for side in [Side::A, Side::B] {
            wait_for("the veth pair to come up", Duration::from_secs(5), || {
                let out = self.run(side, "ip", &["-o", "link", "show", "dev", DEVICE]);
                out.contains("LOWER_UP")
            });
        }
    }

    /// Takes IPv6 from the kernel at `side`: of itself it then sends nothing,
    /// for tests that count every frame.
    pub fn silence(&self, side: Side) {
        let disable = format!("echo 1 > /proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6");
        self.run(side, "sh", &["-c", &disable]);
    }

    /// Name of the namespace of `side`.
    pub fn namespace(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// Path of the namespace of `side`.
    pub fn path(&self, side: Side) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(side))
    }

    /// A command that will run in the namespace of `side`.
    pub fn command(&self, side: Side, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path(side).display()))
            .arg(program);
        command
    }

    /// Runs a program there to its end and returns what it wrote; fails the
    /// test if it fails.
    pub fn run(&self, side: Side, program: &str, args: &[&str]) -> String {
        finished(
            program,
            args,
            self.command(side, program).args(args).output(),
        )
    }

    /// Starts a program there; it is killed when the handle is dropped.
    pub fn spawn_in(&self, side: Side, program: &str, args: &[&str]) -> Process {
        let mut command = self.command(side, program);
        command.args(args).stdin(Stdio::null());
        Process::start(&mut command)
    }

    /// Runs `work` on a thread of this process that is in the namespace of
    /// `side`, and returns its result. Sockets opened there stay there.
    pub fn enter<T: Send>(&self, side: Side, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path(side);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter_namespace(&path);
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts `work` on a thread of its own in the namespace of `side`.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        side: Side,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = self.path(side);
        std::thread::spawn(move || {
            enter_namespace(&path);
            work()
        })
    }

    /// Hardware address of the device of `side`.
    pub fn mac(&self, side: Side) -> [u8; 6] {
        let out = self.run(side, "ip", &["-o", "link", "show", "dev", DEVICE]);
        let text = out
            .split("link/ether ")
            .nth(1)
            .and_then(|s| s.split(' ').next())
            .unwrap();
        let mut bytes = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        std::array::from_fn(|_| bytes.next().unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its IPv4 address.
    pub fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1 + self as u8)
    }

    /// Its IPv6 address.
    pub fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1 + self as u16)
    }

    /// Its IPv4 address.
    pub fn ip(self) -> IpAddr {
        self.ipv4().into()
    }
}

/// Moves this thread into a network namespace for good.
pub fn enter_namespace(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
        .unwrap_or_else(|e| panic!("cannot enter {}: {e}", path.display()));
}

/// A started program, killed and waited for on drop.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
}

impl Process {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Self { child: Some(child) }
    }

    /// The child, while it has not been waited for.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("not waited for yet")
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Ends it with SIGKILL and waits for it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end and returns what it wrote to its pipes.
    pub fn wait_with_output(mut self) -> Output {
        self.child
            .take()
            .expect("not waited for yet")
            .wait_with_output()
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program here to its end; fails the test if it fails.
pub fn run(program: &str, args: &[&str]) -> String {
    finished(program, args, Command::new(program).args(args).output())
}

fn finished(program: &str, args: &[&str], output: std::io::Result<Output>) -> String {
    let output = output.unwrap_or_else(|e| panic!("cannot run {program}: {e}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let _ = write!(text, "{}", String::from_utf8_lossy(&output.stderr));
        panic!("{program} {}: {}\n{text}", args.join(" "), output.status);
    }
    text
}

/// Asks again and again until `condition` holds; fails the test if it does
/// not within `limit`.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keeps the kernel from sending router solicitations and the like, so that
/// tests can count frames.
fn quiet_ipv6(name: &str) {
    let settings = "for d in all default; do \
        echo 0 > /proc/sys/net/ipv6/conf/$d/accept_ra; \
        echo 0 > /proc/sys/net/ipv6/conf/$d/router_solicitations; done";
    run(
        "nsenter",
        &[&format!("--net=/run/netns/{name}"), "sh", "-c", settings],
    );
}

/// Removes namespaces of test processes that were killed before they could.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix("fb-t")
            .and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}
