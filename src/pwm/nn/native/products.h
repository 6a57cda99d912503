/* Matrix products of bfloat16 factors, summed in float32: C [m, n] = A [m, k] B [k, n].
 *
 * Two neighbours along k make one 32-bit word, the first in its lower half. B lies in panels of up to BROAD vectors of
 * columns, so that the innermost loop reads memory from one end to the other; A is read word by word, with strides.
 */
#pragma once
#include "lanes.h"

#define TALL 8  /* rows of a tile of C whose sums stay in registers */
#define BROAD 3 /* and vectors of its columns */
#define WIDE(n) (VECTORS(n) * LANES)
#define PAIRS(k) (((k) + 1) / 2)

typedef uint32_t word;
typedef uint32_t anywhere __attribute__((vector_size(64), aligned(4), may_alias));

/* unrolled, so that arrays indexed by it are registers */
#define EACH(i, count) _Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)

INLINE i64 panels(i64 n) { return (VECTORS(n) + BROAD - 1) / BROAD; }

/* The first vector of a panel; that of number `panels` is the end. Their widths differ by one at most. */
INLINE i64 panel(i64 n, i64 p) {
    i64 all_of_them = panels(n), rest = VECTORS(n) % all_of_them;
    return p * (VECTORS(n) / all_of_them) + least(p, rest);
}

/* As `bits`, but numbers below 1e-38 become zero, as which the product reads them anyway. */
INLINE vu factor(vf x) {
#ifdef __AVX512BF16__
    return (vu)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    return bits(x);
#endif
}

INLINE vu words(vf even, vf odd) { return factor(even) | factor(odd) << 16; }

INLINE vf dot(vf sum, word a, vu b) {
#ifdef __AVX512BF16__
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
#else
    vu x = a - (vu){0};
    sum += (vf)(x << 16) * (vf)(b << 16);
    return sum + (vf)(x & 0xffff0000u) * (vf)(b & 0xffff0000u);
#endif
}

#define TILE(tall, broad)                                                                                              \
    static void tile_##tall##_##broad(const word *a, i64 row, i64 pair, const word *b, i64 k, void *c, int kind,       \
                                      i64 at, i64 ld, i64 left) {                                                      \
        vf sum[tall][broad];                                                                                           \
        EACH(i, tall) EACH(j, broad) sum[i][j] = all(0.0f);                                                            \
        for (i64 p = 0; p < k; p++, a += pair, b += (broad)*LANES) {                                                   \
            vu y[broad];                                                                                               \
            EACH(j, broad) y[j] = *(const anywhere *)(b + j * LANES);                                                  \
            EACH(i, tall) {                                                                                            \
                word x = a[i * row];                                                                                   \
                EACH(j, broad) sum[i][j] = dot(sum[i][j], x, y[j]);                                                    \
            }                                                                                                          \
        }                                                                                                              \
        EACH(i, tall) EACH(j, broad) store(sum[i][j], c, kind, at + i * ld + j * LANES, left - j * LANES);             \
    }
TILE(8, 3)
TILE(8, 2)
TILE(8, 1)
TILE(1, 3)
TILE(1, 2)
TILE(1, 1)
#undef TILE
#undef EACH

/* Panels `from` to `to` of C [m, n], of number format `kind` and row length ld, at c[at]. A: word p of row i at
 * a[i * row + p * pair]; b: the packed factor of k pairs. */
static void multiply(const word *a, i64 row, i64 pair, const word *b, i64 m, i64 k, i64 n, i64 from, i64 to, void *c,
                     int kind, i64 at, i64 ld) {
    static void (*const tiles[2][BROAD])(const word *, i64, i64, const word *, i64, void *, int, i64, i64, i64) = {
        {tile_1_1, tile_1_2, tile_1_3}, {tile_8_1, tile_8_2, tile_8_3}};
    i64 tall = m < TALL ? 1 : TALL;
    for (i64 p = from; p < to; p++) {
        i64 first = panel(n, p) * LANES, broad = panel(n, p + 1) - panel(n, p);
        for (i64 i = 0; i < m; i += tall) {
            i64 r = least(i, m - tall); /* the last tile may do rows again, to the same result */
            tiles[tall > 1][broad - 1](a + r * row, row, pair, b + first * k, k, c, kind, at + r * ld + first, ld,
                                       n - first);
        }
    }
}

/* Panel p of a right factor [k, n] whose rows lie at w[at], times a gain for each row where there are any. */
static void pack(const void *w, int kind, i64 at, const float *gain, i64 k, i64 n, i64 p, word *b) {
    i64 from = panel(n, p) * LANES, wide = panel(n, p + 1) - panel(n, p);
    b += from * PAIRS(k);
    for (i64 i = 0; i < k; i += 2)
        for (i64 v = 0; v < wide; v++, b += LANES) {
            i64 j = from + v * LANES;
            vf even = load(w, kind, at + i * n + j, n - j), odd = {0};
            if (i + 1 < k) odd = load(w, kind, at + (i + 1) * n + j, n - j);
            if (gain) even *= gain[i], odd *= i + 1 < k ? gain[i + 1] : 0.0f;
            vu both = words(even, odd);
            memcpy(b, &both, sizeof both);
        }
}

/* Panel p of a right factor [k, n] whose columns lie at w[at], times a gain for each column where there are any. */
static void pack_columns(const void *w, int kind, i64 at, const float *gain, i64 k, i64 n, i64 p, word *b) {
    i64 from = panel(n, p) * LANES, wide = panel(n, p + 1) - panel(n, p);
    word square[LANES][LANES / 2];
    b += from * PAIRS(k);
    for (i64 i = 0; i < k; i += LANES)
        for (i64 v = 0; v < wide; v++) {
            i64 j = from + v * LANES, count = PAIRS(least(k - i, LANES));
            for (i64 lane = 0; lane < LANES; lane++) {
                vh column = {0};
                if (j + lane < n)
                    column = __builtin_convertvector(
                        factor(load(w, kind, at + (j + lane) * k + i, k - i) * (gain ? gain[j + lane] : 1.0f)), vh);
                memcpy(square[lane], &column, sizeof column);
            }
            for (i64 pair = 0; pair < count; pair++)
                for (i64 lane = 0; lane < LANES; lane++)
                    b[((i / 2 + pair) * wide + v) * LANES + lane] = square[lane][pair];
        }
}

/* Where the words of B lie: vector v of pair p of k begins at b + start[v] + p * step[v]. */
INLINE void places(i64 k, i64 n, i64 *start, i64 *step) {
    for (i64 p = 0; p < panels(n); p++)
        for (i64 v = panel(n, p); v < panel(n, p + 1); v++) {
            step[v] = (panel(n, p + 1) - panel(n, p)) * LANES;
            start[v] = (panel(n, p) * k + v - panel(n, p)) * LANES;
        }
}
