/* A disk that gets full: below one folder only so many bytes can be written. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long room = -1;

static int fits(int fd, size_t length) {
    const char *root = getenv("ENDCAP_FULL_ROOT"), *bytes = getenv("ENDCAP_FULL_BYTES");
    char link[64], path[4096];
    if (!root || !bytes) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 1;
    path[n] = 0;
    if (strncmp(path, root, strlen(root))) return 1;
    if (room < 0) room = atol(bytes);
    if (room >= (long)length) {
        room -= (long)length;
        return 1;
    }
    errno = ENOSPC;
    return 0;
}

#define WRITING(name, parameters, arguments) \
    ssize_t name parameters { \
        ssize_t(*real) parameters = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name); \
        return fits(fd, length) ? real arguments : -1; \
    }
WRITING(write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
WRITING(pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
WRITING(pwrite64, (int fd, const void *bytes, size_t length, off64_t at), (fd, bytes, length, at))
