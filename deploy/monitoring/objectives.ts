/** A service level objective: what the cluster promises its callers, and how failures are counted. */
export interface Objective {
  /** In the names of rules: `radscribe:<name>:ratio_rate5m` is the share of bad events. */
  readonly name: string;
  readonly alert: string;
  /** What a bad event is, for people. */
  readonly bad: string;
  /** The share that must be good, over 30 days. */
  readonly target: number;
  /** PromQL of all events and of the bad ones, over a window such as `5m`. */
  readonly total: (window: string) => string;
  readonly failed: (window: string) => string;
}

/** Calls that answer one study; how long a batch takes is up to its caller. */
const reports = 'job="gateway",rpc_method=~"GenerateReport|StreamReport"';

/**
 * Statuses that are the cluster's fault. RESOURCE_EXHAUSTED is not among them: quotas answer it too,
 * and those are the caller's fault; RadScribeQueueSaturated covers full queues.
 */
const faults = 'UNKNOWN|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|DATA_LOSS';

const calls = (more: string, window: string) =>
  `sum by (namespace) (rate(rpc_server_call_duration_seconds_count{${reports}${more}}[${window}]))`;

const answered = ',rpc_grpc_status_code="OK"';

const within = (metric: string, labels: string, seconds: string, window: string) =>
  `sum by (namespace) (rate(${metric}_bucket{${labels},le="${seconds}"}[${window}]))`;

/** Each limit must be a bound of the histogram's buckets; otherwise nothing can be counted. */
export const reportSeconds = '10';
export const firstTokenSeconds = '2.5';

const firstTokens = (window: string) =>
  `sum by (namespace) (rate(gen_ai_server_time_to_first_token_seconds_count{job="generator"}[${window}]))`;

export const objectives: readonly Objective[] = [
  {
    name: 'report_errors',
    alert: 'RadScribeReportErrors',
    bad: 'reports that failed through a fault of the cluster',
    target: 0.999,
    total: (window) => calls('', window),
    failed: (window) => calls(`,rpc_grpc_status_code=~"${faults}"`, window),
  },
  {
    name: 'report_slow',
    alert: 'RadScribeReportsSlow',
    bad: `reports that took over ${reportSeconds} s`,
    target: 0.99,
    total: (window) => calls(answered, window),
    failed: (window) =>
      `${calls(answered, window)} - ${within('rpc_server_call_duration_seconds', `${reports}${answered}`, reportSeconds, window)}`,
  },
  {
    name: 'first_token_slow',
    alert: 'RadScribeFirstTokensSlow',
    bad: `generations whose first token took over ${firstTokenSeconds} s`,
    target: 0.99,
    total: firstTokens,
    failed: (window) =>
      `${firstTokens(window)} - ${within('gen_ai_server_time_to_first_token_seconds', 'job="generator"', firstTokenSeconds, window)}`,
  },
];

/**
 * Multi-window, multi-burn-rate alerts of the Site Reliability Workbook, chapter 5: the long window shows
 * that the damage matters, the short one that it continues.
 */
export const burns = [
  {
    long: '1h',
    short: '5m',
    factor: 14.4,
    severity: 'page',
    spent: '2 % of the monthly error budget in an hour',
  },
  {
    long: '6h',
    short: '30m',
    factor: 6,
    severity: 'page',
    spent: '5 % of the monthly error budget in six hours',
  },
  {
    long: '1d',
    short: '2h',
    factor: 3,
    severity: 'ticket',
    spent: '10 % of the monthly error budget in a day',
  },
  {
    long: '3d',
    short: '6h',
    factor: 1,
    severity: 'ticket',
    spent: '10 % of the monthly error budget in three days',
  },
] as const;
