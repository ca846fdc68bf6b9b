/* A long fat pipe between two network namespaces, for kernels without netem.

   longpipe DELAY_US BITS_PER_SECOND LOSS QUEUE_BYTES SEED

   makes two namespaces with a TUN device `pipe` in each and carries IPv4 packets from one to the other: every packet
   waits for the link's rate behind a queue of so many bytes (what does not fit is dropped), then for the one-way delay.
   Each segment is lost with probability LOSS, both ways, from a seeded generator. It writes `PID FD FD` when it is
   ready (/proc/PID/fd/FD are the namespaces), and goes with them when its stdin ends: there is nothing to clean up.

   TCP hands over up to 64 KiB at once (TSO: a virtio-net header says how long the segments are). They are carried like
   that, which is why a gigabit costs a small part of a core; where segments of such a packet are lost, the runs between
   are cut out and sent on as packets of their own, so that what TCP sees is the loss of single segments.

   Sources: Linux Documentation/networking/tuntap.rst; struct virtio_net_hdr in the VIRTIO specification, 5.1.6;
   RFC 791, RFC 9293 for the headers. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <math.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 70000, MOST_AT_ONCE = 32, RING_BYTES = 32 << 20, FIN = 1, PSH = 8, CWR = 128 };

struct rules {
    uint64_t delay_ns;
    double ns_per_byte;
    double loss;
    double queue_bytes;
};

struct record {
    uint64_t due_ns;
    uint32_t n_bytes; /* 0: the ring goes on at its beginning */
};

struct direction {
    int from, to;
    uint64_t random;
    uint64_t until_loss; /* segments that pass before the next one is lost */
    uint64_t free_ns;    /* when the link has sent all that it was given */
    char *ring;
    size_t head, tail; /* records are read at head and written at tail */
    uint64_t carried, lost, overflowed, refused;
};

struct packet {
    struct virtio_net_hdr how;
    char bytes[MOST_BYTES];
} __attribute__((packed));

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64: enough for a coin */
static double uniform(struct direction *d) {
    uint64_t z = (d->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void draw_next_loss(struct direction *d, const struct rules *r) {
    d->until_loss = r->loss > 0 ? (uint64_t)(log1p(-uniform(d)) / log1p(-r->loss)) : UINT64_MAX;
}

static int is_lost(struct direction *d, const struct rules *r) {
    if (d->until_loss-- > 0)
        return 0;
    draw_next_loss(d, r);
    d->lost++;
    return 1;
}

/* Room for a record of n_bytes at the tail, or NULL. One byte always stays free, so that full is not empty. */
static struct record *room(struct direction *d, size_t n_bytes) {
    size_t need = (sizeof(struct record) + n_bytes + 7) & ~(size_t)7;
    size_t end_needed = need + sizeof(struct record);
    if (d->tail >= d->head && d->tail + end_needed > RING_BYTES) {
        if (need >= d->head)
            return NULL;
        ((struct record *)(d->ring + d->tail))->n_bytes = 0;
        d->tail = 0;
    } else if (d->tail < d->head && d->tail + need >= d->head) {
        return NULL;
    }
    struct record *made = (struct record *)(d->ring + d->tail);
    made->n_bytes = (uint32_t)n_bytes;
    d->tail += need;
    return made;
}

static struct record *first(struct direction *d) {
    if (d->head == d->tail)
        return NULL;
    struct record *found = (struct record *)(d->ring + d->head);
    if (found->n_bytes == 0) {
        d->head = 0;
        return d->head == d->tail ? NULL : (struct record *)d->ring;
    }
    return found;
}

static uint32_t sum16(const void *data, size_t n_bytes, uint32_t sum) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i + 1 < n_bytes; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    return sum;
}

static uint16_t folded(uint32_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)sum);
}

/* Put a packet on the link: it arrives when its last byte has been sent, one delay later. */
static void send_on(struct direction *d, const struct rules *r, const struct packet *p, size_t n_bytes, uint64_t ns) {
    struct record *record = room(d, sizeof p->how + n_bytes);
    if (record == NULL) {
        d->overflowed++;
        return;
    }
    d->free_ns += ns;
    record->due_ns = d->free_ns + r->delay_ns;
    memcpy(record + 1, p, sizeof p->how + n_bytes);
    d->carried++;
}

/* Segments a to b (without b) of a TSO packet become a packet of their own. */
static void send_part(struct direction *d, const struct rules *r, const struct packet *whole, size_t n_bytes,
                      size_t headers, unsigned a, unsigned b, unsigned segments, uint64_t ns) {
    static struct packet part;
    size_t size = whole->how.gso_size, begin = headers + a * size;
    size_t end = b == segments ? n_bytes : headers + b * size;
    size_t length = headers + end - begin;
    part.how = whole->how;
    memcpy(part.bytes, whole->bytes, headers);
    memcpy(part.bytes + headers, whole->bytes + begin, end - begin);
    struct iphdr *ip = (struct iphdr *)part.bytes;
    struct tcphdr *tcp = (struct tcphdr *)(part.bytes + ip->ihl * 4u);
    ip->tot_len = htons((uint16_t)length);
    ip->id = htons((uint16_t)(ntohs(ip->id) + a));
    ip->check = 0;
    ip->check = (uint16_t)~folded(sum16(ip, ip->ihl * 4u, 0));
    tcp->seq = htonl(ntohl(tcp->seq) + (uint32_t)(a * size));
    if (b != segments)
        ((uint8_t *)tcp)[13] &= 0xff ^ (FIN | PSH); /* they belong to the last segment */
    if (a != 0)
        ((uint8_t *)tcp)[13] &= 0xff ^ CWR; /* and this to the first */
    /* the checksum is left to the receiver's device: here stands the sum of the pseudo header alone */
    uint32_t sum = sum16(&ip->saddr, 8, IPPROTO_TCP + (uint32_t)(length - ip->ihl * 4u));
    tcp->check = folded(sum);
    if (b - a == 1) {
        part.how.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        part.how.gso_size = 0;
    }
    send_on(d, r, &part, length, ns);
}

static void carry(struct direction *d, const struct rules *r, const struct packet *p, size_t n_bytes, uint64_t now) {
    const struct iphdr *ip = (const struct iphdr *)p->bytes;
    if (n_bytes < sizeof *ip || ip->version != 4)
        return;
    size_t headers = n_bytes, size = 0;
    unsigned segments = 1;
    if (p->how.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        const struct tcphdr *tcp = (const struct tcphdr *)(p->bytes + ip->ihl * 4u);
        size = p->how.gso_size;
        headers = ip->ihl * 4u + tcp->doff * 4u;
        segments = (unsigned)((n_bytes - headers + size - 1) / size);
    }
    if (d->free_ns < now)
        d->free_ns = now;
    double waiting = (double)(d->free_ns - now) / r->ns_per_byte;
    uint64_t one_ns = (uint64_t)((double)(headers + size) * r->ns_per_byte);
    unsigned run = 0; /* the first segment that has not been sent on */
    for (unsigned i = 0; i <= segments; i++) {
        int full = i < segments && waiting + (double)(headers + size) * (i + 1) > r->queue_bytes;
        int gone = i == segments || full || is_lost(d, r);
        d->overflowed += (uint64_t)full;
        if (!gone)
            continue;
        if (run == 0 && i == segments)
            send_on(d, r, p, n_bytes, one_ns * segments);
        else if (i > run)
            send_part(d, r, p, n_bytes, headers, run, i, segments, one_ns * (i - run));
        if (i < segments && !full)
            d->free_ns += one_ns; /* it was sent, and lost on the way */
        run = i + 1;
    }
}

static int take_in(struct direction *d, const struct rules *r) {
    static struct packet packet;
    uint64_t now = now_ns();
    int taken = 0;
    for (; taken < MOST_AT_ONCE; taken++) {
        ssize_t got = read(d->from, &packet, sizeof packet);
        if (got < (ssize_t)sizeof packet.how)
            break;
        carry(d, r, &packet, (size_t)got - sizeof packet.how, now);
    }
    return taken;
}

/* Hand over what is due; when the next is due, or UINT64_MAX. */
static uint64_t hand_over(struct direction *d) {
    uint64_t now = now_ns();
    struct record *record;
    while ((record = first(d)) != NULL && record->due_ns <= now) {
        if (write(d->to, record + 1, record->n_bytes) < 0)
            d->refused++;
        d->head += (sizeof *record + record->n_bytes + 7) & ~(size_t)7;
    }
    return record ? record->due_ns : UINT64_MAX;
}

static int tun_in_new_namespace(int *namespace) {
    if (unshare(CLONE_NEWNET) < 0)
        fail("unshare");
    *namespace = open("/proc/self/ns/net", O_RDONLY);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(wanted.ifr_name, "pipe");
    if (tun < 0 || ioctl(tun, TUNSETIFF, &wanted) < 0)
        fail("/dev/net/tun");
    if (ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
        fail("TUNSETOFFLOAD");
    return tun;
}

static void carry_on(struct direction way[2], const struct rules *rules) {
    struct pollfd polled[3] = {{way[0].from, POLLIN, 0}, {way[1].from, POLLIN, 0}, {0, POLLIN, 0}};
    for (;;) {
        uint64_t due = hand_over(&way[0]), other = hand_over(&way[1]), now = now_ns();
        int busy = take_in(&way[0], rules) + take_in(&way[1], rules);
        if (busy)
            continue;
        due = due < other ? due : other;
        uint64_t wait = due == UINT64_MAX ? 1000000000u : due > now ? due - now : 0;
        struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        ppoll(polled, 3, &timeout, NULL);
        if (polled[2].revents)
            return;
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fputs("longpipe DELAY_US BITS_PER_SECOND LOSS QUEUE_BYTES SEED\n", stderr);
        return 2;
    }
    struct rules rules = {
        .delay_ns = strtoull(argv[1], NULL, 10) * 1000,
        .ns_per_byte = 8e9 / strtod(argv[2], NULL),
        .loss = strtod(argv[3], NULL),
        .queue_bytes = strtod(argv[4], NULL),
    };
    int namespace[2], tun[2];
    struct direction way[2] = {{0}, {0}};
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < 2; i++)
        tun[i] = tun_in_new_namespace(&namespace[i]);
    for (int i = 0; i < 2; i++) {
        way[i].from = tun[i];
        way[i].to = tun[1 - i];
        way[i].random = strtoull(argv[5], NULL, 10) * 2 + (unsigned)i;
        if ((way[i].ring = malloc(RING_BYTES)) == NULL)
            fail("malloc");
        draw_next_loss(&way[i], &rules);
    }
    printf("%d %d %d\n", getpid(), namespace[0], namespace[1]);
    fflush(stdout);
    carry_on(way, &rules);
    for (int i = 0; i < 2; i++)
        fprintf(stderr, "%s: %llu packets carried, %llu segments lost, %llu overflowed, %llu refused\n",
                i ? "back" : "there", (unsigned long long)way[i].carried, (unsigned long long)way[i].lost,
                (unsigned long long)way[i].overflowed, (unsigned long long)way[i].refused);
    return 0;
}
