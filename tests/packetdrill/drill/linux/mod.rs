//! The Linux kernel as a target, in real time: a network namespace of its own,
//! a veth pair, and a packet socket at the runner's end of it.

mod call;
mod info;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::target::{Call, CallId, Ends, Fd, Info, Outcome, Plan, Target};
use crate::kernel::wire::Wire;
use crate::kernel::{self, HOST_MAC, PEER_MAC, Settings};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 254);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa8, 0, 0, 0, 0, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa8, 0, 0, 0, 0, 0, 0xfe);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

const ETHERNET: usize = 14;
/// For how long a thread that is let go may take to notice.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer, with its time.
type Answer = (CallId, Instant, Outcome);

/// The kernel's TCP in a namespace that nothing else is in.
pub struct Linux {
    wire: Wire,
    v6: bool,
    start: Instant,
    /// Packets taken from the wire and not yet given out.
    packets: VecDeque<(Duration, Vec<u8>)>,
    answers: BTreeMap<CallId, (Duration, Outcome)>,
    calls: u64,
    /// Set by a script, applied to each socket: a namespace may not choose
    /// all of them for itself.
    congestion: Option<String>,
    open: Vec<Fd>,
    /// Calls that last, each on a thread.
    lasting: Vec<(Vec<Fd>, std::thread::JoinHandle<()>)>,
    answered: Receiver<Answer>,
    answer: Sender<Answer>,
    /// Written to with each answer, to end a wait.
    bell: OwnedFd,
}

impl Linux {
    /// A kernel without any connection. Moves the calling thread into a new
    /// namespace for good: each script wants a thread of its own. Needs root.
    pub fn new(plan: &Plan) -> Self {
        let mut settings = Settings::new((LOCAL, 24), GATEWAY);
        settings.mtu = u32::from(plan.mtu);
        // The window shift that the scripts expect of everybody.
        settings.sysctl("ipv4/tcp_rmem", "4096 131072 4194304");
        // A SYN is repeated after 1, 2, 4 s from the beginning.
        settings.sysctl("ipv4/tcp_syn_linear_timeouts", "0");
        // Scripts know of this limit.
        settings.sysctl("ipv4/tcp_invalid_ratelimit", "500");
        if plan.v6 {
            settings.add_ipv6(LOCAL_V6, GATEWAY_V6);
        }
        let wire = kernel::enter(&settings);
        let (answer, answered) = channel();
        Self {
            wire,
            v6: plan.v6,
            start: Instant::now(),
            packets: VecDeque::new(),
            answers: BTreeMap::new(),
            calls: 0,
            congestion: Some("cubic".into()),
            open: Vec::new(),
            lasting: Vec::new(),
            answered,
            answer,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .expect("an event's descriptor"),
        }
    }

    /// Takes what has come over the wire and from threads.
    fn take(&mut self) {
        let now = Instant::now();
        while let Some((at, frame)) = self.wire.receive(now) {
            if let Some(packet) = self.packet_of(&frame) {
                let at = at.saturating_duration_since(self.start);
                self.packets.push_back((at, packet.to_vec()));
            }
        }
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        for (id, at, outcome) in self.answered.try_iter() {
            let at = at.saturating_duration_since(self.start);
            self.answers.insert(id, (at, outcome));
        }
    }

    /// The IP packet in a frame, if it is one between the two ends.
    fn packet_of<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let packet = frame.get(ETHERNET..)?;
        let (kind, len) = match frame.get(12..14)? {
            [0x08, 0x00] => {
                let ours = packet.get(12..16)? == LOCAL.octets();
                let len = u16::from_be_bytes([packet[2], packet[3]]);
                (!self.v6 && ours, usize::from(len))
            }
            [0x86, 0xdd] => {
                let ours = packet.get(8..24)? == LOCAL_V6.octets()
                    && packet.get(24..40)? == REMOTE_V6.octets();
                let len = u16::from_be_bytes([packet[4], packet[5]]);
                (self.v6 && ours, 40 + usize::from(len))
            }
            _ => return None,
        };
        // Without the padding of short frames.
        packet.get(..len).filter(|_| kind)
    }

    fn answer_now(&mut self, id: CallId, outcome: Outcome) {
        let at = self.start.elapsed();
        self.answers.insert(id, (at, outcome));
    }
}

impl Target for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn offers(&self, need: &str) -> bool {
        need != "virtual-time"
    }

    fn ends(&self) -> Ends {
        let (local, remote): (IpAddr, IpAddr) = if self.v6 {
            (LOCAL_V6.into(), REMOTE_V6.into())
        } else {
            (LOCAL.into(), REMOTE.into())
        };
        Ends { local, remote }
    }

    fn configure(&mut self, name: &str, value: &str) -> bool {
        if name == "tcp_congestion_control" {
            self.congestion = Some(value.to_owned());
            return true;
        }
        let value = value.replace(',', " ");
        std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).is_ok()
    }

    fn now(&mut self) -> Duration {
        self.start.elapsed()
    }

    fn advance(&mut self, until: Duration) {
        let (packets, answers) = (self.packets.len(), self.answers.len());
        loop {
            self.take();
            if self.packets.len() > packets || self.answers.len() > answers {
                return;
            }
            let left = until.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(self.wire.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("cannot wait for packets: {e}"),
            }
        }
    }

    fn inject(&mut self, packet: &[u8]) {
        let mut frame = Vec::with_capacity(ETHERNET + packet.len());
        frame.extend(HOST_MAC);
        frame.extend(PEER_MAC);
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        frame.extend(packet);
        self.wire.send(&frame);
    }

    fn capture(&mut self) -> Option<(Duration, Vec<u8>)> {
        if self.packets.is_empty() {
            self.take();
        }
        self.packets.pop_front()
    }

    fn call(&mut self, call: &Call) -> CallId {
        self.calls += 1;
        let id = CallId(self.calls);
        self.let_others_go_first(call);
        match call::at_once(call) {
            Some(outcome) => {
                self.note(call, &outcome);
                self.answer_now(id, outcome);
            }
            None => self.begin(id, call.clone()),
        }
        id
    }

    fn finished(&mut self, id: CallId) -> Option<(Duration, Outcome)> {
        if !self.answers.contains_key(&id) {
            self.take();
        }
        self.answers.remove(&id)
    }

    fn info(&mut self, fd: Fd) -> Option<Info> {
        info::read(fd)
    }
}

impl Linux {
    /// Remembers which descriptors are open.
    fn note(&mut self, call: &Call, outcome: &Outcome) {
        match (call, outcome.result) {
            (Call::Socket { .. }, Ok(fd)) => {
                self.open.push(fd as Fd);
                if let Some(name) = &self.congestion {
                    let answer = call::set_congestion(fd as Fd, name);
                    assert_eq!(answer.result, Ok(0), "congestion controller {name}");
                }
            }
            (Call::Accept { .. }, Ok(fd)) => self.open.push(fd as Fd),
            (Call::Close { fd }, _) => self.open.retain(|open| open != fd),
            _ => {}
        }
    }

    /// Gives a call that waits on the same descriptor, and perhaps need not
    /// any more, time to return.
    fn let_others_go_first(&self, call: &Call) {
        let fds = call::descriptors(call);
        let waits = |(of, thread): &(Vec<Fd>, std::thread::JoinHandle<()>)| {
            !thread.is_finished() && of.iter().any(|fd| fds.contains(fd))
        };
        if self.lasting.iter().any(waits) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Makes a call that may last on a thread of its own, which is in this
    /// one's namespace.
    fn begin(&mut self, id: CallId, call: Call) {
        let answer = self.answer.clone();
        let bell = self.bell.try_clone().expect("a descriptor");
        let fds = call::descriptors(&call);
        if let Call::Close { fd } = &call {
            self.open.retain(|open| open != fd);
        }
        let thread = std::thread::spawn(move || {
            let outcome = call::make(&call);
            // The target may be gone.
            let _ = answer.send((id, Instant::now(), outcome));
            let _ = rustix::io::write(&bell, &1u64.to_ne_bytes());
        });
        self.lasting.push((fds, thread));
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        for fd in &self.open {
            call::let_go(*fd);
        }
        let limit = Instant::now() + PATIENCE;
        for (fds, thread) in self.lasting.drain(..) {
            while !thread.is_finished() && Instant::now() < limit {
                for fd in &fds {
                    call::let_go(*fd);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        for fd in self.open.drain(..) {
            let _ = call::close(fd);
        }
    }
}
