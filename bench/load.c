/* Load on a gateway, from one thread: plain requests or streams, over kept connections.
 *
 * Without --rate each connection asks again as soon as it has its answer. With --rate requests
 * are due at fixed times and latency counts from then, so that a gateway that stalls cannot
 * hide it. Streams are checked for their number of chunks, their usage and their end, and each
 * chunk's time is compared with the one that the fake provider wrote into it.
 * Bounded in time and number; prints one JSON object.
 */
#define _GNU_SOURCE
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONGEST_S 300
#define MOST_CONNECTIONS 20000

/* Counts of durations: 64 buckets for each power of two. */
struct histogram {
    uint64_t count, largest, buckets[64 * 64];
};

static void observe(struct histogram *h, uint64_t ns) {
    int power = ns < 64 ? 5 : 63 - __builtin_clzll(ns);
    h->buckets[ns < 64 ? ns : (uint64_t)(power - 5) * 64 + ((ns >> (power - 6)) & 63)]++;
    h->count++;
    if (ns > h->largest) h->largest = ns;
}

static double quantile_ms(const struct histogram *h, double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)h->count);
    for (int i = 0; i < 64 * 64; i++) {
        seen += h->buckets[i];
        if (seen <= wanted) continue;
        if (i < 64) return i / 1e6;
        int power = i / 64 + 5;
        return (64.5 + i % 64) * (double)(1ull << (power - 6)) / 1e6;
    }
    return (double)h->largest / 1e6;
}

static void print_histogram(const char *name, const struct histogram *h) {
    printf(", \"%s\": {\"count\": %llu, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}",
           name, (unsigned long long)h->count, quantile_ms(h, .5), quantile_ms(h, .9),
           quantile_ms(h, .99), (double)h->largest / 1e6);
}

enum state { IDLE, SENDING, HEAD, BODY };
enum part { SIZE, DATA, DATA_END, TRAILER };

struct client {
    int fd;
    enum state state;
    size_t sent;
    uint64_t due;
    /* the answer */
    struct buffer head;
    int status;
    bool closes, chunked;
    uint64_t left;                  /* bytes of the body, or of this piece of it */
    enum part part;
    size_t line;                    /* characters of this line of the framing */
    /* what was found in it */
    bool in_mark, done, usage;
    int digits, done_matched, usage_matched;
    uint64_t mark, chunks;
};

static int poll_fd, port, connections = 64;
static bool streams;
static double seconds = 10, grace = 30, ramp, rate;
static uint64_t limit, expected_chunks, begun, ok, failed, bad_streams, chunks_seen;
static uint64_t start, deadline, ended;
static struct buffer request;
/* Those without a request, the longest idle first: a ring. */
static struct client **idle;
static int first_idle, idle_count;
static struct histogram latency, first_chunk, added;
static char complaint[300];
/* What is asked for, and what a stream's end is known by. */
static const char *path = "/v1/chat/completions", *end_word = "[DONE]";

static void complain(const char *text, size_t length) {
    if (complaint[0]) return;
    for (size_t i = 0; i < length && i + 1 < sizeof complaint; i++)
        complaint[i] = text[i] < ' ' || text[i] == '"' || text[i] == '\\' ? ' ' : text[i];
}

static void disconnect(struct client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void watch(struct client *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poll_fd, operation, c->fd, &event);
}

static void rest(struct client *c) {
    c->state = IDLE;
    idle[(first_idle + idle_count++) % connections] = c;
}

static struct client *longest_idle(void) {
    struct client *c = idle[first_idle];
    first_idle = (first_idle + 1) % connections;
    idle_count--;
    return c;
}

static bool is_good_stream(const struct client *c) {
    return c->done && c->usage && c->chunks == expected_chunks;
}

static void finish(struct client *c, bool answered) {
    ended = now();
    if (answered && c->status == 200) {
        ok++;
        observe(&latency, ended - c->due);
        if (streams && !is_good_stream(c)) bad_streams++;
    } else {
        failed++;
        complain(c->head.length ? c->head.data : "no answer", c->head.length ? c->head.length : 9);
    }
    if (c->closes || !answered) disconnect(c);
    rest(c);
}

static void send_request(struct client *c) {
    while (c->sent < request.length) {
        ssize_t n = send(c->fd, request.data + c->sent, request.length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            finish(c, false);
            return;
        }
        c->sent += (size_t)n;
    }
    c->state = HEAD;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void open_connection(struct client *c) {
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (struct sockaddr *)&to, sizeof to);
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void begin(struct client *c, uint64_t due) {
    struct client fresh = {.fd = c->fd, .state = SENDING, .due = due, .head = c->head};
    fresh.head.length = 0;
    *c = fresh;
    begun++;
    if (c->fd < 0) {
        open_connection(c);
        return;
    }
    send_request(c);
    if (c->state == SENDING) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void saw_chunk(struct client *c, uint64_t time) {
    c->chunks++;
    chunks_seen++;
    observe(&added, time > c->mark ? time - c->mark : 0);
    if (c->chunks == 1) observe(&first_chunk, time - c->due);
}

static void look_for_mark(struct client *c, char byte, uint64_t time) {
    if (c->in_mark && byte >= '0' && byte <= '9') {
        c->mark = c->mark * 10 + (uint64_t)(byte - '0');
        c->digits++;
        return;
    }
    if (c->in_mark && c->digits > 8) saw_chunk(c, time);
    c->in_mark = byte == '@';
    c->mark = 0;
    c->digits = 0;
}

/* Returns whether `word` is complete with this byte; `matched` counts what of it was seen. */
static bool matches(const char *word, int *matched, char byte) {
    *matched = byte == word[*matched] ? *matched + 1 : byte == word[0];
    if (word[*matched]) return false;
    *matched = 0;
    return true;
}

static void look_at(struct client *c, const char *bytes, size_t length, uint64_t time) {
    if (!streams) return;
    for (size_t i = 0; i < length; i++) {
        look_for_mark(c, bytes[i], time);
        if (matches(end_word, &c->done_matched, bytes[i])) c->done = true;
        if (bytes[i] != ' ' && matches("\"usage\":{", &c->usage_matched, bytes[i])) c->usage = true;
    }
}

/* One byte of the framing between pieces. Returns whether the answer is complete. */
static bool read_framing(struct client *c, char byte) {
    if (byte != '\n') {
        if (byte == '\r') return false;
        if (c->part == SIZE) {
            int digit = byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;
            c->left = c->left * 16 + (uint64_t)digit;
        }
        c->line++;
        return false;
    }
    bool is_end = c->part == TRAILER && !c->line;
    if (c->part == SIZE) c->part = c->left ? DATA : TRAILER;
    else if (c->part == DATA_END) c->part = SIZE;
    c->line = 0;
    return is_end;
}

/* Returns whether the answer is complete. */
static bool read_pieces(struct client *c, const char *bytes, size_t length, uint64_t time) {
    for (size_t i = 0; i < length;) {
        if (c->part != DATA) {
            if (read_framing(c, bytes[i++])) return true;
            continue;
        }
        size_t n = length - i < c->left ? length - i : c->left;
        look_at(c, bytes + i, n, time);
        c->left -= n;
        i += n;
        if (!c->left) c->part = DATA_END;
    }
    return false;
}

static bool read_body(struct client *c, const char *bytes, size_t length, uint64_t time) {
    if (c->status != 200) complain(bytes, length);
    if (c->chunked) return read_pieces(c, bytes, length, time);
    look_at(c, bytes, length, time);
    c->left -= length < c->left ? length : c->left;
    return !c->left;
}

static void understand_head(struct client *c) {
    const char *head = c->head.data, *length = strcasestr(head, "\r\ncontent-length:");
    c->status = atoi(head + sizeof "HTTP/1.1");
    c->chunked = strcasestr(head, "\r\ntransfer-encoding: chunked");
    c->closes = strcasestr(head, "\r\nconnection: close");
    if (length) c->left = strtoull(length + 17, NULL, 10);
    else if (!c->chunked) c->left = UINT64_MAX;
    c->state = BODY;
}

static bool read_answer(struct client *c, const char *bytes, size_t length) {
    uint64_t time = now();
    if (c->state == BODY) return read_body(c, bytes, length, time);
    size_t before = c->head.length;
    append(&c->head, bytes, length);
    c->head.data[c->head.length] = 0;
    char *end = strstr(c->head.data, "\r\n\r\n");
    if (!end) return false;
    *end = 0;
    c->head.length = (size_t)(end - c->head.data);
    understand_head(c);
    size_t used = c->head.length + 4 - before;
    return read_body(c, bytes + used, length - used, time);
}

static void receive(struct client *c) {
    static char bytes[256 << 10];
    while (c->fd >= 0) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (c->state == IDLE) {
            disconnect(c);
            return;
        }
        if (n <= 0) {
            c->closes = true;
            finish(c, !n && c->state == BODY && c->left > UINT64_MAX / 2);
            return;
        }
        if (read_answer(c, bytes, (size_t)n)) {
            finish(c, true);
            return;
        }
        if ((size_t)n < sizeof bytes) return;
    }
}

/* When the next request is due: at a fixed time, staggered at the start, or at once. */
static uint64_t next_due(void) {
    if (rate > 0) return start + (uint64_t)((double)begun / rate * SECOND);
    if (begun < (uint64_t)connections)
        return start + (uint64_t)(ramp * (double)begun / connections * SECOND);
    return now();
}

static bool may_begin(void) {
    return idle_count && begun < limit && (rate > 0 || now() < deadline);
}

static uint64_t begin_due(void) {
    while (may_begin()) {
        uint64_t due = next_due(), time = now();
        if (due > time) return due - time;
        begin(longest_idle(), due);
    }
    return SECOND / 10;
}

static bool is_over(void) {
    uint64_t time = now();
    if (time > deadline + (uint64_t)(grace * SECOND)) return true;
    return idle_count == connections && (begun >= limit || (rate <= 0 && time >= deadline));
}

static void run(void) {
    struct epoll_event events[1024];
    start = now();
    deadline = start + (uint64_t)(seconds * SECOND);
    while (!is_over()) {
        uint64_t wait = begin_due();
        struct timespec time = {(time_t)(wait / SECOND), (long)(wait % SECOND)};
        int n = epoll_pwait2(poll_fd, events, 1024, &time, NULL);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->state == SENDING && events[i].events & (EPOLLOUT | EPOLLERR)) send_request(c);
            if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT) receive(c);
        }
    }
}

static void print_results(void) {
    double took = (double)((ended ? ended : now()) - start) / SECOND;
    printf("{\"sent\": %llu, \"ok\": %llu, \"failed\": %llu, \"unfinished\": %d, \"seconds\": %.3f",
           (unsigned long long)begun, (unsigned long long)ok, (unsigned long long)failed,
           connections - idle_count, took);
    print_histogram("latency_ms", &latency);
    if (streams) {
        printf(", \"chunks\": %llu, \"bad_streams\": %llu", (unsigned long long)chunks_seen,
               (unsigned long long)bad_streams);
        print_histogram("first_chunk_ms", &first_chunk);
        print_histogram("added_ms", &added);
    }
    printf(", \"complaint\": \"%s\"}\n", complaint);
}

static void make_request(const char *headers, const char *file) {
    struct buffer body = {0};
    FILE *from = fopen(file, "rb");
    if (!from) {
        perror(file);
        exit(2);
    }
    for (size_t n; (n = fread(reserve(&body, 4096), 1, 4096, from));) body.length += n;
    fclose(from);
    size_t room = strlen(headers) + strlen(path) + 256;
    request.length = (size_t)snprintf(reserve(&request, room), room,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n%s\r\n", path, port, body.length, headers);
    append(&request, body.data, body.length);
}

static const struct option options[] = {
    {"port", 1, 0, 'p'}, {"body", 1, 0, 'b'}, {"header", 1, 0, 'h'}, {"connections", 1, 0, 'c'},
    {"seconds", 1, 0, 's'}, {"grace", 1, 0, 'g'}, {"requests", 1, 0, 'n'}, {"rate", 1, 0, 'r'},
    {"ramp", 1, 0, 'a'}, {"stream", 1, 0, 'k'},
    {"path", 1, 0, 'u'}, {"end", 1, 0, 'e'}, {0, 0, 0, 0}};

int main(int argc, char **argv) {
    static char headers[4096];
    const char *body = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'b': body = optarg; break;
        case 'h': strncat(strncat(headers, optarg, 1000), "\r\n", 3); break;
        case 'c': connections = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'g': grace = atof(optarg); break;
        case 'n': limit = strtoull(optarg, NULL, 10); break;
        case 'r': rate = atof(optarg); break;
        case 'a': ramp = atof(optarg); break;
        case 'k': streams = true; expected_chunks = strtoull(optarg, NULL, 10); break;
        case 'u': path = optarg; break;
        case 'e': end_word = optarg; break;
        default: return 2;
    }
    if (!port || !body || seconds > LONGEST_S || connections > MOST_CONNECTIONS) {
        fprintf(stderr, "usage: load --port N --body FILE [--header 'Name: value'] [--connections N]\n"
                "  [--seconds S] [--grace S] [--requests N] [--rate N] [--ramp S] [--stream CHUNKS]\n"
                "  [--path PATH] [--end WORD]\n");
        return 2;
    }
    if (!limit) limit = rate > 0 ? (uint64_t)(rate * seconds) : UINT64_MAX;
    make_request(headers, body);
    poll_fd = epoll_create1(0);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    idle = calloc((size_t)connections, sizeof *idle);
    for (int i = 0; i < connections; i++) {
        clients[i].fd = -1;
        rest(&clients[i]);
    }
    run();
    print_results();
    return 0;
}
