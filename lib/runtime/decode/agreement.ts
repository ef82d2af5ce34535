import type { DecodingOptions } from '../../releases/decoding.ts';
import type { GenerateRequest, Generator } from './generator.ts';

/** How closely one generator, for instance with 8-bit weights, reproduces the reports of another. */
export interface Agreement {
  readonly reports: number;
  /** Reports that are equal token by token. */
  readonly identicalReports: number;
  /** Tokens of the reference's reports, end tokens included. */
  readonly tokens: number;
  /** Of these, how many the candidate would have chosen as well, after the same tokens before. */
  readonly agreeingTokens: number;
  /** Mean absolute difference of the log-probabilities of the reference's tokens. */
  readonly logProbDifference: number;
}

/**
 * The reference generates each request's report; the candidate generates its own, and both score the
 * reference's. `options` should be greedy: choices are compared with the likeliest token.
 */
export async function measureAgreement(
  reference: Generator,
  candidate: Generator,
  requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
  options: DecodingOptions,
): Promise<Agreement> {
  const total = { reports: 0, identicalReports: 0, tokens: 0, agreeingTokens: 0 };
  let difference = 0;
  for await (const request of requests) {
    const { ids } = await reference.generate(request, options);
    const [expected, read, own] = await Promise.all([
      reference.follow(request, ids),
      candidate.follow(request, ids),
      candidate.generate(request, options),
    ]);
    total.reports++;
    if (own.ids.join() === ids.join()) total.identicalReports++;
    for (const [i, choice] of expected.choices.entries()) {
      total.tokens++;
      if (read.choices[i] === choice) total.agreeingTokens++;
      difference += Math.abs((read.logProbs[i] ?? 0) - (expected.logProbs[i] ?? 0));
    }
  }
  return { ...total, logProbDifference: difference / Math.max(total.tokens, 1) };
}

/** e.g. `8-bit weights choose 99.2 % of 1210 tokens as float32 does; 14 of 16 reports are the same` */
export function printAgreement(agreement: Agreement): string {
  const { reports, identicalReports, tokens, agreeingTokens, logProbDifference } = agreement;
  const share = ((100 * agreeingTokens) / Math.max(tokens, 1)).toFixed(2);
  return (
    `8-bit weights choose ${share} % of ${tokens} tokens as float32 does ` +
    `(log-probabilities differ by ${logProbDifference.toFixed(4)} on average); ` +
    `${identicalReports} of ${reports} reports are the same`
  );
}
