/*
 * Proof-of-work search: the number whose decimal digits, appended to a seed, have a given SHA-256
 * (FIPS 180-4).
 *
 * LANES numbers are hashed in parallel, one per lane of a vector. The vector extensions of GCC and
 * Clang compile to AVX-512, AVX2, SSE2, NEON or scalar code; with glibc on x86-64 the widest set of
 * the CPU is selected when the library is loaded (target_clones).
 */
#include <stdint.h>
#include <string.h>

#define LANES 16
#define LIMIT_MAX 99999999L /* its digits and the padding fit two blocks */
#define BLOCK 64

typedef uint32_t vec __attribute__((vector_size(4 * LANES)));

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#define ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

#define ROUND(a, b, c, d, e, f, g, h, i)                                                       \
    do {                                                                                       \
        vec t = h + (ROTR(e, 6) ^ ROTR(e, 11) ^ ROTR(e, 25)) + (g ^ (e & (f ^ g))) + K[i] +    \
                w[(i) & 15];                                                                   \
        d += t;                                                                                \
        h = t + (ROTR(a, 2) ^ ROTR(a, 13) ^ ROTR(a, 22)) + ((a & b) | (c & (a | b)));          \
    } while (0)

#define SCHEDULE(i)                                                                            \
    do {                                                                                       \
        vec x = w[((i) + 1) & 15], y = w[((i) + 14) & 15];                                     \
        w[(i) & 15] += w[((i) + 9) & 15] + (ROTR(x, 7) ^ ROTR(x, 18) ^ (x >> 3)) +             \
                       (ROTR(y, 17) ^ ROTR(y, 19) ^ (y >> 10));                                \
    } while (0)

static inline __attribute__((always_inline)) void compress(vec state[8], vec w[16])
{
    vec a = state[0], b = state[1], c = state[2], d = state[3];
    vec e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i += 8) {
        if (i >= 16)
            for (int j = 0; j < 8; j++)
                SCHEDULE(i + j);
        ROUND(a, b, c, d, e, f, g, h, i);
        ROUND(h, a, b, c, d, e, f, g, i + 1);
        ROUND(g, h, a, b, c, d, e, f, i + 2);
        ROUND(f, g, h, a, b, c, d, e, i + 3);
        ROUND(e, f, g, h, a, b, c, d, i + 4);
        ROUND(d, e, f, g, h, a, b, c, i + 5);
        ROUND(c, d, e, f, g, h, a, b, i + 6);
        ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Try `first` to `first + count - 1`, all of `digits` digits; return the number, -1: none. */
WIDEST
static long try_some(const unsigned char *tail, unsigned tail_bytes, uint64_t seed_bytes,
                     const uint32_t middle[8], const uint32_t wanted[8], long first, int count,
                     int digits)
{
    unsigned char block[2 * BLOCK] = {0};
    unsigned end = tail_bytes + digits, blocks = end + 9 > BLOCK ? 2 : 1;
    vec state[8], w[2 * 16];
    long rest = first;

    memcpy(block, tail, tail_bytes);
    block[end] = 0x80;
    for (int i = 0; i < 8; i++)
        block[blocks * BLOCK - 1 - i] = (unsigned char)((seed_bytes + digits) * 8 >> 8 * i);
    for (unsigned i = 0; i < blocks * 16; i++)
        w[i] = big_endian(block + 4 * i) + (vec){0};
    for (int i = digits - 1; i >= 0; i--, rest /= 10)
        block[tail_bytes + i] = (unsigned char)('0' + rest % 10);
    for (int lane = 0; lane < LANES; lane++) {
        for (unsigned i = tail_bytes / 4; i <= (end - 1) / 4; i++)
            w[i][lane] = big_endian(block + 4 * i);
        for (int i = (int)end - 1; i >= (int)tail_bytes && ++block[i] > '9'; i--)
            block[i] = '0';
    }
    for (int i = 0; i < 8; i++)
        state[i] = middle[i] + (vec){0};
    compress(state, w);
    if (blocks == 2)
        compress(state, w + 16);
    for (int lane = 0; lane < count; lane++) {
        int i = 0;
        while (i < 8 && state[i][lane] == wanted[i])
            i++;
        if (i == 8)
            return first + lane;
    }
    return -1;
}

/* Hash a whole block of the seed, alike in all lanes. */
static void absorb(uint32_t middle[8], const unsigned char *block)
{
    vec state[8], w[16];

    for (int i = 0; i < 8; i++)
        state[i] = middle[i] + (vec){0};
    for (int i = 0; i < 16; i++)
        w[i] = big_endian(block + 4 * i) + (vec){0};
    compress(state, w);
    for (int i = 0; i < 8; i++)
        middle[i] = state[i][0];
}

/* Search from 0 to `limit`; return the number, -1: none. */
long find_number(const unsigned char *seed, uint64_t seed_bytes, const unsigned char *digest,
                 long limit)
{
    uint32_t middle[8], wanted[8];
    uint64_t done = 0;
    long first = 0;

    if (limit > LIMIT_MAX)
        limit = LIMIT_MAX;
    memcpy(middle, START, sizeof middle);
    for (; done + BLOCK <= seed_bytes; done += BLOCK)
        absorb(middle, seed + done);
    for (int i = 0; i < 8; i++)
        wanted[i] = big_endian(digest + 4 * i);
    for (int digits = 1, end = 10; first <= limit; digits++, end *= 10)
        for (; first < end && first <= limit; first += LANES) {
            long count = (end <= limit ? end : limit + 1) - first;
            long found = try_some(seed + done, (unsigned)(seed_bytes - done), seed_bytes, middle,
                                  wanted, first, count < LANES ? (int)count : LANES, digits);
            if (found >= 0)
                return found;
            if (count < LANES)
                first += count - LANES;
        }
    return -1;
}
