//! The steering program in the real kernel, on a veth pair.

mod common;

use common::{DEVICE, Net, Options, Side, require_root, wait_for};
use fullbore::xdp::{
    AttachMode, AttachedMode, HugePages, Interface, Protocol, Steering, SteeringOptions, Umem,
    UmemOptions, XdpError,
};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

fn attach(mode: AttachMode) -> Result<Steering, XdpError> {
    let interface = Interface::read(DEVICE)?;
    Steering::attach(
        &interface,
        SteeringOptions {
            mode,
            ..SteeringOptions::default()
        },
    )
}

/// A byte each way over the kernel's TCP, from B to A.
fn kernel_tcp_works(net: &Net, port: u16) {
    let listener = net.enter(Side::A, || {
        TcpListener::bind((Side::A.ipv4(), port)).unwrap()
    });
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&byte).unwrap();
    });
    net.enter(Side::B, || {
        let to = (Side::A.ipv4(), port).into();
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap();
        stream.write_all(b"x").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    });
    server.join().unwrap();
}

#[test]
#[ignore = "needs root"]
fn facts_of_a_veth_are_read_in_its_namespace() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options {
        queues: 2,
        mtu: 1400,
        ..Options::default()
    });
    let facts = net.enter(Side::A, || Interface::read(DEVICE).unwrap());
    assert_eq!(facts.driver, "veth");
    assert_eq!((facts.mtu, facts.rx_queues, facts.up), (1400, 2, true));
    assert_eq!(facts.mac, net.mac(Side::A));
    assert!(matches!(
        facts.check_queue(2),
        Err(XdpError::NoSuchQueue { queues: 2, .. })
    ));
}

#[test]
#[ignore = "needs root"]
fn attaches_in_each_mode_and_leaves_when_dropped_or_told_to() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    net.enter(Side::A, || {
        let interface = Interface::read(DEVICE).unwrap();
        for (mode, in_force) in [
            (AttachMode::Native, AttachedMode::Native),
            (AttachMode::Generic, AttachedMode::Generic),
            (AttachMode::Auto, AttachedMode::Native),
        ] {
            let steering = attach(mode).unwrap();
            assert_eq!(steering.mode(), in_force);
            assert!(interface.attached_program().unwrap().is_some());
            let clone = steering.clone();
            drop(steering);
            assert!(
                interface.attached_program().unwrap().is_some(),
                "a clone holds it"
            );
            drop(clone);
            // A process that another test is just starting has the
            // descriptors until it runs its program.
            wait_for("the program to be gone", Duration::from_secs(5), || {
                interface.attached_program().unwrap().is_none()
            });
            let steering = attach(mode).unwrap();
            let clone = steering.clone();
            steering.detach();
            wait_for("it to be gone at once", Duration::from_secs(5), || {
                interface.attached_program().unwrap().is_none()
            });
            // Nothing is left to detach, and counters can still be read.
            clone.detach();
            clone.counters().unwrap();
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_second_program_is_told_of_the_first() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    net.enter(Side::A, || {
        let _first = attach(AttachMode::Native).unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic, AttachMode::Auto] {
            let error = attach(mode).unwrap_err();
            assert!(
                matches!(
                    error,
                    XdpError::AlreadyAttached {
                        program: Some(_),
                        ..
                    }
                ),
                "{error}"
            );
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_refused_mode_names_the_drivers_reason() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    net.enter(Side::A, || {
        let interface = Interface::read("lo").unwrap();
        let native = SteeringOptions {
            mode: AttachMode::Native,
            ..SteeringOptions::default()
        };
        let error = Steering::attach(&interface, native).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, XdpError::AttachRefused { .. }), "{text}");
        assert!(
            text.contains("interface lo ") && text.contains("driver does not support XDP"),
            "{text}"
        );
        assert_eq!(interface.attached_program().unwrap(), None);

        let steering = Steering::attach(&interface, SteeringOptions::default()).unwrap();
        assert_eq!(steering.mode(), AttachedMode::Generic);
        let reason = steering.native_refusal().unwrap();
        assert!(reason.contains("does not support XDP"), "{reason}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_device_that_is_down_is_an_error() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    net.run(Side::A, "ip", &["link", "set", DEVICE, "down"]);
    let error = net.enter(Side::A, || attach(AttachMode::Auto)).unwrap_err();
    assert!(matches!(error, XdpError::InterfaceDown(_)), "{error}");
}

#[test]
#[ignore = "needs root"]
fn frames_are_counted_by_verdict_and_others_pass() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    let steering = net.enter(Side::A, || attach(AttachMode::Native)).unwrap();
    steering
        .claim(Protocol::Udp, 5000, Some(Side::A.ip()))
        .unwrap();
    kernel_tcp_works(&net, 22);
    let before = steering.counters().unwrap();
    assert!(before.passed_not_ours >= 5, "{before:?}");
    assert_eq!(before.redirected + before.passed_no_socket, 0, "{before:?}");

    // Without a socket on the queue a claimed frame goes to the kernel.
    let receiver = net.enter(Side::A, || UdpSocket::bind((Side::A.ipv4(), 5000)).unwrap());
    let sender = net.enter(Side::B, || UdpSocket::bind((Side::B.ipv4(), 0)).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    sender.send_to(b"hello", (Side::A.ipv4(), 5000)).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    let after = steering.counters().unwrap();
    assert_eq!(after.passed_no_socket, 1, "{after:?}");

    steering
        .unclaim(Protocol::Udp, 5000, Some(Side::A.ip()))
        .unwrap();
    sender.send_to(b"again", (Side::A.ipv4(), 5000)).unwrap();
    receiver.recv(&mut buffer).unwrap();
    assert_eq!(steering.counters().unwrap().passed_no_socket, 1);
}

/// Gives up every capability of this thread, which then is as good as another
/// user's.
fn give_up_capabilities() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).unwrap();
}

#[test]
#[ignore = "needs root"]
fn without_capabilities_the_error_says_what_to_do() {
    if !require_root() {
        return;
    }
    let net = Net::pair(Options::default());
    net.enter(Side::A, || {
        let options = UmemOptions {
            huge_pages: HugePages::Off,
            ..UmemOptions::default()
        };
        give_up_capabilities();
        let attached = attach(AttachMode::Auto).unwrap_err();
        let mapped = Umem::new(&options).unwrap_err();
        for error in [attached, mapped] {
            let text = error.to_string();
            assert!(matches!(error, XdpError::NotPermitted { .. }), "{text}");
            assert!(
                text.contains("run as root") && text.contains("CAP_NET_RAW"),
                "{text}"
            );
        }
        assert_eq!(
            Interface::read(DEVICE).unwrap().attached_program().unwrap(),
            None
        );
    });
}
