// SPDX-License-Identifier: Apache-2.0
/* A copy under a temporary name, then a rename; one thread. See install.h. */
#include "install.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <sys/stat.h>

#define TEMPORARY_NAME "." INSTALL_NAME ".new"

static int copy(int from, int to, struct error *err)
{
    static char block[65536];
    ssize_t n;
    while ((n = read(from, block, sizeof(block))) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t written = write(to, block + done, (size_t)(n - done));
            if (written < 0)
                return error_sys(err, errno, "cannot write");
            done += written;
        }
    }
    return n < 0 ? error_sys(err, errno, "cannot read the program") : 0;
}

static int make_copy(int from, int folder_fd, struct error *err)
{
    cleanup_close int to = openat(folder_fd, TEMPORARY_NAME,
                                  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0700);
    if (to < 0)
        return error_sys(err, errno, "cannot create a file");
    int r = copy(from, to, err);
    if (r == 0 && fchmod(to, 0555) < 0)
        r = error_sys(err, errno, "cannot make it executable");
    return r;
}

int install_program(const char *program, const char *folder, struct error *err)
{
    cleanup_close int from = open(program, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return error_sys(err, errno, "cannot open %s", program);
    cleanup_close int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        return error_sys(err, errno, "cannot open the folder %s", folder);
    /* What an install that was killed left behind, and may no longer be written. */
    unlinkat(folder_fd, TEMPORARY_NAME, 0);
    int r = make_copy(from, folder_fd, err);
    if (r == 0 && renameat(folder_fd, TEMPORARY_NAME, folder_fd, INSTALL_NAME) < 0)
        r = error_sys(err, errno, "cannot put it in its place");
    if (r == 0)
        return 0;
    unlinkat(folder_fd, TEMPORARY_NAME, 0);
    return error_wrap(err, "install in %s", folder);
}
