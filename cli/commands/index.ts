import type { Command } from 'commander';
import { registerData } from './data.ts';
import { registerEvaluate } from './evaluate.ts';
import { registerImport } from './import.ts';
import { registerLabel } from './label.ts';
import { registerMetrics } from './metrics.ts';
import { registerModels } from './models.ts';
import { registerPlan } from './plan.ts';
import { registerReleases } from './releases.ts';
import { registerReport } from './report.ts';
import { registerRuns } from './runs.ts';
import { registerTokenizer } from './tokenizer.ts';
import { registerTrain } from './train.ts';

/** Every subcommand, in the order `radscribe --help` lists them. */
export const commands: readonly ((program: Command) => void)[] = [
  registerData,
  registerEvaluate,
  registerImport,
  registerLabel,
  registerMetrics,
  registerModels,
  registerPlan,
  registerReleases,
  registerReport,
  registerRuns,
  registerTokenizer,
  registerTrain,
];
