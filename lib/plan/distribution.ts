/** A distribution of a duration: weights over bins of equal width, the first around 0. */
export class Distribution {
  readonly binMs: number;
  readonly weights: Float64Array;

  constructor(binMs: number, weights: Float64Array) {
    this.binMs = binMs;
    this.weights = weights;
  }

  /** From samples with weights; the weights need not sum to 1. */
  static of(samples: Iterable<readonly [ms: number, weight: number]>, binMs: number): Distribution {
    const bins: number[] = [];
    let total = 0;
    for (const [ms, weight] of samples) {
      // Split between two bins, so that rounding does not shift the mean.
      const at = Math.max(0, ms) / binMs;
      const low = Math.floor(at);
      const share = at - low;
      bins[low] = (bins[low] ?? 0) + weight * (1 - share);
      bins[low + 1] = (bins[low + 1] ?? 0) + weight * share;
      total += weight;
    }
    return new Distribution(
      binMs,
      Float64Array.from({ length: bins.length }, (_, bin) => (bins[bin] ?? 0) / total),
    );
  }

  /** The distribution of the sum of two independent durations. */
  plus(other: Distribution): Distribution {
    const sum = new Float64Array(this.weights.length + other.weights.length - 1);
    this.weights.forEach((weight, i) => {
      if (weight < 1e-12) return;
      for (let j = 0; j < other.weights.length; j += 1)
        sum[i + j] = (sum[i + j] ?? 0) + weight * (other.weights[j] ?? 0);
    });
    return new Distribution(this.binMs, sum);
  }

  /** The duration that a share of `q` does not exceed. */
  quantile(q: number): number {
    let below = 0;
    for (let bin = 0; bin < this.weights.length; bin += 1) {
      const weight = this.weights[bin] ?? 0;
      if (below + weight >= q && weight > 0)
        return Math.max(0, (bin - 0.5 + (q - below) / weight) * this.binMs);
      below += weight;
    }
    return (this.weights.length - 1) * this.binMs;
  }

  mean(): number {
    return this.weights.reduce((sum, weight, bin) => sum + weight * bin * this.binMs, 0);
  }
}
