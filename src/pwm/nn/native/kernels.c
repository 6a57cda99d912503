/* What lies between the matrix products, in one pass over memory each: bias, Mish, LayerNorm, SimNorm and their
 * backward passes; folding of LayerNorm's gain and shift into the next weights; gradient clipping and Adam.
 *
 * Matrices are row-major. Sums over rows go block by block, so that results do not depend on the thread count.
 */
#include "rows.h"

/* ---- Linear -> Mish -> LayerNorm, the fleets' layers ------------------------------------------------------------
 * x: the product [members * rows, n]; bias [members, n]. `mean`, `inverse` [members * rows] may be null. */
void mish_norm(const void *x, int x_kind, const float *bias, i64 members, i64 rows, i64 n, void *out, int out_kind,
               float *mean, float *inverse, int threads) {
    PARALLEL
    for (i64 i = 0; i < members * rows; i += TOGETHER) {
        i64 count = least(members * rows - i, TOGETHER), wide = VECTORS(n);
        const float *b[TOGETHER];
        vf y[TOGETHER * wide];
        float m[TOGETHER], v[TOGETHER];
        for (i64 r = 0; r < count; r++) b[r] = bias + (i + r) / rows * n;
        mish_norm_rows(x, x_kind, i, n, b, count, n, y, m, v, 0);
        for (i64 r = 0; r < count; r++)
            for (i64 j = 0; j < n; j += LANES) store(y[r * wide + j / LANES], out, out_kind, (i + r) * n + j, n - j);
        if (mean) memcpy(mean + i, m, (size_t)count * 4), memcpy(inverse + i, v, (size_t)count * 4);
    }
}

/* g: the gradient at the output; low: the gradient at the product. to_bias [members, n] or null; `share` then has room
 * for [members * ceil(rows / BLOCK), n]. */
void mish_norm_backward(const void *g, int g_kind, const void *x, int x_kind, const float *bias, const float *mean,
                        const float *inverse, i64 members, i64 rows, i64 n, void *low, int low_kind, float *to_bias,
                        float *share, int threads) {
    i64 blocks = (rows + BLOCK - 1) / BLOCK;
    PARALLEL
    for (i64 block = 0; block < members * blocks; block++) {
        i64 member = block / blocks, start = block % blocks * BLOCK, end = least(start + BLOCK, rows);
        i64 wide = VECTORS(n);
        const float *b = bias + member * n;
        vf d[TOGETHER * wide], normed[TOGETHER * wide], slope[TOGETHER * wide], sums[wide];
        memset(sums, 0, sizeof sums);
        for (i64 i = member * rows + start; i < member * rows + end; i += TOGETHER) {
            i64 count = least(member * rows + end - i, TOGETHER);
            for (i64 r = 0; r < count; r++)
                for (i64 j = 0; j < n; j += LANES) {
                    i64 k = r * wide + j / LANES, at = (i + r) * n + j;
                    slope[k] = mish_slope(load(x, x_kind, at, n - j) + load(b, 0, j, n - j), normed + k);
                    normed[k] = (normed[k] - mean[i + r]) * inverse[i + r];
                    d[k] = load(g, g_kind, at, n - j);
                }
            mish_norm_rows_backward(d, normed, slope, inverse + i, count, n);
            for (i64 r = 0; r < count; r++)
                for (i64 j = 0; j < n; j += LANES) {
                    sums[j / LANES] += d[r * wide + j / LANES];
                    store(d[r * wide + j / LANES], low, low_kind, (i + r) * n + j, n - j);
                }
        }
        if (to_bias)
            for (i64 j = 0; j < n; j += LANES) store(sums[j / LANES], share, 0, block * n + j, n - j);
    }
    if (to_bias)
        for (i64 k = 0; k < members; k++) sum_shares(to_bias + k * n, share + k * blocks * n, blocks, n);
}

/* ---- Linear -> LayerNorm -> Mish or SimNorm, the world model's layers -------------------------------------------
 * x: the product [rows, n]; row i takes bias number i / inner % outer of [outer, n]; gain, shift [n]; group: of
 * SimNorm, or 0 for Mish. */
void norm_act(const void *x, int x_kind, const float *bias, i64 inner, i64 outer, const float *gain,
              const float *shift, i64 group, i64 rows, i64 n, void *out, int out_kind, float *mean, float *inverse,
              int threads) {
    PARALLEL
    for (i64 i = 0; i < rows; i += TOGETHER) {
        i64 count = least(rows - i, TOGETHER), wide = VECTORS(n);
        vf y[TOGETHER * wide], sum[TOGETHER];
        float m[TOGETHER], v[TOGETHER];
        for (i64 r = 0; r < count; r++) {
            const float *b = bias + (i + r) / inner % outer * n;
            sum[r] = all(0.0f);
            for (i64 j = 0; j < n; j += LANES) {
                vf z = load(x, x_kind, (i + r) * n + j, n - j) + load(b, 0, j, n - j);
                sum[r] += z;
                y[r * wide + j / LANES] = z;
            }
        }
        for (i64 r = 0; r < count; r++) moments(y + r * wide, sum[r], n, m + r, v + r);
        for (i64 r = 0; r < count; r++) {
            vf *z = y + r * wide;
            for (i64 j = 0; j < n; j += LANES)
                z[j / LANES] = (z[j / LANES] - m[r]) * v[r] * load(gain, 0, j, n - j) + load(shift, 0, j, n - j);
            if (group)
                grouped_softmax((float *)z, n / group, group);
            else
                for (i64 k = 0; k < wide; k++) z[k] = mish(z[k]);
            for (i64 j = 0; j < n; j += LANES) store(z[j / LANES], out, out_kind, (i + r) * n + j, n - j);
        }
        if (mean) memcpy(mean + i, m, (size_t)count * 4), memcpy(inverse + i, v, (size_t)count * 4);
    }
}

/* to_sums [3, n]: sums over rows for gain, shift and bias, or null; `share` has room for [ceil(rows / BLOCK), 3, n].
 * to_plain [rows, n]: the gradient at the product in float32, or null. */
void norm_act_backward(const void *g, int g_kind, const void *x, int x_kind, const float *bias, i64 inner, i64 outer,
                       const float *gain, const float *shift, i64 group, const float *mean, const float *inverse,
                       i64 rows, i64 n, void *low, int low_kind, float *to_plain, float *to_sums, float *share,
                       int threads) {
    i64 blocks = (rows + BLOCK - 1) / BLOCK;
    PARALLEL
    for (i64 block = 0; block < blocks; block++) {
        i64 end = least((block + 1) * BLOCK, rows);
        i64 wide = VECTORS(n);
        vf grads[TOGETHER * wide], norms[TOGETHER * wide], out[wide], sums[3][wide];
        memset(sums, 0, sizeof sums);
        for (i64 i = block * BLOCK; i < end; i += TOGETHER) {
            i64 count = least(end - i, TOGETHER);
            vf sum[TOGETHER], along[TOGETHER];
            float a[TOGETHER], c[TOGETHER];
            for (i64 r = 0; r < count; r++) {
                const float *b = bias + (i + r) / inner % outer * n;
                float m = mean[i + r], v = inverse[i + r];
                vf *grad = grads + r * wide, *normed = norms + r * wide;
                for (i64 j = 0; j < n; j += LANES) {
                    i64 k = j / LANES, at = (i + r) * n + j;
                    normed[k] = (load(x, x_kind, at, n - j) + load(b, 0, j, n - j) - m) * v;
                    out[k] = normed[k] * load(gain, 0, j, n - j) + load(shift, 0, j, n - j);
                    grad[k] = load(g, g_kind, at, n - j);
                }
                if (group) {
                    grouped_softmax((float *)out, n / group, group);
                    grouped_softmax_backward((float *)grad, (float *)out, n / group, group);
                } else
                    for (i64 k = 0; k < wide; k++) grad[k] *= mish_slope(out[k], out + k);
                sum[r] = along[r] = all(0.0f);
                for (i64 j = 0; j < n; j += LANES) {
                    i64 k = j / LANES;
                    vf z = normed[k], d = grad[k] * load(gain, 0, j, n - j);
                    if (to_sums) {
                        sums[0][k] += grad[k] * z;
                        sums[1][k] += grad[k];
                    }
                    sum[r] += d;
                    along[r] += d * z;
                    grad[k] = d;
                }
            }
            for (i64 r = 0; r < count; r++) a[r] = total(sum[r]) / (float)n, c[r] = total(along[r]) / (float)n;
            for (i64 r = 0; r < count; r++)
                for (i64 j = 0; j < n; j += LANES) {
                    i64 k = j / LANES;
                    vf d = (grads[r * wide + k] - a[r] - norms[r * wide + k] * c[r]) * inverse[i + r];
                    if (to_sums) sums[2][k] += d;
                    if (to_plain) store(d, to_plain, 0, (i + r) * n + j, n - j);
                    store(d, low, low_kind, (i + r) * n + j, n - j);
                }
        }
        if (to_sums)
            for (i64 s = 0; s < 3; s++)
                for (i64 j = 0; j < n; j += LANES)
                    store(sums[s][j / LANES], share, 0, (block * 3 + s) * n + j, n - j);
    }
    if (to_sums) sum_shares(to_sums, share, blocks, 3 * n);
}

/* ---- Folding LayerNorm's gain and shift into the next layer: W' = gain W, b' = b + shift W ----------------
 * weight [members, a, n], gain and shift [members, a], bias [members, n]. */
void fold(const float *weight, const float *gain, const float *shift, const float *bias, i64 members, i64 a, i64 n,
          void *to_weight, int kind, float *to_bias, int threads) {
    PARALLEL
    for (i64 k = 0; k < members; k++) {
        vf sum[VECTORS(n)];
        for (i64 j = 0; j < n; j += LANES) sum[j / LANES] = load(bias, 0, k * n + j, n - j);
        for (i64 i = k * a; i < (k + 1) * a; i++)
            for (i64 j = 0; j < n; j += LANES) {
                vf w = load(weight, 0, i * n + j, n - j);
                sum[j / LANES] += w * shift[i];
                store(w * gain[i], to_weight, kind, i * n + j, n - j);
            }
        for (i64 j = 0; j < n; j += LANES) store(sum[j / LANES], to_bias, 0, k * n + j, n - j);
    }
}

/* Backward: gradients of weight, gain and shift from those of W' and b' (which is also that of b). */
void fold_backward(const void *g, int g_kind, const float *g_bias, const float *weight, const float *gain,
                   const float *shift, i64 members, i64 a, i64 n, float *to_weight, float *to_gain, float *to_shift,
                   int threads) {
    PARALLEL
    for (i64 i = 0; i < members * a; i++)
        fold_backward_row(g, g_kind, i * n, g_bias + i / a * n, weight + i * n, gain[i], shift[i], n, to_weight + i * n,
                          to_gain + i, to_shift + i);
}

/* ---- Gradient clipping and Adam ----------------------------------------------------------------------------------
 * `count` tensors whose leading axis is [members * k]: weights p, gradients g of g_kinds, moments m and v; sizes: entries
 * per member; rates and steps: step size and counter of each tensor. norms [members] receives the norms before clipping;
 * `scratch` has room for one number per CHUNK of each tensor's and member's entries. */
#define CHUNKS(size) (((size) + CHUNK - 1) / CHUNK)

static double sum_of_squares(const void *g, int kind, i64 at, i64 n) {
    vf part[4] = {{0}};
    i64 j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        for (int k = 0; k < 4; k++) {
            vf x = load(g, kind, at + j + k * LANES, LANES);
            part[k] += x * x;
        }
    for (; j < n; j += LANES) {
        vf x = load(g, kind, at + j, n - j);
        part[0] += x * x;
    }
    return total((part[0] + part[1]) + (part[2] + part[3]));
}

void clip_adam(i64 count, const i64 *sizes, float *const *p, const void *const *g, const int *g_kinds, float *const *m,
               float *const *v, const float *rates, float *const *steps, i64 members, float max_norm, float beta1,
               float beta2, float eps, float *norms, double *scratch, int threads) {
    double *sums = scratch;
    for (i64 t = 0; t < count; t++) {
        i64 size = sizes[t], chunks = CHUNKS(size);
#pragma omp parallel for num_threads(threads) if (threads > 1 && members * size > 4 * CHUNK) schedule(static)
        for (i64 c = 0; c < members * chunks; c++) {
            i64 from = c % chunks * CHUNK, n = least(size - from, CHUNK);
            sums[c] = sum_of_squares(g[t], g_kinds[t], c / chunks * size + from, n);
        }
        sums += members * chunks;
    }
    for (i64 k = 0; k < members; k++) {
        double sum = 0.0;
        sums = scratch;
        for (i64 t = 0; t < count; t++) {
            i64 chunks = CHUNKS(sizes[t]);
            for (i64 c = 0; c < chunks; c++) sum += sums[k * chunks + c];
            sums += members * chunks;
        }
        norms[k] = (float)sqrt(sum);
    }
    for (i64 t = 0; t < count; t++) {
        i64 size = sizes[t], chunks = CHUNKS(size);
        double step = *steps[t] += 1.0f;
        float scale = (float)(rates[t] / (1.0 - pow(beta1, step)));
        float root = (float)(1.0 / sqrt(1.0 - pow(beta2, step)));
#pragma omp parallel for num_threads(threads) if (threads > 1 && members * size > 4 * CHUNK) schedule(static)
        for (i64 c = 0; c < members * chunks; c++) {
            i64 k = c / chunks, from = c % chunks * CHUNK, n = least(size - from, CHUNK);
            float factor = max_norm / (norms[k] + 1e-6f);
            factor = factor > 1.0f ? 1.0f : factor; /* not-a-number stays one */
            for (i64 j = 0; j < n; j += LANES) {
                i64 at = k * size + from + j, left = n - j;
                vf x = load(g[t], g_kinds[t], at, left) * factor, a = load(m[t], 0, at, left);
                vf b = load(v[t], 0, at, left) * beta2 + x * x * (1.0f - beta2);
                a += (x - a) * (1.0f - beta1);
                store(a, m[t], 0, at, left);
                store(b, v[t], 0, at, left);
                store(load(p[t], 0, at, left) - scale * a / (square_root(b) * root + eps), p[t], 0, at, left);
            }
        }
    }
}
