// SPDX-License-Identifier: Apache-2.0
/* podnet's command line, and the rules of nftables that follow from it. */
#include "address.h"
#include "nat.h"
#include "options.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define WORDS_MAX 20

static struct options options;
static struct error err;

static int parse(const char *const *words)
{
    static char copy[WORDS_MAX][10240];
    char *argv[WORDS_MAX];
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        snprintf(copy[argc], sizeof(copy[argc]), "%s", words[argc]);
        argv[argc] = copy[argc];
    }
    err = ERROR_INIT;
    return options_parse(argc, argv, &options, &err);
}

static int parse_card(const char *card)
{
    return parse((const char *const[]){"--lease-dir", "/l", "--uid", "107", "--hostname", "myvm",
                                       "--interface", card, NULL});
}

START_TEST(test_defaults)
{
    ck_assert_int_eq(parse_card("name=default,binding=masquerade"), 0);
    ck_assert_str_eq(options.lease_dir, "/l");
    ck_assert_str_eq(options.hostname, "myvm");
    ck_assert_uint_eq(options.uid, 107);
    const struct card *card = &options.card;
    ck_assert_str_eq(card->name, "default");
    ck_assert_int_eq(card->binding, BINDING_MASQUERADE);
    ck_assert(!card->has_mac);
    ck_assert_str_eq(address_format(card->network).text, "10.0.2.0");
    ck_assert_uint_eq(card->prefix, 24);
    ck_assert_str_eq(card->tap, "tap0");
    ck_assert_uint_eq(card->port_count, 0);
}
END_TEST

START_TEST(test_everything)
{
    ck_assert_int_eq(parse_card("name=net_1-A,binding=masquerade,mac=02:00:00:00:00:01,"
                                "cidr=192.168.7.99/26,port=tcp/80,port=udp/80,port=tcp/80,"
                                "port=tcp/65535,tap=tap1a2b3c"),
                     0);
    const struct card *card = &options.card;
    ck_assert_str_eq(card->name, "net_1-A");
    ck_assert(card->has_mac);
    ck_assert_mem_eq(card->mac, "\x02\0\0\0\0\x01", 6);
    ck_assert_str_eq(address_format(card->network).text, "192.168.7.64");
    ck_assert_uint_eq(card->prefix, 26);
    ck_assert_str_eq(card->tap, "tap1a2b3c");
    ck_assert_uint_eq(card->port_count, 3);
    ck_assert(!card->port[0].udp && card->port[0].number == 80);
    ck_assert(card->port[1].udp && card->port[1].number == 80);
    ck_assert(!card->port[2].udp && card->port[2].number == 65535);
    ck_assert_int_eq(parse_card("binding=bridge,name=default,mac=02:00:00:00:00:01"), 0);
    ck_assert_int_eq(options.card.binding, BINDING_BRIDGE);
}
END_TEST

static const struct {
    const char *card, *text;
} bad_cards[] = {
    {"", "'' is not KEY=VALUE"},
    {"name=a", "binding is missing"},
    {"binding=bridge", "name is missing"},
    {"name=a,binding=slirp", "neither bridge nor masquerade"},
    {"name=a,binding=bridge,", "'' is not KEY=VALUE"},
    {"name=a,,binding=bridge", "'' is not KEY=VALUE"},
    {"name=a,name=b,binding=bridge", "name is given twice"},
    {"name=../a,binding=bridge", "name: "},
    {"name=,binding=bridge", "name: "},
    {"name=a.b,binding=bridge", "name: "},
    {"name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,binding=bridge",
     "name: "},
    {"name=a,binding=bridge,cidr=10.0.0.0/24", "cidr is for masquerade"},
    {"name=a,binding=masquerade,cidr=10.0.0.0", "ADDRESS/PREFIX"},
    {"name=a,binding=masquerade,cidr=10.0.0.0/31", "from 8 to 30"},
    {"name=a,binding=masquerade,cidr=10.0.0.0/7", "from 8 to 30"},
    {"name=a,binding=masquerade,cidr=10.0.0.0/024x", "from 8 to 30"},
    {"name=a,binding=masquerade,cidr=10.0.0/24", "not an IPv4 address"},
    {"name=a,binding=masquerade,cidr=fd10::/120", "not an IPv4 address"},
    {"name=a,binding=masquerade,cidr=127.0.0.0/24", "not an IPv4 address"},
    {"name=a,binding=masquerade,cidr=240.0.0.0/24", "not an IPv4 address"},
    {"name=a,binding=masquerade,cidr=1111.1111.1111.1111/24", "ADDRESS/PREFIX"},
    {"name=a,binding=masquerade,port=80", "tcp/NUMBER"},
    {"name=a,binding=masquerade,port=sctp/80", "tcp/NUMBER"},
    {"name=a,binding=masquerade,port=tcp/0", "from 1 to 65535"},
    {"name=a,binding=masquerade,port=tcp/65536", "from 1 to 65535"},
    {"name=a,binding=masquerade,port=tcp/-1", "from 1 to 65535"},
    {"name=a,binding=masquerade,port=tcp/ 1", "from 1 to 65535"},
    {"name=a,binding=masquerade,port=tcp/", "from 1 to 65535"},
    {"name=a,binding=bridge,mac=02:00:00:00:00", "mac: malformed"},
    {"name=a,binding=bridge,mac=02:00:00:00:00:00", "reserved"},
    {"name=a,binding=bridge,mac=03:00:00:00:00:01", "multicast"},
    {"name=a,binding=bridge,tap=", "tap: "},
    {"name=a,binding=bridge,tap=tap%d", "tap: "},
    {"name=a,binding=bridge,tap=-x", "tap: "},
    {"name=a,binding=bridge,tap=a\"b", "tap: "},
    {"name=a,binding=bridge,tap=abcdefghijklmnop", "tap: "},
    {"name=a,binding=bridge,mtu=1", "there is no key 'mtu'"},
};

START_TEST(test_bad_cards)
{
    ck_assert_int_eq(parse_card(bad_cards[_i].card), -EINVAL);
    ck_assert_msg(strstr(err.text, bad_cards[_i].text) != NULL, "'%s' is not in: %s",
                  bad_cards[_i].text, err.text);
    ck_assert_msg(str_starts_with(err.text, "--interface: "), "%s", err.text);
}
END_TEST

static const struct {
    const char *words[WORDS_MAX], *text;
} bad_lines[] = {
    {{NULL}, "--lease-dir is missing"},
    {{"--lease-dir", "/l", NULL}, "--hostname is missing"},
    {{"--lease-dir", "/l", "--hostname", "h", NULL}, "--uid is missing"},
    {{"--lease-dir", "/l", "--hostname", "h", "--uid", "1", NULL}, "--interface is missing"},
    {{"--lease-dir", NULL}, "--lease-dir needs a value"},
    {{"--lease-dir", "l", NULL}, "not an absolute path"},
    {{"--lease-dir", "/l", "--lease-dir", "/l", NULL}, "given twice"},
    {{"--hostname", "h", "--hostname", "h", NULL}, "given twice"},
    {{"--uid", "1", "--uid", "1", NULL}, "given twice"},
    {{"--uid", "0", NULL}, "from 1 to 4294967294"},
    {{"--uid", "4294967295", NULL}, "from 1 to 4294967294"},
    {{"--uid", "root", NULL}, "from 1 to 4294967294"},
    {{"--hostname", "Host", NULL}, "RFC 1123"},
    {{"--hostname", "", NULL}, "RFC 1123"},
    {{"--hostname", "a.b", NULL}, "RFC 1123"},
    {{"--interface", "name=a,binding=bridge", "--interface", "name=b,binding=bridge", NULL},
     "one card"},
    {{"--lease-dir=/l", NULL}, "there is no flag"},
    {{"extra", NULL}, "there is no flag"},
};

START_TEST(test_bad_lines)
{
    ck_assert_int_eq(parse(bad_lines[_i].words), -EINVAL);
    ck_assert_msg(strstr(err.text, bad_lines[_i].text) != NULL, "'%s' is not in: %s",
                  bad_lines[_i].text, err.text);
}
END_TEST

START_TEST(test_too_many_ports)
{
    char text[8192] = "name=a,binding=masquerade";
    for (unsigned i = 1; i <= CARD_PORT_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), ",port=tcp/%u", i);
    ck_assert_int_eq(parse_card(text), 0);
    ck_assert_uint_eq(options.card.port_count, CARD_PORT_MAX);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), ",port=udp/1");
    ck_assert_int_eq(parse_card(text), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.text, "more than 256 ports"));
    static char longest[10000];
    memset(longest, 'a', sizeof(longest) - 1);
    ck_assert_int_eq(parse_card(longest), -EINVAL);
}
END_TEST

START_TEST(test_nat_script)
{
    ck_assert_int_eq(parse_card("name=a,binding=masquerade,port=tcp/80,port=udp/53,port=tcp/443"),
                     0);
    struct nat nat = {.card = "eth0",
                      .tap = "tap0",
                      .pod = 0x0af40007,
                      .gateway = 0x0a000201,
                      .guest = 0x0a000202};
    cleanup_free char *all = nat_script(&nat);
    ck_assert_ptr_nonnull(strstr(all, "\n  iifname \"eth0\" dnat to 10.0.2.2\n"));
    ck_assert_ptr_nonnull(strstr(all, "\n  ip daddr { 127.0.0.1, 10.244.0.7 } dnat to 10.0.2.2\n"));
    ck_assert_ptr_null(strstr(all, "dport"));
    nat.port = options.card.port;
    nat.port_count = options.card.port_count;
    cleanup_free char *some = nat_script(&nat);
    ck_assert_ptr_nonnull(
        strstr(some, "\n  iifname \"eth0\" tcp dport { 80, 443 } dnat to 10.0.2.2\n"));
    ck_assert_ptr_nonnull(strstr(some, "\n  iifname \"eth0\" udp dport { 53 } dnat to 10.0.2.2\n"));
    ck_assert_ptr_null(strstr(some, "\"eth0\" dnat"));
    ck_assert_ptr_nonnull(strstr(some, "\n  oifname \"eth0\" ip saddr 10.0.2.2 masquerade\n"));
    ck_assert_ptr_nonnull(
        strstr(some, "\n  oifname \"tap0\" ip saddr 127.0.0.0/8 snat to 10.0.2.1\n"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("podnet options");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_defaults);
    tcase_add_test(t, test_everything);
    tcase_add_loop_test(t, test_bad_cards, 0, (int)ARRAY_SIZE(bad_cards));
    tcase_add_loop_test(t, test_bad_lines, 0, (int)ARRAY_SIZE(bad_lines));
    tcase_add_test(t, test_too_many_ports);
    tcase_add_test(t, test_nat_script);
    suite_add_tcase(s, t);
    return run_suite(s);
}
