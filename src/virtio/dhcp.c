// SPDX-License-Identifier: Apache-2.0
/*
 * The DHCP server of dhcp.h: RFC 2131 (protocol), RFC 2132 (options), RFC 3397 (search list),
 * RFC 3442 (classless routes), RFC 6842 (client identifier in replies). The guest wrote every byte
 * that is read here.
 */
#include "dhcp.h"
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <podvisor/cleanup.h>
#include <string.h>

#define PORT_SERVER 67
#define PORT_CLIENT 68

#define BOOT_REQUEST   1
#define BOOT_REPLY     2
#define HTYPE_ETHERNET 1
#define FLAG_BROADCAST 0x8000

#define LEASE_SECONDS (UINT32_C(999) * 24 * 60 * 60) /* KubeVirt's */

/* RFC 2131 §2: an IP datagram that every client takes. */
#define DATAGRAM_MIN 576

/* RFC 1542 §2.1: relays and clients of old drop shorter messages. */
#define MESSAGE_MIN 300

/* RFC 2132 §9.6 */
enum message_type {
    MESSAGE_NONE = 0, /* a request of BOOTP; no reply */
    MESSAGE_DISCOVER = 1,
    MESSAGE_OFFER = 2,
    MESSAGE_REQUEST = 3,
    MESSAGE_DECLINE = 4,
    MESSAGE_ACK = 5,
    MESSAGE_NAK = 6,
    MESSAGE_RELEASE = 7,
    MESSAGE_INFORM = 8,
};

enum option {
    OPTION_PAD = 0,
    OPTION_MASK = 1,
    OPTION_ROUTER = 3,
    OPTION_DNS = 6,
    OPTION_HOSTNAME = 12,
    OPTION_DOMAIN = 15,
    OPTION_MTU = 26,
    OPTION_REQUESTED_ADDRESS = 50,
    OPTION_LEASE_TIME = 51,
    OPTION_MESSAGE_TYPE = 53,
    OPTION_SERVER = 54,
    OPTION_PARAMETERS = 55,
    OPTION_MAX_SIZE = 57,
    OPTION_CLIENT_ID = 61,
    OPTION_SEARCH = 119,
    OPTION_ROUTES = 121,
    OPTION_END = 255,
};

static const uint8_t magic[4] = {99, 130, 83, 99};
static const uint8_t no_address[4];
static const uint8_t everybody[4] = {255, 255, 255, 255};

/* RFC 2131 §2, with the cookie that begins the options. */
struct __attribute__((packed)) message {
    uint8_t op, htype, hlen, hops;
    uint8_t xid[4];
    uint16_t secs, flags;
    uint8_t ciaddr[4], yiaddr[4], siaddr[4], giaddr[4];
    uint8_t chaddr[16], sname[64], file[128];
    uint8_t cookie[4];
};

struct __attribute__((packed)) frame {
    struct ether_header ethernet;
    struct iphdr ip;
    struct udphdr udp;
    struct message message;
};

_Static_assert(sizeof(struct frame) == DHCP_FRAME_MIN, "a message without options");

struct request {
    struct message message;
    unsigned type; /* enum message_type, or what the guest made up */
    bool has_server, has_requested, has_parameters;
    uint8_t server[4], requested[4];
    size_t max_size; /* of the reply's datagram, bytes */
    const uint8_t *client_id;
    uint8_t client_id_len;
    uint64_t parameters[4]; /* bit n: option n was asked for */
};

static bool same_address(const uint8_t a[4], const uint8_t b[4])
{
    return memcmp(a, b, 4) == 0;
}

static uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* RFC 1071: adds big-endian words to a sum; the last byte of an odd number is a high one. */
static uint32_t sum_words(uint32_t sum, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += load_be16(p + i);
    if (len % 2 != 0)
        sum += (uint32_t)p[len - 1] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Over the pseudo header (RFC 768), the header and the data; right when it is 0xffff. */
static uint16_t sum_udp(const uint8_t *addresses, const uint8_t *udp, size_t len)
{
    uint32_t sum = sum_words(IPPROTO_UDP + (uint32_t)len, addresses, 8);
    return fold(sum_words(sum, udp, len));
}

/* Requests. */

bool dhcp_is_candidate(const uint8_t *frame, size_t len)
{
    const uint8_t *ip = frame + ETH_HLEN;
    if (len < ETH_HLEN + sizeof(struct iphdr) || load_be16(frame + 12) != ETHERTYPE_IP)
        return false;
    size_t header = (size_t)(ip[0] & 0x0f) * 4;
    return ip[0] >> 4 == 4 && header >= sizeof(struct iphdr) && ip[9] == IPPROTO_UDP &&
           len >= ETH_HLEN + header + sizeof(struct udphdr) &&
           load_be16(ip + header + 2) == PORT_SERVER;
}

/* The datagram's contents: NULL unless all of it is here and nothing of it is damaged. */
static const uint8_t *find_message(const uint8_t *frame, size_t len, bool unfinished,
                                   size_t *ret_len)
{
    if (!dhcp_is_candidate(frame, len))
        return NULL;
    const uint8_t *ip = frame + ETH_HLEN;
    size_t header = (size_t)(ip[0] & 0x0f) * 4, total = load_be16(ip + 2);
    const uint8_t *udp = ip + header;
    size_t udp_len = load_be16(udp + 4);
    if (total > len - ETH_HLEN || total < header + udp_len ||
        udp_len < sizeof(struct udphdr) + sizeof(struct message))
        return NULL;
    if ((load_be16(ip + 6) & (IP_MF | IP_OFFMASK)) != 0 || fold(sum_words(0, ip, header)) != 0xffff)
        return NULL;
    if (!unfinished && load_be16(udp + 6) != 0 && sum_udp(ip + 12, udp, udp_len) != 0xffff)
        return NULL;
    *ret_len = udp_len - sizeof(struct udphdr);
    return udp + sizeof(struct udphdr);
}

static void read_option(struct request *request, uint8_t code, const uint8_t *data, uint8_t len)
{
    if (code == OPTION_MESSAGE_TYPE && len == 1) {
        request->type = data[0];
    } else if (code == OPTION_REQUESTED_ADDRESS && len == 4) {
        request->has_requested = true;
        memcpy(request->requested, data, 4);
    } else if (code == OPTION_SERVER && len == 4) {
        request->has_server = true;
        memcpy(request->server, data, 4);
    } else if (code == OPTION_MAX_SIZE && len == 2 && load_be16(data) > DATAGRAM_MIN) {
        request->max_size = load_be16(data);
    } else if (code == OPTION_CLIENT_ID && len > 0) {
        request->client_id = data;
        request->client_id_len = len;
    } else if (code == OPTION_PARAMETERS) {
        request->has_parameters = true;
        for (unsigned i = 0; i < len; i++)
            request->parameters[data[i] / 64] |= UINT64_C(1) << data[i] % 64;
    }
}

/* False when an option ends behind the message. */
static bool read_options(struct request *request, const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_PAD) {
            at++;
            continue;
        }
        if (end - at < 2 || end - at - 2 < at[1])
            return false;
        read_option(request, at[0], at + 2, at[1]);
        at += 2 + at[1];
    }
    return true;
}

/* From this guest, and not for somebody behind it: another client's, or relayed. */
static bool is_own(const struct message *m, const uint8_t mac[6])
{
    return m->op == BOOT_REQUEST && m->htype == HTYPE_ETHERNET && m->hlen == ETH_ALEN &&
           memcmp(m->chaddr, mac, ETH_ALEN) == 0 && same_address(m->giaddr, no_address) &&
           memcmp(m->cookie, magic, sizeof(magic)) == 0;
}

/* Replies. */

struct options {
    uint8_t *at, *end;
};

/* What does not fit is left out: the caller puts what matters first. */
static void put_option(struct options *o, uint8_t code, const void *data, size_t len)
{
    if (len == 0 || len > LEASE_OPTION_MAX || (size_t)(o->end - o->at) < 2 + len)
        return;
    *o->at++ = code;
    *o->at++ = (uint8_t)len;
    memcpy(o->at, data, len);
    o->at += len;
}

static void put_wanted(struct options *o, const struct request *request, uint8_t code,
                       const void *data, size_t len)
{
    if (!request->has_parameters || (request->parameters[code / 64] >> code % 64 & 1) != 0)
        put_option(o, code, data, len);
}

static void put_configuration(struct options *o, const struct request *request,
                              const struct lease *lease)
{
    uint32_t mask = htonl((uint32_t)(UINT64_C(0xffffffff) << (32 - lease->prefix)));
    uint16_t mtu = htons(lease->mtu);
    put_option(o, OPTION_MASK, &mask, sizeof(mask));
    if (!same_address(lease->router, no_address))
        put_wanted(o, request, OPTION_ROUTER, lease->router, 4);
    put_wanted(o, request, OPTION_DNS, lease->dns, (size_t)4 * lease->dns_count);
    if (lease->mtu != 0)
        put_wanted(o, request, OPTION_MTU, &mtu, sizeof(mtu));
    put_wanted(o, request, OPTION_ROUTES, lease->routes, lease->routes_len);
    put_wanted(o, request, OPTION_HOSTNAME, lease->hostname, strlen(lease->hostname));
    put_wanted(o, request, OPTION_DOMAIN, lease->domain, strlen(lease->domain));
    put_wanted(o, request, OPTION_SEARCH, lease->search, lease->search_len);
}

static size_t datagram_max(const struct request *request, const struct lease *lease)
{
    size_t max = request->max_size;
    if (lease->mtu >= DATAGRAM_MIN && max > lease->mtu)
        max = lease->mtu;
    return max < DHCP_FRAME_MAX - ETH_HLEN ? max : DHCP_FRAME_MAX - ETH_HLEN;
}

/* Writes the message and returns its length. */
static size_t write_message(const struct request *request, const struct lease *lease,
                            enum message_type type, struct message *m)
{
    const uint32_t seconds = htonl(LEASE_SECONDS);
    const uint8_t type_byte = (uint8_t)type;
    const size_t max = datagram_max(request, lease);
    *m = request->message;
    m->op = BOOT_REPLY;
    m->hops = 0;
    m->secs = 0;
    memset(m->sname, 0, sizeof(m->sname));
    memset(m->file, 0, sizeof(m->file));
    memset(m->yiaddr, 0, sizeof(m->yiaddr));
    memset(m->siaddr, 0, sizeof(m->siaddr));
    if (type == MESSAGE_NAK || type == MESSAGE_OFFER) /* RFC 2131 table 3 */
        memset(m->ciaddr, 0, sizeof(m->ciaddr));
    /* One byte is for the end. */
    struct options o = {.at = (uint8_t *)(m + 1),
                        .end =
                            (uint8_t *)m + max - sizeof(struct iphdr) - sizeof(struct udphdr) - 1};
    put_option(&o, OPTION_MESSAGE_TYPE, &type_byte, 1);
    put_option(&o, OPTION_SERVER, lease->server, 4);
    if (type != MESSAGE_NAK && request->type != MESSAGE_INFORM) {
        memcpy(m->yiaddr, lease->address, 4);
        put_option(&o, OPTION_LEASE_TIME, &seconds, sizeof(seconds));
    }
    put_option(&o, OPTION_CLIENT_ID, request->client_id, request->client_id_len);
    if (type != MESSAGE_NAK)
        put_configuration(&o, request, lease);
    *o.at++ = OPTION_END;
    size_t len = (size_t)(o.at - (uint8_t *)m);
    if (len < MESSAGE_MIN) {
        memset(o.at, OPTION_PAD, MESSAGE_MIN - len);
        len = MESSAGE_MIN;
    }
    return len;
}

/* RFC 2131 §4.1: where to. On this wire there is nobody but the guest. */
static void write_headers(struct frame *f, const struct lease *lease, enum message_type type,
                          const uint8_t mac[6], size_t message_len)
{
    static const uint8_t host_mac[6] = LEASE_HOST_MAC;
    const uint8_t *to = everybody;
    if (type != MESSAGE_NAK && !same_address(f->message.ciaddr, no_address))
        to = f->message.ciaddr;
    else if (type != MESSAGE_NAK && (ntohs(f->message.flags) & FLAG_BROADCAST) == 0)
        to = lease->address;
    if (to == everybody)
        memset(f->ethernet.ether_dhost, 0xff, ETH_ALEN);
    else
        memcpy(f->ethernet.ether_dhost, mac, ETH_ALEN);
    memcpy(f->ethernet.ether_shost, host_mac, ETH_ALEN);
    f->ethernet.ether_type = htons(ETHERTYPE_IP);
    size_t udp_len = sizeof(f->udp) + message_len;
    f->ip = (struct iphdr){.version = 4,
                           .ihl = sizeof(f->ip) / 4,
                           .tot_len = htons((uint16_t)(sizeof(f->ip) + udp_len)),
                           .frag_off = htons(IP_DF),
                           .ttl = IPDEFTTL,
                           .protocol = IPPROTO_UDP};
    memcpy(&f->ip.saddr, lease->server, 4);
    memcpy(&f->ip.daddr, to, 4);
    f->ip.check = htons((uint16_t)~fold(sum_words(0, &f->ip, sizeof(f->ip))));
    f->udp = (struct udphdr){
        .source = htons(PORT_SERVER), .dest = htons(PORT_CLIENT), .len = htons((uint16_t)udp_len)};
    uint16_t check =
        (uint16_t)~sum_udp((const uint8_t *)&f->ip.saddr, (const uint8_t *)&f->udp, udp_len);
    f->udp.check = htons(check != 0 ? check : 0xffff);
}

/* RFC 2131 §4.3: which reply is due. */
static enum message_type choose_reply(const struct request *request, const struct lease *lease,
                                      const char **ret_note)
{
    const struct message *m = &request->message;
    bool right;
    switch (request->type) {
    case MESSAGE_DISCOVER:
        return MESSAGE_OFFER;
    case MESSAGE_INFORM:
        return same_address(m->ciaddr, no_address) ? MESSAGE_NONE : MESSAGE_ACK;
    case MESSAGE_REQUEST:
        /* Table 4: a selected server, a remembered address, or one that is in use. */
        if (request->has_server && !same_address(request->server, lease->server))
            return MESSAGE_NONE;
        right = request->has_requested ? same_address(request->requested, lease->address)
                                       : same_address(m->ciaddr, lease->address);
        if (!right)
            *ret_note = "the guest asked for an address that is not its own; it was refused";
        return right ? MESSAGE_ACK : MESSAGE_NAK;
    case MESSAGE_DECLINE:
        *ret_note = "the guest says that somebody else has its address";
        return MESSAGE_NONE;
    default:
        return MESSAGE_NONE;
    }
}

struct dhcp_answer dhcp_answer(const struct lease *lease, const uint8_t mac[6],
                               const uint8_t *frame, size_t len, bool unfinished, uint8_t *reply)
{
    struct dhcp_answer answer = {.taken = false};
    struct request request = {.max_size = DATAGRAM_MIN};
    size_t message_len;
    const uint8_t *message = find_message(frame, len, unfinished, &message_len);
    if (message == NULL)
        return answer;
    memcpy(&request.message, message, sizeof(request.message));
    if (!is_own(&request.message, mac))
        return answer;
    answer.taken = true;
    if (!read_options(&request, message + sizeof(request.message), message + message_len))
        return answer;
    enum message_type type = choose_reply(&request, lease, &answer.note);
    if (type == MESSAGE_NONE)
        return answer;
    struct frame *f = (struct frame *)reply;
    size_t reply_len = write_message(&request, lease, type, &f->message);
    write_headers(f, lease, type, mac, reply_len);
    answer.len = sizeof(*f) - sizeof(f->message) + reply_len;
    return answer;
}
