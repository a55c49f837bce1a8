// SPDX-License-Identifier: Apache-2.0
/*
 * What the control socket's methods do and show (docs/control-protocol.md). Main thread; figures
 * that other threads count are relaxed atomics, each true by itself.
 */
#include "machine.h"
#include <podvisor/clock.h>
#include <podvisor/counter.h>
#include <podvisor/json_write.h>

static int op_status(void *ctx, struct json_writer *w, struct error *err)
{
    (void)err;
    struct machine *m = ctx;
    json_write_string(w, "name", m->config->name);
    json_write_string(w, "state", machine_state_name(m->state));
    if (m->state == MACHINE_PAUSING || m->state == MACHINE_PAUSED)
        io_error_status(m, w);
    json_write_uint64(w, "pid", (uint64_t)m->vcpus.pid);
    json_write_uint64(w, "cpus", m->config->cpus);
    json_write_uint64(w, "memoryBytes", m->config->memory);
    if (m->first_run_ns != 0) {
        json_write_uint64(w, "uptimeMilliseconds",
                          (clock_now_ns() - m->first_run_ns) / NSEC_PER_MSEC);
        json_write_uint64(w, "startMicroseconds",
                          (m->first_run_ns - m->config->exec_time_ns) / NSEC_PER_USEC);
    }
    json_write_uint64(w, "resets", m->resets);
    machine_devices_status(&m->devices, w);
    return 0;
}

static int op_metrics(void *ctx, struct json_writer *w, struct error *err)
{
    (void)err;
    struct machine *m = ctx;
    json_write_array(w, "vcpus");
    for (unsigned i = 0; i < m->vcpus.count; i++) {
        json_write_object(w, NULL);
        json_write_uint64(w, "exits", counter_read(&m->vcpus.vcpu[i].exits));
        json_write_end(w);
    }
    json_write_end(w);
    json_write_uint64(w, "unclaimedPortAccesses", counter_read(&m->devices.pio.unclaimed));
    json_write_uint64(w, "unclaimedMmioAccesses", counter_read(&m->devices.mmio.unclaimed));
    struct console_counters console;
    console_get_counters(m->console, &console);
    json_write_object(w, "console");
    json_write_uint64(w, "outputBytes", console.output_bytes);
    json_write_uint64(w, "outputLostBytes", console.output_lost_bytes);
    json_write_uint64(w, "inputBytes", console.input_bytes);
    json_write_uint64(w, "clients", console.clients);
    json_write_end(w);
    machine_devices_metrics(&m->devices, w);
    return 0;
}

static int op_pause(void *ctx, uint64_t token, struct error *err)
{
    return machine_pause(ctx, token, err);
}

static int op_resume(void *ctx, uint64_t token, struct error *err)
{
    (void)token;
    return machine_resume(ctx, err);
}

static int op_shutdown(void *ctx, uint64_t token, struct error *err)
{
    (void)token;
    return machine_press_power_button(ctx, err);
}

static int op_reset(void *ctx, uint64_t token, struct error *err)
{
    return machine_reset(ctx, token, err);
}

static int op_stop(void *ctx, uint64_t token, struct error *err)
{
    (void)token;
    (void)err;
    machine_end(ctx, MACHINE_EXIT_POWER_OFF, "Stopped", "stopped through the control socket");
    return 0;
}

static int op_set_balloon(void *ctx, uint64_t target, uint64_t token, struct error *err)
{
    (void)token;
    struct machine *m = ctx;
    if (!m->config->balloon)
        return error_set(err, ENOTSUP, "this machine has no balloon device");
    if (target > m->config->memory)
        return error_set(err, EINVAL, "%llu bytes are more than the guest's %llu",
                         (unsigned long long)target, (unsigned long long)m->config->memory);
    machine_devices_set_balloon(&m->devices, m->config->memory - target);
    return 0;
}

const struct control_ops machine_control_ops = {
    .status = op_status,
    .metrics = op_metrics,
    .pause = op_pause,
    .resume = op_resume,
    .shutdown = op_shutdown,
    .reset = op_reset,
    .stop = op_stop,
    .set_balloon = op_set_balloon,
};
