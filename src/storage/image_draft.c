// SPDX-License-Identifier: Apache-2.0
/* See image_draft.h. The front's, at start-up; one thread. open(2) O_TMPFILE, rename(2). */
#include "image_draft.h"
#include "image_file.h"
#include <fcntl.h>
#include <inttypes.h>
#include <podvisor/cleanup.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

/* A process id would not do: in pods of one claim they are all the same. */
static int open_temporary(struct image_draft *draft)
{
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return -errno;
    snprintf(draft->temporary, sizeof(draft->temporary), ".podvisor-%016" PRIx64 ".new", number);
    int fd = openat(draft->folder_fd, draft->temporary,
                    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    *draft->temporary = '\0';
    return -errno;
}

static int open_unnamed(struct image_draft *draft)
{
    int fd = openat(draft->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    return errno == EOPNOTSUPP || errno == EISDIR ? open_temporary(draft) : -errno;
}

int image_draft_open(const char *path, struct image_draft *ret_draft, struct error *err)
{
    struct image_draft draft = IMAGE_DRAFT_INIT;
    draft.folder_fd = image_file_open_folder(path, &draft.name);
    if (draft.folder_fd < 0)
        return error_sys(err, -draft.folder_fd, "cannot create %s", path);
    draft.fd = open_unnamed(&draft);
    if (draft.fd < 0) {
        close(draft.folder_fd);
        return error_sys(err, -draft.fd, "cannot create %s", path);
    }
    *ret_draft = draft;
    return 0;
}

/* Network file systems have links and cannot rename so, FAT has no links and can. */
static int rename_temporary(struct image_draft *draft)
{
    int folder = draft->folder_fd;
    if (renameat2(folder, draft->temporary, folder, draft->name, RENAME_NOREPLACE) == 0) {
        *draft->temporary = '\0';
        return 0;
    }
    if (errno == EEXIST)
        return -EEXIST;
    return linkat(folder, draft->temporary, folder, draft->name, 0) == 0 ? 0 : -errno;
}

/* By way of /proc: with AT_EMPTY_PATH it is a privilege. */
static int link_unnamed(const struct image_draft *draft)
{
    char self[sizeof("/proc/self/fd/") + 10];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", draft->fd);
    return linkat(AT_FDCWD, self, draft->folder_fd, draft->name, AT_SYMLINK_FOLLOW) == 0 ? 0
                                                                                         : -errno;
}

int image_draft_publish(struct image_draft *draft, struct error *err)
{
    int r = *draft->temporary != '\0' ? rename_temporary(draft) : link_unnamed(draft);
    return r < 0 ? error_sys(err, -r, "cannot create %s", draft->name) : 0;
}

void image_draft_done(struct image_draft *draft)
{
    if (*draft->temporary != '\0')
        unlinkat(draft->folder_fd, draft->temporary, 0);
    if (draft->fd >= 0)
        close(draft->fd);
    if (draft->folder_fd >= 0)
        close(draft->folder_fd);
    *draft = IMAGE_DRAFT_INIT;
}
