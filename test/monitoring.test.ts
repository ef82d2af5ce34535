import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { parse } from 'yaml';
import { dashboard, rows } from '../deploy/monitoring/dashboard.ts';
import { generated } from '../deploy/monitoring/generate.ts';
import { objectives } from '../deploy/monitoring/objectives.ts';
import { groups } from '../deploy/monitoring/rules.ts';
import { findProgram } from './support/manifests.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
const promtool = findProgram('promtool');
const withPromtool = promtool ? test : test.skip;

const unitTests = ['rules', 'hours'].map((name) => `${root}deploy/monitoring/${name}.test.yaml`);

const rules = groups.flatMap(({ rules }) => rules);
const alerts = [...new Set(rules.flatMap(({ alert }) => alert ?? []))];

test('the committed rules and dashboard are those that the code writes', async (t) => {
  for (const [path, text] of Object.entries(generated()))
    t.is(await readFile(`${root}${path}`, 'utf8'), text, `run node deploy/monitoring/generate.ts`);
});

test('every alert has a section in the runbook that says what it means, how to see, what to do', async (t) => {
  const runbook = await readFile(`${root}deploy/RUNBOOK.md`, 'utf8');
  const sections = new Map(
    runbook
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.slice(0, section.indexOf('\n')), section]),
  );
  t.deepEqual([...sections.keys()].sort(), [...alerts].sort());
  for (const [name, section] of sections)
    for (const part of ['**What it means.**', '**How to see.**', '**What to do.**'])
      t.true(section.includes(part), `${name}: ${part}`);
  for (const { alert, annotations } of rules)
    if (alert) t.is(annotations?.['runbook_url'], `deploy/RUNBOOK.md#${alert.toLowerCase()}`);
  for (const [, anchor = ''] of runbook.matchAll(/\]\(#([a-z]+)\)/g))
    t.true(
      alerts.some((alert) => alert.toLowerCase() === anchor),
      `no section #${anchor}`,
    );
});

test('every alert is unit-tested where it fires and where it must not', async (t) => {
  const seen: { alertname: string; exp_alerts: unknown[] }[] = [];
  for (const file of unitTests) {
    const { tests } = parse(await readFile(file, 'utf8')) as {
      tests: { alert_rule_test: typeof seen }[];
    };
    seen.push(...tests.flatMap(({ alert_rule_test: own }) => own));
  }
  for (const alert of alerts) {
    const own = seen.filter(({ alertname }) => alertname === alert);
    t.true(
      own.some(({ exp_alerts: expected }) => expected.length > 0),
      `${alert} never fires`,
    );
    const series = /RadScribeQueue/.test(alert);
    // The queue alerts' quiet cases stand among the series of the firing one.
    if (!series)
      t.true(
        own.some(({ exp_alerts: expected }) => expected.length === 0),
        `${alert} always fires`,
      );
  }
});

test('an alert on an objective burns a budget that the objective allows to be burnt', (t) => {
  for (const { name, target } of objectives) {
    t.true(target > 0.9 && target < 1);
    const limits = rules
      .filter(({ alert, expr }) => alert && expr.includes(`radscribe:${name}:`))
      .map(({ expr }) => Number(/> ([\d.]+)/.exec(expr)?.[1]));
    t.is(limits.length, 4);
    for (const limit of limits) t.true(limit > 0 && limit < 1, `${name}: ${limit}`);
  }
});

withPromtool('promtool accepts the rules, and their unit tests pass', async (t) => {
  await t.notThrowsAsync(
    run(promtool ?? '', ['check', 'rules', `${root}deploy/monitoring/rules.yaml`]),
  );
  const { stdout } = await run(promtool ?? '', ['test', 'rules', ...unitTests]);
  t.regex(stdout, /SUCCESS/);
});

interface Board {
  uid: string;
  panels: {
    id: number;
    type: string;
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets?: { expr: string; refId: string }[];
    datasource?: { uid: string };
  }[];
  templating: { list: { name: string }[] };
}

test('the panels of the dashboard have their own ids and places, and a data source that can be chosen', (t) => {
  const board = dashboard() as Board;
  const ids = board.panels.map(({ id }) => id);
  t.is(new Set(ids).size, ids.length);
  const cells = new Set<string>();
  for (const { title, type, gridPos, targets, datasource } of board.panels) {
    t.true(gridPos.x + gridPos.w <= 24, title);
    for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        t.false(cells.has(`${x},${y}`), `${title} lies on another panel`);
        cells.add(`${x},${y}`);
      }
    if (type === 'row') continue;
    t.is(datasource?.uid, '${datasource}');
    t.true((targets ?? []).length > 0);
  }
  t.deepEqual(
    board.templating.list.map(({ name }) => name),
    ['datasource', 'namespace'],
  );
});

/** The names in a query that are metrics: not functions, labels, strings, ranges. */
function metricsIn(expr: string): string[] {
  const bare = expr
    .replaceAll(/"[^"]*"/g, '')
    .replaceAll(/\{[^}]*\}/g, '')
    .replaceAll(/\[[^\]]*\]/g, '')
    .replaceAll(/\b(by|without|on|ignoring)\s*\([^)]*\)/g, '');
  return [...bare.matchAll(/[a-z_][a-z0-9_:]*(?!\s*\(|[a-z0-9_:])/gi)]
    .map(([name]) => name)
    .filter((name) => /_|^up$/.test(name) && !/^(e\d+)$/.test(name));
}

test('the rules and the dashboard read recorded rules that exist', (t) => {
  const recorded = new Set(rules.flatMap(({ record }) => record ?? []));
  const queries = [
    ...rules.map(({ expr }) => expr),
    ...Object.values(rows).flatMap((panels) =>
      panels.flatMap(({ queries }) => queries.map(([, expr]) => expr)),
    ),
  ];
  for (const name of queries.flatMap(metricsIn).filter((name) => name.includes(':')))
    t.true(recorded.has(name), name);
});

withPromtool('promtool accepts every query of the dashboard', async (t) => {
  const lines = Object.values(rows).flatMap((panels) =>
    panels.flatMap(({ queries }) =>
      queries.map(([, expr]) => expr.replaceAll('$__rate_interval', '5m')),
    ),
  );
  const file = {
    groups: [{ name: 'dashboard', rules: lines.map((expr, i) => ({ record: `q:${i}`, expr })) }],
  };
  const folder = await mkdtemp(path.join(tmpdir(), 'radscribe-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const written = path.join(folder, 'queries.json');
  await writeFile(written, JSON.stringify(file));
  await t.notThrowsAsync(run(promtool ?? '', ['check', 'rules', written]));
});
