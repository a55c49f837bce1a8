/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2, 5.5). Pages given away lose their content at once, which shows
 * whether the host took them.
 */
#include "../lib/virtio.h"

#define BALLOON_F_STATS_VQ       (1ul << 1)
#define BALLOON_F_DEFLATE_ON_OOM (1ul << 2)
#define BALLOON_F_FREE_PAGE_HINT (1ul << 3)
#define BALLOON_F_PAGE_POISON    (1ul << 4)
#define BALLOON_F_PAGE_REPORTING (1ul << 5)

#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL    4
#define INFLATE          0
#define DEFLATE          1
#define PAGES            256

static struct virtq queues[2];

static void fill_pages(uint8_t *memory, uint32_t *pfns)
{
    for (uint32_t i = 0; i < PAGES; i++) {
        memory[i * PAGE_SIZE] = 0x5a;
        pfns[i] = (uint32_t)(physical_address(memory + i * PAGE_SIZE) / PAGE_SIZE);
    }
}

static void test_inflate_deflate(void)
{
    uint8_t *memory = page_alloc(PAGES * PAGE_SIZE);
    uint32_t *pfns = page_alloc(PAGES * sizeof(*pfns)), kept = 0;
    struct virtq_segment segment = {pfns, PAGES * sizeof(*pfns)};

    fill_pages(memory, pfns);
    if (!virtio_start(dut, &(struct virtio_options){0}, queues, 2))
        return;
    if (!virtq_request(&queues[INFLATE], &segment, 1, 0, NULL) ||
        !virtq_request(&queues[DEFLATE], &segment, 1, 0, NULL))
        return;
    for (uint32_t i = 0; i < PAGES; i++) {
        kept += memory[i * PAGE_SIZE] == 0x5a;
        memory[i * PAGE_SIZE] = 1;
        CHECK(memory[i * PAGE_SIZE] == 1, "page %u is not usable after deflate", i);
    }
    CHECK(kept == 0, "%u of %u pages were not released", kept, PAGES);
}

static void test_config(void)
{
    if (!virtio_start(dut, &(struct virtio_options){0}, queues, 2))
        return;
    diagnostic("balloon: num_pages=%u actual=%u", mmio_read32(dut->config + CONFIG_NUM_PAGES),
               mmio_read32(dut->config + CONFIG_ACTUAL));
    mmio_write32(dut->config + CONFIG_ACTUAL, 17);
    CHECK(mmio_read32(dut->config + CONFIG_ACTUAL) == 17, "actual reads %u",
          mmio_read32(dut->config + CONFIG_ACTUAL));
    mmio_write32(dut->config + CONFIG_ACTUAL, 0);
    mmio_write32(dut->config + CONFIG_NUM_PAGES, 99);
    CHECK(mmio_read32(dut->config + CONFIG_NUM_PAGES) != 99, "num_pages is writable");
}

static void test_bogus_pfns(void)
{
    uint8_t *memory = page_alloc(PAGES * PAGE_SIZE);
    uint32_t *pfns = page_alloc(PAGES * sizeof(*pfns));
    struct virtq_segment segment = {pfns, PAGES * sizeof(*pfns)}, odd = {pfns, 3};

    if (!virtio_start(dut, &(struct virtio_options){0}, queues, 2))
        return;
    for (uint32_t i = 0; i < PAGES; i++)
        pfns[i] = i & 1 ? ~0u - i : 0xfee00 + i;
    if (!virtq_request(&queues[INFLATE], &segment, 1, 0, NULL) ||
        !virtq_request(&queues[DEFLATE], &segment, 1, 0, NULL))
        return;
    if (!virtq_request(&queues[INFLATE], &odd, 1, 0, NULL))
        return;
    fill_pages(memory, pfns);
    CHECK(virtq_request(&queues[INFLATE], &segment, 1, 0, NULL), "not usable afterwards");
}

/* Reporting comes after the queues of the features before it that are offered and taken (5.5.2). */
static void test_page_reporting(void)
{
    uint64_t offered = virtio_offered(dut),
             features = offered & (BALLOON_F_STATS_VQ | BALLOON_F_PAGE_REPORTING);
    uint16_t reporting = (uint16_t)(2 + !!(offered & BALLOON_F_STATS_VQ));
    uint8_t *memory = page_alloc(PAGES * PAGE_SIZE);
    struct virtq all[4];
    struct virtq_segment segments[] = {{memory, 64 * PAGE_SIZE},
                                       {memory + 128 * PAGE_SIZE, 128 * PAGE_SIZE}};

    SKIP_IF(!(offered & BALLOON_F_PAGE_REPORTING), "not offered");
    memset(memory, 0x5a, PAGES * PAGE_SIZE);
    if (!virtio_start(dut, &(struct virtio_options){.features = features}, all, reporting + 1u))
        return;
    if (!virtq_request(&all[reporting], segments, 0, 2, NULL))
        return;
    CHECK(memory[64 * PAGE_SIZE] == 0x5a, "a page that was not reported is lost");
    memory[0] = 1;
    CHECK(memory[0] == 1, "a reported page is not usable again");
    CHECK(memory[PAGE_SIZE] == 0 && memory[130 * PAGE_SIZE] == 0,
          "reported pages keep their content");
}

static const struct test tests[] = {
    {"inflate and deflate", test_inflate_deflate},
    {"configuration", test_config},
    {"bogus page numbers", test_bogus_pfns},
    {"free page reporting", test_page_reporting},
};

const struct suite suite_balloon = {
    .name = "balloon",
    .device_type = VIRTIO_TYPE_BALLOON,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};
