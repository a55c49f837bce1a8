// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a manifest. A machine that is read keeps every promise of podvisor/vmspec.h; one
 * that is refused leaves an error behind.
 */
#include <podvisor/vmspec.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

static void check_machine(const struct vmspec *spec)
{
    require(spec->name != NULL && spec->name[0] != '\0');
    require(vmspec_check(spec, NULL) == 0);
    require(spec->memory.guest % (2 << 20) == 0);
    require(spec->cpu.sockets * spec->cpu.cores * spec->cpu.threads == spec->cpu.count);
    for (size_t i = 0; i < spec->disks.count; i++) {
        const struct vmspec_disk *d = &spec->disks.item[i];
        require(d->name != NULL && d->volume < spec->volumes.count);
        require(vmspec_disk_volume(spec, d)->kind != VMSPEC_VOLUME_UNSUPPORTED);
    }
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *v = &spec->volumes.item[i];
        require(v->name != NULL && v->source != NULL);
        require(v->kind != VMSPEC_VOLUME_HOST_DISK || v->host_disk.path != NULL);
        require(v->kind != VMSPEC_VOLUME_CONTAINER_DISK || v->container_disk.image != NULL);
        require(v->kind != VMSPEC_VOLUME_PVC || v->claim.claim != NULL);
    }
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        uint8_t mac[6];
        vmspec_interface_mac(spec, nic, mac);
        require(nic->name != NULL && nic->network < spec->networks.count);
        require((mac[0] & 1) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmspec *spec = NULL;
    struct vmspec_diagnostics diag = {0};
    struct error err = ERROR_INIT;
    int r = vmspec_from_yaml((const char *)data, size, &spec, &diag, &err);
    require((r == 0) == (diag.errors == 0));
    require((r == 0) == (spec != NULL));
    require(r == 0 || err.text[0] != '\0');
    if (spec != NULL)
        check_machine(spec);
    vmspec_free(spec);
    vmspec_diagnostics_done(&diag);
    return 0;
}
