// SPDX-License-Identifier: Apache-2.0
/* The init container that connects the pod's network to taps, with podnet's flags (docs/pod.md). */
#include "pod_internal.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdio.h>

/*
 * Behind masquerade the address is the machine's own business: it gets one derived from its UUID,
 * the same wherever it starts. A bridged guest takes the pod's, which podnet finds.
 */
static void append_mac(FILE *out, const struct vmspec *spec, const struct vmspec_interface *nic)
{
    uint8_t mac[6];
    if (!nic->has_mac && nic->binding != VMSPEC_BINDING_MASQUERADE)
        return;
    vmspec_interface_mac(spec, nic, mac);
    fprintf(out, ",mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
            mac[5]);
}

/* "name=default,binding=masquerade,..." for free(). */
static char *interface_flag(const struct vmspec *spec, const struct vmspec_interface *nic)
{
    const struct vmspec_network *network = &spec->networks.item[nic->network];
    bool masquerade = nic->binding == VMSPEC_BINDING_MASQUERADE;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        out_of_memory();
    fprintf(out, "name=%s,binding=%s", nic->name, masquerade ? "masquerade" : "bridge");
    append_mac(out, spec, nic);
    if (masquerade && network->cidr != NULL)
        fprintf(out, ",cidr=%s", network->cidr);
    for (size_t i = 0; masquerade && i < nic->ports.count; i++)
        fprintf(out, ",port=%s/%u", nic->ports.item[i].udp ? "udp" : "tcp",
                nic->ports.item[i].port);
    if (fclose(out) != 0)
        out_of_memory();
    return text;
}

cJSON *pod_podnet(const struct pod_input *input)
{
    const struct vmspec *spec = input->spec;
    cJSON *container =
        pod_container("podnet", input->config->launcher_image, input->config->launcher_pull_policy);
    cJSON *command = tree_put(container, "command", tree_array());
    cleanup_free char *hostname = vmspec_hostname(spec);
    const char *const words[] = {"/usr/bin/podnet", "--lease-dir", PATH_NET, "--uid", "107",
                                 "--hostname",      hostname};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        tree_push_string(command, words[i]);
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        if (nic->link == VMSPEC_LINK_ABSENT ||
            spec->networks.item[nic->network].kind != VMSPEC_NETWORK_POD)
            continue;
        cleanup_free char *flag = interface_flag(spec, nic);
        tree_push_string(command, "--interface");
        tree_push_string(command, flag);
    }
    /* A capability has no effect for another user than root unless it is ambient. */
    cJSON *security = tree_need_object(container, "securityContext");
    tree_put_bool(security, "runAsNonRoot", false);
    tree_put_int(security, "runAsUser", 0);
    cJSON *capabilities = tree_need_object(security, "capabilities");
    tree_push_string(tree_put(capabilities, "add", tree_array()), "NET_ADMIN");
    pod_small_resources(container);
    tree_put_int(tree_need_object(tree_need_object(container, "resources"), "limits"),
                 "devices.kubevirt.io/tun", 1);
    pod_mount(container, "net", PATH_NET, false);
    return container;
}
