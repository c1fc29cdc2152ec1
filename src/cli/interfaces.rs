//! `fullbore interfaces`.

use super::failure::{Exit, Failure};
use crate::xdp::Interface;

/// Drivers that run XDP programs themselves, as of Linux 6.18.
const NATIVE: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "bonding",
    "cpsw",
    "cpsw-switch",
    "dpaa2-eth",
    "ena",
    "enetc",
    "fec",
    "fsl_dpa",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "idpf",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "lan966x",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "netsec",
    "nfp",
    "nicvf",
    "octeontx2-nicpf",
    "octeontx2-nicvf",
    "qede",
    "sfc",
    "stmmac",
    "thunder-nicvf",
    "tsnep",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
    "xen_netfront",
];
/// Those of them that bind sockets without copying.
const ZERO_COPY: &[&str] = &[
    "bnxt_en",
    "gve",
    "i40e",
    "ice",
    "idpf",
    "igb",
    "igc",
    "ixgbe",
    "mlx5_core",
    "nfp",
    "stmmac",
    "tsnep",
    "virtio_net",
];

/// Lists the interfaces.
pub fn run() -> Result<(), Failure> {
    let directory = "/sys/class/net";
    let entries = std::fs::read_dir(directory)
        .map_err(|e| Failure::new(Exit::Interface, format!("{directory} cannot be read: {e}")))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    println!(
        "{:<16}{:<14}{:>7}{:>7}  {:<6}{:<9}zero copy",
        "interface", "driver", "queues", "MTU", "state", "native"
    );
    for name in names {
        // One that has gone, or that /sys shows of another namespace.
        let Ok(interface) = Interface::read(&name) else {
            continue;
        };
        let driver = interface.driver.as_str();
        println!(
            "{:<16}{:<14}{:>7}{:>7}  {:<6}{:<9}{}",
            name,
            if driver.is_empty() { "-" } else { driver },
            interface.rx_queues,
            interface.mtu,
            if interface.up { "up" } else { "down" },
            known(driver, NATIVE),
            known(driver, ZERO_COPY),
        );
    }
    println!(
        "native, zero copy: what the driver is known for; `fullbore serve` tells what is in force"
    );
    Ok(())
}

fn known(driver: &str, list: &[&str]) -> &'static str {
    if list.contains(&driver) {
        "yes"
    } else {
        "unknown"
    }
}
