use super::*;
use crate::config::{Cidr, InterfaceName};

type AnySize = Size<0, { 1 << 50 }>;
type AnySpan = Span<0, 36_000_000_000>;

#[test]
fn sizes_have_binary_and_decimal_units() {
    let size = |s: &str| s.parse::<AnySize>().map(Size::get);
    assert_eq!(size("64KiB"), Ok(65_536));
    assert_eq!(size("64k"), Ok(65_536));
    assert_eq!(size("1.5 MiB"), Ok(1_572_864));
    assert_eq!(size("2GB"), Ok(2_000_000_000));
    assert_eq!(size("17"), Ok(17));
    for bad in [
        "",
        "KiB",
        "1.5",
        "-1",
        "1 KiX",
        "1e3",
        "99999999TiB",
        "0x10",
        "1..5k",
    ] {
        assert!(size(bad).is_err(), "{bad}");
    }
    assert!(
        "1023"
            .parse::<Size<1024, 2048>>()
            .unwrap_err()
            .contains("from 1KiB to 2KiB")
    );
}

#[test]
fn durations_need_a_unit() {
    let span = |s: &str| s.parse::<AnySpan>().map(Span::get);
    assert_eq!(span("20ms"), Ok(Duration::from_millis(20)));
    assert_eq!(span("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(span("2h"), Ok(Duration::from_secs(7200)));
    for bad in ["20", "ms", "-1s", "1 week", "11h"] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

#[test]
fn rings_are_powers_of_two() {
    assert_eq!("2048".parse::<RingSize>().unwrap().get(), 2048);
    for bad in ["0", "32", "2000", "65536", "-64"] {
        assert!(bad.parse::<RingSize>().is_err(), "{bad}");
    }
}

#[test]
fn interface_names_are_those_the_kernel_takes() {
    assert!("eth0.100".parse::<InterfaceName>().is_ok());
    for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx"] {
        assert!(InterfaceName::from_text(bad).is_none(), "{bad}");
    }
}

#[test]
fn addresses_are_hosts_with_a_prefix() {
    let net: Cidr = "192.0.2.7/24".parse().unwrap();
    assert!(net.contains("192.0.2.254".parse().unwrap()));
    assert!(!net.contains("192.0.3.1".parse().unwrap()));
    assert!(!net.contains("2001:db8::1".parse().unwrap()));
    let six: Cidr = "2001:db8::7/64".parse().unwrap();
    assert!(six.contains("2001:db8::ffff:1".parse().unwrap()));
    for good in ["192.0.2.7/32", "192.0.2.6/31", "2001:db8::/128"] {
        assert!(good.parse::<Cidr>().is_ok(), "{good}");
    }
    for bad in [
        "192.0.2.7",
        "192.0.2.0/24",
        "192.0.2.255/24",
        "192.0.2.7/33",
        "192.0.2.7/0",
        "224.0.0.1/24",
        "127.0.0.1/8",
        "0.0.0.0/24",
        "::/64",
        "ff02::1/64",
        "x/24",
    ] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
}
