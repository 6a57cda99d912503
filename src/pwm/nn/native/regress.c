/* Regression by many small networks: the gradient of each one's squared error, with bfloat16 products.
 *
 * A network is Linear -> Mish -> LayerNorm per hidden layer, then Linear to one number. A block of rows goes forward and
 * backward while it is in the cache; inputs of the weight gradients are written in the order in which their products
 * read them. Sums over rows go block by block, so that results do not depend on the thread count.
 */
#include "products.h"
#include "rows.h"
#ifdef _OPENMP
int omp_get_thread_num(void); /* its header may be missing where the library is not */
#define THREAD omp_get_thread_num()
#else
#define THREAD 0
#endif

#define HEIGHT 64 /* rows of a weight whose gradient is one piece of work */

typedef struct {
    i64 groups, each, rows, layers;
    const i64 *widths;          /* [layers + 1] */
    const uint16_t *x;          /* [groups, rows, widths[0]] in bfloat16 */
    const word *pairs;          /* x with neighbouring rows in one word [groups, PAIRS(rows), WIDE(widths[0])] */
    const float *targets;       /* [groups, rows] */
    const float *counts;        /* [groups, rows], or null: what each row's error counts */
    const float *const *weights, *const *biases, *const *gains, *const *shifts;
    void *const *to_weights, *const *to_biases, *const *to_gains, *const *to_shifts;
    int kind;                   /* of the first weight's gradient */
    float *loss;                /* [groups * each] */
} Job;

/* State of one network between phases. */
typedef struct {
    word *forward[MOST], *backward[MOST]; /* folded weights and their transposes, as the right factor */
    word *input[MOST], *low[MOST];        /* of each layer: input and gradient at its product, neighbouring rows in one word */
    float *bias[MOST], *last;             /* folded biases; the folded last weight */
    float *shares;                        /* sums over the rows of each block */
} Net;

/* Scratch of one thread for a block of rows. */
typedef struct {
    vf *normed[MOST], *slope[MOST];
    float *inverse[MOST], *mean, *grad, *tile;
    uint16_t *rows;
} Space;

static void *take(uintptr_t *at, i64 bytes) {
    void *place = (void *)*at;
    *at += (uintptr_t)((bytes + 63) / 64 * 64);
    return place;
}

static i64 blocks_of(i64 rows) { return (rows + BLOCK - 1) / BLOCK; }

/* Entries of a block's sums: for each hidden layer's bias, for the last weight, for loss and last bias. */
static i64 share_of(const Job *job) {
    i64 size = LANES;
    for (i64 l = 1; l < job->layers; l++) size += WIDE(job->widths[l]);
    return size + WIDE(job->widths[job->layers - 1]);
}

static void lay_net(const Job *job, Net *net, uintptr_t *at) {
    const i64 *n = job->widths + 1;
    for (i64 l = 0; l < job->layers - 1; l++) {
        i64 k = job->widths[l];
        net->forward[l] = take(at, PAIRS(k) * WIDE(n[l]) * 4);
        net->low[l] = take(at, PAIRS(job->rows) * WIDE(n[l]) * 4);
        net->bias[l] = take(at, WIDE(n[l]) * 4);
        if (!l) continue;
        net->backward[l] = take(at, PAIRS(n[l]) * WIDE(k) * 4);
        net->input[l] = take(at, PAIRS(job->rows) * WIDE(k) * 4);
    }
    net->bias[job->layers - 1] = take(at, 4);
    net->last = take(at, WIDE(n[job->layers - 2]) * 4);
    net->shares = take(at, blocks_of(job->rows) * share_of(job) * 4);
}

static void lay_space(const Job *job, Space *space, uintptr_t *at) {
    const i64 *n = job->widths + 1;
    i64 widest = 0;
    for (i64 l = 0; l < job->layers - 1; l++) {
        space->normed[l] = take(at, BLOCK * WIDE(n[l]) * 4);
        space->slope[l] = take(at, BLOCK * WIDE(n[l]) * 4);
        space->inverse[l] = take(at, BLOCK * 4);
        widest = n[l] > widest ? n[l] : widest;
    }
    space->mean = take(at, BLOCK * 4);
    space->grad = take(at, BLOCK * WIDE(widest) * 4);
    space->tile = take(at, HEIGHT * WIDE(widest) * 4);
    space->rows = take(at, BLOCK * WIDE(widest) * 2);
}

/* ---- Packing weights -------------------------------------------------------------------------------------------- */

/* Biases of hidden layer l, with the shift of the previous LayerNorm folded in. */
static void ready_bias(const Job *job, i64 number, const Net *net, i64 l) {
    i64 k = job->widths[l], n = job->widths[l + 1];
    memcpy(net->bias[l], job->biases[l] + number * n, (size_t)n * 4);
    for (i64 i = 0; l && i < k; i++) {
        const float *weight = job->weights[l] + (number * k + i) * n, shift = job->shifts[l - 1][number * k + i];
        SIMD for (i64 j = 0; j < n; j++) net->bias[l][j] += weight[j] * shift;
    }
}

static void ready_last(const Job *job, i64 number, const Net *net) {
    i64 l = job->layers - 1, n = job->widths[l];
    const float *weight = job->weights[l] + number * n;
    vf sum = {0};
    for (i64 j = 0; j < n; j += LANES) {
        vf w = load(weight, 0, j, n - j);
        sum += w * load(job->shifts[l - 1], 0, number * n + j, n - j);
        w *= load(job->gains[l - 1], 0, number * n + j, n - j);
        memcpy(net->last + j, &w, sizeof w);
    }
    *net->bias[l] = job->biases[l][number] + total(sum);
}

/* ---- Forward and backward --------------------------------------------------------------------------------------- */

/* `count` rows of n entries, rounded: as rows, if wanted, and as words of two rows each, of which pair p begins with
 * vector v at pairs + start[v] + p * step[v]. */
INLINE void round_rows(const vf *y, i64 count, i64 n, uint16_t *rows, word *pairs, i64 p, const i64 *start, const i64 *step) {
    i64 wide = VECTORS(n);
    for (i64 r = 0; r < count; r += 2, p++)
        for (i64 v = 0; v < wide; v++) {
            vi own = first(n - v * LANES);
            vu even = factor((vf)((vi)y[r * wide + v] & own)), odd = {0};
            if (r + 1 < count) odd = factor((vf)((vi)y[(r + 1) * wide + v] & own));
            vu both = even | odd << 16;
            memcpy(pairs + start[v] + p * step[v], &both, sizeof both);
            if (!rows) continue;
            vh one = __builtin_convertvector(even, vh), other = __builtin_convertvector(odd, vh);
            memcpy(rows + (r * wide + v) * LANES, &one, sizeof one);
            if (r + 1 < count) memcpy(rows + ((r + 1) * wide + v) * LANES, &other, sizeof other);
        }
}

/* The last layer of `count` rows from row i: adds to the sums of loss, last weight and bias, and gives the gradient at
 * its input. */
INLINE void last_layer(const Job *job, i64 number, const Net *net, const vf *y, i64 i, i64 count, float *sums, float *grad) {
    i64 n = job->widths[job->layers - 1], wide = VECTORS(n), at = number / job->each * job->rows + i;
    float *loss = sums + WIDE(n);
    for (i64 r = 0; r < count; r++, y += wide, grad += WIDE(n)) {
        vf sum = {0};
        for (i64 v = 0; v < wide; v++)
            sum += (vf)((vi)y[v] & first(n - v * LANES)) * load(net->last, 0, v * LANES, LANES);
        float error = total(sum) + *net->bias[job->layers - 1] - job->targets[at + r];
        float counting = job->counts ? error * job->counts[at + r] : error;
        float slope = 2.0f / (float)job->rows * counting;
        loss[0] += error * counting;
        loss[1] += slope;
        for (i64 v = 0; v < wide; v++) {
            store(load(sums, 0, v * LANES, LANES) + y[v] * slope, sums, 0, v * LANES, LANES);
            store(load(net->last, 0, v * LANES, LANES) * slope, grad, 0, v * LANES, LANES);
        }
    }
}

static void forward_rows(const Job *job, i64 number, const Net *net, const Space *space, i64 from, i64 count, float *sums) {
    const i64 *widths = job->widths;
    const word *a = (const word *)(job->x + (number / job->each * job->rows + from) * widths[0]);
    i64 row = widths[0] / 2;
    for (i64 l = 0; l < job->layers - 1; l++) {
        i64 n = widths[l + 1], wide = VECTORS(n), start[wide], step[wide];
        const float *bias[TOGETHER] = {net->bias[l], net->bias[l], net->bias[l], net->bias[l]};
        for (i64 v = 0; v < wide; v++) start[v] = v * LANES, step[v] = WIDE(n);
        multiply(a, row, 1, net->forward[l], count, PAIRS(widths[l]), n, 0, panels(n), space->grad, 0, 0, WIDE(n));
        for (i64 i = 0; i < count; i += TOGETHER) {
            i64 some = least(count - i, TOGETHER);
            vf *y = space->normed[l] + i * wide;
            mish_norm_rows(space->grad, 0, i, WIDE(n), bias, some, n, y, space->mean + i, space->inverse[l] + i,
                           space->slope[l] + i * wide);
            if (l == job->layers - 2)
                last_layer(job, number, net, y, from + i, some, sums, space->grad + i * WIDE(n));
            else
                round_rows(y, some, n, space->rows + i * WIDE(n), net->input[l + 1], (from + i) / 2, start, step);
        }
        a = (const word *)space->rows;
        row = WIDE(n) / 2;
    }
}

static void backward_rows(const Job *job, const Net *net, const Space *space, i64 from, i64 count, float *sums) {
    for (i64 l = job->layers - 1; l-- > 0;) {
        i64 n = job->widths[l + 1], wide = VECTORS(n), start[wide], step[wide];
        vf d[TOGETHER * wide];
        places(PAIRS(job->rows), n, start, step);
        sums -= WIDE(n);
        for (i64 i = 0; i < count; i += TOGETHER) {
            i64 some = least(count - i, TOGETHER);
            for (i64 r = 0; r < some; r++)
                for (i64 v = 0; v < wide; v++)
                    d[r * wide + v] = load(space->grad, 0, (i + r) * WIDE(n) + v * LANES, n - v * LANES);
            mish_norm_rows_backward(d, space->normed[l] + i * wide, space->slope[l] + i * wide, space->inverse[l] + i, some,
                                    n);
            for (i64 r = 0; r < some; r++)
                for (i64 v = 0; v < wide; v++)
                    store(load(sums, 0, v * LANES, LANES) + d[r * wide + v], sums, 0, v * LANES, LANES);
            round_rows(d, some, n, l ? space->rows + i * WIDE(n) : 0, net->low[l], (from + i) / 2, start, step);
        }
        if (l)
            multiply((const word *)space->rows, WIDE(n) / 2, 1, net->backward[l], count, PAIRS(n), job->widths[l], 0,
                     panels(job->widths[l]), space->grad, 0, 0, WIDE(job->widths[l]));
    }
}

static void block_of_rows(const Job *job, i64 number, const Net *net, const Space *space, i64 block) {
    i64 from = block * BLOCK, count = least(job->rows - from, BLOCK);
    float *sums = net->shares + block * share_of(job), *last = sums;
    memset(sums, 0, (size_t)share_of(job) * 4);
    for (i64 l = 1; l < job->layers; l++) last += WIDE(job->widths[l]);
    forward_rows(job, number, net, space, from, count, last);
    backward_rows(job, net, space, from, count, last);
}

/* ---- Gradients ---------------------------------------------------------------------------------------------------*/

/* Loss, and the gradients that are sums over rows: of biases, and of the last layer. */
static void sum_up(const Job *job, i64 number, const Net *net) {
    i64 size = share_of(job), l = job->layers - 1, n = job->widths[l];
    float *sums = net->shares;
    for (i64 block = 1; block < blocks_of(job->rows); block++) add(sums, net->shares + block * size, size);
    for (i64 i = 0; i < l; sums += WIDE(job->widths[++i]))
        memcpy((float *)job->to_biases[i] + number * job->widths[i + 1], sums, (size_t)job->widths[i + 1] * 4);
    job->loss[number] = sums[WIDE(n)] / (float)job->rows;
    float *to_bias = (float *)job->to_biases[l] + number;
    *to_bias = sums[WIDE(n) + 1];
    for (i64 j = 0, at = number * n; j < n; j++, at++)
        fold_backward_row(sums, 0, j, to_bias, job->weights[l] + at, job->gains[l - 1][at], job->shifts[l - 1][at], 1,
                          (float *)job->to_weights[l] + at, (float *)job->to_gains[l - 1] + at,
                          (float *)job->to_shifts[l - 1] + at);
}

/* The gradient of HEIGHT rows of a weight. */
static void some_of_weight(const Job *job, i64 number, const Net *net, const Space *space, i64 l, i64 from) {
    i64 k = job->widths[l], n = job->widths[l + 1], count = least(k - from, HEIGHT);
    const word *a = l ? net->input[l] : job->pairs + number / job->each * PAIRS(job->rows) * WIDE(k);
    multiply(a + from, 1, WIDE(k), net->low[l], count, PAIRS(job->rows), n, 0, panels(n), space->tile, 0, 0, WIDE(n));
    for (i64 i = 0, at = number * k + from; i < count; i++, at++) {
        if (l)
            fold_backward_row(space->tile, 0, i * WIDE(n), (float *)job->to_biases[l] + number * n,
                              job->weights[l] + at * n, job->gains[l - 1][at], job->shifts[l - 1][at], n,
                              (float *)job->to_weights[l] + at * n, (float *)job->to_gains[l - 1] + at,
                              (float *)job->to_shifts[l - 1] + at);
        else
            for (i64 j = 0; j < n; j += LANES)
                store(load(space->tile, 0, i * WIDE(n) + j, LANES), job->to_weights[0], job->kind, at * n + j, n - j);
    }
}

/* `count` networks from number `from`, phase by phase. */
static void some_networks(const Job *job, i64 from, i64 count, const Net *nets, const Space *spaces, int threads) {
    i64 layers = job->layers, blocks = blocks_of(job->rows);
    for (i64 l = 0; l < layers - 1; l++) {
        i64 k = job->widths[l], n = job->widths[l + 1], parts = panels(n) + 1 + (l ? panels(k) : 0);
        PARALLEL
        for (i64 i = 0; i < count * parts; i++) {
            const Net *net = nets + i / parts;
            i64 number = from + i / parts, p = i % parts, at = number * k * n;
            const float *gain = l ? job->gains[l - 1] + number * k : 0;
            if (p < panels(n))
                pack(job->weights[l], 0, at, gain, k, n, p, net->forward[l]);
            else if (p == panels(n))
                ready_bias(job, number, net, l);
            else
                pack_columns(job->weights[l], 0, at, gain, n, k, p - panels(n) - 1, net->backward[l]);
        }
    }
    PARALLEL
    for (i64 i = 0; i < count; i++) ready_last(job, from + i, nets + i);
    PARALLEL
    for (i64 i = 0; i < count * blocks; i++)
        block_of_rows(job, from + i / blocks, nets + i / blocks, spaces + THREAD, i % blocks);
    PARALLEL
    for (i64 i = 0; i < count; i++) sum_up(job, from + i, nets + i);
    for (i64 l = 0; l < layers - 1; l++) {
        i64 parts = (job->widths[l] + HEIGHT - 1) / HEIGHT;
        PARALLEL
        for (i64 i = 0; i < count * parts; i++)
            some_of_weight(job, from + i / parts, nets + i / parts, spaces + THREAD, l, i % parts * HEIGHT);
    }
}

/* Whether each thread takes whole networks, one after the other: few enough bytes for its cache. */
static int one_by_one(const Job *job, int threads) { return job->groups * job->each >= 3 * threads; }

/* Bytes of scratch that `regress` needs. */
i64 regress_room(i64 groups, i64 each, i64 rows, i64 layers, const i64 *widths, int threads) {
    Job job = {.groups = groups, .each = each, .rows = rows, .layers = layers, .widths = widths};
    uintptr_t net = 0, space = 0;
    lay_net(&job, &(Net){0}, &net);
    lay_space(&job, &(Space){0}, &space);
    i64 nets = one_by_one(&job, threads) ? threads : groups * each;
    return groups * PAIRS(rows) * WIDE(widths[0]) * 4 + nets * (i64)(net + sizeof(Net)) +
           threads * (i64)(space + sizeof(Space)) + 256;
}

/* x [groups, rows, widths[0]] in bfloat16, widths[0] being even, is the input of `each` networks per group; widths[layers]
 * is one. parameters and gradients: weights [networks, in, out], biases, gains, shifts, layer by layer. */
void regress(const void *x, const float *targets, const float *counts, i64 groups, i64 each, i64 rows, i64 layers,
             const i64 *widths, const float *const *parameters, void *const *gradients, int kind, float *loss,
             void *scratch, int threads) {
    uintptr_t at = ((uintptr_t)scratch + 63) / 64 * 64;
    word *pairs = take(&at, groups * PAIRS(rows) * WIDE(widths[0]) * 4);
    Job job = {groups, each, rows, layers, widths, x, pairs, targets, counts,
               parameters, parameters + layers, parameters + 2 * layers, parameters + 3 * layers - 1,
               gradients, gradients + layers, gradients + 2 * layers, gradients + 3 * layers - 1, kind, loss};
    i64 all_of_them = groups * each, in_flight = one_by_one(&job, threads) ? threads : all_of_them;
    Net *nets = take(&at, in_flight * (i64)sizeof(Net));
    Space *spaces = take(&at, threads * (i64)sizeof(Space));
    for (i64 i = 0; i < in_flight; i++) lay_net(&job, nets + i, &at);
    for (i64 i = 0; i < threads; i++) lay_space(&job, spaces + i, &at);
    PARALLEL
    for (i64 i = 0; i < groups * PAIRS(rows); i++) {
        i64 group = i / PAIRS(rows), r = i % PAIRS(rows) * 2, n = widths[0];
        for (i64 j = 0; j < n; j += LANES) {
            i64 from = (group * rows + r) * n + j;
            vf odd = {0};
            if (r + 1 < rows) odd = load(x, 1, from + n, n - j);
            vu both = (vu)load(x, 1, from, n - j) >> 16 | (vu)odd;
            memcpy(pairs + i * WIDE(n) + j, &both, sizeof both);
        }
    }
    if (one_by_one(&job, threads)) {
        PARALLEL
        for (i64 i = 0; i < all_of_them; i++) some_networks(&job, i, 1, nets + THREAD, spaces + THREAD, 1);
    } else
        some_networks(&job, 0, all_of_them, nets, spaces, threads);
}
