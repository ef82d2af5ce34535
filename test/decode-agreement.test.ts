import test from 'ava';
import { parseDecodingOptions } from '../lib/releases/decoding.ts';
import { measureAgreement, printAgreement } from '../lib/runtime/decode/agreement.ts';
import type { GenerateRequest, Generator } from '../lib/runtime/decode/generator.ts';

/** Stands for a generator: writes `ids`, and scores what it is given as told. */
function fake(
  reports: readonly (readonly number[])[],
  scored: { readonly choices: readonly number[]; readonly logProbs: readonly number[] },
): { readonly generator: Generator; readonly followed: (readonly number[])[] } {
  const followed: (readonly number[])[] = [];
  let next = 0;
  const generator = {
    generate: async () => ({ ids: reports[next++] }),
    follow: async (_: GenerateRequest, ids: readonly number[]) => {
      followed.push(ids);
      return scored;
    },
  } as unknown as Generator;
  return { generator, followed };
}

test('agreement compares choices and log-probabilities along the reports of the reference', async (t) => {
  const reference = fake([[5, 6], [7]], { choices: [5, 6, 1], logProbs: [-0.5, -1, -2] });
  const candidate = fake([[5, 6], [8]], { choices: [5, 9, 1], logProbs: [-0.75, -1, -1.5] });
  const request = { tokens: {} as never, textIds: [] };
  const agreement = await measureAgreement(
    reference.generator,
    candidate.generator,
    [request, request],
    parseDecodingOptions({}),
  );
  t.deepEqual(agreement, {
    reports: 2,
    identicalReports: 1,
    tokens: 6,
    agreeingTokens: 4,
    logProbDifference: 0.25,
  });
  t.deepEqual(candidate.followed, [[5, 6], [7]]);
  t.is(
    printAgreement(agreement),
    '8-bit weights choose 66.67 % of 6 tokens as float32 does (log-probabilities differ by 0.2500 ' +
      'on average); 1 of 2 reports are the same',
  );
});

test('without requests nothing is compared', async (t) => {
  const { generator } = fake([], { choices: [], logProbs: [] });
  const agreement = await measureAgreement(generator, generator, [], parseDecodingOptions({}));
  t.like(agreement, { reports: 0, tokens: 0, logProbDifference: 0 });
  t.regex(printAgreement(agreement), /choose 0\.00 % of 0 tokens/);
});
