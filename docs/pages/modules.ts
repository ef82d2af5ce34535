import { importTable } from '../../oxlint.config.ts';
import { code, table } from './markdown.ts';

/** The import table, as CONTRIBUTING.md shows it. */
export const importsSection = (): string =>
  table(
    ['module', 'may import'],
    Object.entries(importTable).map(([module, allowed]) => [
      code(module),
      allowed.map(code).join(', ') || 'nothing of ours, no package',
    ]),
  );

/** Whether `from` reaches `to` over at least one other module. */
function reachesOverOthers(from: string, to: string): boolean {
  const open = (importTable[from] ?? []).filter((module) => module !== to);
  const met = new Set(open);
  for (const module of open) {
    for (const next of importTable[module] ?? []) {
      if (next === to) return true;
      if (!met.has(next)) {
        met.add(next);
        open.push(next);
      }
    }
  }
  return false;
}

/** The import table as a diagram; an arrow that follows from others is left out. */
export function modulesDiagram(): string {
  const id = (module: string): string => module.replaceAll('/', '_');
  const edges = Object.entries(importTable).flatMap(([from, allowed]) =>
    allowed.filter((to) => !reachesOverOthers(from, to)).map((to) => `  ${id(from)} --> ${id(to)}`),
  );
  const nodes = Object.keys(importTable).map((module) => `  ${id(module)}["${module}"]`);
  return ['```mermaid', 'flowchart TD', ...nodes, ...edges, '```'].join('\n');
}
