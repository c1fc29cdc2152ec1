#!/usr/bin/python3
"""A BitTorrent peer by libtorrent, for tests of what is between the peers.

usage: libtorrent_peer.py {seed|leech} {tcp|utp} ADDRESS:PORT TORRENT DIRECTORY
                          [--peer ADDRESS:PORT] [--limit SECONDS]

Listens at ADDRESS:PORT and says "listening". `seed` has the file in DIRECTORY
and gives it until its standard input ends; `leech` fetches it, says "complete",
and ends. Before the end a line of JSON tells how long it took and which
transports its connections had. The one that is not named is off in both
directions.
"""
import argparse
import json
import re
import select
import sys
import time

import libtorrent as lt

parser = argparse.ArgumentParser()
parser.add_argument("role", choices=["seed", "leech"])
parser.add_argument("transport", choices=["tcp", "utp"])
parser.add_argument("listen")
parser.add_argument("torrent")
parser.add_argument("directory")
parser.add_argument("--peer")
parser.add_argument("--limit", type=float, default=60)
args = parser.parse_args()

tcp, utp = args.transport == "tcp", args.transport == "utp"
PE_DISABLED = 2
session = lt.session({
    "listen_interfaces": args.listen,
    "enable_incoming_tcp": tcp,
    "enable_outgoing_tcp": tcp,
    "enable_incoming_utp": utp,
    "enable_outgoing_utp": utp,
    # It gives a connection up when one packet was lost three times, which at 5 %
    # happens to one of 8,000.
    "utp_num_resends": 12,
    "utp_syn_resends": 6,
    "utp_fin_resends": 6,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "in_enc_policy": PE_DISABLED,
    "out_enc_policy": PE_DISABLED,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.error_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.connect_notification,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(args.torrent)
params.save_path = args.directory
# Neither paused nor looked after by a queue.
params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
handle = session.add_torrent(params)


def connect():
    if args.peer:
        address, port = args.peer.rsplit(":", 1)
        handle.connect_peer((address, int(port)))


seen = set()


def tell_alerts():
    for alert in session.pop_alerts():
        # As in "outgoing connection to peer (uTP)".
        if isinstance(alert, lt.peer_connect_alert):
            seen.update({"tcp", "utp"}.intersection(re.findall(r"\w+", str(alert).lower())))
        print(f"{time.monotonic():.3f} {alert}", file=sys.stderr)


begin = time.monotonic()
tried = None
listening = False
complete = False
code = 1
while time.monotonic() - begin < args.limit:
    status = handle.status()
    tell_alerts()
    checked = status.state not in (
        lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data)
    if checked and not listening:
        listening = True
        print("listening", flush=True)
    if status.is_seeding and not complete:
        complete = True
        if args.role == "leech":
            print("complete", flush=True)
            code = 0
            break
    if checked and (tried is None or (status.num_peers == 0 and time.monotonic() - tried > 1)):
        tried = time.monotonic()
        connect()
    if args.role == "seed" and select.select([sys.stdin], [], [], 0)[0]:
        code = 0
        break
    time.sleep(0.01)

tell_alerts()
print(json.dumps({
    "seconds": time.monotonic() - begin,
    "transports": sorted(seen),
}), flush=True)
sys.exit(code)
