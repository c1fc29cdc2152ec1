use proptest::prelude::*;

use super::*;

/// The definition, word by word.
fn plain(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for word in bytes.chunks(2) {
        let low = word.get(1).copied().unwrap_or(0);
        sum += u64::from(u16::from_be_bytes([word[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn known_sums() {
    // The example of RFC 1071, section 3: sum ddf2.
    let rfc = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::of(&rfc).finish(), !0xddf2);
    assert_eq!(Sum::of(&[]).finish(), 0xffff);
    assert_eq!(Sum::of(&[0xab]).finish(), !0xab00);
    // A widely printed IPv4 header whose checksum is b861.
    let ip = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];
    assert_eq!(Sum::of(&ip).finish(), 0xb861);
}

#[test]
fn lanes_do_not_overflow() {
    let most = BLOCK * CHUNK;
    for len in [
        BLOCK - 1,
        most,
        most + 1,
        most + 30,
        most + 63,
        3 * most + 7,
    ] {
        let bytes = vec![0xff; len];
        assert_eq!(Sum::of(&bytes).finish(), plain(&bytes), "{len} bytes of ff");
        let mut copy = vec![0; len];
        assert_eq!(copy_and_sum(&mut copy, &bytes).finish(), plain(&bytes));
    }
}

proptest! {
    #[test]
    fn matches_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert_eq!(Sum::of(&bytes).finish(), plain(&bytes));
        prop_assert_eq!(Sum::of_long(&bytes).finish(), plain(&bytes));
        let mut copy = vec![0; bytes.len()];
        prop_assert_eq!(copy_and_sum(&mut copy, &bytes).finish(), plain(&bytes));
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn parts_combine(bytes in prop::collection::vec(any::<u8>(), 1..3000), at in any::<prop::sample::Index>()) {
        let at = at.index(bytes.len());
        let (a, b) = bytes.split_at(at);
        let (a, b) = (Sum::of(a), Sum::of(b));
        let whole = if at % 2 == 0 { a.add(b) } else { a.add_odd(b) };
        prop_assert_eq!(whole.finish(), plain(&bytes));
    }
}

#[test]
fn pseudo_header_matches_its_bytes() {
    let v4 = pseudo_header([192, 0, 2, 1].into(), [198, 51, 100, 2].into(), 6, 0x1234);
    let bytes = [192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0x12, 0x34];
    assert_eq!(v4.finish(), plain(&bytes));
    let (a, b): (std::net::Ipv6Addr, std::net::Ipv6Addr) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8:ffff::2".parse().unwrap(),
    );
    let v6 = pseudo_header(a.into(), b.into(), 58, 0x1_2345);
    let mut bytes = [a.octets(), b.octets()].concat();
    bytes.extend([0, 1, 0x23, 0x45, 0, 0, 0, 58]);
    assert_eq!(v6.finish(), plain(&bytes));
}

proptest! {
    /// The registers that a processor has make no difference.
    #[test]
    fn wide_and_narrow_sums_agree(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let (chunks, tail) = bytes.as_chunks::<CHUNK>();
        let narrow = fold(sum_chunks(chunks) + sum_words(tail));
        if let Some(wide) = wide::sum(&bytes) {
            prop_assert_eq!(fold(wide), narrow);
        }
        let mut copy = vec![0; bytes.len()];
        let sum = copy_and_sum(&mut copy, &bytes);
        prop_assert_eq!(sum.finish(), Sum::of(&bytes).finish());
        prop_assert_eq!(copy, bytes);
    }
}
