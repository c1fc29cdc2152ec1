//! What a device is: index, hardware address, MTU, queues, driver.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Rss;
use super::XdpError;
use super::netlink;

/// A network device of this network namespace, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Bytes of IP packet that a frame may carry.
    pub mtu: u32,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// Driver name; empty if it has none.
    pub driver: String,
    /// Administratively up.
    pub up: bool,
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_GRSSH: u32 = 0x46;
/// Words of `struct ethtool_rxfh` before the table and the key.
const RXFH: usize = 6;
/// More entries and bytes than any NIC has.
const RXFH_MOST: u32 = 4096;
/// The Toeplitz hash function, and nothing done to its input, in the word of
/// `struct ethtool_rxfh` that says both.
const TOEPLITZ: [u8; 2] = [1, 0];
/// Flow types whose fields are asked for: TCP over IPv4 and over IPv6.
const TCP_FLOWS: [u32; 2] = [0x01, 0x05];
/// Both addresses and both ports, in `struct ethtool_rxnfc`.
const FOUR_TUPLE: u64 = 0xf0;
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_rxnfc`, as far as `ETHTOOL_GRXFH` uses it.
#[repr(C)]
struct HashedFields {
    command: u32,
    flow_type: u32,
    fields: u64,
    rest: [u64; 24],
}

/// `struct ethtool_channels`: the last four are those in use.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

impl Interface {
    /// Reads the facts of `name` in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// [`XdpError::NoSuchInterface`], or the system call that failed.
    pub fn read(name: &str) -> Result<Self, XdpError> {
        let missing = || XdpError::NoSuchInterface(name.to_owned());
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
            return Err(missing());
        }
        let failed = |what: &str, e: io::Error| match e.raw_os_error() {
            Some(libc::ENODEV) => missing(),
            _ => XdpError::system(format!("read {what} of interface {name}"), e),
        };
        let socket = control_socket().map_err(|e| failed("the facts", e))?;
        let mut request = Request::new(&socket, name);
        let index = request.index().map_err(|e| failed("the index", e))?;
        let link = netlink::link_info(index).map_err(|e| failed("the queues", e))?;
        Ok(Self {
            name: name.to_owned(),
            index,
            mac: request
                .mac()
                .map_err(|e| failed("the hardware address", e))?,
            mtu: request.mtu().map_err(|e| failed("the MTU", e))?,
            rx_queues: request.rx_queues().unwrap_or(link.rx_queues).max(1),
            driver: request.driver().unwrap_or_default(),
            up: request.up().map_err(|e| failed("the state", e))?,
        })
    }

    /// Reads the facts of the device with this index.
    ///
    /// # Errors
    ///
    /// As [`Interface::read`].
    pub fn read_index(index: u32) -> Result<Self, XdpError> {
        let socket = control_socket().map_err(|e| XdpError::system("open a control socket", e))?;
        let name = rustix::net::netdevice::index_to_name(&socket, index)
            .map_err(|_| XdpError::NoSuchInterface(format!("index {index}")))?;
        Self::read(&name)
    }

    /// Checks that a socket can be bound to `queue` of this device.
    ///
    /// # Errors
    ///
    /// [`XdpError::InterfaceDown`] or [`XdpError::NoSuchQueue`].
    pub fn check_queue(&self, queue: u32) -> Result<(), XdpError> {
        if !self.up {
            return Err(XdpError::InterfaceDown(self.name.clone()));
        }
        if queue >= self.rx_queues {
            return Err(XdpError::NoSuchQueue {
                interface: self.name.clone(),
                queue,
                queues: self.rx_queues,
            });
        }
        Ok(())
    }

    /// How this device spreads connections over its queues, as it is set now.
    /// `None` if it does not say, or hashes in a way that is not known here.
    #[must_use]
    pub fn rss(&self) -> Option<Rss> {
        let socket = control_socket().ok()?;
        Request::new(&socket, &self.name).rss()
    }

    /// The id of the XDP program attached to this device now, if any.
    ///
    /// # Errors
    ///
    /// The system call that failed.
    pub fn attached_program(&self) -> Result<Option<u32>, XdpError> {
        netlink::link_info(self.index)
            .map(|info| info.program)
            .map_err(|e| XdpError::system(format!("ask for the program of {}", self.name), e))
    }
}

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An `ifreq` for one device; each method is one `ioctl`.
struct Request<'a> {
    socket: &'a OwnedFd,
    ifreq: libc::ifreq,
}

impl<'a> Request<'a> {
    fn new(socket: &'a OwnedFd, name: &str) -> Self {
        // SAFETY: `ifreq` is plain data for which all zero is a valid value.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in ifreq.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        Self { socket, ifreq }
    }

    fn ask(&mut self, command: libc::c_ulong) -> io::Result<()> {
        // SAFETY: `ifreq` lives through the call; a pointer in it (for
        // SIOCETHTOOL) was set by `ethtool` to a structure that does as well.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), command as _, &mut self.ifreq) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn index(&mut self) -> io::Result<u32> {
        self.ask(libc::SIOCGIFINDEX as _)?;
        // SAFETY: the kernel has filled in the index.
        Ok(unsafe { self.ifreq.ifr_ifru.ifru_ifindex }.cast_unsigned())
    }

    fn mac(&mut self) -> io::Result<[u8; 6]> {
        self.ask(libc::SIOCGIFHWADDR as _)?;
        // SAFETY: the kernel has filled in the hardware address.
        let data = unsafe { self.ifreq.ifr_ifru.ifru_hwaddr }.sa_data;
        Ok(std::array::from_fn(|i| data[i].cast_unsigned()))
    }

    fn mtu(&mut self) -> io::Result<u32> {
        self.ask(libc::SIOCGIFMTU as _)?;
        // SAFETY: the kernel has filled in the MTU.
        Ok(unsafe { self.ifreq.ifr_ifru.ifru_mtu }.cast_unsigned())
    }

    fn up(&mut self) -> io::Result<bool> {
        self.ask(libc::SIOCGIFFLAGS as _)?;
        // SAFETY: the kernel has filled in the flags.
        Ok(i32::from(unsafe { self.ifreq.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0)
    }

    /// `T` must be the `repr(C)` structure, or the words, of the command in
    /// its first word.
    fn ethtool<T: ?Sized>(&mut self, data: &mut T) -> io::Result<()> {
        self.ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
        self.ask(SIOCETHTOOL)
    }

    fn driver(&mut self) -> Option<String> {
        let mut info = DriverInfo {
            command: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            rest: [0; 160],
        };
        self.ethtool(&mut info).ok()?;
        let name = CStr::from_bytes_until_nul(&info.driver).ok()?;
        debug_assert_eq!(info.rest.len(), 160);
        Some(name.to_string_lossy().into_owned())
    }

    fn rx_queues(&mut self) -> Option<u32> {
        let mut channels = Channels {
            command: ETHTOOL_GCHANNELS,
            ..Channels::default()
        };
        self.ethtool(&mut channels).ok()?;
        Some(channels.rx.saturating_add(channels.combined)).filter(|&n| n > 0)
    }

    fn rss(&mut self) -> Option<Rss> {
        let mut sizes = [0; RXFH];
        sizes[0] = ETHTOOL_GRSSH;
        self.ethtool(&mut sizes).ok()?;
        let (entries, bytes) = (sizes[2], sizes[3]);
        if entries > RXFH_MOST || bytes > RXFH_MOST {
            return None;
        }
        // The kernel writes as much as it is told that there is room for, or
        // refuses; one more set of both in case it has changed its mind.
        let words = (entries + bytes.div_ceil(4)) as usize;
        let mut answer = vec![0; RXFH + 2 * words];
        (answer[0], answer[2], answer[3]) = (ETHTOOL_GRSSH, entries, bytes);
        self.ethtool(&mut answer[..]).ok()?;
        let (function, config) = (answer[4].to_ne_bytes(), &answer[RXFH..]);
        if function[..2] != TOEPLITZ || (answer[2], answer[3]) != (entries, bytes) {
            return None;
        }
        let (table, key) = config.split_at(entries as usize);
        let mut key: Vec<u8> = key.iter().flat_map(|word| word.to_ne_bytes()).collect();
        key.truncate(bytes as usize);
        let ports = TCP_FLOWS.map(|flow_type| self.hashes_ports(flow_type));
        Rss::new(key, table.to_vec(), ports)
    }

    fn hashes_ports(&mut self, flow_type: u32) -> bool {
        let mut asked = HashedFields {
            command: ETHTOOL_GRXFH,
            flow_type,
            fields: 0,
            rest: [0; 24],
        };
        self.ethtool(&mut asked).is_ok()
            && asked.fields == FOUR_TUPLE
            && asked.rest.iter().all(|&word| word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_facts() {
        let lo = Interface::read("lo").unwrap();
        assert_eq!((lo.name.as_str(), lo.mac), ("lo", [0; 6]));
        assert_eq!(Interface::read_index(lo.index).unwrap(), lo);
        assert_eq!(lo.rss(), None);
        assert!(matches!(
            Interface {
                up: true,
                ..lo.clone()
            }
            .check_queue(lo.rx_queues),
            Err(XdpError::NoSuchQueue { .. })
        ));
        assert!(matches!(
            Interface { up: false, ..lo }.check_queue(0),
            Err(XdpError::InterfaceDown(_))
        ));
    }

    #[test]
    fn an_unknown_name_says_so() {
        for name in ["", "no-such-if", "a-name-that-is-far-too-long", "nul\0nul"] {
            let error = Interface::read(name).unwrap_err();
            assert!(
                matches!(error, XdpError::NoSuchInterface(_)),
                "{name}: {error}"
            );
        }
    }
}
