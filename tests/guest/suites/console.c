/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3): port 0, without and with MULTIPORT. What it prints may be mixed
 * into the serial output if the monitor joins the two, so it is written as TAP comments.
 */
#include "../lib/virtio.h"

#define CONSOLE_F_MULTIPORT (1ul << 1)
#define CONTROL_RX          2
#define CONTROL_TX          3
#define PORT_DEVICE_READY   0
#define PORT_DEVICE_ADD     1
#define RX                  0
#define TX                  1

struct control {
    uint32_t id;
    uint16_t event, value;
};

static struct virtq queues[4];

static void test_transmit(void)
{
    static const char text[] = "# virtio-console says hello\n";
    char *buffer = page_alloc(sizeof(text));
    struct virtq_segment segments[] = {{buffer, 5}, {buffer + 5, sizeof(text) - 6}};
    uint32_t length;

    memcpy(buffer, text, sizeof(text));
    for (unsigned int indirect = 0; indirect < 2; indirect++) {
        uint64_t features = indirect ? VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX : 0;

        if (!virtio_start(dut, &(struct virtio_options){.features = features}, queues, 2))
            return;
        for (unsigned int i = 0; i < 3; i++) {
            if (!virtq_request(&queues[TX], segments, 2, 0, &length))
                return;
            CHECK(length == 0, "used length %u", length);
        }
    }
}

static void test_receive_posted(void)
{
    uint8_t *buffer = page_alloc(4096);
    struct virtq_segment segment = {buffer, 4096};
    struct virtq_used_elem elem;

    if (!virtio_start(dut, &(struct virtio_options){0}, queues, 2))
        return;
    CHECK(virtq_add(&queues[RX], &segment, 0, 1) >= 0, "queue full");
    virtq_kick(&queues[RX]);
    delay_us(2000);
    if (virtq_pop(&queues[RX], &elem))
        CHECK(elem.len > 0 && elem.len <= 4096, "used length %u without input", elem.len);
    CHECK(!virtio_needs_reset(dut), "needs reset");
}

static void test_multiport(void)
{
    struct control *answer = page_alloc(4096), *ready = page_alloc(sizeof(*ready));
    struct virtq_segment in = {answer, 4096}, out = {ready, sizeof(*ready)};
    struct virtq_used_elem elem;

    SKIP_IF(!(virtio_offered(dut) & CONSOLE_F_MULTIPORT), "not offered");
    if (!virtio_start(dut, &(struct virtio_options){.features = CONSOLE_F_MULTIPORT}, queues, 4))
        return;
    virtq_add(&queues[CONTROL_RX], &in, 0, 1);
    virtq_kick(&queues[CONTROL_RX]);
    *ready = (struct control){.event = PORT_DEVICE_READY, .value = 1};
    if (!virtq_request(&queues[CONTROL_TX], &out, 1, 0, NULL))
        return;
    CHECK(virtq_wait(&queues[CONTROL_RX], &elem, REQUEST_TIMEOUT_MS), "no PORT_ADD");
    CHECK(elem.len >= sizeof(*answer) && answer->event == PORT_DEVICE_ADD, "event %u, length %u",
          answer->event, elem.len);
}

static const struct test tests[] = {
    {"transmit", test_transmit},
    {"receive buffer stays posted", test_receive_posted},
    {"multiport", test_multiport},
};

const struct suite suite_console = {
    .name = "console",
    .device_type = VIRTIO_TYPE_CONSOLE,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};
