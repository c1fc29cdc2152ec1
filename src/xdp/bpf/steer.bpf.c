// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The steering program: which frames of an interface go to fullbore's AF_XDP
// sockets and which stay with the kernel.
//
// It reads a frame only as far as the ports, looks up what the process has
// claimed, and redirects to the socket of the queue the frame came in on.
// Everything else is passed. `program.rs` fills the maps; the layouts below
// and there have to agree.
//
// The kernel interface is spelled out here, so that clang alone can compile
// this file: no kernel or libbpf headers are needed.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NULL ((void *)0)

// include/uapi/linux/bpf.h
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};
enum { XDP_DROP = 1, XDP_PASS = 2, XDP_REDIRECT = 4 };
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_XSKMAP = 17 };
static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define UINT(name, value) int(*name)[value]
#define TYPE(name, value) value *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) ((u16)((((x) & 0xff) << 8) | (((x) >> 8) & 0xff)))
#else
#define NET16(x) ((u16)(x))
#endif

// An address that claims refer to: IPv4 as ::ffff:a.b.c.d.
struct address {
	union {
		u8 bytes[16];
		u16 halves[8];
		u32 parts[4];
		u64 words[2];
	};
};
struct address_entry {
	u32 slot; // index of its port bitmap
	u32 own; // not zero: every frame for it is ours
};

// What is taken, set by the process.
struct config {
	u32 flags;
	u32 vlan; // VLAN_ANY, VLAN_NONE, or the only identifier that is ours
	// One of the addresses, and its entry: most have no other, and hashing
	// costs more than all the rest of this program.
	struct address first;
	struct address_entry first_entry;
};
#define TAKE_ALL 1u
#define HAVE_ADDRESSES 2u
#define HAVE_FIRST 4u
#define VLAN_ANY 0xffffu
#define VLAN_NONE 0u

// Ports are bits. A slot is one address's ports, 1024 words for TCP and then
// 1024 for UDP; slot 0 holds the claims that name no address.
#define SLOTS 64
#define WORDS_PER_PROTOCOL 1024
#define WORDS_PER_SLOT (2 * WORDS_PER_PROTOCOL)

// One counter goes up for each frame.
enum counter {
	REDIRECTED,
	REDIRECTED_ICMP_ERROR,
	REDIRECTED_NEIGHBOUR,
	PASSED_NOT_OURS,
	PASSED_NO_SOCKET,
	PASSED_FRAGMENT,
	PASSED_MALFORMED,
	DROPPED_FRAGMENT,
	COUNTERS,
};
struct counters {
	u64 frames[COUNTERS];
};

struct {
	UINT(type, MAP_XSKMAP);
	UINT(max_entries, 64);
	TYPE(key, u32);
	TYPE(value, u32);
} sockets SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct config);
} settings SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, SLOTS);
	TYPE(key, struct address);
	TYPE(value, struct address_entry);
} addresses SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, SLOTS *WORDS_PER_SLOT);
	TYPE(key, u32);
	TYPE(value, u64);
} ports SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct counters);
} counts SEC(".maps");

// Wire formats. Not packed: they have no gaps, and a packed field would be read
// byte by byte. Frames may lie anywhere: processors that BPF programs are
// verified for either load from any address, or have headers aligned for them.
struct eth {
	u8 destination[6];
	u8 source[6];
	u16 type;
};
struct vlan {
	u16 tci;
	u16 type;
};
struct arp {
	u16 hardware, protocol;
	u8 hardware_length, protocol_length;
	u16 operation;
	u8 sender_mac[6], sender[4], target_mac[6], target[4];
};
struct ipv4 {
	u8 version_ihl, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 source, destination;
};
struct ipv6 {
	u32 version_flow;
	u16 length;
	u8 next, hops;
	u32 source[4], destination[4];
};
struct ports_header {
	u16 source, destination;
};
struct icmp {
	u8 type, code;
	u16 checksum;
	u32 rest;
};
_Static_assert(sizeof(struct eth) == 14 && sizeof(struct arp) == 28 && sizeof(struct ipv4) == 20 &&
		       sizeof(struct ipv6) == 40 && sizeof(struct icmp) == 8,
	       "gaps in a header");

enum { TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_VLAN = 0x8100, TYPE_IPV6 = 0x86dd };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
enum { MAX_EXTENSIONS = 4 };

// What reading a frame came to.
enum verdict {
	NOT_OURS,
	OURS,
	OURS_ICMP_ERROR,
	OURS_NEIGHBOUR,
	FRAGMENT_OF_OTHERS,
	FRAGMENT_OF_OURS,
	MALFORMED,
};

INLINE void map_ipv4(struct address *to, u32 from)
{
	to->words[0] = 0;
	to->halves[4] = 0;
	to->halves[5] = 0xffff;
	to->parts[3] = from;
}

INLINE void copy_ipv6(struct address *to, const u32 *from)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < 4; i++)
		to->parts[i] = from[i];
}

INLINE const struct address_entry *find_address(const struct config *config,
						const struct address *address)
{
	if (!(config->flags & HAVE_ADDRESSES))
		return NULL;
	if ((config->flags & HAVE_FIRST) && address->words[0] == config->first.words[0] &&
	    address->words[1] == config->first.words[1])
		return &config->first_entry;
	return map_lookup(&addresses, address);
}

INLINE int port_claimed(u32 slot, u8 protocol, u16 port)
{
	u32 word = slot * WORDS_PER_SLOT + (protocol == UDP ? WORDS_PER_PROTOCOL : 0) + (port >> 6);
	u64 *bits = map_lookup(&ports, &word);

	return bits && (*bits >> (port & 63)) & 1;
}

// Is this local (protocol, address, port) ours, the address of which has this
// entry?
INLINE int entry_claims(const struct address_entry *entry, u8 protocol, u16 port)
{
	if (entry && (entry->own || port_claimed(entry->slot, protocol, port)))
		return 1;
	return port_claimed(0, protocol, port);
}

INLINE int claimed(const struct config *config, const struct address *local, u8 protocol, u16 port)
{
	return entry_claims(find_address(config, local), protocol, port);
}

INLINE int is_own(const struct config *config, const struct address *address)
{
	const struct address_entry *entry = find_address(config, address);

	return entry && entry->own;
}

INLINE enum verdict read_arp(const struct config *config, void *at, void *end)
{
	struct arp *arp = at;
	struct address target;
	u32 ip;

	if ((void *)(arp + 1) > end)
		return MALFORMED;
	if (arp->protocol != NET16(TYPE_IPV4) || arp->protocol_length != 4 || arp->hardware_length != 6)
		return NOT_OURS;
	__builtin_memcpy(&ip, arp->target, sizeof(ip));
	map_ipv4(&target, ip);
	return is_own(config, &target) ? OURS_NEIGHBOUR : NOT_OURS;
}

// An ICMP error quotes the packet that caused it. If that came from one of
// our ports, the error is for our connection (path MTU discovery needs it).
INLINE enum verdict read_icmp4_error(const struct config *config, struct icmp *icmp, void *end)
{
	struct ipv4 *quote = (void *)(icmp + 1);
	struct ports_header *quoted;
	struct address local;
	u32 length;

	if ((void *)(icmp + 1) > end)
		return MALFORMED;
	// Destination unreachable, time exceeded, parameter problem.
	if (icmp->type != 3 && icmp->type != 11 && icmp->type != 12)
		return NOT_OURS;
	if ((void *)(quote + 1) > end)
		return MALFORMED;
	length = (quote->version_ihl & 0xf) * 4;
	if (quote->version_ihl >> 4 != 4 || length < sizeof(*quote))
		return MALFORMED;
	if (quote->protocol != TCP && quote->protocol != UDP)
		return NOT_OURS;
	if (quote->fragment & NET16(0x1fff))
		return NOT_OURS;
	quoted = (void *)quote + length;
	if ((void *)(quoted + 1) > end)
		return MALFORMED;
	map_ipv4(&local, quote->source);
	return claimed(config, &local, quote->protocol, NET16(quoted->source)) ? OURS_ICMP_ERROR : NOT_OURS;
}

INLINE enum verdict read_ipv4(const struct config *config, void *at, void *end)
{
	const struct address_entry *entry;
	struct ipv4 *ip = at;
	struct ports_header *header;
	struct address local;
	u32 length;

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	length = (ip->version_ihl & 0xf) * 4;
	if (ip->version_ihl >> 4 != 4 || length < sizeof(*ip))
		return MALFORMED;
	map_ipv4(&local, ip->destination);
	entry = find_address(config, &local);
	if (entry && entry->own)
		return OURS;
	// A later fragment has no ports.
	if (ip->fragment & NET16(0x1fff))
		return FRAGMENT_OF_OTHERS;
	header = at + length;
	if (ip->protocol == ICMP)
		return read_icmp4_error(config, (void *)header, end);
	if (ip->protocol != TCP && ip->protocol != UDP)
		return NOT_OURS;
	if ((void *)(header + 1) > end)
		return MALFORMED;
	if (!entry_claims(entry, ip->protocol, NET16(header->destination)))
		return ip->fragment & NET16(0x2000) ? FRAGMENT_OF_OTHERS : NOT_OURS;
	return ip->fragment & NET16(0x2000) ? FRAGMENT_OF_OURS : OURS;
}

// Neighbour solicitations for an address of ours go to its solicited-node
// group, and errors quote our packets.
INLINE enum verdict read_icmp6(const struct config *config, struct icmp *icmp, void *end)
{
	struct ipv6 *quote = (void *)(icmp + 1);
	struct ports_header *quoted = (void *)(quote + 1);
	struct address local;

	if ((void *)(icmp + 1) > end)
		return MALFORMED;
	if (icmp->type == 135) {
		if ((void *)(icmp + 1) + sizeof(local) > end)
			return MALFORMED;
		__builtin_memcpy(&local, icmp + 1, sizeof(local));
		return is_own(config, &local) ? OURS_NEIGHBOUR : NOT_OURS;
	}
	// Destination unreachable, packet too big, time exceeded, parameter problem.
	if (icmp->type < 1 || icmp->type > 4)
		return NOT_OURS;
	if ((void *)(quote + 1) > end)
		return MALFORMED;
	if (quote->next != TCP && quote->next != UDP)
		return NOT_OURS;
	if ((void *)(quoted + 1) > end)
		return MALFORMED;
	copy_ipv6(&local, quote->source);
	return claimed(config, &local, quote->next, NET16(quoted->source)) ? OURS_ICMP_ERROR : NOT_OURS;
}

INLINE enum verdict read_ipv6(const struct config *config, void *at, void *end)
{
	struct ipv6 *ip = at;
	struct ports_header *header;
	struct address local;
	u8 next;

	if ((void *)(ip + 1) > end)
		return MALFORMED;
	if ((*(u8 *)at >> 4) != 6)
		return MALFORMED;
	copy_ipv6(&local, ip->destination);
	if (is_own(config, &local))
		return OURS;
	next = ip->next;
	at = ip + 1;
#pragma clang loop unroll(full)
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		u8 *extension = at;

		if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION)
			break;
		if ((void *)(extension + 8) > end)
			return MALFORMED;
		next = extension[0];
		at += 8 + (u32)extension[1] * 8;
	}
	if (next == FRAGMENT) {
		u8 *extension = at;
		u16 offset;

		if ((void *)(extension + 8) > end)
			return MALFORMED;
		offset = (u16)((extension[2] << 8) | extension[3]) & 0xfff8;
		header = (void *)(extension + 8);
		if (offset || (extension[0] != TCP && extension[0] != UDP))
			return FRAGMENT_OF_OTHERS;
		if ((void *)(header + 1) > end)
			return MALFORMED;
		return claimed(config, &local, extension[0], NET16(header->destination)) ?
			FRAGMENT_OF_OURS : FRAGMENT_OF_OTHERS;
	}
	if (next == ICMPV6)
		return read_icmp6(config, at, end);
	if (next != TCP && next != UDP)
		return NOT_OURS;
	header = at;
	if ((void *)(header + 1) > end)
		return MALFORMED;
	return claimed(config, &local, next, NET16(header->destination)) ? OURS : NOT_OURS;
}

INLINE enum verdict read_frame(const struct config *config, void *at, void *end)
{
	struct eth *eth = at;
	u32 vlan = 0;
	u16 type;

	if (config->flags & TAKE_ALL)
		return OURS;
	if ((void *)(eth + 1) > end)
		return MALFORMED;
	type = eth->type;
	at = eth + 1;
	if (type == NET16(TYPE_VLAN)) {
		struct vlan *tag = at;

		if ((void *)(tag + 1) > end)
			return MALFORMED;
		vlan = NET16(tag->tci) & 0xfff;
		type = tag->type;
		at = tag + 1;
	}
	// Another VLAN is another network, with addresses and ports of its own.
	if (config->vlan != VLAN_ANY && config->vlan != vlan)
		return NOT_OURS;
	switch (type) {
	case NET16(TYPE_IPV4):
		return read_ipv4(config, at, end);
	case NET16(TYPE_IPV6):
		return read_ipv6(config, at, end);
	case NET16(TYPE_ARP):
		return read_arp(config, at, end);
	}
	return NOT_OURS;
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	u32 zero = 0;
	struct config *config = map_lookup(&settings, &zero);
	struct counters *counters = map_lookup(&counts, &zero);
	enum verdict verdict;
	int taken;

	if (!config || !counters)
		return XDP_PASS;
	verdict = read_frame(config, (void *)(u64)ctx->data, (void *)(u64)ctx->data_end);

	switch (verdict) {
	case OURS:
		taken = REDIRECTED;
		break;
	case OURS_ICMP_ERROR:
		taken = REDIRECTED_ICMP_ERROR;
		break;
	case OURS_NEIGHBOUR:
		taken = REDIRECTED_NEIGHBOUR;
		break;
	case FRAGMENT_OF_OURS:
		// Passed, the kernel would reassemble it and reset a
		// connection it does not know.
		counters->frames[DROPPED_FRAGMENT]++;
		return XDP_DROP;
	case FRAGMENT_OF_OTHERS:
		counters->frames[PASSED_FRAGMENT]++;
		return XDP_PASS;
	case MALFORMED:
		counters->frames[PASSED_MALFORMED]++;
		return XDP_PASS;
	default:
		counters->frames[PASSED_NOT_OURS]++;
		return XDP_PASS;
	}

	if (redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS) != XDP_REDIRECT) {
		counters->frames[PASSED_NO_SOCKET]++;
		return XDP_PASS;
	}
	// One constant index each: a variable one costs a bounds check.
	if (taken == REDIRECTED)
		counters->frames[REDIRECTED]++;
	else if (taken == REDIRECTED_ICMP_ERROR)
		counters->frames[REDIRECTED_ICMP_ERROR]++;
	else
		counters->frames[REDIRECTED_NEIGHBOUR]++;
	return XDP_REDIRECT;
}

char _license[] SEC("license") = "MIT";
