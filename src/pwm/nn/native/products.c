/* Packs right factors of bfloat16 products, and multiplies with them. */
#include "products.h"

#define ROWS 64 /* of the left factor that stay in the cache while panels pass by */

/* Size of a packed factor in words. */
i64 packed_words(i64 members, i64 k, i64 n) { return members * PAIRS(k) * WIDE(n); }

/* w: factors [members, k, n], or [members, n, k] with `columns`, of number format `kind`. */
void pack_factor(const void *w, int kind, i64 members, i64 k, i64 n, int columns, word *to, int threads) {
    i64 parts = panels(n);
    PARALLEL
    for (i64 i = 0; i < members * parts; i++) {
        i64 at = i / parts * k * n;
        word *b = to + i / parts * PAIRS(k) * WIDE(n);
        if (columns)
            pack_columns(w, kind, at, 0, k, n, i % parts, b);
        else
            pack(w, kind, at, 0, k, n, i % parts, b);
    }
}

/* x [members, rows, k] in bfloat16, k being even, times packed factors: out [members, rows, n]. */
void multiply_packed(const void *x, const word *factors, i64 members, i64 rows, i64 k, i64 n, void *out, int kind,
                     int threads) {
    i64 blocks = (rows + ROWS - 1) / ROWS, parts = panels(n);
    PARALLEL
    for (i64 i = 0; i < members * blocks * parts; i++) {
        i64 p = i % parts, member = i / parts / blocks, from = i / parts % blocks * ROWS;
        i64 count = least(rows - from, ROWS), at = member * rows + from;
        multiply((const word *)x + at * k / 2, k / 2, 1, factors + member * PAIRS(k) * WIDE(n), count, k / 2, n, p, p + 1,
                 out, kind, at * n, n);
    }
}

/* Whether these products are the fastest on this processor: without instructions for bfloat16 they are slow, and
 * with tiles in hardware (AMX) PyTorch's are faster. */
int multiplies_bfloat16(void) {
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
    return 1;
#else
    return 0;
#endif
}
