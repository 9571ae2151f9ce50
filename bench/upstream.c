/* A fake provider of chat completions, cheap enough never to be a gateway's bottleneck.
 *
 *   POST .../chat/completions   plain JSON, or a stream if the body says "stream": true
 *   GET /set?chunks=100&interval_ms=100&bytes=1024
 *   GET /stats                  {"requests": 1, "chunks": 100}
 *   GET anything else           {"ok": true}
 *
 * A stream sends a chunk each `interval_ms`; with 0, back to back with one write for each.
 * Each content chunk holds "@" and the monotonic nanosecond of its writing, from which the
 * load generator on the same machine knows what the gateway added to it.
 */
#define _GNU_SOURCE
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST_REQUEST (16u << 20)
#define SLOW_READER (256u << 10)
#define CHUNK "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000," \
    "\"model\":\"bench\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[%s]%s}"
#define USAGE "\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":%d,\"total_tokens\":%d," \
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0}," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0," \
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}"

struct connection {
    int fd;                     /* -1: closed, but still in the queue of streams */
    bool streaming, wants_usage, waits_to_write;
    int sent_chunks;
    uint64_t due;
    size_t written;
    struct buffer in, out;
    struct connection *next;
};

static int poll_fd, chunks = 100, interval_ms = 0, bytes = 1024;
static unsigned long long requests_seen, chunks_sent;
static volatile sig_atomic_t stopping;

/* Streams, in the order in which they are due: as all have the same interval, that is the
 * order in which they were served, and new ones before all others. */
static struct connection *first, **last = &first;
static size_t queued;

static void enqueue_first(struct connection *c) {
    c->next = first;
    if (!first) last = &c->next;
    first = c;
    queued++;
}

static void enqueue(struct connection *c) {
    c->next = NULL;
    *last = c;
    last = &c->next;
    queued++;
}

static struct connection *dequeue(void) {
    struct connection *c = first;
    first = c->next;
    if (!first) last = &first;
    queued--;
    return c;
}

static void release(struct connection *c) {
    free(c->in.data);
    free(c->out.data);
    free(c);
}

static void hang_up(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    if (!c->streaming) release(c);
}

static void watch(struct connection *c, bool for_writing) {
    if (c->waits_to_write == for_writing) return;
    c->waits_to_write = for_writing;
    struct epoll_event event = {.events = EPOLLIN | (for_writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Returns false if the connection is gone. */
static bool flush(struct connection *c) {
    while (c->written < c->out.length) {
        ssize_t n = send(c->fd, c->out.data + c->written, c->out.length - c->written, MSG_NOSIGNAL);
        if (n > 0) {
            c->written += (size_t)n;
        } else if (errno == EAGAIN) {
            watch(c, true);
            return true;
        } else {
            hang_up(c);
            return false;
        }
    }
    c->out.length = c->written = 0;
    watch(c, false);
    return true;
}

static void send_json(struct connection *c, const char *body, size_t length) {
    char head[128];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n", length);
    append(&c->out, head, (size_t)n);
    append(&c->out, body, length);
}

static void send_plain_answer(struct connection *c) {
    static const char words[] = "The quick brown fox jumps over the lazy dog. ";
    static struct buffer body;
    char text[1024];
    int n = snprintf(text, sizeof text, "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\","
                     "\"created\":1700000000,\"model\":\"bench\"," USAGE ",\"choices\":[{\"index\":0,"
                     "\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\"content\":\"", 128, 152);
    body.length = 0;
    append(&body, text, (size_t)n);
    while (body.length < (size_t)bytes) append(&body, words, sizeof words - 1);
    append(&body, "\"}}]}", 5);
    send_json(c, body.data, body.length);
}

static void send_chunk(struct connection *c, const char *choice, const char *usage) {
    char json[1024], head[16];
    int n = snprintf(json, sizeof json, CHUNK, choice, usage);
    append(&c->out, head, (size_t)snprintf(head, sizeof head, "%x\r\ndata: ", n + 8));
    append(&c->out, json, (size_t)n);
    append(&c->out, "\n\n\r\n", 4);
}

static void send_start(struct connection *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    append(&c->out, head, sizeof head - 1);
    send_chunk(c, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
               "\"logprobs\":null,\"finish_reason\":null}", "");
}

static void send_content(struct connection *c) {
    char choice[192];
    snprintf(choice, sizeof choice, "{\"index\":0,\"delta\":{\"content\":\" tok%d @%llu \"},"
             "\"logprobs\":null,\"finish_reason\":null}", c->sent_chunks, (unsigned long long)now());
    send_chunk(c, choice, c->wants_usage ? ",\"usage\":null" : "");
    c->sent_chunks++;
    chunks_sent++;
}

static void send_end(struct connection *c) {
    static const char end[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    char usage[512];
    send_chunk(c, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}", "");
    snprintf(usage, sizeof usage, "," USAGE, c->sent_chunks, c->sent_chunks + 24);
    if (c->wants_usage) send_chunk(c, "", usage);
    append(&c->out, end, sizeof end - 1);
}

static bool says_true(const char *json, const char *name) {
    for (const char *at = strstr(json, name); at; at = strstr(at, name)) {
        at += strlen(name);
        at += strspn(at, " :");
        if (!strncmp(at, "true", 4)) return true;
    }
    return false;
}

static void set(const char *query, const char *name, int *value) {
    const char *at = strstr(query, name);
    if (at) *value = atoi(at + strlen(name));
}

static void answer_get(struct connection *c, const char *request) {
    char json[128] = "{\"ok\": true}";
    if (!strncmp(request, "GET /set?", 9)) {
        set(request, "chunks=", &chunks);
        set(request, "interval_ms=", &interval_ms);
        set(request, "bytes=", &bytes);
    } else if (!strncmp(request, "GET /stats ", 11)) {
        snprintf(json, sizeof json, "{\"requests\": %llu, \"chunks\": %llu}", requests_seen, chunks_sent);
    }
    send_json(c, json, strlen(json));
}

static void answer(struct connection *c, const char *request, const char *body) {
    if (!strncmp(request, "GET ", 4)) {
        answer_get(c, request);
        return;
    }
    requests_seen++;
    if (!says_true(body, "\"stream\"")) {
        send_plain_answer(c);
        return;
    }
    c->streaming = true;
    c->wants_usage = says_true(body, "\"include_usage\"");
    c->sent_chunks = 0;
    c->due = now();
    send_start(c);
    enqueue_first(c);
}

/* The length of the first whole request in the buffer; 0 if it is not all there. */
static size_t whole_request(struct connection *c, char **body) {
    char *end = c->in.length ? strstr(c->in.data, "\r\n\r\n") : NULL;
    if (!end) return 0;
    *body = end + 4;
    char *length = strcasestr(c->in.data, "\r\ncontent-length:");
    size_t total = (size_t)(*body - c->in.data);
    if (length && length < end) total += strtoul(length + 17, NULL, 10);
    return c->in.length < total ? 0 : total;
}

static void answer_all(struct connection *c) {
    size_t length;
    char *body;
    while (!c->streaming && (length = whole_request(c, &body))) {
        char kept = c->in.data[length];
        c->in.data[length] = 0;
        answer(c, c->in.data, body);
        c->in.data[length] = kept;
        drop(&c->in, length);
        c->in.data[c->in.length] = 0;
    }
    if (!c->streaming) flush(c);
}

static void receive(struct connection *c) {
    for (;;) {
        size_t room = 16384;
        ssize_t n = recv(c->fd, reserve(&c->in, room), room, 0);
        if (n > 0) {
            c->in.length += (size_t)n;
            c->in.data[c->in.length] = 0;
            if ((size_t)n < room) break;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else {
            hang_up(c);
            return;
        }
        if (c->in.length > LARGEST_REQUEST) {
            hang_up(c);
            return;
        }
    }
    answer_all(c);
}

static void continue_stream(struct connection *c) {
    if (c->out.length > SLOW_READER) {
        c->due = now() + SECOND / 1000;
        enqueue(c);
        return;
    }
    send_content(c);
    if (c->sent_chunks < chunks) {
        c->due += (uint64_t)interval_ms * (SECOND / 1000);
        enqueue(c);
        flush(c);
    } else {
        send_end(c);
        c->streaming = false;
        answer_all(c);
    }
}

static void continue_streams(void) {
    uint64_t time = now();
    for (size_t left = queued; left && first->due <= time; left--) {
        struct connection *c = dequeue();
        if (c->fd < 0) release(c);
        else continue_stream(c);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

static void wait_and_serve(int listener) {
    struct epoll_event events[512];
    uint64_t time = now(), wait = first && first->due > time ? first->due - time : 0;
    struct timespec limit = {(time_t)(wait / SECOND), (long)(wait % SECOND)};
    int n = epoll_pwait2(poll_fd, events, 512, first ? &limit : NULL, NULL);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c) accept_all(listener);
        else if (events[i].events & EPOLLOUT) flush(c);
        else receive(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: upstream PORT\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    poll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    while (!stopping) {
        wait_and_serve(listener);
        continue_streams();
    }
    return 0;
}
