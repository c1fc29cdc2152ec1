//! A packet socket (packet(7)) on the far end of the pair.

use std::ffi::CString;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `SOL_PACKET`'s option not to be shown what is sent here.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// Reads the time of the frame that was received last.
const SIOCGSTAMPNS: libc::c_ulong = 0x8907;
const MAX_FRAME: usize = 65_600;

/// Sends and receives whole Ethernet frames.
#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
}

fn check(result: libc::c_int, what: &str) {
    let error = std::io::Error::last_os_error();
    assert!(result >= 0, "{what}: {error}");
}

impl Wire {
    /// A socket on `device`, in this thread's namespace.
    pub fn open(device: &str) -> Self {
        // Protocol 0: nothing is received before it is bound to the device.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is involved.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        check(raw, "cannot open a packet socket");
        // SAFETY: it has just been made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        for (level, option, value) in [
            (libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20),
        ] {
            let value: libc::c_int = value;
            // SAFETY: `value` outlives the call, and its size is given.
            let result = unsafe {
                let at = std::ptr::from_ref(&value).cast();
                libc::setsockopt(raw, level, option, at, size_of::<libc::c_int>() as u32)
            };
            check(result, "cannot set an option of a packet socket");
        }
        let name = CString::new(device).expect("a device's name");
        // SAFETY: `name` is terminated and outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert_ne!(index, 0, "no device {device}");
        // SAFETY: all zero is a valid value of this plain structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as i32;
        // SAFETY: `address` outlives the call, and its size is given.
        let result = unsafe {
            let at = std::ptr::from_ref(&address).cast();
            libc::bind(raw, at, size_of::<libc::sockaddr_ll>() as u32)
        };
        check(result, "cannot bind a packet socket");
        let wire = Self { fd };
        // The first question turns time stamps on.
        wire.stamp();
        wire
    }

    /// Sends a frame. May be called by several threads at once.
    pub fn send(&self, frame: &[u8]) {
        loop {
            match rustix::net::send(&self.fd, frame, rustix::net::SendFlags::empty()) {
                Ok(_) => return,
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => panic!("cannot send a frame of {} bytes: {e}", frame.len()),
            }
        }
    }

    /// The next frame and when it came, unless none comes until `limit`.
    pub fn receive(&self, limit: Instant) -> Option<(Instant, Vec<u8>)> {
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], rustix::net::RecvFlags::empty()) {
                Ok((n, _)) => {
                    buffer.truncate(n);
                    return Some((self.stamp(), buffer));
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => panic!("cannot receive a frame: {e}"),
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => panic!("cannot wait for a frame: {e}"),
            }
        }
    }

    /// To wait for a frame together with something else.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// When the kernel received the last frame: the reader may be late.
    fn stamp(&self) -> Instant {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the request writes one timespec, which outlives the call.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), SIOCGSTAMPNS as _, &mut time) };
        let (now, wall) = (Instant::now(), SystemTime::now());
        if result < 0 {
            return now;
        }
        let since_epoch = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        let age = wall.duration_since(SystemTime::UNIX_EPOCH + since_epoch);
        now - age.unwrap_or_default()
    }
}
