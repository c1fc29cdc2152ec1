//! smoltcp on the veth pair, through its own device for AF_PACKET sockets:
//! one thread for each end, which polls without a pause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Medium, RawSocket};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Now;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::Figures;
use super::place::{DEVICE, Place, both};

const PORT: u16 = 5001;
/// Send and receive buffers: what an AF_PACKET socket's receive buffer takes
/// by default without dropping frames is not much more.
pub const BUFFER: usize = 64 << 10;
const BLOCK: usize = 64 << 10;
/// Bound on opening the connection.
const OPEN_TIME: Duration = Duration::from_secs(20);

struct Node {
    device: RawSocket,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Node {
    /// An end with an address that the kernel does not have.
    fn open(last: u8) -> Result<Self, String> {
        let mut device =
            RawSocket::new(DEVICE, Medium::Ethernet).map_err(|e| format!("AF_PACKET: {e}"))?;
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 1, last]).into());
        config.random_seed = u64::from(last);
        let mut interface = Interface::new(config, &mut device, Now::now());
        let mut full = false;
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(198, 18, 1, last), 24);
            full = addresses.push(address).is_err();
        });
        if full {
            return Err("smoltcp has no room for an address".to_owned());
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Ok(Self {
            device,
            interface,
            sockets,
            handle,
        })
    }

    fn poll(&mut self) {
        self.interface
            .poll(Now::now(), &mut self.device, &mut self.sockets);
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// Goodput of one stream.
///
/// # Errors
/// The interface cannot be used, or the connection does not come about.
pub fn stream(place: &Place, warm_up: Duration, duration: Duration) -> Result<Figures, String> {
    let (received, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let ((), gbps) = both(
        place,
        |ready| {
            let mut node = Node::open(1)?;
            node.socket().listen(PORT).map_err(|e| e.to_string())?;
            ready();
            let mut into = vec![0; BLOCK];
            while !stop.load(Ordering::Relaxed) {
                node.poll();
                let socket = node.socket();
                let mut total = 0;
                while socket.can_recv() {
                    total += socket.recv_slice(&mut into).unwrap_or(0);
                }
                received.fetch_add(total as u64, Ordering::Relaxed);
            }
            Ok(())
        },
        || {
            let sent = send(&received, warm_up, duration);
            stop.store(true, Ordering::Relaxed);
            sent
        },
    )?;
    Ok(vec![("goodput", gbps)])
}

fn send(received: &AtomicU64, warm_up: Duration, duration: Duration) -> Result<f64, String> {
    let mut node = Node::open(2)?;
    let remote = (IpAddress::v4(198, 18, 1, 1), PORT);
    node.sockets
        .get_mut::<tcp::Socket<'_>>(node.handle)
        .connect(node.interface.context(), remote, 49_152)
        .map_err(|e| e.to_string())?;
    let block = vec![0x5a; BLOCK];
    let begin = Instant::now();
    let mut measured: Option<(Instant, u64)> = None;
    loop {
        node.poll();
        let socket = node.socket();
        while socket.can_send() && socket.send_slice(&block) == Ok(block.len()) {}
        let bytes = received.load(Ordering::Relaxed);
        match measured {
            Some((at, first)) if at.elapsed() >= duration => {
                return Ok((bytes - first) as f64 * 8.0 / at.elapsed().as_secs_f64() / 1e9);
            }
            Some(_) => {}
            None if bytes > 0 && begin.elapsed() >= warm_up => {
                measured = Some((Instant::now(), bytes));
            }
            None if begin.elapsed() > warm_up + OPEN_TIME => {
                return Err("nothing arrives".to_owned());
            }
            None => {}
        }
    }
}
