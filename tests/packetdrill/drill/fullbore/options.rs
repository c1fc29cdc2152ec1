//! Socket options, as far as fullbore has what they stand for.

use std::collections::BTreeMap;
use std::time::Duration;

use fullbore::engine::{Context, Flow};
use fullbore::tcp::{Config, Info};

use super::super::target::{OptionValue, Outcome};
use super::config::Settings;

/// Options that change nothing that a script can see; they are kept to be
/// told.
const KEPT: [(i32, i32); 7] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IPV6, 25),
];

/// The options of one socket.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its connections begin with.
    pub config: Config,
    linger: Option<u32>,
    keepalive: bool,
    keepalive_idle: Duration,
    cork: bool,
    kept: BTreeMap<(i32, i32), i32>,
    /// What has been set, in order.
    set: Vec<(i32, i32, OptionValue)>,
}

impl Options {
    pub fn new(settings: &Settings) -> Self {
        Self {
            config: settings.tcp.clone(),
            linger: None,
            keepalive: false,
            keepalive_idle: settings.keepalive_idle,
            cork: false,
            kept: BTreeMap::new(),
            set: Vec::new(),
        }
    }

    /// The answer of `getsockopt` or `ioctl` that is a number.
    pub fn number(n: i32) -> Outcome {
        Outcome {
            value: Some(OptionValue::Int(n)),
            ..Outcome::of(Ok(0))
        }
    }

    /// Seconds that `close` waits; zero resets.
    pub fn linger(&self) -> Option<u32> {
        self.linger
    }

    /// The same options on top of other defaults.
    pub fn rebase(&mut self, settings: &Settings) {
        let set = std::mem::take(&mut self.set);
        *self = Self::new(settings);
        for (level, name, value) in set {
            self.set(level, name, &value);
        }
    }

    /// Sets an option. It has its effect through [`apply`](Self::apply).
    pub fn set(&mut self, level: i32, name: i32, value: &OptionValue) -> Outcome {
        let outcome = self.try_set(level, name, value);
        if outcome.result.is_ok() {
            self.set.push((level, name, value.clone()));
        }
        outcome
    }

    fn try_set(&mut self, level: i32, name: i32, value: &OptionValue) -> Outcome {
        match (level, name, value) {
            (libc::SOL_SOCKET, libc::SO_LINGER, OptionValue::Linger(on, seconds)) => {
                self.linger = (*on != 0).then_some((*seconds).max(0) as u32);
                Outcome::of(Ok(0))
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION, OptionValue::Text(name)) => {
                match name.parse() {
                    Ok(algorithm) => {
                        self.config.congestion = algorithm;
                        Outcome::of(Ok(0))
                    }
                    Err(_) => Outcome::of(Err(libc::ENOENT)),
                }
            }
            (_, _, OptionValue::Int(n)) => self.set_number(level, name, *n),
            _ => Outcome::of(Err(libc::EINVAL)),
        }
    }

    fn set_number(&mut self, level: i32, name: i32, n: i32) -> Outcome {
        let (ok, invalid) = (Outcome::of(Ok(0)), Outcome::of(Err(libc::EINVAL)));
        let seconds = Duration::from_secs(n.max(0) as u64);
        let c = &mut self.config;
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => c.nodelay = n != 0,
            (libc::IPPROTO_TCP, libc::TCP_CORK) => self.cork = n != 0,
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if (88..=32_767).contains(&n) => {
                c.max_segment = Some(n as u16);
            }
            (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => {
                c.defer_accept = (n > 0).then_some(seconds);
            }
            // Linux: 0 is the default, below it no waiting at all.
            (libc::IPPROTO_TCP, libc::TCP_LINGER2) => {
                if n != 0 {
                    c.fin_wait_2 = seconds;
                }
            }
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
                self.keepalive = n != 0;
                c.keepalive = self.keepalive.then_some(self.keepalive_idle);
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) if n >= 1 => {
                self.keepalive_idle = seconds;
                c.keepalive = self.keepalive.then_some(seconds);
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) if n >= 1 => c.keepalive_interval = seconds,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) if (1..=127).contains(&n) => {
                c.keepalive_probes = n as u8;
            }
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) if (1..=127).contains(&n) => {
                c.syn_retries = n as u8;
            }
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) if n >= 0 => {
                c.user_timeout = (n > 0).then(|| Duration::from_millis(n as u64));
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
                c.send_buffer = n.max(2304) as u32;
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
                c.recv_buffer = n.max(1152) as u32;
            }
            key if KEPT.contains(&key) => {
                self.kept.insert(key, n);
            }
            (
                libc::IPPROTO_TCP,
                libc::TCP_KEEPIDLE
                | libc::TCP_KEEPINTVL
                | libc::TCP_KEEPCNT
                | libc::TCP_SYNCNT
                | libc::TCP_MAXSEG
                | libc::TCP_USER_TIMEOUT,
            ) => return invalid,
            (level, name) => {
                return Outcome::unsupported(format!("socket option {level}, {name}"));
            }
        }
        ok
    }

    /// What an option is.
    pub fn get(&self, level: i32, name: i32, info: Option<&Info>, listening: bool) -> Outcome {
        let c = &self.config;
        let n = match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => i32::from(c.nodelay),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => i32::from(self.keepalive),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => self.keepalive_idle.as_secs() as i32,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => c.keepalive_interval.as_secs() as i32,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => i32::from(c.keepalive_probes),
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => i32::from(c.syn_retries),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                c.user_timeout.map_or(0, |t| t.as_millis() as i32)
            }
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => info.map_or(536, |i| i32::from(i.snd_mss)),
            // Linux tells twice what was set.
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => c.send_buffer.saturating_mul(2) as i32,
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => c.recv_buffer.saturating_mul(2) as i32,
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => i32::from(listening),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let value = OptionValue::Linger(
                    i32::from(self.linger.is_some()),
                    self.linger.unwrap_or(0) as i32,
                );
                return Outcome {
                    value: Some(value),
                    ..Outcome::of(Ok(0))
                };
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
                return Outcome {
                    value: Some(OptionValue::Text(c.congestion.name().to_owned())),
                    ..Outcome::of(Ok(0))
                };
            }
            (libc::IPPROTO_TCP, libc::TCP_INFO) => return Outcome::of(Ok(0)),
            key if KEPT.contains(&key) => self.kept.get(&key).copied().unwrap_or(0),
            (level, name) => {
                return Outcome::unsupported(format!("socket option {level}, {name}"));
            }
        };
        Self::number(n)
    }

    /// Tells a connection that an option has been set. Those that a
    /// connection has only from its beginning are not in here.
    pub fn apply(&self, cx: &mut Context<'_, ()>, flow: Flow, level: i32, name: i32) {
        let c = &self.config;
        match (level, name) {
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => cx.set_nodelay(flow, c.nodelay),
            (libc::IPPROTO_TCP, libc::TCP_CORK) => cx.set_cork(flow, self.cork),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                cx.set_max_segment(flow, c.max_segment.unwrap_or(u16::MAX));
            }
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                cx.set_user_timeout(flow, c.user_timeout);
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => cx.set_congestion(flow, c.congestion),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT)
            | (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
                cx.set_keepalive(flow, c.keepalive, c.keepalive_interval, c.keepalive_probes);
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
                cx.set_send_buffer(flow, c.send_buffer);
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
                cx.set_recv_buffer(flow, c.recv_buffer);
            }
            _ => {}
        }
    }

    /// `MSG_MORE`: what is written is held back as under a cork.
    pub fn more(&self, cx: &mut Context<'_, ()>, flow: Flow, more: bool) {
        if !self.cork {
            cx.set_cork(flow, more);
        }
    }

    /// What must be told to a connection that the listener's settings do not
    /// cover.
    pub fn inherit(&self, cx: &mut Context<'_, ()>, flow: Flow) {
        if self.cork {
            cx.set_cork(flow, true);
        }
    }
}
