// SPDX-License-Identifier: Apache-2.0
/* Strict parsing of podnet's flags: what is not understood is refused. See options.h. */
#include "options.h"
#include "address.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/vmspec.h>
#include <string.h>

#define CARD_TEXT_MAX 8192 /* characters of one --interface: all ports a card may have */

#define DEFAULT_NETWORK (UINT32_C(10) << 24 | 2 << 8) /* 10.0.2.0/24, KubeVirt's */
#define DEFAULT_PREFIX  24
#define DEFAULT_TAP     "tap0"

static int parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *ret,
                        struct error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return error_set(err, EINVAL, "'%.32s' is not a number from %lu to %lu", text, min, max);
    *ret = n;
    return 0;
}

/* The keys of --interface. `value` is never NULL. */

/* KubeVirt's names of interfaces; a lease file is called after one. */
static int set_name(struct card *card, const char *value, struct error *err)
{
    size_t len = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    if (len == 0 || len >= sizeof(card->name) || value[len] != '\0')
        return error_set(err, EINVAL, "'%.64s' is not 1 to %zu letters, digits, '-' or '_'", value,
                         sizeof(card->name) - 1);
    memcpy(card->name, value, len + 1);
    return 0;
}

static int set_binding(struct card *card, const char *value, struct error *err)
{
    if (strcmp(value, "bridge") == 0)
        card->binding = BINDING_BRIDGE;
    else if (strcmp(value, "masquerade") == 0)
        card->binding = BINDING_MASQUERADE;
    else
        return error_set(err, EINVAL, "'%.32s' is neither bridge nor masquerade", value);
    return 0;
}

static int set_mac(struct card *card, const char *value, struct error *err)
{
    card->has_mac = true;
    return vmspec_parse_mac(value, card->mac, err);
}

/* Bits behind the prefix are dropped, as in KubeVirt. */
static int set_cidr(struct card *card, const char *value, struct error *err)
{
    char address[ADDRESS_TEXT_MAX];
    size_t len = strcspn(value, "/");
    unsigned long prefix = 0;
    uint32_t number;
    if (value[len] == '\0' || len >= sizeof(address))
        return error_set(err, EINVAL, "'%.32s' is not ADDRESS/PREFIX", value);
    memcpy(address, value, len);
    address[len] = '\0';
    if (!address_parse(address, &number) || !address_is_host(number))
        return error_set(err, EINVAL, "'%.32s' is not an IPv4 address of a host", address);
    int r = parse_number(value + len + 1, 8, 30, &prefix, err);
    if (r < 0)
        return error_wrap(err, "the prefix");
    card->prefix = (unsigned)prefix;
    card->network = number & address_mask(card->prefix);
    return 0;
}

static int set_port(struct card *card, const char *value, struct error *err)
{
    unsigned long number = 0;
    bool udp = str_starts_with(value, "udp/");
    if (!udp && !str_starts_with(value, "tcp/"))
        return error_set(err, EINVAL, "'%.32s' is not tcp/NUMBER or udp/NUMBER", value);
    int r = parse_number(value + strlen("tcp/"), 1, UINT16_MAX, &number, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < card->port_count; i++) {
        if (card->port[i].udp == udp && card->port[i].number == number)
            return 0;
    }
    if (card->port_count == CARD_PORT_MAX)
        return error_set(err, EINVAL, "more than %d ports; name none to get them all",
                         CARD_PORT_MAX);
    card->port[card->port_count++] = (struct port){.udp = udp, .number = (uint16_t)number};
    return 0;
}

/* Nothing that means something to a path, an ioctl with a pattern or nftables' syntax. */
static int set_tap(struct card *card, const char *value, struct error *err)
{
    size_t len = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (len == 0 || len >= sizeof(card->tap) || value[len] != '\0' || value[0] == '-')
        return error_set(err, EINVAL, "'%.32s' is not 1 to %zu of a-z, 0-9 and '-'", value,
                         sizeof(card->tap) - 1);
    memcpy(card->tap, value, len + 1);
    return 0;
}

static const struct key {
    const char *name;
    bool repeats;
    int (*set)(struct card *card, const char *value, struct error *err);
} keys[] = {
    {"name", false, set_name}, {"binding", false, set_binding}, {"mac", false, set_mac},
    {"cidr", false, set_cidr}, {"port", true, set_port},        {"tap", false, set_tap},
};

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    }
    return NULL;
}

/* One "key=value"; `seen` has a bit for each key. */
static int set_pair(struct card *card, char *pair, unsigned *seen, struct error *err)
{
    char *value = strchr(pair, '=');
    if (value == NULL)
        return error_set(err, EINVAL, "'%.32s' is not KEY=VALUE", pair);
    *value++ = '\0';
    const struct key *key = find_key(pair);
    if (key == NULL)
        return error_set(err, EINVAL,
                         "there is no key '%.32s', only name, binding, mac, cidr, port and tap",
                         pair);
    unsigned bit = 1u << (key - keys);
    if ((*seen & bit) != 0 && !key->repeats)
        return error_set(err, EINVAL, "%s is given twice", key->name);
    *seen |= bit;
    int r = key->set(card, value, err);
    return r < 0 ? error_wrap(err, "%s", key->name) : 0;
}

static int check_card(const struct card *card, bool has_cidr, struct error *err)
{
    if (card->name[0] == '\0')
        return error_set(err, EINVAL, "name is missing");
    if (card->binding == BINDING_NONE)
        return error_set(err, EINVAL, "binding is missing");
    if (card->binding == BINDING_BRIDGE && has_cidr)
        return error_set(err, EINVAL, "cidr is for masquerade; a bridge has the pod's address");
    return 0;
}

static int parse_card(const char *value, struct card *card, struct error *err)
{
    char text[CARD_TEXT_MAX], *rest = text, *pair;
    unsigned seen = 0;
    if (strlen(value) >= sizeof(text))
        return error_set(err, EINVAL, "more than %zu characters", sizeof(text) - 1);
    memcpy(text, value, strlen(value) + 1);
    card->network = DEFAULT_NETWORK;
    card->prefix = DEFAULT_PREFIX;
    memcpy(card->tap, DEFAULT_TAP, sizeof(DEFAULT_TAP));
    while ((pair = strsep(&rest, ",")) != NULL) {
        int r = set_pair(card, pair, &seen, err);
        if (r < 0)
            return r;
    }
    return check_card(card, (seen & 1u << (find_key("cidr") - keys)) != 0, err);
}

/* The flags. */

static int set_lease_dir(struct options *o, const char *value, struct error *err)
{
    if (o->lease_dir != NULL)
        return error_set(err, EINVAL, "it is given twice");
    if (value[0] != '/')
        return error_set(err, EINVAL, "'%.64s' is not an absolute path", value);
    o->lease_dir = value;
    return 0;
}

static int set_hostname(struct options *o, const char *value, struct error *err)
{
    if (o->hostname != NULL)
        return error_set(err, EINVAL, "it is given twice");
    if (!str_is_dns_label(value))
        return error_set(err, EINVAL,
                         "'%.64s' is not a name of RFC 1123: at most 63 of a-z, 0-9 "
                         "and '-'",
                         value);
    o->hostname = value;
    return 0;
}

static int set_uid(struct options *o, const char *value, struct error *err)
{
    unsigned long uid = 0;
    if (o->has_uid)
        return error_set(err, EINVAL, "it is given twice");
    int r = parse_number(value, 1, UINT32_MAX - 1, &uid, err);
    if (r < 0)
        return r;
    o->uid = (uid_t)uid;
    o->has_uid = true;
    return 0;
}

static int set_interface(struct options *o, const char *value, struct error *err)
{
    if (o->has_card)
        return error_set(err, EINVAL, "a pod's network has room for one card of the machine");
    o->has_card = true;
    return parse_card(value, &o->card, err);
}

static const struct flag {
    const char *name, *argument, *help;
    int (*set)(struct options *options, const char *value, struct error *err);
} flags[] = {
    {"--lease-dir", "FOLDER", "where to write the lease file", set_lease_dir},
    {"--uid", "NUMBER", "the user who may open the tap", set_uid},
    {"--hostname", "NAME", "what the guest is told to call itself", set_hostname},
    {"--interface",
     "name=NAME,binding=bridge|masquerade[,mac=MAC][,cidr=ADDRESS/PREFIX][,port=tcp/"
     "N]...[,tap=TAP]",
     "the machine's card on the pod's network", set_interface},
};

void options_print_help(FILE *out)
{
    fprintf(out, "usage: podnet FLAGS\n\nConnects the network of this pod to the tap of a virtual "
                 "machine, and says in a lease\nfile what the guest is to be told by DHCP. Needs "
                 "NET_ADMIN and /dev/net/tun.\n\nflags, all of them:\n");
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        fprintf(out, "  %s %s\n        %s\n", flags[i].name, flags[i].argument, flags[i].help);
}

static int set_flag(struct options *options, const char *word, const char *value, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        if (strcmp(flags[i].name, word) != 0)
            continue;
        if (value == NULL)
            return error_set(err, EINVAL, "%s needs a value", word);
        int r = flags[i].set(options, value, err);
        return r < 0 ? error_wrap(err, "%s", word) : 0;
    }
    return error_set(err, EINVAL, "there is no flag '%.64s'; `podnet --help` lists them", word);
}

int options_parse(int argc, char *const *argv, struct options *ret, struct error *err)
{
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_print_help(stdout);
            return 1;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("podnet " PODVISOR_VERSION "\n");
            return 1;
        }
        int r = set_flag(ret, argv[i], i + 1 < argc ? argv[i + 1] : NULL, err);
        if (r < 0)
            return r;
    }
    if (ret->lease_dir == NULL || ret->hostname == NULL || !ret->has_uid || !ret->has_card)
        return error_set(err, EINVAL, "%s is missing; `podnet --help` says more",
                         ret->lease_dir == NULL  ? "--lease-dir"
                         : ret->hostname == NULL ? "--hostname"
                         : !ret->has_uid         ? "--uid"
                                                 : "--interface");
    return 0;
}
