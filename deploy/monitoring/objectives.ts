/** What the cluster promises its callers, and how a broken promise is counted. */
export interface Objective {
  /** In the names of rules: `radscribe:<name>:ratio_rate5m` is the share of bad events. */
  readonly name: string;
  readonly alert: string;
  /** For people: what a bad event is. */
  readonly bad: string;
  /** The share that must be good, over 30 days. */
  readonly target: number;
  /** PromQL of all events and of the bad ones, over a window such as `5m`. */
  readonly total: (window: string) => string;
  readonly failed: (window: string) => string;
}

/** Calls that answer one study; a batch lasts as long as its caller likes. */
const reports = 'job="gateway",rpc_method=~"GenerateReport|StreamReport"';

/**
 * Statuses that are the cluster's fault. RESOURCE_EXHAUSTED is told apart by
 * RadScribeQueueSaturated: quotas answer it too, and those are the caller's.
 */
const faults = 'UNKNOWN|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|DATA_LOSS';

const calls = (more: string, window: string) =>
  `sum by (namespace) (rate(rpc_server_call_duration_seconds_count{${reports}${more}}[${window}]))`;

const answered = ',rpc_grpc_status_code="OK"';

const within = (metric: string, labels: string, seconds: string, window: string) =>
  `sum by (namespace) (rate(${metric}_bucket{${labels},le="${seconds}"}[${window}]))`;

/** The limits are bounds of the histograms' buckets, or nothing could be counted. */
export const reportSeconds = '10';
export const firstTokenSeconds = '2.5';

const firstTokens = (window: string) =>
  `sum by (namespace) (rate(gen_ai_server_time_to_first_token_seconds_count{job="generator"}[${window}]))`;

export const objectives: readonly Objective[] = [
  {
    name: 'report_errors',
    alert: 'RadScribeReportErrors',
    bad: 'reports that failed through no fault of the caller',
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
 * Multi-window, multi-burn-rate alerts of the Site Reliability Workbook, chapter 5: the long window says
 * that it matters, the short one that it still goes on.
 */
export const burns = [
  { long: '1h', short: '5m', factor: 14.4, severity: 'page', spent: '2 % of a month in an hour' },
  { long: '6h', short: '30m', factor: 6, severity: 'page', spent: '5 % of a month in six hours' },
  { long: '1d', short: '2h', factor: 3, severity: 'ticket', spent: '10 % of a month in a day' },
  {
    long: '3d',
    short: '6h',
    factor: 1,
    severity: 'ticket',
    spent: '10 % of a month in three days',
  },
] as const;
