// SPDX-License-Identifier: Apache-2.0
/* virtio-console with one port, virtio 1.2 §5.3; see console.h for what runs where. */
#include "console.h"
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <string.h>

#define RX_QUEUE 0
#define TX_QUEUE 1

/* What a guest may have done before other sources of the loop get their turn. */
#define BYTES_A_TURN  65536
#define CHAINS_A_TURN 64

static struct virtio_console *to_console(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_console, dev);
}

/*
 * Prints the held chain as far as there is room, and at most *bytes, which it counts down. True
 * when the chain is printed to its end.
 */
static bool print_held(struct virtio_console *console, uint32_t *bytes)
{
    uint8_t copy[512];
    while (console->tx_offset < console->tx.readable_len) {
        size_t want = console->tx.readable_len - console->tx_offset;
        if (want > sizeof(copy))
            want = sizeof(copy);
        if (want > *bytes)
            want = *bytes;
        size_t room = want > 0 ? console->ops->room(console->ctx, want) : 0;
        if (room == 0)
            return false;
        if (room > want)
            room = want;
        iov_read(console->tx.iov, console->tx.readable_count, console->tx_offset, copy, room);
        console->ops->output(console->ctx, copy, room);
        console->tx_offset += (uint32_t)room;
        *bytes -= (uint32_t)room;
    }
    return true;
}

/* True when there is a chain to print: the held one or the next. */
static bool hold_chain(struct virtio_console *console, struct virtq *vq)
{
    if (console->tx_held)
        return true;
    int r = virtq_pop(vq, console->tx_iov, ARRAY_SIZE(console->tx_iov), &console->tx);
    if (r < 0)
        virtio_device_fail(&console->dev, vq->fault);
    console->tx_held = r > 0;
    console->tx_offset = 0;
    return r > 0;
}

static void transmit(struct virtio_console *console)
{
    struct virtio_device *dev = &console->dev;
    struct virtq *vq = &dev->queue[TX_QUEUE].vq;
    if (!dev->serving || !dev->queue[TX_QUEUE].active)
        return;
    uint32_t bytes = BYTES_A_TURN;
    unsigned chains = 0;
    virtq_suppress_kicks(vq);
    do {
        while (chains < CHAINS_A_TURN && hold_chain(console, vq)) {
            if (!print_held(console, &bytes))
                break; /* goes on when there is room */
            console->tx_held = false;
            virtq_push(vq, console->tx.head, 0);
            chains++;
        }
        virtio_device_notify(dev, TX_QUEUE);
        if (bytes == 0 || chains == CHAINS_A_TURN) {
            virtio_device_rekick(dev, TX_QUEUE);
            return;
        }
    } while (dev->serving && !console->tx_held && virtq_arm_kicks(vq));
}

/* Moves typed bytes into one chain; returns how many. */
static uint32_t fill_chain(struct virtio_console *console, const struct virtq_chain *chain)
{
    uint32_t done = 0;
    pthread_mutex_lock(&console->input_lock);
    while (done < chain->writable_len && console->input_len > 0) {
        unsigned part = VIRTIO_CONSOLE_INPUT_SIZE - console->input_head;
        if (part > console->input_len)
            part = console->input_len;
        if (part > chain->writable_len - done)
            part = chain->writable_len - done;
        iov_write(chain->iov + chain->readable_count, chain->writable_count, done,
                  console->input + console->input_head, part);
        console->input_head = (console->input_head + part) % VIRTIO_CONSOLE_INPUT_SIZE;
        console->input_len -= part;
        done += part;
    }
    pthread_mutex_unlock(&console->input_lock);
    return done;
}

static bool input_waits(struct virtio_console *console)
{
    pthread_mutex_lock(&console->input_lock);
    bool waits = console->input_len > 0;
    pthread_mutex_unlock(&console->input_lock);
    return waits;
}

/* True once for each time that input had been refused. */
static bool take_refusal(struct virtio_console *console)
{
    pthread_mutex_lock(&console->input_lock);
    bool refused = console->input_refused;
    console->input_refused = false;
    pthread_mutex_unlock(&console->input_lock);
    return refused;
}

static void receive(struct virtio_console *console)
{
    struct virtio_device *dev = &console->dev;
    struct virtq *vq = &dev->queue[RX_QUEUE].vq;
    if (!dev->serving || !dev->queue[RX_QUEUE].active)
        return;
    unsigned chains = 0;
    int r = 0;
    while (chains < CHAINS_A_TURN && input_waits(console)) {
        struct virtq_chain chain;
        r = virtq_pop(vq, console->rx_iov, ARRAY_SIZE(console->rx_iov), &chain);
        if (r < 0)
            break;
        if (r == 0) {
            /* No buffer: a kick brings us back, unless one came just now. */
            if (virtq_arm_kicks(vq))
                continue;
            break;
        }
        virtq_push(vq, chain.head, fill_chain(console, &chain));
        chains++;
    }
    virtio_device_notify(dev, RX_QUEUE);
    if (chains > 0 && take_refusal(console))
        console->ops->input_ready(console->ctx);
    if (r < 0)
        virtio_device_fail(dev, vq->fault);
    else if (chains == CHAINS_A_TURN)
        virtio_device_rekick(dev, RX_QUEUE);
}

static void room_grew(struct loop_work *work)
{
    transmit(container_of(work, struct virtio_console, room_work));
}

static void input_came(struct loop_work *work)
{
    receive(container_of(work, struct virtio_console, input_work));
}

static void console_kicked(struct virtio_device *dev, unsigned index)
{
    if (index == RX_QUEUE)
        receive(to_console(dev));
    else
        transmit(to_console(dev));
}

static void console_start(struct virtio_device *dev)
{
    to_console(dev)->tx_held = false;
}

static void console_stop(struct virtio_device *dev)
{
    to_console(dev)->tx_held = false;
    virtio_device_stopped(dev);
}

static const struct virtio_device_ops console_ops = {
    .start = console_start,
    .stop = console_stop,
    .kicked = console_kicked,
};

int virtio_console_init(struct virtio_console *console, const char *name,
                        const struct virtio_console_ops *ops, void *ctx,
                        const struct guest_memory *mem, struct loop *loop, struct error *err)
{
    static const uint16_t sizes[] = {VIRTIO_CONSOLE_QUEUE_SIZE, VIRTIO_CONSOLE_QUEUE_SIZE};
    memset(console, 0, sizeof(*console));
    console->ops = ops;
    console->ctx = ctx;
    console->room_work.run = room_grew;
    console->input_work.run = input_came;
    pthread_mutex_init(&console->input_lock, NULL);
    int r = virtio_device_init(&console->dev, &console_ops, name, VIRTIO_ID_CONSOLE, 0, sizes,
                               ARRAY_SIZE(sizes), mem, loop, err);
    /* No field is in force without SIZE, MULTIPORT or EMERG_WRITE, but the space is there (§5.3.4).
     */
    if (r == 0)
        console->dev.config_len = sizeof(struct virtio_console_config);
    return r;
}

void virtio_console_done(struct virtio_console *console)
{
    virtio_device_done(&console->dev);
    pthread_mutex_destroy(&console->input_lock);
}

size_t virtio_console_input(struct virtio_console *console, const void *bytes, size_t len)
{
    size_t taken = 0;
    pthread_mutex_lock(&console->input_lock);
    while (taken < len && console->input_len < VIRTIO_CONSOLE_INPUT_SIZE) {
        unsigned tail = (console->input_head + console->input_len) % VIRTIO_CONSOLE_INPUT_SIZE;
        console->input[tail] = ((const uint8_t *)bytes)[taken++];
        console->input_len++;
    }
    if (taken < len)
        console->input_refused = true;
    pthread_mutex_unlock(&console->input_lock);
    if (taken > 0)
        loop_post(console->dev.loop, &console->input_work);
    return taken;
}

void virtio_console_output_room(struct virtio_console *console)
{
    loop_post(console->dev.loop, &console->room_work);
}
