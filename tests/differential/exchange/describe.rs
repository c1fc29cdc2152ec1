//! Answers in words that do not depend on numbers chosen at random.

use std::fmt::Write as _;

use super::{NEAR_EDGE, Peer, View};
use crate::segment::{Names, RST, Segment};

impl Peer<'_> {
    /// The fields of an answer, without what differs from host to host and
    /// from run to run.
    pub(super) fn describe(&mut self, s: &Segment, before: &View) -> String {
        self.note(s);
        let mut text = format!("{}", Names(s.flags));
        let iss = self.view.iss;
        let seq = match s.seq.wrapping_sub(iss) as i32 {
            _ if s.seq == 0 => "0".into(),
            n => format!("{n}"),
        };
        let _ = write!(text, " seq={seq}");
        let large = before.edge.wrapping_sub(before.rcv) > 20_000;
        let relative = |n: u32| match n.wrapping_sub(before.edge) as i32 {
            _ if n == 0 => "0".into(),
            d if d.abs() < NEAR_EDGE && large => format!("edge{d:+}"),
            _ => format!("next{:+}", n.wrapping_sub(before.rcv) as i32),
        };
        let _ = write!(text, " ack={}", relative(s.ack));
        if !s.payload.is_empty() {
            let _ = write!(text, " len={}", s.payload.len());
        }
        let reset = s.flags & RST != 0;
        if s.window == 0 && !reset {
            text += " win=0";
        }
        if s.window != 0 && reset {
            text += " win";
        }
        if !s.df {
            text += " may-fragment";
        }
        for (kind, data) in s.options() {
            match (kind, &data[..]) {
                (2, [a, b]) => {
                    let _ = write!(text, " mss={}", u16::from_be_bytes([*a, *b]));
                }
                (3, [_]) => text += " scale",
                (4, []) => text += " sack-permitted",
                (5, blocks) => {
                    text += " sack";
                    for block in blocks.chunks(8) {
                        let long = |at: usize| {
                            u32::from_be_bytes([
                                block[at],
                                block[at + 1],
                                block[at + 2],
                                block[at + 3],
                            ])
                        };
                        let (left, right) = (relative(long(0)), relative(long(4)));
                        let _ = write!(text, ":{left}..{right}");
                    }
                }
                (8, _) => {
                    // From the injected segment's clock.
                    let (_, echo) = s.timestamps().expect("it is there");
                    text += &match echo.wrapping_sub(self.clock) as i32 {
                        _ if echo == 0 => " ts-echo=0".into(),
                        n => format!(" ts-echo={n:+}"),
                    };
                }
                (other, _) => {
                    let _ = write!(text, " option-{other}");
                }
            }
        }
        text
    }
}
