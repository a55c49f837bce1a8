// SPDX-License-Identifier: Apache-2.0
/*
 * Listening sockets with a name, for control and for images: made under a temporary name, listening
 * and 0600 before anybody can see it, then put in its place. A socket that a dead machine left
 * there refuses connections and is replaced; one that answers belongs to a running machine. No lock
 * file is needed and none is left.
 */
#include "open.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 16

struct place {
    const char *path; /* as the user gave it */
    const char *what; /* "control": whose socket, for messages */
    int type;         /* SOCK_STREAM... */
    const char *name; /* its last part */
    int folder_fd;
    char temporary[32]; /* name in the same folder */
};

/* An address of a name in the folder, short whatever the folder's path is. */
static void folder_address(const struct place *place, const char *name,
                           struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/%.64s",
             place->folder_fd, name);
}

static int find_place(struct place *place, struct error *err)
{
    struct sockaddr_un address;
    const char *path = place->path;
    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(err, ENAMETOOLONG,
                         "the %s socket's path has %zu bytes and a UNIX socket's at most %zu; "
                         "choose a shorter one: %s",
                         place->what, strlen(path), sizeof(address.sun_path) - 1, path);
    const char *slash = strrchr(path, '/');
    char folder[sizeof(address.sun_path) + 1];
    snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
             slash != NULL ? path : ".");
    place->name = slash != NULL ? slash + 1 : path;
    if (*place->name == '\0')
        return error_set(err, EISDIR, "the %s socket %s is a folder; add a name", place->what,
                         path);
    /* Not the process id: in a container it is 1 each time, and a start may have been killed here.
     */
    uint64_t suffix = clock_now_ns();
    (void)!getrandom(&suffix, sizeof(suffix), GRND_NONBLOCK);
    snprintf(place->temporary, sizeof(place->temporary), ".vmm-%016llx",
             (unsigned long long)suffix);
    place->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place->folder_fd < 0)
        return error_sys(err, errno, "the %s socket's folder %s", place->what, folder);
    return 0;
}

static int listen_temporary(const struct place *place, int *ret_fd, struct error *err)
{
    struct sockaddr_un address;
    cleanup_close int fd = socket(AF_UNIX, place->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot make a socket");
    folder_address(place, place->temporary, &address);
    /* The mode of the unbound socket is the mode that bind gives the file: never wider than this.
     */
    if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return error_sys(err, errno, "cannot make the %s socket %s", place->what, place->path);
    if (listen(fd, BACKLOG) < 0) {
        int r =
            error_sys(err, errno, "cannot listen on the %s socket %s", place->what, place->path);
        unlinkat(place->folder_fd, place->temporary, 0);
        return r;
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int in_use(const struct place *place, struct error *err)
{
    return error_set(err, EADDRINUSE,
                     "a running machine serves the %s socket %s; choose another path or stop that "
                     "one",
                     place->what, place->path);
}

static bool answers(const struct place *place, const char *name)
{
    struct sockaddr_un address;
    folder_address(place, name, &address);
    cleanup_close int fd = socket(AF_UNIX, place->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* EAGAIN: its queue is full, so somebody listens. */
    return fd >= 0 && (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
                       errno == EAGAIN);
}

/*
 * Something is at the path. Between the question and the replacement another machine may have
 * started there: so the two names are exchanged, and what came back is asked again.
 */
static int replace(const struct place *place, struct error *err)
{
    struct stat st;
    if (fstatat(place->folder_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_sys(err, errno, "the %s socket %s", place->what, place->path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, EEXIST,
                         "the %s socket's path %s is taken by something that is not a socket; "
                         "choose another",
                         place->what, place->path);
    if (answers(place, place->name))
        return in_use(place, err);
    int folder = place->folder_fd;
    if (renameat2(folder, place->temporary, folder, place->name, RENAME_EXCHANGE) < 0)
        return error_sys(err, errno, "cannot replace the stale %s socket %s", place->what,
                         place->path);
    if (!answers(place, place->temporary))
        return unlinkat(folder, place->temporary, 0) < 0 ? -errno : 0;
    renameat2(folder, place->temporary, folder, place->name, RENAME_EXCHANGE);
    return in_use(place, err);
}

static int put_in_place(const struct place *place, struct error *err)
{
    int folder = place->folder_fd;
    if (renameat2(folder, place->temporary, folder, place->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EEXIST)
        return error_sys(err, errno, "cannot make the %s socket %s", place->what, place->path);
    return replace(place, err);
}

int open_socket(const char *path, int type, const char *what, int *ret_fd, struct error *err)
{
    struct place place = {.path = path, .what = what, .type = type, .name = path, .folder_fd = -1};
    cleanup_close int fd = -1;
    int r = find_place(&place, err);
    if (r < 0)
        return r;
    r = listen_temporary(&place, &fd, err);
    if (r == 0) {
        r = put_in_place(&place, err);
        if (r < 0)
            unlinkat(place.folder_fd, place.temporary, 0);
    }
    close(place.folder_fd);
    if (r < 0)
        return r;
    *ret_fd = steal_fd(&fd);
    return 0;
}

int open_control(const char *path, int *ret_fd, struct created *created, struct error *err)
{
    int r = open_socket(path, SOCK_STREAM, "control", ret_fd, err);
    if (r == -EADDRINUSE)
        return error_hint(err, "`vmm ctl %s stop` does that", path);
    if (r == 0)
        created_add(created, path);
    return r;
}
