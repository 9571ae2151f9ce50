/* What the fake provider and the load generator share: a clock, and a buffer that grows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND 1000000000ull

struct buffer {
    char *data;
    size_t length, capacity;
};

static inline uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* Room for `more` bytes and a final NUL. */
static inline char *reserve(struct buffer *buffer, size_t more) {
    if (buffer->length + more + 1 > buffer->capacity) {
        buffer->capacity = 2 * (buffer->length + more + 1);
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (!buffer->data) abort();
    }
    return buffer->data + buffer->length;
}

static inline void append(struct buffer *buffer, const char *bytes, size_t length) {
    memcpy(reserve(buffer, length), bytes, length);
    buffer->length += length;
}

static inline void drop(struct buffer *buffer, size_t length) {
    buffer->length -= length;
    memmove(buffer->data, buffer->data + length, buffer->length);
}
