//! Where the comparison happens: two network namespaces and a veth pair
//! between them, which nobody else sees and which the kernel removes when
//! this process ends, whatever ends it.
//!
//! The names of the namespaces, and the files that are transferred, are
//! mounted in a mount namespace of this process alone. Programs are started
//! through this one's own binary, which enters the namespace, asks to be
//! killed when its parent ends, and becomes the program.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::utp_peer;

/// The interface, of the same name at both ends.
pub const DEVICE: &str = "fb0";
/// Addresses of the kernel at the client's and the server's end.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 79, 0, 1), Ipv4Addr::new(10, 79, 0, 2)];
/// Where files lie: in memory, seen by this process and its children.
pub const FILES: &str = "/mnt";
/// The first argument that turns this program into a way into a namespace.
pub const ENTER: &str = "--enter-namespace";
/// Stands for the fullbore that this program was built with.
pub const FULLBORE: &str = "fullbore";

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one that opens connections, and sends.
    Client,
    /// The other.
    Server,
}

impl Side {
    /// Name of its network namespace.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Client => "fba",
            Self::Server => "fbb",
        }
    }

    /// Its address in the kernel.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        ADDRESSES[self as usize]
    }
}

/// What the kernel may leave to a NIC that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Nothing: frames of the MTU's size, with checksums, as on a cable.
    Plain,
    /// The same, and the receiver gathers segments (GRO).
    Gro,
    /// Whatever the driver comes with.
    AsItComes,
    /// As the first, with two queues at each end.
    TwoQueues,
}

/// The features that are switched, as ethtool calls them.
const FEATURES: [(&str, &str); 4] = [
    ("tso", "tcp-segmentation-offload"),
    ("gso", "generic-segmentation-offload"),
    ("gro", "generic-receive-offload"),
    ("tx", "tx-checksumming"),
];

/// The namespaces, with a veth pair once [`Place::wire`] was called.
pub struct Place {
    mtu: u16,
    cores: [Option<usize>; 2],
}

impl Place {
    /// Makes the namespaces. To be called by the main thread, before there is
    /// any other: threads and children inherit what it does.
    ///
    /// # Errors
    /// Without root, or without `ip`, `mount` and `ethtool`.
    pub fn new(mtu: u16) -> Result<Self, String> {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|e| format!("a mount namespace cannot be made: {e}; it needs root"))?;
        for dir in ["/run/netns", FILES] {
            std::fs::create_dir_all(dir).map_err(|e| format!("{dir}: {e}"))?;
        }
        done("mount --make-rprivate /")?;
        done("mount -t tmpfs fullbore-netns /run/netns")?;
        done(&format!("mount -t tmpfs fullbore-files {FILES}"))?;
        for side in [Side::Client, Side::Server] {
            let name = side.namespace();
            done(&format!("ip netns add {name}"))?;
            done(&format!("ip -n {name} link set lo up"))?;
            // No frames but those that are measured.
            within(side, || {
                let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
                // Absent where IPv6 is.
                let _ = std::fs::write(path, "1");
                let path = "/proc/sys/net/ipv4/ip_local_port_range";
                std::fs::write(path, "1024 65535").map_err(|e| format!("{path}: {e}"))
            })?;
        }
        let all = core_affinity::get_core_ids().unwrap_or_default();
        let cores = match all[..] {
            [first, .., last] => [Some(first.id), Some(last.id)],
            _ => [None, None],
        };
        Ok(Self { mtu, cores })
    }

    /// The core of an end's thread.
    #[must_use]
    pub const fn core(&self, side: Side) -> Option<usize> {
        self.cores[side as usize]
    }

    /// Bytes of the largest IP packet.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Makes a fresh pair, in place of the one before: nothing of an earlier
    /// measurement is left in it.
    ///
    /// # Errors
    /// What `ip` and `ethtool` say.
    pub fn wire(&self, wire: Wire) -> Result<(), String> {
        let [a, b] = [Side::Client, Side::Server].map(Side::namespace);
        let mtu = self.mtu;
        if within(Side::Client, || Ok(exists(DEVICE)))? {
            done(&format!("ip -n {a} link delete {DEVICE}"))?;
        }
        let queues = match wire {
            Wire::TwoQueues => "numtxqueues 2 numrxqueues 2",
            _ => "",
        };
        done(&format!(
            "ip link add {DEVICE} mtu {mtu} {queues} netns {a} type veth \
             peer name {DEVICE} mtu {mtu} {queues} netns {b}"
        ))?;
        for side in [Side::Client, Side::Server] {
            let name = side.namespace();
            let features: &[_] = match (wire, side) {
                (Wire::AsItComes, _) => &[],
                (Wire::Gro, Side::Server) => &["tso off", "gso off", "gro on", "tx off"],
                _ => &["tso off", "gso off", "gro off", "tx off"],
            };
            for feature in features {
                within(side, || done(&format!("ethtool -K {DEVICE} {feature}")))?;
            }
            let address = side.address();
            done(&format!(
                "ip -n {name} address add {address}/24 dev {DEVICE}"
            ))?;
            done(&format!("ip -n {name} link set {DEVICE} up"))?;
        }
        Ok(())
    }

    /// What the driver leaves to the NIC by default: `tso on gso on ...`.
    ///
    /// # Errors
    /// As [`wire`](Self::wire).
    pub fn defaults(&self) -> Result<String, String> {
        self.wire(Wire::AsItComes)?;
        let text = within(Side::Server, || output(&format!("ethtool -k {DEVICE}")))?;
        let state = |name: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(name));
            line.and_then(|line| line.split(':').nth(1))
                .and_then(|value| value.split_whitespace().next())
                .unwrap_or("unknown")
                .to_owned()
        };
        Ok(FEATURES
            .map(|(short, name)| format!("{short} {}", state(name)))
            .join(" "))
    }

    /// Pins this thread to an end's core.
    pub fn pin(&self, side: Side) {
        if let Some(id) = self.core(side) {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
    }

    /// A command in an end's namespace, pinned to its core if asked to.
    #[must_use]
    pub fn command(&self, side: Side, pinned: bool, program: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        let core = self.core(side).filter(|_| pinned);
        command
            // By which who looks for them finds them.
            .env("FULLBORE_COMPARE", std::process::id().to_string())
            .arg(ENTER)
            .arg(side.namespace())
            .arg(core.map_or_else(|| "any".to_owned(), |c| c.to_string()))
            .arg(program);
        command
    }
}

fn exists(device: &str) -> bool {
    // Of the namespace of the thread that reads it.
    std::fs::read_to_string("/proc/thread-self/net/dev")
        .is_ok_and(|text| text.contains(&format!("{device}:")))
}

/// Enters a namespace, for this thread only.
fn enter(name: &str) -> io::Result<()> {
    let file = File::open(Path::new("/run/netns").join(name))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Does `work` in an end's namespace, on a thread of its own.
///
/// # Errors
/// Those of `work`.
pub fn within<T: Send>(
    side: Side,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(side.namespace()).map_err(|e| format!("namespace: {e}"))?;
                work()
            })
            .join()
    })
    .map_err(|_| "a thread panicked".to_owned())?
}

/// Does the work of both ends at once, each on a thread in its namespace and
/// on its core. The server's begins first; `ready` is for it to call when the
/// client may begin.
///
/// # Errors
/// The client's, or the server's.
pub fn both<S: Send, C: Send>(
    place: &Place,
    server: impl FnOnce(&dyn Fn()) -> Result<S, String> + Send,
    client: impl FnOnce() -> Result<C, String> + Send,
) -> Result<(S, C), String> {
    std::thread::scope(|scope| {
        let (send, ready) = std::sync::mpsc::channel();
        let serving = scope.spawn(move || {
            enter(Side::Server.namespace()).map_err(|e| format!("namespace: {e}"))?;
            place.pin(Side::Server);
            server(&|| {
                // A client that has ended says so itself.
                let _ = send.send(());
            })
        });
        let asking = scope.spawn(move || {
            // Without it the server has failed, which is told below.
            ready.recv().map_err(|_| String::new())?;
            enter(Side::Client.namespace()).map_err(|e| format!("namespace: {e}"))?;
            place.pin(Side::Client);
            client()
        });
        let joined = (serving.join(), asking.join());
        let (Ok(served), Ok(asked)) = joined else {
            return Err("a thread panicked".to_owned());
        };
        match (served, asked) {
            (Ok(served), Ok(asked)) => Ok((served, asked)),
            (Err(e), _) => Err(format!("server: {e}")),
            (_, Err(e)) => Err(format!("client: {e}")),
        }
    })
}

/// Becomes the program that the arguments behind [`ENTER`] name.
#[must_use]
pub fn become_program(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> String {
    let (Some(namespace), Some(core), Some(program)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return "arguments are missing".to_owned();
    };
    if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("the parent's end cannot be watched: {e}");
    }
    if let Err(e) = enter(&namespace.to_string_lossy()) {
        return format!("namespace: {e}");
    }
    if let Some(id) = core.to_str().and_then(|core| core.parse().ok()) {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    let mut command = if program == FULLBORE || program == utp_peer::NAME {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(&program);
        command
    } else {
        Command::new(&program)
    };
    let error = command.args(arguments).exec();
    format!("{}: {error}", program.to_string_lossy())
}

/// A program in the background, killed when this is dropped.
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts it. What it says goes to a file.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(command: &mut Command, name: &str) -> Result<Self, String> {
        let log = Path::new(FILES).join(format!("{name}.log"));
        let file = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let out = file.try_clone().map_err(|e| format!("{name}: {e}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(file)
            .spawn()
            .map_err(|e| format!("{name}: {e}"))?;
        Ok(Self { child, log })
    }

    /// What it has said.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Processor time that its threads have had.
    ///
    /// # Errors
    /// It has ended.
    pub fn ran(&self) -> Result<Duration, String> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let fail = |e: io::Error| format!("{tasks}: {e}");
        let mut nanos = 0;
        for task in std::fs::read_dir(&tasks).map_err(fail)? {
            let path = task.map_err(fail)?.path().join("schedstat");
            // A thread may end meanwhile.
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let ran = text.split_whitespace().next();
            nanos += ran.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Waits until `ready`, for ten seconds at most.
    ///
    /// # Errors
    /// When it ends before, or the time is over.
    pub fn wait_until(&mut self, mut ready: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            // It may get ready and end at once.
            let ended = !matches!(self.child.try_wait(), Ok(None));
            if ready(self) {
                return Ok(());
            }
            if ended || begin.elapsed() > Duration::from_secs(10) {
                return Err(format!("did not get ready: {}", self.said().trim()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, for at most `limit`: how long it took and what
/// it printed.
///
/// # Errors
/// It fails, or takes longer.
pub fn timed(command: &mut Command, limit: Duration) -> Result<(Duration, String), String> {
    let paths = ["stdout", "stderr"].map(|name| Path::new(FILES).join(name));
    let open = |path: &Path| File::create(path).map_err(|e| format!("{}: {e}", path.display()));
    let [out, err] = [open(&paths[0])?, open(&paths[1])?];
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|e| e.to_string())?;
    let status: ExitStatus = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < limit => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done after {limit:?}"));
            }
        }
    };
    let took = begin.elapsed();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    if status.success() {
        Ok((took, read(&paths[0])))
    } else {
        Err(format!("{status}: {}", read(&paths[1]).trim()))
    }
}

/// What a command prints.
fn output(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let done = command.args(words).stdin(Stdio::null()).output();
    let done = done.map_err(|e| format!("`{line}`: {e}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&done.stderr);
        Err(format!("`{line}`: {}", said.trim()))
    }
}

fn done(line: &str) -> Result<(), String> {
    output(line).map(drop)
}
