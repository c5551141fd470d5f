/* Writes down every change that a process makes to the files under one folder, in order.
 *
 * Loaded with LD_PRELOAD by tests/power/main.rs, which plays the journal back and so knows what would be on
 * the disk had the power failed at any point. A change and its line are written under one lock. Nothing is
 * really synced: what counts is where the program asked for it.
 *
 * A line is: kind (1 byte), file (8), a (8), b (8), length of what follows (4), bytes. All little-endian.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, OPEN, WRITE, CUT, SYNC, SYNC_DIR, RENAME, UNLINK, MKDIR, MARK, UNKNOWN };
enum { FILES = 65536 };
enum { NONE, PLAIN, SHARED_MEMORY, MARKS, FOLDER };

static struct { uint64_t id; int kind; char *path; } files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int journal = -1;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static void fail(const char *why) {
    fprintf(stderr, "power shim: %s\n", why);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    root = getenv("ENDCAP_POWER_ROOT");
    const char *path = getenv("ENDCAP_POWER_JOURNAL");
    if (!root || !path) return;
    root_length = strlen(root);
    REAL(int, open, const char *, int, ...);
    journal = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) fail("the journal does not open");
}

static int under(const char *path) {
    return journal >= 0 && path && !strncmp(path, root, root_length) &&
           (path[root_length] == '/' || path[root_length] == 0);
}

static int tracked(int fd) {
    return fd >= 0 && fd < FILES ? files[fd].kind : NONE;
}

static void line(int kind, uint64_t file, uint64_t a, uint64_t b, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    size_t total = 29 + length;
    unsigned char *out = malloc(total);
    if (!out) fail("no memory");
    uint32_t short_length = (uint32_t)length;
    out[0] = (unsigned char)kind;
    memcpy(out + 1, &file, 8);
    memcpy(out + 9, &a, 8);
    memcpy(out + 17, &b, 8);
    memcpy(out + 25, &short_length, 4);
    memcpy(out + 29, bytes, length);
    for (size_t done = 0; done < total;) {
        ssize_t n = real_write(journal, out + done, total - done);
        if (n <= 0) fail("the journal does not take more");
        done += (size_t)n;
    }
    free(out);
}

static void named(int kind, uint64_t file, const char *path) {
    const char *name = path + root_length + (path[root_length] == '/');
    line(kind, file, 0, 0, name, strlen(name));
}

static int ends(const char *path, const char *end) {
    size_t a = strlen(path), b = strlen(end);
    return a >= b && !strcmp(path + a - b, end);
}

static int track(const char *path, int flags, int existed, int fd) {
    struct stat st;
    if (fd < 0 || fd >= FILES || fstat(fd, &st)) return fd;
    free(files[fd].path);
    files[fd].path = strdup(path);
    files[fd].id = st.st_ino;
    files[fd].kind = S_ISDIR(st.st_mode)   ? FOLDER
                     : ends(path, "-shm")  ? SHARED_MEMORY
                     : ends(path, ".marks") ? MARKS
                                            : PLAIN;
    if (files[fd].kind == PLAIN) {
        named(existed ? OPEN : CREATE, st.st_ino, path);
        if (existed && (flags & O_TRUNC)) line(CUT, st.st_ino, 0, 0, "", 0);
    }
    return fd;
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (!under(path)) return real_##name(path, flags, mode); \
        pthread_mutex_lock(&lock); \
        int existed = access(path, F_OK) == 0; \
        int fd = track(path, flags, existed, real_##name(path, flags, mode)); \
        int error = errno; \
        pthread_mutex_unlock(&lock); \
        errno = error; \
        return fd; \
    }
OPENING(open)
OPENING(open64)

#define OPENING_AT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (!under(path)) return real_##name(dir, path, flags, mode); \
        pthread_mutex_lock(&lock); \
        int existed = access(path, F_OK) == 0; \
        int fd = track(path, flags, existed, real_##name(dir, path, flags, mode)); \
        int error = errno; \
        pthread_mutex_unlock(&lock); \
        errno = error; \
        return fd; \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

int close(int fd) {
    REAL(int, close, int);
    if (tracked(fd)) {
        pthread_mutex_lock(&lock);
        files[fd].kind = NONE;
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

static void wrote(int fd, const void *bytes, ssize_t length, off_t at) {
    if (length <= 0) return;
    if (files[fd].kind == MARKS) line(MARK, 0, 0, 0, bytes, (size_t)length);
    if (files[fd].kind == PLAIN) line(WRITE, files[fd].id, (uint64_t)at, 0, bytes, (size_t)length);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!tracked(fd)) return real_write(fd, bytes, length);
    pthread_mutex_lock(&lock);
    ssize_t n = real_write(fd, bytes, length);
    int error = errno;
    wrote(fd, bytes, n, n > 0 ? lseek(fd, 0, SEEK_CUR) - n : 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return n;
}

#define WRITING_AT(name, offset) \
    ssize_t name(int fd, const void *bytes, size_t length, offset at) { \
        REAL(ssize_t, name, int, const void *, size_t, offset); \
        if (!tracked(fd)) return real_##name(fd, bytes, length, at); \
        pthread_mutex_lock(&lock); \
        ssize_t n = real_##name(fd, bytes, length, at); \
        int error = errno; \
        wrote(fd, bytes, n, at); \
        pthread_mutex_unlock(&lock); \
        errno = error; \
        return n; \
    }
WRITING_AT(pwrite, off_t)
WRITING_AT(pwrite64, off64_t)

#define CUTTING(name, offset) \
    int name(int fd, offset length) { \
        REAL(int, name, int, offset); \
        if (tracked(fd) != PLAIN) return real_##name(fd, length); \
        pthread_mutex_lock(&lock); \
        int result = real_##name(fd, length); \
        int error = errno; \
        if (!result) line(CUT, files[fd].id, (uint64_t)length, 0, "", 0); \
        pthread_mutex_unlock(&lock); \
        errno = error; \
        return result; \
    }
CUTTING(ftruncate, off_t)
CUTTING(ftruncate64, off64_t)

static int synced(int fd) {
    pthread_mutex_lock(&lock);
    if (files[fd].kind == FOLDER) named(SYNC_DIR, 0, files[fd].path);
    if (files[fd].kind == PLAIN) line(SYNC, files[fd].id, 0, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return tracked(fd) ? synced(fd) : real_fsync(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return tracked(fd) ? synced(fd) : real_fdatasync(fd);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (!under(from) && !under(to)) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    int result = real_rename(from, to);
    int error = errno;
    if (!result) {
        char both[8192];
        const char *a = from + root_length + 1, *b = to + root_length + 1;
        int length = snprintf(both, sizeof both, "%s%c%s", a, 0, b);
        line(RENAME, 0, 0, 0, both, (size_t)length);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!under(path)) return real_unlink(path);
    pthread_mutex_lock(&lock);
    int result = real_unlink(path);
    int error = errno;
    if (!result) named(UNLINK, 0, path);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    if (!under(path)) return real_mkdir(path, mode);
    pthread_mutex_lock(&lock);
    int result = real_mkdir(path, mode);
    int error = errno;
    if (!result) named(MKDIR, 0, path);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* Ways around all of the above: seen, so that the test can say that it proves nothing. */

static void unknown(int fd, const char *what) {
    if (tracked(fd) != PLAIN) return;
    pthread_mutex_lock(&lock);
    line(UNKNOWN, 0, 0, 0, what, strlen(what));
    pthread_mutex_unlock(&lock);
}

#define MAPPING(name, offset) \
    void *name(void *at, size_t length, int protection, int flags, int fd, offset from) { \
        REAL(void *, name, void *, size_t, int, int, int, offset); \
        if ((flags & MAP_SHARED) && (protection & PROT_WRITE)) unknown(fd, #name); \
        return real_##name(at, length, protection, flags, fd, from); \
    }
MAPPING(mmap, off_t)
MAPPING(mmap64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    unknown(fd, "writev");
    return real_writev(fd, parts, count);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    unknown(out, "copy_file_range");
    return real_copy_file_range(in, from, out, to, length, flags);
}

int posix_fallocate(int fd, off_t at, off_t length) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    unknown(fd, "posix_fallocate");
    return real_posix_fallocate(fd, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    REAL(int, fallocate, int, int, off_t, off_t);
    unknown(fd, "fallocate");
    return real_fallocate(fd, mode, at, length);
}
