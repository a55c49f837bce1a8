// SPDX-License-Identifier: Apache-2.0
/* The NAT table of nat.h, through libnftables. One thread. */
#include "nat.h"
#include "address.h"
#include <nftables/libnftables.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

static void cleanup_nft_fn(struct nft_ctx **nft)
{
    if (*nft != NULL)
        nft_ctx_free(*nft);
}

#define cleanup_nft __attribute__((cleanup(cleanup_nft_fn)))

/* "tcp dport { 80, 443 } " */
static void print_ports(FILE *out, const struct nat *nat, bool udp)
{
    const char *separator = "";
    fprintf(out, "%s dport { ", udp ? "udp" : "tcp");
    for (unsigned i = 0; i < nat->port_count; i++) {
        if (nat->port[i].udp == udp) {
            fprintf(out, "%s%u", separator, (unsigned)nat->port[i].number);
            separator = ", ";
        }
    }
    fprintf(out, " } ");
}

static bool has_ports(const struct nat *nat, bool udp)
{
    for (unsigned i = 0; i < nat->port_count; i++) {
        if (nat->port[i].udp == udp)
            return true;
    }
    return false;
}

/* "MATCH [PORTS] dnat to GUEST", once or for each protocol. */
static void print_dnat(FILE *out, const struct nat *nat, const char *match)
{
    struct address_text guest = address_format(nat->guest);
    for (unsigned udp = 0; udp <= 1; udp++) {
        if (!has_ports(nat, udp))
            continue;
        fprintf(out, "  %s ", match);
        print_ports(out, nat, udp);
        fprintf(out, "dnat to %s\n", guest.text);
    }
    if (nat->port_count == 0)
        fprintf(out, "  %s dnat to %s\n", match, guest.text);
}

char *nat_script(const struct nat *nat)
{
    char *text = NULL, match[2 * ADDRESS_TEXT_MAX + 64];
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL)
        out_of_memory();
    /* Adding before deleting: so that there is one to delete. */
    fprintf(out, "add table ip podvisor\ndelete table ip podvisor\ntable ip podvisor {\n");
    /* From the guest: no other sender than itself; and although the tap takes answers to 127.0.0.1
     * (forwarding_enable()), nothing there is the guest's. To the guest: only by the pod's address,
     * or a neighbour that knows the guest's would reach ports that are not forwarded. */
    fprintf(out,
            " chain raw {\n  type filter hook prerouting priority -300; policy accept;\n"
            "  iifname \"%s\" ip saddr != %s drop\n"
            "  iifname \"%s\" ip daddr 127.0.0.0/8 drop\n"
            "  iifname \"%s\" ip daddr %s drop\n }\n",
            nat->tap, address_format(nat->guest).text, nat->tap, nat->card,
            address_format(nat->guest).text);
    fprintf(out, " chain prerouting {\n  type nat hook prerouting priority -100; policy accept;\n");
    snprintf(match, sizeof(match), "iifname \"%s\"", nat->card);
    print_dnat(out, nat, match);
    fprintf(out, " }\n chain output {\n  type nat hook output priority -100; policy accept;\n");
    snprintf(match, sizeof(match), "ip daddr { 127.0.0.1, %s }", address_format(nat->pod).text);
    print_dnat(out, nat, match);
    fprintf(out,
            " }\n chain postrouting {\n  type nat hook postrouting priority 100; policy accept;\n"
            "  oifname \"%s\" ip saddr %s masquerade\n",
            nat->card, address_format(nat->guest).text);
    fprintf(out, "  oifname \"%s\" ip saddr 127.0.0.0/8 snat to %s\n }\n}\n", nat->tap,
            address_format(nat->gateway).text);
    if (fclose(out) != 0)
        out_of_memory();
    return text;
}

static int run(const char *script, struct error *err)
{
    cleanup_nft struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (nft == NULL)
        return error_set(err, ENOMEM, "cannot start nftables");
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    if (nft_run_cmd_from_buffer(nft, script) == 0)
        return 0;
    /* Its first line says what; the others point at the place. */
    const char *said = nft_ctx_get_error_buffer(nft);
    error_set(err, EIO, "nftables refuses the table podvisor: %.*s", (int)strcspn(said, "\n"),
              said);
    return error_hint(err, "the node needs nf_tables with nft_nat, nft_masq and nft_chain_nat, and "
                           "podnet the capability NET_ADMIN");
}

int nat_set(const struct nat *nat, struct error *err)
{
    cleanup_free char *script = nat_script(nat);
    return run(script, err);
}

void nat_delete(void)
{
    (void)run("add table ip podvisor\ndelete table ip podvisor\n", NULL);
}
