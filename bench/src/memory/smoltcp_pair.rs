//! Two smoltcp interfaces.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::{Pair, ROUND, Settings, Sink, Source};

const PORT: u16 = 5001;
/// Rounds without a byte after which the connection counts as stuck: 10 s.
const STUCK: u32 = 1_000_000;

/// One direction.
#[derive(Default)]
struct Lane {
    arrived: VecDeque<Vec<u8>>,
    /// Empty buffers, used again.
    spare: Vec<Vec<u8>>,
}

/// One end of a wire between two interfaces.
struct End {
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
    /// Where a frame is made, if the wire copies.
    frame: Option<Vec<u8>>,
    mtu: usize,
}

impl End {
    fn pair(settings: &Settings, copies: bool) -> (Self, Self) {
        let (a, b) = (Rc::<RefCell<Lane>>::default(), Rc::default());
        let mtu = usize::from(settings.mtu) + 14;
        let end = |incoming: &Rc<_>, outgoing: &Rc<_>| Self {
            incoming: Rc::clone(incoming),
            outgoing: Rc::clone(outgoing),
            frame: copies.then(|| vec![0; mtu]),
            mtu,
        };
        (end(&a, &b), end(&b, &a))
    }
}

struct RxToken<'a> {
    lane: &'a RefCell<Lane>,
    frame: Vec<u8>,
}

struct TxToken<'a> {
    lane: &'a RefCell<Lane>,
    frame: Option<&'a mut Vec<u8>>,
}

impl Device for End {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        // Checksums are computed and verified by default.
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }

    fn receive(&mut self, now: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let frame = self.incoming.borrow_mut().arrived.pop_front()?;
        let lane = &*self.incoming;
        let _ = now;
        let tx = TxToken {
            lane: &self.outgoing,
            frame: self.frame.as_mut(),
        };
        Some((RxToken { lane, frame }, tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken {
            lane: &self.outgoing,
            frame: self.frame.as_mut(),
        })
    }
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.frame);
        self.lane.borrow_mut().spare.push(self.frame);
        result
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut lane = self.lane.borrow_mut();
        let mut buffer = lane.spare.pop().unwrap_or_default();
        let result = match self.frame {
            Some(frame) => {
                let frame = &mut frame[..len];
                let result = f(frame);
                buffer.clear();
                buffer.extend_from_slice(frame);
                result
            }
            None => {
                buffer.resize(len, 0);
                f(&mut buffer)
            }
        };
        lane.arrived.push_back(buffer);
        result
    }
}

/// An interface with one socket.
struct Node {
    device: End,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Node {
    fn new(mut device: End, last: u8, settings: &Settings, now: Instant) -> Result<Self, String> {
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, last]).into());
        config.random_seed = u64::from(last);
        let mut interface = Interface::new(config, &mut device, now);
        let mut full = false;
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(10, 0, 0, last), 24);
            full = addresses.push(address).is_err();
        });
        if full {
            return Err("smoltcp has no room for an address".to_owned());
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; settings.buffer as usize]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        if settings.timestamps {
            socket.set_tsval_generator(Some(timestamp));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Ok(Self {
            device,
            interface,
            sockets,
            handle,
        })
    }

    fn poll(&mut self, now: Instant) {
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// Timestamps need only not go back.
fn timestamp() -> u32 {
    1
}

/// Two interfaces of one thread with a connection between them.
pub struct SmoltcpPair {
    now: Instant,
    sender: Node,
    receiver: Node,
    source: Source,
    sink: Sink,
}

impl SmoltcpPair {
    /// Two interfaces, connected, on a wire that copies each frame or hands
    /// its buffer over.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn new(settings: &Settings, copies: bool) -> Result<Self, String> {
        let (near, far) = End::pair(settings, copies);
        let now = Instant::from_millis(1000);
        let mut sender = Node::new(near, 2, settings, now)?;
        let mut receiver = Node::new(far, 1, settings, now)?;
        let listening = receiver.socket().listen(PORT);
        listening.map_err(|e| e.to_string())?;
        let socket = sender.sockets.get_mut::<tcp::Socket<'_>>(sender.handle);
        socket
            .connect(
                sender.interface.context(),
                (IpAddress::v4(10, 0, 0, 1), PORT),
                49_152,
            )
            .map_err(|e| e.to_string())?;
        let mut pair = Self {
            now,
            sender,
            receiver,
            source: Source::new(),
            sink: Sink::new(),
        };
        pair.transfer(1)?;
        Ok(pair)
    }

    fn round(&mut self) {
        let socket = self.sender.socket();
        if socket.can_send() {
            // No error is possible in a state that can send.
            self.source
                .pump(|bytes| socket.send_slice(bytes).unwrap_or(0));
        }
        self.sender.poll(self.now);
        self.receiver.poll(self.now);
        let socket = self.receiver.socket();
        while socket.can_recv() {
            let n = socket.recv_slice(self.sink.buffer()).unwrap_or(0);
            self.sink.took(n);
        }
        self.now += ROUND.into();
    }
}

impl Pair for SmoltcpPair {
    fn transfer(&mut self, bytes: u64) -> Result<(), String> {
        let until = self.sink.read + bytes;
        let mut still = 0;
        while self.sink.read < until {
            let before = self.sink.read;
            self.round();
            still = if before == self.sink.read {
                still + 1
            } else {
                0
            };
            if still > STUCK || !self.sender.socket().is_active() {
                return Err("the connection between the interfaces failed".to_owned());
            }
        }
        self.sink.check()
    }

    fn set_verify(&mut self, verify: bool) {
        self.sink.set_verify(verify);
    }
}
