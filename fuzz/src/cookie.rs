//! SYN cookies: what was put in comes out, for as long as it is good, and
//! nothing else comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fullbore::frame::{PACKET_START, Pool, Region};
use fullbore::tcp::cookie::{Cookies, Offer};
use fullbore::tcp::{Config, Connection, Ports, Setup, State};
use fullbore::time::Instant;
use fullbore::wire::tcp::{Flags, Header, Options, SeqNumber, Timestamps};

use super::input::Input;

pub fn run(data: &[u8]) {
    let mut i = Input::new(data);
    let cookies = Cookies::new([i.u8(); 16]);
    let local = SocketAddr::new(IpAddr::from([10, 0, 0, 1]), i.u16());
    let remote = SocketAddr::new(IpAddr::from([10, 0, 0, 2]), i.u16());
    let config = Config {
        window_scaling: i.bool(),
        timestamps: i.bool(),
        sack: i.bool(),
        ..Config::default()
    };
    let offer = Offer::new(&config, i.u16());
    let with = i.u8();
    let syn = Header {
        src_port: remote.port(),
        dst_port: local.port(),
        seq: SeqNumber(i.u32()),
        flags: Flags::SYN,
        window: i.u16(),
        options: Options {
            mss: (with & 1 != 0).then(|| i.u16()),
            window_scale: (with & 2 != 0).then(|| i.u8()),
            sack_permitted: with & 4 != 0,
            timestamps: (with & 8 != 0).then(|| Timestamps {
                val: i.u32(),
                ecr: 0,
            }),
            ..Options::default()
        },
        ..Header::default()
    };
    let sent_at = Instant::from_millis(u64::from(i.u32()) << 4);
    let syn_ack = cookies.syn_ack(sent_at, local, remote, &syn, &offer);
    check_answer(&syn, &syn_ack, &config);

    let echo = syn_ack.options.timestamps.map(|t| Timestamps {
        val: i.u32(),
        ecr: t.val,
    });
    let mut ack = Header {
        src_port: remote.port(),
        dst_port: local.port(),
        seq: syn.seq + 1,
        ack: syn_ack.seq + 1,
        flags: Flags::ACK,
        window: i.u16(),
        options: Options {
            timestamps: echo,
            ..Options::default()
        },
        ..Header::default()
    };
    let after = Duration::from_millis(u64::from(i.u16()));
    let decoded = cookies.decode(sent_at + after, local, remote, &ack);
    let forged = i.u32();
    if forged == 0 {
        // One to two steps of 64 s.
        assert!(decoded.is_some() || after > Duration::from_secs(64));
    } else {
        ack.ack += forged;
        // 24 bits of hash cannot be found without trying.
        let _ = cookies.decode(sent_at + after, local, remote, &ack);
        return;
    }
    let Some(decoded) = decoded else { return };
    let theirs = syn.options.mss.unwrap_or(536);
    assert!(decoded.mss <= theirs.max(536));
    if echo.is_some() {
        assert_eq!(decoded.sack_permitted, syn.options.sack_permitted);
        assert_eq!(
            decoded.window_scale,
            syn.options.window_scale.map(|s| s.min(14))
        );
    }
    complete(sent_at + after, &Arc::new(config), &ack, &decoded);
}

fn check_answer(syn: &Header, answer: &Header, config: &Config) {
    assert_eq!(answer.flags, Flags::SYN | Flags::ACK);
    assert_eq!(answer.ack, syn.seq + 1);
    let (o, theirs) = (&answer.options, &syn.options);
    // Nothing that was not offered (RFC 7323 section 1.3, RFC 2018 section 2).
    assert!(o.window_scale.is_none() || theirs.window_scale.is_some() && config.window_scaling);
    assert!(!o.sack_permitted || theirs.sack_permitted && config.sack);
    assert!(o.timestamps.is_none() || theirs.timestamps.is_some() && config.timestamps);
    if let (Some(ours), Some(theirs)) = (o.timestamps, theirs.timestamps) {
        assert_eq!(ours.ecr, theirs.val);
    }
}

/// The connection that the cookie stands for.
fn complete(
    now: Instant,
    config: &Arc<Config>,
    ack: &Header,
    decoded: &fullbore::tcp::cookie::Decoded,
) {
    let mut pool = Pool::new(Region::anonymous(8, 2048));
    let setup = Setup {
        config,
        ports: Ports {
            local: ack.dst_port,
            remote: ack.src_port,
        },
        iss: SeqNumber(0),
        ts_offset: 0,
        mss: 1460,
        chunk: 1460,
        headroom: 34,
        now,
    };
    let mut connection = Connection::accept_cookie(&setup, ack, decoded);
    let mut packet = pool.alloc().expect("a frame");
    packet.set_range(PACKET_START, 0);
    connection.handle_segment(now, &mut pool, ack, false, packet);
    assert_eq!(connection.state(), State::Established, "{connection:?}");
    connection.release(&mut pool);
    assert_eq!(pool.ledger().outstanding(), 0);
}
