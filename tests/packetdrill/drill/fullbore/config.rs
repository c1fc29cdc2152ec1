//! The settings that a script's `sysctl` lines stand for.

use std::time::Duration;

use fullbore::congestion::Algorithm;
use fullbore::tcp::{Config, Ecn, MtuProbing};

/// What the connections of a script begin with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The defaults of fullbore with CUBIC, unless a script has changed them.
    pub tcp: Config,
    /// Idle time before the first probe, of sockets that ask for keepalive.
    pub keepalive_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // As the figures of scripts for Linux have it.
            tcp: Config {
                congestion: Algorithm::Cubic,
                ..Config::default()
            },
            keepalive_idle: Duration::from_secs(7200),
        }
    }
}

impl Settings {
    /// Sets what a Linux setting stands for; `false` when there is nothing of
    /// that kind, or the value is none of its.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        self.try_set(name, value).is_some()
    }

    fn try_set(&mut self, name: &str, value: &str) -> Option<()> {
        let c = &mut self.tcp;
        let number = || value.split_whitespace().next()?.parse::<u32>().ok();
        let last = || value.split_whitespace().last()?.parse::<u32>().ok();
        let on = || Some(number()? != 0);
        let seconds = || Some(Duration::from_secs(number()?.into()));
        let small = || u8::try_from(number()?).ok();
        match name {
            "tcp_timestamps" => c.timestamps = on()?,
            "tcp_sack" => c.sack = on()?,
            "tcp_window_scaling" => c.window_scaling = on()?,
            "tcp_ecn" => {
                c.ecn = match number()? {
                    0 => Ecn::Off,
                    1 => Ecn::Request,
                    2 => Ecn::Accept,
                    _ => return None,
                }
            }
            "tcp_mtu_probing" => {
                c.mtu_probing = match number()? {
                    0 => MtuProbing::Off,
                    1 => MtuProbing::BlackHole,
                    2 => MtuProbing::On,
                    _ => return None,
                }
            }
            "tcp_syncookies" => c.syn_cookies = on()?,
            "tcp_slow_start_after_idle" => c.slow_start_after_idle = on()?,
            "tcp_keepalive_time" => self.keepalive_idle = seconds()?,
            "tcp_congestion_control" => c.congestion = value.parse().ok()?,
            "tcp_syn_retries" => c.syn_retries = small()?,
            "tcp_synack_retries" => c.synack_retries = small()?,
            "tcp_retries2" => c.retries = small()?,
            "tcp_fin_timeout" => c.fin_wait_2 = seconds()?,
            "tcp_keepalive_intvl" => c.keepalive_interval = seconds()?,
            "tcp_keepalive_probes" => c.keepalive_probes = small()?,
            "tcp_rmem" => c.recv_buffer = last()?,
            "tcp_wmem" => c.send_buffer = last()?,
            _ => return None,
        }
        Some(())
    }
}
