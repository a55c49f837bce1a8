// SPDX-License-Identifier: Apache-2.0
/*
 * The DHCP server: what real clients sent (recorded from busybox 1.35 and ISC dhclient 4.4), every
 * message of RFC 2131 table 4, and frames that it must leave alone.
 */
#include "dhcp.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Hexadecimal, and Zn for n bytes of zero. */
static const char udhcpc_discover[] =
    "ffffffffffff02112233445508004500014800000000401179a600000000ffffffff0044004301342f98"
    "010106005c9f334b Z20 021122334455 Z202 6382536335010139020240370a0103060c0f1a1c2a777"
    "90c046c61726b3c0c756468637020312e33352e303d0701021122334455ff Z11";
static const char udhcpc_request[] =
    "ffffffffffff02112233445508004500014900000000401179a500000000ffffffff0044004301352216"
    "010106005c9f334b Z20 021122334455 Z202 6382536335010332040a00020236040a0002013902024"
    "0370a0103060c0f1a1c2a77790c046c61726b3c0c756468637020312e33352e303d0701021122334455f"
    "f";
static const char dhclient_discover[] =
    "ffffffffffff021122334455080045100148000000008011399600000000ffffffff00440043013497c2"
    "01010600f90ae45a Z20 021122334455 Z202 638253633501013707011c02030f060cff Z47";
static const char dhclient_request[] =
    "ffffffffffff021122334455080045100148000000008011399600000000ffffffff0044004301348a42"
    "01010600f90ae45a Z20 021122334455 Z202 6382536335010336040a00020132040a0002023707011"
    "c02030f060cff Z35";

/* Offsets in a frame with an IPv4 header of 20 bytes. */
#define IP      14
#define UDP     34
#define MESSAGE 42
#define FLAGS   (MESSAGE + 10)
#define CIADDR  (MESSAGE + 12)
#define YIADDR  (MESSAGE + 16)
#define GIADDR  (MESSAGE + 24)
#define CHADDR  (MESSAGE + 28)
#define COOKIE  (MESSAGE + 236)
#define OPTIONS (MESSAGE + 240)

#define ADDRESS "\x0a\x00\x02\x02"
#define SERVER  "\x0a\x00\x02\x01"
#define OTHER   "\x0a\x00\x02\x63"
#define NOBODY  "\x00\x00\x00\x00"

static const uint8_t mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
static struct lease lease;
static uint8_t frame[DHCP_FRAME_MAX + 64], reply[DHCP_FRAME_MAX];
static size_t frame_len;
static struct dhcp_answer answer;

static void set_up(void)
{
    lease = (struct lease){
        .enabled = 1,
        .prefix = 24,
        .address = {10, 0, 2, 2},
        .router = {10, 0, 2, 1},
        .server = {10, 0, 2, 1},
        .mtu = 1440,
        .dns_count = 2,
        .dns = {{10, 96, 0, 10}, {10, 96, 0, 11}},
        .search_len = 9,
        .search = "\2ns\4cube",
        .routes_len = 5,
        .routes = {0, 10, 0, 2, 1},
        .hostname = "myvm",
        .domain = "ns.cube",
    };
    memset(frame, 0, sizeof(frame));
    memset(reply, 0xaa, sizeof(reply));
}

static void load(const char *text)
{
    for (frame_len = 0; *text != '\0';) {
        unsigned n;
        int used = 1;
        if (*text == 'Z') {
            ck_assert_int_eq(sscanf(text, "Z%u%n", &n, &used), 1);
            frame_len += n;
        } else if (*text != ' ') {
            ck_assert_int_eq(sscanf(text, "%2x%n", &n, &used), 1);
            frame[frame_len++] = (uint8_t)n;
        }
        text += used;
    }
}

static void put(size_t at, const char *bytes, size_t len)
{
    memcpy(frame + at, bytes, len);
}

static void store16(uint8_t *p, size_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static unsigned load16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

/* RFC 1071 by the letter: end-around carry at every step. */
static unsigned add_words(unsigned sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i += 2) {
        sum += load16((uint8_t[]){p[i], i + 1 < len ? p[i + 1] : 0});
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static unsigned udp_sum(const uint8_t *f)
{
    size_t len = load16(f + UDP + 4);
    const uint8_t pseudo[4] = {0, 17, (uint8_t)(len >> 8), (uint8_t)len};
    unsigned sum = add_words(0, f + IP + 12, 8);
    return add_words(add_words(sum, pseudo, 4), f + UDP, len);
}

/* Lengths and sums as they should be for frame_len bytes with an IPv4 header of 20. */
static void seal(void)
{
    store16(frame + IP + 2, frame_len - IP);
    store16(frame + IP + 10, 0);
    store16(frame + IP + 10, 0xffff ^ add_words(0, frame + IP, 20));
    store16(frame + UDP + 4, frame_len - UDP);
    store16(frame + UDP + 6, 0);
    store16(frame + UDP + 6, 0xffff ^ udp_sum(frame));
}

/* A request of the guest's with these options, the message type first. */
static void make(const char *options, size_t len)
{
    memset(frame, 0, sizeof(frame));
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    put(12, "\x08\x00\x45", 3);
    put(IP + 8, "\x40\x11", 2);
    memset(frame + IP + 16, 0xff, 4);
    store16(frame + UDP, 68);
    store16(frame + UDP + 2, 67);
    put(MESSAGE, "\x01\x01\x06\x00\xde\xad\xbe\xef", 8);
    memcpy(frame + CHADDR, mac, 6);
    put(COOKIE, "\x63\x82\x53\x63", 4);
    memcpy(frame + OPTIONS, options, len);
    frame_len = OPTIONS + len;
    seal();
}

#define MAKE(options) make(options, sizeof(options) - 1)

static void ask(void)
{
    answer = dhcp_answer(&lease, mac, frame, frame_len, false, reply);
}

/* An option of the reply; NULL: it is not there. */
static const uint8_t *option(unsigned code, unsigned *ret_len)
{
    for (size_t i = OPTIONS; reply[i] != 255; i += 2u + reply[i + 1]) {
        ck_assert_uint_lt(i + 2, answer.len);
        if (reply[i] == code) {
            *ret_len = reply[i + 1];
            return reply + i + 2;
        }
    }
    return NULL;
}

static void expect_option(unsigned code, const void *data, unsigned len)
{
    unsigned got_len;
    const uint8_t *got = option(code, &got_len);
    ck_assert_msg(got != NULL, "option %u is not there", code);
    ck_assert_uint_eq(got_len, len);
    ck_assert_mem_eq(got, data, len);
}

static void expect_no_option(unsigned code)
{
    unsigned len;
    ck_assert_msg(option(code, &len) == NULL, "option %u is there", code);
}

/* What holds for every reply; `to` is the destination of the datagram. */
static void expect_reply(unsigned type, const char *to)
{
    const uint8_t type_byte = (uint8_t)type;
    ck_assert(answer.taken);
    ck_assert_uint_ge(answer.len, MESSAGE + 300);
    ck_assert_uint_eq(load16(reply + IP + 2), answer.len - IP);
    ck_assert_uint_eq(load16(reply + UDP + 4), answer.len - UDP);
    ck_assert_uint_eq(add_words(0, reply + IP, 20), 0xffff);
    ck_assert_uint_eq(udp_sum(reply), 0xffff);
    ck_assert_mem_eq(reply + IP + 12, SERVER, 4);
    ck_assert_mem_eq(reply + IP + 16, to, 4);
    if (memcmp(to, "\xff\xff\xff\xff", 4) == 0)
        ck_assert_mem_eq(reply, "\xff\xff\xff\xff\xff\xff", 6);
    else
        ck_assert_mem_eq(reply, mac, 6);
    ck_assert_uint_eq(load16(reply + UDP), 67);
    ck_assert_uint_eq(load16(reply + UDP + 2), 68);
    ck_assert_uint_eq(reply[MESSAGE], 2);
    ck_assert_mem_eq(reply + MESSAGE + 4, frame + MESSAGE + 4, 4); /* xid */
    ck_assert_mem_eq(reply + CHADDR, frame + CHADDR, 16);
    ck_assert_mem_eq(reply + COOKIE, "\x63\x82\x53\x63", 4);
    expect_option(53, &type_byte, 1);
    expect_option(54, SERVER, 4);
}

static void expect_silence(bool taken)
{
    ck_assert(answer.taken == taken);
    ck_assert_uint_eq(answer.len, 0);
}

static const uint8_t lease_time[4] = {0x05, 0x25, 0x0a, 0x80}; /* 999 days */

START_TEST(test_recorded_clients)
{
    static const struct {
        const char *frame;
        unsigned reply;
        bool routes;
    } table[] = {
        {udhcpc_discover, 2, true},
        {udhcpc_request, 5, true},
        {dhclient_discover, 2, false},
        {dhclient_request, 5, false},
    };
    load(table[_i].frame);
    ask();
    expect_reply(table[_i].reply, ADDRESS);
    ck_assert_mem_eq(reply + YIADDR, ADDRESS, 4);
    expect_option(51, lease_time, 4);
    expect_option(1, "\xff\xff\xff\x00", 4);
    expect_option(3, SERVER, 4);
    expect_option(6, "\x0a\x60\x00\x0a\x0a\x60\x00\x0b", 8);
    expect_option(12, "myvm", 4);
    expect_option(15, "ns.cube", 7);
    if (table[_i].routes) {
        expect_option(26, "\x05\xa0", 2);
        expect_option(121, "\x00\x0a\x00\x02\x01", 5);
        expect_option(119, "\2ns\4cube", 9);
        expect_option(61, "\x01\x02\x11\x22\x33\x44\x55", 7);
    } else {
        expect_no_option(26);
        expect_no_option(121);
        expect_no_option(61);
    }
}
END_TEST

/* RFC 2131 §4.1: where to. */
START_TEST(test_destination)
{
    MAKE("\x35\x01\x01\xff");
    ask();
    expect_reply(2, ADDRESS);
    store16(frame + FLAGS, 0x8000);
    seal();
    ask();
    expect_reply(2, "\xff\xff\xff\xff");
    ck_assert_uint_eq(load16(reply + FLAGS), 0x8000);
    /* Renewing: straight to the client, who broadcasts nothing. */
    MAKE("\x35\x01\x03\xff");
    put(CIADDR, ADDRESS, 4);
    put(IP + 12, ADDRESS, 4);
    put(IP + 16, SERVER, 4);
    seal();
    ask();
    expect_reply(5, ADDRESS);
    ck_assert_mem_eq(reply + CIADDR, ADDRESS, 4);
    ck_assert_mem_eq(reply + YIADDR, ADDRESS, 4);
}
END_TEST

/* RFC 2131 table 4 and §4.3.2. */
START_TEST(test_requests)
{
    static const struct {
        const char *options;
        size_t len;
        const char *ciaddr;
        unsigned reply; /* 0: none */
    } table[] = {
#define ROW(options, ciaddr, reply) {options, sizeof(options) - 1, ciaddr, reply}
        ROW("\x35\x01\x03\x36\x04" SERVER "\x32\x04" ADDRESS, NOBODY, 5),
        ROW("\x35\x01\x03\x36\x04" SERVER "\x32\x04" OTHER, NOBODY, 6),
        ROW("\x35\x01\x03\x36\x04" OTHER "\x32\x04" ADDRESS, NOBODY, 0),
        ROW("\x35\x01\x03\x32\x04" ADDRESS, NOBODY, 5),
        ROW("\x35\x01\x03\x32\x04" OTHER, NOBODY, 6),
        ROW("\x35\x01\x03", ADDRESS, 5),
        ROW("\x35\x01\x03", OTHER, 6),
        ROW("\x35\x01\x03", NOBODY, 6),
        ROW("\x35\x01\x04\x32\x04" ADDRESS, NOBODY, 0), /* decline */
        ROW("\x35\x01\x07", ADDRESS, 0),                /* release */
        ROW("\x35\x01\x08", NOBODY, 0),                 /* inform without an address */
        ROW("\x35\x01\x02", NOBODY, 0),                 /* what servers say */
        ROW("\x35\x01\x05", NOBODY, 0),
        ROW("\x35\x01\x00", NOBODY, 0),
        ROW("\x35\x01\xfe", NOBODY, 0),
        ROW("\x35\x02\x01\x01", NOBODY, 0), /* a type of two bytes */
        ROW("\xff", NOBODY, 0),             /* BOOTP */
        ROW("", NOBODY, 0),
    };
    make(table[_i].options, table[_i].len);
    memcpy(frame + CIADDR, table[_i].ciaddr, 4);
    seal();
    ask();
    if (table[_i].reply == 0)
        expect_silence(true);
    else
        expect_reply(table[_i].reply, table[_i].reply == 6 ? "\xff\xff\xff\xff" : ADDRESS);
    if (table[_i].reply == 6) {
        ck_assert_mem_eq(reply + YIADDR, NOBODY, 4);
        ck_assert_mem_eq(reply + CIADDR, NOBODY, 4);
        expect_no_option(51);
        expect_no_option(1);
        ck_assert_ptr_nonnull(answer.note);
    }
}
END_TEST
#define REQUEST_ROWS 18

/* §4.3.5: configuration without an address, which the client has. */
START_TEST(test_inform)
{
    MAKE("\x35\x01\x08\x37\x02\x06\x0f\xff");
    put(CIADDR, OTHER, 4);
    seal();
    ask();
    expect_reply(5, OTHER);
    ck_assert_mem_eq(reply + YIADDR, NOBODY, 4);
    ck_assert_mem_eq(reply + CIADDR, OTHER, 4);
    expect_no_option(51);
    expect_no_option(3);
    expect_option(6, "\x0a\x60\x00\x0a\x0a\x60\x00\x0b", 8);
    expect_option(15, "ns.cube", 7);
}
END_TEST

/* No list of parameters: everything. An empty lease: only what must be. */
START_TEST(test_what_is_told)
{
    MAKE("\x35\x01\x01\xff");
    ask();
    expect_reply(2, ADDRESS);
    expect_option(26, "\x05\xa0", 2);
    expect_option(121, "\x00\x0a\x00\x02\x01", 5);
    expect_option(119, "\2ns\4cube", 9);
    lease = (struct lease){
        .enabled = 1, .prefix = 32, .address = {10, 0, 2, 2}, .server = {10, 0, 2, 1}};
    ask();
    expect_reply(2, ADDRESS);
    expect_option(1, "\xff\xff\xff\xff", 4);
    static const unsigned absent[] = {3, 6, 12, 15, 26, 61, 119, 121};
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++)
        expect_no_option(absent[i]);
    lease.prefix = 1;
    ask();
    expect_option(1, "\x80\x00\x00\x00", 4);
}
END_TEST

/* The largest lease: as much as the client and the MTU take, what matters most first. */
START_TEST(test_size)
{
    static const struct {
        const char *max;
        uint16_t mtu;
        size_t datagram;
    } table[] = {
        {NULL, 1500, 576},        {"\x02\x40", 1500, 576},  {"\x00\x00", 1500, 576},
        {"\x04\x00", 1500, 1024}, {"\xff\xff", 1500, 1500}, {"\xff\xff", 0, 1500},
        {"\xff\xff", 9000, 1500}, {"\xff\xff", 600, 600},   {"\x05\xdc", 577, 577},
    };
    lease.search_len = lease.routes_len = 255;
    memset(lease.hostname, 'h', sizeof(lease.hostname) - 1);
    memset(lease.domain, 'd', sizeof(lease.domain) - 1);
    lease.mtu = table[_i].mtu;
    char options[] = "\x35\x01\x01\x39\x02??\x3d\xff";
    static char all[sizeof(options) - 1 + 255];
    if (table[_i].max != NULL)
        memcpy(options + 5, table[_i].max, 2);
    else
        options[3] = 60; /* some option of two bytes */
    memcpy(all, options, sizeof(options) - 1);
    make(all, sizeof(all));
    ask();
    expect_reply(2, ADDRESS);
    ck_assert_uint_le(answer.len - IP, table[_i].datagram);
    unsigned len;
    ck_assert_ptr_nonnull(option(1, &len));
    ck_assert_ptr_nonnull(option(3, &len));
    ck_assert_ptr_nonnull(option(61, &len));
    ck_assert_uint_eq(len, 255);
    if (table[_i].datagram >= 1500)
        ck_assert_ptr_nonnull(option(119, &len));
    else
        expect_no_option(119);
    if (answer.len < sizeof(reply))
        ck_assert_uint_eq(reply[answer.len], 0xaa); /* and nothing behind it */
}
END_TEST

/* Each change makes it no request of this guest's: not ours, and no reply. */
START_TEST(test_left_alone)
{
    static const struct {
        size_t at;
        uint8_t value;
        bool sealed; /* the sums are right afterwards */
    } table[] = {
        {12, 0x86, true},         {13, 0x06, true},       {IP, 0x65, true},
        {IP, 0x44, false},        {IP, 0x46, false},      {IP, 0x4f, false},
        {IP + 2, 0x7f, false},    {IP + 3, 0xff, false},  {IP + 6, 0x20, true},
        {IP + 7, 0x01, true},     {IP + 9, 6, true},      {IP + 8, 0x3f, false},
        {UDP + 3, 68, true},      {UDP + 4, 0xff, false}, {UDP + 5, 0, false},
        {UDP + 6, 0x12, false},   {MESSAGE, 2, true},     {MESSAGE + 1, 6, true},
        {MESSAGE + 2, 7, true},   {GIADDR + 3, 1, true},  {CHADDR, 0x04, true},
        {CHADDR + 5, 0x56, true}, {COOKIE, 0, true},      {MESSAGE + 200, 1, false},
    };
    MAKE("\x35\x01\x01\xff");
    ask();
    expect_reply(2, ADDRESS);
    ck_assert_uint_ne(frame[table[_i].at], table[_i].value);
    frame[table[_i].at] = table[_i].value;
    if (table[_i].sealed)
        seal();
    ask();
    expect_silence(false);
}
END_TEST
#define LEFT_ALONE_ROWS 24

/* However it is cut: never a reply from bytes that are not there. */
START_TEST(test_truncated)
{
    MAKE("\x35\x01\x01\x37\x02\x01\x03\xff");
    const size_t whole = frame_len;
    for (frame_len = 0; frame_len < whole; frame_len++) {
        uint8_t *copy = malloc(frame_len + 1); /* its end is watched by AddressSanitizer */
        memcpy(copy, frame, frame_len);
        answer = dhcp_answer(&lease, mac, copy, frame_len, false, reply);
        expect_silence(false);
        ck_assert(!dhcp_is_candidate(copy, frame_len) || frame_len >= MESSAGE);
        free(copy);
    }
    /* Shorter datagrams in frames that are long enough. */
    for (frame_len = OPTIONS - 1; frame_len > UDP + 8; frame_len--) {
        seal();
        ask();
        expect_silence(false);
    }
}
END_TEST

START_TEST(test_broken_options)
{
    static const struct {
        const char *options;
        size_t len;
        bool replies;
    } table[] = {
#define OPT(options, replies) {options, sizeof(options) - 1, replies}
        OPT("\x35", false),
        OPT("\x35\x01", false),
        OPT("\x35\x01\x01\x0c", false),
        OPT("\x35\x01\x01\x0c\x05host", false),
        OPT("\x35\x01\x01\x37\xff\x01", false),
        OPT("\x35\x01\x01", true), /* no end, but nothing is cut */
        OPT("\x00\x00\x35\x01\x01\x00", true),
        OPT("\x35\x01\x01\xff\x0c\xff", true), /* behind the end is nothing */
        OPT("\x0c\x00\x35\x01\x01\xff", true),
        OPT("\x3d\x00\x35\x01\x01\xff", true),
        OPT("\x39\x01\xff\x35\x01\x01\xff", true),
        OPT("\x32\x03\x01\x02\x03\x35\x01\x01\xff", true),
    };
    make(table[_i].options, table[_i].len);
    ask();
    if (table[_i].replies)
        expect_reply(2, ADDRESS);
    else
        expect_silence(true);
}
END_TEST
#define BROKEN_ROWS 12

/* RFC 768: zero is no sum; and with offload it is not there yet. */
START_TEST(test_udp_checksum)
{
    MAKE("\x35\x01\x01\xff");
    store16(frame + UDP + 6, 0);
    ask();
    expect_reply(2, ADDRESS);
    store16(frame + UDP + 6, 0x1234);
    ask();
    expect_silence(false);
    answer = dhcp_answer(&lease, mac, frame, frame_len, true, reply);
    expect_reply(2, ADDRESS);
}
END_TEST

/* IPv4 options, and bytes behind the datagram (Ethernet's padding). */
START_TEST(test_long_header)
{
    MAKE("\x35\x01\x01\xff");
    memmove(frame + UDP + 40, frame + UDP, frame_len - UDP);
    memset(frame + UDP, 1, 40);
    frame_len += 40;
    frame[IP] = 0x4f;
    store16(frame + IP + 2, frame_len - IP);
    store16(frame + IP + 10, 0);
    store16(frame + IP + 10, 0xffff ^ add_words(0, frame + IP, 60));
    frame_len += 10;
    ck_assert(dhcp_is_candidate(frame, DHCP_PEEK));
    ask();
    ck_assert(answer.taken);
    ck_assert_uint_gt(answer.len, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dhcp");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_add_loop_test(t, test_recorded_clients, 0, 4);
    tcase_add_test(t, test_destination);
    tcase_add_loop_test(t, test_requests, 0, REQUEST_ROWS);
    tcase_add_test(t, test_inform);
    tcase_add_test(t, test_what_is_told);
    tcase_add_loop_test(t, test_size, 0, 9);
    tcase_add_loop_test(t, test_left_alone, 0, LEFT_ALONE_ROWS);
    tcase_add_test(t, test_truncated);
    tcase_add_loop_test(t, test_broken_options, 0, BROKEN_ROWS);
    tcase_add_test(t, test_udp_checksum);
    tcase_add_test(t, test_long_header);
    suite_add_tcase(s, t);
    return run_suite(s);
}
