/* Arrays between two pages that may not be touched.

   Loaded before the C library (LD_PRELOAD), it takes over aligned allocations, which are those XLA and oneDNN make for
   arrays. While the fence is up, each of at least LEAST bytes ends at a page without access and begins behind another:
   who reads or writes beyond it is stopped there. What is left over to the page is filled with a pattern, and looked at
   when the array is freed. Plain malloc is left alone. */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern void *__libc_memalign(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

enum { PAGE = 4096, PATTERN = 0xA5, SLOTS = 1 << 20, MOST = 8000 /* Linux allows a process 65,530 maps */ };

typedef struct {
    uintptr_t array, base; /* array: 0 is a slot never used, 1 is one used before */
    size_t size, total;
} Fenced;

static Fenced *slots;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t lowest = UINTPTR_MAX, highest;
static volatile int up;
static volatile long made, live;
static size_t least;

void fence_up(size_t bytes) { least = bytes; up = 1; }
void fence_down(void) { up = 0; }
long fence_made(void) { return made; }
long fence_live(void) { return live; }

static size_t first_slot(uintptr_t array) { return (array >> 4) * 0x9E3779B97F4A7C15ULL >> 44; }

static void keep(Fenced f) {
    pthread_mutex_lock(&lock);
    if (!slots) slots = mmap(0, SLOTS * sizeof(Fenced), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t i = first_slot(f.array);
    while (slots[i].array > 1) i = (i + 1) % SLOTS;
    slots[i] = f;
    made++, live++;
    if (f.array < lowest) lowest = f.array;
    if (f.array > highest) highest = f.array;
    pthread_mutex_unlock(&lock);
}

static int find(uintptr_t array, Fenced *found, int take) {
    if (array & 15 || array < lowest || array > highest) return 0;
    int there = 0;
    pthread_mutex_lock(&lock);
    for (size_t n = 0, i = first_slot(array); n < SLOTS && slots[i].array; n++, i = (i + 1) % SLOTS) {
        if (slots[i].array != array) continue;
        *found = slots[i], there = 1;
        if (take) slots[i].array = 1, live--;
        break;
    }
    pthread_mutex_unlock(&lock);
    return there;
}

static void *between_pages(size_t alignment, size_t size) {
    size_t body = (size + alignment - 1) / alignment * alignment, pages = (body + PAGE - 1) / PAGE * PAGE;
    size_t total = pages + 2 * PAGE;
    char *base = mmap(0, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return 0;
    if (mprotect(base, PAGE, PROT_NONE) || mprotect(base + PAGE + pages, PAGE, PROT_NONE)) return munmap(base, total), NULL;
    char *array = base + PAGE + pages - body;
    memset(base + PAGE, PATTERN, array - base - PAGE);
    memset(array + size, PATTERN, body - size);
    keep((Fenced){(uintptr_t)array, (uintptr_t)base, size, total});
    return array;
}

static void look(Fenced f, const unsigned char *from, const unsigned char *to, const char *where) {
    for (; from < to; from++)
        if (*from != PATTERN) {
            fprintf(stderr, "fence: written %s an array of %zu bytes\n", where, f.size);
            abort();
        }
}

void free(void *p) {
    Fenced f;
    if (!p) return;
    if (!find((uintptr_t)p, &f, 1)) return __libc_free(p);
    unsigned char *array = p, *base = (unsigned char *)f.base;
    look(f, base + PAGE, array, "before");
    look(f, array + f.size, base + f.total - PAGE, "beyond");
    munmap(base, f.total);
}

void *memalign(size_t alignment, size_t size) {
    if (alignment < 16) alignment = 16;
    void *p = up && size >= least && alignment <= PAGE && live < MOST ? between_pages(alignment, size) : NULL;
    return p ? p : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **to, size_t alignment, size_t size) {
    void *p = memalign(alignment, size);
    return p ? (*to = p, 0) : ENOMEM;
}

void *realloc(void *p, size_t size) {
    Fenced f;
    if (!p || !find((uintptr_t)p, &f, 0)) return __libc_realloc(p, size);
    void *q = malloc(size);
    if (!q) return NULL;
    memcpy(q, p, f.size < size ? f.size : size);
    return free(p), q;
}
