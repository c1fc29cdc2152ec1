//! What is written on a command line: faults of a link, sizes, times,
//! addresses.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use fullbore::config::{Cidr, Count, InterfaceName, RingSize, Size, Span, size_text};
use fullbore::link::FaultSettings;
use fullbore::stack::route::Prefix;
use fullbore::wire::eth::Mac;

pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match kind % 8 {
        0 => faults(text),
        1 => round_trip::<Mac>(text),
        2 => round_trip::<Cidr>(text),
        3 => round_trip::<Prefix>(text),
        4 => {
            if let Ok(size) = text.parse::<Size<1, { 1 << 50 }>>() {
                assert!(size.get() >= 1);
                let again = size_text(size.get()).parse::<Size<1, { 1 << 50 }>>();
                assert_eq!(again.map(Size::get), Ok(size.get()));
            }
        }
        5 => {
            if let Ok(span) = text.parse::<Span<10, 1_000_000>>() {
                assert!((10..=1_000_000).contains(&span.get().as_micros()));
            }
        }
        6 => {
            if let Ok(n) = text.parse::<Count<3, 70>>() {
                assert!((3..=70).contains(&n.get()));
            }
            if let Ok(n) = text.parse::<RingSize>() {
                assert!(n.get().is_power_of_two());
            }
        }
        _ => round_trip::<InterfaceName>(text),
    }
}

fn round_trip<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert_eq!(written.parse::<T>().expect("what was written"), value);
    }
}

fn faults(text: &str) {
    match text.parse::<FaultSettings>() {
        Ok(settings) => {
            for d in [&settings.incoming, &settings.outgoing] {
                for p in [d.loss, d.duplicate, d.reorder, d.corrupt] {
                    assert!((0.0..=1.0).contains(&p));
                }
                assert!(d.queue > 0 && d.rate != Some(0));
            }
            let written = settings.to_string();
            let again: FaultSettings = written.parse().expect("what was written");
            assert_eq!(again, settings, "{written}");
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}
