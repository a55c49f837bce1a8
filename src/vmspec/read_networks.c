// SPDX-License-Identifier: Apache-2.0
/*
 * spec.networks and spec.domain.devices.interfaces of a manifest, joined one to one by name. Checks
 * and their words are those of KubeVirt's pkg/network/admitter; without any of both the machine
 * gets KubeVirt's default interface, a bridge on the pod network. One thread at a time.
 */
#include "reader.h"

#include <arpa/inet.h>
#include <podvisor/str.h>
#include <stdlib.h>
#include <string.h>

static size_t find_network(const struct vmspec *spec, const char *name)
{
    size_t i = 0;
    while (i < spec->networks.count && !str_equal(spec->networks.item[i].name, name))
        i++;
    return i;
}

/* --- networks --- */

/* ADDRESS/PREFIX: it becomes part of a flag of podnet's, which says more about what it can be. */
static void check_cidr(struct reader *r, int family, const char *cidr, struct json_path *at)
{
    uint8_t address[16];
    char text[INET6_ADDRSTRLEN];
    if (cidr == NULL)
        return;
    size_t len = strcspn(cidr, "/");
    const char *prefix = cidr + len + (cidr[len] == '/');
    size_t digits = strspn(prefix, "0123456789");
    if (len < sizeof(text)) {
        memcpy(text, cidr, len);
        text[len] = '\0';
        if (cidr[len] == '/' && digits > 0 && digits <= 3 && prefix[digits] == '\0' &&
            strtoul(prefix, NULL, 10) <= (family == AF_INET ? 32u : 128u) &&
            inet_pton(family, text, address) == 1)
            return;
    }
    report(r, VMSPEC_ERROR, at, "'%.64s' is not a network such as %s", cidr,
           family == AF_INET ? "10.0.2.0/24" : "fd10:0:2::/120");
}

static void read_network(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const char *name = read_name(r, obj, path);
    if (name == NULL)
        return;
    if (find_network(r->spec, name) < r->spec->networks.count) {
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "Network with name \"%s\" already exists, every network must have a unique name",
               name);
        return;
    }
    const cJSON *pod = json_get(obj, "pod"), *multus = json_get(obj, "multus");
    if (pod == NULL && multus == NULL && json_get(obj, "resourceClaim") == NULL)
        report(r, VMSPEC_ERROR, path, "should have a network type");
    else if (pod != NULL && multus != NULL)
        report(r, VMSPEC_ERROR, path, "should have only one network type");
    struct vmspec_network *n = vec_add(&r->spec->networks);
    n->name = xstrdup(name);
    n->kind = multus != NULL ? VMSPEC_NETWORK_MULTUS : VMSPEC_NETWORK_POD;
    n->cidr = xstrdup(read_text(pod, "vmNetworkCIDR"));
    struct json_path *pod_path = AT_KEY(path, "pod");
    check_cidr(r, AF_INET, n->cidr, AT_KEY(pod_path, "vmNetworkCIDR"));
    check_cidr(r, AF_INET6, read_text(pod, "vmIPv6NetworkCIDR"),
               AT_KEY(pod_path, "vmIPv6NetworkCIDR"));
    n->multus_name = xstrdup(read_text(multus, "networkName"));
    n->multus_default = read_flag(multus, "default", false);
    if (multus != NULL && n->multus_name == NULL)
        report(r, VMSPEC_ERROR, path, "CNI delegating plugin must have a networkName");
}

static void check_pod_networks(struct reader *r, const struct json_path *path)
{
    unsigned pods = 0, defaults = 0;
    for (size_t i = 0; i < r->spec->networks.count; i++) {
        const struct vmspec_network *n = &r->spec->networks.item[i];
        pods += n->kind == VMSPEC_NETWORK_POD ? 1 : 0;
        defaults += n->multus_default ? 1 : 0;
    }
    if (pods > 1)
        report(r, VMSPEC_ERROR, AT_KEY(r->path, "interfaces"),
               "more than one interface is connected to a pod network in %s",
               PATH_TEXT(AT_KEY(r->path, "interfaces")));
    if (defaults > 1)
        report(r, VMSPEC_ERROR, path, "Multus CNI should only have one default network");
    if (pods > 0 && defaults > 0)
        report(r, VMSPEC_ERROR, path,
               "Pod network cannot be defined when Multus default network is defined");
}

/* --- interfaces --- */

static bool is_interface_name(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return strspn(name, allowed) == strlen(name);
}

static void read_binding(struct reader *r, struct vmspec_interface *nic, const cJSON *obj,
                         const struct json_path *path)
{
    const cJSON *masquerade = json_get(obj, "masquerade"), *passt = json_get(obj, "passtBinding");
    int count = (json_get(obj, "bridge") != NULL) + (masquerade != NULL) + (passt != NULL) +
                (json_get(obj, "sriov") != NULL);
    if (count > 1)
        report(r, VMSPEC_ERROR, path, "%s must have only one binding method", PATH_TEXT(path));
    if (count > 0 && json_get(obj, "binding") != NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "binding"),
               "logical %s interface cannot have both binding plugin and interface binding method",
               nic->name);
    nic->binding = masquerade != NULL ? VMSPEC_BINDING_MASQUERADE
                   : passt != NULL    ? VMSPEC_BINDING_PASST
                                      : VMSPEC_BINDING_BRIDGE;
    if (masquerade != NULL && r->spec->networks.item[nic->network].kind != VMSPEC_NETWORK_POD)
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "Masquerade interface only implemented with pod network");
}

static void read_model(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    static const char *const others[] = {"e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139"};
    const char *model = read_text(obj, "model");
    if (model == NULL || str_equal(model, "virtio"))
        return;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (str_equal(model, others[i])) {
            report(r, VMSPEC_WARNING, AT_KEY(path, "model"),
                   "the model %s is not supported; the guest sees a virtio interface", model);
            return;
        }
    }
    report(r, VMSPEC_ERROR, AT_KEY(path, "model"),
           "interface %s uses model %s that is not supported.", PATH_TEXT(AT_KEY(path, "name")),
           model);
}

static void read_mac(struct reader *r, struct vmspec_interface *nic, const cJSON *obj,
                     const struct json_path *path)
{
    const char *text = read_text(obj, "macAddress");
    if (text == NULL)
        return;
    struct error err = ERROR_INIT;
    if (vmspec_parse_mac(text, nic->mac, &err) == 0)
        nic->has_mac = true;
    else if (str_starts_with(err.text, "malformed"))
        report(r, VMSPEC_ERROR, AT_KEY(path, "macAddress"), "interface %s has %s.",
               PATH_TEXT(AT_KEY(path, "name")), err.text);
    else
        report(r, VMSPEC_ERROR, AT_KEY(path, "macAddress"), "%s", err.text);
}

static void read_port(struct reader *r, struct vmspec_interface *nic, const cJSON *obj,
                      const struct json_path *path)
{
    const char *name = read_text(obj, "name"), *protocol = read_text(obj, "protocol");
    int64_t port = read_integer(obj, "port", 0);
    if (port == 0)
        report(r, VMSPEC_ERROR, path, "Port field is mandatory.");
    else if (port < 0 || port > UINT16_MAX)
        report(r, VMSPEC_ERROR, path, "Port field must be in range 0 < x < 65536.");
    if (protocol != NULL && !str_equal(protocol, "TCP") && !str_equal(protocol, "UDP"))
        report(r, VMSPEC_ERROR, AT_KEY(path, "protocol"),
               "Unknown protocol, only TCP or UDP allowed");
    for (size_t i = 0; name != NULL && i < nic->ports.count; i++) {
        if (str_equal(nic->ports.item[i].name, name))
            report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "Duplicate name of the port: %s", name);
    }
    struct vmspec_port *p = vec_add(&nic->ports);
    p->name = xstrdup(name);
    p->udp = str_equal(protocol, "UDP");
    p->port = port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static void check_dhcp_options(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    struct json_path outer = {.parent = path, .key = "dhcpOptions"};
    struct json_path options = {.parent = &outer, .key = "privateOptions"};
    struct json_path element = {.parent = &options};
    json_for_each (option, json_get(json_get(obj, "dhcpOptions"), "privateOptions")) {
        int64_t number = read_integer(option, "option", 0);
        if (number < 224 || number > 254)
            report(r, VMSPEC_ERROR, AT_KEY(&element, "option"),
                   "provided DHCPPrivateOptions are out of range, must be in range 224 to 254");
        element.index++;
    }
}

static void read_state(struct reader *r, struct vmspec_interface *nic, const cJSON *obj,
                       const struct json_path *path)
{
    const char *state = read_text(obj, "state");
    struct json_path *at = AT_KEY(path, "state");
    if (str_equal(state, "down"))
        report(r, VMSPEC_WARNING, at, "a link that is down is not supported; it is up");
    else if (str_equal(state, "absent"))
        nic->link = VMSPEC_LINK_ABSENT;
    else if (state != NULL && !str_equal(state, "up"))
        report(r, VMSPEC_ERROR, at, "logical %s interface state value is unsupported: %s",
               nic->name, state);
    if (nic->link == VMSPEC_LINK_ABSENT && nic->binding != VMSPEC_BINDING_BRIDGE)
        report(r, VMSPEC_ERROR, at,
               "\"%s\" interface's state \"%s\" is supported only for bridge binding", nic->name,
               state);
}

static void read_boot_order(struct reader *r, struct vmspec_interface *nic, const cJSON *obj,
                            const struct json_path *path)
{
    if (json_get(obj, "bootOrder") == NULL)
        return;
    int64_t order = read_integer(obj, "bootOrder", 0);
    struct json_path *at = AT_KEY(path, "bootOrder");
    bool twice = false;
    for (size_t i = 0; i < r->spec->disks.count; i++)
        twice = twice || r->spec->disks.item[i].boot_order == order;
    for (size_t i = 0; i < r->spec->interfaces.count; i++)
        twice = twice || r->spec->interfaces.item[i].boot_order == order;
    if (order < 1 || order > UINT32_MAX) {
        report(r, VMSPEC_ERROR, at, "%s must have a boot order > 0, if supplied", PATH_TEXT(path));
        return;
    }
    if (twice)
        report(r, VMSPEC_ERROR, at, "Boot order for %s already set for a different device.",
               PATH_TEXT(at));
    report(r, VMSPEC_WARNING, at, "booting from the network is not supported");
    nic->boot_order = (uint32_t)order;
}

static void read_interface(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const char *name = read_name(r, obj, path);
    if (name == NULL)
        return;
    if (!is_interface_name(name))
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
               "Network interface name can only contain alphabetical characters, numbers, dashes "
               "(-) or underscores (_)");
    for (size_t i = 0; i < r->spec->interfaces.count; i++) {
        if (str_equal(r->spec->interfaces.item[i].name, name)) {
            report(r, VMSPEC_ERROR, AT_KEY(path, "name"),
                   "Only one interface can be connected to one specific network");
            return;
        }
    }
    size_t network = find_network(r->spec, name);
    if (network == r->spec->networks.count) {
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "%s '%s' not found.",
               PATH_TEXT(AT_KEY(path, "name")), name);
        return;
    }
    struct vmspec_interface nic = {.name = xstrdup(name), .network = network};
    read_binding(r, &nic, obj, path);
    read_model(r, obj, path);
    read_mac(r, &nic, obj, path);
    read_state(r, &nic, obj, path);
    read_boot_order(r, &nic, obj, path);
    check_dhcp_options(r, obj, path);
    struct json_path ports = {.parent = path, .key = "ports"};
    struct json_path element = {.parent = &ports};
    json_for_each (port, json_get(obj, "ports")) {
        read_port(r, &nic, port, &element);
        element.index++;
    }
    *(struct vmspec_interface *)vec_add(&r->spec->interfaces) = nic;
}

static void check_networks_used(struct reader *r, const cJSON *interfaces,
                                const struct json_path *path)
{
    for (size_t i = 0; i < r->spec->networks.count; i++) {
        const char *name = r->spec->networks.item[i].name;
        bool used = false;
        json_for_each (obj, interfaces)
            used = used || str_equal(read_text(obj, "name"), name);
        if (!used) {
            struct json_path element = {.parent = path, .index = (unsigned)i};
            report(r, VMSPEC_ERROR, AT_KEY(&element, "name"), "%s '%s' not found.",
                   PATH_TEXT(AT_KEY(&element, "name")), name);
        }
    }
}

static void add_automatic_interface(struct vmspec *spec)
{
    struct vmspec_network *n = vec_add(&spec->networks);
    n->name = xstrdup("default");
    n->kind = VMSPEC_NETWORK_POD;
    struct vmspec_interface *nic = vec_add(&spec->interfaces);
    nic->name = xstrdup("default");
    nic->network = 0;
    nic->automatic = true;
    nic->binding = VMSPEC_BINDING_BRIDGE;
}

void read_networks(struct reader *r)
{
    const cJSON *devices = json_get(json_get(r->vmi, "domain"), "devices");
    const cJSON *networks = json_get(r->vmi, "networks");
    const cJSON *interfaces = json_get(devices, "interfaces");
    struct json_path network_path = {.parent = r->path, .key = "networks"};
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path outer = {.parent = &domain, .key = "devices"};
    struct json_path path = {.parent = &outer, .key = "interfaces"};
    struct json_path element = {.parent = &network_path};
    json_for_each (obj, networks) {
        read_network(r, obj, &element);
        element.index++;
    }
    check_pod_networks(r, &network_path);
    element = (struct json_path){.parent = &path};
    json_for_each (obj, interfaces) {
        read_interface(r, obj, &element);
        element.index++;
    }
    check_networks_used(r, interfaces, &network_path);
    if (json_first_child(networks) == NULL && json_first_child(interfaces) == NULL &&
        read_flag(devices, "autoattachPodInterface", true))
        add_automatic_interface(r->spec);
    if (r->spec->interfaces.count > MACHINE_NET_MAX)
        report(r, VMSPEC_ERROR, &path, "%zu interfaces are more than %d", r->spec->interfaces.count,
               MACHINE_NET_MAX);
}
