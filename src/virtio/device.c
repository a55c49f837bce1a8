// SPDX-License-Identifier: Apache-2.0
/*
 * The part of a virtio device that all types share: virtio 1.2 §2.1 (status), §2.2 (features), §2.4
 * (reset), §2.5 (configuration), §3.1 (initialisation).
 *
 * Two machines meet here. The registers belong to the vCPU threads, under dev->lock. The engine,
 * which works on queues, belongs to the I/O loop. dev->engine and dev->resetting, under the lock
 * too, say how far the two have got with each other:
 *
 *              DRIVER_OK, layouts good           loop: ops->start()
 *        IDLE ------------------------> STARTING ------------------> RUNNING
 *         ^ ^                             |                             |
 *         | +--- loop: reset came first --+     loop: reset, ops->stop()|
 *         |                                                             v
 *         +---------------- loop: virtio_device_stopped() ---------- DRAINING
 *
 * A vCPU thread changes IDLE to STARTING and nothing else; it asks for all other changes by setting
 * `resetting` and posting engine_work. The work compares what is asked for with what is, so neither
 * the number of posts nor their order matters. What follows:
 *  - While `resetting`, status keeps its old value and every write to it is ignored but 0, which
 *    changes nothing. So nothing can start before the reset completed, whichever vCPU writes.
 *  - In IDLE the loop touches nothing but `serving` (false), so status 0 completes at once.
 *  - Registers of queues are frozen by DRIVER_OK, which only a completed reset clears: the virtqs
 *    that the vCPU thread built are not written by it again until the engine is IDLE.
 *  - Kick sources are watched for the life of the device; a kick counts only while `serving`, which
 *    is the loop's own. A kick before the start is not lost: the start looks at every queue.
 *  - A failure while a reset is under way only stops the serving: the reset clears it anyway.
 */
#include "device.h"
#include <linux/virtio_ring.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DRIVER_BITS                                                                       \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
     VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

#define COMMON_FEATURES                                                               \
    ((UINT64_C(1) << VIRTIO_F_VERSION_1) | (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX) | \
     (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC))

static void count(atomic_uint_fast64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Lock held, engine IDLE or about to be. */
static void finish_reset(struct virtio_device *dev)
{
    dev->engine = VIRTIO_ENGINE_IDLE;
    dev->resetting = false;
    dev->status = 0;
    dev->driver_features = 0;
    for (unsigned i = 0; i < dev->queue_count; i++) {
        struct virtio_queue_slot *slot = &dev->queue[i];
        slot->layout = (struct virtq_layout){.size = slot->max_size};
        slot->enabled = false;
        slot->msix_vector = VIRTIO_NO_VECTOR;
        slot->active = false;
    }
    if (dev->transport != NULL && dev->transport->reset != NULL)
        dev->transport->reset(dev);
}

/* Lock held. */
static void begin_reset(struct virtio_device *dev)
{
    if (dev->resetting)
        return;
    count(&dev->counters.resets);
    if (dev->engine == VIRTIO_ENGINE_IDLE) {
        finish_reset(dev);
        return;
    }
    dev->resetting = true;
    loop_post(dev->loop, &dev->engine_work);
}

/* Lock held: the last step of initialisation. Returns what is wrong with the queues, or NULL. */
static const char *activate(struct virtio_device *dev)
{
    bool event_idx = virtio_device_has(dev, VIRTIO_RING_F_EVENT_IDX);
    bool indirect = virtio_device_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
    for (unsigned i = 0; i < dev->queue_count; i++) {
        struct virtio_queue_slot *slot = &dev->queue[i];
        slot->active = slot->enabled;
        if (!slot->enabled)
            continue;
        if (slot->layout.size > slot->max_size)
            return "queue is larger than the device offered";
        if (virtq_init(&slot->vq, dev->mem, &slot->layout, event_idx, indirect) < 0)
            return slot->vq.fault;
    }
    dev->engine = VIRTIO_ENGINE_STARTING;
    loop_post(dev->loop, &dev->engine_work);
    return NULL;
}

static bool features_acceptable(const struct virtio_device *dev)
{
    return (dev->driver_features & ~dev->features) == 0 &&
           virtio_device_has(dev, VIRTIO_F_VERSION_1);
}

/*
 * Lock held, no reset under way: adds the status bits that the driver may add now, in the order of
 * §3.1.1, several at once if it likes. Returns why the device cannot be used as told, or NULL.
 */
static const char *advance_status(struct virtio_device *dev, uint8_t value)
{
    static const uint8_t order[] = {VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
                                    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK};
    /* A driver must not clear a bit (§2.1.1). NEEDS_RESET is ours; it may not have seen it yet. */
    if ((dev->status & ~value & DRIVER_BITS) != 0)
        return NULL;
    dev->status |= value & VIRTIO_CONFIG_S_FAILED;
    if ((dev->status & (VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET)) != 0)
        return NULL;

    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        uint8_t bit = order[i];
        if ((dev->status & bit) != 0)
            continue;
        if ((value & bit) == 0)
            return NULL;
        if (bit == VIRTIO_CONFIG_S_FEATURES_OK && !features_acceptable(dev))
            return NULL;
        dev->status |= bit;
        if (bit == VIRTIO_CONFIG_S_DRIVER_OK)
            return activate(dev);
    }
    return NULL;
}

/* Lock held. Returns true when this is news, to be reported without the lock. */
static bool mark_failed(struct virtio_device *dev)
{
    if (dev->resetting || !virtio_device_frozen(dev) ||
        (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0)
        return false;
    dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    return true;
}

/* Any thread: a failure as operator and driver see it, once until reset. */
static void report_failure(struct virtio_device *dev, const char *why)
{
    count(&dev->counters.failures);
    uint32_t suppressed;
    if (log_ratelimit_allow(&dev->guest_fault_log, &suppressed)) {
        const struct log_field field = LOG_INT("suppressed", suppressed);
        log_write(LOG_LEVEL_WARN, dev->name, &field, suppressed > 0,
                  "the guest's driver broke a rule, the device needs a reset: %s", why);
    }
    dev->transport->interrupt_config(dev);
}

/* I/O loop. */
static void start_serving(struct virtio_device *dev)
{
    dev->serving = true;
    dev->ops->start(dev);
    /* A failure on the way ends the serving. */
    for (unsigned i = 0; i < dev->queue_count && dev->serving; i++) {
        if (dev->queue[i].active)
            dev->ops->kicked(dev, i);
    }
}

static void run_engine(struct loop_work *work)
{
    struct virtio_device *dev = container_of(work, struct virtio_device, engine_work);
    pthread_mutex_lock(&dev->lock);
    bool start = dev->engine == VIRTIO_ENGINE_STARTING && !dev->resetting;
    bool stop = dev->engine == VIRTIO_ENGINE_RUNNING && dev->resetting;
    if (start)
        dev->engine = VIRTIO_ENGINE_RUNNING;
    else if (stop)
        dev->engine = VIRTIO_ENGINE_DRAINING;
    else if (dev->engine == VIRTIO_ENGINE_STARTING)
        finish_reset(dev);
    pthread_mutex_unlock(&dev->lock);

    if (start) {
        start_serving(dev);
    } else if (stop) {
        dev->serving = false;
        dev->ops->stop(dev);
    }
}

/*
 * The source is edge-triggered: every write to the eventfd reports it again, so the counter need
 * not be read, which saves a system call a kick.
 */
static void kick_ready(struct loop_source *src, uint32_t events)
{
    (void)events;
    struct virtio_queue_slot *slot = container_of(src, struct virtio_queue_slot, kick);
    struct virtio_device *dev = slot->dev;
    if (!dev->serving || !slot->active)
        return;
    count(&dev->counters.kicks);
    dev->ops->kicked(dev, (unsigned)(slot - dev->queue));
}

static int init_queue(struct virtio_device *dev, unsigned index, uint16_t size, struct error *err)
{
    struct virtio_queue_slot *slot = &dev->queue[index];
    if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)) != 0)
        return error_set(err, EINVAL, "queue %u of %s cannot have %u entries", index, dev->name,
                         size);
    slot->dev = dev;
    slot->max_size = size;
    slot->kick = LOOP_SOURCE_INIT(kick_ready);
    slot->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->kick_fd < 0)
        return error_sys(err, errno, "cannot create an eventfd for %s", dev->name);
    return loop_add(dev->loop, &slot->kick, slot->kick_fd, EPOLLIN | EPOLLET, err);
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
                       const char *name, uint16_t type, uint64_t features,
                       const uint16_t *queue_sizes, unsigned queue_count,
                       const struct guest_memory *mem, struct loop *loop, struct error *err)
{
    if (queue_count > VIRTIO_QUEUE_MAX)
        return error_set(err, EINVAL, "%s cannot have %u queues", name, queue_count);
    memset(dev, 0, sizeof(*dev));
    dev->ops = ops;
    dev->name = name;
    dev->type = type;
    dev->features = features | COMMON_FEATURES;
    dev->mem = mem;
    dev->loop = loop;
    dev->engine_work.run = run_engine;
    pthread_mutex_init(&dev->lock, NULL);
    for (unsigned i = 0; i < queue_count; i++) {
        dev->queue_count = i + 1;
        int r = init_queue(dev, i, queue_sizes[i], err);
        if (r < 0) {
            virtio_device_done(dev);
            return r;
        }
    }
    finish_reset(dev);
    return 0;
}

void virtio_device_done(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->queue_count; i++) {
        struct virtio_queue_slot *slot = &dev->queue[i];
        loop_del(dev->loop, &slot->kick);
        if (slot->kick_fd >= 0)
            close(slot->kick_fd);
    }
    dev->queue_count = 0;
    pthread_mutex_destroy(&dev->lock);
}

uint8_t virtio_device_get_status(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    uint8_t status = dev->status;
    pthread_mutex_unlock(&dev->lock);
    return status;
}

void virtio_device_set_status(struct virtio_device *dev, uint8_t status)
{
    const char *why = NULL;
    pthread_mutex_lock(&dev->lock);
    if (status == 0)
        begin_reset(dev);
    else if (!dev->resetting)
        why = advance_status(dev, status);
    bool failed = why != NULL && mark_failed(dev);
    pthread_mutex_unlock(&dev->lock);
    if (failed)
        report_failure(dev, why);
}

void virtio_device_reset(struct virtio_device *dev)
{
    virtio_device_set_status(dev, 0);
}

void virtio_device_set_features(struct virtio_device *dev, uint32_t select, uint32_t value)
{
    pthread_mutex_lock(&dev->lock);
    if (select < 2 && (dev->status & VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
        unsigned shift = select * 32;
        dev->driver_features &= ~(UINT64_C(0xffffffff) << shift);
        dev->driver_features |= (uint64_t)value << shift;
    }
    pthread_mutex_unlock(&dev->lock);
}

static bool inside_config(const struct virtio_device *dev, uint32_t offset, uint32_t len)
{
    return offset <= dev->config_len && len <= dev->config_len - offset;
}

void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len)
{
    memset(data, 0, len);
    pthread_mutex_lock(&dev->lock);
    if (offset < dev->config_len) {
        uint32_t rest = dev->config_len - offset;
        memcpy(data, dev->config + offset, len < rest ? len : rest);
    }
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                                uint32_t len)
{
    pthread_mutex_lock(&dev->lock);
    if (inside_config(dev, offset, len) && dev->ops->config_write != NULL &&
        dev->ops->config_write(dev, offset, data, len))
        memcpy(dev->config + offset, data, len);
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_config_changed(struct virtio_device *dev, uint32_t offset, const void *data,
                                  uint32_t len)
{
    pthread_mutex_lock(&dev->lock);
    bool fits = inside_config(dev, offset, len);
    if (fits) {
        memcpy(dev->config + offset, data, len);
        dev->config_generation++;
    }
    bool tell = fits && !dev->resetting && virtio_device_frozen(dev);
    pthread_mutex_unlock(&dev->lock);
    if (tell)
        dev->transport->interrupt_config(dev);
}

void virtio_device_stopped(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    if (dev->engine == VIRTIO_ENGINE_DRAINING)
        finish_reset(dev);
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_fail(struct virtio_device *dev, const char *why)
{
    dev->serving = false;
    /* So that no loop over a queue, wherever it stands now, finds or awaits anything more. */
    for (unsigned i = 0; i < dev->queue_count; i++)
        dev->queue[i].vq.broken = true;
    pthread_mutex_lock(&dev->lock);
    bool first = mark_failed(dev);
    pthread_mutex_unlock(&dev->lock);
    if (first)
        report_failure(dev, why);
}

void virtio_device_notify(struct virtio_device *dev, unsigned index)
{
    if (!virtq_publish(&dev->queue[index].vq))
        return;
    count(&dev->counters.interrupts);
    dev->transport->interrupt_queue(dev, index);
}

void virtio_device_rekick(struct virtio_device *dev, unsigned index)
{
    uint64_t one = 1;
    /* EAGAIN would take 2^64 kicks. */
    (void)!write(dev->queue[index].kick_fd, &one, sizeof(one));
}
